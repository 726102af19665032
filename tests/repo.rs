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
    assert_eq!(json(&repo, &["repo", "migrate"]), json!({"from": 1, "to": 1, "steps": []}));
    assert!(!offline(&repo, &["repo", "migrate", "--to", "2"]).status.success());

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
    assert_eq!(daemon.json(&["repo", "gc"]), json!({"removed": [{"cid": garbage}]}));
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

#[test]
fn the_limit_holds_and_collecting_makes_room() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: usize| {
        let at = place.path().join(name);
        let mut state = bytes as u64 | 1;
        let mut noise = Vec::with_capacity(bytes);
        while noise.len() < bytes {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            noise.extend_from_slice(&state.to_le_bytes());
        }
        std::fs::write(&at, noise).unwrap();
        at.to_str().unwrap().to_owned()
    };
    let settings = place.path().join("config.yaml");
    std::fs::write(&settings, "storage: {max: 4MB, segment_size: 4MiB, gc_watermark: 50}\n").unwrap();
    let repo = place.path().join("repo");
    let config = settings.to_str().unwrap().to_owned();
    let limited = |args: &[&str]| offline(&repo, &[&["--config", &config], args].concat());
    assert!(limited(&["init"]).status.success());
    let first = limited(&["add", "--format", "json", &file("first", 3_000_000)]);
    let first: Value = serde_json::from_slice(&first.stdout).unwrap();
    let first = first["cid"].as_str().unwrap();
    let stat: Value = serde_json::from_slice(&limited(&["repo", "stat", "--format", "json"]).stdout).unwrap();
    assert_eq!(stat["storage_max"], json!(4_000_000));
    // What goes beyond is refused, with what to do; reading, removing, pins and the files tree go on.
    let refused = limited(&["add", &file("second", 1_500_000)]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{text}");
    for word in ["4000000 bytes", "repo gc", "unpin", "storage.max"] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(limited(&["cat", first]).stdout, std::fs::read(file("first", 3_000_000)).unwrap());
    assert!(limited(&["files", "cp", &format!("/ipfs/{first}"), "/first"]).status.success());
    assert!(limited(&["files", "rm", "/first"]).status.success());
    assert!(limited(&["unpin", first]).status.success());
    assert!(limited(&["repo", "gc", "--silent"]).status.success());
    assert!(limited(&["add", &file("second", 1_500_000)]).status.success());

    // A daemon that may makes room by itself, when a put would pass the watermark.
    let extra = vec!["--config", config.as_str(), "--enable-gc"];
    let daemon = Daemon::start(&repo, &Start { namespace: "repo", extra, ..Start::default() });
    for number in 0..6 {
        let at = file("more", 1_000_000 + number);
        common::eventually("there is room", || daemon.run(&["add", "--no-pin", &at]).status.success().then_some(()));
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, at) = (entry.unwrap(), from.to_owned());
        let to = to.join(entry.path().strip_prefix(at).unwrap());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Flips a bit of a file, at a place or where some bytes stand.
fn flip(file: &Path, at: usize, bit: u8, after: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    let from = match after.is_empty() {
        true => 0,
        false => bytes.windows(after.len()).position(|w| w == after).unwrap_or_else(|| panic!("{}", file.display())),
    };
    bytes[from + at] ^= 1 << bit;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_found_and_named_in_every_kind_of_file_and_what_can_be_rebuilt_is() {
    let place = tempfile::tempdir().unwrap();
    let (repo, file) = (place.path().join("repo"), place.path().join("file"));
    let daemon = Daemon::start(&repo, &Start { namespace: "repo", ..Start::default() });
    std::fs::write(&file, "a".repeat(300_000)).unwrap();
    let pinned = daemon.json(&["add", file.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let pinned: ipfs_kit::Cid = pinned.parse().unwrap();
    daemon.ok(&["files", "mkdir", "/folder"]);
    daemon.ok(&["cluster", "init"]);
    daemon.stop();
    let sound = json(&repo, &["repo", "verify"]);
    assert_eq!(sound, json!({"damaged": []}));
    let cid = pinned.to_bytes();
    let segment = "blocks/00000001.seg";
    // The file, where a bit is flipped in it, what names it, and whether it is whole again afterwards.
    type Flip<'a> = (&'a str, usize, u8, &'a [u8], &'a str, bool);
    let flips: &[Flip] = &[
        (segment, 13, 0, b"", segment, true),
        (segment, 2, 0, b"IKB1", segment, false),
        (segment, 30, 0, b"IKB1", segment, false),
        (segment, 100_000, 3, b"IKB1", segment, false),
        ("blocks/00000001.idx", 40, 0, b"", "00000001.idx", true),
        ("repo.redb", 5, 0, &cid, "repo.redb", false),
        ("cluster.redb", 3, 0, b"members", "cluster.redb", false),
        ("raft/cluster/0000000001.wal", 60, 0, b"", "0000000001.wal", false),
        ("cluster/member.cbor", 90, 0, b"", "member.cbor", false),
        ("cluster/key", 10, 0, b"", "key", false),
        ("identity.key", 20, 0, b"", "identity.key", false),
        ("storage_id", 3, 7, b"", "storage_id", false),
        ("version", 0, 0, b"", "version", false),
    ];
    for (number, (name, at, bit, after, named, rebuilt)) in flips.iter().enumerate() {
        let damaged = place.path().join(number.to_string());
        copy(&repo, &damaged);
        flip(&damaged.join(name), *at, *bit, after);
        let first = offline(&damaged, &["repo", "verify", "--format", "json"]);
        let told = String::from_utf8_lossy(&first.stdout).into_owned() + &String::from_utf8_lossy(&first.stderr);
        assert!(told.contains(named), "{name}: {told}");
        assert_eq!(first.status.success(), *rebuilt, "{name}: {told}");
        let second = offline(&damaged, &["repo", "verify", "--format", "json"]);
        assert_eq!(second.status.success(), *rebuilt, "{name}: {}", String::from_utf8_lossy(&second.stderr));
    }
    // A snapshot that is none.
    std::fs::create_dir_all(repo.join("raft/snapshots")).unwrap();
    std::fs::write(repo.join("raft/snapshots/current.snapshot"), "IPKSNAP1 and no more").unwrap();
    let found = offline(&repo, &["repo", "verify", "--format", "json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["damaged"][0]["file"], "raft/snapshots/current.snapshot");
    std::fs::remove_file(repo.join("raft/snapshots/current.snapshot")).unwrap();

    // Dropped: then the repo is sound, but what was pinned is not whole.
    flip(&repo.join(segment), 100_000, 3, b"IKB1");
    let found = offline(&repo, &["repo", "verify", "--drop", "--format", "json"]);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["damaged"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found["damaged"][0]["file"], &found["damaged"][0]["mended"]), (&json!(segment), &json!(true)));
    assert_eq!(json(&repo, &["repo", "verify"]), json!({"damaged": []}));
    assert!(!offline(&repo, &["pin", "verify"]).status.success());
}
