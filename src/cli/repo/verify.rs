//! `repo verify`: whether everything is what was written.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        output::{Context, Failure, Listing},
        reach::{self, Need},
    },
    config::duration,
    http::model::repo::VerifyLine,
};

/// Checks that everything in the repo is what was written: hashes every block, and checks the files of pins, keys,
/// cluster and log. What can be built anew is.
#[derive(Args, Debug)]
#[command(
    after_help = "The exit code is 1 when something stays damaged. Damaged blocks count as missing from then on; --drop removes them
for good, --heal fetches them from the network too.
JSON: {damaged: [{file, offset, cid, reason, mended}]}; offset and cid are null where there is none

Examples:
  ipfs-kit repo verify
  ipfs-kit repo verify --drop
  ipfs-kit repo verify --heal --heal-timeout 10s"
)]
pub struct VerifyArgs {
    /// Remove damaged blocks
    #[arg(long)]
    pub drop: bool,
    /// Remove damaged blocks and fetch them again; needs a daemon
    #[arg(long)]
    pub heal: bool,
    /// How long to look for each, with --heal; 0 = for ever
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub heal_timeout: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|e| e.to_string())
}

pub async fn run(args: VerifyArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, if args.heal { Need::Daemon } else { Need::Repo }).await?;
    let mut lines = node.client().repo_verify(args.drop, args.heal.then_some(args.heal_timeout)).await?;
    let mut listing = Listing::new(context, "damaged");
    let outcome = loop {
        let VerifyLine { msg, fault, .. } = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        if let Some(fault) = fault {
            listing.item(&json!(fault), || msg)?;
        } else if !msg.is_empty() {
            context.note(&msg);
        }
    };
    listing.end()?;
    node.close().await;
    Ok(outcome?)
}
