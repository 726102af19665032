//! `add`: a multipart form of files, folders and symlinks becomes content, while progress goes out.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{Multipart, State, multipart::Field},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{block::bad_form, content, part};
use crate::{
    base::Hash,
    content::{AddEvent as Event, AddOptions, Added, Content, News},
    dag::{Chunking, ImportParams, Layout, cids::CidText, unixfs::Attributes},
    http::{HttpError, model::AddEvent, params::Params, reply},
    node::Node,
};

/// News on its way to the caller.
const NEWS: usize = 64;
/// Blocks up to so many bytes stand in their CIDs when `inline` is asked for without a limit.
const DEFAULT_INLINE_BYTES: usize = 32;
/// Longest target of a symlink.
const TARGET_LIMIT_BYTES: usize = 4096;

/// Adds what the form holds.
pub async fn add(State(node): State<Node>, params: Params, form: Multipart) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let (news, events) = mpsc::channel(NEWS);
    let (ending, end) = mpsc::channel(1);
    let mut options = options(&params, &node.config().import)?;
    options.events = Some(news);
    let progress = params.flag("progress")?.unwrap_or(false);
    let silent = params.flag("silent")?.unwrap_or(false);
    let (wrapped, text) = (options.wrap, params.cid_text()?);
    // Ours: whoever wants to know the roots alone need not hear of each file in them.
    options.news = match (params.flag("roots-only")?.unwrap_or(false), progress) {
        (true, _) => News::Roots,
        (false, true) => News::All,
        (false, false) => News::Added,
    };
    node.tasks().spawn("add", async move {
        if let Err(error) = run(content, options, form).await {
            let _ = ending.send(Err(error)).await;
        }
    });
    let told = ReceiverStream::new(events).filter_map(move |event| {
        let line = match event {
            Event::Progress { path, bytes } if progress => {
                Some(AddEvent { name: path, bytes: Some(bytes), ..AddEvent::default() })
            }
            Event::Added(added) if !silent => Some(line(*added, wrapped, text)),
            _ => None,
        };
        futures::future::ready(line.map(Ok))
    });
    // The news end when the adding does, and only then is there an error to read.
    let ended = ReceiverStream::new(end).map(|ended: Result<Infallible, HttpError>| ended.map(|never| match never {}));
    reply::lines(params.trailers, told.chain(ended)).await
}

fn line(added: Added, wrapped: bool, text: CidText) -> AddEvent {
    // As in Kubo bytes without a name are called by their CID, and the folder around all has no name.
    let name = if added.path.is_empty() && !wrapped { added.cid.to_string() } else { added.path };
    let mode = added.attributes.mode.filter(|mode| *mode != 0).map(|mode| format!("0{mode:o}"));
    let (mtime, nanos) = added.attributes.mtime.unzip();
    AddEvent {
        name,
        bytes: None,
        hash: Some(text.of(&added.cid)),
        size: Some(added.tsize.to_string()),
        mode,
        mtime,
        mtime_nsecs: nanos.filter(|nanos| *nanos != 0),
    }
}

async fn run(content: Content, options: AddOptions, mut form: Multipart) -> Result<(), HttpError> {
    let mut tree = content.add_tree(options.clone())?;
    let (mut any, mut named) = (false, options.wrap);
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        let head = part::Head::read(part.headers());
        let path = head.path;
        any = true;
        match part.content_type() {
            // The root of a tree without a name is what wraps it.
            Some("application/x-directory") if path.is_empty() => {}
            Some("application/x-directory") => {
                tree.dir(&path, head.attributes).await?;
                named = true;
            }
            Some("application/symlink") => {
                let target = small(part).await?;
                tree.symlink(&path, head.attributes, &target).await?;
                named = true;
            }
            _ if path.is_empty() && options.wrap => {
                tree.nameless(head.attributes, pieces(part)).await?;
            }
            _ if path.is_empty() => {
                content.add_stream(pieces(part), options.clone()).await?;
            }
            _ => {
                tree.file(&path, head.attributes, pieces(part)).await?;
                named = true;
            }
        }
    }
    if !any {
        return Err(HttpError::invalid("file argument 'path' is required"));
    }
    if named {
        tree.finish().await?;
    }
    Ok(())
}

/// A part's bytes as they come.
pub fn pieces(part: Field<'_>) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
    part.map_err(|e| std::io::Error::other(e.body_text()))
}

async fn small(mut part: Field<'_>) -> Result<Vec<u8>, HttpError> {
    let mut out = Vec::new();
    while let Some(piece) = part.chunk().await.map_err(bad_form)? {
        if out.len() + piece.len() > TARGET_LIMIT_BYTES {
            return Err(HttpError::invalid("a symlink's target is over 4096 bytes long"));
        }
        out.extend_from_slice(&piece);
    }
    Ok(out)
}

/// What is asked for, as Kubo combines it; `import` is what the node does when nothing is said.
fn options(params: &Params, import: &ImportParams) -> Result<AddOptions, HttpError> {
    for refused in ["nocopy", "fscache"] {
        if params.flag(refused)? == Some(true) {
            let why = "this node keeps every block in its own store and has no filestore; leave it out";
            return Err(HttpError::invalid(format!("add does not support --{refused}: {why}")));
        }
    }
    let clash =
        |one: &str, other: &str| Err(HttpError::invalid(format!("{one} and {other} options are not compatible")));
    let given = |name: &str| params.text(name).filter(|text| !text.is_empty());
    let only_hash = params.flag("only-hash")?.unwrap_or(false);
    let wrap = params.flag("wrap-with-directory")?.unwrap_or(false);
    let pin = params.flag("pin")?.unwrap_or(true);
    if given("to-files").is_some() {
        return Err(HttpError::invalid("add does not support --to-files; use files cp once it is added"));
    }
    if given("pin-name").is_some() && !pin {
        return clash("pin-name", "pin=false");
    }
    let set = Attributes { mode: mode(params)?, mtime: mtime(params)? };
    let (preserve_mode, preserve_mtime) =
        (params.flag("preserve-mode")?.unwrap_or(false), params.flag("preserve-mtime")?.unwrap_or(false));
    let says_attributes = preserve_mode || preserve_mtime || !set.is_empty();
    // Answered at once and announced behind it, whatever is asked for here.
    for accepted in ["fast-provide-root", "fast-provide-dag", "fast-provide-wait"] {
        params.flag(accepted)?;
    }
    Ok(AddOptions {
        params: import_params(params, import, says_attributes)?,
        pin: pin && !only_hash,
        pin_name: given("pin-name").map(str::to_owned),
        empty_dirs: params.flag("empty-dirs")?.unwrap_or(true),
        wrap,
        preserve_mode,
        preserve_mtime,
        set,
        only_hash,
        ..AddOptions::default()
    })
}

/// What decides the CIDs.
fn import_params(params: &Params, import: &ImportParams, says_attributes: bool) -> Result<ImportParams, HttpError> {
    let given = |name: &str| params.text(name).filter(|text| !text.is_empty());
    let mut out = match given("profile") {
        Some(profile) => ImportParams::profile(profile)?,
        None => import.clone(),
    };
    // As in Kubo: another hash function than SHA2-256 needs version 1, and version 1 means raw leaves, unless a profile says
    // what leaves are.
    let leaves_said = given("profile").is_some();
    if let Some(name) = given("hash") {
        out.hash = Hash::parse(name)?;
    }
    match params.number::<u8>("cid-version")? {
        Some(version) => {
            out.cid_version = version;
            out.raw_leaves = if leaves_said { out.raw_leaves } else { version > 0 };
        }
        None if out.hash != Hash::Sha2_256 && out.cid_version == 0 => {
            out.cid_version = 1;
            out.raw_leaves |= !leaves_said;
        }
        None => {}
    }
    match params.flag("raw-leaves")? {
        Some(true) if says_attributes => {
            let why = "raw-leaves can't be used with UnixFS metadata like mode or modification time";
            return Err(HttpError::invalid(why));
        }
        Some(raw) => out.raw_leaves = raw,
        // Only a node of its own can say what a file's mode and time are.
        None if says_attributes => out.raw_leaves = false,
        None => {}
    }
    if let Some(chunker) = given("chunker") {
        out.chunker = Chunking::parse(chunker)?;
    }
    match params.flag("trickle")? {
        Some(true) => out.layout = Layout::Trickle,
        Some(false) => out.layout = Layout::Balanced,
        None => {}
    }
    if let Some(links) = params.number("max-file-links")? {
        out.max_file_links = links;
    }
    if let Some(links) = params.number("max-directory-links")? {
        out.max_directory_links = links;
    }
    if let Some(fanout) = params.number("max-hamt-fanout")? {
        out.hamt_fanout = fanout;
    }
    if let Some(inline) = params.flag("inline")? {
        out.inline =
            inline.then(|| params.number("inline-limit").map(|n| n.unwrap_or(DEFAULT_INLINE_BYTES))).transpose()?;
    }
    out.validate()?;
    Ok(out)
}

/// The mode everything is said to have; 0 says nothing.
fn mode(params: &Params) -> Result<Option<u32>, HttpError> {
    let Some(text) = params.text("mode").filter(|text| !text.is_empty()) else { return Ok(None) };
    let bad = || HttpError::invalid(format!("mode={text} is not a mode; write it as 0644"));
    // Go's notation: a leading 0 or 0o means octal digits.
    let mode = match (text.strip_prefix("0x"), text.strip_prefix("0o").or(text.strip_prefix('0'))) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).map_err(|_| bad())?,
        (None, Some("")) => 0,
        (None, Some(digits)) => u32::from_str_radix(digits, 8).map_err(|_| bad())?,
        (None, None) => text.parse().map_err(|_| bad())?,
    };
    Ok(Some(part::unix_mode(mode)).filter(|mode| *mode != 0))
}

/// The time everything is said to be modified at; second 0 says nothing.
fn mtime(params: &Params) -> Result<Option<(i64, u32)>, HttpError> {
    let seconds = params.number::<i64>("mtime")?.filter(|seconds| *seconds != 0);
    let nanos = params.number::<u32>("mtime-nsecs")?.filter(|nanos| *nanos != 0);
    match (seconds, nanos) {
        (None, Some(_)) => Err(HttpError::invalid("option \"mtime-nsecs\" requires \"mtime\" to be provided as well")),
        // More than a second is seconds.
        (Some(seconds), nanos) => {
            let nanos = nanos.unwrap_or(0);
            Ok(Some((seconds.saturating_add(i64::from(nanos / 1_000_000_000)), nanos % 1_000_000_000)))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use axum::{extract::FromRequestParts, http::Request};

    use super::*;

    async fn params(query: &str) -> ImportParams {
        let (mut parts, ()) = Request::builder().uri(format!("/add?{query}")).body(()).unwrap().into_parts();
        let params = Params::from_request_parts(&mut parts, &()).await.unwrap();
        import_params(&params, &ImportParams::default(), false).unwrap()
    }

    /// What Kubo does with these options, and with the profile applied to its configuration.
    #[tokio::test]
    async fn a_profile_says_what_leaves_are_whatever_the_cids_version() {
        for (query, version, raw_leaves) in [
            ("", 0, false),
            ("cid-version=1", 1, true),
            ("hash=blake3", 1, true),
            ("profile=unixfs-v0-2015&cid-version=1", 1, false),
            ("profile=unixfs-v1-2025&cid-version=0", 0, true),
            ("profile=unixfs-v1-2025", 1, true),
            ("profile=unixfs-v1-2025&cid-version=0&raw-leaves=false", 0, false),
        ] {
            let params = params(query).await;
            assert_eq!((params.cid_version, params.raw_leaves), (version, raw_leaves), "{query}");
        }
    }
}
