//! `version`: of this program.

use clap::Args;
use serde_json::json;

use super::output::{Context, Failure};

/// Shows the version of this program.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {version, agent_version, system}

Examples:
  ipfs-kit version")]
pub struct VersionArgs {}

pub async fn run(VersionArgs {}: VersionArgs, context: &Context) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let system = format!("{}/{}", std::env::consts::ARCH, std::env::consts::OS);
    let json = json!({"version": version, "agent_version": crate::config::agent_version(), "system": system});
    context.show(&json, || format!("ipfs-kit {version} ({system})"))
}
