//! `refs`: what blocks link to.

use clap::Args;
use serde_json::json;

use super::{
    args::Format,
    output::{self, Context, Failure},
    reach::{self, Need},
};
use crate::{
    dag::DagPath,
    http::{client::RefsOptions, model::dag::RefLine},
};

/// Lists what blocks link to, in the order a depth-first walk meets it; fetches what is not here. 'refs local' lists
/// every block here.
#[derive(Args, Debug)]
#[command(after_help = "A template may hold <src>, <dst> and <linkname> (Kubo's --format; that name is taken here).
JSON: {refs, errors}

Examples:
  ipfs-kit refs CID                      what the block itself links to
  ipfs-kit refs -r -u CID                every block below it, once
  ipfs-kit refs -r --edges CID
  ipfs-kit refs --template '<linkname> <dst>' CID
  ipfs-kit refs local | wc -l")]
pub struct RefsArgs {
    /// CIDs, or paths below them; or the word local
    #[arg(value_name = "CID[/PATH]", required = true)]
    pub paths: Vec<String>,
    /// How each is written
    #[arg(long, value_name = "TEXT", conflicts_with = "edges")]
    pub template: Option<String>,
    /// Write 'from -> to'
    #[arg(short, long)]
    pub edges: bool,
    /// Name each CID once
    #[arg(short, long)]
    pub unique: bool,
    /// What is linked to, too
    #[arg(short, long)]
    pub recursive: bool,
    /// How deep to go, with -r
    #[arg(long, value_name = "LEVELS")]
    pub max_depth: Option<u32>,
}

pub async fn run(args: RefsArgs, context: &Context) -> Result<(), Failure> {
    let local = args.paths == ["local"];
    if !local {
        args.paths.iter().try_for_each(|path| DagPath::parse(path).map(|_| ()))?;
    }
    let node = reach::node(context, Need::Repo).await?;
    let mut lines = if local {
        node.client().refs_local().await?
    } else {
        let RefsArgs { paths, template: format, edges, unique, recursive, max_depth } = args;
        node.client().refs(&paths, &RefsOptions { recursive, unique, edges, format, max_depth }).await?
    };
    let (mut refs, mut errors) = (Vec::new(), Vec::new());
    while let Some(RefLine { reference, err }) = lines.next().await? {
        match context.common.format {
            _ if !err.is_empty() => errors.push(err),
            Format::Text => output::write(format!("{reference}\n").as_bytes())?,
            _ => refs.push(reference),
        }
    }
    output::flush()?;
    node.close().await;
    if context.common.format != Format::Text {
        context.show(&json!({"refs": refs, "errors": errors}), String::new)?;
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(errors.join("; "))),
    }
}
