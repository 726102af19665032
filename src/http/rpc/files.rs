//! `files/…`: the files tree (MFS).

use axum::{
    Json,
    body::Body,
    extract::{DefaultBodyLimit, Multipart, State},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::{add::pieces, block::bad_form, content};
use crate::{
    base::{Hash, cid, time},
    content::{
        ContentError, EntryKind,
        mfs::{CpOptions, DirOptions, FilesEntry, FilesPath, FilesStat, Mfs, NodeStyle, WriteOptions},
    },
    dag::{cids::CidText, unixfs::Attributes},
    http::{
        HttpError,
        model::files::{FlushReply, LsEntry, MODE_DIR, MODE_SYMLINK, StatReply, go_mode},
        params::Params,
        reply::{self, Content},
    },
    node::Node,
};

/// Entries of a listing written at a time.
const LS_CHUNK: usize = 512;

/// How Kubo prints a stat when nothing else is asked for, as its command line sends it.
const STAT_FORMAT: &str = "<hash>\nSize: <size>\nCumulativeSize: <cumulsize>\nChildBlocks: <childs>\nType: <type>\n\
                           Mode: <mode> (<mode-octal>)\nMtime: <mtime>";

type Done = Result<(), HttpError>;

/// The routes below `/api/v0/files`.
pub fn routes() -> axum::Router<Node> {
    axum::Router::new()
        .route("/stat", post(stat))
        .route("/ls", post(ls))
        .route("/read", post(read))
        .route("/write", post(write).layer(DefaultBodyLimit::disable()))
        .route("/mkdir", post(mkdir))
        .route("/cp", post(cp))
        .route("/mv", post(mv))
        .route("/rm", post(rm))
        .route("/flush", post(flush))
        .route("/chcid", post(chcid))
        .route("/chmod", post(chmod))
        .route("/touch", post(touch))
        .route("/chroot", post(chroot))
}

fn files(node: &Node, params: &Params) -> Result<Mfs, HttpError> {
    Ok(content(node, params)?.files())
}

/// The argument at this place.
fn arg<'a>(params: &'a Params, at: usize, what: &str) -> Result<&'a str, HttpError> {
    params.args().nth(at).ok_or_else(|| HttpError::usage(format!("argument \"{what}\" is required")))
}

fn path(params: &Params, at: usize, what: &str) -> Result<FilesPath, HttpError> {
    Ok(FilesPath::parse(arg(params, at, what)?).map_err(ContentError::from)?)
}

/// A flag under any of its names.
fn flag(params: &Params, names: &[&str], default: bool) -> Result<bool, HttpError> {
    for name in names {
        if let Some(value) = params.flag(name)? {
            return Ok(value);
        }
    }
    Ok(default)
}

/// A number of bytes under any of its names.
fn bytes(params: &Params, names: &[&str], what: &str) -> Result<Option<u64>, HttpError> {
    for name in names {
        if let Some(number) = params.number::<i64>(name)? {
            let negative = |_| HttpError::invalid(format!("cannot have a negative {what}"));
            return u64::try_from(number).map(Some).map_err(negative);
        }
    }
    Ok(None)
}

fn flushed(params: &Params) -> Result<bool, HttpError> {
    flag(params, &["flush", "f"], true)
}

/// How nodes are written, when anything was said about it. As in Kubo, a hash function means version 1.
fn style(params: &Params) -> Result<Option<NodeStyle>, HttpError> {
    let version = match params.number::<u8>("cid-version")? {
        None => params.number::<u8>("cid-ver")?,
        version => version,
    };
    let function = params.text("hash").filter(|name| !name.is_empty()).map(Hash::parse).transpose()?;
    if version.is_none() && function.is_none() {
        return Ok(None);
    }
    let cid_version = if function.is_some() { version.unwrap_or(1).max(1) } else { version.unwrap_or(0) };
    Ok(Some(NodeStyle { cid_version, hash: function.unwrap_or(Hash::Sha2_256) }))
}

/// What kubo-rpc-client sends of mode and modification time.
fn attributes(params: &Params) -> Result<Option<Attributes>, HttpError> {
    let mode = params.text("mode").filter(|text| !text.is_empty()).map(octal).transpose()?;
    let nanos = params.number::<u32>("mtime-nsecs")?.unwrap_or(0);
    let mtime = params.number::<i64>("mtime")?.map(|seconds| (seconds, nanos));
    let attributes = Attributes { mode, mtime };
    Ok((!attributes.is_empty()).then_some(attributes))
}

fn octal(text: &str) -> Result<u32, HttpError> {
    let bad = |_| HttpError::invalid(format!("mode '{text}' is not an octal number such as 0644"));
    Ok(u32::from_str_radix(text, 8).map_err(bad)? & 0o7777)
}

/// What stands at a path.
async fn stat(State(node): State<Node>, params: Params) -> Result<Json<StatReply>, HttpError> {
    let local = flag(&params, &["with-local"], false)?;
    let text = params.cid_text()?;
    // What these print is the command line's business; that they contradict each other is told by the daemon.
    let format = params.text("format").is_some_and(|format| !format.is_empty() && format != STAT_FORMAT);
    if [flag(&params, &["hash"], false)?, flag(&params, &["size"], false)?, format].iter().filter(|on| **on).count() > 1
    {
        let why = "invalid parameters: format was set by multiple options; give one of --hash, --size and --format";
        return Err(HttpError::usage(why));
    }
    let stat = files(&node, &params)?.stat(arg(&params, 0, "path")?, local).await?;
    Ok(Json(stat_reply(stat, text)))
}

fn stat_reply(stat: FilesStat, text: CidText) -> StatReply {
    let of_kind = match stat.kind {
        EntryKind::Directory => MODE_DIR,
        EntryKind::Symlink => MODE_SYMLINK,
        EntryKind::File | EntryKind::Unknown => 0,
    };
    let mode = match (stat.attributes.mode.unwrap_or(0), stat.kind) {
        (0, EntryKind::Symlink) => of_kind | 0o777,
        (0, _) => 0,
        (mode, _) => of_kind | go_mode(mode),
    };
    let (mtime, mtime_nsecs) = stat.attributes.mtime.unwrap_or_default();
    StatReply {
        hash: text.of(&stat.cid),
        size: stat.size,
        cumulative_size: stat.cumulative_size,
        blocks: stat.links as u64,
        kind: if stat.kind == EntryKind::Directory { "directory" } else { "file" }.into(),
        with_locality: stat.local.is_some(),
        local: stat.local.is_some_and(|(all, _)| all),
        size_local: stat.local.map_or(0, |(_, bytes)| bytes),
        mode: if mode == 0 { String::new() } else { format!("{mode:04o}") },
        mtime,
        mtime_nsecs,
    }
}

/// What lies in a directory, as one JSON object that is written while the directory is read.
async fn ls(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let path = FilesPath::parse(params.args().next().unwrap_or("/")).map_err(ContentError::from)?;
    let long = flag(&params, &["long", "l"], false)?;
    let entries = files(&node, &params)?.ls(&path, long).await?;
    reply::stream(Content::Lines, params.trailers, Box::pin(listing(entries, long))).await
}

fn listing(
    entries: impl Stream<Item = Result<FilesEntry, ContentError>> + Send,
    long: bool,
) -> impl Stream<Item = Result<Bytes, HttpError>> + Send {
    let chunks = entries.try_ready_chunks(LS_CHUNK).map_err(|error| HttpError::from(error.1));
    let state = Some((Box::pin(chunks), &b"{\"Entries\":["[..]));
    stream::try_unfold(state, move |state| async move {
        let Some((mut chunks, mut before)) = state else { return Ok(None) };
        let Some(chunk) = chunks.next().await.transpose()? else {
            let end: &[u8] = if before == b"," { b"]}\n" } else { b"{\"Entries\":null}\n" };
            return Ok(Some((Bytes::from_static(end), None)));
        };
        let mut out = Vec::with_capacity(chunk.len() * 64);
        for entry in chunk {
            out.extend_from_slice(before);
            before = b",";
            let (kind, hash) = (u8::from(entry.kind == EntryKind::Directory), entry.cid.to_string());
            let hash = if long { hash } else { String::new() };
            let line = LsEntry { name: entry.name, kind, size: entry.size, hash };
            serde_json::to_writer(&mut out, &line).expect("plain data becomes JSON");
        }
        Ok(Some((Bytes::from(out), Some((chunks, before)))))
    })
}

/// The bytes of a file.
async fn read(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let offset = bytes(&params, &["offset", "o"], "offset")?.unwrap_or(0);
    let count = bytes(&params, &["count", "n"], "count")?;
    let stream = files(&node, &params)?.read(&path(&params, 0, "path")?, offset, count).await?;
    reply::stream(Content::Bytes, params.trailers, stream.map_err(HttpError::from)).await
}

/// Writes the form's first part into a file.
async fn write(State(node): State<Node>, params: Params, mut form: Multipart) -> Done {
    let options = WriteOptions {
        offset: bytes(&params, &["offset", "o"], "offset")?.unwrap_or(0),
        count: bytes(&params, &["count", "n"], "count")?,
        create: flag(&params, &["create", "e"], false)?,
        parents: flag(&params, &["parents", "p"], false)?,
        truncate: flag(&params, &["truncate", "t"], false)?,
        raw_leaves: params.flag("raw-leaves")?,
        style: style(&params)?.unwrap_or_default(),
        attributes: attributes(&params)?,
    };
    let (path, flush) = (path(&params, 0, "path")?, flushed(&params)?);
    let none = || HttpError::usage("file argument 'data' is required");
    let part = form.next_field().await.map_err(bad_form)?.ok_or_else(none)?;
    Ok(files(&node, &params)?.write(&path, &options, pieces(part), flush).await?)
}

/// Makes a directory.
async fn mkdir(State(node): State<Node>, params: Params) -> Done {
    let options = DirOptions {
        parents: flag(&params, &["parents", "p"], false)?,
        style: style(&params)?.unwrap_or_default(),
        attributes: attributes(&params)?.unwrap_or_default(),
    };
    Ok(files(&node, &params)?.mkdir(&path(&params, 0, "path")?, &options, flushed(&params)?).await?)
}

/// Copies content or what stands in the tree.
async fn cp(State(node): State<Node>, params: Params) -> Done {
    let options = CpOptions {
        parents: flag(&params, &["parents", "p"], false)?,
        force: flag(&params, &["force"], false)?,
        style: style(&params)?.unwrap_or_default(),
    };
    let (from, to) = (arg(&params, 0, "source")?, path(&params, 1, "dest")?);
    Ok(files(&node, &params)?.cp(from, &to, &options, flushed(&params)?).await?)
}

/// Moves a file or directory.
async fn mv(State(node): State<Node>, params: Params) -> Done {
    let (from, to) = (path(&params, 0, "source")?, path(&params, 1, "dest")?);
    Ok(files(&node, &params)?.mv(&from, &to, flushed(&params)?).await?)
}

/// Removes what can be removed.
async fn rm(State(node): State<Node>, params: Params) -> Done {
    if !flushed(&params)? {
        let why = "files rm always flushes for safety. The --flush flag cannot be set to false for this command";
        return Err(HttpError::new(crate::base::Kind::Conflict, why));
    }
    arg(&params, 0, "path")?;
    let paths: Vec<String> = params.args().map(str::to_owned).collect();
    let (recursive, force) = (flag(&params, &["recursive", "r"], false)?, flag(&params, &["force"], false)?);
    let failures = files(&node, &params)?.rm(&paths, recursive, force).await?;
    if failures.is_empty() {
        return Ok(());
    }
    Err(HttpError::new(crate::base::Kind::NotFound, format!("can't remove some files: {}", failures.join("; "))))
}

/// Makes all changes durable.
async fn flush(State(node): State<Node>, params: Params) -> Result<Json<FlushReply>, HttpError> {
    let path = FilesPath::parse(params.args().next().unwrap_or("/")).map_err(ContentError::from)?;
    let text = params.cid_text()?;
    let cid = text.of(&files(&node, &params)?.flush(&path).await?);
    Ok(Json(FlushReply { cid }))
}

/// Writes a directory's node with another CID version or hash function.
async fn chcid(State(node): State<Node>, params: Params) -> Done {
    let path = FilesPath::parse(params.args().next().unwrap_or("/")).map_err(ContentError::from)?;
    Ok(files(&node, &params)?.chcid(&path, style(&params)?, flushed(&params)?).await?)
}

/// Sets permissions.
async fn chmod(State(node): State<Node>, params: Params) -> Done {
    let mode = octal(arg(&params, 0, "mode")?)?;
    Ok(files(&node, &params)?.chmod(&path(&params, 1, "path")?, mode, flushed(&params)?).await?)
}

/// Sets the modification time; now, when none is given.
async fn touch(State(node): State<Node>, params: Params) -> Done {
    let nanos = params.number::<u32>("mtime-nsecs")?.unwrap_or(0);
    let mtime = match params.number::<i64>("mtime")?.unwrap_or(0) {
        0 => {
            let now = time::unix_ms();
            ((now / 1000) as i64, (now % 1000) as u32 * 1_000_000)
        }
        seconds => (seconds.saturating_add(i64::from(nanos / 1_000_000_000)), nanos % 1_000_000_000),
    };
    Ok(files(&node, &params)?.touch(&path(&params, 0, "path")?, mtime, flushed(&params)?).await?)
}

/// Makes another directory the tree's root; answers with the old one.
async fn chroot(State(node): State<Node>, params: Params) -> Result<Json<FlushReply>, HttpError> {
    if !flag(&params, &["confirm"], false)? {
        let why = "this is a potentially destructive operation; pass --confirm to proceed";
        return Err(HttpError::new(crate::base::Kind::Conflict, why));
    }
    let root = params.args().next().map(cid::parse).transpose()?;
    let old = files(&node, &params)?.chroot(root).await?;
    Ok(Json(FlushReply { cid: old.to_string() }))
}
