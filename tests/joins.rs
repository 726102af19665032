//! Joining a cluster: every form of a member's address, and members that do not answer.

mod common;

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use common::{Daemon, Start, timed};
use ipfs_kit::{
    base::{Keypair, Tasks},
    cluster::rpc,
    net::{Class, MemoryDhtStore, Net, NetOptions},
};
use rustix::process::Signal;

fn founder(folder: &Path, namespace: &str) -> Daemon {
    let first = Daemon::start(&folder.join("first"), &Start { namespace, ..Start::default() });
    first.json(&["cluster", "init"]);
    first
}

fn token(master: &Daemon, role: &str) -> String {
    master.json(&["cluster", "token", "create", "--role", role])["token"].as_str().unwrap().to_owned()
}

/// HOST:PORT of a daemon's swarm.
fn host_and_port(daemon: &Daemon) -> String {
    let parts: Vec<&str> = daemon.swarm[0].split('/').collect();
    format!("{}:{}", parts[2], parts[4])
}

#[test]
fn each_form_of_an_address_leads_into_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let first = founder(folder.path(), "forms");
    let cluster = first.json(&["cluster", "status"])["cluster"].clone();
    let leecher = token(&first, "leecher");
    let forms = [first.address(), first.swarm[0].clone(), host_and_port(&first)];
    assert!(forms[0].contains("/p2p/") && !forms[1].contains("/p2p/") && !forms[2].contains('/'), "{forms:?}");
    for (n, form) in forms.iter().enumerate() {
        let start = Start { join: Some((form, &leecher, "leecher")), namespace: "forms", ..Start::default() };
        let daemon = Daemon::start(&folder.path().join(format!("leecher-{n}")), &start);
        // Ready means admitted: nothing is waited for.
        let status = daemon.json(&["cluster", "status"]);
        assert_eq!((&status["cluster"], &status["me"]["role"]), (&cluster, &"leecher".into()), "{form}: {status}");
        assert_eq!(status["me"]["peer"], daemon.peer.as_str(), "{form}");
        daemon.stop();
    }
}

#[test]
fn a_join_to_those_who_do_not_answer_ends_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let first = founder(folder.path(), "mute");
    let worker = token(&first, "worker");
    let join = |name: &str, addresses: &[String]| {
        let more = addresses[1..].iter().flat_map(|address| ["--join", address]).collect();
        let join = Some((addresses[0].as_str(), worker.as_str(), "worker"));
        let start = Start { join, namespace: "mute", extra: more, ..Start::default() };
        timed(|| Daemon::try_start(&folder.path().join(name), &start))
    };
    // Some who take the connection and say nothing.
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let silent: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    // They are no hindrance while one of those named answers.
    let (joined, took) = join("lucky", &[&silent[..], &[host_and_port(&first)]].concat());
    assert!(joined.is_ok() && took < Duration::from_secs(10), "after {took:?}: {:?}", joined.err());

    // A member that is stopped, and peers that take the question and never answer it.
    let stopped = joined.unwrap();
    stopped.signal(Signal::STOP);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let tasks = Tasks::new();
    let mute = async || {
        let options = NetOptions::new(Keypair::generate_ed25519());
        let net = Net::start(options, Arc::new(MemoryDhtStore::default()), &tasks).await.unwrap();
        let questions = net.streams().accept(&[rpc::PROTOCOL], Class::Control, 16);
        (net.peers().listen_addrs()[0].to_string(), net, questions)
    };
    let mutes = runtime.block_on(async { [mute().await, mute().await, mute().await] });
    let addresses: Vec<String> = mutes.iter().map(|(address, ..)| address.clone()).collect();
    for (name, addresses) in [
        ("stopped", vec![host_and_port(&stopped)]),
        ("mute", addresses.clone()),
        ("all", [&silent[..], &[stopped.address()], &addresses[..]].concat()),
    ] {
        let (refused, took) = join(name, &addresses);
        let text = refused.err().expect("nobody answers");
        assert!(took < Duration::from_secs(10), "{name}: after {took:?}: {text}");
        assert!(text.contains("cannot join") && text.contains("no answer within"), "{name}: {text}");
        println!("{name}: refused after {took:?}");
    }
    assert!(runtime.block_on(tasks.shutdown(Duration::from_secs(10))));
}
