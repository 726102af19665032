//! `repo stat`: how much is kept.

use clap::Args;
use serde_json::{Map, json};

use crate::cli::{
    output::{self, Context, Failure},
    reach::{self, Need},
};

/// Shows how much is kept, and how much may be.
#[derive(Args, Debug)]
#[command(
    after_help = "RepoSize counts every file of the repo; StorageMax is for blocks alone (the setting storage.max).
JSON: {repo_size, storage_max, num_objects, repo_path, version}; storage_max is null when nothing limits it,
and with --size-only there are no others than these two

Examples:
  ipfs-kit repo stat
  ipfs-kit repo stat --human
  ipfs-kit repo stat --size-only --format json"
)]
pub struct StatArgs {
    /// RepoSize and StorageMax alone
    #[arg(short, long)]
    pub size_only: bool,
    /// Sizes as people read them: 1.2 GiB
    #[arg(short = 'H', long)]
    pub human: bool,
}

pub async fn run(args: StatArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let stat = node.client().repo_stat(args.size_only).await?;
    node.close().await;
    let max = (stat.storage_max < u64::MAX).then_some(stat.storage_max);
    let size = |bytes: u64| if args.human { output::bytes(bytes) } else { bytes.to_string() };
    let mut object = Map::new();
    object.insert("repo_size".into(), json!(stat.repo_size));
    object.insert("storage_max".into(), json!(max));
    let mut lines = vec![format!("RepoSize:   {}", size(stat.repo_size))];
    lines.push(format!("StorageMax: {}", max.map_or_else(|| "no limit".to_owned(), size)));
    if !args.size_only {
        object.insert("num_objects".into(), json!(stat.num_objects));
        object.insert("repo_path".into(), json!(stat.repo_path));
        object.insert("version".into(), json!(stat.version));
        lines.insert(0, format!("NumObjects: {}", stat.num_objects));
        lines.push(format!("RepoPath:   {}", stat.repo_path));
        lines.push(format!("Version:    {}", stat.version));
    }
    context.show(&object, || lines.join("\n"))
}
