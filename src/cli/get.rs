//! `get`: a file or folder on disk.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure, Progress, bytes},
    reach::{self, Need},
};
use crate::dag::DagPath;

/// Writes a file or folder to disk, never outside the place named; fetches what is not here.
#[derive(Args, Debug)]
#[command(after_help = "A file appears under its name only when it is whole. Files of the same name are replaced.
JSON: {cid, path, size, files}

Examples:
  ipfs-kit get CID                     into ./CID
  ipfs-kit get CID -o photos           under another name
  ipfs-kit get CID/photos/a.jpg        one file of a folder, into ./a.jpg")]
pub struct GetArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// Where to write [default: the last part of CID/PATH]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
}

pub async fn run(args: GetArgs, context: &Context) -> Result<(), Failure> {
    let last = args.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if args.output.is_none() && (last.is_empty() || last == "." || last == "..") {
        return Err(Failure::new(format!("'{}' has no name to write to; say where with -o PATH", args.path)));
    }
    let out = args.output.clone().unwrap_or_else(|| PathBuf::from(last));
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let mut progress = context.watched().then(|| Progress::new("written"));
    let written = node
        .client()
        .get(&args.path, &out, |done| {
            if let Some(progress) = &mut progress {
                progress.bytes(done);
            }
        })
        .await?;
    drop(progress);
    node.close().await;
    let (shown, files) = (out.display().to_string(), written.files + written.symlinks);
    context.show(&json!({"cid": args.path, "path": shown, "size": written.bytes, "files": files}), || {
        format!("{shown}: {files} {}, {}", if files == 1 { "file" } else { "files" }, bytes(written.bytes))
    })
}
