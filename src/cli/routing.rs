//! `routing`: what the DHT knows.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};

/// Asks the DHT.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit routing findprovs CID")]
pub struct RoutingArgs {
    #[command(subcommand)]
    pub verb: RoutingVerb,
}

/// What to ask the DHT.
#[derive(Subcommand, Debug)]
pub enum RoutingVerb {
    /// Find who provides a CID, and who says so
    #[command(after_help = "JSON: {cid, providers: [{id, addresses, from}]}; from is the peer that gave the record

Examples:
  ipfs-kit routing findprovs CID
  ipfs-kit routing findprovs CID -n 1")]
    Findprovs {
        /// What is looked for
        #[arg(value_name = "CID")]
        cid: String,
        /// End after so many providers
        #[arg(short, long, default_value_t = 20, value_name = "N")]
        num_providers: usize,
    },
}

pub async fn run(args: RoutingArgs, context: &Context) -> Result<(), Failure> {
    let RoutingVerb::Findprovs { cid, num_providers } = args.verb;
    let node = reach::node(context, Need::Daemon).await?;
    let events = node.client().find_providers(&cid, num_providers).await?;
    let providers: Vec<_> = events
        .iter()
        .flat_map(|e| e.responses.iter().map(|r| json!({"id": r.id, "addresses": r.addrs, "from": e.id})))
        .collect();
    if providers.is_empty() {
        return Err(Failure::new(format!("no peer that was asked knows a provider of {cid}")));
    }
    context.show(&json!({"cid": cid, "providers": providers}), || {
        let line = |e: &crate::http::model::RoutingEvent| {
            let who = e.responses.iter().map(|r| format!("{} at {}", r.id, r.addrs.join(" "))).collect::<Vec<_>>();
            format!("{} (says {})", who.join(", "), e.id)
        };
        events.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
