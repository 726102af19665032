//! Whole repos on the move, through the real binary: export, import, Kubo's folder, a running API, kills in between, and
//! the repo that the first version made.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use common::{Daemon, Start, binary};
use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::{Value, json};

/// A verb on a repo, without a daemon.
fn run(repo: &Path, args: &[&str]) -> Output {
    binary().arg("--repo").arg(repo).args(args).output().unwrap()
}

fn ok(repo: &Path, args: &[&str]) -> String {
    let out = run(repo, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn json(repo: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(repo, &[args, &["--format", "json"]].concat())).unwrap()
}

fn fails(repo: &Path, args: &[&str]) -> String {
    let out = run(repo, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8(out.stderr).unwrap()
}

/// All that has to be equal behind a move: pins with kinds and names, the files tree's root, every block.
#[derive(Debug, PartialEq)]
struct Kept {
    pins: Vec<String>,
    files: String,
    blocks: Vec<String>,
}

fn kept(mut ask: impl FnMut(&[&str]) -> String) -> Kept {
    let mut lines = |args: &[&str]| {
        let mut lines: Vec<_> = ask(args).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut pins = lines(&["pin", "ls", "--names", "--type", "recursive"]);
    pins.extend(lines(&["pin", "ls", "--names", "--type", "direct"]));
    let (files, blocks) = (lines(&["files", "stat", "--hash", "/"]).remove(0), lines(&["refs", "local"]));
    Kept { pins, files, blocks }
}

fn kept_in(repo: &Path) -> Kept {
    kept(|args| ok(repo, args))
}

/// Bytes that do not compress and are others for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn write_all(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// A repo with folders, named and direct pins, blocks that nothing keeps, and a files tree.
fn filled(dir: &Path, megabytes: usize) -> PathBuf {
    let (repo, tree) = (dir.join("from"), dir.join("tree"));
    for n in 0..megabytes * 2 {
        write_all(&tree.join(format!("{}/{n}", n % 7)), &noise(n as u64, 500_000));
    }
    write_all(&tree.join("hello"), b"hello world");
    write_all(&dir.join("loose"), b"nothing keeps this");
    write_all(&dir.join("direct"), b"kept alone");
    ok(&repo, &["init"]);
    let root = json(&repo, &["add", "-r", tree.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    ok(&repo, &["pin", "add", &root, "--name", "the tree"]);
    ok(&repo, &["add", "--pin=false", dir.join("loose").to_str().unwrap()]);
    let direct = json(&repo, &["add", "--pin=false", dir.join("direct").to_str().unwrap()]);
    ok(&repo, &["pin", "add", "--direct", direct["cid"].as_str().unwrap(), "--name", "näme"]);
    ok(&repo, &["files", "cp", &format!("/ipfs/{root}/hello"), "/greeting"]);
    repo
}

#[test]
fn a_repo_goes_out_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path(), 2);
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let all = kept_in(&from);
    let done = json(&from, &["repo", "export", one.to_str().unwrap()]);
    assert_eq!((done["blocks"].as_u64().unwrap(), &done["pins"]), (all.blocks.len() as u64, &json!(2)));
    let mut names: Vec<_> =
        fs::read_dir(&one).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["blocks.car", "pins.jsonl", "repo.json"]);
    let manifest: Value = serde_json::from_slice(&fs::read(one.join("repo.json")).unwrap()).unwrap();
    assert_eq!((&manifest["format"], &manifest["version"]), (&json!("ipfs-kit-repo"), &json!(1)));
    assert_eq!(manifest["files_root"].as_str().unwrap(), all.files);
    assert!(fails(&from, &["repo", "export", one.to_str().unwrap()]).contains("exists already"));
    // An archive is an archive.
    let to = dir.path().join("to");
    ok(&to, &["init"]);
    ok(&to, &["dag", "import", one.join("blocks.car").to_str().unwrap()]);
    let came = json(&to, &["repo", "import", one.to_str().unwrap()]);
    assert_eq!((&came["blocks"], &came["pins_brought"]), (&json!(0), &json!(2)));
    assert_eq!(kept_in(&to), all);
    // The same while daemons serve both, with keys and identity, and once more.
    let daemon = Daemon::start(&from, &Start::default());
    let local = |args: &[&str]| ok(&from, args);
    local(&["repo", "export", "--with-keys", two.to_str().unwrap()]);
    assert!(two.join("identity.key").exists());
    let remote = daemon.fails(&["repo", "export", "--with-keys", dir.path().join("three").to_str().unwrap()]);
    assert!(remote.contains("keys do not pass"), "{remote}");
    let id = daemon.peer.clone();
    daemon.stop();
    let same = dir.path().join("same");
    ok(&same, &["repo", "import", "--with-keys", "--with-identity", two.to_str().unwrap()]);
    assert_eq!(json(&same, &["id"])["id"], id.as_str());
    let refused = fails(&to, &["repo", "import", "--with-identity", two.to_str().unwrap()]);
    assert!(refused.contains("an identity already") && refused.contains("--repo"), "{refused}");
    let daemon = Daemon::start(&same, &Start::default());
    let came = daemon.json(&["repo", "import", two.to_str().unwrap()]);
    assert_eq!((&came["blocks"], &came["pins_here"]), (&json!(0), &json!(2)));
    assert_eq!(kept(|args| String::from_utf8(daemon.ok(args)).unwrap()), all);
    // Another tree here is not replaced.
    daemon.ok(&["files", "mkdir", "/mine"]);
    assert!(daemon.fails(&["repo", "import", two.to_str().unwrap()]).contains("--without-files"));
    daemon.ok(&["repo", "import", "--files-to", "/theirs", two.to_str().unwrap()]);
    assert_eq!(String::from_utf8(daemon.ok(&["files", "read", "/theirs/greeting"])).unwrap(), "hello world");
    daemon.ok(&["files", "stat", "/mine"]);
}

/// Runs a verb and kills it after `after`; true when it was faster.
fn killed(repo: &Path, args: &[&str], after: Duration) -> bool {
    let mut child =
        binary().arg("--repo").arg(repo).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    #[allow(clippy::disallowed_methods)]
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap().success()
}

#[test]
fn kills_in_between_leave_no_half_and_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path(), 24);
    let all = kept_in(&from);
    let out = dir.path().join("out");
    let export = ["repo", "export", out.to_str().unwrap()];
    let mut kills = 0;
    while !killed(&from, &export, Duration::from_millis(60 * (kills + 1))) {
        kills += 1;
        // It may have been killed behind its last line.
        if out.exists() {
            break;
        }
    }
    assert!(kills > 0, "the first kill came too late");
    let to = dir.path().join("to");
    ok(&to, &["init"]);
    let import = ["repo", "import", out.to_str().unwrap()];
    let (mut kills, mut had) = (0, 0);
    while !killed(&to, &import, Duration::from_millis(60 * (kills + 1))) {
        kills += 1;
        ok(&to, &["pin", "verify"]);
        // What has come stays.
        let blocks = ok(&to, &["refs", "local"]).lines().count();
        assert!(blocks >= had, "{blocks} after {had}");
        had = blocks;
    }
    assert!(kills > 0, "the first kill came too late");
    let again = json(&to, &import);
    assert_eq!((&again["blocks"], &again["pins_here"]), (&json!(0), &json!(2)));
    assert_eq!(kept_in(&to), all);
    ok(&to, &["pin", "verify"]);
}

#[test]
fn a_node_that_serves_is_a_source_too() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(dir.path(), 2);
    let daemon = Daemon::start(&from, &Start::default());
    let to = dir.path().join("to");
    ok(&to, &["init"]);
    let came = json(&to, &["repo", "import", "--from-kubo", &daemon.api]);
    let (mut all, moved) = (kept_in_daemon(&daemon), kept_in(&to));
    // What nothing keeps does not come.
    assert_eq!(came["blocks"].as_u64().unwrap() + 1, all.blocks.len() as u64);
    all.blocks.retain(|cid| moved.blocks.contains(cid));
    assert_eq!(moved, all);
    ok(&to, &["pin", "verify"]);
    let api = daemon.api.clone();
    daemon.stop();
    let gone = fails(&to, &["repo", "import", "--from-kubo", &api]);
    assert!(gone.contains("run the same again"), "{gone}");
}

fn kept_in_daemon(daemon: &Daemon) -> Kept {
    kept(|args| String::from_utf8(daemon.ok(args)).unwrap())
}

fn unpack(name: &str, to: &Path) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(to).status().unwrap();
    assert!(status.success());
}

/// Every file of a folder and its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(files(&path)),
            false => drop(out.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    out
}

/// What `ipfs pin ls` and `ipfs files stat` say of the Kubo repo in the fixture, made by Kubo 0.44.
const KUBO_PINS: [&str; 5] = [
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn recursive",
    "QmXyi4ndDeBTnN4kRmKFqM3y2A96Ca7EBAr8ge2d5V8EcQ direct näme",
    "QmezWANk5sR6s5YYxBJPknZTmrn5XFtQs3LHkpNHEb3wPW recursive the tree",
    "bafkreibmrmenuxhgaomod4m26ds5ztdujxzhjobgvpsyl2v2ndcskq2iay recursive last of all",
    "bafyreihbwawyybg7dmzutgl2br4nlar7nerzn75a7k4tq5kkt3clxf53lm recursive",
];
const KUBO_TREE: &str = "QmezWANk5sR6s5YYxBJPknZTmrn5XFtQs3LHkpNHEb3wPW";
const KUBO_FILES: &str = "QmZZULKb3CA3czYqzFyU875TmSoyxDip2mAUxfmmrBk4dn";
const KUBO_ID: &str = "12D3KooWRkdQ86bx6K6FQusWe5srW6XBH94VBBj6vYkWGMZQ99wT";

fn sorted_pins(repo: &Path) -> Vec<String> {
    let mut pins = kept_in(repo).pins;
    pins.sort();
    pins
}

#[test]
fn a_kubo_folder_comes_in_and_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    unpack("kubo-repo.tar.gz", dir.path());
    let (kubo, to) = (dir.path().join("kubo"), dir.path().join("to"));
    let (from, before) = (kubo.to_str().unwrap(), files(&kubo));
    let args = ["repo", "import", "--from-kubo", from, "--with-keys", "--with-identity"];
    let came = json(&to, &args);
    assert_eq!((&came["pins_brought"], &came["files_missing"]), (&json!(5), &json!(0)));
    assert_eq!((came["keys"].clone(), &came["left_behind"]), (json!(["old-key", "site"]), &json!([])));
    assert_eq!(files(&kubo), before);
    assert_eq!(sorted_pins(&to), KUBO_PINS);
    assert_eq!(kept_in(&to).files, KUBO_FILES);
    assert_eq!(json(&to, &["id"])["id"], KUBO_ID);
    ok(&to, &["pin", "verify"]);
    // A sharded folder and a large file, byte for byte.
    ok(&to, &["get", KUBO_TREE, "-o", dir.path().join("tree").to_str().unwrap()]);
    let tree = files(&dir.path().join("tree"));
    assert_eq!(tree.len(), 26);
    for n in 1..=24 {
        assert_eq!(tree[&dir.path().join(format!("tree/deep/{n}.txt"))], format!("file {n}\n").as_bytes());
    }
    assert_eq!(tree[&dir.path().join("tree/large")], vec![b'x'; 300_000]);
    assert_eq!(ok(&to, &["files", "read", "/kept/note"]), "in the files tree\n");
    let again = json(&to, &args);
    assert_eq!((&again["blocks"], &again["pins_here"]), (&json!(0), &json!(5)));
    // Nothing is left of what was needed for a while.
    ok(&to, &["id"]);
    assert!(!to.join("scratch").read_dir().is_ok_and(|mut left| left.next().is_some()));
    // Without the flag keys are named and left, which is no failure.
    let plain = dir.path().join("plain");
    ok(&plain, &["init"]);
    let came = json(&plain, &["repo", "import", "--from-kubo", from]);
    let left: Vec<_> = came["left_behind"].as_array().unwrap().iter().map(|left| &left["name"]).collect();
    assert_eq!(left, ["old-key", "site"]);
    assert!(!plain.join("keys").exists());
}

#[test]
fn a_kubo_folder_in_use_or_damaged_says_so() {
    let dir = tempfile::tempdir().unwrap();
    unpack("kubo-repo.tar.gz", dir.path());
    let (kubo, to) = (dir.path().join("kubo"), dir.path().join("to"));
    let args = ["repo", "import", "--from-kubo", kubo.to_str().unwrap()];
    ok(&to, &["init"]);
    // A Kubo that ends takes the file away.
    let lock = fs::File::create(kubo.join("repo.lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::LockExclusive).unwrap();
    let told = fails(&to, &args);
    assert!(told.contains("a Kubo runs on") && told.contains("ipfs shutdown"), "{told}");
    drop(lock);
    // One block damaged: what lies above it stays behind, the rest comes.
    let large = files(&kubo.join("blocks")).into_iter().find(|(_, bytes)| bytes.len() > 200_000).unwrap().0;
    let mut bent = fs::read(&large).unwrap();
    bent[1000] ^= 1;
    fs::write(&large, bent).unwrap();
    let told = fails(&to, &args);
    assert!(told.contains(&format!("left behind: pin {KUBO_TREE}")), "{told}");
    assert_eq!(sorted_pins(&to).len(), 3);
    ok(&to, &["pin", "verify"]);
    fs::write(kubo.join("datastore_spec"), r#"{"type":"pebbleds","path":"pebbleds"}"#).unwrap();
    assert!(fails(&to, &args).contains("--from-kubo ADDRESS"));
    fs::remove_file(kubo.join("datastore_spec")).unwrap();
    assert!(fails(&to, &args).contains("~/.ipfs"));
    assert!(fails(&to, &["repo", "import", "--from-kubo", "nowhere at all"]).contains("no such folder"));
}

/// The repo in the fixture, made by the first version (commit 8a426bf), and what it printed.
const FIRST_ID: &str = "12D3KooWCSjaZrfWV96ChzGUKmiwuaAAPPVxbGZHsseRnaZMHp8x";
const FIRST_TREE: &str = "Qmee2ZyKeZBUwz9nKgdqqHeYC1Xi6Cv93JqQAW1xTmwuJg";
const FIRST_LOOSE: &str = "Qmf32jcjzuB6DJmYykhQbdLM9qb2eWqHFTk2YUGaicyKkG";
const FIRST_PINS: [&str; 3] = [
    "QmQJNMUFMN2TFGrTuHfHsPTYEmwG75QMxDnv1VcHP1go2n direct näme",
    "Qmee2ZyKeZBUwz9nKgdqqHeYC1Xi6Cv93JqQAW1xTmwuJg recursive the tree",
    "bafybeiaz6ztzjnzcgcjx4ous4y3ud5lz5xxquarla7gzx2a6hmrdfx6kv4 recursive",
];

#[test]
fn a_repo_of_the_first_version_opens() {
    let dir = tempfile::tempdir().unwrap();
    unpack("first-repo.tar.gz", dir.path());
    let (repo, tree) = (dir.path().join("first"), dir.path().join("tree"));
    assert_eq!(json(&repo, &["id"])["id"], FIRST_ID);
    assert_eq!(sorted_pins(&repo), FIRST_PINS);
    ok(&repo, &["pin", "verify"]);
    assert_eq!(ok(&repo, &["cat", FIRST_PINS[0].split(' ').next().unwrap()]), "kept alone");
    assert_eq!(ok(&repo, &["cat", FIRST_LOOSE]), "nobody keeps this");
    // A file of several blocks, an empty one, a folder and a sharded one.
    let mut made: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    made.insert(tree.join("hello"), b"hello world".to_vec());
    made.insert(tree.join("empty"), Vec::new());
    made.insert(tree.join("large"), vec![b'x'; 700_000]);
    made.extend((1..=12).map(|n| (tree.join(format!("deep/{n}.txt")), format!("file {n}\n").into_bytes())));
    let pad = "n".repeat(180);
    made.extend((1..=1250).map(|n| (tree.join(format!("many/{pad}{n:04}")), b"x".to_vec())));
    ok(&repo, &["get", FIRST_TREE, "-o", tree.to_str().unwrap()]);
    assert!(files(&tree) == made);
    // Today the same tree is the same, and what is new lies beside it.
    let (before, new) = (kept_in(&repo), dir.path().join("new"));
    assert_eq!(json(&repo, &["add", "-r", "--pin=false", tree.to_str().unwrap()])["cid"], FIRST_TREE);
    assert_eq!(kept_in(&repo), before);
    fs::write(&new, "added today").unwrap();
    let added = json(&repo, &["add", new.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    ok(&repo, &["files", "cp", &format!("/ipfs/{FIRST_TREE}"), "/first"]);
    assert_eq!(ok(&repo, &["files", "read", "/first/hello"]), "hello world");
    ok(&repo, &["pin", "rm", FIRST_PINS[2].split(' ').next().unwrap()]);
    ok(&repo, &["pin", "verify"]);
    assert_eq!(ok(&repo, &["cat", &added]), "added today");
    // And it can leave as a whole.
    let (out, to) = (dir.path().join("out"), dir.path().join("to"));
    ok(&repo, &["repo", "export", out.to_str().unwrap()]);
    ok(&to, &["init"]);
    ok(&to, &["repo", "import", out.to_str().unwrap()]);
    assert_eq!(kept_in(&to), kept_in(&repo));
}
