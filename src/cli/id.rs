//! `id`: who this node is.

use clap::Args;
use serde_json::json;

use super::{
    output::{Context, Failure},
    reach::{self, Need},
};

/// Shows the node's peer id, where it listens and what it speaks. Without a daemon it listens nowhere.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {id, addresses, agent_version, protocols, public_key}

Examples:
  ipfs-kit id
  ipfs-kit id --format json")]
pub struct IdArgs {}

pub async fn run(IdArgs {}: IdArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let id = node.client().id().await?;
    node.close().await;
    let json = json!({
        "id": id.id, "addresses": id.addresses, "agent_version": id.agent_version,
        "protocols": id.protocols, "public_key": id.public_key,
    });
    context.show(&json, || {
        let list = |items: &[String]| items.iter().map(|i| format!("\n  {i}")).collect::<String>();
        format!(
            "peer id    {}\nversion    {}\naddresses{}\nprotocols{}",
            id.id,
            id.agent_version,
            if id.addresses.is_empty() { "  none: no daemon runs".into() } else { list(&id.addresses) },
            if id.protocols.is_empty() { "  none: no daemon runs".into() } else { list(&id.protocols) },
        )
    })
}
