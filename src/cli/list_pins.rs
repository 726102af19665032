//! `list-pins`: what is kept.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};
use crate::http::model::PinLine;

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
    let node = reach::node(context, Need::Repo).await?;
    let kinds: &[&str] = match args.which {
        Which::Roots => &["recursive", "direct"],
        Which::Recursive => &["recursive"],
        Which::Direct => &["direct"],
        Which::Indirect => &["indirect"],
        Which::All => &["all"],
    };
    let mut pins: Vec<PinLine> = Vec::new();
    for kind in kinds {
        let mut lines = node.client().pins(kind).await?;
        while let Some(pin) = lines.next().await? {
            pins.push(pin);
        }
    }
    node.close().await;
    let list: Vec<_> = pins
        .iter()
        .map(|p| json!({"cid": p.cid, "type": p.kind, "name": (!p.name.is_empty()).then_some(&p.name)}))
        .collect();
    context.show(&json!({ "pins": list }), || {
        let line = |p: &PinLine| format!("{} {} {}", p.cid, p.kind, p.name).trim_end().to_owned();
        pins.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
