//! `resolve`: what a path leads to.

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};
use crate::dag::DagPath;

/// Shows what a path leads to.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {path}

Examples:
  ipfs-kit resolve CID/photos/a.jpg
  ipfs-kit resolve --cid-base base36 /ipfs/CID/photos")]
pub struct ResolveArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
}

pub async fn run(args: ResolveArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let path = node.client().resolve(&args.path).await?;
    node.close().await;
    context.show(&json!({ "path": path }), || path.clone())
}
