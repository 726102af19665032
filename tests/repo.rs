//! `repo` through the command line and `/api/v0`: how much is kept, what may go, what is damaged.

mod common;

use std::{path::Path, process::Output};

use common::{Daemon, Start, binary};
use serde_json::{Value, json};

fn offline(repo: &Path, args: &[&str]) -> Output {
    binary().arg("--repo").arg(repo).args(args).output().unwrap()
}

fn text(repo: &Path, args: &[&str]) -> String {
    let output = offline(repo, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(repo: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&text(repo, &[&["--format", "json"], args].concat())).unwrap()
}

#[test]
fn what_is_kept_is_measured_with_and_without_a_daemon() {
    let place = tempfile::tempdir().unwrap();
    let (repo, file) = (place.path().join("repo"), place.path().join("file"));
    text(&repo, &["init"]);
    let empty = json(&repo, &["repo", "stat"]);
    assert_eq!((&empty["num_objects"], &empty["version"]), (&json!(0), &json!("fs-repo@1")));
    std::fs::write(&file, vec![7; 600_000]).unwrap();
    text(&repo, &["add", file.to_str().unwrap()]);
    let full = json(&repo, &["repo", "stat"]);
    // Two chunks, for the first two are the same, and the root.
    assert_eq!(full["num_objects"], json!(3));
    assert!(full["repo_size"].as_u64().unwrap() > 262_144 + 75_712, "{full}");
    let sizes = json(&repo, &["repo", "stat", "--size-only"]);
    assert_eq!(sizes.as_object().unwrap().keys().collect::<Vec<_>>(), ["repo_size", "storage_max"]);
    let lines = text(&repo, &["repo", "stat"]);
    assert!(lines.starts_with("NumObjects: 3\nRepoSize:   "), "{lines}");
    assert!(text(&repo, &["repo", "stat", "-s", "-H"]).contains("iB\n"));
    assert_eq!(text(&repo, &["repo", "version"]), "ipfs repo version fs-repo@1\n");
    assert_eq!(text(&repo, &["repo", "version", "-q"]), "fs-repo@1\n");
    assert_eq!(json(&repo, &["repo", "version"]), json!({"version": "1"}));

    let daemon = Daemon::start(&repo, &Start { namespace: "repo", ..Start::default() });
    let served = daemon.json(&["repo", "stat"]);
    assert_eq!(served["num_objects"], full["num_objects"]);
    assert_eq!(served["repo_path"], json!(repo.to_str().unwrap()));
}

#[test]
fn what_nothing_keeps_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: usize| {
        let at = place.path().join(name);
        std::fs::write(&at, name.repeat(bytes / name.len())).unwrap();
        at.to_str().unwrap().to_owned()
    };
    let daemon = Daemon::start(&place.path().join("repo"), &Start { namespace: "repo", ..Start::default() });
    let pinned = daemon.json(&["add", &file("pinned", 400_000)])["cid"].as_str().unwrap().to_owned();
    let seen = daemon.json(&["add", "--no-pin", &file("seen", 4000)])["cid"].as_str().unwrap().to_owned();
    daemon.ok(&["files", "cp", "--flush=false", &format!("/ipfs/{seen}"), "/seen"]);
    let garbage = daemon.json(&["add", "--no-pin", "--cid-version=1", &file("garbage", 70)]);
    let garbage = garbage["cid"].as_str().unwrap();
    // The old root of the files tree, empty, is stored by nobody.
    assert_eq!(daemon.json(&["repo", "gc"]), json!({"removed": [garbage]}));
    assert_eq!(daemon.json(&["repo", "gc"]), json!({"removed": []}));
    let read = daemon.ok(&["cat", &pinned]);
    assert_eq!(read, std::fs::read(file("pinned", 400_000)).unwrap());
    daemon.ok(&["files", "rm", "/seen"]);
    daemon.ok(&["unpin", &pinned]);
    let text = String::from_utf8(daemon.ok(&["repo", "gc", "--quiet"])).unwrap();
    // The file's two chunks and root, what was in the files tree, and a root of that.
    assert_eq!(text.lines().filter(|line| line.starts_with("bafkrei")).count(), 5, "{text}");
    daemon.json(&["add", "--no-pin", &file("garbage", 70)]);
    assert!(daemon.ok(&["repo", "gc", "--silent"]).is_empty());
    assert_eq!(daemon.json(&["repo", "stat"])["num_objects"], json!(1));

    // Something pinned is missing: nothing goes, and that is said.
    let root = daemon.json(&["add", "-r", &{
        let folder = place.path().join("folder");
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        std::fs::write(folder.join("inner/a"), "a").unwrap();
        folder.to_str().unwrap().to_owned()
    }]);
    let root = root["cid"].as_str().unwrap().to_owned();
    let inner = daemon.json(&["resolve", &format!("{root}/inner")]);
    let inner = inner["path"].as_str().unwrap().trim_start_matches("/ipfs/").to_owned();
    daemon.json(&["add", "--no-pin", &file("garbage", 70)]);
    let repo = daemon.stop();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let repo = ipfs_kit::store::Repo::open(&repo, ipfs_kit::store::StoreOptions::default()).unwrap();
        repo.blocks().remove(vec![inner.parse().unwrap()]).await.unwrap();
        repo.close().await;
    });
    let output = offline(&repo, &["repo", "gc", "--stream-errors"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty() && error.contains(&inner), "{error}");
    assert!(error.contains("encountered errors during gc run"), "{error}");
}
