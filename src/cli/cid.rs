//! `cid`: CIDs as text; no node is asked.

use std::io::Read;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Context, Failure};
use crate::{
    dag::{
        cids::{BASES, FORMAT_HELP, Rewrite},
        codec::names,
    },
    http::rpc::cid::{formatted, inspected},
};

/// Most bytes of CIDs read from standard input.
const INPUT_BYTES: u64 = 64 * 1024 * 1024;

/// Rewrite CIDs and take them apart.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit cid inspect CID
  ipfs-kit cid base32 CID")]
pub struct CidArgs {
    #[command(subcommand)]
    pub verb: CidVerb,
}

/// What to do with CIDs.
#[derive(Subcommand, Debug)]
pub enum CidVerb {
    /// Rewrite CIDs: version, codec, multibase, or by a format string
    Format(FormatArgs),
    /// Rewrite CIDs as version 1 in base32
    Base32(Base32Args),
    /// Take a CID apart
    Inspect(InspectArgs),
    /// List the multibases
    Bases(BasesArgs),
    /// List the codecs
    Codecs(CodecsArgs),
    /// List the hash functions
    Hashes(HashesArgs),
}

/// Rewrites CIDs.
#[derive(Args, Debug)]
#[command(after_help = format!("A format string may hold: {FORMAT_HELP}\nJSON: {{cids: [{{given, formatted, error}}]}}

Examples:
  ipfs-kit cid format --cid-version 1 -b base36 CID
  ipfs-kit cid format -f '%h %d' CID
  ipfs-kit refs CID | ipfs-kit cid format -f %P"))]
pub struct FormatArgs {
    /// CIDs [default: those on standard input, one a line]
    #[arg(value_name = "CID")]
    pub cids: Vec<String>,
    /// How they are written
    #[arg(short = 'f', value_name = "TEXT", default_value = "%s")]
    pub template: String,
    /// The version they become
    #[arg(long = "cid-version", value_name = "0|1", default_value = "")]
    pub version: String,
    /// The codec they become
    #[arg(long = "mc", value_name = "CODEC", default_value = "")]
    pub codec: String,
    /// The multibase they are written in
    #[arg(short = 'b', value_name = "BASE", default_value = "")]
    pub base: String,
}

/// Rewrites CIDs as version 1 in base32.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cids: [{given, formatted, error}]}

Examples:
  ipfs-kit cid base32 CID")]
pub struct Base32Args {
    /// CIDs [default: those on standard input, one a line]
    #[arg(value_name = "CID")]
    pub cids: Vec<String>,
}

/// Takes a CID apart.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, version, multibase, multicodec, multihash, cid_v0, cid_v1}

Examples:
  ipfs-kit cid inspect CID")]
pub struct InspectArgs {
    /// The CID
    pub cid: String,
}

/// Lists the multibases.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {bases: [{code, name, prefix}]}

Examples:
  ipfs-kit cid bases --prefix")]
pub struct BasesArgs {
    /// With the letters that CIDs begin with
    #[arg(long)]
    pub prefix: bool,
    /// With their numbers
    #[arg(long)]
    pub numeric: bool,
}

/// Lists the codecs that CIDs may name.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {codecs: [{code, name}]}

Examples:
  ipfs-kit cid codecs --supported")]
pub struct CodecsArgs {
    /// With their numbers
    #[arg(short, long)]
    pub numeric: bool,
    /// Only those that are read and written here
    #[arg(short, long)]
    pub supported: bool,
}

/// Lists the hash functions.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {hashes: [{code, name}]}

Examples:
  ipfs-kit cid hashes --numeric")]
pub struct HashesArgs {
    /// With their numbers
    #[arg(short, long)]
    pub numeric: bool,
}

pub fn run(args: CidArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        CidVerb::Format(args) => {
            let rewrite = Rewrite::parse(&args.version, &args.codec, &args.base)?;
            if !args.template.contains('%') {
                return Err(Failure::new(format!("the format string '{}' has no % in it; see --help", args.template)));
            }
            rewritten(args.cids, &rewrite, &args.template, context)
        }
        CidVerb::Base32(args) => rewritten(args.cids, &Rewrite::parse("1", "", "base32")?, "%s", context),
        CidVerb::Inspect(args) => inspect(&args.cid, context),
        CidVerb::Bases(args) => bases(&args, context),
        CidVerb::Codecs(args) => {
            let wanted = names::CODECS.iter().filter(|(code, _)| !args.supported || names::is_known((*code).into()));
            list("codecs", wanted.map(|(code, name)| (*code, (*name).to_owned())).collect(), args.numeric, context)
        }
        CidVerb::Hashes(args) => list("hashes", names::hashes(), args.numeric, context),
    }
}

fn rewritten(mut cids: Vec<String>, rewrite: &Rewrite, template: &str, context: &Context) -> Result<(), Failure> {
    if cids.is_empty() {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(INPUT_BYTES).read_to_string(&mut text);
        read.map_err(|e| Failure::new(format!("standard input: {e}")))?;
        cids = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    }
    let all: Vec<_> = cids.iter().map(|text| formatted(text, rewrite, template)).collect();
    let objects: Vec<_> = all
        .iter()
        .map(|one| {
            let error = Some(&one.error_msg).filter(|text| !text.is_empty());
            let formatted = Some(&one.formatted).filter(|_| error.is_none());
            json!({"given": one.cid_str, "formatted": formatted, "error": error})
        })
        .collect();
    context.show(&json!({ "cids": objects }), || {
        let good = all.iter().filter(|one| one.error_msg.is_empty());
        good.map(|one| one.formatted.as_str()).collect::<Vec<_>>().join("\n")
    })?;
    let bad: Vec<_> = all.iter().filter(|one| !one.error_msg.is_empty()).collect();
    bad.iter().for_each(|one| context.note(&format!("{}: {}", one.cid_str, one.error_msg)));
    if bad.is_empty() { Ok(()) } else { Err(Failure::Silent) }
}

fn inspect(text: &str, context: &Context) -> Result<(), Failure> {
    let found = inspected(text);
    if !found.error_msg.is_empty() {
        return Err(Failure::new(found.error_msg));
    }
    let v0 = Some(&found.cid_v0).filter(|text| !text.is_empty());
    let object = json!({
        "cid": found.cid, "version": found.version, "multibase": found.multibase, "multicodec": found.multicodec,
        "multihash": found.multihash, "cid_v0": v0, "cid_v1": found.cid_v1,
    });
    context.show(&object, || {
        let implied = found.version == 0;
        let (codec, hash) = (&found.multicodec, &found.multihash);
        let base = if implied { "implicit" } else { &found.multibase.prefix };
        let mark = if implied { ", implicit" } else { "" };
        let v0 = match v0 {
            Some(text) => text.clone(),
            None if codec.name != "dag-pb" => {
                format!("not possible, requires dag-pb (0x70), got {} (0x{:x})", codec.name, codec.code)
            }
            None if hash.name != "sha2-256" => {
                format!("not possible, requires sha2-256 (0x12), got {} (0x{:x})", hash.name, hash.code)
            }
            None => format!("not possible, requires 32-byte digest, got {}", hash.length),
        };
        format!(
            "CID:        {}\nVersion:    {}\nMultibase:  {} ({base})\nMulticodec: {} (0x{:x}{mark})\n\
             Multihash:  {} (0x{:x}{mark})\n  Length:   {} bytes\n  Digest:   {}\nCIDv0:      {v0}\nCIDv1:      {}",
            found.cid,
            found.version,
            found.multibase.name,
            codec.name,
            codec.code,
            hash.name,
            hash.code,
            hash.length,
            hash.digest,
            found.cid_v1
        )
    })
}

fn bases(args: &BasesArgs, context: &Context) -> Result<(), Failure> {
    let all: Vec<(char, &str)> = BASES.iter().map(|(name, base)| (base.code(), *name)).collect();
    let objects: Vec<_> =
        all.iter().map(|(code, name)| json!({"code": *code as u32, "name": name, "prefix": code})).collect();
    context.show(&json!({ "bases": objects }), || {
        let line = |(code, name): &(char, &str)| {
            let (shown, number) = (if code.is_control() { ' ' } else { *code }, *code as u32);
            match (args.prefix, args.numeric) {
                (true, true) => format!("{shown} {number:7}  {name}"),
                (true, false) => format!("{shown}  {name}"),
                (false, true) => format!("{number:7}  {name}"),
                (false, false) => (*name).to_owned(),
            }
        };
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn list(what: &str, all: Vec<(u64, String)>, numeric: bool, context: &Context) -> Result<(), Failure> {
    let objects: Vec<_> = all.iter().map(|(code, name)| json!({"code": code, "name": name})).collect();
    context.show(&json!({ what: objects }), || {
        let line = |(code, name): &(u64, String)| if numeric { format!("{code:5}  {name}") } else { name.clone() };
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
