//! `connect`: to a peer.

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};
use crate::config::address;

/// Connects the daemon to a peer.
#[derive(Args, Debug)]
#[command(after_help = "With /p2p/PEER in the address the peer must prove that it is PEER.
JSON: {id, address, connected}

Examples:
  ipfs-kit connect /ip4/192.168.1.7/tcp/4001/p2p/12D3Koo...
  ipfs-kit connect 192.168.1.7:4001")]
pub struct ConnectArgs {
    /// A multiaddress, with or without /p2p/PEER, or HOST:PORT
    #[arg(value_name = "ADDR")]
    pub address: String,
}

pub async fn run(args: ConnectArgs, context: &Context) -> Result<(), Failure> {
    let address = address::peer(&args.address)?.to_string();
    let node = reach::node(context, Need::Daemon).await?;
    let said = node.client().connect_to(&address).await?;
    // Kubo's sentence: connect PEER success
    let id = said.first().and_then(|s| s.split(' ').nth(1)).unwrap_or_default().to_owned();
    context.show(&json!({"id": id, "address": address, "connected": true}), || format!("connected to {id}"))
}
