//! `cat`: the bytes of files.

use std::io::IsTerminal;

use clap::Args;

use super::{
    output::{self, Context, Failure},
    pin::paths_or_stdin,
    progress::{Progress, ProgressArg, When},
    reach::{self, Need},
};

/// Writes the bytes of files to standard output, whatever --format says; fetches what is not here.
#[derive(Args, Debug)]
#[command(
    after_help = "Several files are written one behind the other; --offset and --length count in all of them together. \
Nothing is
written when one of them is no file.
--timeout is how long to wait for the next piece; 60 s when nothing is said.

Examples:
  ipfs-kit cat CID > notes.txt
  ipfs-kit cat CID2/notes.txt                     a file in a folder
  ipfs-kit cat CID CID2/notes.txt                 two files, one behind the other
  ipfs-kit cat CID --offset 1000 --length 100     a part of it
  ipfs-kit cat CID --timeout 5s                   give up when nothing comes for five seconds"
)]
pub struct CatArgs {
    /// CIDs, or paths below them [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
    /// Bytes to leave out at the beginning
    #[arg(short, long, default_value_t = 0)]
    pub offset: u64,
    /// Bytes to write at most
    #[arg(short, long)]
    pub length: Option<u64>,
    #[command(flatten)]
    pub progress: ProgressArg,
}

/// Most files in one go: their paths stand in the address of one request.
const MOST: usize = 256;

pub async fn run(args: CatArgs, context: &Context) -> Result<(), Failure> {
    let paths = paths_or_stdin(args.paths)?;
    if paths.len() > MOST {
        let count = paths.len();
        return Err(Failure::new(format!(
            "{count} files at once are too many for cat; {MOST} are not: try 'xargs -n {MOST}'"
        )));
    }
    let node = reach::node(context, Need::Repo).await?;
    let mut reply = node.client().cat_all(&paths, args.offset, args.length).await?;
    // On a terminal the bytes themselves are what is watched.
    let flag = match args.progress.progress.is_none() && std::io::stdout().is_terminal() {
        true => ProgressArg { progress: Some(When::No) },
        false => args.progress,
    };
    let progress = Progress::new(context, flag, "written", 1);
    if let Some(total) = reply.length() {
        progress.expect(total);
    }
    output::copy(&mut reply, |done| progress.bytes(done)).await?;
    progress.ended(true);
    drop(progress);
    node.close().await;
    Ok(())
}
