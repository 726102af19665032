//! The demo's steps, each shown as it happens.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    members::{Cast, text},
    teller::took,
};
use crate::base::time;

const MASTERS: [&str; 3] = ["master 1", "master 2", "master 3"];
const WORKERS: [&str; 2] = ["worker 1", "worker 2"];
const LEECHER: &str = "leecher";

/// Longest the demo waits for a condition of the cluster, such as a new leader.
const SETTLE: Duration = Duration::from_secs(10);

/// Plays every step; the error says which step failed and why.
pub async fn tell(cast: &mut Cast, input: &Path) -> Result<(), String> {
    let first = found(cast).await?;
    assemble(cast, &first).await?;
    let cid = add(cast, input).await?;
    fetch(cast, &cid, input).await?;
    count(cast, &cid, "6. The leecher publishes a task to all: count the words of this content").await?;
    fail_over(cast).await?;
    count(cast, &cid, "8. A second task under the new leader").await?;
    Ok(())
}

/// Prints three commands to paste against the living cluster.
pub fn invite(cast: &Cast) {
    let any_master = MASTERS.into_iter().find(|m| cast.named(m).is_ok()).unwrap_or(MASTERS[0]);
    cast.teller.line("\nThe cluster lives until Ctrl-C. Three commands to try in another terminal:\n");
    for (name, rest) in
        [(any_master, "cluster status"), (WORKERS[0], "list-pins"), (LEECHER, "task submit noop --wait")]
    {
        cast.teller.line(&format!("  {}", cast.typed(name, rest)));
    }
}

async fn found(cast: &mut Cast) -> Result<String, String> {
    let step = cast.teller.step("1. A first node founds a cluster");
    let member = cast.start(MASTERS[0], None).await?;
    let (peer, address) = (member.peer.clone(), member.address.clone());
    let init = cast.ask(MASTERS[0], &["cluster", "init"]).await?;
    step.say(format!("{} is {peer}", MASTERS[0]));
    step.done(format!("cluster {}", text(&init, "cluster")?));
    Ok(address)
}

async fn assemble(cast: &mut Cast, first: &str) -> Result<(), String> {
    let step = cast
        .teller
        .step("2. Two masters, two workers and a leecher join by its address, each with a token for its role");
    for (names, role) in [(&MASTERS[1..], "master"), (&WORKERS[..], "worker"), (&[LEECHER][..], "leecher")] {
        let token = cast.ask(MASTERS[0], &["cluster", "token", "create", "--role", role]).await?;
        let token = text(&token, "token")?;
        for name in names {
            let started = time::now();
            let peer = cast.start(name, Some((first, &token, role))).await?.peer.clone();
            step.say(format!("{name} is {peer}, admitted after {}", took(started)));
        }
    }
    let status = settled(cast, MASTERS[0], |s| {
        let voters = members(s).filter(|m| m["voter"].as_bool() == Some(true)).count();
        let workers = members(s).filter(|m| m["role"] == "worker" && m["state"] == "alive").count();
        voters == MASTERS.len() && workers == WORKERS.len()
    })
    .await?;
    let leader = status["leader"].as_str().unwrap_or_default();
    step.done(format!(
        "3 masters vote, 2 workers are alive; the leader is {} (term {})",
        cast.name_of(leader),
        status["term"]
    ));
    Ok(())
}

async fn add(cast: &Cast, input: &Path) -> Result<String, String> {
    let step = cast.teller.step(format!("3. {} adds {}", WORKERS[0], input.display()));
    let added = cast.ask(WORKERS[0], &["add", "-r", &input.to_string_lossy()]).await?;
    let cid = text(&added, "cid")?;
    step.done(format!(
        "{cid}, pinned and on disk{}",
        added["size"].as_u64().map(|n| format!(", {}", bytes(n))).unwrap_or_default()
    ));
    Ok(cid)
}

async fn fetch(cast: &Cast, cid: &str, input: &Path) -> Result<(), String> {
    let step = cast.teller.step("4. The leecher, told only one master's address, looks for that content in the DHT");
    let holder = cast.named(WORKERS[0])?.peer.clone();
    let peers = cast.ask(LEECHER, &["peers"]).await?;
    let connected = peers["peers"].as_array().into_iter().flatten().any(|p| p["id"] == holder.as_str());
    if connected {
        return Err(format!("the leecher is connected to {} before it looked for anything", WORKERS[0]));
    }
    step.say(format!("the leecher is not connected to {}", WORKERS[0]));
    let found = cast.ask(LEECHER, &["routing", "findprovs", cid]).await?;
    let record = found["providers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|p| p["id"] == holder.as_str())
        .ok_or_else(|| format!("the DHT gave no provider record naming {}: {found}", WORKERS[0]))?;
    let giver = cast.name_of(record["from"].as_str().unwrap_or_default());
    let address = record["addresses"].get(0).and_then(Value::as_str).unwrap_or("an address it knows");
    step.done(format!(
        "provider record: {} holds it, at {address}; the record came from {giver}",
        cast.name_of(&holder)
    ));

    let step = cast.teller.step("5. The leecher fetches it by Bitswap; every block is hashed before it counts");
    let out = cast.folder.join("fetched");
    cast.ask(LEECHER, &["get", cid, "-o", &out.to_string_lossy()]).await?;
    let (files, size) = same(input, &out)?;
    let _ = std::fs::remove_dir_all(&out).or_else(|_| std::fs::remove_file(&out));
    step.done(format!("{files} files, {} received, equal to the originals byte for byte", bytes(size)));
    Ok(())
}

async fn count(cast: &Cast, cid: &str, title: &str) -> Result<(), String> {
    let step = cast.teller.step(title);
    let task = cast.ask(LEECHER, &["task", "submit", "word-count", cid, "--wait"]).await?;
    let (id, state) = (text(&task, "id")?, text(&task, "state")?);
    step.say(format!("task {id}"));
    if let (Some(index), Some(by)) = (task["accepted_index"].as_u64(), task["accepted_by"].as_str()) {
        step.say(format!("accepted: entry {index} of the log, receipt signed by {}", cast.name_of(by)));
    }
    if state != "completed" {
        return Err(format!("task {id} ended as {state}: {}", task["error"].as_str().unwrap_or("no reason given")));
    }
    let worker = text(&task, "worker")?;
    if worker != cast.named(WORKERS[0])?.peer {
        return Err(format!("task {id} ran on {}, but its input lies on {}", cast.name_of(&worker), WORKERS[0]));
    }
    let result = text(&task, "result")?;
    step.say(format!("ran on {}, where the input lies; its output {result} is pinned there", cast.name_of(&worker)));
    if let (Some(index), Some(by)) = (task["outcome_index"].as_u64(), task["outcome_by"].as_str()) {
        step.say(format!("outcome: entry {index} of the log, receipt signed by {}", cast.name_of(by)));
    }
    let out = cast.ask_bytes(LEECHER, &["cat", &result]).await?;
    let counted: Value = serde_json::from_slice(&out).map_err(|e| format!("the result is not JSON: {e}"))?;
    step.done(format!(
        "the leecher reads the result by its CID: {} files, {} bytes, {} lines, {} words",
        counted["files"], counted["bytes"], counted["lines"], counted["words"]
    ));
    Ok(())
}

async fn fail_over(cast: &mut Cast) -> Result<(), String> {
    let status = cast.ask(LEECHER, &["cluster", "status"]).await?;
    let leader = cast.name_of(status["leader"].as_str().unwrap_or_default());
    let step = cast.teller.step(format!("7. The leader, {leader}, is killed without warning"));
    cast.kill(&leader).await?;
    let witness = MASTERS.into_iter().find(|m| cast.named(m).is_ok()).ok_or("no master is left")?;
    let gone = leader.clone();
    let names: Vec<(String, &str)> = cast.members.iter().map(|m| (m.peer.clone(), m.name)).collect();
    let status = settled(cast, witness, |s| {
        s["leader"].as_str().is_some_and(|l| names.iter().any(|(peer, name)| peer == l && *name != gone))
    })
    .await?;
    let new = cast.name_of(status["leader"].as_str().unwrap_or_default());
    step.done(format!("{new} leads now (term {})", status["term"]));
    Ok(())
}

/// Asks a member for the cluster's status until it satisfies `wanted`.
async fn settled(cast: &Cast, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
    let started = time::now();
    loop {
        let status = cast.ask(name, &["cluster", "status"]).await;
        match status {
            Ok(status) if wanted(&status) => return Ok(status),
            other if started.elapsed() > SETTLE => {
                let seen = other.map(|s| s.to_string()).unwrap_or_else(|e| e);
                return Err(format!("the cluster did not settle within {} seconds: {seen}", SETTLE.as_secs()));
            }
            _ => tokio::time::sleep(Duration::from_millis(30)).await,
        }
    }
}

fn members(status: &Value) -> impl Iterator<Item = &Value> {
    status["members"].as_array().into_iter().flatten()
}

/// Compares what was fetched with the originals (hidden files are not added); gives files and bytes.
fn same(original: &Path, fetched: &Path) -> Result<(u64, u64), String> {
    let fail = |e: std::io::Error| format!("cannot compare {} with {}: {e}", original.display(), fetched.display());
    let kind = std::fs::symlink_metadata(original).map_err(fail)?;
    if kind.is_symlink() {
        let equal = std::fs::read_link(original).map_err(fail)? == std::fs::read_link(fetched).map_err(fail)?;
        return if equal { Ok((0, 0)) } else { Err(format!("the link {} differs", original.display())) };
    }
    if kind.is_file() {
        let bytes = std::fs::read(original).map_err(fail)?;
        let equal = bytes == std::fs::read(fetched).map_err(fail)?;
        return if equal { Ok((1, bytes.len() as u64)) } else { Err(format!("{} differs", original.display())) };
    }
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(original).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (files, bytes) = same(&entry.path(), &fetched.join(entry.file_name()))?;
        sum = (sum.0 + files, sum.1 + bytes);
    }
    Ok(sum)
}

fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} bytes"),
        10_000..10_000_000 => format!("{} kB", n / 1000),
        _ => format!("{} MB", n / 1_000_000),
    }
}
