//! Several things in one command: add, cat, ls, get, stat, pin; archives; other spellings.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::binary;
use serde_json::{Value, json};

/// A well-formed CID nobody has.
const ABSENT: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        place.ok(&["init"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, adds it and gives its CID.
    fn added(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.ok(&["add", "--quiet", name]).trim_end().to_owned()
    }

    /// Runs a verb in the folder.
    fn run(&self, args: &[&str]) -> Output {
        binary().current_dir(&self.folder).args(["--repo", "repo"]).args(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--format", "json"]].concat());
        assert_eq!(text.lines().count(), 1, "one object a command: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The command must end with 1; gives what it said on both streams.
    fn fails(&self, args: &[&str]) -> (String, String) {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
        (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    }
}

fn tool(name: &str, args: &[&str], at: &Path) -> Vec<u8> {
    let out = Command::new(name).args(args).current_dir(at).output().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn several_are_added_and_each_error_is_said() {
    let place = Place::new();
    let names: Vec<String> = (0..10).map(|n| format!("file-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        fs::write(place.path(name), format!("this is {n}")).unwrap();
    }
    let args: Vec<&str> = ["add", "--parallel"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let all = place.json(&args);
    let said: Vec<&str> = all["roots"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(said, names, "in the order they were named");
    assert_eq!(all["cid"], all["roots"][9]["cid"]);
    for (n, root) in all["roots"].as_array().unwrap().iter().enumerate() {
        assert_eq!(place.ok(&["cat", root["cid"].as_str().unwrap()]), format!("this is {n}"));
    }

    let (out, err) = place.fails(&["add", "--quiet", "file-3", "gone-1", "file-1", "gone-2"]);
    assert_eq!(out.lines().collect::<Vec<_>>(), [&all["roots"][3]["cid"], &all["roots"][1]["cid"]]);
    let errors: Vec<&str> = err.lines().collect();
    assert_eq!(errors.len(), 3, "{err}");
    assert!(errors[0].contains("gone-1") && errors[1].contains("gone-2") && errors[2].contains("2 of 4"), "{err}");
    let (out, err) = place.fails(&["add", "gone-1"]);
    assert!(out.is_empty() && err.lines().count() == 1, "{out}{err}");
}

#[test]
fn files_are_read_one_behind_the_other() {
    let place = Place::new();
    let (a, b, c) = (place.added("a", "abcde"), place.added("b", ""), place.added("c", "0123456789".repeat(100_000)));
    assert_eq!(place.ok(&["cat", &a, &b, &a]), "abcdeabcde");
    let whole = format!("abcde{}abcde", "0123456789".repeat(100_000));
    assert_eq!(place.ok(&["cat", &a, &c, &a]), whole);
    for (offset, length) in [(0, 3), (3, 4), (5, 5), (4, 999_999), (500_000, 600_000), (1_000_004, 9), (1_000_010, 1)] {
        let (o, l) = (offset.to_string(), length.to_string());
        let end = whole.len().min(offset + length);
        let part = place.ok(&["cat", &a, &b, &c, &a, "--offset", &o, "--length", &l]);
        assert!(part == whole[offset.min(end)..end], "{offset} {length}");
    }
    assert_eq!(place.ok(&[&["cat"], vec![a.as_str(); 256].as_slice()].concat()), "abcde".repeat(256));
    let (out, err) = place.fails(&[&["cat"], vec![a.as_str(); 257].as_slice()].concat());
    assert!(out.is_empty() && err.contains("257") && err.contains("256"), "{out}{err}");
    let (out, err) = place.fails(&["cat", &a, ABSENT]);
    assert!(out.is_empty() && err.contains(ABSENT), "nothing, rather than a part: {out}{err}");
    let folder = place.ok(&["add", "--quiet", "-w", "a"]);
    let (out, err) = place.fails(&["cat", &a, folder.trim_end()]);
    assert!(out.is_empty() && err.contains("directory"), "{out}{err}");
}

#[test]
fn several_are_got_each_under_its_own_name() {
    let place = Place::new();
    fs::create_dir(place.path("photos")).unwrap();
    fs::write(place.path("photos/one.jpg"), "one").unwrap();
    let (a, b) = (place.added("a", "first"), place.added("b", "second"));
    let photos = place.json(&["add", "-r", "photos"])["cid"].as_str().unwrap().to_owned();
    let one = format!("/ipfs/{photos}/one.jpg");

    let got = place.json(&["get", "--parallel", &a, &photos, &one, &b, "-o", "all"]);
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read(&format!("all/{a}")), "first");
    assert_eq!(read(&format!("all/{b}")), "second");
    assert_eq!(read(&format!("all/{photos}/one.jpg")), "one");
    assert_eq!(read("all/one.jpg"), "one");
    let cids: Vec<&Value> = got["items"].as_array().unwrap().iter().map(|item| &item["cid"]).collect();
    assert_eq!(cids, [&json!(a), &json!(photos), &json!(one), &json!(b)]);
    assert_eq!((&got["cid"], &got["size"], &got["files"]), (&json!(b), &json!(6), &json!(1)));

    // Without -o they go into this folder, under the last part of their paths.
    place.ok(&["get", &one]);
    assert_eq!(read("one.jpg"), "one");
    place.ok(&["get", &a, &b]);
    assert_eq!((read(&a), read(&b)), ("first".into(), "second".into()));
    place.ok(&["get", &a, "--output-dir", "deep/down"]);
    assert_eq!(read(&format!("deep/down/{a}")), "first");

    let (out, err) = place.fails(&["get", ABSENT, &a, "--output-dir", "some"]);
    assert_eq!(read(&format!("some/{a}")), "first");
    assert!(out.contains(&a) && err.contains(ABSENT) && err.contains("1 of 2"), "{out}{err}");
    assert_eq!(fs::read_dir(place.path("some")).unwrap().count(), 1, "nothing is left of what failed");
    let (out, err) = place.fails(&["get", &one, &one, "-o", "twice"]);
    assert!(out.is_empty() && err.contains("twice/one.jpg") && !place.path("twice").exists(), "{out}{err}");
}

#[test]
fn archives_hold_what_get_would_write() {
    let place = Place::new();
    fs::create_dir_all(place.path("photos/2026")).unwrap();
    let large = "0123456789".repeat(100_000);
    fs::write(place.path("photos/large"), &large).unwrap();
    fs::write(place.path("photos/2026/one.jpg"), "one").unwrap();
    let photos = place.json(&["add", "-r", "photos"])["cid"].as_str().unwrap().to_owned();
    let unpacked = |archive: &str, how: &str| {
        let to = place.path("unpacked");
        fs::create_dir(&to).unwrap();
        tool("tar", &[how, &format!("../{archive}")], &to);
        let got = fs::read_to_string(to.join(&photos).join("2026/one.jpg")).unwrap();
        assert_eq!((got.as_str(), fs::read_to_string(to.join(&photos).join("large")).unwrap()), ("one", large.clone()));
        fs::remove_dir_all(to).unwrap();
        fs::metadata(place.path(archive)).unwrap().len()
    };
    // Named as Kubo names them.
    let got = place.json(&["get", "-a", &photos]);
    assert_eq!((&got["path"], &got["files"]), (&json!(format!("{photos}.tar")), &Value::Null));
    let plain = unpacked(&format!("{photos}.tar"), "xf");
    assert_eq!(got["size"], plain);
    place.ok(&["get", "--archive", &photos, "-o", "photos.tar"]);
    assert_eq!(unpacked("photos.tar", "xf"), plain);
    place.ok(&["get", "-a", "-C", &photos]);
    let packed = unpacked(&format!("{photos}.tar.gz"), "xzf");
    assert!(packed * 10 < plain, "{packed} of {plain}");
    place.ok(&["get", "-aC", "--compression-level", "1", &photos, "-o", "fast.tar.gz"]);
    assert!(unpacked("fast.tar.gz", "xzf") > packed, "harder work makes it smaller");

    let file = format!("{photos}/large");
    place.ok(&["get", "-C", "-l", "9", &file]);
    assert_eq!(tool("gzip", &["-dc", "large.gz"], place.folder.path()), large.as_bytes());
    let (out, err) = place.fails(&["get", "-C", &photos]);
    assert!(out.is_empty() && err.contains("directory"), "a folder needs an archive: {out}{err}");
    assert!(!place.path(&format!("{photos}.gz")).exists());
    assert_eq!(place.run(&["get", "-C", "-l", "10", &file]).status.code(), Some(2));
    place.fails(&["get", "-a", ABSENT]);
    let left = fs::read_dir(place.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("ipfs-kit") || name.contains(ABSENT)).count(), 0);
}

#[test]
fn stat_says_what_cids_are() {
    let place = Place::new();
    fs::create_dir(place.path("photos")).unwrap();
    fs::write(place.path("photos/one.jpg"), "one").unwrap();
    let photos = place.json(&["add", "-r", "photos"])["cid"].as_str().unwrap().to_owned();
    let stat = place.json(&["stat", &photos]);
    let block = place.json(&["block", "stat", &photos])["size"].as_u64().unwrap();
    let below = place.json(&["block", "stat", &format!("{photos}/one.jpg")])["size"].as_u64().unwrap();
    let expected = json!({
        "cid": photos, "type": "directory", "codec": "dag-pb", "block_size": block, "links": 1, "size": null,
        "cumulative_size": block + below,
    });
    assert_eq!(stat["stats"], json!([expected]));
    assert_eq!(stat["cumulative_size"], expected["cumulative_size"]);

    let large = place.added("large", "x".repeat(1_000_000));
    let raw = place.ok(&["add", "-Q", "--cid-version", "1", "photos/one.jpg"]);
    fs::write(place.path("value.json"), format!("{{\"a\": {{\"/\": \"{large}\"}}, \"b\": 1}}")).unwrap();
    let value = place.ok(&["dag", "put", "value.json"]);
    let stats = place.json(&["stat", &large, raw.trim_end(), value.trim_end(), &format!("{photos}/one.jpg")]);
    let shown: Vec<_> =
        stats["stats"].as_array().unwrap().iter().map(|s| (&s["type"], &s["links"], &s["size"])).collect();
    assert_eq!(shown[0], (&json!("file"), &json!(4), &json!(1_000_000)), "four chunks");
    assert_eq!(shown[1], (&json!("file"), &json!(0), &json!(3)));
    assert_eq!(shown[2], (&json!("unknown"), &json!(1), &Value::Null));
    assert_eq!(stats["stats"][2]["cumulative_size"], Value::Null, "DAG-CBOR does not say it");
    assert_eq!(stats["stats"][3]["cumulative_size"], below);
    let measured = place.json(&["dag", "stat", &photos])["unique_bytes"].as_u64().unwrap();
    assert_eq!(expected["cumulative_size"], measured);

    let (out, err) = place.fails(&["stat", ABSENT, &photos]);
    assert!(out.starts_with(&photos) && err.contains(ABSENT), "{out}{err}");
    let (out, err) = place.fails(&["stat", ABSENT]);
    assert!(out.is_empty() && err.contains(ABSENT), "{out}{err}");
}

#[test]
fn folders_are_listed_as_they_come() {
    let place = Place::new();
    fs::create_dir_all(place.path("photos/2026")).unwrap();
    fs::write(place.path("photos/b.jpg"), "two").unwrap();
    fs::write(place.path("photos/a\tb"), "a tab").unwrap();
    std::os::unix::fs::symlink("b.jpg", place.path("photos/link")).unwrap();
    let add = ["add", "-r", "--mode", "0640", "--mtime", "1709210096", "photos"];
    let photos = place.json(&add)["cid"].as_str().unwrap().to_owned();
    let listed = place.json(&["ls", &photos]);
    let entries: Vec<_> = listed["entries"].as_array().unwrap().iter().collect();
    let shown: Vec<_> = entries.iter().map(|e| (&e["name"], &e["type"], &e["size"], &e["target"])).collect();
    let (none, file) = (Value::Null, json!("file"));
    let expected = [
        (&json!("2026"), &json!("directory"), &none, &none),
        (&json!("a\tb"), &file, &json!(5), &none),
        (&json!("b.jpg"), &file, &json!(3), &none),
        (&json!("link"), &json!("symlink"), &json!(5), &json!("b.jpg")),
    ];
    assert_eq!(shown, expected);
    assert_eq!((&entries[2]["mode"], &entries[2]["mtime"]), (&json!("0640"), &json!("2024-02-29T12:34:56Z")));
    assert_eq!(entries[2]["path"], photos.as_str());
    let cid = |n: usize| entries[n]["cid"].as_str().unwrap();
    let lines = [
        format!("{}\t-\t2026/", cid(0)),
        format!("{}\t5\ta\\tb", cid(1)),
        format!("{}\t3\tb.jpg", cid(2)),
        format!("{}\t5\tlink", cid(3)),
    ];
    assert_eq!(place.ok(&["ls", &photos]).lines().collect::<Vec<_>>(), lines);
    let long = place.ok(&["ls", "-l", "--headers", &photos]);
    assert!(long.starts_with("CID\tSize\tMode\tModified\tName\n"), "{long}");
    assert!(long.contains(&format!("{}\t3\t-rw-r-----\t2024-02-29T12:34:56Z\tb.jpg\n", cid(2))), "{long}");
    let bare = place.ok(&["ls", "--size=false", "--resolve-type=false", &photos]);
    assert!(bare.contains(&format!("{}\tb.jpg\n", cid(2))), "{bare}");
    assert_eq!(place.ok(&["ls", "--quiet", &photos]).lines().collect::<Vec<_>>(), [cid(0), cid(1), cid(2), cid(3)]);

    // A sharded one, whole, and several with one that is not here.
    fs::create_dir(place.path("large")).unwrap();
    for n in 0..600 {
        fs::write(place.path(&format!("large/entry-{n:04}")), n.to_string()).unwrap();
    }
    let large = place.ok(&["add", "-q", "-r", "--max-directory-links", "64", "--max-hamt-fanout", "16", "large"]);
    let large = large.trim_end();
    let listed = place.json(&["ls", large]);
    let mut names: Vec<_> = listed["entries"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert!(!names.is_sorted(), "it is sharded");
    names.sort();
    assert_eq!(names, (0..600).map(|n| format!("entry-{n:04}")).collect::<Vec<_>>());
    let (out, err) = place.fails(&["ls", &photos, ABSENT, large]);
    assert!(out.starts_with(&format!("{photos}:\n")) && out.contains(&format!("\n\n{large}:\n")), "{out}");
    assert!(err.contains(ABSENT) && err.contains("1 of 3"), "{err}");
    assert_eq!(out.lines().count(), 4 + 600 + 3);
}

#[test]
fn all_formats_say_the_same() {
    let place = Place::new();
    let (a, b) = (place.added("a", "first"), place.added("b", "second"));
    let folder = place.ok(&["add", "-Q", "-w", "a", "b"]).trim_end().to_owned();
    let verbs: [&[&str]; 10] = [
        &["id"],
        &["version"],
        &["add", "a", "b"],
        &["pin", "ls"],
        &["ls", &folder],
        &["stat", &a, &folder],
        &["config", "show"],
        &["refs", &folder],
        &["files", "stat", "/"],
        &["dag", "stat", &a, &b],
    ];
    for verb in verbs {
        let format = |format: &str| place.ok(&[verb, &["--format", format]].concat());
        let json: Value = serde_json::from_str(&format("json")).unwrap();
        let yaml: Value = serde_saphyr::from_str(&format("yaml")).unwrap_or_else(|e| panic!("{verb:?}: {e}"));
        assert_eq!(yaml, json, "{verb:?}");
        assert!(!format("yaml").starts_with('{'), "{verb:?}: for people");
        let table = format("table");
        assert!(table.lines().count() > 1 && !table.contains('\t'), "{verb:?}: {table}");
    }
    let table = place.ok(&["ls", &folder, "--format", "table"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["CID", "MODE", "MTIME", "NAME", "PATH", "SIZE", "TARGET", "TYPE"]
    );
    let at = lines[0].find("NAME").unwrap();
    assert_eq!((&lines[1][at..=at], &lines[2][at..=at], lines.len()), ("a", "b", 3), "{table}");
    assert_eq!(
        place.ok(&["ls", place.ok(&["files", "stat", "--hash", "/"]).trim_end(), "--format", "yaml"]),
        "entries: []\n"
    );
}

#[test]
fn the_spelling_with_commas_says_the_same() {
    let place = Place::new();
    let (a, b) = (place.added("a", "first"), place.added("b", "second"));
    assert_eq!(place.ok(&["ipfs", "add", "-q", "a,b", "--parallel"]), format!("{a}\n{b}\n"));
    place.ok(&["ipfs", "get", &format!("{a},{b}"), "--parallel", "--output-dir", "downloads"]);
    assert_eq!(fs::read_to_string(place.path(&format!("downloads/{b}"))).unwrap(), "second");
    place.ok(&["unpin", &a, &b]);
    assert_eq!(place.json(&["list-pins"])["pins"], json!([]));
    let pinned = place.json(&["ipfs", "pin", &format!("{a},{b}"), "--parallel", "--pin-action", "add"]);
    assert_eq!(pinned["pins"].as_array().unwrap().len(), 2);
    place.ok(&["ipfs", "pin", "--pin-action=rm", &format!("{a},{b}")]);
    assert_eq!(place.json(&["list-pins"])["pins"], json!([]));
    let out = place.run(&["ipfs", "no-such-verb"]);
    assert_eq!(out.status.code(), Some(2));
}
