//! `get`: files and folders on disk.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use futures::{StreamExt, stream};
use serde_json::json;

use super::{
    output::{Context, Failure, bytes},
    pin::paths_or_stdin,
    progress::{Progress, ProgressArg, expected},
    reach::{self, Need},
    several::{Errors, LANES, Parallel},
};
use crate::{
    dag::DagPath,
    http::{
        Client,
        client::{Archive, ClientError},
    },
};

/// Writes files and folders to disk, never outside the place named; fetches what is not here.
#[derive(Args, Debug)]
#[command(
    after_help = "A file, and a folder that was not there, appears under its name only when it is whole. Files of
the same name are replaced.
JSON: {cid, path, size, files, items: [{cid, path, size, files}]}; outside items they are those of the last one; files is
null for an archive

Examples:
  ipfs-kit get CID                           into ./CID
  ipfs-kit get CID -o photos                 under another name
  ipfs-kit get CID/notes.txt                 one file of a folder, into ./notes.txt
  ipfs-kit get CID CID2 --output-dir all     several, each under its own name in one folder
  ipfs-kit get -a CID -o photos.tar          as one tar archive
  ipfs-kit get -a -C CID                     compressed, into ./CID.tar.gz
  ipfs-kit get -C -l 9 CID/notes.txt         a file alone, into ./notes.txt.gz"
)]
pub struct GetArgs {
    /// CIDs, or paths below them [default: the lines of standard input]
    #[arg(value_name = "CID[/PATH]")]
    pub paths: Vec<String>,
    /// Where to write; of several, the folder for all of them [default: the last part of CID/PATH]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// The folder to write into, made when it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub output_dir: Option<PathBuf>,
    /// Write one tar archive instead of the files
    #[arg(short, long)]
    pub archive: bool,
    /// Compress it (gzip): the archive, or a file
    #[arg(short = 'C', long)]
    pub compress: bool,
    /// How hard to compress, 1 to 9
    #[arg(short = 'l', long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=9), requires = "compress")]
    pub compression_level: Option<u32>,
    #[command(flatten)]
    pub progress: ProgressArg,
    #[command(flatten)]
    pub parallel: Parallel,
}

/// One thing to get, and where to.
struct Item {
    path: String,
    out: PathBuf,
}

/// What was written.
struct Got {
    out: PathBuf,
    size: u64,
    files: Option<u64>,
}

pub async fn run(args: GetArgs, context: &Context) -> Result<(), Failure> {
    let items = items(&args)?;
    let node = reach::node(context, Need::Repo).await?;
    let client = node.client();
    let progress = Progress::new(context, args.progress, "written", items.len());
    let (shown, args) = (&progress, &args);
    let mut coming = stream::iter(items.iter().enumerate())
        .map(|(number, item)| async move { (item, get(client, item, args, shown.of(number)).await) })
        .buffered(LANES);
    let (mut written, mut errors) = (Vec::new(), Errors::new(items.len()));
    let getting = async {
        while let Some((item, got)) = coming.next().await {
            shown.ended(got.is_ok());
            match got {
                Ok(got) => written.push((item, got)),
                Err(error) => errors.add(&item.path, error),
            }
        }
    };
    let paths: Vec<_> = items.iter().map(|item| item.path.clone()).collect();
    progress.while_counting(getting, expected(client, &paths)).await;
    drop(coming);
    drop(progress);
    node.close().await;
    if !errors.all() {
        show(&written, context)?;
    }
    errors.end()
}

fn show(written: &[(&Item, Got)], context: &Context) -> Result<(), Failure> {
    let object = |(item, got): &(&Item, Got)| {
        let path = got.out.display().to_string();
        json!({"cid": item.path, "path": path, "size": got.size, "files": got.files})
    };
    let objects: Vec<_> = written.iter().map(object).collect();
    let mut whole = objects.last().cloned().unwrap_or_default();
    whole["items"] = json!(objects);
    let line = |(_, got): &(&Item, Got)| {
        let (path, size) = (got.out.display(), bytes(got.size));
        match got.files {
            None => format!("{path}: {size}"),
            Some(1) => format!("{path}: 1 file, {size}"),
            Some(files) => format!("{path}: {files} files, {size}"),
        }
    };
    context.show(&whole, || written.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// What goes where; two things never to the same place.
fn items(args: &GetArgs) -> Result<Vec<Item>, Failure> {
    let paths = paths_or_stdin(args.paths.clone())?;
    let folder = match (&args.output_dir, &args.output) {
        (Some(folder), _) => Some(folder),
        (None, Some(folder)) if paths.len() > 1 => Some(folder),
        _ => None,
    };
    let mut places = HashSet::new();
    let mut items = Vec::new();
    for path in paths {
        let parsed = DagPath::parse(&path)?;
        let name = parsed.segments.last().map_or_else(|| DagPath::root_text(&path).to_owned(), String::clone);
        let out = match (folder, &args.output) {
            (Some(folder), _) => folder.join(name),
            (None, Some(out)) => out.clone(),
            (None, None) => PathBuf::from(name),
        };
        let out = if args.archive || args.compress { named(out, args) } else { out };
        if !places.insert(out.clone()) {
            let out = out.display();
            return Err(Failure::new(format!("two of these would be written to {out}; get them one by one with -o")));
        }
        items.push(Item { path, out });
    }
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(|e| Failure::new(format!("{}: {e}", folder.display())))?;
    }
    Ok(items)
}

/// An archive's name: with the endings that say what it is, as Kubo has it.
fn named(out: PathBuf, args: &GetArgs) -> PathBuf {
    let mut name = out.into_os_string();
    let ends = |name: &std::ffi::OsString, end: &str| name.as_encoded_bytes().ends_with(end.as_bytes());
    if args.archive && !ends(&name, ".tar") && !ends(&name, ".tar.gz") {
        name.push(".tar");
    }
    if args.compress && !ends(&name, ".gz") {
        name.push(".gz");
    }
    name.into()
}

async fn get(
    client: &Client,
    item: &Item,
    args: &GetArgs,
    mut tell: impl FnMut(u64) + Send,
) -> Result<Got, ClientError> {
    let out = item.out.clone();
    if !args.archive && !args.compress {
        let written = client.get(&item.path, &out, tell).await?;
        return Ok(Got { out, size: written.bytes, files: Some(written.files + written.symlinks) });
    }
    let compression = args.compress.then(|| args.compression_level.unwrap_or(DEFAULT_LEVEL));
    let mut reply = client.get_archive(&item.path, Archive { tar: args.archive, compression }).await?;
    let mut place = Place::new(&out).map_err(|e| ClientError::file(&out, &e))?;
    let mut size = 0;
    while let Some(piece) = reply.next().await? {
        place.file.write_all(&piece).map_err(|e| ClientError::file(&out, &e))?;
        size += piece.len() as u64;
        tell(size);
    }
    place.keep(&out).map_err(|e| ClientError::file(&out, &e))?;
    Ok(Got { out, size, files: None })
}

/// How hard gzip works when nothing is said.
const DEFAULT_LEVEL: u32 = 6;

/// A file beside the place it is for.
struct Place {
    file: tempfile::NamedTempFile,
}

impl Place {
    fn new(out: &Path) -> io::Result<Self> {
        let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(".ipfs-kit-").suffix(".part");
        Ok(Place { file: builder.permissions(permissions()).tempfile_in(folder)? })
    }

    fn keep(self, out: &Path) -> io::Result<()> {
        if out.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "a folder stands there; say where with -o"));
        }
        self.file.persist(out).map(drop).map_err(|e| e.error)
    }
}

/// Those of any new file.
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
