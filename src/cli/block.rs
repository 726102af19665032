//! `block`: single blocks.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{self, Context, Failure},
    reach::{self, Need},
};
use crate::{dag::DagPath, http::client::BlockOptions};

/// Read, store and remove single blocks.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit block stat CID
  echo hello | ipfs-kit block put")]
pub struct BlockArgs {
    #[command(subcommand)]
    pub verb: BlockVerb,
}

/// What to do with blocks.
#[derive(Subcommand, Debug)]
pub enum BlockVerb {
    /// Write a block's bytes to standard output
    Get(GetArgs),
    /// Store bytes as blocks and print their CIDs
    Put(PutArgs),
    /// Show a block's size
    Stat(StatArgs),
    /// Remove blocks that nothing keeps
    Rm(RmArgs),
}

/// Writes a block's bytes to standard output, whatever --format says; fetches it when it is not here.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit block get CID > block")]
pub struct GetArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
}

/// Stores bytes as blocks and prints their CIDs. Durable when it returns.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {blocks: [{cid, size}]}

Examples:
  echo hello | ipfs-kit block put
  ipfs-kit block put --cid-codec dag-cbor --mhtype blake3 value.cbor")]
pub struct PutArgs {
    /// Files with a block each; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<PathBuf>,
    /// The codec the CID names; the bytes are taken as they are [default: raw]
    #[arg(long, value_name = "CODEC", conflicts_with = "cid_version")]
    pub cid_codec: Option<String>,
    /// The hash function [default: sha2-256]
    #[arg(long, value_name = "FUNCTION")]
    pub mhtype: Option<String>,
    /// The CID's version; 0 means dag-pb [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1), value_name = "0|1")]
    pub cid_version: Option<u8>,
    /// Pin the blocks with all below them
    #[arg(long)]
    pub pin: bool,
}

/// Shows a block's size; fetches it when it is not here.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, size}

Examples:
  ipfs-kit block stat CID")]
pub struct StatArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
}

/// Removes blocks that nothing keeps: what is pinned, or lies below a pin, stays.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {removed, kept: [{cid, error}]}

Examples:
  ipfs-kit block rm CID OTHER
  ipfs-kit block rm --force CID     no error when it is not here")]
pub struct RmArgs {
    /// CIDs, or paths below them
    #[arg(value_name = "CID[/PATH]", required = true)]
    pub paths: Vec<String>,
    /// Blocks that are not here are no error
    #[arg(short, long)]
    pub force: bool,
}

pub async fn run(args: BlockArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        BlockVerb::Get(args) => get(args, context).await,
        BlockVerb::Put(args) => put(args, context).await,
        BlockVerb::Stat(args) => stat(args, context).await,
        BlockVerb::Rm(args) => remove(args, context).await,
    }
}

async fn get(args: GetArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    output::write(&node.client().block_get(&args.path).await?)?;
    output::flush()?;
    node.close().await;
    Ok(())
}

async fn put(args: PutArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let PutArgs { files, cid_codec, mhtype, cid_version, pin } = args;
    let options = BlockOptions { codec: cid_codec, hash: mhtype, version: cid_version, pin };
    let blocks = node.client().block_put_files(&files, &options).await?;
    node.close().await;
    let list: Vec<_> = blocks.iter().map(|block| json!({"cid": block.key, "size": block.size})).collect();
    context.show(&json!({ "blocks": list }), || {
        blocks.iter().map(|block| block.key.as_str()).collect::<Vec<_>>().join("\n")
    })
}

async fn stat(args: StatArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let block = node.client().block_stat(&args.path).await?;
    node.close().await;
    context.show(&json!({"cid": block.key, "size": block.size}), || format!("Key: {}\nSize: {}", block.key, block.size))
}

async fn remove(args: RmArgs, context: &Context) -> Result<(), Failure> {
    args.paths.iter().try_for_each(|path| DagPath::parse(path).map(|_| ()))?;
    let node = reach::node(context, Need::Repo).await?;
    let answers = node.client().block_rm(&args.paths, args.force).await?;
    node.close().await;
    let (removed, kept): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.error.is_empty());
    let removed: Vec<_> = removed.into_iter().map(|answer| answer.hash).collect();
    let list: Vec<_> = kept.iter().map(|answer| json!({"cid": answer.hash, "error": answer.error})).collect();
    context.show(&json!({"removed": removed, "kept": list}), || match context.common.quiet {
        true => String::new(),
        false => removed.iter().map(|cid| format!("removed {cid}")).collect::<Vec<_>>().join("\n"),
    })?;
    for answer in &kept {
        context.note(&format!("cannot remove {}: {}", answer.hash, answer.error));
    }
    if kept.is_empty() { Ok(()) } else { Err(Failure::new("some blocks not removed")) }
}
