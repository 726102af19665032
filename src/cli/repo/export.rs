//! `repo export`: the whole repo as a folder of documented files.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    base::PeerId,
    cli::{
        output::{self, Context, Failure},
        progress::{Progress, ProgressArg},
        reach::{self, Need},
    },
    http::ClientError,
};

/// Writes the whole repo into a new folder: one archive (CARv1) of every block, the pins, the files tree's root.
#[derive(Args, Debug)]
#[command(
    after_help = "The folder appears when all of it is written and durable; the repo may be served and changed meanwhile.
Keys are left out unless --with-keys asks for them; then whoever reads the folder can be this node.
The exit code is 1 when damaged blocks had to be left out.
JSON: {path, peer_id, blocks, bytes, pins, files_root, keys, damaged, left_out}; keys are names

Examples:
  ipfs-kit repo export backup
  ipfs-kit repo export --with-keys whole"
)]
pub struct ExportArgs {
    /// A folder that is not there yet
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Write this node's key and the named keys too
    #[arg(long)]
    pub with_keys: bool,
    #[command(flatten)]
    pub progress: ProgressArg,
}

pub async fn run(args: ExportArgs, context: &Context) -> Result<(), Failure> {
    let node = reach::node(context, Need::Repo).await?;
    let repo = context.repo()?;
    if args.with_keys && !node.client().serves(&repo).await {
        return Err(Failure::new(super::KEYS_STAY));
    }
    let id = node.client().id().await?.id;
    let peer: PeerId = id.parse().map_err(|_| ClientError::Malformed { reason: format!("its id is {id:?}") })?;
    let progress = Progress::new(context, args.progress, "exported", 1);
    let client = node.client().clone().with_timeout(context.timeout_or(None));
    let written = client.repo_export(&args.dir, |bytes| progress.bytes(bytes));
    let (mut writer, done) = written.await?;
    drop(progress);
    let keys = if args.with_keys { writer.keys(&repo).map_err(ClientError::from)? } else { Vec::new() };
    writer.finish(&peer, &done).map_err(ClientError::from)?;
    node.close().await;
    let path = args.dir.display().to_string();
    let object = json!({
        "path": path, "peer_id": peer.to_string(), "blocks": done.blocks, "bytes": done.bytes, "pins": done.pins,
        "files_root": done.files_root, "keys": keys, "damaged": done.damaged, "left_out": done.left_out,
    });
    context.show(&object, || {
        let keys = match (args.with_keys, keys.len()) {
            (false, _) => "without keys".to_owned(),
            (true, 0) => "and this node's key".to_owned(),
            (true, n) => format!("this node's key and {n} more"),
        };
        let bytes = output::bytes(done.bytes);
        format!("exported {} blocks ({bytes}) and {} pins, {keys}, to {path}", done.blocks, done.pins)
    })?;
    match done.damaged {
        0 => Ok(()),
        n => Err(Failure::new(format!(
            "{n} damaged blocks were left out ({}); all else is in the export; 'ipfs-kit pin verify' says what they belong to",
            done.left_out.join(", ")
        ))),
    }
}
