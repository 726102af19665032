//! What changes the tree at a stroke.

use clap::Args;
use serde_json::json;

use super::{Style, octal};
use crate::{
    cli::{
        output::{Context, Failure},
        reach::{self, Need},
    },
    http::client::FilesAttributes,
};

/// Copies content (`/ipfs/CID…`) or what stands in the tree.
#[derive(Args, Debug)]
#[command(after_help = "Only references are copied: what lies below is fetched when it is read. JSON: {source, dest}

Examples:
  ipfs-kit files cp /ipfs/CID /photos/        into a directory
  ipfs-kit files cp -p /a/b /backup/today/b   making the directories above")]
pub struct CpArgs {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to; one that ends with a slash is a directory to copy into
    #[arg(value_name = "DEST")]
    dest: String,
    /// Make the directories above the destination
    #[arg(short, long)]
    parents: bool,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub async fn cp(args: CpArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    node.client().files_cp(&args.source, &args.dest, args.parents, args.force, flush).await?;
    node.close().await;
    context.show(&json!({"source": args.source, "dest": args.dest}), String::new)
}

/// Moves a file or directory; into a directory that is there under its own name, over a file that is there.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {source, dest}

Examples:
  ipfs-kit files mv /drafts/letter /sent/letter
  ipfs-kit files mv /drafts/letter /sent/")]
pub struct MvArgs {
    /// What to move
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DEST")]
    dest: String,
}

pub async fn mv(args: MvArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    node.client().files_mv(&args.source, &args.dest, flush).await?;
    node.close().await;
    context.show(&json!({"source": args.source, "dest": args.dest}), String::new)
}

/// Makes a directory.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {path}

Examples:
  ipfs-kit files mkdir /photos
  ipfs-kit files mkdir -p /photos/2026/june --cid-version 1")]
pub struct MkdirArgs {
    /// Which
    #[arg(value_name = "PATH")]
    path: String,
    /// Make the directories above it too; no error when it is there
    #[arg(short, long)]
    parents: bool,
    #[command(flatten)]
    style: Style,
    /// Permission bits to record, in octal digits
    #[arg(long, value_parser = octal, value_name = "MODE")]
    mode: Option<u32>,
    /// Modification time to record, in seconds since 1970
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS")]
    mtime: Option<i64>,
    /// Its nanoseconds
    #[arg(long, default_value_t = 0, requires = "mtime", value_parser = clap::value_parser!(u32).range(0..1_000_000_000))]
    mtime_nsecs: u32,
}

pub async fn mkdir(args: MkdirArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let mtime = args.mtime.map(|seconds| (seconds, args.mtime_nsecs));
    let attributes = FilesAttributes { mode: args.mode, mtime };
    let node = reach::node(context, Need::Repo).await?;
    node.client().files_mkdir(&args.path, args.parents, &args.style.of(), &attributes, flush).await?;
    node.close().await;
    context.show(&json!({"path": args.path}), String::new)
}

/// Removes files and directories; durable when it returns.
#[derive(Args, Debug)]
#[command(after_help = "What can be removed is removed even when other paths cannot be. JSON: {removed: [path]}

Examples:
  ipfs-kit files rm /notes.txt
  ipfs-kit files rm -r /photos/2025 /photos/2024")]
pub struct RmArgs {
    /// Which
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Directories too, with all below them
    #[arg(short, long)]
    recursive: bool,
    /// Whatever stands there, even what cannot be read; no error when nothing does
    #[arg(long)]
    force: bool,
}

pub async fn rm(args: RmArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    if !flush {
        return Err(Failure::new("files rm is always durable when it returns; leave out --flush=false"));
    }
    let node = reach::node(context, Need::Repo).await?;
    node.client().files_rm(&args.paths, args.recursive, args.force).await?;
    node.close().await;
    context.show(&json!({"removed": args.paths}), String::new)
}

/// Makes all changes durable that wait for it.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid}

Examples:
  ipfs-kit files flush")]
pub struct FlushArgs {
    /// The path whose CID is printed
    #[arg(default_value = "/", value_name = "PATH")]
    path: String,
}

pub async fn flush(args: FlushArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let cid = node.client().files_flush(&args.path).await?;
    node.close().await;
    context.show(&json!({"cid": cid}), || cid.clone())
}

/// Writes a directory's own node anew with another CID version or hash function; what lies in it stays as it is.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {path}

Examples:
  ipfs-kit files chcid --cid-version 1 /photos")]
pub struct ChcidArgs {
    /// Which
    #[arg(value_name = "PATH")]
    path: String,
    #[command(flatten)]
    style: Style,
}

pub async fn chcid(args: ChcidArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    node.client().files_chcid(&args.path, &args.style.of(), flush).await?;
    node.close().await;
    context.show(&json!({"path": args.path}), String::new)
}

/// Records permission bits.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {path, mode}

Examples:
  ipfs-kit files chmod 0644 /notes.txt")]
pub struct ChmodArgs {
    /// The bits, in octal digits; 0 takes them away
    #[arg(value_parser = octal, value_name = "MODE")]
    mode: u32,
    /// Which
    #[arg(value_name = "PATH")]
    path: String,
}

pub async fn chmod(args: ChmodArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    node.client().files_chmod(args.mode, &args.path, flush).await?;
    node.close().await;
    context.show(&json!({"path": args.path, "mode": format!("{:04o}", args.mode)}), String::new)
}

/// Records a modification time: now, when none is given.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {path}

Examples:
  ipfs-kit files touch /notes.txt
  ipfs-kit files touch --mtime 1630937926 /notes.txt")]
pub struct TouchArgs {
    /// Which
    #[arg(value_name = "PATH")]
    path: String,
    /// Seconds since 1970
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS")]
    mtime: Option<i64>,
    /// Its nanoseconds
    #[arg(long, default_value_t = 0, requires = "mtime", value_parser = clap::value_parser!(u32).range(0..1_000_000_000))]
    mtime_nsecs: u32,
}

pub async fn touch(args: TouchArgs, flush: bool, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let mtime = args.mtime.map(|seconds| (seconds, args.mtime_nsecs));
    node.client().files_touch(&args.path, mtime, flush).await?;
    node.close().await;
    context.show(&json!({"path": args.path}), String::new)
}

/// Makes another directory the tree's root: an empty one, or one that is here. What only the old root held may be
/// collected then; pin it before if it is to stay.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {old, new}

Examples:
  ipfs-kit files chroot --confirm           begin anew with nothing in it
  ipfs-kit files chroot --confirm CID       go back to what it was")]
pub struct ChrootArgs {
    /// The new root [default: an empty directory]
    #[arg(value_name = "CID")]
    cid: Option<String>,
    /// Yes, do it
    #[arg(long)]
    confirm: bool,
}

pub async fn chroot(args: ChrootArgs, context: &Context) -> Result<(), Failure> {
    if !args.confirm {
        return Err(Failure::new("this replaces the whole files tree; say --confirm if that is meant"));
    }
    let node = reach::node(context, Need::Repo).await?;
    let old = node.client().files_chroot(args.cid.as_deref()).await?;
    let new = node.client().files_stat("/", false).await?.hash;
    node.close().await;
    context.show(&json!({"old": old, "new": new}), || format!("the root was {old}, now it is {new}"))
}
