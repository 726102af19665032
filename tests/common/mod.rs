//! Real daemons for the journeys: started from the built binary on free loopback ports, asked through its verbs.
// Processes give no event to wait on from outside, so this file may look at the clock; bounded by `GUARD`.
#![allow(dead_code, clippy::disallowed_methods)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Longest any single wait of a journey; reaching it means that something is broken, not slow.
pub const GUARD: Duration = Duration::from_secs(60);

/// The built binary, with nothing of the caller's environment that would redirect it.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipfs-kit"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IPFS_KIT_")) {
        command.env_remove(name);
    }
    command.env("IPFS_KIT_CONFIG", "/dev/null").stdin(Stdio::null());
    command
}

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct Start<'a> {
    /// Address, token and role to join with.
    pub join: Option<(&'a str, &'a str, &'a str)>,
    /// The private DHT's name.
    pub namespace: &'a str,
    /// Where the swarm listens; empty = any free port.
    pub swarm: &'a str,
    /// More arguments.
    pub extra: Vec<&'a str>,
}

/// One running daemon; killed when dropped.
pub struct Daemon {
    pub repo: PathBuf,
    pub api: String,
    pub swarm: Vec<String>,
    pub peer: String,
    pub child: Child,
    log: mpsc::Receiver<String>,
    stderr: Option<std::thread::JoinHandle<String>>,
}

impl Daemon {
    /// Starts a daemon on `repo` and waits until it says that it is ready.
    pub fn start(repo: &Path, start: &Start) -> Daemon {
        match Self::try_start(repo, start) {
            Ok(daemon) => daemon,
            Err(output) => panic!("the daemon on {} ended before it was ready:\n{output}", repo.display()),
        }
    }

    /// Starts a daemon; when it ends before being ready, gives its output.
    pub fn try_start(repo: &Path, start: &Start) -> Result<Daemon, String> {
        let mut command = binary();
        command.arg("--repo").arg(repo).arg("daemon");
        let swarm = if start.swarm.is_empty() { "/ip4/127.0.0.1/tcp/0" } else { start.swarm };
        command.args(["--api", "127.0.0.1:0", "--swarm", swarm]);
        if !start.namespace.is_empty() {
            command.args(["--dht-namespace", start.namespace]);
        }
        if let Some((address, token, role)) = start.join {
            command.args(["--join", address, "--token", token, "--role", role]);
        }
        command.args(&start.extra).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let (said, log) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut daemon = Daemon {
            repo: repo.to_owned(),
            api: String::new(),
            swarm: Vec::new(),
            peer: String::new(),
            child,
            log,
            stderr: Some(stderr),
        };
        let deadline = Instant::now() + GUARD;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match daemon.log.recv_timeout(left) {
                Ok(line) if line == "Daemon is ready" => break,
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("Swarm listening on ") {
                        daemon.swarm.push(address.to_owned());
                    }
                    if let Some(address) = line.strip_prefix("API server listening on ") {
                        daemon.api = address.to_owned();
                    }
                }
                Err(why) => {
                    if why == mpsc::RecvTimeoutError::Disconnected {
                        let status = daemon.child.wait().expect("the child can be waited for");
                        assert!(!status.success(), "a daemon that was never ready must not end well: {status}");
                    }
                    let _ = daemon.child.kill();
                    let stderr = daemon.stderr.take().and_then(|s| s.join().ok()).unwrap_or_default();
                    return Err(stderr);
                }
            }
        }
        daemon.peer = daemon.json(&["id"])["id"].as_str().expect("id has an id").to_owned();
        Ok(daemon)
    }

    /// An address others can dial, with the peer id.
    pub fn address(&self) -> String {
        let bare = self.swarm.first().expect("a ready daemon listens somewhere");
        if bare.contains("/p2p/") { bare.clone() } else { format!("{bare}/p2p/{}", self.peer) }
    }

    /// Runs a verb against this daemon.
    pub fn run(&self, args: &[&str]) -> Output {
        binary().args(["--api-url", &self.api]).args(args).output().expect("the binary runs")
    }

    /// Runs a verb that must succeed and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> Vec<u8> {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?} failed: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// Runs a verb that must succeed and gives its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["--format", "json"]);
        let out = self.ok(&all);
        serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out)))
    }

    /// Runs a verb that must fail and gives its standard error.
    pub fn fails(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(!out.status.success(), "{args:?} succeeded: {}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8_lossy(&out.stderr).into_owned()
    }

    /// Asks for the cluster's status until it is as wanted.
    pub fn status_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let out = self.run(&["cluster", "status", "--format", "json"]);
            let status: Value = serde_json::from_slice(&out.stdout).ok()?;
            wanted(&status).then_some(status)
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a child has a pid");
        rustix::process::kill_process(pid, signal).expect("the child can be signalled");
    }

    /// Kills the daemon outright and gives its repo's path.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child can be waited for");
        self.repo.clone()
    }

    /// Stops the daemon with SIGTERM and requires a clean end.
    pub fn stop(mut self) -> PathBuf {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().expect("the child can be waited for");
        let stderr = self.stderr.take().and_then(|s| s.join().ok()).unwrap_or_default();
        assert!(status.success(), "SIGTERM must end a daemon cleanly: {status}\n{stderr}");
        self.repo.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Some(stderr) = self.stderr.take().and_then(|s| s.join().ok())
        {
            let tail: Vec<&str> = stderr.lines().rev().take(15).collect();
            eprintln!("--- {} said last:", self.repo.display());
            for line in tail.iter().rev() {
                eprintln!("    {line}");
            }
        }
    }
}

/// Asks until there is an answer; processes give no event to wait on from outside.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + GUARD;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", GUARD.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Does something and says how long it took.
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (run(), began.elapsed())
}

/// The members of a status with that role.
pub fn with_role<'a>(status: &'a Value, role: &str) -> Vec<&'a Value> {
    status["members"].as_array().into_iter().flatten().filter(|m| m["role"] == role).collect()
}

/// Some masters and workers, and a leecher that knows the first master's address only.
pub struct Cluster {
    _folder: tempfile::TempDir,
    pub namespace: String,
    pub masters: Vec<Daemon>,
    pub workers: Vec<Daemon>,
    pub leecher: Daemon,
}

impl Cluster {
    /// Starts all of them, and returns when every master votes and every worker is alive.
    pub fn start(masters: usize, workers: usize) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let namespace = format!("journey-{}", folder.path().file_name().unwrap().to_string_lossy().replace('.', ""));
        let repo = |name: String| folder.path().join(name);
        let plain = Start { namespace: &namespace, ..Start::default() };
        let first = Daemon::start(&repo("master-0".into()), &plain);
        first.json(&["cluster", "init"]);
        let address = first.address();
        let token = |role: &str| {
            let token = first.json(&["cluster", "token", "create", "--role", role]);
            token["token"].as_str().unwrap().to_owned()
        };
        let join = |name: String, token: &str, role: &str| {
            Daemon::start(&repo(name), &Start { join: Some((&address, token, role)), ..plain.clone() })
        };
        let master_token = token("master");
        let more: Vec<_> = (1..masters).map(|n| join(format!("master-{n}"), &master_token, "master")).collect();
        let worker_token = token("worker");
        let workers: Vec<_> = (0..workers).map(|n| join(format!("worker-{n}"), &worker_token, "worker")).collect();
        let leecher = join("leecher".into(), &token("leecher"), "leecher");
        let masters = std::iter::once(first).chain(more).collect::<Vec<_>>();
        let count = workers.len();
        masters[0].status_when("every master votes and every worker is alive", |s| {
            with_role(s, "master").iter().filter(|m| m["voter"] == true).count() == masters.len()
                && with_role(s, "worker").iter().filter(|m| m["state"] == "alive").count() == count
        });
        Cluster { _folder: folder, namespace, masters, workers, leecher }
    }

    /// Starts a plain daemon on the repo of a member.
    pub fn restart(&self, repo: &Path) -> Daemon {
        Daemon::start(repo, &Start { namespace: &self.namespace, ..Start::default() })
    }
}

/// One raw HTTP request; gives the status, the head and the body as text.
pub fn http(daemon: &Daemon, request: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> (u16, String, String) {
    let (status, head, body) = http_bytes(daemon, request, headers, body);
    (status, head, String::from_utf8_lossy(&body).into_owned())
}

/// One raw HTTP request; gives the status, the head in lower case and the body without chunks around it, trailers cut off.
pub fn http_bytes(
    daemon: &Daemon,
    request: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> (u16, String, Vec<u8>) {
    let body = body.as_ref();
    let parts: Vec<&str> = daemon.api.split('/').collect();
    let host = format!("{}:{}", parts[2], parts[4]);
    let mut stream = TcpStream::connect(&host).unwrap();
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {}\r\n", value.replace("{host}", &host)));
    }
    // What is refused may be answered, and the connection closed, before all of it is sent.
    let _ = stream.write_all(format!("{text}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let mut rest = &answer[at + 4..];
    let mut body = rest.to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body.clear();
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
            let Some(size @ 1..) = size else { break };
            body.extend_from_slice(&rest[end + 2..(end + 2 + size).min(rest.len())]);
            rest = rest.get(end + 4 + size..).unwrap_or_default();
        }
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body)
}

/// A form with one part, to be sent as `FORM`.
pub fn form(name: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), bytes, b"\r\n--xyz--\r\n"].concat()
}

pub const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=xyz");
