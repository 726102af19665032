//! Tests of handlers and of the data plane.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    base::{Cid, Keypair},
    cluster::{Assignment, BoxFuture, ClusterId, DataPlane, Fence, Outcome, TaskSpec},
    content::{AddOptions, Content, PinFilter},
    store::{Repo, StoreOptions},
};

fn naive(files: &[Vec<u8>]) -> WordCounts {
    let white = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    WordCounts {
        files: files.len() as u64,
        bytes: files.iter().map(|f| f.len() as u64).sum(),
        lines: files.iter().flatten().filter(|b| **b == b'\n').count() as u64,
        words: files.iter().map(|f| f.split(white).filter(|w| !w.is_empty()).count() as u64).sum(),
    }
}

proptest! {
    #[test]
    fn counting_does_not_depend_on_the_pieces(
        files in proptest::collection::vec(proptest::collection::vec(prop_oneof![
            Just(b' '), Just(b'\n'), Just(b'\t'), Just(0x0b), Just(b'a'), any::<u8>()
        ], 0..60), 0..5),
        piece in 1usize..20,
    ) {
        let mut counter = WordCounter::new();
        for file in &files {
            counter.file();
            file.chunks(piece).for_each(|part| counter.data(part));
        }
        prop_assert_eq!(counter.counts(), naive(&files));
    }
}

struct Place {
    dir: tempfile::TempDir,
    work: Work,
    content: Content,
}

struct Waits;

impl TaskHandler for Waits {
    fn run(&self, context: TaskContext) -> BoxFuture<'static, Result<TaskResult, WorkError>> {
        Box::pin(async move {
            context.output("half done").await?;
            std::future::pending().await
        })
    }
}

struct Panics;

impl TaskHandler for Panics {
    fn run(&self, _: TaskContext) -> BoxFuture<'static, Result<TaskResult, WorkError>> {
        Box::pin(async { panic!("on purpose") })
    }
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::open(&dir.path().join("repo"), StoreOptions::default()).unwrap();
    let content = Content::new(repo, None, None);
    let mut registry = Registry::builtin();
    registry.register("waits", Waits).register("panics", Panics);
    Place { dir, work: Work::new(content.clone(), registry, 2), content }
}

fn assignment(kind: &str, input: Option<Cid>, index: u64) -> Assignment {
    let spec = TaskSpec {
        cluster: ClusterId::of_key(b"a cluster"),
        author: Keypair::ed25519_from_bytes([1; 32]).unwrap().public().to_peer_id(),
        nonce: [7; 16],
        kind: kind.into(),
        input,
        params: BTreeMap::new(),
        not_after_ms: 1,
        priority: 0,
    };
    let fence = Fence { epoch: 1, index };
    Assignment { task: spec.id(), fence, spec, cancel: CancellationToken::new() }
}

fn owners(content: &Content) -> Vec<String> {
    content.repo().pins().holds("").unwrap().into_iter().map(|hold| hold.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_folder_are_counted_held_and_kept() {
    let place = place();
    let root = place.dir.path().join("tree");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("a"), "one two\nthree").unwrap();
    fs::write(root.join("sub/b"), "four\x0bfive\n\n").unwrap();
    fs::write(root.join("sub/c"), "").unwrap();
    fs::write(root.join("sub/big"), "word ".repeat(200_000)).unwrap();
    std::os::unix::fs::symlink("a", root.join("link")).unwrap();
    let options = AddOptions { pin: false, ..AddOptions::default() };
    let input = place.content.add_path(&root, true, options).await.unwrap();
    assert!(place.work.holds(input.cid).await);

    let run = assignment("word-count", Some(input.cid), 5);
    let (task, fence) = (run.task, run.fence);
    let Outcome::Success { result: Some(cid), bytes } = place.work.start(run).await else { panic!("it failed") };
    let json = place.content.cat_all(cid, 1000).await.unwrap();
    assert_eq!(json.len() as u64, bytes);
    assert_eq!(json, "{\"files\":4,\"bytes\":1000024,\"lines\":3,\"words\":200005}\n");
    assert!(place.content.list_pins(PinFilter::Roots).await.unwrap().is_empty(), "held, not pinned");
    assert_eq!(owners(&place.content), [format!("task:{task}:{fence}")]);

    // Another attempt's refusal does not touch this one.
    place.work.refused(task, Fence { epoch: 1, index: 4 }).await;
    assert_eq!(owners(&place.content).len(), 1);
    for _ in 0..2 {
        place.work.confirmed(task, fence, Some(cid)).await;
        assert_eq!(owners(&place.content), [format!("cluster:{task}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_and_stopped_attempts_hold_nothing() {
    let place = place();
    let input = place.content.add_bytes("a b c", AddOptions::default()).await.unwrap();
    let run = assignment("word-count", Some(input.cid), 5);
    let (task, fence) = (run.task, run.fence);
    assert!(matches!(place.work.start(run).await, Outcome::Success { .. }));
    place.work.refused(task, fence).await;
    assert!(owners(&place.content).is_empty());

    let run = assignment("waits", None, 6);
    let cancel = run.cancel.clone();
    let running = place.work.start(run);
    let content = place.content.clone();
    let stop = async move {
        // The handler's hold is the sign that it is under way.
        while owners(&content).is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(running, stop);
    assert!(matches!(outcome, Outcome::Failure { retryable: true, .. }), "{outcome:?}");
    assert!(owners(&place.content).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_why_and_whether_to_try_again() {
    let place = place();
    let absent = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e".parse().unwrap();
    for (kind, input, words, again) in [
        ("word-count", None, "need the CID", false),
        ("word-count", Some(absent), "not found locally", true),
        ("nonsense", None, "no handler", true),
        ("panics", None, "panicked", false),
    ] {
        match place.work.start(assignment(kind, input, 1)).await {
            Outcome::Failure { message, retryable } => {
                assert!(message.contains(words), "{kind}: {message}");
                assert_eq!(retryable, again, "{kind}: {message}");
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
    assert_eq!(place.work.start(assignment("noop", None, 1)).await, Outcome::Success { result: None, bytes: 0 });
    assert_eq!(place.work.kinds(), ["noop", "panics", "waits", "word-count"]);
}
