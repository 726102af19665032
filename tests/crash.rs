//! Daemons that are killed outright, and repos that were damaged: nothing acknowledged is lost, what can be relearnt is
//! never fatal, and a damaged log never votes.

mod common;
#[path = "rigs/content.rs"]
mod content;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Cluster, Daemon, Start, binary, eventually, with_role};
use ipfs_kit::Client;
use rustix::process::Signal;
use serde_json::Value;

/// Kills while writes are under way.
const KILLS: usize = 6;
/// Rounds in which masters are killed while tasks are submitted.
const MASTER_KILLS: u64 = 4;
/// Clients that write at the same time.
const CLIENTS: u64 = 4;

struct Random(u64);

impl Random {
    /// From CRASH_SEED where it is set; printed, so that a failure can be repeated.
    fn new() -> Self {
        let given = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from_le_bytes(*uuid().first_chunk().unwrap()));
        println!("CRASH_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n.max(1)
    }
}

/// Random bytes from the system.
fn uuid() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/uuid").unwrap().into_iter().filter(u8::is_ascii_hexdigit).collect()
}

/// The bytes of a client's file, different for every number.
fn file(number: u64) -> Vec<u8> {
    // One block, several, or enough for the kill to hit the middle of an import.
    let len = [300, 70_000, 900_000, 3_000_000][(number % 4) as usize];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out
}

/// What was acknowledged about one file's pin. While a change is under way either state may be found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pinned {
    Yes,
    No,
    Either,
}

#[derive(Default)]
struct Book {
    /// Number of the file and state of its pin, by CID.
    files: Mutex<BTreeMap<String, (u64, Pinned)>>,
    stop: AtomicBool,
    /// Whether garbage is collected meanwhile: what is not pinned may be gone then.
    collected: bool,
}

impl Book {
    fn note(&self, cid: &str, number: u64, pinned: Pinned) {
        self.files.lock().unwrap().insert(cid.to_owned(), (number, pinned));
    }
}

/// Adds files, unpins and pins some, until the daemon dies; every change is noted before it is asked for and after it was
/// acknowledged.
fn write(api: &str, folder: &Path, numbers: std::ops::Range<u64>, book: &Book) {
    let run = |args: &[&str]| -> Output { binary().args(["--api-url", api]).args(args).output().unwrap() };
    let mut mine: Vec<(String, u64)> = Vec::new();
    for number in numbers {
        if book.stop.load(Ordering::Relaxed) {
            return;
        }
        let path = folder.join(number.to_string());
        fs::write(&path, file(number)).unwrap();
        let out = run(&["add", path.to_str().unwrap(), "--format", "json"]);
        fs::remove_file(&path).unwrap();
        if out.status.success() {
            let added: Value = serde_json::from_slice(&out.stdout).unwrap();
            let cid = added["cid"].as_str().unwrap().to_owned();
            book.note(&cid, number, Pinned::Yes);
            mine.push((cid, number));
        }
        if number % 3 != 0 {
            continue;
        }
        let Some((cid, number)) = mine.get(mine.len() / 2) else { continue };
        for (verb, after) in [("unpin", Pinned::No), ("pin", Pinned::Yes)] {
            if verb == "pin" && book.collected {
                break;
            }
            book.note(cid, *number, Pinned::Either);
            if !run(&[verb, cid]).status.success() {
                break;
            }
            book.note(cid, *number, after);
        }
    }
}

/// Everything acknowledged is readable and pinned as acknowledged.
fn check(daemon: &Daemon, book: &Book) {
    let pins = daemon.json(&["list-pins"]);
    let pins: Vec<&str> = pins["pins"].as_array().unwrap().iter().map(|p| p["cid"].as_str().unwrap()).collect();
    let mut files = book.files.lock().unwrap();
    for (cid, (number, pinned)) in files.iter_mut() {
        let there = pins.contains(&cid.as_str());
        match *pinned {
            Pinned::Either => *pinned = if there { Pinned::Yes } else { Pinned::No },
            acknowledged => assert_eq!(there, acknowledged == Pinned::Yes, "the pin of {cid} (file {number})"),
        }
        if *pinned == Pinned::Yes || !book.collected {
            assert_eq!(daemon.ok(&["cat", cid]), file(*number), "{cid} is file {number}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_a_daemon_is_killed() {
    killed_while_writing(false);
}

#[test]
fn nothing_pinned_is_lost_when_a_daemon_is_killed_while_it_collects_and_compacts() {
    killed_while_writing(true);
}

/// Collects garbage until the daemon dies.
fn collect(api: &str, book: &Book) {
    while !book.stop.load(Ordering::Relaxed) {
        drop(binary().args(["--api-url", api, "repo", "gc", "--silent"]).output().unwrap());
    }
}

fn killed_while_writing(collected: bool) {
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let (repo, scratch) = (folder.path().join("repo"), folder.path());
    let book = Book { collected, ..Book::default() };
    // Small segments are compacted all the time.
    let settings = folder.path().join("settings.yaml");
    fs::write(&settings, "storage: {segment_size: 4MiB}\n").unwrap();
    let extra = if collected { vec!["--config", settings.to_str().unwrap()] } else { Vec::new() };
    let start = Start { extra, ..Start::default() };
    let mut next = 1;
    for round in 0..KILLS {
        let daemon = Daemon::start(&repo, &start);
        check(&daemon, &book);
        let before = book.files.lock().unwrap().len();
        // So many more are acknowledged before the moment is drawn: a kill before any would show nothing.
        let (enough, moment) = (1 + random.below(8) as usize, Duration::from_micros(random.below(150_000)));
        book.stop.store(false, Ordering::Relaxed);
        let api = daemon.api.clone();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (api, book, from) = (&api, &book, next + client * 1000);
                scope.spawn(move || write(api, scratch, from..from + 1000, book));
            }
            if collected {
                scope.spawn(|| collect(&api, &book));
            }
            eventually("files are acknowledged", || {
                (book.files.lock().unwrap().len() >= before + enough).then_some(())
            });
            // No event to wait on: the kill is to come at any moment.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(moment);
            daemon.kill();
            book.stop.store(true, Ordering::Relaxed);
        });
        next += CLIENTS * 1000;
        println!("kill {round}: {} files acknowledged", book.files.lock().unwrap().len());
        // The dead daemon's repo is opened by a verb as well as by the next daemon.
        let out = binary().arg("--repo").arg(&repo).args(["list-pins", "--format", "json"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let daemon = Daemon::start(&repo, &start);
    check(&daemon, &book);
    if collected {
        daemon.ok(&["repo", "gc", "--silent"]);
        check(&daemon, &book);
    }
    let repo = daemon.stop();
    // Hashed again, every single block.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let repo = ipfs_kit::store::Repo::open(&repo, ipfs_kit::store::StoreOptions::default()).unwrap();
        assert!(repo.blocks().damage().is_empty(), "{:?}", repo.blocks().damage());
        let report = repo.blocks().verify().await.unwrap();
        assert!(report.damaged.is_empty() && report.blocks > 0, "{report:?}");
    });
}

/// Submits tasks to one master after the other, until it is told to stop; gives what was acknowledged into `accepted`.
fn submit(apis: &[String], client: u64, accepted: &Mutex<BTreeSet<String>>, stop: &AtomicBool) {
    for turn in client.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let api = &apis[turn as usize % apis.len()];
        let mut task = binary();
        task.args(["--api-url", api, "task", "submit", "noop", "--direct", "--timeout", "3s", "--format", "json"]);
        let out = task.output().unwrap();
        if out.status.success() {
            let task: Value = serde_json::from_slice(&out.stdout).unwrap();
            accepted.lock().unwrap().insert(task["id"].as_str().unwrap().to_owned());
        }
    }
}

#[test]
fn no_accepted_task_and_no_term_is_lost_when_masters_are_killed() {
    let mut random = Random::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut cluster = Cluster::start(3, 1);
    let places: Vec<String> = cluster.masters.iter().map(|m| m.swarm[0].clone()).collect();
    let accepted: Mutex<BTreeSet<String>> = Mutex::default();
    let count = || accepted.lock().unwrap().len();
    let mut terms = vec![0; 3];
    for round in 0..MASTER_KILLS {
        // One of them, and in every other round two or all.
        let victims = if round % 2 == 0 { 1 } else { 2 + random.below(2) as usize };
        let first = random.below(3) as usize;
        let victims: Vec<usize> = (0..victims).map(|n| (first + n) % 3).collect();
        let (enough, moment) = (count() + 4 + random.below(8) as usize, Duration::from_micros(random.below(150_000)));
        let (apis, stop) = (cluster.masters.iter().map(|m| m.api.clone()).collect::<Vec<_>>(), AtomicBool::new(false));
        for (master, term) in cluster.masters.iter().zip(&mut terms) {
            *term = master.json(&["cluster", "status"])["term"].as_u64().unwrap();
        }
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (apis, accepted, stop) = (&apis, &accepted, &stop);
                scope.spawn(move || submit(apis, client, accepted, stop));
            }
            eventually("tasks are accepted", || (count() >= enough).then_some(()));
            // No event to wait on: the kill is to come at any moment.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(moment);
            for at in &victims {
                cluster.masters[*at].signal(Signal::KILL);
            }
            let killed_at = count();
            // A majority goes on without the dead; less than that accepts nothing more.
            if victims.len() == 1 {
                eventually("the survivors accept more", || (count() > killed_at + CLIENTS as usize).then_some(()));
            }
            stop.store(true, Ordering::Relaxed);
        });
        println!("round {round}: masters {victims:?} killed, {} tasks accepted so far", count());
        // Each takes the place of the one that was there, in any order.
        for at in &victims {
            let start = Start { namespace: &cluster.namespace, swarm: &places[*at], ..Start::default() };
            let repo = cluster.masters[*at].repo.clone();
            cluster.masters[*at].child.wait().unwrap();
            cluster.masters[*at] = Daemon::start(&repo, &start);
        }
        for (master, term) in cluster.masters.iter().zip(&terms) {
            let status = master.status_when("a leader, and every master alive", |s| {
                s["leader"].is_string() && with_role(s, "master").iter().all(|m| m["state"] == "alive")
            });
            assert!(status["term"].as_u64().unwrap() >= *term, "term {term} before the kill: {status}");
            let client = Client::connect(&master.api).unwrap();
            for id in accepted.lock().unwrap().iter() {
                let task = runtime.block_on(client.task_status(id));
                assert_eq!(task.map(|task| task.id).ok().as_ref(), Some(id), "round {round}: acknowledged before");
            }
        }
    }
}

#[test]
fn a_deleted_or_damaged_soft_folder_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let daemon = Daemon::start(&repo, &Start::default());
    let path = folder.path().join("file");
    fs::write(&path, file(2)).unwrap();
    let cid = daemon.json(&["add", path.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let peer = daemon.peer.clone();
    daemon.stop();
    let soft = repo.join("soft");
    let each = |change: &dyn Fn(&Path)| {
        let mut files = files(&soft);
        assert!(!files.is_empty());
        files.drain(..).for_each(|file| change(&file));
    };
    let harms: [(&str, &dyn Fn()); 5] = [
        ("deleted", &|| fs::remove_dir_all(&soft).unwrap()),
        ("overwritten", &|| {
            each(&|file| fs::write(file, vec![0xa5; fs::metadata(file).unwrap().len() as usize]).unwrap())
        }),
        ("cut in half", &|| {
            each(&|file| {
                let half = fs::metadata(file).unwrap().len() / 2;
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(half).unwrap();
            })
        }),
        ("a file", &|| {
            fs::remove_dir_all(&soft).unwrap();
            fs::write(&soft, "no folder").unwrap();
        }),
        // What is left when opening it took the process down.
        ("unopenable", &|| fs::write(repo.join("soft.opening"), "").unwrap()),
    ];
    for (harm, run) in harms {
        run();
        println!("soft folder: {harm}");
        let daemon = Daemon::start(&repo, &Start::default());
        assert_eq!(daemon.peer, peer, "{harm}");
        assert_eq!(daemon.ok(&["cat", &cid]), file(2), "{harm}");
        assert_eq!(daemon.json(&["list-pins"])["pins"][0]["cid"], cid.as_str(), "{harm}");
        daemon.json(&["add", path.to_str().unwrap()]);
        daemon.stop();
        assert!(soft.is_dir(), "{harm}");
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { out.push(path) }
        }
    }
    out
}

#[test]
fn a_master_with_a_damaged_log_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let start = Start { namespace: "damaged-log", ..Start::default() };
    let daemon = Daemon::start(&repo, &start);
    daemon.json(&["cluster", "init"]);
    daemon.status_when("it leads itself", |s| s["leader"] == daemon.peer.as_str());
    let submit = |_| daemon.json(&["task", "submit", "noop", "--direct"])["id"].as_str().unwrap().to_owned();
    let acknowledged: Vec<String> = (0..8).map(submit).collect();
    daemon.kill();
    let wals = || files(&repo.join("raft/cluster")).into_iter().filter(|f| f.extension().is_some_and(|e| e == "wal"));
    let log = wals().next().expect("a master has a log");
    assert_eq!(wals().count(), 1);
    let good = fs::read(&log).unwrap();
    let used = good.iter().rposition(|&byte| byte != 0).unwrap();
    for at in [used / 2, used / 3, 40] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&log, &bad).unwrap();
        let said = Daemon::try_start(&repo, &start).err().unwrap_or_else(|| panic!("byte {at} of {used}: it started"));
        assert!(said.contains("damaged"), "byte {at}: {said}");
        assert!(said.contains(log.file_name().unwrap().to_str().unwrap()), "the file is named: {said}");
        assert!(said.contains("join anew"), "what to do is said: {said}");
        assert_eq!(fs::read(&log).unwrap(), bad, "a damaged log is left as it is");
    }
    // Unharmed it is a member again.
    fs::write(&log, &good).unwrap();
    let daemon = Daemon::start(&repo, &start);
    daemon.status_when("it leads itself again", |s| s["leader"] == daemon.peer.as_str());
    for id in &acknowledged {
        assert_eq!(daemon.json(&["task", "status", id])["id"], id.as_str(), "acknowledged before the kill");
    }
}

/// Names the repo of the process that is to be killed, and tells it that it is one.
const WRITER: &str = "CRASH_WRITER_REPO";

/// What [`adds_pins_files_and_compaction_survive_kills`] runs as a process of its own.
#[test]
#[ignore = "it writes until it is killed"]
fn writer() {
    let repo = std::env::var(WRITER).expect("the test that kills it names a repo");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (repo, run) = (content::open(Path::new(&repo)).unwrap(), std::env::var("CRASH_WRITER_RUN").unwrap());
    let ended = runtime.block_on(content::write(repo, run.parse().unwrap()));
    panic!("it is to go on until it is killed: {ended:?}");
}

/// Four adds under way, pins that move, a files tree that changes and segments that are compacted: `kill -9` at any moment
/// leaves all that was acknowledged, and of the tree what it was before the last change or after it.
#[test]
fn adds_pins_files_and_compaction_survive_kills() {
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut known = content::Known::default();
    for run in 1..=KILLS as u64 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "writer", "--nocapture"])
            .env(WRITER, &repo)
            .env("CRASH_WRITER_RUN", run.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (enough, moment) = (10 + random.below(60), Duration::from_micros(random.below(100_000)));
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        for line in lines.by_ref().map_while(Result::ok) {
            acknowledged += u64::from(known.read(&line.split_whitespace().collect::<Vec<_>>()));
            if acknowledged >= enough {
                break;
            }
        }
        assert!(acknowledged >= enough, "run {run}: the writer ended by itself");
        // No event to wait on: the kill is to come at any moment.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(moment);
        writer.kill().unwrap();
        writer.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            known.read(&line.split_whitespace().collect::<Vec<_>>());
        }
        let lost = runtime.block_on(async {
            let repo = content::open(&repo).unwrap();
            let lost = known.lost(&repo).await.unwrap();
            repo.close().await;
            lost
        });
        println!("kill {run}: {}", known.summary());
        assert!(lost.is_empty(), "kill {run}: {lost:#?}");
    }
}
