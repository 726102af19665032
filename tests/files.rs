//! The files tree (MFS) through the command line: with and without a daemon, in JSON and for people.

mod common;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

use common::{Daemon, Start, binary};
use serde_json::{Value, json};

/// The CID of the empty directory.
const EMPTY: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

struct Cli<'a> {
    to: &'a [&'a str],
}

impl Cli<'_> {
    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = binary();
        command.args(self.to).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // What does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn ok(&self, args: &[&str], input: &str) -> String {
        let out = self.run(args, input.as_bytes());
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["--format", "json"]);
        serde_json::from_str(&self.ok(&all, "")).unwrap()
    }

    fn fails(&self, args: &[&str]) -> String {
        let out = self.run(args, b"");
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
        assert!(out.stdout.is_empty());
        String::from_utf8(out.stderr).unwrap()
    }
}

fn work(cli: &Cli, folder: &Path) {
    assert_eq!(cli.ok(&["files", "stat", "--hash", "/"], "").trim(), EMPTY);
    assert_eq!(cli.ok(&["files", "ls"], ""), "");
    cli.ok(&["files", "mkdir", "-p", "/a/b"], "");
    cli.ok(&["files", "write", "--create", "/a/b/f"], "hello");
    cli.ok(&["files", "write", "--offset", "5", "/a/b/f"], " world");
    assert_eq!(cli.ok(&["files", "read", "/a/b/f"], ""), "hello world");
    assert_eq!(cli.ok(&["files", "read", "-o", "6", "-n", "3", "/a/b/f"], ""), "wor");
    let file = folder.join("file");
    fs::write(&file, "from a file").unwrap();
    cli.ok(&["files", "write", "-e", "-p", "/x/y/z", file.to_str().unwrap()], "");
    let added = cli.json(&["add", "--pin=false", file.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    cli.ok(&["files", "cp", &format!("/ipfs/{added}"), "/a/"], "");
    let entries = cli.json(&["files", "ls", "-l", "/a"]);
    assert_eq!(entries["entries"][0], json!({"name": added, "type": "file", "size": 11, "cid": added}));
    assert_eq!(entries["entries"][1]["type"], "directory");
    cli.ok(&["files", "mv", &format!("/a/{added}"), "/a/named"], "");
    assert_eq!(cli.ok(&["files", "ls", "/a"], ""), "b\nnamed\n");
    cli.ok(&["files", "cp", "/a", "/copy"], "");
    cli.ok(&["files", "rm", "-r", "/a", "/x"], "");
    assert_eq!(cli.ok(&["files", "read", "/copy/b/f"], ""), "hello world");

    cli.ok(&["files", "chmod", "0640", "/copy/named"], "");
    cli.ok(&["files", "touch", "--mtime", "1630937926", "/copy/named"], "");
    let shown = cli.ok(&["files", "stat", "/copy/named"], "");
    assert!(shown.contains("Mode: -rw-r----- (0640)\nMtime: 6 Sep 2021, 14:18:46 UTC\n"), "{shown}");
    cli.ok(&["files", "chcid", "--cid-version", "1", "/copy"], "");
    let stat = cli.json(&["files", "stat", "--with-local", "/copy"]);
    assert!(stat["cid"].as_str().unwrap().starts_with("bafybei"), "{stat}");
    assert_eq!((&stat["type"], &stat["local"]), (&json!("directory"), &json!(true)));
    assert_eq!(stat["size_local"], stat["cumulative_size"]);

    assert!(cli.fails(&["files", "read", "/nothing"]).contains("file does not exist"));
    assert!(cli.fails(&["files", "rm", "/copy"]).contains("use -r to remove directories"));
    assert!(cli.fails(&["files", "chroot"]).contains("--confirm"));
    let root = cli.ok(&["files", "flush"], "");
    let changed = cli.json(&["files", "chroot", "--confirm"]);
    assert_eq!((changed["old"].as_str().unwrap(), &changed["new"]), (root.trim(), &json!(EMPTY)));
    cli.ok(&["files", "chroot", "--confirm", root.trim()], "");
    assert_eq!(cli.ok(&["files", "ls"], ""), "copy\n");
}

#[test]
fn the_files_tree_works_with_and_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone");
    let (repo, at) = (folder.path().join("served"), alone.to_str().unwrap());
    Cli { to: &["--repo", at] }.ok(&["init"], "");
    work(&Cli { to: &["--repo", at] }, folder.path());
    let daemon = Daemon::start(&repo, &Start::default());
    let to = ["--api-url", daemon.api.as_str()];
    let cli = Cli { to: &to };
    work(&cli, folder.path());
    // A clean stop keeps what is not flushed.
    cli.ok(&["files", "mkdir", "--flush=false", "/unflushed"], "");
    let repo = daemon.stop();
    let after = Cli { to: &["--repo", repo.to_str().unwrap()] };
    assert_eq!(after.ok(&["files", "ls"], ""), "copy\nunflushed\n");
}
