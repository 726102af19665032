//! Journeys of a cluster between real processes on loopback, by hand as a person would do them.

mod common;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use common::{Cluster, Daemon, Start, binary, eventually, timed, with_role};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// What `wc` counts in every file below a path, summed up.
fn wc(path: &Path) -> BTreeMap<&'static str, u64> {
    let mut find = Command::new("find");
    let out =
        find.env("LC_ALL", "C").arg(path).args(["-type", "f", "-exec", "wc", "-lwc", "{}", ";"]).output().unwrap();
    let mut sum = BTreeMap::from([("lines", 0), ("words", 0), ("bytes", 0), ("files", 0)]);
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        for (key, number) in ["lines", "words", "bytes"].into_iter().zip(line.split_whitespace()) {
            *sum.entry(key).or_default() += number.parse::<u64>().unwrap();
        }
        *sum.entry("files").or_default() += 1;
    }
    sum
}

fn counted(daemon: &Daemon, task: &Value) -> BTreeMap<&'static str, u64> {
    let result: Value = serde_json::from_slice(&daemon.ok(&["task", "result", task["id"].as_str().unwrap()])).unwrap();
    ["lines", "words", "bytes", "files"].into_iter().map(|k| (k, result[k].as_u64().unwrap())).collect()
}

fn folder_of_text(at: &Path, seed: u64) {
    std::fs::create_dir_all(at.join("inner")).unwrap();
    for n in 0..8 {
        let words: String =
            (0..200).map(|w| format!("word{} \t{}\n", w * n + seed, if w % 7 == 0 { "\n" } else { "" })).collect();
        std::fs::write(at.join(format!("file-{n}.txt")), &words).unwrap();
        std::fs::write(at.join("inner").join(format!("no-newline-at-the-end-{n}")), words.trim_end()).unwrap();
    }
    std::fs::write(at.join("empty"), b"").unwrap();
}

#[test]
fn content_tasks_fail_over_and_return_of_the_dead() {
    let mut cluster = Cluster::start(3, 2);
    let texts = tempfile::tempdir().unwrap();
    folder_of_text(texts.path(), 1);
    let worker = &cluster.workers[0];
    let added = worker.json(&["add", "-r", texts.path().to_str().unwrap()]);
    let cid = added["cid"].as_str().unwrap().to_owned();

    // Through the DHT: the leecher has no connection to the worker before it asks.
    let peers = cluster.leecher.json(&["peers"]);
    assert!(!peers["peers"].as_array().unwrap().iter().any(|p| p["id"] == worker.peer.as_str()), "{peers}");
    let fetched = tempfile::tempdir().unwrap();
    let out = fetched.path().join("out");
    cluster.leecher.ok(&["get", &cid, "-o", out.to_str().unwrap()]);
    let same = Command::new("diff").arg("-r").arg(texts.path()).arg(&out).status().unwrap();
    assert!(same.success(), "what was fetched differs from what was added");

    let task = cluster.leecher.json(&["task", "submit", "word-count", &cid, "--wait"]);
    assert_eq!(task["state"], "completed", "{task}");
    assert_eq!(task["worker"], worker.peer.as_str(), "the task must run where its input lies: {task}");
    assert_eq!(counted(&cluster.leecher, &task), wc(texts.path()));

    // The leader dies; the others go on, and so do tasks.
    let leader = cluster.masters[1].status_when("a leader", |s| s["leader"].is_string())["leader"].clone();
    let at = cluster.masters.iter().position(|m| leader == m.peer.as_str()).unwrap();
    let dead_peer = cluster.masters[at].peer.clone();
    let repo = cluster.masters.remove(at).kill();
    cluster.masters[0].status_when("a new leader", |s| s["leader"].is_string() && s["leader"] != leader);
    let task = cluster.leecher.json(&["task", "submit", "word-count", &cid, "--wait"]);
    assert_eq!(task["state"], "completed", "{task}");

    // A plain daemon on the dead master's repo is that member again, on another port that the others learn.
    let back = cluster.restart(&repo);
    assert_eq!(back.peer, dead_peer);
    let port = back.address();
    let port = port.split("/tcp/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    cluster.masters[0].status_when("the returned master is alive at its new address", |s| {
        with_role(s, "master").iter().any(|m| {
            m["peer"] == dead_peer.as_str()
                && m["state"] == "alive"
                && m["voter"] == true
                && m["addresses"].to_string().contains(&format!("/tcp/{port}"))
        })
    });
    cluster.masters.push(back);

    // So is a worker's.
    let worker = cluster.workers.remove(0);
    let peer = worker.peer.clone();
    let back = cluster.restart(&worker.stop());
    cluster.masters[0].status_when("the returned worker is alive", |s| {
        with_role(s, "worker").iter().any(|m| m["peer"] == peer.as_str() && m["state"] == "alive")
    });
    let task = cluster.leecher.json(&["task", "submit", "word-count", &cid, "--wait"]);
    assert_eq!((&task["state"], &task["worker"]), (&"completed".into(), &Value::from(peer)), "{task}");
    drop(back);
}

#[test]
fn twenty_tasks_run_where_their_inputs_lie() {
    let cluster = Cluster::start(1, 2);
    let texts = tempfile::tempdir().unwrap();
    let inputs: Vec<(String, &Daemon)> = (0..20)
        .map(|n| {
            let path = texts.path().join(format!("text-{n}"));
            std::fs::write(&path, format!("input number {n}\n").repeat(n + 1)).unwrap();
            let worker = &cluster.workers[n % 2];
            (worker.json(&["add", path.to_str().unwrap()])["cid"].as_str().unwrap().to_owned(), worker)
        })
        .collect();
    for (cid, holder) in inputs {
        let task = cluster.leecher.json(&["task", "submit", "word-count", &cid, "--wait"]);
        assert_eq!(task["state"], "completed", "{task}");
        assert_eq!(task["worker"], holder.peer.as_str(), "{task}");
    }
    // One that fails says so, and its submitter's exit code does.
    let out = cluster.leecher.run(&["task", "submit", "word-count", "--wait", "--format", "json"]);
    let task: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &task["state"]), (Some(1), &"failed".into()), "{task}");
    assert!(task["error"].as_str().unwrap().contains("CID") && task["result"].is_null(), "{task}");
    let id = task["id"].as_str().unwrap();
    assert_eq!(cluster.leecher.json(&["task", "status", id])["state"], "failed");
    assert!(cluster.leecher.fails(&["task", "result", id]).contains("failed"));
}

#[test]
fn a_stopped_worker_loses_its_tasks_to_another() {
    let cluster = Cluster::start(1, 2);
    let stopped = &cluster.workers[0];
    stopped.signal(Signal::STOP);
    let ids: Vec<String> =
        (0..6).map(|_| cluster.leecher.json(&["task", "submit", "noop"])["id"].as_str().unwrap().to_owned()).collect();
    let ended = |id: &String| {
        eventually("every task ends", || {
            let task = cluster.masters[0].json(&["task", "status", id]);
            (task["state"] == "completed").then_some(task)
        })
    };
    let before: Vec<Value> = ids.iter().map(ended).collect();
    for task in &before {
        assert_eq!(task["worker"], cluster.workers[1].peer.as_str(), "a stopped worker completed a task: {task}");
    }
    assert!(before.iter().any(|t| t["attempts"].as_u64() > Some(1)), "it never had one: {before:?}");
    cluster.masters[0].status_when("the stopped worker is lost, and still listed", |s| {
        with_role(s, "worker").iter().any(|m| m["peer"] == stopped.peer.as_str() && m["state"] == "lost")
    });
    // What the stopped worker says when it wakes up changes nothing.
    stopped.signal(Signal::CONT);
    cluster.masters[0].status_when("the woken worker is alive again", |s| {
        with_role(s, "worker").iter().all(|m| m["state"] == "alive")
    });
    let task = cluster.leecher.json(&["task", "submit", "noop", "--wait"]);
    assert_eq!(task["state"], "completed", "{task}");
    assert_eq!(ids.iter().map(ended).collect::<Vec<_>>(), before);
}

/// What a daemon counts under a name; 0 while it has counted nothing of it.
fn counter(daemon: &Daemon, name: &str) -> u64 {
    let client = ipfs_kit::Client::connect(&daemon.api).unwrap();
    let text = tokio::runtime::Runtime::new().unwrap().block_on(client.metrics()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}

#[test]
fn a_worker_stopped_while_its_attempt_runs_loses_it_and_its_late_outcome_is_refused() {
    let cluster = Cluster::start(1, 2);
    let (master, texts) = (&cluster.masters[0], tempfile::tempdir().unwrap());
    // A hundred names of one file: little to add and to fetch, much to count.
    let line = "five words in one line\n";
    let text = texts.path().join("text");
    std::fs::write(&text, line.repeat(150_000)).unwrap();
    let first = &cluster.workers[0];
    let cid = first.json(&["add", text.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    first.json(&["files", "mkdir", "/ten"]);
    first.json(&["files", "mkdir", "/hundred"]);
    for n in 0..10 {
        first.json(&["files", "cp", &format!("/ipfs/{cid}"), &format!("/ten/{n}")]);
    }
    for n in 0..10 {
        first.json(&["files", "cp", "/ten", &format!("/hundred/{n}")]);
    }
    let input = first.json(&["files", "stat", "/hundred"])["cid"].as_str().unwrap().to_owned();
    // Both hold it, so that the other one needs nobody else.
    for worker in &cluster.workers {
        worker.json(&["pin", &input]);
    }
    let task = cluster.leecher.json(&["task", "submit", "word-count", &input])["id"].as_str().unwrap().to_owned();
    let look = || master.json(&["task", "status", &task]);
    let stopped = eventually("an attempt runs", || {
        let running = |worker: &&Daemon| counter(worker, "cluster_attempts ") == 1;
        cluster.workers.iter().find(running)
    });
    stopped.signal(Signal::STOP);
    let before = look();
    assert_eq!((&before["state"], &before["worker"]), (&"assigned".into(), &stopped.peer.as_str().into()), "{before}");
    let fence = |task: &Value| task["fence"].as_str().unwrap().split_once('.').unwrap().1.parse::<u64>().unwrap();

    let after = eventually("the other worker does it", || Some(look()).filter(|task| task["state"] == "completed"));
    assert_ne!(after["worker"], stopped.peer.as_str(), "{after}");
    assert_eq!(after["attempts"].as_u64(), Some(2), "{after}");
    assert!(fence(&after) > fence(&before), "{before} {after}");
    let counted: Value = serde_json::from_slice(&cluster.leecher.ok(&["task", "result", &task])).unwrap();
    let (files, bytes) = (100, 100 * 150_000 * line.len());
    assert_eq!(counted, serde_json::json!({"files": files, "bytes": bytes, "lines": 15_000_000, "words": 75_000_000}));

    // Its own outcome comes when it wakes up, is refused, and changes nothing.
    let stale = r#"cluster_outcomes_total{verdict="stale"} "#;
    assert_eq!(counter(master, stale), 0);
    stopped.signal(Signal::CONT);
    eventually("a late outcome was told and refused", || (counter(master, stale) > 0).then_some(()));
    assert_eq!(look(), after);
    assert_eq!(counter(master, r#"cluster_outcomes_total{verdict="accepted"} "#), 1);
}

#[test]
fn a_join_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let first = Daemon::start(&folder.path().join("first"), &Start { namespace: "refusals", ..Start::default() });
    first.json(&["cluster", "init"]);
    let token = |role: &str, ttl: &str| {
        let token = first.json(&["cluster", "token", "create", "--role", role, "--ttl", ttl]);
        token["token"].as_str().unwrap().to_owned()
    };
    let worker = token("worker", "1h");
    let address = first.address();
    let refused = |name: &str, address: &str, token: &str, role: &str| {
        let start = Start { join: Some((address, token, role)), namespace: "refusals", ..Start::default() };
        Daemon::try_start(&folder.path().join(name), &start).err().expect("the join must be refused")
    };
    let text = refused("a", &address, &worker, "master");
    assert!(text.contains("worker"), "the token's role is named: {text}");
    let text = refused("b", "/ip4/127.0.0.1/tcp/1", &worker, "worker");
    assert!(text.contains("/tcp/1"), "the address is named: {text}");
    let mut forged = worker.clone().into_bytes();
    let at = forged.len() - 10;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    refused("c", &address, &String::from_utf8(forged).unwrap(), "worker");
    // Somebody who takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (text, took) = timed(|| refused("f", &silent.local_addr().unwrap().to_string(), &worker, "worker"));
    assert!(took < Duration::from_secs(10) && text.contains("cannot join"), "after {took:?}: {text}");
    let text = refused("d", &address, "not-a-token", "worker");
    assert!(text.contains("token"), "{text}");

    // Another cluster's token is told apart by the cluster id it carries.
    let other = Daemon::start(&folder.path().join("other"), &Start { namespace: "refusals", ..Start::default() });
    other.json(&["cluster", "init"]);
    let foreign = other.json(&["cluster", "token", "create", "--role", "worker"]);
    let text = refused("e", &address, foreign["token"].as_str().unwrap(), "worker");
    assert!(text.contains("cluster"), "{text}");
}

#[test]
fn masters_killed_all_at_once_come_back_with_everything() {
    let mut cluster = Cluster::start(3, 1);
    let done = cluster.leecher.json(&["task", "submit", "noop", "--wait"]);
    assert_eq!(done["state"], "completed", "{done}");
    let done = cluster.masters[0].json(&["task", "status", done["id"].as_str().unwrap()]);
    let before = cluster.masters[0].json(&["cluster", "status"]);
    // Nobody runs it now, so it is accepted and waits.
    let worker = cluster.workers.remove(0).kill();
    let waiting = cluster.leecher.json(&["task", "submit", "noop"])["id"].as_str().unwrap().to_owned();

    let places: Vec<String> = cluster.masters.iter().map(|m| m.swarm[0].clone()).collect();
    for master in &cluster.masters {
        master.signal(Signal::KILL);
    }
    let repos: Vec<_> = cluster.masters.drain(..).map(Daemon::kill).collect();
    // A member that is started while nobody is there to be a member with keeps trying.
    cluster.workers.push(cluster.restart(&worker));
    for (repo, place) in repos.iter().zip(&places) {
        let start = Start { namespace: &cluster.namespace, swarm: place, ..Start::default() };
        cluster.masters.push(Daemon::start(repo, &start));
    }
    let ids = |s: &Value, role: &str| -> std::collections::BTreeSet<String> {
        with_role(s, role).iter().map(|m| format!("{} {} {}", m["peer"], m["node"], m["voter"])).collect()
    };
    for master in &cluster.masters {
        let after = master.status_when("a leader, and every master alive", |s| {
            s["leader"].is_string() && with_role(s, "master").iter().all(|m| m["state"] == "alive")
        });
        assert_eq!((ids(&after, "master"), ids(&after, "worker")), (ids(&before, "master"), ids(&before, "worker")));
        assert!(after["term"].as_u64() >= before["term"].as_u64(), "{after}");
        assert_eq!(master.json(&["task", "status", done["id"].as_str().unwrap()]), done);
        assert_eq!(master.json(&["task", "status", &waiting])["id"], waiting.as_str());
    }
    // The worker and the leecher find them again, and what waited is done.
    eventually("the task that waited is done", || {
        let task = cluster.masters[0].json(&["task", "status", &waiting]);
        (task["state"] == "completed").then_some(())
    });
    let task = cluster.leecher.json(&["task", "submit", "noop", "--wait"]);
    assert_eq!(task["state"], "completed", "{task}");

    // A leecher that is started again is still none of those who carry the DHT.
    let carries = |daemon: &Daemon| daemon.json(&["id"])["protocols"].to_string().contains("/kad/");
    assert!(cluster.masters.iter().all(carries) && carries(&cluster.workers[0]) && !carries(&cluster.leecher));
    let leecher = cluster.leecher.stop();
    let leecher = Daemon::start(&leecher, &Start { namespace: &cluster.namespace, ..Start::default() });
    assert!(!carries(&leecher));
    assert_eq!(leecher.json(&["cluster", "status"])["me"]["role"], "leecher");
}

#[test]
fn what_a_restarted_daemon_holds_is_found_at_its_new_address() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { namespace: "roots", ..Start::default() };
    let between = Daemon::start(&folder.path().join("c"), &start);
    let holder = Daemon::start(&folder.path().join("a"), &start);
    // Nobody hears of it the first time: the holder is connected to no one.
    let text = folder.path().join("text");
    std::fs::write(&text, "announced again\n".repeat(40_000)).unwrap();
    let cid = holder.json(&["add", text.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let (peer, old) = (holder.peer.clone(), holder.swarm[0].clone());
    let repo = holder.stop();

    let seeker = Daemon::start(&folder.path().join("b"), &start);
    seeker.json(&["connect", &between.address()]);
    let holder = Daemon::start(&repo, &start);
    assert!(holder.peer == peer && holder.swarm[0] != old);
    holder.json(&["connect", &between.address()]);
    let ask = |daemon: &Daemon| -> Option<Value> {
        let out = daemon.run(&["routing", "findprovs", &cid, "-n", "1", "--timeout", "3s", "--format", "json"]);
        let found: Value = serde_json::from_slice(&out.stdout).ok()?;
        Some(found["providers"][0].clone())
    };
    // The record was brought to the one between, which names it from its own store.
    let record =
        eventually("the record was announced", || ask(&between).filter(|r| r["from"] == between.peer.as_str()));
    assert_eq!(record["id"], peer.as_str(), "{record}");
    let record = eventually("the record is found", || ask(&seeker).filter(|r| r["id"] == peer.as_str()));
    assert!(record["addresses"].to_string().contains(&holder.swarm[0]), "{record}");
    assert_eq!(seeker.ok(&["cat", &cid]), std::fs::read(&text).unwrap());
}

#[test]
fn dhts_of_different_names_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let start =
        |name: &str, namespace| Daemon::start(&folder.path().join(name), &Start { namespace, ..Start::default() });
    let (one, near, far) = (start("one", "here"), start("near", "here"), start("far", "elsewhere"));
    let speaks = |daemon: &Daemon, name: &str| daemon.json(&["id"])["protocols"].to_string().contains(name);
    assert!(speaks(&one, "/ipfs-kit/here/kad/1.0.0") && !speaks(&one, "/ipfs/lan/kad/1.0.0"));
    assert!(speaks(&far, "/ipfs-kit/elsewhere/kad/1.0.0") && !speaks(&far, "/ipfs-kit/here/kad/1.0.0"));
    for other in [&near, &far] {
        other.json(&["connect", &one.address()]);
    }
    let text = folder.path().join("text");
    std::fs::write(&text, "in one DHT only\n").unwrap();
    let cid = one.json(&["add", text.to_str().unwrap()])["cid"].as_str().unwrap().to_owned();
    let find = ["routing", "findprovs", &cid, "-n", "1", "--timeout", "5s"];
    eventually("the same DHT knows the provider", || near.run(&find).status.success().then_some(()));
    assert!(far.fails(&find).contains("no peer"));
    // Being connected is all that Bitswap needs.
    assert_eq!(far.ok(&["cat", &cid]), b"in one DHT only\n");
}

/// Processes whose command line names the folder, by their number.
fn naming(folder: &Path) -> Vec<(i32, String)> {
    let name = folder.to_str().unwrap();
    let read = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|e| read(e.ok()?));
    all.filter(|(_, line)| line.contains(name)).collect()
}

/// The command lines of processes that name the folder.
fn processes(folder: &Path) -> Vec<String> {
    naming(folder).into_iter().map(|(_, line)| line).collect()
}

/// The daemons of a demo.
fn daemons(folder: &Path) -> Vec<Pid> {
    let all = naming(folder).into_iter().filter(|(_, line)| line.contains(" daemon "));
    all.filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
}

#[test]
fn a_demo_told_to_stop_leaves_no_process_and_no_folder() {
    // In the middle of a step by SIGTERM, and at the invitation by Ctrl-C.
    for (signal, moment, code) in [(Signal::TERM, "4. ", 1), (Signal::INT, "The cluster lives until Ctrl-C", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input.txt");
        std::fs::write(&input, "three words here\n").unwrap();
        let temporary = folder.path().join("temporary");
        std::fs::create_dir(&temporary).unwrap();
        let mut demo = binary();
        demo.env("TMPDIR", &temporary).arg("demo").arg(&input).stdout(std::process::Stdio::piped());
        let mut demo = demo.spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
        assert!(lines.any(|l| l.is_ok_and(|l| l.starts_with(moment))), "the demo comes to {moment}");
        assert!(processes(&temporary).len() >= 5);
        if signal == Signal::INT {
            // The commands it invites to are complete.
            let commands = lines.by_ref().map_while(Result::ok).filter(|l| !l.is_empty()).take(3);
            let commands: Vec<String> = commands.collect();
            assert_eq!(commands.len(), 3, "{commands:?}");
            for (command, word) in commands.iter().zip(["leader", "recursive", "completed"]) {
                let out = Command::new("sh").env_clear().args(["-c", command]).output().unwrap();
                let text = String::from_utf8_lossy(&out.stdout).into_owned();
                assert!(out.status.success() && text.contains(word), "{command}: {text}");
            }
        }
        let pid = rustix::process::Pid::from_raw(demo.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        assert_eq!(demo.wait().unwrap().code(), Some(code), "{said:?}");
        assert!(said.iter().any(|l| l.contains("Removing the cluster")), "{said:?}");
        assert_eq!(processes(&temporary), Vec::<String>::new());
        let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
        assert!(left.is_empty(), "the demo left {left:?}");
    }
}

#[test]
fn the_demo_ends_well_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = tempfile::tempdir().unwrap();
    folder_of_text(input.path(), 3);
    let out = binary().env("TMPDIR", folder.path()).args(["demo", "--exit"]).arg(input.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("Verdict: every step went well"), "{said}");
    assert!(said.contains(&format!("{} words", wc(input.path())["words"])), "{said}");
    for words in [
        "the leecher is not connected to worker 1",
        "provider record: worker 1 holds it, at /ip4/127.0.0.1/tcp/",
        "; the record came from ",
        "equal to the originals byte for byte",
        "receipt signed by master ",
        "is killed without warning",
        " leads now (term ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}

#[test]
fn a_demo_whose_step_fails_says_which_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = tempfile::tempdir().unwrap();
    // A socket cannot be added.
    let _socket = std::os::unix::net::UnixListener::bind(input.path().join("socket")).unwrap();
    let out = binary().env("TMPDIR", folder.path()).args(["demo", "--exit"]).arg(input.path()).output().unwrap();
    let (said, why) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(1), "{said}\n{why}");
    assert!(why.contains("Verdict: FAILED") && why.contains("socket"), "{said}\n{why}");
    assert!(said.contains("3. worker 1 adds") && !said.contains("went well"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}

#[test]
fn a_demo_whose_process_dies_takes_its_daemons_along() {
    // While they are started, and while they all run.
    for (moment, processes_then) in [("2. ", 1), ("4. ", 5)] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo =
            binary().env("TMPDIR", folder.path()).arg("demo").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
        assert!(lines.any(|l| l.is_ok_and(|l| l.starts_with(moment))), "the demo comes to {moment}");
        assert!(processes(folder.path()).len() >= processes_then);
        demo.kill().unwrap();
        demo.wait().unwrap();
        eventually("the daemons and their folders are gone", || {
            let left = std::fs::read_dir(folder.path()).unwrap().next().is_some();
            (!left && processes(folder.path()).is_empty()).then_some(())
        });
    }
}

#[test]
fn a_demo_with_a_daemon_that_hangs_fails_in_time_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = binary();
    demo.env("TMPDIR", folder.path()).args(["demo", "--exit"]);
    let run = || {
        let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
        assert!(lines.any(|l| l.is_ok_and(|l| l.starts_with("2. "))), "the demo begins its second step");
        // Every daemon that has started by now; SIGTERM alone does not end them any more.
        let hanging = daemons(folder.path());
        for pid in &hanging {
            rustix::process::kill_process(*pid, Signal::STOP).unwrap();
        }
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        (hanging.len(), said, demo.wait_with_output().unwrap())
    };
    let ((hanging, said, out), took) = timed(run);
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(hanging > 0 && took < Duration::from_secs(45), "{hanging} daemons hung, and it took {took:?}");
    assert_eq!(out.status.code(), Some(1), "{said:?}\n{why}");
    assert!(why.contains("Verdict: FAILED"), "{said:?}\n{why}");
    assert_eq!(processes(folder.path()), Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}
