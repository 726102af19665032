//! Settings: the page that describes them, and the verbs that show, change and check them.

mod common;

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    path::Path,
    process::Output,
};

use common::{Daemon, Start, binary};
use ipfs_kit::{Config, config::keys::KEYS};
use serde_json::Value;

/// The table of `docs/configuration.md` as the code has it.
fn table() -> String {
    let mut out = "| setting | default | allowed | variable | what it does |\n|---|---|---|---|---|\n".to_owned();
    let default = Config::new("/repo");
    for key in KEYS {
        let (shown, allowed) = (key.shown(&default), key.shape.allowed());
        writeln!(out, "| `{}` | {shown} | {allowed} | `{}` | {} |", key.name, key.variable, key.about).unwrap();
    }
    out
}

#[test]
fn the_page_and_the_code_agree() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let (_, rest) = page.split_once("<!-- settings: checked by tests/config.rs -->\n\n").expect("the first marker");
    let (written, _) = rest.split_once("\n<!-- end of settings -->").expect("the second marker");
    assert_eq!(written, table(), "docs/configuration.md is not what the code has; this is:\n\n{}", table());
}

#[test]
fn the_page_is_a_settings_file_that_passes() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (kind, name) in [("```yaml\n", "f.yaml"), ("```json\n", "f.json")] {
        for example in page.split(kind).skip(1) {
            let file = folder.path().join(name);
            fs::write(&file, example.split("```").next().unwrap()).unwrap();
            let out = binary().arg("--config").arg(&file).args(["config", "check"]).output().unwrap();
            assert!(out.status.success(), "{example}\n{}", String::from_utf8_lossy(&out.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 2, "the page has lost its examples");
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("work")).unwrap();
        Place { folder }
    }

    /// Runs a verb as someone whose home and working folder are here.
    fn run(&self, variables: &[(&str, &str)], args: &[&str]) -> Output {
        let mut command = binary();
        command
            .env_remove("IPFS_KIT_CONFIG")
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path().join("work"));
        command.envs(variables.iter().copied()).args(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(&[], args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn fails(&self, variables: &[(&str, &str)], args: &[&str]) -> String {
        let out = self.run(variables, args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8(out.stderr).unwrap()
    }
}

#[test]
fn settings_are_set_shown_and_checked() {
    let place = Place::new();
    place.ok(&["init"]);
    assert_eq!(place.ok(&["config", "get", "swarm.connections"]), "1024\n");
    // A new file is made in the repo; what was written there stays when more is set.
    let file = place.folder.path().join(".ipfs_kit/config.yaml");
    assert!(place.ok(&["config", "set", "swarm.connections", "77"]).contains("config.yaml: swarm.connections = 77"));
    fs::write(&file, format!("# by hand\n{}", fs::read_to_string(&file).unwrap())).unwrap();
    place.ok(&["config", "set", "storage.segment_size", "64MiB"]);
    place.ok(&["config", "set", "swarm.connections", "78"]);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# by hand\nswarm:\n  connections: 78\nstorage:\n  segment_size: 64MiB\n");
    assert_eq!(place.ok(&["config", "get", "swarm.connections"]), "78\n");
    let shown: Value = serde_json::from_str(&place.ok(&["config", "show", "--format", "json"])).unwrap();
    let row = |name: &str| shown["settings"].as_array().unwrap().iter().find(|row| row["key"] == name).unwrap().clone();
    assert_eq!((&row("swarm.connections")["value"], &row("swarm.connections")["default"]), (&78.into(), &1024.into()));
    assert!(row("swarm.connections")["origin"].as_str().unwrap().ends_with("config.yaml:3"), "{shown}");
    assert_eq!(row("role")["origin"], "default");
    assert!(place.ok(&["config", "show"]).contains("swarm.connections"));
    assert!(place.ok(&["config", "check"]).contains("nothing is wrong"));

    // The environment goes before the file, and the working folder's file before the repo's.
    let out = place.run(&[("IPFS_KIT_SWARM_CONNECTIONS", "79")], &["config", "get", "swarm.connections"]);
    assert_eq!(out.stdout, b"79\n");
    fs::write(place.folder.path().join("work/ipfs_config.json"), "{\"swarm\": {\"connections\": 80}}").unwrap();
    assert_eq!(place.ok(&["config", "get", "swarm.connections"]), "80\n");
    assert_eq!(place.ok(&["config", "get", "storage.segment_size"]), "256MiB\n");
    place.ok(&["config", "set", "role", "worker"]);
    let json = fs::read_to_string(place.folder.path().join("work/ipfs_config.json")).unwrap();
    assert_eq!(json, "{\"swarm\": {\"connections\": 80}, \"role\": \"worker\"}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    // What is wrong is said, and nothing is written.
    assert!(place.fails(&[], &["config", "set", "swarm.connections", "none"]).contains("allowed: 1 to 100000"));
    let text = place.fails(&[], &["config", "set", "swarm.conections", "7"]);
    assert!(text.contains("no setting 'swarm.conections'; the nearest is 'swarm.connections'"), "{text}");
    assert_eq!(fs::read_to_string(place.folder.path().join("work/ipfs_config.json")).unwrap(), json);
    fs::write(&file, "swarm:\n  connections: 0\n  connectoins: 5\n").unwrap();
    let named = file.to_str().unwrap();
    let text = place.fails(&[], &["--config", named, "config", "check"]);
    assert!(text.contains("config.yaml:2:16: swarm.connections is 0; allowed: 1 to 100000"), "{text}");
    // Verbs that work by the settings do not work without them, and what is unknown is a note.
    assert!(place.fails(&[], &["--config", named, "id"]).contains("config.yaml:2:16"));
    fs::write(&file, "swarm:\n  connectoins: 5\n").unwrap();
    let text = place.fails(&[], &["--config", named, "config", "check"]);
    assert!(text.contains("config.yaml:2:3: there is no setting 'swarm.connectoins'"), "{text}");
    assert!(place.run(&[], &["--config", named, "id"]).status.success());
    let text = place.fails(&[("IPFS_KIT_ROLE", "king")], &["config", "check"]);
    assert!(text.contains("IPFS_KIT_ROLE") && text.contains("master, worker or leecher"), "{text}");
    assert!(place.fails(&[], &["--config", "nowhere.yaml", "id"]).contains("nowhere.yaml"));
}

#[test]
fn a_link_keeps_leading_to_its_file_and_modes_stay() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let (real, link) = (place.folder.path().join("real.yaml"), place.folder.path().join("link.yaml"));
    fs::write(&real, "role: worker\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    place.ok(&["--config", link.to_str().unwrap(), "config", "set", "role", "master"]);
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "role: master\n");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn verbs_do_what_settings_and_variables_say() {
    let place = Place::new();
    place.ok(&["init"]);
    let file = place.folder.path().join("work/hello");
    fs::write(&file, "hello world\n").unwrap();
    place.ok(&["config", "set", "import.profile", "unixfs-v1-2025"]);
    let cid = place.ok(&["add", "-q", "hello"]);
    assert!(cid.starts_with("bafkrei"), "the profile decides CIDs without a daemon: {cid}");
    let out = place.run(&[("IPFS_KIT_FORMAT", "json")], &["add", "hello"]);
    let added: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(added["cid"], cid.trim());
    let out = place.run(&[("IPFS_KIT_FORMAT", "json")], &["add", "hello", "-q", "--format", "text"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap(), cid, "the flag goes before the variable");
}

#[test]
fn a_daemon_has_the_settings_of_its_file() {
    let place = Place::new();
    let repo = place.folder.path().join("repo");
    let text = "logging:\n  file: logs/daemon.log\n  format: json\n  level: trace\n\
                import: {cid_version: 1}\ntimeouts: {api: 1s}\nswarm:\n  announce: [/ip4/203.0.113.7/tcp/4001]\n  typo: 1\n";
    fs::create_dir_all(&repo).unwrap();
    fs::write(repo.join("config.yaml"), text).unwrap();
    let config = repo.join("config.yaml");
    let extra = vec!["--config", config.to_str().unwrap()];
    let start = Start { namespace: "settings", extra, ..Start::default() };
    let daemon = Daemon::start(&repo, &start);
    let file = place.folder.path().join("hello");
    fs::write(&file, "hello world\n").unwrap();
    let cid = daemon.json(&["add", file.to_str().unwrap()])["cid"].clone();
    assert!(cid.as_str().unwrap().starts_with("bafkrei"), "{cid}");
    let id = daemon.json(&["id"]);
    assert!(id["addresses"].to_string().contains("/ip4/203.0.113.7/tcp/4001"), "{id}");
    // A request that says nothing waits as long as the settings say.
    let absent = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    let said =
        binary().env("IPFS_KIT_CONFIG", &config).args(["--api-url", &daemon.api, "cat", absent]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("within 1 s"), "{said}");
    let parts: Vec<&str> = daemon.api.split('/').collect();
    let mut plain = std::net::TcpStream::connect(format!("{}:{}", parts[2], parts[4])).unwrap();
    let request = format!("POST /api/v0/cat?arg={absent} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    plain.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("within 1 s"), "{answer}");
    daemon.stop();
    let log = fs::read_to_string(repo.join("logs/daemon.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    assert!(lines.iter().any(|line| line["message"] == "stopping"), "{log}");
    // A level that leaves that out.
    fs::remove_file(repo.join("logs/daemon.log")).unwrap();
    fs::write(&config, text.replace("level: trace", "level: warn")).unwrap();
    Daemon::start(&repo, &start).stop();
    assert_eq!(fs::read_to_string(repo.join("logs/daemon.log")).unwrap(), "");
}

#[test]
fn a_member_joins_by_its_settings() {
    let place = Place::new();
    let master = Daemon::start(&place.folder.path().join("master"), &Start { namespace: "set", ..Start::default() });
    master.json(&["cluster", "init"]);
    master.status_when("it leads itself", |status| status["leader"] == master.peer.as_str());
    let token = master.json(&["cluster", "token", "create", "--role", "worker"]);
    let repo = place.folder.path().join("worker");
    fs::create_dir_all(&repo).unwrap();
    fs::write(repo.join("token"), format!("{}\n", token["token"].as_str().unwrap())).unwrap();
    let config = repo.join("config.yaml");
    let text = format!(
        "role: worker\ncluster:\n  join: [{}]\n  token_file: token\ndht: {{namespace: set}}\n",
        master.address()
    );
    fs::write(&config, text).unwrap();
    let start = Start { extra: vec!["--config", config.to_str().unwrap()], ..Start::default() };
    let worker = Daemon::start(&repo, &start);
    let peer = worker.peer.clone();
    let there = |status: &Value| status["members"].to_string().contains(&peer);
    master.status_when("the worker is a member", there);
    // Started again with the same settings it stays what it is.
    let repo = worker.stop();
    fs::remove_file(repo.join("token")).unwrap();
    assert_eq!(Daemon::start(&repo, &start).peer, peer);
    // A stranger needs the token.
    let said = Daemon::try_start(&place.folder.path().join("other"), &start).err().expect("there is no token");
    assert!(said.contains("cluster.token_file"), "{said}");
}
