//! The demo's processes: starting daemons, asking them through the command line, ending them.

use std::{
    collections::VecDeque,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;

use super::teller::Teller;
use crate::config::settings::FILE_VARIABLE;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::oneshot,
};

/// Longest a daemon may take to be ready.
const READY: Duration = Duration::from_secs(20);
/// Longest one command may take.
const COMMAND: Duration = Duration::from_secs(20);
/// How long a daemon may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(5);
/// Lines of a daemon's log kept for the case of failure.
const LAST_WORDS: usize = 12;

/// One daemon.
pub struct Member {
    /// What the demo calls it.
    pub name: &'static str,
    /// Its peer id.
    pub peer: String,
    /// A TCP address others can dial, with its peer id.
    pub address: String,
    /// Its API's multiaddress.
    pub api: String,
    repo: PathBuf,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// Every daemon of the demo.
pub struct Cast {
    /// Where the repos lie, and what else is removed at the end.
    pub folder: PathBuf,
    /// Who tells what happens.
    pub teller: Teller,
    binary: PathBuf,
    namespace: String,
    /// The daemons that live, in the order they were started.
    pub members: Vec<Member>,
}

impl Cast {
    /// No daemons yet; their repos will lie in `folder`.
    pub fn new(folder: PathBuf, teller: Teller) -> Cast {
        let namespace = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let binary = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("ipfs-kit"));
        Cast { folder, teller, binary, namespace, members: Vec::new() }
    }

    /// Starts a daemon and waits until it is ready; `join` is an address, a token and a role.
    pub async fn start(&mut self, name: &'static str, join: Option<(&str, &str, &str)>) -> Result<&Member, String> {
        let repo = self.folder.join(name.replace(' ', "-"));
        let mut command = Command::new(&self.binary);
        command.arg("--repo").arg(&repo).arg("daemon");
        command.args(["--api", "127.0.0.1:0", "--swarm", "/ip4/127.0.0.1/tcp/0", "--dht-namespace", &self.namespace]);
        command.args(["--throw-away", &std::process::id().to_string()]);
        if let Some((address, token, role)) = join {
            command.args(["--join", address, "--token", token, "--role", role]);
        }
        apart(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own: Ctrl-C reaches the demo, which then stops the daemons in order.
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;

        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (ready, became_ready) = oneshot::channel();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            listen(BufReader::new(out), log.clone(), Some(ready));
            listen(BufReader::new(err), log.clone(), None);
        }
        let failed = |log: &Arc<Mutex<VecDeque<String>>>, why: &str| {
            let words: Vec<String> = log.lock().map(|l| l.iter().cloned().collect()).unwrap_or_default();
            format!("{name} {why}\n  {}", words.join("\n  "))
        };
        let api = match tokio::time::timeout(READY, became_ready).await {
            Ok(Ok(api)) => api,
            Ok(Err(_)) => {
                // The log's other half may still be on its way.
                let _ = child.wait().await;
                return Err(failed(&log, "ended before it was ready:"));
            }
            Err(_) => return Err(failed(&log, "was not ready in time:")),
        };
        let mut member = Member { name, peer: String::new(), address: String::new(), api, repo, child, log };
        let id = ask(&self.binary, &member.api, &["id"]).await?;
        member.peer = text(&id, "id")?;
        member.address = id["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find(|a| a.contains("/ip4/127.0.0.1/tcp/"))
            .map(|a| if a.contains("/p2p/") { a.to_owned() } else { format!("{a}/p2p/{}", member.peer) })
            .ok_or_else(|| format!("{name} has no loopback address"))?;
        self.members.push(member);
        self.members.last().ok_or_else(|| "no member".into())
    }

    /// The daemon with that name.
    pub fn named(&self, name: &str) -> Result<&Member, String> {
        self.members.iter().find(|m| m.name == name).ok_or_else(|| format!("{name} does not run"))
    }

    /// What the demo calls a peer.
    pub fn name_of(&self, peer: &str) -> String {
        match self.members.iter().find(|m| m.peer == peer) {
            Some(member) => member.name.to_owned(),
            None => peer.to_owned(),
        }
    }

    /// Runs a command of this binary against a daemon and returns its JSON.
    pub async fn ask(&self, name: &str, args: &[&str]) -> Result<Value, String> {
        ask(&self.binary, &self.named(name)?.api, args).await
    }

    /// Runs a command against a daemon and returns its raw output.
    pub async fn ask_bytes(&self, name: &str, args: &[&str]) -> Result<Vec<u8>, String> {
        run(&self.binary, &self.named(name)?.api, args).await
    }

    /// Kills a daemon outright, as a power cut would, and removes its folder.
    pub async fn kill(&mut self, name: &str) -> Result<(), String> {
        let at = self.members.iter().position(|m| m.name == name).ok_or_else(|| format!("{name} does not run"))?;
        let mut member = self.members.remove(at);
        member.child.kill().await.map_err(|e| format!("cannot kill {name}: {e}"))?;
        std::fs::remove_dir_all(&member.repo).map_err(|e| format!("cannot remove {}: {e}", member.repo.display()))
    }

    /// Prints what each daemon said last, for the reader who has to find out why a step failed.
    pub fn show_last_words(&self) {
        for member in &self.members {
            let Ok(log) = member.log.lock() else { continue };
            if !log.is_empty() {
                eprintln!("--- {} said last:", member.name);
                for line in log.iter() {
                    eprintln!("    {line}");
                }
            }
        }
    }

    /// Stops all daemons at the same time; those that do not stop in time are killed.
    pub async fn end(&mut self) {
        for member in &self.members {
            if let Some(pid) = member.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let ends = self.members.iter_mut().map(async |member| {
            if tokio::time::timeout(STOP, member.child.wait()).await.is_err() {
                let _ = member.child.kill().await;
            }
        });
        futures::future::join_all(ends).await;
        self.members.clear();
    }

    /// How a command against a daemon is typed, to be pasted into a shell.
    pub fn typed(&self, name: &str, rest: &str) -> String {
        let api = self.named(name).map(|m| m.api.clone()).unwrap_or_default();
        format!("{} --api-url {api} {rest}", quoted(&self.binary.to_string_lossy()))
    }
}

/// A word as a shell takes it, whatever is in it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

async fn ask(binary: &PathBuf, api: &str, args: &[&str]) -> Result<Value, String> {
    let mut all = args.to_vec();
    all.extend(["--format", "json"]);
    let out = run(binary, api, &all).await?;
    serde_json::from_slice(&out).map_err(|e| format!("'{}' did not answer with JSON: {e}", args.join(" ")))
}

/// What the person has set for nodes of their own is not for those of the demo.
fn apart(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IPFS_KIT_")) {
        command.env_remove(name);
    }
    command.env(FILE_VARIABLE, "/dev/null");
}

async fn run(binary: &PathBuf, api: &str, args: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(binary);
    apart(&mut command);
    command.args(["--api-url", api]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let shown = args.join(" ");
    let out = tokio::time::timeout(COMMAND, command.output())
        .await
        .map_err(|_| format!("'{shown}' was not done after {} seconds", COMMAND.as_secs()))?
        .map_err(|e| format!("cannot run '{shown}': {e}"))?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    Err(format!("'{shown}' failed: {}", String::from_utf8_lossy(&out.stderr).trim()))
}

/// The text under `key`, or an error that names it.
pub fn text(value: &Value, key: &str) -> Result<String, String> {
    value[key].as_str().map(str::to_owned).ok_or_else(|| format!("the answer has no '{key}': {value}"))
}

/// Keeps a daemon's last lines, and reports its API's address once it says that it is ready.
fn listen<R>(reader: BufReader<R>, log: Arc<Mutex<VecDeque<String>>>, mut ready: Option<oneshot::Sender<String>>)
where
    R: tokio::io::AsyncRead + Unpin + Send + 'static,
{
    // The demo is no node and has no task group; this task ends with the pipe.
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(async move {
        let mut api = String::new();
        let mut lines = reader.lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(address) = line.strip_prefix("API server listening on ") {
                api = address.trim().to_owned();
            }
            if line.trim() == "Daemon is ready"
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(std::mem::take(&mut api));
            }
            if let Ok(mut log) = log.lock() {
                if log.len() == LAST_WORDS {
                    log.pop_front();
                }
                log.push_back(line);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in ["/usr/bin/ipfs-kit", "/my tools/ipfs-kit", "/it's/$HOME/`x`/\"y\"", "ä b"] {
            let out = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), word);
        }
        assert_eq!(quoted("/usr/bin/ipfs-kit"), "/usr/bin/ipfs-kit");
    }
}
