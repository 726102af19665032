//! `repo`: what this node keeps, as a whole.

mod stat;
mod version;

use clap::{Args, Subcommand};

use super::output::{Context, Failure};

/// Measures what this node keeps, and keeps it in order.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit repo stat --human
  ipfs-kit repo version")]
pub struct RepoArgs {
    #[command(subcommand)]
    verb: RepoVerb,
}

#[derive(Subcommand, Debug)]
enum RepoVerb {
    /// Show how much is kept, and how much may be
    Stat(stat::StatArgs),
    /// Show the version of the repo's layout
    Version(version::VersionArgs),
}

pub async fn run(args: RepoArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        RepoVerb::Stat(args) => stat::run(args, context).await,
        RepoVerb::Version(args) => version::run(args, context).await,
    }
}
