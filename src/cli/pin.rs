//! `pin`: keeps content.

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};
use crate::dag::DagPath;

/// Keeps a CID and all below it; fetches what is missing.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, type}

Examples:
  ipfs-kit pin CID
  ipfs-kit pin CID --direct          the block alone, nothing below it
  ipfs-kit pin CID --name holidays")]
pub struct PinArgs {
    /// What to keep
    #[arg(value_name = "CID")]
    pub cid: String,
    /// The block alone, nothing below it
    #[arg(long)]
    pub direct: bool,
    /// A name for people
    #[arg(long)]
    pub name: Option<String>,
}

pub async fn run(args: PinArgs, context: &Context) -> Result<(), Failure> {
    let whole = match args.cid.as_str() {
        "add" => Some("ipfs-kit pin CID"),
        "rm" => Some("ipfs-kit unpin CID"),
        "ls" => Some("ipfs-kit list-pins"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Err(Failure::new(format!("write '{whole}' instead of 'pin {}'", args.cid)));
    }
    DagPath::parse(&args.cid)?;
    let node = reach::node(context, Need::Repo).await?;
    let pinned = node.client().pin(&args.cid, !args.direct, args.name.as_deref()).await?;
    node.close().await;
    let cid = pinned.pins.first().cloned().unwrap_or(args.cid);
    let kind = if args.direct { "direct" } else { "recursive" };
    context.show(&json!({"cid": cid, "type": kind}), || format!("pinned {cid} ({kind})"))
}
