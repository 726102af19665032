//! `block/get`, `block/put`, `block/stat` and `block/rm`.

use axum::{
    Json,
    body::Body,
    extract::{Multipart, State},
    response::Response,
};
use futures::stream;

use super::content;
use crate::{
    base::{Codec, Hash},
    content::BlockFormat,
    dag::{DagPath, codec::names},
    http::{
        HttpError,
        model::{BlockReply, dag::Removed},
        params::Params,
        reply::{self, Content},
    },
    node::Node,
};

/// A block's bytes.
pub async fn get(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let cid = content.resolve_path(&params.path()?).await?.cid;
    reply::stream(Content::Block, params.trailers, reply::once(content.block_get(&cid).await?)).await
}

/// A block's size.
pub async fn stat(State(node): State<Node>, params: Params) -> Result<Json<BlockReply>, HttpError> {
    let text = params.cid_text()?;
    let content = content(&node, &params)?;
    let cid = content.resolve_path(&params.path()?).await?.cid;
    let size = content.block_stat(&cid).await?;
    Ok(Json(BlockReply { key: text.of(&cid), size }))
}

/// Stores each part of the form as a block; one answer a line.
pub async fn put(State(node): State<Node>, params: Params, mut form: Multipart) -> Result<Response<Body>, HttpError> {
    let format = format(&params)?;
    let text = params.cid_text()?;
    let pin = params.flag("pin")?.unwrap_or(false);
    let content = content(&node, &params)?;
    let mut lines = Vec::new();
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        let data = part.bytes().await.map_err(bad_form)?;
        let size = data.len() as u64;
        let cid = content.block_put(data, format, pin).await?;
        lines.push(Ok(reply::line(&BlockReply { key: text.of(&cid), size })));
    }
    if lines.is_empty() {
        return Err(HttpError::usage("file argument 'data' is required"));
    }
    reply::stream(Content::Lines, params.trailers, stream::iter(lines)).await
}

/// Removes blocks that nothing keeps; one answer a line.
pub async fn remove(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let text = params.cid_text()?;
    let (force, quiet) = (params.flag("force")?.unwrap_or(false), params.flag("quiet")?.unwrap_or(false));
    let content = content(&node, &params)?;
    params.arg("cid")?;
    let mut cids = Vec::new();
    for arg in params.args() {
        cids.push(content.resolve_path(&DagPath::parse(arg)?).await?.cid);
    }
    let removed = content.block_remove(&cids, force).await?;
    let lines = cids.into_iter().zip(removed).filter_map(move |(cid, removed)| {
        let error = removed.err().map(|e| e.to_string()).unwrap_or_default();
        let told = !quiet || !error.is_empty();
        told.then(|| Ok(reply::line(&Removed { hash: text.of(&cid), error })))
    });
    reply::stream(Content::Lines, params.trailers, stream::iter(lines)).await
}

/// Why a form cannot be read.
pub fn bad_form(error: axum::extract::multipart::MultipartError) -> HttpError {
    HttpError::usage(format!("the form cannot be read: {}", error.body_text()))
}

fn format(params: &Params) -> Result<BlockFormat, HttpError> {
    let given = |name: &str| params.text(name).filter(|t| !t.is_empty());
    let hash = Hash::parse(given("mhtype").unwrap_or("sha2-256"))?;
    if params
        .number::<i64>("mhlen")?
        .is_some_and(|n| n != -1 && hash.digest(b"").is_ok_and(|d| i64::from(d.size()) != n))
    {
        return Err(HttpError::invalid("mhlen: shortened digests are not made; leave it out"));
    }
    let named = |name: &str| {
        let unknown = || HttpError::invalid(format!("codec '{name}' is not known; 'cid codecs' lists them"));
        names::codec_named(name).ok_or_else(unknown)
    };
    // `format` is the older name, where "v0" and "protobuf" stand for DAG-PB and "cbor" for DAG-CBOR.
    let (codec, version) = match (given("format"), given("cid-codec").unwrap_or("raw")) {
        (Some(_), codec) if codec != "raw" => {
            return Err(HttpError::invalid(
                "unable to use \"format\" (deprecated) and a custom \"cid-codec\" at the same time",
            ));
        }
        (Some("v0"), _) if hash != Hash::Sha2_256 => {
            return Err(HttpError::invalid("only sha2-256 is allowed with CIDv0"));
        }
        (Some("v0"), _) => (Codec::DagPb, 0),
        (Some("protobuf"), _) => (Codec::DagPb, 1),
        (Some("cbor"), _) => (Codec::DagCbor, 1),
        (Some(name), _) | (None, name) => (named(name)?, 1),
    };
    Ok(BlockFormat { codec, hash, version })
}
