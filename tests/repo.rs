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
