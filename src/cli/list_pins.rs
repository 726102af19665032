//! `list-pins` and `pin ls`: what is kept.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    output::{Context, Failure, Listing},
    reach::{self, Need},
};
use crate::{
    dag::DagPath,
    http::{client::PinQuery, model::PinLine},
};

/// Lists what is pinned.
#[derive(Args, Debug)]
#[command(
    after_help = "JSON: {pins: [{cid, type, name}]}; type is recursive, direct or indirect, name is null without one

Examples:
  ipfs-kit list-pins
  ipfs-kit list-pins --type all      what lies below recursive pins too"
)]
pub struct ListPinsArgs {
    /// Which pins
    #[arg(long = "type", value_enum, default_value_t = Which::Roots)]
    pub which: Which,
}

/// What to list.
#[derive(Args, Debug)]
pub struct LsArgs {
    /// Only how these are pinned; the exit code is 1 when one is not
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
    /// Which pins
    #[arg(short = 't', long = "type", value_enum, default_value_t = Which::All)]
    pub which: Which,
    /// Names too
    #[arg(long)]
    pub names: bool,
    /// Only pins whose name contains this
    #[arg(short, long)]
    pub name: Option<String>,
    /// As they are found, which is always so
    #[arg(short, long)]
    pub stream: bool,
}

/// Which pins.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub enum Which {
    /// What was pinned itself
    Roots,
    /// What was pinned with all below it
    Recursive,
    /// What was pinned alone
    Direct,
    /// What lies below recursive pins
    Indirect,
    /// Everything
    All,
}

pub async fn run(args: ListPinsArgs, context: &Context) -> Result<(), Failure> {
    list(LsArgs { paths: Vec::new(), which: args.which, names: true, name: None, stream: true }, context).await
}

pub async fn list(args: LsArgs, context: &Context) -> Result<(), Failure> {
    args.paths.iter().try_for_each(|path| DagPath::parse(path).map(drop))?;
    let node = reach::node(context, Need::Repo).await?;
    let kinds: &[&str] = match args.which {
        Which::Roots => &["recursive", "direct"],
        Which::Recursive => &["recursive"],
        Which::Direct => &["direct"],
        Which::Indirect => &["indirect"],
        Which::All => &["all"],
    };
    let mut listing = Listing::new(context, "pins");
    for kind in kinds {
        let (paths, name) = (args.paths.clone(), args.name.clone());
        let query = PinQuery { kind: (*kind).into(), paths, names: args.names, name };
        let mut lines = node.client().pins(&query).await?;
        while let Some(pin) = lines.next::<PinLine>().await? {
            let name = (!pin.name.is_empty()).then_some(&pin.name);
            listing.item(&json!({"cid": pin.cid, "type": pin.kind, "name": name}), || match name {
                _ if context.common.quiet => pin.cid.clone(),
                Some(name) => format!("{} {} {name}", pin.cid, pin.kind),
                None => format!("{} {}", pin.cid, pin.kind),
            })?;
        }
    }
    listing.end()?;
    node.close().await;
    Ok(())
}
