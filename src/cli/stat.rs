//! `stat`: what a block is.

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::json;

use super::{
    output::{Context, Failure},
    pin::paths_or_stdin,
    reach::{self, Need},
    several::{Errors, LANES},
};
use crate::http::model::NodeStatReply;

/// Shows what CIDs are: the block's size, the size of all below it, its links and its kind. One block each is read.
#[derive(Args, Debug)]
#[command(after_help = "JSON: {cid, type, codec, block_size, cumulative_size, links, size, stats: [the same of each]}
  type: file, directory, symlink, or unknown when it is no UnixFS; codec: its name in the multicodec table
  block_size: bytes of this block; links: how many this block has
  cumulative_size: bytes of all blocks below and this one, repeated ones repeated, as their author says; null when the
    codec does not say it ('dag stat' reads them all and counts)
  size: bytes of a file's content; null for others
  outside stats they are those of the last one

Examples:
  ipfs-kit stat CID
  ipfs-kit stat CID CID2/notes.txt
  ipfs-kit list-pins --quiet | ipfs-kit stat      what standard input names, one a line")]
pub struct StatArgs {
    /// CIDs, or paths below them [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
}

pub async fn run(args: StatArgs, context: &Context) -> Result<(), Failure> {
    let paths = paths_or_stdin(args.paths)?;
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client();
    let (mut stats, mut errors) = (Vec::new(), Errors::new(paths.len()));
    let mut coming = stream::iter(&paths).map(|path| async move { (path, client.stat(path).await) }).buffered(LANES);
    while let Some((path, stat)) = coming.next().await {
        match stat {
            Ok(stat) => stats.push(stat),
            Err(error) => errors.add(path, error),
        }
    }
    drop(coming);
    node.close().await;
    if !errors.all() {
        let mut whole = json!(stats.last());
        whole["stats"] = json!(stats);
        context.show(&whole, || stats.iter().map(text).collect::<Vec<_>>().join("\n\n"))?;
    }
    errors.end()
}

fn text(stat: &NodeStatReply) -> String {
    let mut out = format!("{}\nType: {} ({})\n", stat.cid, stat.kind, stat.codec);
    if let Some(size) = stat.size {
        out.push_str(&format!("Size: {size}\n"));
    }
    let whole = stat.cumulative_size.map_or_else(|| "not said".into(), |size| size.to_string());
    out.push_str(&format!("BlockSize: {}\nCumulativeSize: {whole}\nLinks: {}", stat.block_size, stat.links));
    out
}
