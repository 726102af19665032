//! `dag`: DAGs and archives.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{self, Context, Failure},
    progress::{Progress, ProgressArg, When, expected},
    reach::{self, Need},
};
use crate::{
    base::cid,
    dag::{DagPath, cids::CidText},
    http::{
        client::{ImportOptions, PutOptions},
        model::dag::{ImportEvent, ImportStats, StatSummary},
    },
};

/// Move DAGs in and out as archives.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit dag export CID > photos.car
  ipfs-kit dag import photos.car
  ipfs-kit dag stat CID")]
pub struct DagArgs {
    #[command(subcommand)]
    pub verb: DagVerb,
}

/// What to do with DAGs.
#[derive(Subcommand, Debug)]
pub enum DagVerb {
    /// Write a DAG to standard output as an archive (CARv1)
    Export(ExportArgs),
    /// Store what archives (CARv1 or CARv2) hold and pin their roots
    Import(ImportArgs),
    /// Store values and print their CIDs
    Put(PutArgs),
    /// Write what a path leads to as a value
    Get(GetArgs),
    /// Show the last block a path leads to, and what is left of the path in it
    Resolve(ResolveArgs),
    /// Measure DAGs
    Stat(StatArgs),
}

/// Stores values and prints their CIDs. Durable when it returns.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cids}

Examples:
  echo '{\"title\": \"photos\", \"album\": {\"/\": \"CID\"}}' | ipfs-kit dag put
  ipfs-kit dag put --store-codec dag-json --pin value.json")]
pub struct PutArgs {
    /// Files with one value each; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<PathBuf>,
    /// What it is stored in: dag-cbor, dag-json, dag-pb, cbor, json or raw [default: dag-cbor]
    #[arg(long, value_name = "CODEC")]
    pub store_codec: Option<String>,
    /// What it is written in [default: dag-json]
    #[arg(long, value_name = "CODEC")]
    pub input_codec: Option<String>,
    /// Pin it with all below it
    #[arg(long)]
    pub pin: bool,
    /// The hash function [default: sha2-256]
    #[arg(long, value_name = "FUNCTION")]
    pub hash: Option<String>,
}

/// Writes what a path leads to as a value, whatever --format says.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit dag get CID
  ipfs-kit dag get CID/album/0/title
  ipfs-kit dag get CID --output-codec dag-cbor > value.cbor")]
pub struct GetArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// What it is written in [default: dag-json]
    #[arg(long, value_name = "CODEC")]
    pub output_codec: Option<String>,
}

/// Shows the last block a path leads to, and what is left of the path in it.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, rest}

Examples:
  ipfs-kit dag resolve CID/album/0/title")]
pub struct ResolveArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
}

/// Measures DAGs: blocks and bytes of each, and of all without what they share. Fetches what is not here.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {dags: [{cid, bytes, blocks}], unique_blocks, unique_bytes, shared_bytes, ratio}

Examples:
  ipfs-kit dag stat CID
  ipfs-kit dag stat CID OTHER     what they share is counted once")]
pub struct StatArgs {
    /// CIDs, or paths below them
    #[arg(value_name = "CID[/PATH]", required = true)]
    pub paths: Vec<String>,
    #[command(flatten)]
    pub progress: ProgressArg,
}

/// Writes a DAG to standard output as an archive (CARv1), whatever --format says; fetches what is not here.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit dag export CID > photos.car
  ipfs-kit dag export CID/2024 > part.car          what a path leads to
  ipfs-kit dag export --local-only CID > part.car  only what is here")]
pub struct ExportArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// Leave out what is not here, and all below it
    #[arg(long)]
    pub local_only: bool,
    #[command(flatten)]
    pub progress: ProgressArg,
}

/// Stores what archives hold and pins the roots they name. Every block is hashed; all is durable when this returns.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {roots: [{cid, pinned, error}], blocks, bytes}; error is null where pinning went well

Examples:
  ipfs-kit dag import photos.car more.car
  ipfs-kit dag export CID | ipfs-kit --api-url OTHER dag import
  ipfs-kit dag import --pin-roots=false part.car")]
pub struct ImportArgs {
    /// Archives; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<PathBuf>,
    /// Pin the roots the archives name
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub pin_roots: bool,
    /// The archives are parts (of 'dag export --local-only'): pin nothing
    #[arg(long)]
    pub local_only: bool,
    /// Say nothing
    #[arg(long)]
    pub silent: bool,
    /// Say how many blocks and bytes were read
    #[arg(long)]
    pub stats: bool,
    #[command(flatten)]
    pub progress: ProgressArg,
}

pub async fn run(args: DagArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        DagVerb::Export(args) => export(args, context).await,
        DagVerb::Import(args) => import(args, context).await,
        DagVerb::Put(args) => put(args, context).await,
        DagVerb::Get(args) => get(args, context).await,
        DagVerb::Resolve(args) => resolve(args, context).await,
        DagVerb::Stat(args) => stat(args, context).await,
    }
}

async fn put(args: PutArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let PutArgs { files, store_codec, input_codec, pin, hash } = args;
    let cids = node.client().dag_put(&files, &PutOptions { input_codec, store_codec, hash, pin }).await?;
    node.close().await;
    let cids = context.cids(&cids)?;
    context.show(&json!({ "cids": cids }), || cids.join("\n"))
}

async fn get(args: GetArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let mut reply = node.client().dag_get(&args.path, args.output_codec.as_deref()).await?;
    output::copy(&mut reply, |_| ()).await?;
    node.close().await;
    Ok(())
}

async fn resolve(args: ResolveArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let found = node.client().dag_resolve(&args.path).await?;
    node.close().await;
    // Unless told otherwise, in the multibase the question was written in.
    let cid = match &context.common.cid_base {
        Some(_) => context.cids(&[found.cid.cid])?.remove(0),
        None => CidText::like(DagPath::root_text(&args.path)).of(&cid::parse(&found.cid.cid)?),
    };
    context.show(&json!({"cid": cid, "rest": found.rem_path}), || format!("{cid}{}", found.rem_path))
}

async fn stat(args: StatArgs, context: &Context) -> Result<(), Failure> {
    args.paths.iter().try_for_each(|path| DagPath::parse(path).map(|_| ()))?;
    let node = reach::node(context, Need::Repo).await?;
    let mut lines = node.client().dag_stat(&args.paths).await?;
    let progress = Progress::new(context, args.progress, "measured", 1);
    let mut all = StatSummary::default();
    let measuring = async {
        while let Some(line) = lines.next().await? {
            all = line;
            progress.bytes(all.dag_stats.iter().map(|dag| dag.size).sum());
        }
        Ok::<(), Failure>(())
    };
    progress.while_counting(measuring, expected(node.client(), &args.paths)).await?;
    drop(progress);
    node.close().await;
    let dags: Vec<_> =
        all.dag_stats.iter().map(|d| json!({"cid": d.cid, "bytes": d.size, "blocks": d.num_blocks})).collect();
    let object = json!({
        "dags": dags, "unique_blocks": all.unique_blocks, "unique_bytes": all.total_size,
        "shared_bytes": all.shared_size, "ratio": all.ratio,
    });
    context.show(&object, || {
        let mut out = String::from("CID\tBlocks\tSize\n");
        all.dag_stats.iter().for_each(|d| out.push_str(&format!("{}\t{}\t{}\n", d.cid, d.num_blocks, d.size)));
        let (total, shared) = (output::bytes(all.total_size), output::bytes(all.shared_size));
        out.push_str(&format!(
            "\nSummary\nTotal Size: {} ({total})\nUnique Blocks: {}\n",
            all.total_size, all.unique_blocks
        ));
        out.push_str(&format!("Shared Size: {} ({shared})\nRatio: {:.6}", all.shared_size, all.ratio));
        out
    })
}

async fn export(args: ExportArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let mut reply = node.client().dag_export(&args.path, args.local_only).await?;
    let progress = Progress::new(context, args.progress, "exported", 1);
    let paths = [args.path];
    let exporting = output::copy(&mut reply, |done| progress.bytes(done));
    progress.while_counting(exporting, expected(node.client(), &paths)).await?;
    drop(progress);
    node.close().await;
    Ok(())
}

async fn import(args: ImportArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client().clone().with_timeout(context.timeout_or(None));
    let options = ImportOptions { pin_roots: args.pin_roots && !args.local_only, stats: true };
    let flag = match args.silent && args.progress.progress.is_none() {
        true => ProgressArg { progress: Some(When::No) },
        false => args.progress,
    };
    let progress = Progress::new(context, flag, "read", 1);
    let counting = async { args.files.iter().try_fold(0, |sum, file| Some(sum + file.metadata().ok()?.len())) };
    let importing = client.dag_import(&args.files, options, |done| progress.bytes(done));
    let mut lines = progress.while_counting(importing, counting).await?;
    drop(progress);
    let (mut roots, mut read) = (Vec::new(), ImportStats { block_count: 0, block_bytes_count: 0 });
    while let Some(ImportEvent { root, stats }) = lines.next().await? {
        roots.extend(root);
        read = stats.unwrap_or(read);
    }
    node.close().await;
    let failed = roots.iter().find(|root| !root.pin_error_msg.is_empty()).cloned();
    if !args.silent {
        let list: Vec<_> = roots
            .iter()
            .map(|root| {
                let error = Some(&root.pin_error_msg).filter(|text| !text.is_empty());
                json!({"cid": root.cid.cid, "pinned": error.is_none(), "error": error})
            })
            .collect();
        let object = json!({"roots": list, "blocks": read.block_count, "bytes": read.block_bytes_count});
        context.show(&object, || {
            let pinned = roots.iter().filter(|root| root.pin_error_msg.is_empty());
            let mut lines: Vec<String> = pinned.map(|root| format!("Pinned root\t{}\tsuccess", root.cid.cid)).collect();
            if args.stats {
                lines.push(format!("Imported {} blocks ({} bytes)", read.block_count, read.block_bytes_count));
            }
            lines.join("\n")
        })?;
    }
    match failed {
        None => Ok(()),
        Some(root) => Err(Failure::new(format!("pinning root {} failed: {}", root.cid.cid, root.pin_error_msg))),
    }
}
