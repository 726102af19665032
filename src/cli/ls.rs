//! `ls`: what lies in folders.

use clap::{ArgAction, Args};
use futures::{StreamExt, stream};
use serde::Serialize;

use super::{
    files::letters,
    output::{Context, Failure, Listing},
    pin::paths_or_stdin,
    reach::{self, Need},
    several::{Errors, LANES},
};
use crate::http::{
    Client,
    client::{ClientError, Listing as Entries},
    model::LsLink,
};

/// Lists what lies in folders, as it comes; of a large file, its parts.
#[derive(Args, Debug)]
#[command(
    after_help = "CID, size (- for a folder) and name; in the folder's own order, which is by name unless it is sharded.
JSON: {entries: [{path, name, type, size, cid, target, mode, mtime}]}
  path as it was asked for; type: file, directory, symlink, or unknown; size in bytes, null for folders
  target: where a symlink leads; mode in octal digits and mtime (RFC 3339) are null when they were not recorded

Examples:
  ipfs-kit ls CID
  ipfs-kit ls CID CID2             several folders
  ipfs-kit ls -l CID               with modes and times, where they were recorded
  ipfs-kit ls --quiet CID          CIDs alone
  ipfs-kit ls --resolve-type=false --size=false CID     at once, without looking at the entries themselves"
)]
pub struct LsArgs {
    /// CIDs, or paths below them [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
    /// Modes and times too
    #[arg(short, long)]
    pub long: bool,
    /// A line that says what the columns are
    #[arg(long)]
    pub headers: bool,
    /// Sizes too
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set, value_name = "BOOL")]
    pub size: bool,
    /// Look at the entries themselves for what they are
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set, value_name = "BOOL")]
    pub resolve_type: bool,
    /// Print entries as they come, which is always so: accepted and without effect
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub stream: Option<bool>,
}

/// One entry in JSON.
#[derive(Serialize)]
struct Entry<'a> {
    path: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    size: Option<u64>,
    cid: &'a str,
    target: Option<&'a str>,
    mode: Option<String>,
    mtime: Option<&'a str>,
}

pub async fn run(args: LsArgs, context: &Context) -> Result<(), Failure> {
    let paths = paths_or_stdin(args.paths.clone())?;
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client();
    let mut errors = Errors::new(paths.len());
    let mut out = Out { listing: Listing::new(context, "entries"), args: &args, quiet: context.common.quiet };
    let look = args.size || args.resolve_type;
    let mut coming = stream::iter(&paths).map(|path| open(client, path, look)).buffered(LANES);
    let mut number = 0;
    while let Some((path, opened)) = coming.next().await {
        let listed = match opened {
            Ok(entries) => {
                out.begin(path, number, paths.len());
                out.entries(path, entries).await?
            }
            Err(error) => Err(error),
        };
        if let Err(error) = listed {
            errors.add(path, error);
        }
        number += 1;
    }
    drop(coming);
    node.close().await;
    if !errors.all() {
        out.listing.end()?;
    }
    errors.end()
}

async fn open<'a>(client: &Client, path: &'a str, look: bool) -> (&'a str, Result<Entries, ClientError>) {
    (path, client.ls(&[path.to_owned()], look).await)
}

struct Out<'a> {
    listing: Listing,
    args: &'a LsArgs,
    quiet: bool,
}

impl Out<'_> {
    /// What stands before the entries of one of several.
    fn begin(&mut self, path: &str, number: usize, all: usize) {
        if all > 1 && !self.quiet {
            self.listing.remark(&format!("{}{path}:\n", if number > 0 { "\n" } else { "" }));
        }
        if self.args.headers {
            let mut columns = vec!["CID"];
            columns.extend(self.args.size.then_some("Size"));
            columns.extend(self.args.long.then_some(["Mode", "Modified"]).into_iter().flatten());
            columns.push("Name");
            self.listing.remark(&format!("{}\n", columns.join("\t")));
        }
    }

    /// The entries; what goes wrong with standard output ends it all, what goes wrong with the folder only this one.
    async fn entries(&mut self, path: &str, mut entries: Entries) -> Result<Result<(), ClientError>, Failure> {
        loop {
            let link = match entries.next().await {
                Ok(Some((_, link))) => link,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            let entry = Entry::new(path, &link);
            let text = || if self.quiet { link.hash.clone() } else { text(&entry, self.args) };
            self.listing.item(&entry, text)?;
        }
    }
}

impl<'a> Entry<'a> {
    fn new(path: &'a str, link: &'a LsLink) -> Self {
        let kind = match link.kind {
            1 => "directory",
            2 => "file",
            4 => "symlink",
            _ => "unknown",
        };
        Entry {
            path,
            name: &link.name,
            kind,
            size: (link.kind != 1).then_some(link.size),
            cid: &link.hash,
            target: Some(link.target.as_str()).filter(|target| !target.is_empty()),
            mode: (link.mode != 0).then(|| format!("{:04o}", link.mode & 0o7777)),
            mtime: link.mtime().map(|_| link.mod_time.as_str()),
        }
    }
}

fn text(entry: &Entry, args: &LsArgs) -> String {
    let folder = entry.kind == "directory";
    let mut out = entry.cid.to_owned();
    if args.size {
        let size = entry.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        out.push_str(&format!("\t{size}"));
    }
    if args.long {
        let mode = entry.mode.as_ref().map_or_else(|| "-".to_owned(), |mode| shown_mode(mode, entry.kind));
        out.push_str(&format!("\t{mode}\t{}", entry.mtime.unwrap_or("-")));
    }
    out.push('\t');
    out.extend(entry.name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }));
    if folder {
        out.push('/');
    }
    out
}

/// A mode as Unix' `ls -l` shows it.
fn shown_mode(octal: &str, kind: &str) -> String {
    use crate::http::model::files::{MODE_DIR, MODE_SYMLINK};
    let bits = u32::from_str_radix(octal, 8).unwrap_or(0);
    letters(
        bits | match kind {
            "directory" => MODE_DIR,
            "symlink" => MODE_SYMLINK,
            _ => 0,
        },
    )
}
