//! `refs`, `refs/local` and `resolve`.

use axum::{Json, Router, body::Body, extract::State, response::Response, routing::post};
use futures::StreamExt;

use super::content;
use crate::{
    base::{Cid, Codec},
    content::{Reference, RefsOptions},
    dag::{DagPath, cids::CidText},
    http::{
        HttpError,
        model::dag::{PathReply, RefLine},
        params::Params,
        reply,
    },
    node::Node,
};

/// The routes.
pub fn routes() -> Router<Node> {
    Router::new().route("/refs", post(refs)).route("/refs/local", post(local)).route("/resolve", post(resolve))
}

async fn refs(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let text = params.cid_text()?;
    let mut format = params.text("format").filter(|t| !t.is_empty()).unwrap_or("<dst>").to_owned();
    if params.flag("edges")?.unwrap_or(false) {
        if format != "<dst>" {
            return Err(HttpError::invalid("using format argument with edges is not allowed"));
        }
        format = "<src> -> <dst>".into();
    }
    let max_depth: Option<i64> = params.number("max-depth")?;
    let max_depth = match params.flag("recursive")?.unwrap_or(false) {
        true => max_depth.and_then(|depth| u32::try_from(depth).ok()),
        false => Some(1),
    };
    let unique = params.flag("unique")?.unwrap_or(false);
    let options = RefsOptions { unique, max_depth, names: format.contains("<linkname>") };
    params.arg("ipfs-path")?;
    let mut roots = Vec::new();
    for arg in params.args() {
        roots.push(content.resolve_path(&DagPath::parse(arg)?).await?.cid);
    }
    let lines = content.refs(roots, options).map(move |found| {
        Ok(reply::line(&match found {
            Ok(found) => RefLine { reference: edge(&found, &format, text), err: String::new() },
            Err(error) => RefLine { reference: String::new(), err: error.to_string() },
        }))
    });
    reply::stream(reply::Content::Lines, params.trailers, lines).await
}

fn edge(found: &Reference, format: &str, text: CidText) -> String {
    let mut out = format.replace("<src>", &text.of(&found.from)).replace("<dst>", &text.of(&found.to));
    if out.contains("<linkname>") {
        out = out.replace("<linkname>", &String::from_utf8_lossy(&found.name));
    }
    out
}

/// Every block here; as in Kubo as raw ones, for blocks are kept by their hash.
pub async fn local(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let text = params.cid_text()?;
    let lines = content(&node, &params)?.local_refs().map(move |found| {
        let raw = found.map(|cid| Cid::new_v1(Codec::Raw.code(), *cid.hash()))?;
        Ok(reply::line(&RefLine { reference: text.of(&raw), err: String::new() }))
    });
    reply::stream(reply::Content::Lines, params.trailers, lines).await
}

async fn resolve(State(node): State<Node>, params: Params) -> Result<Json<PathReply>, HttpError> {
    let name = params.arg("name")?;
    let path = DagPath::parse(name)?;
    let found = content(&node, &params)?.resolve_path(&path).await?;
    // Unless told otherwise, in the multibase the question was written in.
    let text = match params.text("cid-base").unwrap_or_default() {
        "" => CidText::like(DagPath::root_text(name)),
        _ => params.cid_text()?,
    };
    let rest: String = found.rest.iter().map(|segment| format!("/{segment}")).collect();
    Ok(Json(PathReply { path: format!("/ipfs/{}{rest}", text.of(&found.cid)) }))
}
