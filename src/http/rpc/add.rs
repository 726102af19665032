//! `add`: a multipart form of files, folders and symlinks becomes content, while progress goes out.

use axum::{
    body::Body,
    extract::{Multipart, State, multipart::Field},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    block::{bad_form, hash},
    content,
};
use crate::{
    base::Hash,
    content::{AddEvent as Event, AddOptions, Added, Content},
    dag::{Chunking, ImportParams},
    http::{HttpError, model::AddEvent, params, params::Params, reply},
    node::Node,
};

/// News on its way to the caller.
const NEWS: usize = 64;
/// Longest target of a symlink.
const TARGET_LIMIT_BYTES: usize = 4096;

/// Adds what the form holds.
pub async fn add(State(node): State<Node>, params: Params, form: Multipart) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let (news, events) = mpsc::channel(NEWS);
    let (ending, end) = mpsc::channel(1);
    let mut options = options(&params)?;
    options.events = Some(news);
    let wrap = params.flag("wrap-with-directory")?.unwrap_or(false);
    let progress = params.flag("progress")?.unwrap_or(false);
    let quiet = params.flag("silent")?.unwrap_or(false);
    node.tasks().spawn("add", async move {
        if let Err(error) = run(content, options, wrap, form).await {
            let _ = ending.send(Err(error)).await;
        }
    });
    let told = ReceiverStream::new(events).filter_map(move |event| {
        let line = match event {
            Event::Progress { path, bytes } if progress => {
                Some(AddEvent { name: path, bytes: Some(bytes), ..AddEvent::default() })
            }
            Event::Added(added) if !quiet => Some(line(added)),
            _ => None,
        };
        futures::future::ready(line.map(|l| Ok(reply::line(&l))))
    });
    // The news end when the adding does, and only then is there an error to read.
    let lines = told.chain(ReceiverStream::new(end));
    reply::stream(reply::Content::Lines, params.trailers, Box::pin(lines)).await
}

fn line(added: Added) -> AddEvent {
    let cid = added.cid.to_string();
    let name = if added.path.is_empty() { cid.clone() } else { added.path };
    AddEvent { name, bytes: None, hash: Some(cid), size: Some(added.tsize.to_string()) }
}

async fn run(content: Content, options: AddOptions, wrap: bool, mut form: Multipart) -> Result<(), HttpError> {
    let mut tree = content.add_tree(options.clone())?;
    let mut named = 0;
    let mut any = false;
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        let path = params::unescape(part.file_name().unwrap_or_default());
        let path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
        any = true;
        match part.content_type() {
            Some("application/x-directory") => {
                // The root of a tree without a name is what wraps it.
                if !path.is_empty() {
                    tree.dir(&path)?;
                    named += 1;
                }
            }
            Some("application/symlink") => {
                let target = small(part).await?;
                tree.symlink(&path, &target).await?;
                named += 1;
            }
            _ if path.is_empty() => {
                content.add_stream(pieces(part), options.clone()).await?;
            }
            _ => {
                tree.file(&path, pieces(part)).await?;
                named += 1;
            }
        }
    }
    if !any {
        return Err(HttpError::invalid("file argument 'path' is required"));
    }
    if named > 0 || wrap {
        tree.finish(wrap).await?;
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

fn options(params: &Params) -> Result<AddOptions, HttpError> {
    for unknown in ["trickle", "nocopy", "fscache", "inline", "preserve-mode", "preserve-mtime"] {
        if params.flag(unknown).is_ok_and(|on| on == Some(true)) {
            return Err(HttpError::invalid(format!("add does not support --{unknown}; leave it out")));
        }
    }
    let mut import = ImportParams::default();
    if let Some(name) = params.text("hash").filter(|t| !t.is_empty()) {
        import.hash = hash(name)?;
    }
    let version: Option<u8> = params.number("cid-version")?;
    // As in Kubo: another hash function than SHA2-256 needs version 1, and version 1 means raw leaves.
    import.cid_version = version.unwrap_or(u8::from(import.hash != Hash::Sha2_256));
    import.raw_leaves = params.flag("raw-leaves")?.unwrap_or(import.cid_version == 1);
    import.chunker = Chunking::parse(params.text("chunker").unwrap_or_default())?;
    if let Some(links) = params.number("max-file-links")? {
        import.max_file_links = links;
    }
    if let Some(links) = params.number("max-directory-links")? {
        import.max_directory_links = links;
    }
    if let Some(fanout) = params.number("max-hamt-fanout")? {
        import.hamt_fanout = fanout;
    }
    Ok(AddOptions {
        params: import,
        pin: params.flag("pin")?.unwrap_or(true),
        pin_name: params.text("pin-name").filter(|n| !n.is_empty()).map(str::to_owned),
        only_hash: params.flag("only-hash")?.unwrap_or(false),
        ..AddOptions::default()
    })
}
