//! `repo import`: another repo's blocks, pins, files tree and keys come into this one.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::KEYS_STAY;
use crate::{
    base::Keypair,
    cli::{
        output::{self, Context, Failure},
        progress::{Progress, ProgressArg},
        reach::{self, Need},
    },
    config,
    content::moving::{ExportFolder, KuboKeys, LeftBehind, MoveEvent, Moved},
    http::{
        ClientError,
        model::moving::{ImportFrom, ImportRequest},
    },
    store::{Keys, Repo},
};

/// Things left behind that the result names; all of them are named on standard error.
const NAMED: usize = 1000;

/// Brings another repo's blocks, pins and files tree into this one. Nothing that is here is replaced.
#[derive(Args, Debug)]
#[command(
    after_help = "Blocks come first, each is hashed, and a pin is made when all below it is here and durable. An import that was
interrupted goes on when it is run again. What cannot be brought whole is named, and the exit code is 1.
The folder of a Kubo is read while no Kubo runs on it, and never written. A folder is one of the machine of the daemon.
JSON: {blocks, bytes, blocks_here, pins, pins_brought, pins_here, files_root, files_missing, keys,
left_behind: [{what, name, reason}], left_behind_count}; keys are names

Examples:
  ipfs-kit repo import monday
  ipfs-kit repo import --from-kubo ~/.ipfs --with-keys --without-files
  ipfs-kit repo import --from-kubo ~/.ipfs --files-to /kubo
  ipfs-kit repo import --from-kubo 127.0.0.1:5001
  ipfs-kit --repo heir repo import --from-kubo ~/.ipfs --with-keys --with-identity"
)]
pub struct ImportArgs {
    /// A folder that 'repo export' made
    #[arg(value_name = "DIR", required_unless_present = "from_kubo")]
    pub dir: Option<PathBuf>,
    /// The folder of a Kubo repo, or the address of a running Kubo's API
    #[arg(long, value_name = "DIR|ADDR", conflicts_with = "dir")]
    pub from_kubo: Option<PathBuf>,
    /// Take the named keys too
    #[arg(long)]
    pub with_keys: bool,
    /// Take the node's own key too, and be that node: for a new repo only
    #[arg(long)]
    pub with_identity: bool,
    /// Put their files tree into this directory of the one here [default: it becomes the tree, which must be empty]
    #[arg(long, value_name = "/DIR", conflicts_with = "without_files")]
    pub files_to: Option<String>,
    /// Leave their files tree out
    #[arg(long)]
    pub without_files: bool,
    #[command(flatten)]
    pub progress: ProgressArg,
}

pub async fn run(args: ImportArgs, context: &Context) -> Result<(), Failure> {
    let from = source(&args)?;
    let repo = context.repo()?;
    if args.with_identity {
        be(&identity(&from)?, &repo)?;
    }
    let node = reach::node(context, Need::Repo).await?;
    if args.with_keys && !node.client().serves(&repo).await {
        return Err(Failure::new(KEYS_STAY));
    }
    let mut left = Vec::new();
    let keys = if args.with_keys { take_keys(&from, &repo, &mut left)? } else { Vec::new() };
    for left in &left {
        say(left);
    }
    let mut lost = !left.is_empty();
    let request =
        ImportRequest { from, files_to: args.files_to, without_files: args.without_files, keys_taken: args.with_keys };
    let progress = Progress::new(context, args.progress, "brought", 1);
    let client = node.client().clone().with_timeout(context.timeout_or(None));
    let mut events = client.repo_import(&request).await?;
    let (mut moved, mut whole, keys_left) = (Moved::default(), false, left.len() as u64);
    while let Some(event) = events.next::<MoveEvent>().await? {
        match event {
            MoveEvent::Progress(now) => progress.blocks(now.blocks, now.bytes),
            MoveEvent::LeftBehind(one) => {
                lost |= one.what != "key" || args.with_keys;
                say(&one);
                if left.len() < NAMED {
                    left.push(one);
                }
            }
            MoveEvent::Done(now) => (moved, whole) = (now, true),
        }
    }
    drop(progress);
    if !whole {
        let reason = "the import ended before it was whole; run it again, and it goes on".into();
        return Err(ClientError::Broken { reason }.into());
    }
    node.close().await;
    let object = json!({
        "blocks": moved.blocks, "bytes": moved.bytes, "blocks_here": moved.blocks_here, "pins": moved.pins,
        "pins_brought": moved.pins_brought, "pins_here": moved.pins_here, "files_root": moved.files_root,
        "files_missing": moved.files_missing, "keys": keys, "left_behind": left,
        "left_behind_count": moved.left_behind + keys_left,
    });
    context.show(&object, || text(&moved, &keys))?;
    if lost {
        return Err(Failure::new("not all of it could be brought; what was left behind is named above"));
    }
    Ok(())
}

fn text(moved: &Moved, keys: &[String]) -> String {
    let bytes = output::bytes(moved.bytes);
    let mut out = format!("brought {} blocks ({bytes}) and {} pins", moved.blocks, moved.pins_brought);
    if moved.pins_here > 0 {
        out.push_str(&format!("; {} pins were here already", moved.pins_here));
    }
    if let Some(root) = &moved.files_root {
        out.push_str(&format!("\nfiles tree {root}"));
    }
    if moved.files_missing > 0 {
        let missing = moved.files_missing;
        out.push_str(&format!(
            "\n{missing} blocks below it were not there either; they are fetched when they are read"
        ));
    }
    if !keys.is_empty() {
        out.push_str(&format!("\nkeys: {}", keys.join(", ")));
    }
    out
}

fn say(left: &LeftBehind) {
    output::say(&format!("left behind: {} {}: {}\n", left.what, left.name, left.reason));
}

/// A folder that is there is meant as one; everything else as an address.
fn source(args: &ImportArgs) -> Result<ImportFrom, Failure> {
    let whole = |dir: &Path| dir.canonicalize().map_err(|e| Failure::from(ClientError::file(dir, &e)));
    let Some(kubo) = &args.from_kubo else {
        return Ok(ImportFrom::Export(whole(args.dir.as_deref().unwrap_or(Path::new(".")))?));
    };
    if kubo.is_dir() {
        return Ok(ImportFrom::KuboFolder(whole(kubo)?));
    }
    let address = kubo.to_str().filter(|address| config::address::api(address).is_ok());
    match address {
        Some(address) => Ok(ImportFrom::KuboApi(address.to_owned())),
        None => Err(Failure::new(format!(
            "{}: no such folder, and no address of an API, such as 127.0.0.1:5001",
            kubo.display()
        ))),
    }
}

fn identity(from: &ImportFrom) -> Result<Keypair, Failure> {
    let key = match from {
        ImportFrom::KuboApi(_) => {
            return Err(Failure::new(
                "no API gives a node's key away; stop Kubo, and name its folder instead: --from-kubo ~/.ipfs",
            ));
        }
        ImportFrom::KuboFolder(dir) => KuboKeys::open(dir).and_then(|keys| keys.identity()),
        ImportFrom::Export(dir) => {
            let key = ExportFolder::open(dir).and_then(|export| export.identity());
            let missing = || Failure::new("that export has no keys; export again with --with-keys");
            return key.map_err(ClientError::from)?.ok_or_else(missing);
        }
    };
    Ok(key.map_err(ClientError::from)?)
}

/// Makes the repo that of the key's node; one that is another's is left as it is.
fn be(key: &Keypair, repo: &Path) -> Result<(), Failure> {
    if key.clone().try_into_ed25519().is_err() {
        return Err(Failure::new(
            "that identity is no Ed25519 key, and a repo here needs one; leave --with-identity out",
        ));
    }
    let (report, wanted) = (Repo::init_as(repo, key)?, key.public().to_peer_id());
    if report.peer_id != wanted {
        return Err(Failure::new(format!(
            "the repo {} has an identity already ({}), and it is not replaced: name a new folder with --repo, or leave \
             --with-identity out",
            repo.display(),
            report.peer_id
        )));
    }
    Ok(())
}

/// Takes the named keys; gives their names.
fn take_keys(from: &ImportFrom, repo: &Path, left: &mut Vec<LeftBehind>) -> Result<Vec<String>, Failure> {
    let keys = match from {
        // The import names those that stay.
        ImportFrom::KuboApi(_) => return Ok(Vec::new()),
        ImportFrom::KuboFolder(dir) => {
            let (keys, bad) = KuboKeys::open(dir).and_then(|keys| keys.named()).map_err(ClientError::from)?;
            left.extend(bad);
            keys
        }
        ImportFrom::Export(dir) => {
            let theirs = ExportFolder::open(dir).map_err(ClientError::from)?.keys();
            let mut keys = Vec::new();
            for name in theirs.names()? {
                keys.extend(theirs.encoded(&name)?.map(|key| (name, key)));
            }
            keys
        }
    };
    let (ours, mut names) = (Keys::of(repo), Vec::new());
    for (name, key) in keys {
        match ours.put(&name, &key) {
            Ok(_) => names.push(name),
            Err(error) => left.push(LeftBehind { what: "key".into(), name, reason: error.to_string() }),
        }
    }
    Ok(names)
}
