//! `cat` and `get`.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::content;
use crate::{
    content::EntryKind,
    dag::DagPath,
    http::{
        HttpError, gzip,
        params::Params,
        reply::{self, Content},
    },
    node::Node,
};

const LENGTH: HeaderName = HeaderName::from_static("x-content-length");

/// The bytes of files, one behind the other; `offset` and `length` count through all of them.
pub async fn cat(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let number = |name: &str| match params.number::<i64>(name)? {
        Some(negative) if negative < 0 => Err(HttpError::invalid(format!("cannot specify negative {name}"))),
        number => Ok(number.map(i64::unsigned_abs)),
    };
    let (mut skip, limit) = (number("offset")?.unwrap_or(0), number("length")?);
    params.arg("ipfs-path")?;
    let mut paths = Vec::new();
    for arg in params.args() {
        paths.push(DagPath::parse(arg)?);
    }
    let (mut parts, mut total) = (Vec::new(), 0u64);
    for path in paths {
        let room = limit.map_or(u64::MAX, |limit| limit - total);
        if room == 0 {
            break;
        }
        let file = content.open(path).await?;
        if skip > file.size() {
            skip -= file.size();
            continue;
        }
        let take = (file.size() - skip).min(room);
        total = total.saturating_add(take);
        parts.push((file, skip..skip + take));
        skip = 0;
    }
    let bytes = stream::iter(parts).flat_map(|(file, range)| file.range(range)).map_err(HttpError::from);
    let mut response = reply::stream(Content::Bytes, params.trailers, bytes.boxed()).await?;
    response.headers_mut().insert(LENGTH, HeaderValue::from(total));
    Ok(response)
}

/// A file or folder: as a tar archive whose paths begin with the CID or the last name, compressed when asked; a file that
/// is compressed and no archive as its bytes alone.
pub async fn get(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let archive = params.flag("archive")?.unwrap_or(false);
    let level = match (params.flag("compress")?.unwrap_or(false), params.number::<i64>("compression-level")?) {
        (false, _) => None,
        (true, None) => Some(gzip::DEFAULT_LEVEL),
        (true, Some(level)) => {
            let level = u32::try_from(level).ok().filter(|level| (1..=9).contains(level));
            Some(level.ok_or_else(|| HttpError::invalid("compression level must be between 1 and 9"))?)
        }
    };
    let path = params.path()?;
    if let (Some(level), false) = (level, archive) {
        let file = content.open(path).await?;
        let bytes = file.range(0..file.size()).map_err(HttpError::from);
        return packed(params.trailers, Some(level), file.size(), bytes).await;
    }
    let root = content.resolve(&path).await?;
    let name = path.segments.last().cloned().unwrap_or_else(|| root.to_string());
    let found = content.stat_node(&root, false).await?;
    let size = if found.kind == EntryKind::Directory { found.cumulative_size } else { found.size };
    packed(params.trailers, level, size, content.tar(root, &name, !archive).map_err(HttpError::from)).await
}

/// `size` is what is told beforehand, for those who show how far it is: a file's bytes, all blocks of a folder.
async fn packed<S>(trailers: bool, level: Option<u32>, size: u64, bytes: S) -> Result<Response<Body>, HttpError>
where
    S: Stream<Item = Result<Bytes, HttpError>> + Send + Unpin + 'static,
{
    let mut response = match level {
        None => reply::stream(Content::Tar, trailers, bytes).await,
        Some(level) => reply::stream(Content::Gzip, trailers, gzip::pack(level, bytes).boxed()).await,
    }?;
    response.headers_mut().insert(LENGTH, HeaderValue::from(size));
    Ok(response)
}
