//! `dag`: DAGs and archives.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{self, Context, Failure, Progress},
    reach::{self, Need},
};
use crate::{
    dag::DagPath,
    http::{
        client::ImportOptions,
        model::dag::{ImportEvent, ImportStats},
    },
};

/// Move DAGs in and out as archives.
#[derive(Args, Debug)]
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
    /// Show progress on standard error [default: when it is a terminal]
    #[arg(short, long, num_args = 0..=1, default_missing_value = "true")]
    pub progress: Option<bool>,
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
}

pub async fn run(args: DagArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        DagVerb::Export(args) => export(args, context).await,
        DagVerb::Import(args) => import(args, context).await,
    }
}

async fn export(args: ExportArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let mut reply = node.client().dag_export(&args.path, args.local_only).await?;
    let mut progress = args.progress.unwrap_or_else(|| context.watched()).then(|| Progress::new("exported"));
    let mut done = 0;
    while let Some(piece) = reply.next().await? {
        output::write(&piece)?;
        done += piece.len() as u64;
        if let Some(progress) = &mut progress {
            progress.bytes(done);
        }
    }
    output::flush()?;
    node.close().await;
    Ok(())
}

async fn import(args: ImportArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client().clone().with_timeout(context.timeout_or(None));
    let options = ImportOptions { pin_roots: args.pin_roots && !args.local_only, stats: true };
    let mut progress = (context.watched() && !args.silent).then(|| Progress::new("read"));
    let mut lines = client
        .dag_import(&args.files, options, |done| {
            if let Some(progress) = &mut progress {
                progress.bytes(done);
            }
        })
        .await?;
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
