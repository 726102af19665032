//! Keeps `docs/json.md` true: every command is run with `--format json`, and what it prints is compared with its table.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Read},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use common::{Cluster, binary, eventually};
use serde_json::Value;

/// Keys and the types they may have, by their path.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// A well-formed CID nobody has.
const ABSENT: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
const TYPES: [&str; 5] = ["text", "number", "boolean", "list", "null"];

/// The page: its tables by command, and the commands that print no JSON.
fn page() -> (BTreeMap<String, Keys>, BTreeSet<String>) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap();
    let quoted = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let (text, bytes) = text.split_once("## Commands that write bytes").expect("the section is there");
    let mut tables = BTreeMap::new();
    let mut commands = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            commands = quoted(heading);
            for command in &commands {
                assert!(tables.insert(command.clone(), Keys::new()).is_none(), "'{command}' stands on the page twice");
            }
        } else if line.starts_with("| `") {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [key, types, what] = cells[..] else { panic!("a row has three cells: {line}") };
            let types: BTreeSet<String> =
                types.split(", ").flat_map(|part| part.split(" or ")).map(str::to_owned).collect();
            assert!(types.iter().all(|t| TYPES.contains(&t.as_str())) && !what.is_empty(), "{line}");
            let key = quoted(key).remove(0);
            for command in &commands {
                let table = tables.get_mut(command).expect("a table stands below its command");
                assert!(table.insert(key.clone(), types.clone()).is_none(), "{command}: '{key}' stands there twice");
            }
        }
    }
    let bytes = bytes.split("these write").next().unwrap_or_default();
    (tables, quoted(bytes).into_iter().filter(|name| !name.starts_with('-')).collect())
}

/// Every key of a value, with the type found; `known` says which lists are values of their own.
fn flatten(value: &Value, path: &str, known: &Keys, out: &mut Keys) {
    let found = match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, &path, known, out);
            }
            return;
        }
        Value::Array(items) => {
            if !known.get(path).is_some_and(|types| types.contains("list")) {
                items.iter().for_each(|item| flatten(item, &format!("{path}[]"), known, out));
                return;
            }
            "list"
        }
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
    };
    out.entry(path.to_owned()).or_default().insert(found.to_owned());
}

/// Runs commands and keeps what they printed.
struct Printed {
    tables: BTreeMap<String, Keys>,
    seen: BTreeMap<String, Keys>,
}

impl Printed {
    /// Takes in what a command printed: one object, on one line.
    fn take(&mut self, command: &str, out: &Output) -> Value {
        let text = String::from_utf8_lossy(&out.stdout);
        let why = String::from_utf8_lossy(&out.stderr);
        assert_eq!(text.lines().count(), 1, "'{command}' prints one object: {text}{why}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("'{command}': {e}: {text}"));
        assert!(value.is_object(), "'{command}': {value}");
        let table = self.tables.get(command).unwrap_or_else(|| panic!("'{command}' is not on docs/json.md"));
        let mut found = Keys::new();
        flatten(&value, "", table, &mut found);
        for (key, types) in &found {
            let documented = table.get(key);
            assert!(
                documented.is_some_and(|documented| types.is_subset(documented)),
                "docs/json.md says of '{command}' that {key} is {documented:?}; printed was {types:?}: {value}"
            );
        }
        let seen = self.seen.entry(command.to_owned()).or_default();
        for (key, types) in found {
            seen.entry(key).or_default().extend(types);
        }
        value
    }

    /// Runs a command whose words are `command`, then `args`.
    fn run(&mut self, base: &[&str], command: &str, args: &[&str]) -> Value {
        let mut run = binary();
        run.args(base).args(command.split(' ')).args(args).args(["--format", "json"]);
        self.take(command, &run.output().unwrap())
    }

    /// What stands on the page and was never printed.
    fn missing(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (command, table) in &self.tables {
            let seen = self.seen.get(command);
            let absent = table.keys().filter(|key| !seen.is_some_and(|seen| seen.contains_key(*key)));
            out.extend(absent.map(|key| format!("{command}: {key}")));
        }
        out
    }
}

fn write(at: &Path, bytes: impl AsRef<[u8]>) -> String {
    std::fs::write(at, bytes).unwrap();
    at.to_str().unwrap().to_owned()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: {value}")).to_owned()
}

/// The commands of which `--help` lists no further ones, below `words`.
fn leaves(words: &[String], out: &mut BTreeSet<String>) {
    let help = binary().args(words).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let below: Vec<&str> = listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    if below.is_empty() {
        out.insert(words.join(" "));
    }
    for name in below {
        leaves(&[words, &[name.to_owned()]].concat(), out);
    }
}

#[test]
fn every_command_is_on_the_page_and_the_page_names_no_others() {
    let (tables, bytes) = page();
    let mut all = BTreeSet::new();
    leaves(&[], &mut all);
    assert!(all.len() > 40, "the help lists {all:?}");
    // It has verbs below it and is one itself.
    all.insert("pin".into());
    let named: BTreeSet<String> = tables.keys().chain(&bytes).cloned().collect();
    let missing: Vec<_> = all.difference(&named).collect();
    assert!(missing.is_empty(), "docs/json.md does not say what these print: {missing:?}");
    let strange: Vec<_> = named.difference(&all).collect();
    assert!(strange.is_empty(), "docs/json.md names commands there are none of: {strange:?}");
}

#[test]
fn what_commands_print_is_what_the_page_says() {
    let (tables, _) = page();
    let mut printed = Printed { tables, seen: BTreeMap::new() };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let repo = at("repo").to_str().unwrap().to_owned();
    without_a_daemon(&mut printed, &["--repo", &repo], &at);
    settings(&mut printed, &["--repo", &repo], &at);
    keeping(&mut printed, &at);
    daemon(&mut printed, &["--repo", &repo]);
    cluster(&mut printed, &at);
    demo(&mut printed, &at);
    let missing = printed.missing();
    assert!(missing.is_empty(), "docs/json.md says what no command printed: {missing:#?}");
}

/// A repo with garbage, and one with damage.
fn keeping(printed: &mut Printed, at: &dyn Fn(&str) -> PathBuf) {
    let repo = at("kept").to_str().unwrap().to_owned();
    let base = ["--repo", repo.as_str()];
    let file = write(&at("garbage"), "garbage");
    for args in [&["init"][..], &["add", "--no-pin", &file], &["add", "--cid-version=1", &write(&at("held"), "held")]] {
        assert!(binary().args(base).args(args).output().unwrap().status.success());
    }
    printed.run(&base, "repo gc", &[]);
    printed.run(&base, "repo migrate", &[]);
    let segment = at("kept/blocks").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|e| e == "seg")).max().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let held = bytes.windows(4).rposition(|w| w == b"held").unwrap();
    bytes[held] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    printed.run(&base, "repo verify", &[]);
}

fn without_a_daemon(printed: &mut Printed, base: &[&str], at: &dyn Fn(&str) -> PathBuf) {
    let mut run = |command: &str, args: &[&str]| printed.run(base, command, args);
    run("init", &[]);
    run("id", &[]);
    run("version", &[]);
    std::fs::create_dir(at("tree")).unwrap();
    write(&at("tree/a"), "one");
    write(&at("tree/b"), "two");
    let tree = at("tree").to_str().unwrap().to_owned();
    let cid = text(&run("add", &["-r", &tree]), "cid");
    let file = text(&run("add", &["--no-pin", &format!("{tree}/a")]), "cid");
    let both = run("add", &["--no-pin", &format!("{tree}/a"), &format!("{tree}/b")]);
    assert_eq!((&both["roots"][0]["name"], &both["roots"][1]["name"]), (&"a".into(), &"b".into()), "{both}");
    run("repo stat", &[]);
    run("repo version", &[]);
    run("repo export", &[at("export").to_str().unwrap()]);
    let kubo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubo-repo.tar.gz");
    let unpacked = std::process::Command::new("tar").arg("-xzf").arg(kubo).arg("-C").arg(at("")).status().unwrap();
    assert!(unpacked.success());
    run("repo import", &["--from-kubo", at("kubo").to_str().unwrap(), "--without-files"]);
    run("get", &[&cid, "-o", at("got").to_str().unwrap()]);
    run("get", &["-a", &cid, "-o", at("got.tar").to_str().unwrap()]);
    run("ls", &[&cid]);
    run("stat", &[&cid, &file]);
    run("resolve", &[&format!("{cid}/a")]);
    run("refs", &[&cid]);
    run("refs", &["--offline", ABSENT]);

    run("list-pins", &[]);
    run("pin", &[&file]);
    run("pin ls", &[&format!("{cid}/b")]);
    run("unpin", &[&file]);
    run("pin add", &["--name", "named", &file]);
    run("pin ls", &["--names"]);
    run("pin update", &[&file, &format!("{cid}/b")]);
    run("pin rm", &[&format!("{cid}/b")]);

    let value = write(&at("value"), format!("{{\"a\": [1, {{\"/\": \"{cid}\"}}]}}"));
    let node = run("dag put", &[&value])["cids"][0].as_str().unwrap().to_owned();
    run("dag resolve", &[&format!("{node}/a/0")]);
    run("dag stat", &[&node, &cid]);
    run("stat", &[&node]);
    let archive = binary().args(base).args(["dag", "export", &cid]).output().unwrap().stdout;
    run("dag import", &[&write(&at("archive"), archive)]);
    let block = run("block put", &[&write(&at("block"), "a block")])["blocks"][0]["cid"].as_str().unwrap().to_owned();
    run("block stat", &[&block]);
    run("block rm", &[&block]);
    run("block rm", &[&cid]);
    for (command, args) in [
        ("cid format", &["-b", "base36", &cid][..]),
        ("cid format", &["nonsense"]),
        ("cid base32", &[&cid]),
        ("cid base32", &["nonsense"]),
        ("cid inspect", &[&cid]),
        ("cid inspect", &["bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "--cid-base", "base32"]),
        ("cid bases", &[]),
        ("cid codecs", &[]),
        ("cid hashes", &[]),
        ("files mkdir", &["/d"]),
        ("files cp", &[&format!("/ipfs/{cid}"), "/d/tree"]),
        ("files mv", &["/d/tree", "/tree"]),
        ("files write", &["--create", "/d/file", &value]),
        ("files chmod", &["0644", "/d/file"]),
        ("files touch", &["/d/file"]),
        ("files chcid", &["--cid-version", "1", "/d"]),
        ("files ls", &["/d"]),
        ("files ls", &["-l", "/"]),
        ("files stat", &["/d/file"]),
        ("files stat", &["--with-local", "/"]),
        ("files flush", &[]),
        ("files rm", &["-r", "/d"]),
        ("files chroot", &["--confirm"]),
    ] {
        run(command, args);
    }

    // A block below a pin is lost.
    run("pin verify", &["--verbose"]);
    let lost = text(&run("add", &["--no-pin", &format!("{tree}/b")]), "cid");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let repo = ipfs_kit::store::Repo::open(Path::new(base[1]), ipfs_kit::store::StoreOptions::default()).unwrap();
        repo.blocks().remove(vec![lost.parse().unwrap()]).await.unwrap();
        repo.close().await;
    });
    run("pin verify", &[]);
}

fn settings(printed: &mut Printed, base: &[&str], at: &dyn Fn(&str) -> PathBuf) {
    let file = write(&at("settings.yaml"), "");
    let base = [base, &["--config", &file]].concat();
    let mut run = |command: &str, args: &[&str]| printed.run(&base, command, args);
    run("config set", &["swarm.connections", "500"]);
    run("config get", &["swarm.connections"]);
    run("config show", &[]);
    run("config check", &[]);
    write(&at("settings.yaml"), "swarm:\n  connections: many\n");
    run("config check", &[]);
}

fn daemon(printed: &mut Printed, base: &[&str]) {
    let mut daemon = binary();
    daemon.args(base).args(["daemon", "--api", "127.0.0.1:0", "--swarm", "/ip4/127.0.0.1/tcp/0", "--format", "json"]);
    let mut daemon = daemon.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(daemon.stdout.take().unwrap());
    let mut line = Vec::new();
    stdout.read_until(b'\n', &mut line).unwrap();
    let pid = rustix::process::Pid::from_raw(daemon.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    stdout.read_to_end(&mut line).unwrap();
    let status = daemon.wait().unwrap();
    assert!(status.success(), "{status}");
    printed.take("daemon", &Output { status, stdout: line, stderr: Vec::new() });
}

fn cluster(printed: &mut Printed, at: &dyn Fn(&str) -> PathBuf) {
    let lonely = common::Daemon::start(&at("lonely"), &common::Start { namespace: "json", ..Default::default() });
    printed.run(&["--api-url", &lonely.api], "cluster init", &[]);
    printed.run(&["--api-url", &lonely.api], "cluster token create", &["--role", "worker"]);
    let cluster = Cluster::start(1, 1);
    let (master, worker, leecher) = (&cluster.masters[0], &cluster.workers[0], &cluster.leecher);
    let api = |daemon: &common::Daemon| ["--api-url".to_owned(), daemon.api.clone()];
    let mut run = |daemon: &common::Daemon, command: &str, args: &[&str]| {
        let base = api(daemon);
        printed.run(&[&base[0], &base[1]], command, args)
    };
    run(leecher, "connect", &[&worker.address()]);
    eventually("a ping has come back", || {
        let peers = run(leecher, "peers", &[]);
        peers["peers"].as_array().unwrap().iter().any(|p| p["latency"].is_string()).then_some(())
    });
    run(leecher, "id", &[]);
    run(leecher, "cluster status", &[]);
    run(master, "cluster status", &[]);
    run(master, "cluster peers", &[]);
    let cid = text(&run(worker, "add", &[&write(&at("words"), "four words are here\n")]), "cid");
    eventually("the DHT knows the provider", || {
        leecher.run(&["routing", "findprovs", &cid, "--timeout", "5s"]).status.success().then_some(())
    });
    run(leecher, "routing findprovs", &[&cid]);
    run(leecher, "task submit", &["noop"]);
    let task = run(leecher, "task submit", &["word-count", &cid, "--wait"]);
    assert_eq!(task["state"], "completed", "{task}");
    let id = text(&task, "id");
    run(leecher, "task status", &[&id]);
    run(leecher, "task result", &[&id, "-o", at("result").to_str().unwrap()]);
    // It fails: the exit code is 1, and what is known is printed all the same.
    let failed = run(leecher, "task submit", &["word-count", "--wait"]);
    assert!(failed["error"].is_string(), "{failed}");
}

fn demo(printed: &mut Printed, at: &dyn Fn(&str) -> PathBuf) {
    let input = write(&at("input"), "three words here\n");
    let value = printed.run(&[], "demo", &["--exit", &input]);
    assert_eq!((&value["ok"], &value["steps"].as_array().unwrap().len()), (&true.into(), &8), "{value}");
}
