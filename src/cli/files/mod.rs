//! `files`: the files tree (MFS), one directory that changes.

mod change;
mod look;
mod write;

use clap::{Args, Subcommand};

pub(in crate::cli) use look::letters;

use super::output::{Context, Failure};
use crate::http::client::FilesStyle;

/// Works on the files tree: a directory of this node that changes like one on disk, and whose content is kept.
#[derive(Args, Debug)]
#[command(
    after_help = "Every change is whole and durable when the verb returns, unless --flush=false says that it may wait for
'files flush' (or for the next change without it; 256 may wait).

Examples:
  ipfs-kit files mkdir -p /photos/2026
  ipfs-kit files cp /ipfs/CID /photos/2026/    content by its CID; only what is read is fetched
  ipfs-kit files write --create /notes.txt < notes.txt
  ipfs-kit files ls -l /
  ipfs-kit files stat --hash /                 the CID of all of it"
)]
pub struct FilesArgs {
    #[command(subcommand)]
    verb: FilesVerb,
    /// Whether the change is durable when the verb returns
    #[arg(
        short, long, global = true, default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "true|false",
        display_order = 800
    )]
    flush: bool,
}

#[derive(Subcommand, Debug)]
enum FilesVerb {
    /// Copy content or what stands in the tree; only references are copied
    Cp(change::CpArgs),
    /// Move files and directories
    Mv(change::MvArgs),
    /// Make a directory
    Mkdir(change::MkdirArgs),
    /// Remove files and directories
    Rm(change::RmArgs),
    /// List a directory
    Ls(look::LsArgs),
    /// Show what stands at a path
    Stat(look::StatArgs),
    /// Write a file's bytes to standard output
    Read(look::ReadArgs),
    /// Write into a file
    Write(write::WriteArgs),
    /// Make all changes durable
    Flush(change::FlushArgs),
    /// Give a directory another CID version or hash function
    Chcid(change::ChcidArgs),
    /// Set permission bits
    Chmod(change::ChmodArgs),
    /// Set the modification time
    Touch(change::TouchArgs),
    /// Make another directory the root
    Chroot(change::ChrootArgs),
}

/// How nodes are written.
#[derive(Args, Debug)]
struct Style {
    /// The CIDs' version
    #[arg(long, visible_alias = "cid-ver", value_parser = clap::value_parser!(u8).range(0..=1), value_name = "0|1")]
    cid_version: Option<u8>,
    /// The hash function; another than sha2-256 means CID version 1
    #[arg(long, value_name = "NAME")]
    hash: Option<String>,
}

impl Style {
    fn of(self) -> FilesStyle {
        FilesStyle { cid_version: self.cid_version, hash: self.hash }
    }
}

/// Reads permission bits in octal notation.
fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| "use octal digits such as 0644".into())
}

pub async fn run(args: FilesArgs, context: &Context) -> Result<(), Failure> {
    let flush = args.flush;
    match args.verb {
        FilesVerb::Cp(args) => change::cp(args, flush, context).await,
        FilesVerb::Mv(args) => change::mv(args, flush, context).await,
        FilesVerb::Mkdir(args) => change::mkdir(args, flush, context).await,
        FilesVerb::Rm(args) => change::rm(args, flush, context).await,
        FilesVerb::Ls(args) => look::ls(args, context).await,
        FilesVerb::Stat(args) => look::stat(args, context).await,
        FilesVerb::Read(args) => look::read(args, context).await,
        FilesVerb::Write(args) => write::write(args, flush, context).await,
        FilesVerb::Flush(args) => change::flush(args, context).await,
        FilesVerb::Chcid(args) => change::chcid(args, flush, context).await,
        FilesVerb::Chmod(args) => change::chmod(args, flush, context).await,
        FilesVerb::Touch(args) => change::touch(args, flush, context).await,
        FilesVerb::Chroot(args) => change::chroot(args, context).await,
    }
}
