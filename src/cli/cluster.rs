//! `cluster`: found it, look at it, let others in.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};
use crate::{
    base::Role,
    config::duration,
    http::model::{InitRequest, StatusReply, TokenRequest},
};

/// Founds a cluster, shows it, and lets others in.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit cluster init                          on the first machine, where 'ipfs-kit daemon' runs
  ipfs-kit cluster token create --role worker    prints TOKEN
  ipfs-kit daemon --join ADDR --token TOKEN      on the machine that is to join
  ipfs-kit cluster status                        on any of them")]
pub struct ClusterArgs {
    #[command(subcommand)]
    pub verb: ClusterVerb,
}

/// What to do with the cluster.
#[derive(Subcommand, Debug)]
pub enum ClusterVerb {
    /// Found a cluster: the running daemon becomes its first master
    #[command(after_help = "JSON: as 'cluster status'

Examples:
  ipfs-kit cluster init
  ipfs-kit cluster init --timing wan     masters far apart")]
    Init {
        /// How patient Raft is: one network, or masters far apart
        #[arg(long, value_enum, default_value_t = TimingName::Lan)]
        timing: TimingName,
    },
    /// Show the leader and the members
    #[command(after_help = "JSON: {cluster, leader, term, committed, applied, me: {peer, role, node},
       members: [{peer, node, role, state, voter, addresses}]}
  leader is null when unknown; members are the masters and workers; state is alive, suspect, lost or draining.

Examples:
  ipfs-kit cluster status
  ipfs-kit cluster status --format json | jq -r .leader")]
    Status,
    /// List the masters and workers
    #[command(after_help = "JSON: {peers: [{id, node, role, state, voter, addresses}]}

Examples:
  ipfs-kit cluster peers")]
    Peers,
    /// Let others in
    #[command(after_help = "Examples:
  ipfs-kit cluster token create --role worker")]
    Token {
        #[command(subcommand)]
        verb: TokenVerb,
    },
}

/// What to do with tokens.
#[derive(Subcommand, Debug)]
pub enum TokenVerb {
    /// Make a token that admits nodes to the cluster; ask a master
    #[command(after_help = "JSON: {token, role, expires_ms, cluster}

Examples:
  ipfs-kit cluster token create --role worker
  ipfs-kit cluster token create --role master --ttl 1h")]
    Create {
        /// What the node may be: master, worker or leecher
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// How long the token admits
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration::parse)]
        ttl: Duration,
    },
}

/// Raft's timers.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub enum TimingName {
    /// Masters on one network.
    Lan,
    /// Masters far apart.
    Wan,
}

pub async fn run(args: ClusterArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Daemon).await?;
    let client = node.client();
    match args.verb {
        ClusterVerb::Init { timing } => {
            let timing = match timing {
                TimingName::Lan => "lan",
                TimingName::Wan => "wan",
            };
            let status = client.cluster_init(&InitRequest { timing: Some(timing.into()) }).await?;
            context.show(&status, || {
                format!(
                    "cluster {} founded; this node is its first master\n\
                     let others in: ipfs-kit cluster token create --role worker",
                    status.cluster
                )
            })
        }
        ClusterVerb::Status => {
            let status = client.cluster_status().await?;
            context.show(&status, || text(&status))
        }
        ClusterVerb::Peers => {
            let status = client.cluster_status().await?;
            let peers: Vec<_> = status
                .members
                .iter()
                .map(|m| {
                    json!({
                        "id": m.peer, "node": m.node, "role": m.role, "state": m.state, "voter": m.voter,
                        "addresses": m.addresses,
                    })
                })
                .collect();
            context.show(&json!({ "peers": peers }), || members(&status))
        }
        ClusterVerb::Token { verb: TokenVerb::Create { role, ttl } } => {
            let request = TokenRequest { role, ttl_seconds: Some(ttl.as_secs()) };
            let token = client.token_create(&request).await?;
            context.show(&token, || token.token.clone())
        }
    }
}

fn text(status: &StatusReply) -> String {
    format!(
        "cluster    {}\nthis node  {} ({})\nleader     {}\nterm       {}\ncommitted  {}\napplied    {}\nmembers\n{}",
        status.cluster,
        status.me.peer,
        status.me.role,
        status.leader.as_deref().unwrap_or("unknown"),
        status.term,
        status.committed,
        status.applied,
        members(status)
    )
}

fn members(status: &StatusReply) -> String {
    let line = |m: &crate::http::model::MemberReply| {
        let voter = if m.voter { " voter" } else { "" };
        format!("  {} {} {}{voter} {}", m.peer, m.role, m.state, m.addresses.join(" ")).trim_end().to_owned()
    };
    status.members.iter().map(line).collect::<Vec<_>>().join("\n")
}
