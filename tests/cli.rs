//! The command line and the HTTP faces of real daemons: conventions, JSON, errors, and what is refused.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Output,
    time::Duration,
};

use common::{Daemon, FORM, Start, binary, eventually, form, http, timed};
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
    // Without -o the name is the last part of what was asked for, in the folder the command runs in.
    let here = folder.path().join("here");
    std::fs::create_dir(&here).unwrap();
    for (path, name) in [(cid.to_owned(), cid), (format!("{cid}/inner/big"), "big")] {
        let mut get = binary();
        get.current_dir(&here).arg("--repo").arg(&repo).args(["get", &path, "--format", "json"]);
        let got: Value = serde_json::from_slice(&get.output().unwrap().stdout).unwrap();
        assert_eq!((&got["cid"], &got["path"]), (&path.as_str().into(), &name.into()));
    }
    let same =
        std::process::Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(here.join(cid)).output();
    assert!(same.unwrap().status.success());
    assert_eq!(std::fs::read(here.join("big")).unwrap(), std::fs::read(tree.join("inner/big")).unwrap());
    assert_eq!(std::fs::read_dir(&here).unwrap().count(), 2);
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
    assert!(fails(&repo, &["pin", "add"]).contains("at least one CID"));
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

    // More addresses to listen on, instead of the default.
    let quic = vec!["--swarm", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let daemon = Daemon::start(&repo, &Start { extra: quic, ..Start::default() });
    assert!(daemon.swarm.len() == 2 && daemon.swarm.iter().any(|a| a.ends_with("/quic-v1")), "{:?}", daemon.swarm);
    assert_eq!(daemon.ok(&["cat", HELLO]), b"hello world\n");
    // The variable names a daemon, and the flag another one.
    let named = |flags: &[&str]| -> Value {
        let mut id = binary();
        id.env("IPFS_KIT_API_URL", &stranger.api).arg("--repo").arg(&repo).args(flags).args(["id", "--format", "json"]);
        serde_json::from_slice(&id.output().unwrap().stdout).unwrap()
    };
    assert_eq!(named(&[])["id"], stranger.peer.as_str());
    assert_eq!(named(&["--api-url", &daemon.api])["id"], daemon.peer.as_str());
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
    eventually("a ping has come back", || two.json(&["peers"])["peers"][0]["latency"].is_string().then_some(()));

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

    // What nobody has ends with the reason: whom it was asked of, and for how long.
    let out = folder.path().join("out");
    for args in [&["cat", ABSENT][..], &["get", ABSENT, "-o", out.to_str().unwrap()], &["pin", ABSENT]] {
        let text = two.fails(&[args, &["--timeout", "1s"]].concat());
        assert!(text.contains(ABSENT) && text.contains("asked 1 connected peers"), "{text}");
        assert!(text.contains("1 said they do not have it") && text.contains("within 1 s"), "{text}");
    }
    assert!(!out.exists());
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
    let (status, head, body) =
        http(&daemon, "POST /api/v0/add?progress=true", &[FORM], form("hello.txt", b"hello world\n"));
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

    let (_, _, body) = http(&daemon, "POST /api/v0/block/put", &[FORM], form("", b"hello world"));
    let put: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(put["Key"], "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    assert_eq!(put["Size"], 11);
    let (status, _, body) =
        http(&daemon, &format!("POST /api/v0/block/get?arg={}", put["Key"].as_str().unwrap()), &[], "");
    assert!(status == 200 && body.contains("hello world"), "{body}");

    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("inner")).unwrap();
    write(&tree.join("hello.txt"), "hello world\n");
    std::os::unix::fs::symlink("hello.txt", tree.join("link")).unwrap();
    let cid = daemon.json(&["add", "-r", tree.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let ls = value(&format!("POST /api/v0/ls?arg={cid}"));
    let object = &ls["Objects"][0];
    assert_eq!((&object["Hash"], ls["Objects"].as_array().unwrap().len()), (&cid.as_str().into(), 1), "{ls}");
    // The numbers are UnixFS's: 1 is a directory, 2 a file, 4 a symbolic link.
    for (link, (name, size, kind)) in
        object["Links"].as_array().unwrap().iter().zip([("hello.txt", 12, 2), ("inner", 0, 1), ("link", 9, 4)])
    {
        assert_eq!((&link["Name"], &link["Type"]), (&name.into(), &kind.into()), "{ls}");
        assert!(link["Hash"].is_string() && link["Target"].is_string(), "{ls}");
        if kind == 2 {
            assert_eq!((&link["Size"], &link["Hash"]), (&size.into(), &HELLO.into()), "{ls}");
        }
    }
    assert_eq!(object["Links"].as_array().unwrap().len(), 3, "{ls}");

    for (path, expected, words) in [
        ("POST /api/v0/cat", 400, "required"),
        ("POST /api/v0/cat?arg=nonsense", 500, "nonsense"),
        ("POST /api/v0/add?pin=perhaps", 400, ""),
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
    let token = daemon.json(&["cluster", "token", "create", "--role", "leecher"]);
    let left = token["expires_ms"].as_u64().unwrap().saturating_sub(ipfs_kit::base::time::unix_ms());
    assert!((23 * 3_600_000..=24 * 3_600_000).contains(&left), "a day when nothing is said: {token}");

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

/// A file system without room: every file may grow to `kib` KiB.
fn cramped(repo: &Path, kib: u32, args: &[&str]) -> Output {
    let mut shell = std::process::Command::new("sh");
    // Without the trap the signal would end the process; with it writing fails, as on a full disk.
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2)).arg("sh");
    shell.arg(env!("CARGO_BIN_EXE_ipfs-kit")).arg("--repo").arg(repo).args(args);
    shell.env_remove("IPFS_KIT_PATH").env_remove("IPFS_KIT_API_URL").output().unwrap()
}

#[test]
fn without_room_nothing_is_acknowledged_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    json(&repo, &["init"]);
    let hello = write(&folder.path().join("hello"), "hello world\n");
    assert_eq!(json(&repo, &["add", &hello])["cid"], HELLO);
    let big = write(&folder.path().join("big"), vec![7u8; 1 << 20].repeat(24));
    let room = std::fs::metadata(repo.join("repo.redb")).unwrap().len() / 1024 + 4096;
    // Different pieces, else they would be stored once.
    let mut bytes = std::fs::read(&big).unwrap();
    bytes.chunks_mut(1024).enumerate().for_each(|(n, chunk)| chunk[..8].copy_from_slice(&n.to_le_bytes()));
    write(&folder.path().join("big"), bytes);
    let out = cramped(&repo, room as u32, &["add", &big]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(out.stdout.is_empty() && text.starts_with("error: ") && text.contains("storing"), "{text}");
    // What was there before is there, and with room it works again.
    assert_eq!(ok(&repo, &["cat", HELLO]), "hello world\n");
    let cid = json(&repo, &["add", &big])["cid"].as_str().unwrap().to_owned();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = binary().arg("--repo").arg(&repo).args(["cat", &cid]).stdout(full).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && text.contains("standard output"), "{text}");
    // Getting it into a place without room leaves no half file under its name.
    let target = folder.path().join("target");
    let out = cramped(&repo, room as u32, &["get", &cid, "-o", target.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && text.contains("target"), "{text}");
    assert!(!target.exists());
}

#[test]
fn a_daemon_sheds_garbage_and_what_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("repo"), &Start { namespace: "shed", ..Start::default() });
    // A block over the limit, and a request's body over the limit.
    let (status, _, body) = http(&daemon, "POST /api/v0/block/put", &[FORM], form("", &vec![1; (2 << 20) + 1]));
    assert!(status == 400 || status == 500, "{status} {body}");
    assert!(body.contains(r#""Type":"error""#), "{body}");
    let json = ("Content-Type", "application/json");
    let long = format!(r#"{{"kind":"{}"}}"#, "x".repeat(300 * 1024));
    let (status, _, body) = http(&daemon, "POST /api/v1/tasks", &[json], long);
    assert!(status == 400 && body.contains("limit"), "{status} {body}");
    for text in ["", "{", "[]", r#"{"kind":7}"#] {
        let (status, _, body) = http(&daemon, "POST /api/v1/tasks", &[json], text);
        assert!(status == 400 && body.contains(r#""Type":"error""#), "{text}: {status} {body}");
    }
    let (status, _, body) = http(&daemon, "POST /api/v0/add", &[FORM], "--xyz\r\nno form");
    assert!(status == 400 && body.contains("form"), "{status} {body}");
    // Garbage instead of a handshake and instead of HTTP; the daemon goes on.
    let place = |address: &str| {
        let parts: Vec<&str> = address.split('/').collect();
        format!("{}:{}", parts[2], parts[4])
    };
    for address in [place(&daemon.swarm[0]), place(&daemon.api)] {
        for garbage in [&[0xff; 4096][..], b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b""] {
            let mut stream = TcpStream::connect(&address).unwrap();
            let _ = stream.write_all(garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    // The swarm's port is taken, and so is the API's by someone who is no daemon.
    let other = folder.path().join("other");
    let text = fails(&other, &["daemon", "--api", "127.0.0.1:0", "--swarm", &daemon.swarm[0]]);
    assert!(text.contains("cannot listen") && text.contains("choose another"), "{text}");
    let text = fails(&folder.path().join("x"), &["--api-url", &place(&daemon.swarm[0]), "id", "--timeout", "3s"]);
    assert!(text.starts_with("error: "), "{text}");
    let long = "Q".repeat(100_000);
    assert!(daemon.fails(&["cat", &long]).starts_with("error: "));
    assert_eq!(daemon.json(&["id"])["id"], daemon.peer.as_str());
    daemon.stop();
}

#[test]
fn get_writes_nothing_outside_its_output_whatever_the_blocks_say() {
    use ipfs_kit::dag::{pb::PbLink, pb::PbNode, unixfs, unixfs::UnixFs};

    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("repo"), &Start { namespace: "hostile", ..Start::default() });
    let put = |kind: unixfs::Kind, data: Option<&[u8]>, links: &[(&str, &str)]| {
        let mut node = UnixFs::new(kind);
        node.data = data.map(|d| d.to_vec().into());
        node.filesize = data.map(|d| d.len() as u64);
        let links = links.iter().map(|(name, cid)| PbLink {
            cid: ipfs_kit::base::cid::parse(cid).unwrap(),
            name: name.as_bytes().to_vec(),
            tsize: 1,
        });
        let node = PbNode { links: links.collect(), data: Some(node.encode().into()) };
        let (status, _, body) =
            http(&daemon, "POST /api/v0/block/put?cid-codec=dag-pb", &[FORM], form("", &node.encode()));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["Key"].as_str().unwrap().to_owned()
    };
    let safe = folder.path().join("safe");
    std::fs::create_dir_all(safe.join("a")).unwrap();
    let kept = write(&safe.join("kept"), "untouched");
    let evil = put(unixfs::Kind::File, Some(b"evil"), &[]);
    let inner = put(unixfs::Kind::Directory, None, &[("kept", &evil), ("new", &evil)]);
    let to_safe = put(unixfs::Kind::Symlink, Some(safe.to_str().unwrap().as_bytes()), &[]);
    let to_file = put(unixfs::Kind::Symlink, Some(kept.as_bytes()), &[]);
    let up = put(unixfs::Kind::Symlink, Some(b".."), &[]);
    let absolute = format!("{}/new", safe.display());
    let roots: Vec<Vec<(&str, &str)>> = vec![
        vec![("../kept", &evil)],
        vec![("../new", &evil)],
        vec![("..", &inner)],
        vec![(".", &inner)],
        vec![(&absolute, &evil)],
        vec![("sub/../../new", &evil)],
        vec![("", &inner)],
        vec![("new\0", &evil)],
        vec![("x", &to_safe), ("x", &inner)],
        vec![("x", &to_file), ("x", &evil)],
        vec![("x", &up), ("x", &inner)],
    ];
    for links in roots {
        let cid = put(unixfs::Kind::Directory, None, &links);
        let out = safe.join("a/out");
        let _ = daemon.run(&["get", &cid, "-o", out.to_str().unwrap()]);
        let names = |at: &Path| -> Vec<String> {
            let mut names: Vec<_> =
                std::fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&safe), ["a", "kept"], "{links:?}");
        assert!(names(&safe.join("a")).iter().all(|n| n == "out"), "{links:?}: {:?}", names(&safe.join("a")));
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "untouched", "{links:?}");
        let _ = std::fs::remove_dir_all(&out).or_else(|_| std::fs::remove_file(&out));
    }
    // The same blocks through the symlink that a first `get` left behind.
    let trap = put(unixfs::Kind::Directory, None, &[("x", &to_safe)]);
    let out = safe.join("a/out");
    daemon.ok(&["get", &trap, "-o", out.to_str().unwrap()]);
    let through = put(unixfs::Kind::Directory, None, &[("x", &inner)]);
    daemon.fails(&["get", &through, "-o", out.to_str().unwrap()]);
    assert!(!safe.join("new").exists());
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "untouched");
}

#[test]
fn a_stopping_daemon_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("repo"), &Start { namespace: "stop", ..Start::default() });
    let mut waiting = binary();
    waiting.args(["--api-url", &daemon.api, "cat", ABSENT, "--timeout", "0"]);
    let waiting = waiting.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // A connection that never finishes its request does not hold the daemon up either.
    let parts: Vec<&str> = daemon.api.split('/').collect();
    let mut half = TcpStream::connect(format!("{}:{}", parts[2], parts[4])).unwrap();
    half.write_all(b"POST /api/v0/id HTTP/1.1\r\nHost").unwrap();
    eventually("the wish is on its way", || {
        let (_, _, body) = http(&daemon, "GET /metrics", &[], "");
        body.contains("ipfs_kit_bitswap_wants 1").then_some(())
    });
    let (repo, took) = timed(|| daemon.stop());
    assert!(took < Duration::from_secs(5), "SIGTERM took {took:?}");
    let out = waiting.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && text.contains("stopping"), "{text}");
    // Ctrl-C does the same.
    let mut daemon = Daemon::start(&repo, &Start { namespace: "stop", ..Start::default() });
    daemon.signal(Signal::INT);
    let (status, took) = timed(|| daemon.child.wait().unwrap());
    assert!(status.success() && took < Duration::from_secs(5), "Ctrl-C took {took:?}: {status}");
    assert!(!repo.join("api").exists());
}
