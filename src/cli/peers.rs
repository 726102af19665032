//! `peers`: who is connected.

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};

/// Lists the peers this node is connected to.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {peers: [{id, address, direction, latency, agent_version}]}
  direction is inbound or outbound; latency is the last ping's, such as 1.2ms, or null.

Examples:
  ipfs-kit peers
  ipfs-kit peers --format json | jq -r '.peers[].id'")]
pub struct PeersArgs {}

pub async fn run(PeersArgs {}: PeersArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Daemon).await?;
    let peers = node.client().peers().await?;
    let list: Vec<_> = peers
        .iter()
        .map(|p| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            json!({
                "id": p.peer, "address": p.addr, "direction": if p.direction == 1 { "inbound" } else { "outbound" },
                "latency": some(&p.latency), "agent_version": some(&p.identify.agent_version),
            })
        })
        .collect();
    context.show(&json!({ "peers": list }), || {
        peers.iter().map(|p| format!("{}/p2p/{}", p.addr, p.peer)).collect::<Vec<_>>().join("\n")
    })
}
