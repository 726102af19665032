//! `repo version`: of the repo's layout.

use clap::Args;
use serde_json::json;

use crate::cli::{
    output::{Context, Failure},
    reach::{self, Need},
};

/// Shows the version of the repo's layout; with --quiet in one word.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {version}

Examples:
  ipfs-kit repo version
  ipfs-kit repo version --quiet")]
pub struct VersionArgs {}

pub async fn run(VersionArgs {}: VersionArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let version = node.client().repo_version().await?;
    node.close().await;
    let before = if context.common.quiet { "" } else { "ipfs repo version " };
    context.show(&json!({"version": version}), || format!("{before}fs-repo@{version}"))
}
