//! `init`: makes a repo.

use clap::Args;
use serde_json::json;

use super::output::{Context, Failure};
use crate::store::Repo;

/// Makes a repo with a new identity; a repo that is there already is left as it is.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {id, repo, created}

Examples:
  ipfs-kit init                     in ~/.ipfs_kit
  ipfs-kit --repo /data/ipfs init   elsewhere")]
pub struct InitArgs {}

pub async fn run(InitArgs {}: InitArgs, context: &Context) -> Result<(), Failure> {
    let repo = context.repo()?;
    let report = Repo::init(&repo)?;
    let (id, shown) = (report.peer_id.to_string(), repo.display().to_string());
    context.show(&json!({"id": id, "repo": shown, "created": report.created}), || {
        let what = if report.created { "made:" } else { "is there already:" };
        format!("repo {what} {shown}\npeer id {id}")
    })
}
