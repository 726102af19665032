//! `unpin`: no longer keeps content.

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};
use crate::dag::DagPath;

/// Takes a pin back. The content stays until space is needed.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid}

Examples:
  ipfs-kit unpin CID")]
pub struct UnpinArgs {
    /// What need not be kept any more
    #[arg(value_name = "CID")]
    pub cid: String,
}

pub async fn run(args: UnpinArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.cid)?;
    let node = reach::node(context, Need::Repo).await?;
    let gone = node.client().unpin(&args.cid).await?;
    node.close().await;
    let cid = gone.pins.first().cloned().unwrap_or(args.cid);
    context.show(&json!({ "cid": cid }), || format!("unpinned {cid}"))
}
