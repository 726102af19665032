//! `add`: files and folders become content.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure, Progress, bytes},
    reach::{self, Need},
};
use crate::http::client::AddOptions;

/// Adds files and folders, pins them and prints their CIDs. CIDs equal Kubo's.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, name, size, files, pinned, roots: [{cid, name, size, files}]}
  cid, name, size (bytes of all files) and files are those of the last PATH, roots holds all of them.

Examples:
  ipfs-kit add notes.txt              one file
  ipfs-kit add -r photos videos       two folders with all below them
  ipfs-kit add --hidden -r project    files whose names begin with a dot too
  tar c photos | ipfs-kit add -       standard input")]
pub struct AddArgs {
    /// Files and folders; - is standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Add folders too, with all below them
    #[arg(short, long)]
    pub recursive: bool,
    /// Add files whose names begin with a dot too
    #[arg(short = 'H', long)]
    pub hidden: bool,
    /// Print the CIDs alone
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not pin what is added
    #[arg(long)]
    pub no_pin: bool,
    /// The CIDs' version
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1), value_name = "0|1")]
    pub cid_version: Option<u8>,
    /// Leaves without UnixFS around them [default: as the CID version has it]
    #[arg(long)]
    pub raw_leaves: Option<bool>,
}

pub async fn run(args: AddArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client().clone().with_timeout(context.timeout_or(None));
    let options = AddOptions {
        recursive: args.recursive,
        hidden: args.hidden,
        pin: !args.no_pin,
        cid_version: args.cid_version,
        raw_leaves: args.raw_leaves,
    };
    let mut roots = Vec::new();
    for path in &args.paths {
        let mut progress = context.watched().then(|| Progress::new("read"));
        let added = client
            .add(path, &options, |done| {
                if let Some(progress) = &mut progress {
                    progress.bytes(done);
                }
            })
            .await?;
        drop(progress);
        roots.push(added);
    }
    node.close().await;
    let objects: Vec<_> =
        roots.iter().map(|r| json!({"cid": r.cid, "name": r.name, "size": r.size, "files": r.files})).collect();
    let mut whole = objects.last().cloned().unwrap_or_default();
    whole["pinned"] = json!(options.pin);
    whole["roots"] = json!(objects);
    context.show(&whole, || {
        let line = |r: &crate::http::client::Added| {
            if args.quiet { r.cid.clone() } else { format!("added {} {} ({})", r.cid, r.name, bytes(r.size)) }
        };
        roots.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
