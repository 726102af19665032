//! What `--help` says: every verb has examples, and each of them does what it says. Completions know every verb.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use common::{Cluster, Daemon, Start, binary, eventually};
use regex::{Captures, Regex};

/// Run elsewhere: it starts six daemons (`tests/journey.rs::the_demo_ends_well_and_leaves_nothing`).
const ELSEWHERE: &str = "demo";

/// What `--help` of a verb shows.
struct Page {
    verb: Vec<String>,
    /// The verbs below it.
    below: Vec<String>,
    examples: Vec<String>,
}

fn help(verb: &[String]) -> String {
    let out = binary().args(verb).arg("--help").env("COLUMNS", "100").output().unwrap();
    assert!(out.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The lines of a section, without the two spaces before them.
fn section<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| *line != title).skip(1);
    lines.map_while(|line| line.strip_prefix("  ").filter(|line| !line.trim().is_empty())).collect()
}

/// All pages, the root's first.
fn pages() -> Vec<Page> {
    let (mut pages, mut open) = (Vec::new(), vec![Vec::new()]);
    while let Some(verb) = open.pop() {
        let text = help(&verb);
        let names = section(&text, "Commands:").into_iter().filter(|line| !line.starts_with(' '));
        let below: Vec<String> = names.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        let below: Vec<String> = below.into_iter().filter(|name| name != "help").collect();
        open.extend(below.iter().map(|name| [verb.as_slice(), std::slice::from_ref(name)].concat()));
        let examples = section(&text, "Examples:").into_iter().filter(|line| line.contains("ipfs-kit"));
        // Behind two spaces stands what it is for.
        let examples = examples.map(|line| line.split("  ").next().unwrap().trim().to_owned()).collect();
        pages.push(Page { verb, below, examples });
    }
    assert!(pages.len() > 60 && pages[0].below.iter().any(|verb| verb == "add"), "help is read: {}", pages.len());
    pages
}

/// A folder with everything in it that examples name, and what stands for their words.
struct World {
    folder: tempfile::TempDir,
    template: PathBuf,
    folder_cid: String,
    second_cid: String,
    file_cid: String,
    value_cid: String,
    /// Of a cluster: its DHT, its master's address, the APIs of its master and of its leecher, a text, and a task that
    /// has counted its words.
    namespace: String,
    member: String,
    master_api: String,
    leecher_api: String,
    text_cid: String,
    task: String,
    token: String,
}

impl World {
    fn build(cluster: &Cluster) -> World {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        let dirs = [
            "photos",
            "photos/2026",
            "videos",
            "project",
            ".zfunc",
            ".config/fish/completions",
            ".local/share/bash-completion/completions",
            "tree/photos",
            "tree/2024",
            "second",
        ];
        dirs.iter().for_each(|dir| fs::create_dir_all(template.join(dir)).unwrap());
        for file in [
            "notes.txt",
            "report.txt",
            "today.txt",
            "patch.bin",
            "film.mkv",
            "photos/a.jpg",
            "videos/b.mkv",
            "project/.gitignore",
            "project/x.log",
            ".gitignore",
            "tree/notes.txt",
            "tree/photos/a.jpg",
            "tree/2024/x",
            "second/notes.txt",
        ] {
            fs::write(template.join(file), format!("the content of {file}\n").repeat(20)).unwrap();
        }
        fs::write(template.join("value.json"), r#"{"album": [{"title": "summer"}]}"#).unwrap();
        fs::write(template.join("site.yaml"), "logging:\n  level: info\n").unwrap();
        let ok = |args: &[&str]| {
            let out = binary().current_dir(&template).args(["--repo", "repo"]).args(args).output().unwrap();
            assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
            out.stdout
        };
        let text = |args: &[&str]| String::from_utf8(ok(args)).unwrap().trim_end().to_owned();
        ok(&["init"]);
        let folder_cid = text(&["add", "-q", "-r", "tree"]);
        let second_cid = text(&["add", "-q", "-r", "second"]);
        let file_cid = text(&["add", "-q", "report.txt"]);
        let value_cid = text(&["dag", "put", "value.json"]);
        fs::write(template.join("value.cbor"), ok(&["dag", "get", &value_cid, "--output-codec", "dag-cbor"])).unwrap();
        for (name, cid) in [("photos.car", &folder_cid), ("more.car", &second_cid), ("part.car", &file_cid)] {
            fs::write(template.join(name), ok(&["dag", "export", cid])).unwrap();
        }
        for dir in ["/photos/2025", "/photos/2024", "/drafts", "/sent", "/backup", "/notes"] {
            ok(&["files", "mkdir", "-p", dir]);
        }
        let kubo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubo-repo.tar.gz");
        let unpacked = Command::new("tar").arg("-xzf").arg(kubo).arg("-C").arg(&template).status().unwrap();
        assert!(unpacked.success());
        fs::rename(template.join("kubo"), template.join(".ipfs")).unwrap();
        for file in ["/a/b", "/drafts/letter", "/data.bin", "/notes.txt", "/notes/now.txt"] {
            ok(&["files", "write", "--create", "--parents", file, "film.mkv"]);
        }
        // With the files tree as it is now: an import puts no other one in its place.
        ok(&["repo", "export", "monday"]);

        let (master, worker) = (&cluster.masters[0], &cluster.workers[0]);
        let notes = template.join("notes.txt");
        let added = worker.json(&["add", notes.to_str().unwrap()]);
        let text_cid = added["cid"].as_str().unwrap().to_owned();
        eventually("the text's provider is found", || {
            let found = master.run(&["routing", "findprovs", &text_cid, "-n", "1"]);
            String::from_utf8_lossy(&found.stdout).contains(&worker.peer).then_some(())
        });
        let task =
            master.json(&["task", "submit", "word-count", &text_cid, "--wait"])["id"].as_str().unwrap().to_owned();
        let token =
            master.json(&["cluster", "token", "create", "--role", "worker"])["token"].as_str().unwrap().to_owned();
        World {
            namespace: cluster.namespace.clone(),
            member: master.address(),
            master_api: master.api.clone(),
            leecher_api: cluster.leecher.api.clone(),
            folder,
            template,
            folder_cid,
            second_cid,
            file_cid,
            value_cid,
            text_cid,
            task,
            token,
        }
    }

    /// The example with what its words stand for.
    fn filled(&self, page: &[String], example: &str, online: bool) -> String {
        let member = &self.member;
        let host: Vec<&str> = member.split('/').collect();
        let host = format!("{}:{}", host[2], host[4]);
        let text = example
            .replace("--api-url OTHER", &format!("--api-url {}", self.leecher_api))
            .replace("/ip4/192.168.1.7/tcp/4001/p2p/12D3Koo...", member)
            .replace("192.168.1.7:4001", &host)
            .replace("ipk1_...", &self.token)
            .replace("127.0.0.1:5001", &self.leecher_api)
            .replace("/data/ipfs", "data-ipfs");
        let cid = match page.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            _ if online => &self.text_cid,
            ["dag", "get" | "resolve"] => &self.value_cid,
            ["cat"] => &self.file_cid,
            _ => &self.folder_cid,
        };
        let word = |found: &Captures| match &found[0] {
            "CID" => cid.clone(),
            "CID2" => self.second_cid.clone(),
            "OTHER" => self.file_cid.clone(),
            "ID" => self.task.clone(),
            "TOKEN" => self.token.clone(),
            "ADDR" => member.clone(),
            other => panic!("{example}: nothing stands for {other}"),
        };
        let words = Regex::new(r"\b[A-Z][A-Z0-9]+\b").unwrap();
        // Names of files and units are no words of ours.
        words
            .replace_all(&text, |found: &Captures| if found[0].len() > 5 { found[0].to_owned() } else { word(found) })
            .into()
    }

    /// Runs one example in a copy of the folder.
    fn run(&self, number: usize, page: &Page, example: &str) -> Result<(), String> {
        let verbs = Regex::new(r"ipfs-kit((?: --?[a-z-]+ [^ |]+)*?) ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?").unwrap();
        let called = verbs.captures(example).ok_or("no verb in it")?;
        let (verb, sub) = (called[2].to_owned(), called.get(3).map_or("", |sub| sub.as_str()));
        let at = self.folder.path().join(format!("run-{number}"));
        copied(&self.template, &at);
        let online =
            ["cluster", "task", "connect", "peers", "routing"].contains(&verb.as_str()) || example.contains("--heal");
        let filled = self.filled(&page.verb, example, online);
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IPFS_KIT_")) {
            shell.env_remove(name);
        }
        let bin = Path::new(env!("CARGO_BIN_EXE_ipfs-kit")).parent().unwrap().to_owned();
        let path = std::env::join_paths(
            std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        shell.env("PATH", path.unwrap()).env("HOME", &at).env("IPFS_KIT_PATH", at.join("repo")).current_dir(&at);
        shell.stdin(Stdio::null()).args(["-e", "-o", "pipefail", "-c"]);
        if verb == "daemon" {
            return self.becomes_ready(shell, &filled);
        }
        // A member that founds a cluster must be in none.
        let alone = (verb == "cluster" && sub == "init")
            .then(|| Daemon::start(&at.join("alone"), &Start { namespace: &self.namespace, ..Start::default() }));
        if let Some(daemon) = &alone {
            shell.env("IPFS_KIT_API_URL", &daemon.api);
        } else if online {
            // Nobody connects to himself.
            shell.env("IPFS_KIT_API_URL", if verb == "connect" { &self.leecher_api } else { &self.master_api });
        }
        for before in self.before(&page.verb, &filled) {
            let done = binary().arg("--repo").arg(at.join("repo")).args(&before).output().unwrap();
            assert!(done.status.success(), "before {filled}: {before:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        // What another program makes of JSON is its own affair; it must be JSON.
        let (line, json) = match filled.split_once(" | jq") {
            Some((line, _)) => (line.to_owned(), true),
            None => (filled.clone(), false),
        };
        let out = shell.arg(&line).output().unwrap();
        drop(alone);
        fs::remove_dir_all(&at).unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        match out.status.success() {
            false => Err(format!("{line}: {said}")),
            true if json => {
                let read = serde_json::from_slice::<serde_json::Value>(&out.stdout);
                read.map(drop).map_err(|e| format!("{line}: {e}"))
            }
            true => Ok(()),
        }
    }

    /// What has to be so before an example can do what it says.
    fn before(&self, page: &[String], line: &str) -> Vec<Vec<&str>> {
        let (folder, second, file) = (self.folder_cid.as_str(), self.second_cid.as_str(), self.file_cid.as_str());
        match page.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["files", ..] if line.contains("mkdir") => vec![vec!["files", "rm", "-r", "/photos"]],
            ["files"] => vec![vec!["files", "mkdir", "/photos/2026"]],
            ["pin", "add"] => vec![vec!["pin", "rm", folder]],
            ["pin", "update"] => vec![vec!["pin", "rm", second]],
            ["block", "rm"] => vec![vec!["pin", "rm", folder, file]],
            _ => Vec::new(),
        }
    }

    /// A daemon is right when it says that it is ready and ends when it is told to.
    fn becomes_ready(&self, mut shell: Command, line: &str) -> Result<(), String> {
        shell.env("IPFS_KIT_SWARM_LISTEN", "/ip4/127.0.0.1/tcp/0").env("IPFS_KIT_API_ADDRESS", "127.0.0.1:0");
        shell.env("IPFS_KIT_DHT_NAMESPACE", &self.namespace);
        let mut child =
            shell.arg(format!("exec {line}")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let stop = || rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = said.any(|line| line == "Daemon is ready");
        let _ = stop();
        let out = child.wait_with_output().unwrap();
        match ready && out.status.success() {
            true => Ok(()),
            false => Err(format!("{line}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr))),
        }
    }
}

fn copied(from: &Path, to: &Path) {
    let out = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn every_verb_has_examples_that_do_what_they_say() {
    let pages = pages();
    let without: Vec<_> =
        pages.iter().filter(|page| page.examples.is_empty()).map(|page| page.verb.join(" ")).collect();
    assert!(without.is_empty(), "without an example: {without:?}");
    let cluster = Cluster::start(1, 1);
    let world = World::build(&cluster);
    let mut all = Vec::new();
    for page in pages.iter().filter(|page| page.verb != [ELSEWHERE]) {
        let here = page.examples.iter().filter(|line| !line.starts_with(&format!("ipfs-kit {ELSEWHERE}")));
        all.extend(here.map(|line| (page, line.clone())));
    }
    assert!(all.len() > 100, "examples are found: {}", all.len());
    let (next, failed) = (Mutex::new(all.iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((number, (page, line))) = next.lock().unwrap().next() else { return };
                    if let Err(why) = world.run(number, page, line) {
                        failed.lock().unwrap().push(format!("{} --help: {why}", page.verb.join(" ")));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} examples fail:\n{}", failed.len(), all.len(), failed.join("\n"));
}

#[test]
fn completions_know_every_verb_and_shells_take_them() {
    let pages = pages();
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let out = binary().args(["completions", shell]).output().unwrap();
        assert!(out.status.success() && out.stdout.len() > 10_000, "{shell}");
        let text = String::from_utf8(out.stdout).unwrap();
        let file = folder.path().join(shell);
        fs::write(&file, &text).unwrap();
        for name in pages.iter().flat_map(|page| &page.below) {
            assert!(text.contains(name.as_str()), "{shell} does not know {name}");
        }
        match Command::new(shell).arg("-n").arg(&file).output() {
            Ok(out) => assert!(out.status.success(), "{shell}: {}", String::from_utf8_lossy(&out.stderr)),
            Err(_) => eprintln!("LEFT OUT: there is no {shell} on this machine to read its completions"),
        }
    }
    // What bash offers behind each verb that has verbs below it.
    for page in pages.iter().filter(|page| !page.below.is_empty()) {
        let words = page.verb.join(" ");
        let last = page.verb.len() + 1;
        let script = format!(
            "source {}/bash; COMP_WORDS=(ipfs-kit {words} ''); COMP_CWORD={last}; \
             \"$(complete -p ipfs-kit | grep -o -- '-F [^ ]*' | cut -c4-)\" ipfs-kit '' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            folder.path().display()
        );
        let out = Command::new("bash").args(["-c", &script]).output().unwrap();
        let offered = String::from_utf8_lossy(&out.stdout);
        let offered: Vec<&str> = offered.lines().collect();
        for name in &page.below {
            assert!(offered.contains(&name.as_str()), "behind '{words}': {name} is not among {offered:?}");
        }
        assert!(offered.contains(&"--format"), "options too: {offered:?}");
    }
    assert_eq!(binary().args(["completions", "tcsh"]).output().unwrap().status.code(), Some(2));
}
