//! What every verb understands, and the list of verbs.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    add::AddArgs, block::BlockArgs, cat::CatArgs, cid::CidArgs, cluster::ClusterArgs, completions::CompletionsArgs,
    config::ConfigArgs, connect::ConnectArgs, daemon::DaemonArgs, dag::DagArgs, demo::DemoArgs, files::FilesArgs,
    get::GetArgs, id::IdArgs, init::InitArgs, ipfs::IpfsArgs, list_pins::ListPinsArgs, ls::LsArgs, peers::PeersArgs,
    pin::PinArgs, refs::RefsArgs, repo::RepoArgs, resolve::ResolveArgs, routing::RoutingArgs, stat::StatArgs,
    task::TaskArgs, unpin::UnpinArgs, version::VersionArgs,
};
use crate::{
    config::{duration, settings::FILE_VARIABLE},
    dag::cids::CidText,
};

/// The environment variable that says how results are written.
const FORMAT_VARIABLE: &str = "IPFS_KIT_FORMAT";

/// An IPFS peer and a member of a Raft-coordinated cluster in one program.
///
/// Results are written to standard output and everything else to standard error; the exit code is 0 only when all that
/// was asked is done, 1 when something failed, and 2 when the command line cannot be read.
#[derive(Parser, Debug)]
#[command(name = "ipfs-kit", version, propagate_version = false, max_term_width = 110)]
#[command(after_help = "Examples:
  ipfs-kit demo                      a whole cluster on this machine, told step by step
  ipfs-kit daemon                    be a peer; makes ~/.ipfs_kit when it is missing
  ipfs-kit add -r photos             add a folder; prints its CID
  ipfs-kit get CID -o photos-copy    fetch it on another machine
  ipfs-kit ls CID                    what lies in it
  ipfs-kit cluster init              make the running daemon a cluster's first master
  ipfs-kit task submit word-count CID --wait

Every verb explains itself: ipfs-kit VERB --help
Environment: IPFS_KIT_PATH (--repo), IPFS_KIT_CONFIG (--config), IPFS_KIT_API_URL (--api-url), IPFS_KIT_FORMAT
(--format), IPFS_KIT_TIMEOUT (--timeout), and one for every setting: see 'ipfs-kit config show'.")]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb understands.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// The repo's folder [default: $IPFS_KIT_PATH, else ~/.ipfs_kit]
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    pub repo: Option<PathBuf>,
    /// The settings file, and no other; /dev/null is none [default: the first that is found]
    #[arg(long, global = true, value_name = "FILE", env = FILE_VARIABLE, hide_env = true, display_order = 899)]
    pub config: Option<PathBuf>,
    /// The daemon to ask, HOST:PORT or a multiaddress [default: $IPFS_KIT_API_URL, else the one on the repo]
    #[arg(long, global = true, value_name = "ADDR", display_order = 901)]
    pub api_url: Option<String>,
    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = FORMAT_VARIABLE, hide_env = true, display_order = 902)]
    pub format: Format,
    /// The multibase of CIDs in results: base32, base36, base58btc, … [default: as they are]
    #[arg(long, global = true, value_name = "BASE", value_parser = cid_base, display_order = 906)]
    pub cid_base: Option<String>,
    /// Use what is here only, never the network
    #[arg(long, global = true, display_order = 907)]
    pub offline: bool,
    /// How long to wait for an answer or its next piece: 500ms, 10s, 2m; 0 = for ever [default: 60s]
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout, display_order = 903)]
    pub timeout: Option<Duration>,
    /// Less: no progress and no remarks, and lists of CIDs alone where a verb has them
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 904)]
    pub quiet: bool,
    /// More: what is done and why, on standard error
    #[arg(short, long, global = true, display_order = 905)]
    pub verbose: bool,
}

fn cid_base(text: &str) -> Result<String, String> {
    CidText::named(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|e| e.to_string())
}

/// How results are written.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
    /// The same in columns.
    Table,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Make a repo with a new identity
    Init(InitArgs),
    /// Show, change and check settings
    Config(ConfigArgs),
    /// Run this node until Ctrl-C or SIGTERM
    Daemon(DaemonArgs),
    /// Add files and folders and print their CIDs
    Add(AddArgs),
    /// Write the bytes of files to standard output
    Cat(CatArgs),
    /// List what lies in folders
    Ls(LsArgs),
    /// Show what CIDs are, and how large
    Stat(StatArgs),
    /// Work on the files tree (MFS), a directory that changes
    Files(FilesArgs),
    /// Write files and folders to disk
    Get(GetArgs),
    /// Read, write and measure DAGs; move them as archives
    Dag(DagArgs),
    /// Read, store and remove single blocks
    Block(BlockArgs),
    /// Rewrite CIDs and take them apart
    Cid(CidArgs),
    /// List what blocks link to
    Refs(RefsArgs),
    /// Measure what this node keeps, and keep it in order
    Repo(RepoArgs),
    /// Show what a path leads to
    Resolve(ResolveArgs),
    /// Show who this node is and where it listens
    Id(IdArgs),
    /// List the peers this node is connected to
    Peers(PeersArgs),
    /// Connect to a peer
    Connect(ConnectArgs),
    /// Keep CIDs and all below them; list and check what is kept
    Pin(PinArgs),
    /// Take pins back
    Unpin(UnpinArgs),
    /// List what is pinned
    ListPins(ListPinsArgs),
    /// Ask the DHT
    Routing(RoutingArgs),
    /// Found, inspect and open a cluster
    Cluster(ClusterArgs),
    /// Submit tasks and read their results
    Task(TaskArgs),
    /// Show the version
    Version(VersionArgs),
    /// Print what a shell needs to complete verbs and options
    Completions(CompletionsArgs),
    /// The verbs add, get and pin with commas between several things
    Ipfs(IpfsArgs),
    /// Show a whole cluster at work on this machine
    Demo(DemoArgs),
}
