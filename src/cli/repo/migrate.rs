//! `repo migrate`: brings the repo to another layout.

use clap::Args;
use serde_json::json;

use crate::{
    cli::output::{Context, Failure},
    store::Repo,
};

/// Brings the repo to the newest layout this program knows. No daemon may run on it.
#[derive(Args, Debug)]
#[command(after_help = "Stopped in the middle, it goes on where it was when it is asked for again.
JSON: {from, to, steps: [text]}

Examples:
  ipfs-kit repo migrate")]
pub struct MigrateArgs {
    /// The layout's version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<u32>,
}

pub async fn run(args: MigrateArgs, context: &Context) -> Result<(), Failure> {
    let folder = context.repo()?;
    let migrating = tokio::task::spawn_blocking(move || Repo::migrate(&folder, args.to));
    let done = migrating.await.map_err(|e| Failure::new(format!("the migration ended: {e}")))??;
    let object = json!({"from": done.from, "to": done.to, "steps": done.steps});
    context.show(&object, || match done.steps.is_empty() {
        true => format!("the repo's layout is version {} already; nothing to do", done.to),
        false => format!("the repo's layout went from version {} to {}: {}", done.from, done.to, done.steps.join(", ")),
    })
}
