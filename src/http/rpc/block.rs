//! `block/get`, `block/put` and `block/stat`.

use axum::{
    Json,
    body::Body,
    extract::{Multipart, State},
    response::Response,
};

use super::content;
use crate::{
    base::{Codec, Hash},
    content::BlockFormat,
    http::{
        HttpError,
        model::BlockReply,
        params::Params,
        reply::{self, Content},
    },
    node::Node,
};

/// A block's bytes.
pub async fn get(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let data = content(&node, &params)?.block_get(&params.cid()?).await?;
    reply::stream(Content::Bytes, params.trailers, reply::once(data)).await
}

/// A block's size.
pub async fn stat(State(node): State<Node>, params: Params) -> Result<Json<BlockReply>, HttpError> {
    let cid = params.cid()?;
    let size = content(&node, &params)?.block_stat(&cid).await?;
    Ok(Json(BlockReply { key: cid.to_string(), size }))
}

/// Stores each part of the form as a block; answers with the last one.
pub async fn put(State(node): State<Node>, params: Params, mut form: Multipart) -> Result<Json<BlockReply>, HttpError> {
    let format = format(&params)?;
    let pin = params.flag("pin")?.unwrap_or(false);
    let content = content(&node, &params)?;
    let mut last = None;
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        let data = part.bytes().await.map_err(bad_form)?;
        let size = data.len() as u64;
        let cid = content.block_put(data, format, pin).await?;
        last = Some(BlockReply { key: cid.to_string(), size });
    }
    last.map(Json).ok_or_else(|| HttpError::invalid("file argument 'data' is required"))
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
    // `format` is the older name, where "v0" and "protobuf" stand for DAG-PB.
    let (codec, version) = match given("cid-codec").or(given("format")).unwrap_or("raw") {
        "v0" => (Codec::DagPb, 0),
        "raw" => (Codec::Raw, 1),
        "dag-pb" | "protobuf" => (Codec::DagPb, 1),
        "dag-cbor" | "cbor" => (Codec::DagCbor, 1),
        other => {
            return Err(HttpError::invalid(format!("codec '{other}' is not known; use raw, dag-pb or dag-cbor")));
        }
    };
    Ok(BlockFormat { codec, hash, version })
}
