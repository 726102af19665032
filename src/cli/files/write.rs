//! `files write`: into a file of the tree.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Style;
use crate::{
    cli::{
        output::{Context, Failure},
        reach::{self, Need},
    },
    http::client::{FilesAttributes, FilesWrite},
};

/// Writes a file of this machine, or standard input, into a file of the tree. It changes as a whole when all has come.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {path}

Examples:
  ipfs-kit files write --create --parents /notes/today.txt today.txt
  date | ipfs-kit files write --truncate /notes/now.txt
  ipfs-kit files write --offset 100 /data.bin patch.bin      over what is there")]
pub struct WriteArgs {
    /// The file of the tree
    #[arg(value_name = "PATH")]
    path: String,
    /// What to write; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    data: PathBuf,
    /// Where the first byte goes; zeros fill what lies before
    #[arg(short, long, default_value_t = 0)]
    offset: u64,
    /// Bytes written at most
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Make the file when it is not there
    #[arg(short = 'e', long)]
    create: bool,
    /// Make the directories above it
    #[arg(short, long)]
    parents: bool,
    /// Empty the file first
    #[arg(short, long)]
    truncate: bool,
    /// Leaves without UnixFS around them [default: when the file's CID is of version 1]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "true|false")]
    raw_leaves: Option<bool>,
    #[command(flatten)]
    style: Style,
}

pub async fn write(args: WriteArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let options = FilesWrite {
        offset: args.offset,
        count: args.count,
        create: args.create,
        parents: args.parents,
        truncate: args.truncate,
        raw_leaves: args.raw_leaves,
        style: args.style.of(),
        attributes: FilesAttributes::default(),
    };
    node.client().files_write(&args.path, &args.data, &options, flush).await?;
    node.close().await;
    context.show(&json!({"path": args.path}), String::new)
}
