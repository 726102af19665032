//! `add`: files and folders become content.

use std::path::PathBuf;

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::json;

use super::{
    output::{Context, Failure, bytes},
    progress::{Progress, ProgressArg, When},
    reach::{self, Need},
    several::{Errors, LANES, Parallel},
};
use crate::{
    content::{Rules, WalkOptions},
    http::client::{AddOptions, Added},
};

/// Adds files and folders, pins them and prints their CIDs. CIDs equal Kubo's.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, name, size, files, pinned, roots: [{cid, name, size, files}]}
  cid, name, size (bytes of all files) and files are those of the last PATH, roots holds all of them.

Examples:
  ipfs-kit add notes.txt              one file
  ipfs-kit add -r photos videos       two folders with all below them
  ipfs-kit add -w notes.txt           a folder with the file in it, so that its name is kept
  ipfs-kit add --hidden -r project    files whose names begin with a dot too
  ipfs-kit add -r --ignore '*.log' --ignore-rules-path .gitignore project
  ipfs-kit add -n --profile unixfs-v1-2025 film.mkv     only its CID
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
    /// Leave out files and folders of these names, as in a gitignore file; of names, not paths
    #[arg(long, value_name = "RULE")]
    pub ignore: Vec<String>,
    /// A file of such rules
    #[arg(long, value_name = "FILE")]
    pub ignore_rules_path: Option<PathBuf>,
    /// Add empty folders too [default: true]
    #[arg(short = 'E', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub empty_dirs: Option<bool>,
    /// Replace symbolic links among the PATHs by what they lead to
    #[arg(long)]
    pub dereference_args: bool,
    /// Replace all symbolic links by what they lead to
    #[arg(long)]
    pub dereference_symlinks: bool,
    /// What standard input is called
    #[arg(long, value_name = "NAME")]
    pub stdin_name: Option<String>,
    #[command(flatten)]
    pub parallel: Parallel,
    #[command(flatten)]
    pub said: Said,
    #[command(flatten)]
    pub kept: Kept,
    #[command(flatten)]
    pub cids: Cids,
}

/// What is printed.
#[derive(Args, Debug)]
pub struct Said {
    /// Print the CIDs alone
    #[arg(short, long)]
    pub quiet: bool,
    /// Print the last CID alone
    #[arg(short = 'Q', long)]
    pub quieter: bool,
    /// Print nothing
    #[arg(long)]
    pub silent: bool,
    #[command(flatten)]
    pub progress: ProgressArg,
}

/// What becomes of it.
#[derive(Args, Debug)]
pub struct Kept {
    /// Compute CIDs only; store nothing
    #[arg(short = 'n', long)]
    pub only_hash: bool,
    /// Put everything into one folder and print that folder's CID
    #[arg(short, long)]
    pub wrap_with_directory: bool,
    /// Pin what is added [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub pin: Option<bool>,
    /// Do not pin what is added
    #[arg(long, conflicts_with_all = ["pin", "pin_name"])]
    pub no_pin: bool,
    /// The pins' name
    #[arg(long, value_name = "NAME")]
    pub pin_name: Option<String>,
    /// Keep the files' and folders' modes
    #[arg(long)]
    pub preserve_mode: bool,
    /// Keep when they were modified last
    #[arg(long)]
    pub preserve_mtime: bool,
    /// Say that everything has this mode, such as 0644
    #[arg(long, value_name = "MODE", value_parser = octal)]
    pub mode: Option<u32>,
    /// Say that everything was modified so many seconds after 1970
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub mtime: Option<i64>,
    /// Nanoseconds of --mtime
    #[arg(long, value_name = "NANOSECONDS", requires = "mtime", value_parser = clap::value_parser!(u32).range(0..1_000_000_000))]
    pub mtime_nsecs: Option<u32>,
    /// Not supported: this node keeps every block in its own store
    #[arg(long, hide = true)]
    pub nocopy: bool,
    /// Not supported: this node keeps every block in its own store
    #[arg(long, hide = true)]
    pub fscache: bool,
}

/// What decides the CIDs.
#[derive(Args, Debug)]
#[command(next_help_heading = "What decides the CIDs")]
pub struct Cids {
    /// unixfs-v0-2015 (Kubo's default) or unixfs-v1-2025; the options below change parts of it
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The CIDs' version
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1), value_name = "0|1")]
    pub cid_version: Option<u8>,
    /// The hash function, such as sha2-256, blake2b-256, blake3; all but sha2-256 need CID version 1
    #[arg(long, value_name = "NAME")]
    pub hash: Option<String>,
    /// Leaves without UnixFS around them [default: as the CID version has it]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub raw_leaves: Option<bool>,
    /// Where files are cut: size-BYTES, rabin-MIN-AVG-MAX or buzhash
    #[arg(short = 's', long, value_name = "CHUNKER")]
    pub chunker: Option<String>,
    /// The trickle layout, for reading from the front
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub trickle: Option<bool>,
    /// Most children of a file's node
    #[arg(long, value_name = "N")]
    pub max_file_links: Option<usize>,
    /// Most entries of a folder that is not sharded; 0 = as many as fit
    #[arg(long, value_name = "N")]
    pub max_directory_links: Option<usize>,
    /// Slots of a sharded folder's nodes: a power of two, 8 to 1024
    #[arg(long, value_name = "N")]
    pub max_hamt_fanout: Option<usize>,
    /// Keep small blocks in their CIDs
    #[arg(long)]
    pub inline: bool,
    /// Bytes of the largest block kept so, at most 128 [default: 32]
    #[arg(long, value_name = "BYTES")]
    pub inline_limit: Option<usize>,
}

fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| "write it as 0644".into())
}

pub async fn run(args: AddArgs, context: &Context) -> Result<(), Failure> {
    if args.kept.nocopy || args.kept.fscache {
        let why = "this node keeps every block in its own store and has no filestore; leave it out";
        return Err(Failure::new(format!("--nocopy and --fscache are not supported: {why}")));
    }
    let options = options(&args, context)?;
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client().clone().with_timeout(context.timeout_or(None));
    // One form for all of them when there is one folder around them, else one each.
    let groups: Vec<&[PathBuf]> = if options.wrap { vec![&args.paths] } else { args.paths.chunks(1).collect() };
    // Standard input has one end only.
    let lanes = if args.paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 { 1 } else { LANES };
    let flag = match args.said.silent && args.said.progress.progress.is_none() {
        true => ProgressArg { progress: Some(When::No) },
        false => args.said.progress,
    };
    let progress = Progress::new(context, flag, "added", groups.len());
    let (mut roots, mut errors) = (Vec::new(), Errors::new(groups.len()));
    let (shown, sent, how) = (&progress, &client, &options);
    let mut coming = stream::iter(groups.into_iter().enumerate())
        .map(|(number, paths)| async move { (paths, sent.add_all(paths, how, shown.of(number)).await) })
        .buffered(lanes);
    let adding = async {
        while let Some((paths, added)) = coming.next().await {
            shown.ended(added.is_ok());
            match added {
                Ok(added) => roots.extend(added),
                Err(error) => errors.add(&paths[0].display().to_string(), error),
            }
        }
    };
    progress.while_counting(adding, client.add_total(&args.paths, &options)).await;
    drop(coming);
    drop(progress);
    node.close().await;
    if !errors.all() {
        show(&args, &options, &roots, context)?;
    }
    errors.end()
}

fn show(args: &AddArgs, options: &AddOptions, roots: &[Added], context: &Context) -> Result<(), Failure> {
    if args.said.silent {
        return Ok(());
    }
    let objects: Vec<_> =
        roots.iter().map(|r| json!({"cid": r.cid, "name": r.name, "size": r.size, "files": r.files})).collect();
    let mut whole = objects.last().cloned().unwrap_or_default();
    whole["pinned"] = json!(options.pin && !options.only_hash);
    whole["roots"] = json!(objects);
    context.show(&whole, || {
        let line = |r: &Added| match (args.said.quiet || args.said.quieter, r.name.is_empty()) {
            (true, _) => r.cid.clone(),
            (false, true) => format!("added {} ({})", r.cid, bytes(r.size)),
            (false, false) => format!("added {} {} ({})", r.cid, r.name, bytes(r.size)),
        };
        let from = if args.said.quieter { roots.len().saturating_sub(1) } else { 0 };
        roots[from..].iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn options(args: &AddArgs, context: &Context) -> Result<AddOptions, Failure> {
    let mut lines = Vec::new();
    if let Some(path) = &args.ignore_rules_path {
        let text = std::fs::read(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        lines.extend(String::from_utf8_lossy(&text).split('\n').map(str::to_owned));
    }
    lines.extend(args.ignore.iter().cloned());
    let (rules, dead) = Rules::parse(lines.iter().map(String::as_str));
    for line in dead {
        context.note(&format!(
            "note: the rule '{line}' matches nothing: rules see the names of files and folders, not their paths"
        ));
    }
    let walk =
        WalkOptions { recursive: args.recursive, hidden: args.hidden, rules, dereference: args.dereference_symlinks };
    let (kept, cids) = (&args.kept, &args.cids);
    Ok(AddOptions {
        walk,
        dereference_args: args.dereference_args,
        stdin_name: args.stdin_name.clone(),
        empty_dirs: args.empty_dirs.unwrap_or(true),
        pin: kept.pin.unwrap_or(!kept.no_pin),
        pin_name: kept.pin_name.clone(),
        only_hash: kept.only_hash,
        wrap: kept.wrap_with_directory,
        profile: cids.profile.clone(),
        cid_version: cids.cid_version,
        hash: cids.hash.clone(),
        raw_leaves: cids.raw_leaves,
        chunker: cids.chunker.clone(),
        trickle: cids.trickle,
        max_file_links: cids.max_file_links,
        max_directory_links: cids.max_directory_links,
        max_hamt_fanout: cids.max_hamt_fanout,
        inline: cids.inline,
        inline_limit: cids.inline_limit,
        preserve_mode: kept.preserve_mode,
        preserve_mtime: kept.preserve_mtime,
        mode: kept.mode,
        mtime: kept.mtime.map(|seconds| (seconds, kept.mtime_nsecs.unwrap_or(0))),
    })
}
