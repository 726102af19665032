//! `repo`: what this node keeps, as a whole.

mod export;
mod gc;
mod import;
mod migrate;
mod stat;
mod verify;
mod version;

use clap::{Args, Subcommand};

use super::output::{Context, Failure};

/// Measures what this node keeps, and keeps it in order.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipfs-kit repo stat --human
  ipfs-kit repo gc
  ipfs-kit repo verify
  ipfs-kit repo version
  ipfs-kit repo export backup
  ipfs-kit repo import --from-kubo ~/.ipfs --without-files")]
pub struct RepoArgs {
    #[command(subcommand)]
    verb: RepoVerb,
}

#[derive(Subcommand, Debug)]
enum RepoVerb {
    /// Show how much is kept, and how much may be
    Stat(stat::StatArgs),
    /// Remove every block that nothing keeps
    Gc(gc::GcArgs),
    /// Bring it to the newest layout
    Migrate(migrate::MigrateArgs),
    /// Check that everything is what was written
    Verify(verify::VerifyArgs),
    /// Show the version of the repo's layout
    Version(version::VersionArgs),
    /// Write the whole repo into a new folder
    Export(export::ExportArgs),
    /// Bring another repo's blocks, pins and files tree into this one
    Import(import::ImportArgs),
}

/// Why keys are not moved through an API.
const KEYS_STAY: &str =
    "keys do not pass through the API: ask on the machine of the repo, and name its folder with --repo";

pub async fn run(args: RepoArgs, context: &Context) -> Result<(), Failure> {
    match args.verb {
        RepoVerb::Stat(args) => stat::run(args, context).await,
        RepoVerb::Gc(args) => gc::run(args, context).await,
        RepoVerb::Migrate(args) => migrate::run(args, context).await,
        RepoVerb::Verify(args) => verify::run(args, context).await,
        RepoVerb::Version(args) => version::run(args, context).await,
        RepoVerb::Export(args) => export::run(args, context).await,
        RepoVerb::Import(args) => import::run(args, context).await,
    }
}
