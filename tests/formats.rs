//! Formats at the command line and over HTTP: dag, block, cid, refs, resolve, archives.

mod common;

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

use common::{Daemon, Start, binary};
use serde_json::{Value, json};

/// `{"object":{"with":{"4":"nested","objects":{"!":"!"}}}}` of the published fixtures, as DAG-CBOR and DAG-JSON.
const NESTED: &str = "{\"object\": {\"with\": {\"objects\": {\"!\": \"!\"}, \"4\": \"nested\"}}}";
const NESTED_CBOR: &str = "bafyreib7zq4mhl7fwtmftjn7d7mmlwf6gi32vimlsjkn25w2e5xlhz2deu";
const NESTED_JSON: &str = "baguqeeraf5gk7lfzh2l2hgbsqiv5z4oj5kxhnv6keki7zvcsont3ejnou4bq";

fn fed(repo: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = binary()
        .arg("--repo")
        .arg(repo)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn ok(repo: &Path, args: &[&str], input: impl AsRef<[u8]>) -> String {
    let out = fed(repo, args, input.as_ref());
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

fn object(repo: &Path, args: &[&str], input: impl AsRef<[u8]>) -> Value {
    let text = ok(repo, &[args, &["--format", "json"]].concat(), input);
    assert_eq!(text.lines().count(), 1, "one object a command: {text}");
    serde_json::from_str(&text).unwrap()
}

fn fails(repo: &Path, args: &[&str], input: impl AsRef<[u8]>) -> String {
    let out = fed(repo, args, input.as_ref());
    assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8(out.stderr).unwrap()
}

fn repo(folder: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    let repo = folder.path().join(name);
    ok(&repo, &["init"], "");
    repo
}

#[test]
fn values_are_stored_read_and_followed_through_all_codecs() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repo(&folder, "repo");
    assert_eq!(ok(&repo, &["dag", "put"], NESTED), NESTED_CBOR);
    assert_eq!(object(&repo, &["dag", "put", "--store-codec", "dag-json"], NESTED)["cids"], json!([NESTED_JSON]));
    assert_eq!(
        ok(&repo, &["dag", "get", NESTED_CBOR], ""),
        "{\"object\":{\"with\":{\"4\":\"nested\",\"objects\":{\"!\":\"!\"}}}}"
    );
    assert_eq!(ok(&repo, &["dag", "get", &format!("{NESTED_CBOR}/object/with/4")], ""), "\"nested\"");
    assert_eq!(ok(&repo, &["dag", "get", NESTED_JSON, "--output-codec", "json"], "").lines().count(), 10);

    // A folder below a list in DAG-JSON below a map in DAG-CBOR.
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a.txt"), "in the folder").unwrap();
    let dir = object(&repo, &["add", "-r", tree.to_str().unwrap()], "")["cid"].as_str().unwrap().to_owned();
    let list = ok(&repo, &["dag", "put", "--store-codec", "dag-json"], format!("[1, {{\"/\": \"{dir}\"}}, \"x\"]"));
    let map = ok(&repo, &["dag", "put"], format!("{{\"list\": {{\"/\": \"{list}\"}}, \"deep\": {{\"er\": 5}}}}"));
    assert_eq!(ok(&repo, &["cat", &format!("/ipfs/{map}/list/1/a.txt")], ""), "in the folder");
    let file = ok(&repo, &["resolve", &format!("/ipfs/{map}/list/1/a.txt")], "");
    assert!(file.starts_with("/ipfs/b"), "in the multibase of the question: {file}");
    assert_eq!(ok(&repo, &["cat", &file], ""), "in the folder");
    assert_eq!(ok(&repo, &["resolve", &format!("{map}/list/2")], ""), format!("/ipfs/{list}/2"));
    let found = object(&repo, &["dag", "resolve", &format!("{map}/deep/er")], "");
    assert_eq!((&found["cid"], &found["rest"]), (&json!(map), &json!("/deep/er")));
    let base36 = ok(&repo, &["dag", "resolve", &map, "--cid-base", "base36"], "");
    assert!(base36.starts_with('k'), "{base36}");

    assert!(fails(&repo, &["dag", "get", &format!("{map}/nowhere")], "").contains("nowhere"));
    assert!(fails(&repo, &["cat", &format!("{map}/deep/er")], "").contains("into the middle"));
    assert!(fails(&repo, &["dag", "put"], "{\"a\":1,\"a\":2}").contains("stands twice"));
    assert!(fails(&repo, &["dag", "put", "--store-codec", "dag-pb"], "{}").contains("Links"));
    assert!(fails(&repo, &["dag", "put", "--store-codec", "nonsense"], "1").contains("nonsense"));

    let stat = object(&repo, &["dag", "stat", &map, &list], "");
    assert_eq!((&stat["dags"][0]["blocks"], &stat["dags"][1]["blocks"]), (&json!(4), &json!(3)));
    assert_eq!(stat["unique_blocks"], 4);
    let bytes = |n: usize| stat["dags"][n]["bytes"].as_u64().unwrap();
    assert_eq!((stat["unique_bytes"].as_u64(), stat["shared_bytes"].as_u64()), (Some(bytes(0)), Some(bytes(1))));

    assert_eq!(ok(&repo, &["refs", &map], ""), list);
    let refs = object(&repo, &["refs", "-r", "-u", &map], "");
    assert_eq!(refs["refs"].as_array().unwrap().len(), 3);
    assert_eq!(refs["refs"][0], json!(list));
    assert_eq!(ok(&repo, &["refs", "--edges", &map], ""), format!("{map} -> {list}"));
    assert!(ok(&repo, &["refs", "--template", "<linkname>", &dir], "").contains("a.txt"));
    assert_eq!(ok(&repo, &["refs", "-r", "--max-depth", "2", &map], "").lines().count(), 2);
    assert!(ok(&repo, &["refs", "local"], "").lines().count() >= 6);
}

#[test]
fn archives_go_out_and_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (repo(&folder, "one"), repo(&folder, "two"));
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("big"), vec![3; 1_000_000]).unwrap();
    std::fs::write(tree.join("sub/small"), "small").unwrap();
    let cid = object(&one, &["add", "-r", tree.to_str().unwrap()], "")["cid"].as_str().unwrap().to_owned();
    let archive = fed(&one, &["dag", "export", &cid], b"");
    assert!(archive.status.success());
    let file = folder.path().join("tree.car");
    std::fs::write(&file, &archive.stdout).unwrap();
    let path = file.to_str().unwrap();

    let shown = object(&two, &["dag", "import", path], "");
    assert_eq!(shown["roots"], json!([{"cid": cid, "pinned": true, "error": null}]));
    assert_eq!(shown["blocks"], object(&one, &["dag", "stat", &cid], "")["unique_blocks"]);
    assert_eq!(ok(&two, &["cat", &format!("{cid}/sub/small")], ""), "small");
    assert_eq!(object(&two, &["list-pins"], "")["pins"][0]["cid"], json!(cid));
    assert_eq!(fed(&two, &["dag", "export", &cid], b"").stdout, archive.stdout, "the same bytes again");
    let text = ok(&two, &["dag", "import", "--stats"], &archive.stdout);
    assert!(text.starts_with(&format!("Pinned root\t{cid}\tsuccess\nImported ")), "{text}");
    assert_eq!(ok(&two, &["dag", "import", "--silent", "-"], &archive.stdout), "");

    // A part: what is missing is left out, and cannot be pinned.
    let big = ok(&one, &["resolve", &format!("{cid}/big")], "").trim_start_matches("/ipfs/").to_owned();
    ok(&one, &["unpin", &cid], "");
    ok(&one, &["block", "rm", &big], "");
    let error = fails(&one, &["dag", "export", &cid, "--offline"], "");
    assert!(error.contains(&big) && error.contains("not found locally"), "{error}");
    let part = fed(&one, &["dag", "export", "--local-only", &cid], b"").stdout;
    assert!(part.len() < archive.stdout.len());
    let three = repo(&folder, "three");
    let error = fails(&three, &["dag", "import"], &part);
    assert!(error.contains("pinning root") && error.contains(&big), "{error}");
    assert_eq!(object(&three, &["list-pins"], "")["pins"], json!([]));
    ok(&three, &["dag", "import", "--local-only"], &part);
    let cut = fails(&three, &["dag", "import"], &archive.stdout[..archive.stdout.len() - 10]);
    assert!(cut.contains("the import failed after block"), "{cut}");
}

#[test]
fn blocks_are_put_and_removed_unless_something_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repo(&folder, "repo");
    let raw = ok(&repo, &["block", "put"], "hello world");
    assert_eq!(raw, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    assert_eq!(object(&repo, &["block", "stat", &raw], "")["size"], 11);
    assert_eq!(ok(&repo, &["block", "get", &raw], ""), "hello world");
    let cbor = ok(&repo, &["block", "put", "--cid-codec", "dag-cbor", "--mhtype", "blake3"], b"\xa0");
    assert!(ok(&repo, &["cid", "format", "-f", "%P", &cbor], "") == "cidv1-dag-cbor-blake3-32");
    let v0 = ok(&repo, &["block", "put", "--cid-version", "0"], b"\x0a\x02\x08\x01");
    assert_eq!(v0, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    assert!(ok(&repo, &["block", "stat", &v0, "--cid-base", "base32"], "").starts_with("Key: bafybeicz"));

    let root = ok(&repo, &["dag", "put", "--pin"], format!("[{{\"/\": \"{raw}\"}}]"));
    for (cid, why) in [(&root, "recursive"), (&raw, "indirect")] {
        let error = fails(&repo, &["block", "rm", cid], "");
        assert!(error.contains(&format!("cannot remove {cid}: pinned: {why}")), "{error}");
    }
    assert_eq!(ok(&repo, &["block", "rm", &cbor, &v0], ""), format!("removed {cbor}\nremoved {v0}"));
    assert!(fails(&repo, &["block", "get", &cbor, "--offline"], "").contains("not found locally"));
    // The empty directory is known without being here.
    assert_eq!(ok(&repo, &["block", "get", &v0, "--offline"], "").as_bytes(), b"\x0a\x02\x08\x01");
    assert!(fails(&repo, &["block", "rm", &v0], "").contains("not found locally"));
    assert_eq!(ok(&repo, &["block", "rm", "--force", "--quiet", &v0], ""), "");
}

#[test]
fn cids_are_rewritten_and_taken_apart_without_a_repo() {
    let nowhere = Path::new("/nonexistent/repo");
    let v0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    let v1 = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";
    assert_eq!(ok(nowhere, &["cid", "base32", v0], ""), v1);
    assert_eq!(ok(nowhere, &["cid", "format", "--cid-version", "0"], format!("{v1}\n{v0}\n")), format!("{v0}\n{v0}"));
    let shown = object(nowhere, &["cid", "inspect", v0], "");
    assert_eq!((&shown["cid_v1"], &shown["multicodec"]["name"]), (&json!(v1), &json!("dag-pb")));
    let text = ok(nowhere, &["cid", "inspect", v0], "");
    assert!(text.contains("Multibase:  base58btc (implicit)\nMulticodec: dag-pb (0x70, implicit)"), "{text}");
    assert!(
        fails(nowhere, &["cid", "inspect", "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"], "")
            .contains("peer id")
    );
    assert!(fails(nowhere, &["cid", "base32", "nonsense"], "").contains("nonsense"));
    assert!(ok(nowhere, &["cid", "bases", "--prefix", "--numeric"], "").contains("b      98  base32\n"));
    assert!(
        ok(nowhere, &["cid", "codecs", "-s"], "").lines().eq(["cbor", "raw", "dag-pb", "dag-cbor", "dag-json", "json"])
    );
    assert!(ok(nowhere, &["cid", "hashes", "-n"], "").contains("   18  sha2-256\n"));
}

/// A block that hashes right and is not what its codec says: it may be had, but what lies below it is never taken to be
/// nothing.
#[test]
fn malformed_blocks_of_others_are_not_taken_for_whole() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { namespace: "malformed", ..Start::default() };
    let one = Daemon::start(&folder.path().join("one"), &start);
    let two = Daemon::start(&folder.path().join("two"), &start);
    one.ok(&["connect", &two.address()]);
    let file = folder.path().join("bad");
    std::fs::write(&file, b"\x1a\x00 is no node").unwrap();
    for codec in ["dag-pb", "dag-cbor", "dag-json"] {
        let put = one.json(&["block", "put", "--cid-codec", codec, file.to_str().unwrap()]);
        let cid = put["blocks"][0]["cid"].as_str().unwrap();
        for _ in 0..2 {
            // The second time it is here already.
            let error = two.fails(&["pin", cid, "--timeout", "20s"]);
            assert!(error.contains(&format!("malformed {codec}")), "{error}");
        }
        assert_eq!(two.json(&["list-pins"])["pins"], json!([]));
        assert_eq!(two.ok(&["block", "get", cid]), std::fs::read(&file).unwrap());
        assert!(one.fails(&["pin", cid]).contains(&format!("malformed {codec}")));
    }
}
