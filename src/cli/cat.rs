//! `cat`: a file's bytes.

use clap::Args;

use super::{
    output::{self, Context, Failure},
    reach::{self, Need},
};
use crate::dag::DagPath;

/// Writes a file's bytes to standard output, whatever --format says; fetches what is not here.
#[derive(Args, Debug)]
#[command(after_help = "--timeout is how long to wait for the next piece of the file; 60 s when nothing is said.

Examples:
  ipfs-kit cat CID > notes.txt
  ipfs-kit cat CID/letters/first.txt              a file in a folder
  ipfs-kit cat CID --offset 1000 --length 100     a part of it
  ipfs-kit cat CID --timeout 5s                   give up when nothing comes for five seconds")]
pub struct CatArgs {
    /// A CID, or a path below one
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// Bytes to leave out at the beginning
    #[arg(long, default_value_t = 0)]
    pub offset: u64,
    /// Bytes to write at most
    #[arg(long)]
    pub length: Option<u64>,
}

pub async fn run(args: CatArgs, context: &Context) -> Result<(), Failure> {
    DagPath::parse(&args.path)?;
    let node = reach::node(context, Need::Repo).await?;
    let reply = node.client().cat(&args.path, args.offset, args.length).await?;
    output::copy(reply).await?;
    node.close().await;
    Ok(())
}
