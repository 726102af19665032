//! Pins through the command line and `/api/v0` of real daemons: verbs, shapes, names, updates, checks, interruptions.

mod common;

use std::io::Write;

use common::{Daemon, Start, binary};
use ipfs_kit::Client;
use serde_json::{Value, json};

/// A folder with three files, added without a pin; gives the CIDs of the folder and of its first file.
fn folder(daemon: &Daemon, at: &std::path::Path, salt: &str) -> (String, String) {
    std::fs::create_dir_all(at).unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(at.join(name), format!("{name} {salt}")).unwrap();
    }
    let root = daemon.json(&["add", "-r", "--no-pin", at.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let file = daemon.json(&["add", "--no-pin", at.join("a").to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    (root, file)
}

/// A request to `/api/v0` by curl's rules; gives the status and the body.
fn rpc(daemon: &Daemon, path: &str, file: Option<&str>) -> (u16, String) {
    use std::io::Read;
    let parts: Vec<&str> = daemon.api.split('/').collect();
    let host = format!("{}:{}", parts[2], parts[4]);
    let mut stream = std::net::TcpStream::connect(&host).unwrap();
    let body = file.map_or(String::new(), |text| {
        format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"stdin\"\r\n\r\n{text}\r\n--xyz--\r\n"
        )
    });
    let kind = file.map_or("", |_| "Content-Type: multipart/form-data; boundary=xyz\r\n");
    let head = format!(
        "POST /api/v0/{path} HTTP/1.0\r\nHost: {host}\r\n{kind}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn good(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = rpc(daemon, path, None);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
}

fn lines(daemon: &Daemon, path: &str) -> Vec<Value> {
    let (status, body) = rpc(daemon, path, None);
    assert_eq!(status, 200, "{path}: {body}");
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The request must fail as Kubo fails; gives the message.
fn refused(daemon: &Daemon, path: &str, status: u16) -> String {
    let (got, body) = rpc(daemon, path, None);
    let error: Value = serde_json::from_str(&body).unwrap();
    let code = u8::from(status == 400);
    assert_eq!((got, &error["Code"], &error["Type"]), (status, &json!(code), &json!("error")), "{path}: {body}");
    error["Message"].as_str().unwrap().to_owned()
}

#[test]
fn the_verbs_after_pin() {
    let place = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&place.path().join("repo"), &Start { namespace: "pins", ..Start::default() });
    let (root, file) = folder(&daemon, &place.path().join("one"), "first");
    let (next, _) = folder(&daemon, &place.path().join("two"), "second");
    let added = daemon.json(&["pin", "add", &root, "--name", "holidays"]);
    assert_eq!(added, json!({"cid": root, "type": "recursive", "pins": [{"cid": root, "type": "recursive"}]}));
    assert_eq!(daemon.ok(&["pin", &next]), format!("pinned {next} recursively\n").into_bytes());
    assert_eq!(
        daemon.ok(&["pin", "add", "--recursive=false", &file]),
        format!("pinned {file} directly\n").into_bytes()
    );
    assert!(daemon.fails(&["pin", "add", "--direct", &root]).contains("already pinned recursively"));

    let ls = |args: &[&str]| String::from_utf8(daemon.ok(&[&["pin", "ls"], args].concat())).unwrap();
    assert_eq!(ls(&["--type", "direct"]), format!("{file} direct\n"));
    assert_eq!(ls(&["--name", "holi"]), format!("{root} recursive holidays\n"));
    assert_eq!(ls(&["--name", "holi", "--quiet"]), format!("{root}\n"));
    assert_eq!(ls(&["--name", "Holi"]), "");
    // Two folders, three files each, of which one is pinned itself.
    assert_eq!(ls(&[]).lines().count(), 8);
    assert_eq!(ls(&["-t", "indirect"]).lines().count(), 5);
    let below = format!("{root}/b");
    let how = daemon.json(&["pin", "ls", &below]);
    assert_eq!(how["pins"][0]["type"], format!("indirect through {root}").as_str());
    assert!(daemon.fails(&["pin", "ls", "-t", "direct", &root]).contains("is not pinned"));
    assert_eq!(daemon.json(&["pin", "ls", "--name", "nobody"]), json!({"pins": []}));

    let moved = daemon.json(&["pin", "update", &root, &file]);
    assert_eq!(moved, json!({"from": root, "to": file, "unpinned": true}));
    assert_eq!(ls(&["--name", "holi"]), format!("{file} recursive holidays\n"));
    assert!(daemon.fails(&["pin", "update", &root, &next]).contains("not recursively pinned"));
    assert!(daemon.fails(&["pin", "update", &file, &next]).contains("already recursively pinned"));

    assert_eq!(daemon.json(&["pin", "verify", "--verbose"])["pins"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.ok(&["pin", "verify"]), b"");
    // All of them or none.
    assert!(daemon.fails(&["pin", "rm", &file, &root]).contains("not pinned or pinned indirectly"));
    assert_eq!(daemon.json(&["pin", "rm", &file, &next]), json!({"cid": next, "pins": [file, next]}));
    assert_eq!(daemon.json(&["list-pins"]), json!({"pins": []}));
    assert!(daemon.fails(&["pin", "remote", "ls"]).contains("not supported"));
    assert!(daemon.fails(&["pin", "frobnicate"]).contains("frobnicate"));
    assert!(daemon.fails(&["pin"]).contains("pin CID"));

    // Many, named on standard input, in one request.
    let many: Vec<String> = (0..70)
        .map(|n| {
            let at = place.path().join("many");
            std::fs::write(&at, format!("one of many: {n}")).unwrap();
            at
        })
        .map(|at| daemon.json(&["add", "--no-pin", at.to_str().unwrap()])["cid"].as_str().unwrap().to_owned())
        .collect();
    let mut child = binary();
    child.args(["--api-url", &daemon.api, "pin", "add"]);
    let mut child = child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(many.join("\n").as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    let said: Vec<String> = many.iter().map(|cid| format!("pinned {cid} recursively")).collect();
    assert_eq!(String::from_utf8(out.stdout).unwrap().lines().collect::<Vec<_>>(), said);
    assert_eq!(ls(&["--type", "recursive"]).lines().count(), 70);
}

#[test]
fn the_rpc_answers_about_pins_as_kubo_does() {
    let place = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&place.path().join("repo"), &Start { namespace: "pins-rpc", ..Start::default() });
    assert_eq!(good(&daemon, "pin/ls"), json!({}));
    assert_eq!(lines(&daemon, "pin/ls?stream=true"), [] as [Value; 0]);
    let (root, file) = folder(&daemon, &place.path().join("one"), "first");
    let (next, other) = folder(&daemon, &place.path().join("two"), "second");
    assert_eq!(good(&daemon, &format!("pin/add?arg={root}&name=holi%20days")), json!({"Pins": [root]}));
    let told = lines(&daemon, &format!("pin/add?arg={next}&arg={file}&progress=true"));
    assert_eq!(told.last().unwrap(), &json!({"Pins": [next, file]}));
    assert_eq!(told[0]["Progress"], 5);
    assert!(told[0]["Bytes"].as_u64().unwrap() > 100);
    assert_eq!(good(&daemon, &format!("pin/add?arg=/ipfs/{next}/a&recursive=false")), json!({"Pins": [other]}));

    let plain = |kind: &str| json!({"Type": kind, "Name": ""});
    let keys = &good(&daemon, "pin/ls?type=recursive")["Keys"];
    assert_eq!(
        keys,
        &json!({root.clone(): plain("recursive"), next.clone(): plain("recursive"), file.clone(): plain("recursive")})
    );
    let keys = &good(&daemon, "pin/ls?names=true&type=recursive")["Keys"];
    assert_eq!(keys[&root], json!({"Type": "recursive", "Name": "holi days"}));
    assert_eq!(lines(&daemon, "pin/ls?stream=1&type=direct"), [json!({"Cid": other, "Type": "direct"})]);
    let named = lines(&daemon, "pin/ls?stream=true&name=holi");
    assert_eq!(named, [json!({"Cid": root, "Name": "holi days", "Type": "recursive"})]);
    let below = good(&daemon, &format!("pin/ls?arg={root}/b"));
    let kinds: Vec<&Value> = below["Keys"].as_object().unwrap().values().collect();
    assert_eq!(kinds, [&plain(&format!("indirect through {root}"))]);

    // What the arguments mean is wrong: 500 and 0. The request cannot be read: 400.
    assert!(
        refused(&daemon, &format!("pin/add?arg={root}&recursive=false"), 500).contains("already pinned recursively")
    );
    assert!(refused(&daemon, &format!("pin/ls?arg={root}/b&type=direct"), 500).contains("is not pinned"));
    assert!(refused(&daemon, "pin/ls?type=sideways", 500).contains("invalid type 'sideways'"));
    assert!(refused(&daemon, &format!("pin/rm?arg={root}&recursive=false"), 500).contains("is pinned recursively"));
    assert!(refused(&daemon, &format!("pin/rm?arg={root}/b"), 500).contains("not pinned or pinned indirectly"));
    assert!(refused(&daemon, &format!("pin/add?arg={root}&name={}", "x".repeat(256)), 500).contains("255"));
    assert!(refused(&daemon, "pin/verify?verbose=true&quiet=true", 500).contains("at the same time"));
    assert!(refused(&daemon, "pin/add?arg=nonsense", 500).contains("nonsense"));
    assert!(refused(&daemon, &format!("pin/update?arg={other}&arg={root}"), 500).contains("not recursively pinned"));
    assert!(refused(&daemon, "pin/add", 400).contains("\"ipfs-path\" is required"));
    assert!(refused(&daemon, &format!("pin/update?arg={root}"), 400).contains("\"to-path\" is required"));
    assert!(refused(&daemon, &format!("pin/add?arg={root}&recursive=perhaps"), 400).contains("perhaps"));

    let moved = good(&daemon, &format!("pin/update?arg={file}&arg={other}&unpin=false"));
    assert_eq!(moved, json!({"Pins": [file, other]}));
    assert_eq!(good(&daemon, &format!("pin/rm?arg={file}&arg={other}")), json!({"Pins": [file, other]}));
    let ok = lines(&daemon, "pin/verify?verbose=true");
    assert_eq!(ok.iter().filter(|line| line["Ok"] == true).count(), 2);
    assert_eq!(lines(&daemon, "pin/verify"), [] as [Value; 0]);
    // The lines of a file stand for arguments.
    let (status, body) = rpc(&daemon, "pin/rm", Some(&format!("{root}\n/ipfs/{next}\n")));
    assert_eq!((status, body), (200, json!({"Pins": [root, next]}).to_string()));
    assert_eq!(good(&daemon, "pin/ls"), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_pin_goes_on_where_it_was() {
    let place = tempfile::tempdir().unwrap();
    let start = Start { namespace: "pins-parts", ..Start::default() };
    let source = Daemon::start(&place.path().join("source"), &start);
    let file = place.path().join("file");
    std::fs::write(&file, (0..2_000_000u32).map(|n| (n * 7 % 251 + n / 262_144) as u8).collect::<Vec<_>>()).unwrap();
    let cid = source.json(&["add", "--cid-version", "1", file.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let whole = Client::connect(&source.api).unwrap();
    let root = whole.block_get(&cid).await.unwrap();
    let leaves: Vec<String> =
        ipfs_kit::dag::links(&cid.parse().unwrap(), &root).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(leaves.len(), 8);

    // One peer has the first half of the leaves, the other the rest; nobody else has the file.
    let (first, second, reader) =
        (place.path().join("first"), place.path().join("second"), place.path().join("reader"));
    let (first, second) = (Daemon::start(&first, &start), Daemon::start(&second, &start));
    let reader = Daemon::start(&reader, &start);
    let [into_first, into_second] = [&first, &second].map(|daemon| Client::connect(&daemon.api).unwrap());
    for (n, leaf) in leaves.iter().enumerate() {
        let data = whole.block_get(leaf).await.unwrap();
        let into = if n < 4 { &into_first } else { &into_second };
        assert_eq!(into.block_put(&data).await.unwrap().key, *leaf);
    }
    drop(source);
    Client::connect(&reader.api).unwrap().block_put(&root).await.unwrap();
    reader.json(&["connect", &first.address()]);
    let text = reader.fails(&["pin", "add", &cid, "--timeout", "1s"]);
    assert!(text.contains("within 1 s"), "{text}");
    assert_eq!(reader.json(&["list-pins"]), json!({"pins": []}));

    // With the first peer gone, what it gave is still here.
    drop(first);
    reader.json(&["connect", &second.address()]);
    assert_eq!(reader.json(&["pin", "add", &cid, "--timeout", "20s"])["cid"], cid.as_str());
    drop(second);
    assert_eq!(reader.ok(&["cat", &cid]), std::fs::read(&file).unwrap());
    assert_eq!(reader.ok(&["pin", "verify", "--verbose"]), format!("{cid} ok\n").into_bytes());
}
