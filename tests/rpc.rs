//! `/api/v0` as Kubo's clients see it: statuses and shapes of errors, listings, archives and ranges.

mod common;

use std::{io::Read, path::Path};

use common::{Daemon, FORM, Start, form, http, http_bytes};
use serde_json::Value;

/// A well-formed CID nobody has.
const ABSENT: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
/// Requests that fail, with what they are answered; tests/interop/kubo.sh asks Kubo for the same.
const ERRORS: &str = include_str!("interop/errors.txt");

fn start(folder: &Path) -> Daemon {
    Daemon::start(&folder.join("repo"), &Start { namespace: "rpc", ..Start::default() })
}

fn escape(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '<' | '>') { format!("%{:02X}", c as u32) } else { c.to_string() }).collect()
}

/// A file of 12 bytes and a folder with the file `inner/below`.
fn fill(daemon: &Daemon, folder: &Path) -> (String, String) {
    let (file, dir) = (folder.join("hello.txt"), folder.join("dir"));
    std::fs::write(&file, "hello world\n").unwrap();
    std::fs::create_dir_all(dir.join("inner")).unwrap();
    std::fs::write(dir.join("inner/below"), "below\n").unwrap();
    let add = |path: &Path| daemon.json(&["add", "-r", path.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    (add(&file), add(&dir))
}

#[test]
fn what_goes_wrong_is_answered_as_kubo_answers_it() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path());
    let (file, dir) = fill(&daemon, folder.path());
    let mut asked = 0;
    for line in ERRORS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().unwrap();
        let (status, code, request) = (next(), next(), next());
        let request = request.replace("{file}", &file).replace("{dir}", &dir).replace("{absent}", ABSENT);
        let (got, head, body) = http(&daemon, &format!("POST /api/v0/{}", escape(&request)), &[], "");
        assert_eq!(got.to_string(), status, "{request}: {body}");
        assert!(head.contains("content-type: application/json"), "{request}: {head}");
        let error: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{request}: {e}: {body}"));
        let code = if code == "-" { Value::from(1) } else { Value::from(code.parse::<u64>().unwrap()) };
        assert_eq!((&error["Type"], &error["Code"]), (&Value::from("error"), &code), "{request}: {body}");
        assert!(error["Message"].as_str().is_some_and(|text| text.len() > 5), "{request}: {body}");
        asked += 1;
    }
    assert!(asked > 80, "{asked} requests");
    assert_eq!(http(&daemon, "POST /api/v0/nonsense", &[], "").0, 404);
    assert_eq!(http(&daemon, "GET /api/v0/id", &[], "").0, 405);
}

#[test]
fn folders_are_listed_at_once_or_as_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path());
    let (file, dir) = fill(&daemon, folder.path());
    let ask = |query: &str| {
        let (status, head, body) = http(&daemon, &format!("POST /api/v0/ls?{query}"), &[], "");
        assert_eq!(status, 200, "{query}: {body}");
        (head, body)
    };
    let (_, body) = ask(&format!("arg={dir}&arg={dir}/inner&arg={file}"));
    let reply: Value = serde_json::from_str(&body).unwrap();
    let below = &reply["Objects"][1]["Links"][0];
    assert_eq!(reply["Objects"][1]["Hash"], format!("{dir}/inner"));
    assert_eq!((&below["Name"], &below["Type"], &below["Size"]), (&"below".into(), &2.into(), &6.into()), "{body}");
    assert_eq!((&below["Mode"], &below["ModTime"]), (&0.into(), &"0001-01-01T00:00:00Z".into()), "{body}");
    assert_eq!(reply["Objects"][2]["Links"].as_array().map(Vec::len), Some(0), "a file of one block has no links");
    let (_, body) = ask(&format!("arg={dir}&resolve-type=false&size=false"));
    assert!(body.contains(r#""Size":0,"Type":0"#), "{body}");

    let (head, body) = ask(&format!("arg={dir}&arg={dir}/inner&s=true"));
    assert!(head.contains("x-chunked-output: 1"), "{head}");
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|l| l["Objects"][0]["Links"][0]["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["inner", "below"], "{body}");
}

#[test]
fn files_are_read_behind_each_other_and_archives_are_packed_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path());
    let (file, dir) = fill(&daemon, folder.path());
    let below = format!("{dir}/inner/below");
    for (query, length, text) in [
        (format!("arg={file}&arg={below}"), 18, "hello world\nbelow\n"),
        (format!("arg={file}&arg={below}&offset=6&length=8"), 8, "world\nbe"),
        (format!("arg={file}&arg={below}&offset=13"), 5, "elow\n"),
        (format!("arg={file}&offset=100"), 0, ""),
        (format!("arg={file}&o=2&l=3"), 3, "llo"),
        (format!("arg={file}&length=0"), 0, ""),
    ] {
        let (status, head, body) = http(&daemon, &format!("POST /api/v0/cat?{query}"), &[], "");
        assert!(status == 200 && head.contains(&format!("x-content-length: {length}")), "{query}: {head}");
        assert_eq!(body, text, "{query}");
    }
    let get = |query: &str| {
        let (status, head, body) = http_bytes(&daemon, &format!("POST /api/v0/get?{query}"), &[], "");
        assert_eq!(status, 200, "{query}: {}", String::from_utf8_lossy(&body));
        (head, body)
    };
    let (head, packed) = get(&format!("arg={below}&compress=true&compression-level=9"));
    assert!(head.contains("content-type: application/gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "below\n");
    let (_, packed) = get(&format!("arg={dir}&archive=true&compress=true"));
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
    assert_eq!(tar.len() % 512, 0);
    assert!(tar.starts_with(dir.as_bytes()) && get(&format!("arg={dir}&a=true")).1 == tar);
}

#[test]
fn a_form_with_a_wrong_option_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path());
    for (query, expected) in [
        ("block/put?cid-codec=nonsense", 500),
        ("block/put?mhtype=nonsense", 500),
        ("dag/put?store-codec=nonsense", 500),
        ("add?hash=nonsense", 500),
        ("add?chunker=nonsense", 500),
        ("add?pin=perhaps", 400),
        ("dag/import", 500),
        ("files/write?arg=/none/below", 500),
    ] {
        let (status, _, body) = http(&daemon, &format!("POST /api/v0/{query}"), &[FORM], form("x", b"bytes"));
        // An import's answer has begun before it fails.
        let told = status == expected || query == "dag/import" && body.contains("import failed");
        assert!(told, "{query}: {status}: {body}");
    }
}
