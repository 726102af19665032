//! `repo gc`: removes what nothing keeps.

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        output::{Context, Failure, Listing},
        reach::{self, Need},
    },
    http::model::repo::GcLine,
};

/// Removes every block that nothing keeps, and gives the disk back what they took. Kept is what pins, tasks and the files
/// tree (files) reach, and what is being added or fetched to be kept. The daemon serves meanwhile.
#[derive(Args, Debug)]
#[command(
    after_help = "Blocks are named as raw ones (bafk…), for they are kept by their hash; --quiet shows CIDs alone.
JSON: {removed: [{cid}]}

Examples:
  ipfs-kit repo gc
  ipfs-kit repo gc --silent && ipfs-kit repo stat"
)]
pub struct GcArgs {
    /// Show errors when they happen, on standard error
    #[arg(long)]
    pub stream_errors: bool,
    /// Show nothing
    #[arg(long)]
    pub silent: bool,
}

pub async fn run(args: GcArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let mut lines = node.client().repo_gc(args.stream_errors, args.silent).await?;
    let mut listing = Listing::new(context, "removed");
    while let Some(GcLine { key, error }) = lines.next().await? {
        if !error.is_empty() {
            context.note(&format!("error: {error}"));
        }
        let Some(key) = key else { continue };
        listing.item(&json!({"cid": key.cid}), || match context.common.quiet {
            true => key.cid.clone(),
            false => format!("removed {}", key.cid),
        })?;
    }
    if !args.silent {
        listing.end()?;
    }
    node.close().await;
    Ok(())
}
