//! The command line and the HTTP faces of real daemons: conventions, JSON, errors, and what is refused.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Output,
};

use common::{Daemon, Start, binary, eventually};
use rustix::process::Signal;
use serde_json::Value;

/// CIDv0 of "hello world\n", as Kubo gives it.
const HELLO: &str = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";
/// A well-formed CID nobody has.
const ABSENT: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";

fn offline(repo: &Path, args: &[&str]) -> Output {
    binary().arg("--repo").arg(repo).args(args).output().unwrap()
}

fn ok(repo: &Path, args: &[&str]) -> String {
    let out = offline(repo, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn json(repo: &Path, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.extend(["--format", "json"]);
    let text = ok(repo, &all);
    assert_eq!(text.lines().count(), 1, "one object a command: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The command must fail with exit code 1, say nothing on standard output, and say why.
fn fails(repo: &Path, args: &[&str]) -> String {
    let out = offline(repo, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    assert!(out.stdout.is_empty(), "{args:?} printed {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8(out.stderr).unwrap()
}

/// One raw HTTP request; gives the status, the head and the body.
fn http(daemon: &Daemon, request: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let parts: Vec<&str> = daemon.api.split('/').collect();
    let host = format!("{}:{}", parts[2], parts[4]);
    let mut stream = TcpStream::connect(&host).unwrap();
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {}\r\n", value.replace("{host}", &host)));
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn write(at: &Path, bytes: impl AsRef<[u8]>) -> String {
    std::fs::write(at, bytes).unwrap();
    at.to_str().unwrap().to_owned()
}

#[test]
fn without_a_daemon_content_is_added_read_and_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let first = json(&repo, &["init"]);
    assert_eq!(first["created"], true);
    let again = json(&repo, &["init"]);
    assert_eq!((&again["created"], &again["id"]), (&Value::from(false), &first["id"]));

    let hello = write(&folder.path().join("hello.txt"), "hello world\n");
    let added = json(&repo, &["add", &hello]);
    assert_eq!(added["cid"], HELLO);
    assert_eq!((&added["name"], &added["size"], &added["files"]), (&"hello.txt".into(), &12.into(), &1.into()));
    assert_eq!(ok(&repo, &["add", "--quiet", &hello]), format!("{HELLO}\n"));
    assert_eq!(ok(&repo, &["cat", HELLO]), "hello world\n");
    assert_eq!(ok(&repo, &["cat", HELLO, "--offset", "6", "--length", "5"]), "world");
    assert_eq!(ok(&repo, &["cat", &format!("/ipfs/{HELLO}")]), "hello world\n");

    let pins = json(&repo, &["list-pins"]);
    assert_eq!(pins["pins"][0]["cid"], HELLO);
    assert_eq!(pins["pins"][0]["type"], "recursive");
    assert_eq!(json(&repo, &["unpin", HELLO])["cid"], HELLO);
    assert!(fails(&repo, &["unpin", HELLO]).contains("not pinned"));
    assert_eq!(json(&repo, &["list-pins"])["pins"], Value::Array(vec![]));
    assert_eq!(json(&repo, &["pin", HELLO, "--name", "greeting"])["type"], "recursive");
    assert_eq!(json(&repo, &["list-pins"])["pins"][0]["name"], "greeting");

    let id = json(&repo, &["id"]);
    assert_eq!(id["id"], first["id"]);
    assert_eq!(id["addresses"], Value::Array(vec![]));
    assert!(id["agent_version"].as_str().unwrap().starts_with("ipfs-kit/"));
    assert!(json(&repo, &["version"])["version"].is_string());
}

#[test]
fn folders_go_in_and_come_out_alike() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    json(&repo, &["init"]);
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("inner/empty")).unwrap();
    write(&tree.join("a b+c%20ä.txt"), "odd name");
    write(&tree.join("inner/big"), (0..3_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    write(&tree.join("inner/nothing"), "");
    write(&tree.join(".hidden"), "not added");
    std::os::unix::fs::symlink("../a b+c%20ä.txt", tree.join("inner/link")).unwrap();

    let text = tree.to_str().unwrap();
    let refused = fails(&repo, &["add", text]);
    assert!(refused.contains("-r"), "{refused}");
    let added = json(&repo, &["add", "-r", text]);
    let cid = added["cid"].as_str().unwrap();
    assert_eq!((&added["name"], &added["files"]), (&"tree".into(), &4.into()));
    assert_eq!(added["size"], 3_000_008);

    let out = folder.path().join("out");
    let got = json(&repo, &["get", cid, "-o", out.to_str().unwrap()]);
    assert_eq!((&got["files"], &got["size"]), (&4.into(), &3_000_008.into()));
    std::fs::remove_file(tree.join(".hidden")).unwrap();
    let same =
        std::process::Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(&out).output().unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));

    assert_eq!(ok(&repo, &["cat", &format!("{cid}/a b+c%20ä.txt")]), "odd name");
    let text = fails(&repo, &["cat", cid]);
    assert!(text.contains("directory"), "{text}");
    let text = fails(&repo, &["cat", &format!("{cid}/inner/missing")]);
    assert!(text.contains("missing"), "{text}");
    // A file goes into a folder that is there, under its own name.
    ok(&repo, &["get", &format!("{cid}/inner/nothing"), "-o", out.to_str().unwrap()]);
    assert!(out.join("nothing").is_file());
    // A symlink in the way is not written through.
    let trap = folder.path().join("trap");
    std::fs::create_dir_all(&trap).unwrap();
    std::os::unix::fs::symlink("/tmp", trap.join("inner")).unwrap();
    fails(&repo, &["get", cid, "-o", trap.to_str().unwrap()]);
    assert!(!Path::new("/tmp/nothing").exists());
}

#[test]
fn bad_input_gets_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let missing = fails(&repo, &["list-pins"]);
    assert!(missing.contains("init"), "{missing}");
    json(&repo, &["init"]);
    for args in [&["cat", "nonsense"][..], &["get", "Qm"], &["pin", "zzz"], &["unpin", ""], &["cat", "/ipns/x"]] {
        let text = fails(&repo, args);
        assert!(text.starts_with("error: "), "{args:?}: {text}");
    }
    let text = fails(&repo, &["cat", ABSENT, "--timeout", "2s"]);
    assert!(text.contains("not found locally"), "{text}");
    for args in [&["peers"][..], &["cluster", "status"], &["task", "submit", "noop"], &["connect", "127.0.0.1:1"]] {
        let text = fails(&repo, args);
        assert!(text.contains("daemon"), "{args:?}: {text}");
    }
    assert!(fails(&repo, &["pin", "add"]).contains("ipfs-kit pin CID"));
    assert!(fails(&repo, &["add", "/does/not/exist"]).contains("/does/not/exist"));
    assert!(fails(&repo, &["connect", "no-port"]).contains("HOST:PORT"));
    assert!(fails(&repo, &["daemon", "--api", "0.0.0.0:5001"]).contains("loopback"));
    assert!(fails(&repo, &["daemon", "--swarm", "/ip4/1.2.3/tcp/1"]).contains("/ip4/1.2.3/tcp/1"));
    assert!(fails(&repo, &["daemon", "--dht-namespace", "a/b"]).contains("a/b"));
    assert!(fails(&repo, &["--api-url", "127.0.0.1:1", "id"]).contains("no daemon answers"));
    // What clap refuses has exit code 2.
    assert_eq!(offline(&repo, &["add"]).status.code(), Some(2));
    assert_eq!(offline(&repo, &["id", "--timeout", "soon"]).status.code(), Some(2));
}

#[test]
fn one_daemon_a_repo_and_a_stale_address_counts_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    // The daemon makes a missing repo.
    let daemon = Daemon::start(&repo, &Start::default());
    assert_eq!(std::fs::read_to_string(repo.join("api")).unwrap().trim(), daemon.api);
    assert!(daemon.swarm[0].starts_with("/ip4/127.0.0.1/tcp/"));
    let id = json(&repo, &["id"]);
    assert_eq!(id["id"], daemon.peer.as_str());
    assert!(id["addresses"].to_string().contains(&daemon.peer));
    assert!(id["protocols"].to_string().contains("/ipfs/bitswap/1.2.0"));

    let second = Daemon::try_start(&repo, &Start::default()).err().unwrap();
    assert!(second.contains("in use"), "{second}");
    let port = daemon.api.rsplit('/').next().unwrap();
    let other = offline(
        &folder.path().join("other"),
        &["daemon", "--api", &format!("127.0.0.1:{port}"), "--swarm", "/ip4/127.0.0.1/tcp/0"],
    );
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && text.contains("--api"), "{text}");

    let hello = write(&folder.path().join("hello"), "hello world\n");
    assert_eq!(daemon.json(&["add", &hello])["cid"], HELLO);
    let repo = daemon.kill();
    assert!(repo.join("api").exists());
    assert_eq!(ok(&repo, &["cat", HELLO]), "hello world\n");
    assert!(fails(&repo, &["peers"]).contains("no daemon runs"));

    // Another daemon's address is not this repo's.
    let stranger = Daemon::start(&folder.path().join("stranger"), &Start::default());
    std::fs::write(repo.join("api"), &stranger.api).unwrap();
    assert_eq!(ok(&repo, &["cat", HELLO]), "hello world\n");

    let daemon = Daemon::start(&repo, &Start::default());
    assert_eq!(daemon.ok(&["cat", HELLO]), b"hello world\n");
    daemon.signal(Signal::TERM);
    eventually("the daemon takes its address away", || (!repo.join("api").exists()).then_some(()));
}

#[test]
fn two_daemons_exchange_content() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { namespace: "exchange", ..Start::default() };
    let one = Daemon::start(&folder.path().join("one"), &start);
    let two = Daemon::start(&folder.path().join("two"), &start);
    let connected = one.json(&["connect", &two.address()]);
    assert_eq!(connected["id"], two.peer.as_str());
    let peers = eventually("the peer is listed", || {
        let peers = two.json(&["peers"]);
        (!peers["peers"].as_array().unwrap().is_empty()).then_some(peers)
    });
    assert_eq!(peers["peers"][0]["id"], one.peer.as_str());
    assert!(peers["peers"][0]["address"].as_str().unwrap().starts_with("/ip4/127.0.0.1/"));
    assert_eq!(peers["peers"][0]["direction"], "inbound");

    let big = write(&folder.path().join("big"), (0..5_000_000u32).map(|n| (n * 7 % 253) as u8).collect::<Vec<_>>());
    let cid = one.json(&["add", &big])["cid"].as_str().unwrap().to_owned();
    let found = eventually("the DHT knows the provider", || {
        let out = two.run(&["routing", "findprovs", &cid, "-n", "1", "--timeout", "5s", "--format", "json"]);
        serde_json::from_slice::<Value>(&out.stdout).ok()
    });
    assert_eq!(found["providers"][0]["id"], one.peer.as_str());
    assert!(found["providers"][0]["from"].is_string());
    assert_eq!(two.ok(&["cat", &cid]), std::fs::read(&big).unwrap());
    assert_eq!(two.json(&["pin", &cid])["cid"], cid.as_str());

    // What nobody has ends with the reason, in time.
    let text = two.fails(&["cat", ABSENT, "--timeout", "1s"]);
    assert!(text.contains(ABSENT), "{text}");
    let wrong = format!("{}/p2p/{}", two.swarm[0], one.peer);
    let stranger = Daemon::start(&folder.path().join("three"), &start);
    stranger.fails(&["connect", &wrong]);
    assert!(stranger.fails(&["connect", "/ip4/127.0.0.1/tcp/1"]).contains("/tcp/1"));
}

#[test]
fn foreign_pages_and_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("repo"), &Start::default());
    let id = "POST /api/v0/id";
    assert_eq!(http(&daemon, id, &[], "").0, 200);
    assert_eq!(http(&daemon, id, &[("Origin", "http://{host}")], "").0, 200);
    for headers in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Referer", "https://evil.example/page")],
        &[("Host", "evil.example")],
        &[("Host", "evil.example:5001")],
        &[("Sec-Fetch-Site", "cross-site")],
    ] {
        for path in [id, "GET /health", "GET /api/v1/cluster/status", "POST /api/v0/add"] {
            let (status, _, body) = http(&daemon, path, headers, "");
            assert_eq!(status, 403, "{path} {headers:?}: {body}");
        }
    }
    assert_eq!(http(&daemon, "GET /api/v0/id", &[], "").0, 405);
    assert_eq!(http(&daemon, "POST /api/v0/nothing", &[], "").0, 404);
}

#[test]
fn the_rpc_answers_in_kubos_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("repo"), &Start::default());
    let form = |boundary: &str, name: &str, bytes: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{bytes}\r\n--{boundary}--\r\n"
        )
    };
    let multipart = ("Content-Type", "multipart/form-data; boundary=xyz");
    let (status, head, body) =
        http(&daemon, "POST /api/v0/add?progress=true", &[multipart], &form("xyz", "hello.txt", "hello world\n"));
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("x-chunked-output: 1") && head.contains("application/json"), "{head}");
    assert!(body.contains(&format!(r#"{{"Name":"hello.txt","Hash":"{HELLO}","Size":"20"}}"#)), "{body}");
    assert!(body.contains(r#"{"Name":"hello.txt","Bytes":12}"#), "{body}");

    let (status, head, body) = http(&daemon, &format!("POST /api/v0/cat?arg={HELLO}"), &[], "");
    assert!(status == 200 && body.contains("hello world\n"), "{body}");
    assert!(head.contains("x-stream-output: 1") && head.contains("trailer: x-stream-error"), "{head}");
    assert!(head.contains("x-content-length: 12"), "{head}");
    let (_, head, _) = http(&daemon, &format!("POST /api/v0/get?arg={HELLO}"), &[], "");
    assert!(head.contains("application/x-tar"), "{head}");

    let value = |path: &str| -> Value {
        let (status, _, body) = http(&daemon, path, &[], "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let id = value("POST /api/v0/id");
    assert_eq!(id["ID"], daemon.peer.as_str());
    for key in ["PublicKey", "Addresses", "AgentVersion", "Protocols"] {
        assert!(!id[key].is_null(), "{key}");
    }
    assert!(value("POST /api/v0/version")["Version"].is_string());
    assert_eq!(value("POST /api/v0/pin/ls")["Keys"][HELLO]["Type"], "recursive");
    assert_eq!(value(&format!("POST /api/v0/pin/rm?arg={HELLO}"))["Pins"][0], HELLO);
    assert_eq!(value(&format!("POST /api/v0/pin/add?arg={HELLO}"))["Pins"][0], HELLO);
    assert!(value("POST /api/v0/swarm/peers").get("Peers").is_some());

    let (_, _, body) = http(&daemon, "POST /api/v0/block/put", &[multipart], &form("xyz", "", "hello world"));
    let put: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(put["Key"], "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    assert_eq!(put["Size"], 11);
    let (status, _, body) =
        http(&daemon, &format!("POST /api/v0/block/get?arg={}", put["Key"].as_str().unwrap()), &[], "");
    assert!(status == 200 && body.contains("hello world"), "{body}");

    for (path, expected, words) in [
        ("POST /api/v0/cat", 400, "required"),
        ("POST /api/v0/cat?arg=nonsense", 400, "nonsense"),
        ("POST /api/v0/add?trickle=true", 400, ""),
        (&format!("POST /api/v0/pin/rm?arg={ABSENT}"), 500, "not pinned"),
        (&format!("POST /api/v0/cat?arg={ABSENT}&timeout=300ms"), 500, ABSENT),
    ] {
        let (status, _, body) = http(&daemon, path, &[], "");
        assert_eq!(status, expected, "{path}: {body}");
        let error: Value = serde_json::from_str(&body).unwrap_or_default();
        if !words.is_empty() {
            assert_eq!(error["Type"], "error", "{path}: {body}");
            assert!(error["Message"].as_str().unwrap().contains(words) && error["Code"].is_number(), "{path}: {body}");
        }
    }
    let (status, _, body) = http(&daemon, "GET /health", &[], "");
    assert!(status == 200 && body.contains(r#""status":"ok""#), "{body}");
    let (status, _, body) = http(&daemon, "GET /metrics", &[], "");
    assert!(status == 200 && body.contains("ipfs_kit_blocks ") && body.contains("# EOF"), "{body}");
}

#[test]
fn a_cluster_of_one_answers_in_its_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("repo"), &Start { namespace: "one", ..Start::default() });
    let text = daemon.fails(&["cluster", "status"]);
    assert!(text.contains("cluster"), "{text}");
    let founded = daemon.json(&["cluster", "init", "--timing", "wan"]);
    assert!(founded["cluster"].is_string());
    assert!(daemon.fails(&["cluster", "init"]).contains("already"));
    let status = daemon.status_when("it leads itself", |s| s["leader"] == daemon.peer.as_str());
    for key in ["term", "committed", "applied"] {
        assert!(status[key].is_u64(), "{key}: {status}");
    }
    assert_eq!((&status["me"]["peer"], &status["me"]["role"]), (&daemon.peer.as_str().into(), &"master".into()));
    let member = &status["members"][0];
    assert_eq!((&member["peer"], &member["role"]), (&daemon.peer.as_str().into(), &"master".into()));
    assert_eq!((&member["state"], &member["voter"]), (&"alive".into(), &true.into()));
    assert_eq!(daemon.json(&["cluster", "peers"])["peers"][0]["id"], daemon.peer.as_str());
    let token = daemon.json(&["cluster", "token", "create", "--role", "worker", "--ttl", "1h"]);
    assert!(token["token"].is_string() && token["expires_ms"].is_u64() && token["role"] == "worker", "{token}");
    assert_eq!(daemon.run(&["cluster", "token", "create", "--role", "king"]).status.code(), Some(2));

    // Nobody can run it, so it is accepted and waits.
    let task = daemon.json(&["task", "submit", "noop", "--direct"]);
    let id = task["id"].as_str().unwrap();
    assert!(task["accepted_index"].is_u64() && task["accepted_by"] == daemon.peer.as_str(), "{task}");
    let task = daemon.json(&["task", "status", id]);
    assert_eq!((&task["id"], &task["state"], &task["result"]), (&id.into(), &"pending".into(), &Value::Null));
    assert!(daemon.fails(&["task", "result", id]).contains("pending"));
    daemon.fails(&["task", "submit", "noop", "--direct", "--wait", "--timeout", "1s"]);
    for args in [&["task", "status", "nonsense"][..], &["task", "submit", "noop", "nonsense"]] {
        assert!(daemon.fails(args).contains("nonsense"), "{args:?}");
    }

    // A plain daemon on the repo is the same member again.
    let peer = daemon.peer.clone();
    let daemon = Daemon::start(&daemon.stop(), &Start { namespace: "one", ..Start::default() });
    assert_eq!(daemon.peer, peer);
    daemon.status_when("it leads itself again", |s| s["leader"] == peer.as_str());
}
