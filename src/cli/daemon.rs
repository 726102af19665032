//! `daemon`: runs this node.

use std::{net::SocketAddr, path::Path, time::Duration};

use clap::Args;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{
    args::Format,
    output::{self, Context, Failure},
    throw_away::ThrowAway,
};
use crate::{
    base::{Multiaddr, Role},
    cluster::Cluster,
    config::{Config, DEFAULT_API, Join, address, repo},
    http,
    node::Node,
};

/// How long the last requests and the node may take to end, after which the process ends all the same.
const STOP_LIMIT: Duration = Duration::from_millis(4_700);
/// The same for a node that never became ready: with the time a join may take, ten seconds from start to end hold.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(2);

/// Runs this node until Ctrl-C or SIGTERM; makes the repo when it is missing.
#[derive(Args, Debug)]
#[command(after_help = "When it is ready it has printed, one line each:
  Swarm listening on MULTIADDR
  API server listening on MULTIADDR
  Daemon is ready
JSON: {ready, id, swarm, api}, once, when it is ready
A member of a cluster that is started again needs no --join.

Examples:
  ipfs-kit daemon
  ipfs-kit --repo /data/ipfs daemon --api 127.0.0.1:0 --swarm /ip4/0.0.0.0/tcp/0
  ipfs-kit daemon --join 192.168.1.7:4001 --token ipk1_... --role worker
What is not said here is taken from the environment and from a settings file: see 'ipfs-kit config --help'.")]
pub struct DaemonArgs {
    /// Where the API listens, HOST:PORT or a multiaddress; port 0 = any free one
    #[arg(long, value_name = "ADDR", help = format!("Where the API listens, HOST:PORT or a multiaddress; port 0 = any free one [default: {DEFAULT_API}]"))]
    pub api: Option<String>,
    /// Where the swarm listens; may be repeated [default: port 4001 over TCP and QUIC]
    #[arg(long, value_name = "MULTIADDR")]
    pub swarm: Vec<String>,
    /// Use a DHT of this name, apart from all others
    #[arg(long, value_name = "NAME")]
    pub dht_namespace: Option<String>,
    /// Join a cluster by a member's address, a multiaddress or HOST:PORT; may be repeated
    #[arg(long, value_name = "ADDR", requires = "token")]
    pub join: Vec<String>,
    /// The token that admits; made by 'ipfs-kit cluster token create'
    #[arg(long, value_name = "TOKEN", requires = "join")]
    pub token: Option<String>,
    /// What this node is to be: master, worker or leecher [default: the token's]
    #[arg(long, value_name = "ROLE", requires = "join")]
    pub role: Option<Role>,
    /// Collect garbage when blocks take most of what they may: see storage.max and storage.gc_watermark
    #[arg(long)]
    pub enable_gc: bool,
    /// End with the process of this number, and remove the repo if it is a demo's
    #[arg(long, hide = true, value_name = "PID")]
    pub throw_away: Option<u32>,
}

impl DaemonArgs {
    fn config(&self, context: &Context) -> Result<Config, Failure> {
        let mut config = context.config()?;
        if let Some(api) = &self.api {
            config.api = address::api_bind(api)?;
        }
        if !self.swarm.is_empty() {
            config.swarm = Some(self.swarm.iter().map(|text| address::swarm(text)).collect::<Result<_, _>>()?);
        }
        config.dht_namespace = self.dht_namespace.clone().or(config.dht_namespace);
        config.kad_protocol()?;
        config.storage.collect |= self.enable_gc;
        if let Some(token) = &self.token {
            let addresses = self.join.iter().map(|text| address::peer(text)).collect::<Result<_, _>>()?;
            let role = self.role.or(config.role);
            config.join = Some(Join { addresses, token: token.clone(), role });
        } else if !config.join_addresses.is_empty() && Cluster::role_on_disk(&config.repo)?.is_none() {
            config.join = Some(join_as_set(&config)?);
        }
        Ok(config)
    }
}

/// The cluster to join by the settings.
fn join_as_set(config: &Config) -> Result<Join, Failure> {
    let Some(file) = &config.token_file else {
        let why = "cluster.join names members, but cluster.token_file names no token; make one with \
                   'ipfs-kit cluster token create' and put it into a file of its own";
        return Err(Failure::new(why));
    };
    let path = config.path(file, std::env::var_os("HOME"));
    let token = std::fs::read_to_string(&path)
        .map_err(|e| Failure::new(format!("cluster.token_file {}: {e}", path.display())))?;
    Ok(Join { addresses: config.join_addresses.clone(), token: token.trim().to_owned(), role: config.role })
}

/// What of the libraries' logs is worth reading beside ours.
fn filter(level: &str) -> String {
    match level {
        "error" => "error".to_owned(),
        level => format!("{level},libp2p=warn,libp2p_kad=error,openraft=error,sled=warn"),
    }
}

pub async fn run(args: DaemonArgs, context: &Context) -> Result<(), Failure> {
    // Taken before anything is started, so that no signal finds the process half built.
    let mut stop = Stop::listen()?;
    let throw_away = args.throw_away.map(|parent| ThrowAway::follow(parent, &context.repo()?)).transpose()?;
    let config = args.config(context)?;
    let mut log = config.log.clone();
    log.file = log.file.map(|path| config.path(&path, std::env::var_os("HOME")));
    if let Some(folder) = log.file.as_ref().and_then(|file| file.parent()) {
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::new(format!("logging.file: {}: {e}", folder.display())))?;
    }
    output::log(&log, &filter(&log.level))?;
    for unknown in &context.settings()?.unknown {
        context.note(&format!("note: {unknown}; it is ignored"));
    }
    let folder = config.repo.clone();
    let started = tokio::select! {
        started = start(&args, config, context) => started,
        () = stop.wait() => Err(Failure::new("stopped before it was ready")),
    };
    let outcome = match started {
        Ok(node) => {
            stop.wait().await;
            tracing::info!("stopping");
            end(node, &folder, STOP_LIMIT).await
        }
        Err(failure) => Err(failure),
    };
    if let Some(throw_away) = throw_away {
        throw_away.clean_up(&folder);
    }
    outcome
}

/// Starts everything and says so; what was started is ended again when the rest fails.
async fn start(args: &DaemonArgs, config: Config, context: &Context) -> Result<Node, Failure> {
    let (folder, api, join) = (config.repo.clone(), config.api, config.join.clone());
    let node = Node::builder().config(config).join_later().start().await?;
    match announce(args, &node, api, join, context).await {
        Ok(()) => Ok(node),
        Err(failure) => {
            let _ = end(node, &folder, GIVE_UP_LIMIT).await;
            Err(failure)
        }
    }
}

async fn announce(
    args: &DaemonArgs,
    node: &Node,
    api: SocketAddr,
    join: Option<Join>,
    context: &Context,
) -> Result<(), Failure> {
    for notice in node.notices() {
        context.note(notice);
    }
    let listener = TcpListener::bind(api).await.map_err(|e| {
        Failure::new(format!(
            "the API cannot listen on {}: {e}; choose another place with --api 127.0.0.1:PORT or the setting api.address",
            args.api.clone().unwrap_or_else(|| api.to_string())
        ))
    })?;
    let bound = listener.local_addr().map_err(|e| Failure::new(format!("the API's address: {e}")))?;
    let api = address::multiaddr(bound);
    http::serve(listener, http::router(node.clone()), node.tasks());
    if let Some(join) = &join {
        node.join(join).await?;
    }
    write_api_file(node.repo().dir(), &api)?;
    let swarm: Vec<String> = node.swarm_addresses().iter().map(ToString::to_string).collect();
    let api = api.to_string();
    match context.common.format {
        Format::Text => {
            for address in &swarm {
                output::write(format!("Swarm listening on {address}\n").as_bytes())?;
            }
            output::write(format!("API server listening on {api}\nDaemon is ready\n").as_bytes())?;
        }
        Format::Json | Format::Yaml | Format::Table => {
            let ready = json!({"ready": true, "id": node.peer_id().to_string(), "swarm": swarm, "api": api});
            context.show(&ready, String::new)?;
        }
    }
    output::flush()
}

/// Written beside and renamed, so that nobody reads half an address.
fn write_api_file(folder: &Path, api: &Multiaddr) -> Result<(), Failure> {
    let (file, part) = (repo::api_file(folder), folder.join("api.part"));
    std::fs::write(&part, api.to_string())
        .and_then(|()| std::fs::rename(&part, &file))
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))
}

async fn end(node: Node, folder: &Path, limit: Duration) -> Result<(), Failure> {
    let _ = std::fs::remove_file(repo::api_file(folder));
    match tokio::time::timeout(limit, node.stop()).await {
        Ok(true) => Ok(()),
        // All that was acknowledged is on disk, so the process may end here as after a power cut.
        Ok(false) | Err(_) => Err(Failure::new("not everything stopped in time; what was acknowledged is safe")),
    }
}

/// Ctrl-C, SIGTERM and the terminal's end.
pub(super) struct Stop {
    signals: [tokio::signal::unix::Signal; 3],
}

impl Stop {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("cannot listen for signals: {e}")));
        Ok(Stop {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
        })
    }

    /// Returns when one has come.
    pub(super) async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
    }
}
