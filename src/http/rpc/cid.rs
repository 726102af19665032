//! `cid/format`, `cid/base32`, `cid/inspect`, `cid/bases`, `cid/codecs` and `cid/hashes`: nothing is stored or fetched.

use axum::{Json, Router, body::Body, response::Response, routing::post};
use futures::stream;

use crate::{
    base::PeerId,
    dag::{
        cids::{self, BASES, Rewrite},
        codec::names,
    },
    http::{
        HttpError,
        model::dag::{CidFormatted, CidInspected, CodeAndName, InspectedBase, InspectedCodec, InspectedHash},
        params::Params,
        reply,
    },
    node::Node,
};

/// The routes below `/api/v0/cid`.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/cid/format", post(format))
        .route("/cid/base32", post(base32))
        .route("/cid/inspect", post(inspect))
        .route("/cid/bases", post(bases))
        .route("/cid/codecs", post(codecs))
        .route("/cid/hashes", post(hashes))
}

async fn format(params: Params) -> Result<Response<Body>, HttpError> {
    let text = |name| params.text(name).unwrap_or_default();
    let rewrite = Rewrite::parse(text("v"), text("mc"), text("b"))?;
    let format = params.text("f").filter(|t| !t.is_empty()).unwrap_or("%s");
    if !format.contains('%') {
        return Err(HttpError::invalid(format!("invalid format string: {format:?}")));
    }
    all(&params, &rewrite, format).await
}

async fn base32(params: Params) -> Result<Response<Body>, HttpError> {
    all(&params, &Rewrite::parse("1", "", "base32")?, "%s").await
}

async fn all(params: &Params, rewrite: &Rewrite, format: &str) -> Result<Response<Body>, HttpError> {
    params.arg("cid")?;
    let lines: Vec<_> = params.args().map(|text| Ok(reply::line(&formatted(text, rewrite, format)))).collect();
    reply::stream(reply::Content::Lines, params.trailers, stream::iter(lines)).await
}

/// One CID rewritten, or why not.
pub fn formatted(text: &str, rewrite: &Rewrite, format: &str) -> CidFormatted {
    let (formatted, error_msg) = match rewrite.apply(text.trim(), format) {
        Ok(formatted) => (formatted, String::new()),
        Err(error) => (String::new(), error.to_string()),
    };
    CidFormatted { cid_str: text.to_owned(), formatted, error_msg }
}

async fn inspect(params: Params) -> Result<Json<CidInspected>, HttpError> {
    Ok(Json(inspected(params.arg("cid")?)))
}

/// A CID taken apart, or why it is none.
pub fn inspected(text: &str) -> CidInspected {
    let parts = match cids::inspect(text) {
        Ok(parts) => parts,
        Err(error) => {
            let peer = text.parse::<PeerId>().ok().and_then(|peer| cids::of_peer(&peer));
            let hint =
                peer.map(|cid| format!("\nNote: this is a peer id; as a CID it is\n  {cid}")).unwrap_or_default();
            return CidInspected {
                cid: text.into(),
                error_msg: format!("invalid CID: {error}{hint}"),
                ..Default::default()
            };
        }
    };
    CidInspected {
        cid: text.into(),
        version: parts.version,
        multibase: InspectedBase { prefix: parts.base.0.into(), name: parts.base.1.into() },
        multicodec: InspectedCodec { code: parts.codec.0, name: parts.codec.1 },
        multihash: InspectedHash {
            code: parts.hash.0,
            name: parts.hash.1,
            length: parts.digest.len(),
            digest: data_encoding::HEXLOWER.encode(&parts.digest),
        },
        cid_v0: parts.v0.unwrap_or_default(),
        cid_v1: parts.v1,
        error_msg: String::new(),
    }
}

async fn bases() -> Json<Vec<CodeAndName>> {
    let item = |(name, base): &(&str, multibase::Base)| CodeAndName { code: base.code() as u64, name: (*name).into() };
    Json(BASES.iter().map(item).collect())
}

async fn codecs(params: Params) -> Result<Json<Vec<CodeAndName>>, HttpError> {
    let supported = params.flag("supported")?.unwrap_or(false);
    let wanted = names::CODECS.iter().filter(|(code, _)| !supported || names::is_known((*code).into()));
    Ok(Json(wanted.map(|(code, name)| CodeAndName { code: *code, name: (*name).into() }).collect()))
}

async fn hashes() -> Json<Vec<CodeAndName>> {
    Json(names::hashes().into_iter().map(|(code, name)| CodeAndName { code, name }).collect())
}
