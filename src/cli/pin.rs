//! `pin`: keeps content, and shows and checks what is kept.

use std::io::{BufRead, IsTerminal};

use clap::{ArgAction, Args, Subcommand};
use serde_json::json;

use super::{
    list_pins,
    output::{Context, Failure, Listing},
    progress::{Progress, ProgressArg, expected},
    reach::{self, Need},
    several::Parallel,
    unpin,
};
use crate::{dag::DagPath, http::model::PinVerifyLine};

/// Keeps content, and shows and checks what is kept. 'pin CID' is 'pin add CID'.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "JSON: {cid, type, pins: [{cid, type}]}; cid and type are those of the last one

Examples:
  ipfs-kit pin CID
  ipfs-kit pin add CID --name holidays
  ipfs-kit pin ls --type recursive --names
  ipfs-kit pin rm CID")]
pub struct PinArgs {
    #[command(subcommand)]
    pub verb: Option<PinVerb>,
    #[command(flatten)]
    pub add: AddPinArgs,
}

/// What to do with pins.
#[derive(Subcommand, Debug)]
pub enum PinVerb {
    /// Keep CIDs and all below them; fetches what is missing
    #[command(after_help = "An interrupted 'pin add' goes on where it was when it is asked for again.
JSON: {cid, type, pins: [{cid, type}]}; cid and type are those of the last one

Examples:
  ipfs-kit pin add CID
  ipfs-kit pin add CID CID/notes.txt
  ipfs-kit pin add CID --name holidays
  ipfs-kit pin add CID --recursive=false      the block alone, nothing below it
  ipfs-kit pin ls --quiet | ipfs-kit pin add      what standard input names, one a line")]
    Add(AddPinArgs),
    /// Take pins back
    #[command(after_help = "All of them, or none when one of them is not pinned.
JSON: {cid, pins: [cid]}; cid is the last one

Examples:
  ipfs-kit pin rm CID
  ipfs-kit pin rm CID CID2")]
    Rm(unpin::RmArgs),
    /// List what is pinned, and how
    #[command(
        after_help = "JSON: {pins: [{cid, type, name}]}; type is recursive, direct, indirect, or for a CID that \
was asked for 'indirect through CID'; name is null without one

Examples:
  ipfs-kit pin ls
  ipfs-kit pin ls --type recursive --names
  ipfs-kit pin ls --name holi      those whose name contains it
  ipfs-kit pin ls CID              how this one is pinned"
    )]
    Ls(list_pins::LsArgs),
    /// Give a recursive pin to another root; fetches only what differs
    #[command(after_help = "The name goes along.
JSON: {from, to, unpinned}

Examples:
  ipfs-kit pin update CID CID2
  ipfs-kit pin update CID CID2 --unpin=false      keep the old one too")]
    Update {
        /// What is pinned recursively
        #[arg(value_name = "FROM")]
        from: String,
        /// What is to be pinned instead
        #[arg(value_name = "TO")]
        to: String,
        /// Take the old pin back
        #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
        #[arg(action = ArgAction::Set, value_name = "BOOL")]
        unpin: bool,
    },
    /// Check that everything below recursive pins is here and undamaged
    #[command(after_help = "The exit code is 1 when a pin is broken.
JSON: {pins: [{cid, ok, bad: [{cid, error}]}]}

Examples:
  ipfs-kit pin verify
  ipfs-kit pin verify --verbose      whole pins too
  ipfs-kit pin verify --quiet        the CIDs of broken pins alone")]
    Verify {},
    /// Pinning services elsewhere: not supported
    #[command(hide = true)]
    Remote {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<String>,
    },
}

/// What to pin.
#[derive(Args, Debug)]
pub struct AddPinArgs {
    /// CIDs, or paths below them [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
    /// All below them too
    #[arg(short, long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set, value_name = "BOOL")]
    pub recursive: bool,
    /// The block alone, nothing below it: the same as --recursive=false
    #[arg(long)]
    pub direct: bool,
    /// A name for people
    #[arg(short, long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub progress: ProgressArg,
    #[command(flatten)]
    pub parallel: Parallel,
}

pub async fn run(args: PinArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        None if args.add.paths.is_empty() => {
            Err(Failure::new("say what to pin: 'ipfs-kit pin CID'; 'ipfs-kit pin --help' shows what else pin can do"))
        }
        None => add(args.add, context).await,
        Some(PinVerb::Add(args)) => add(args, context).await,
        Some(PinVerb::Rm(args)) => unpin::remove(args, context).await,
        Some(PinVerb::Ls(args)) => list_pins::list(args, context).await,
        Some(PinVerb::Update { from, to, unpin }) => update(&from, &to, unpin, context).await,
        Some(PinVerb::Verify {}) => verify(context).await,
        Some(PinVerb::Remote { .. }) => Err(Failure::new(
            "pinning services elsewhere are not supported; pin on another node by 'ipfs-kit --api-url ADDR pin add CID'",
        )),
    }
}

async fn add(args: AddPinArgs, context: &Context) -> Result<(), Failure> {
    let paths = paths_or_stdin(args.paths)?;
    let recursive = args.recursive && !args.direct;
    let node = reach::node(context, Need::Repo).await?;
    let progress = Progress::new(context, args.progress, "fetched", paths.len());
    let client = node.client();
    let pinning = client.pin(&paths, recursive, args.name.as_deref(), |blocks, bytes| progress.blocks(blocks, bytes));
    let counting = async { if recursive { expected(client, &paths).await } else { None } };
    let pins = progress.while_counting(pinning, counting).await;
    // All of them, or none.
    paths.iter().for_each(|_| progress.ended(pins.is_ok()));
    drop(progress);
    let pins = pins?;
    node.close().await;
    let (kind, how) = if recursive { ("recursive", "recursively") } else { ("direct", "directly") };
    let all: Vec<_> = pins.iter().map(|cid| json!({"cid": cid, "type": kind})).collect();
    context.show(&json!({"cid": pins.last(), "type": kind, "pins": all}), || {
        pins.iter().map(|cid| format!("pinned {cid} {how}")).collect::<Vec<_>>().join("\n")
    })
}

/// The paths given, else the lines of standard input; each must be one.
pub fn paths_or_stdin(mut paths: Vec<String>) -> Result<Vec<String>, Failure> {
    if paths.is_empty() && !std::io::stdin().is_terminal() {
        let lines = std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>();
        let lines = lines.map_err(|e| Failure::new(format!("standard input: {e}")))?;
        paths = lines.iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    }
    if paths.is_empty() {
        return Err(Failure::new("name at least one CID, or send CIDs on standard input, one a line"));
    }
    paths.iter().try_for_each(|path| DagPath::parse(path).map(drop))?;
    Ok(paths)
}

async fn update(from: &str, to: &str, unpin: bool, context: &Context) -> Result<(), Failure> {
    DagPath::parse(from)?;
    DagPath::parse(to)?;
    let node = reach::node(context, Need::Repo).await?;
    let pins = node.client().pin_update(from, to, unpin).await?;
    node.close().await;
    let (from, to) = (pins.first().map_or(from, String::as_str), pins.last().map_or(to, String::as_str));
    context.show(&json!({"from": from, "to": to, "unpinned": unpin}), || format!("updated {from} to {to}"))
}

async fn verify(context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let mut lines = node.client().pin_verify(context.common.verbose).await?;
    let mut listing = Listing::new(context, "pins");
    let mut broken = 0;
    while let Some(line) = lines.next::<PinVerifyLine>().await? {
        broken += u64::from(!line.ok);
        let bad: Vec<_> = line.bad_nodes.iter().map(|b| json!({"cid": b.cid, "error": b.err})).collect();
        listing.item(&json!({"cid": line.cid, "ok": line.ok, "bad": bad}), || match line.ok {
            _ if context.common.quiet => line.cid.clone(),
            true => format!("{} ok", line.cid),
            false => {
                let bad = line.bad_nodes.iter().map(|b| format!("\n  {}: {}", b.cid, b.err));
                format!("{} broken{}", line.cid, bad.collect::<String>())
            }
        })?;
    }
    listing.end()?;
    node.close().await;
    match broken {
        0 => Ok(()),
        n => Err(Failure::new(format!("{n} of the recursive pins are broken; 'pin add' fetches what is missing"))),
    }
}
