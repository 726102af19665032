//! `cat` and `get`.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue},
    response::Response,
};
use futures::TryStreamExt;

use super::content;
use crate::{
    content::EntryKind,
    http::{HttpError, params::Params, reply, reply::Content},
    node::Node,
};

/// A file's bytes.
pub async fn cat(State(node): State<Node>, params: Params) -> Result<Response, HttpError> {
    let content = content(&node, &params)?;
    let path = params.path()?;
    let start: u64 = params.number("offset")?.unwrap_or(0);
    let length: Option<u64> = params.number("length")?;
    let range = start..length.map_or(u64::MAX, |n| start.saturating_add(n));
    let size = content.stat(&path).await?;
    let bytes = Box::pin(content.cat(path, Some(range.clone())).map_err(HttpError::from));
    let mut response = reply::stream(Content::Bytes, params.trailers, bytes).await?;
    if size.kind == EntryKind::File {
        let left = size.size.min(range.end).saturating_sub(start);
        response.headers_mut().insert(HeaderName::from_static("x-content-length"), HeaderValue::from(left));
    }
    Ok(response)
}

/// A file or folder as a tar archive whose paths begin with the CID.
pub async fn get(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    if params.flag("compress")?.unwrap_or(false) {
        return Err(HttpError::invalid("compress is not supported; compress the archive after it has come"));
    }
    let content = content(&node, &params)?;
    let path = params.path()?;
    let root = content.resolve(&path).await?;
    let name = path.segments.last().cloned().unwrap_or_else(|| root.to_string());
    let archive = Box::pin(content.tar(root, &name).map_err(HttpError::from));
    reply::stream(Content::Tar, params.trailers, archive).await
}
