//! `unpin` and `pin rm`: no longer keeps content.

use clap::{ArgAction, Args};
use serde_json::json;

use super::{
    output::{Context, Failure},
    pin::paths_or_stdin,
    reach::{self, Need},
};

/// Takes pins back: all of them, or none when one is not pinned. The content stays until space is needed.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, pins: [cid]}; cid is the last one

Examples:
  ipfs-kit unpin CID
  ipfs-kit unpin CID CID2")]
pub struct UnpinArgs {
    /// What need not be kept any more [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
}

/// Which pins go.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// CIDs, or paths below them [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
    /// Recursive pins too; without it direct ones only
    #[arg(short, long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set, value_name = "BOOL")]
    pub recursive: bool,
}

pub async fn run(args: UnpinArgs, context: &Context) -> Result<(), Failure> {
    remove(RmArgs { paths: args.paths, recursive: true }, context).await
}

pub async fn remove(args: RmArgs, context: &Context) -> Result<(), Failure> {
    let paths = paths_or_stdin(args.paths)?;
    let node = reach::node(context, Need::Repo).await?;
    let gone = node.client().unpin(&paths, args.recursive).await?;
    node.close().await;
    context.show(&json!({"cid": gone.last(), "pins": gone}), || {
        gone.iter().map(|cid| format!("unpinned {cid}")).collect::<Vec<_>>().join("\n")
    })
}
