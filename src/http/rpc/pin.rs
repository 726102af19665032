//! `pin/add`, `pin/rm` and `pin/ls`.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt};

use super::content;
use crate::{
    base::{Cid, Kind},
    content::{Content, PinEntry, PinFilter, PinType},
    dag::DagPath,
    http::{
        HttpError,
        model::{PinLine, PinList, PinType as TypeReply, PinsReply},
        params::Params,
        reply,
    },
    node::Node,
    store::PinKind,
};

/// Most pins in an answer that is not streamed.
const LIST_LIMIT: usize = 1_000_000;

async fn roots(content: &Content, params: &Params) -> Result<Vec<Cid>, HttpError> {
    params.arg("ipfs-path")?;
    let mut out = Vec::new();
    for text in params.args() {
        out.push(content.resolve(&DagPath::parse(text)?).await?);
    }
    Ok(out)
}

/// Pins, fetching what is missing.
pub async fn add(State(node): State<Node>, params: Params) -> Result<Json<PinsReply>, HttpError> {
    let content = content(&node, &params)?;
    let kind = if params.flag("recursive")?.unwrap_or(true) { PinKind::Recursive } else { PinKind::Direct };
    let name = params.text("name").filter(|n| !n.is_empty()).map(str::to_owned);
    let mut pins = Vec::new();
    for cid in roots(&content, &params).await? {
        content.pin(&cid, kind, name.clone()).await?;
        pins.push(cid.to_string());
    }
    Ok(Json(PinsReply { pins }))
}

/// Takes pins back.
pub async fn remove(State(node): State<Node>, params: Params) -> Result<Json<PinsReply>, HttpError> {
    let content = content(&node, &params)?;
    let mut pins = Vec::new();
    for cid in roots(&content.offline(), &params).await? {
        content.unpin(&cid, None).await?;
        pins.push(cid.to_string());
    }
    Ok(Json(PinsReply { pins }))
}

/// Lists pins; with `arg`, only how those are pinned.
pub async fn list(State(node): State<Node>, params: Params) -> Result<Response, HttpError> {
    let content = content(&node, &params)?.offline();
    let filter = match params.text("type").unwrap_or("all") {
        "all" | "" => PinFilter::All,
        "recursive" => PinFilter::Only(PinType::Recursive),
        "direct" => PinFilter::Only(PinType::Direct),
        "indirect" => PinFilter::Only(PinType::Indirect),
        other => {
            return Err(HttpError::invalid(format!(
                "invalid type '{other}', must be one of {{direct, indirect, recursive, all}}"
            )));
        }
    };
    let found = if params.args().next().is_some() {
        let mut found = Vec::new();
        for cid in roots(&content, &params).await? {
            found.push(one(&content, cid, filter).await?);
        }
        futures::stream::iter(found.into_iter().map(Ok)).boxed()
    } else {
        content.pins(filter).map_err(HttpError::from).boxed()
    };
    if params.flag("stream")?.unwrap_or(false) {
        let lines = found.map_ok(|pin| {
            let (cid, kind) = (pin.cid.to_string(), pin.kind.as_str().to_owned());
            reply::line(&PinLine { cid, kind, name: pin.name.unwrap_or_default() })
        });
        return reply::stream(reply::Content::Lines, params.trailers, lines).await;
    }
    let all: Vec<PinEntry> = found.take(LIST_LIMIT + 1).try_collect().await?;
    if all.len() > LIST_LIMIT {
        return Err(HttpError::new(Kind::Busy, "over a million pins; ask again with stream=true"));
    }
    let keys: BTreeMap<_, _> = all
        .into_iter()
        .map(|pin| {
            let kind = pin.kind.as_str().to_owned();
            (pin.cid.to_string(), TypeReply { kind, name: pin.name.unwrap_or_default() })
        })
        .collect();
    Ok(Json(PinList { keys }).into_response())
}

async fn one(content: &Content, cid: Cid, filter: PinFilter) -> Result<PinEntry, HttpError> {
    if let Some(pin) = content.pinned(&cid)?
        && (filter == PinFilter::All || filter == PinFilter::Only(pin.kind))
    {
        return Ok(pin);
    }
    if matches!(filter, PinFilter::All | PinFilter::Only(PinType::Indirect)) {
        let mut indirect = std::pin::pin!(content.pins(PinFilter::Only(PinType::Indirect)));
        while let Some(pin) = indirect.try_next().await? {
            if pin.cid.hash() == cid.hash() {
                return Ok(pin);
            }
        }
    }
    Err(HttpError::new(Kind::NotFound, format!("path '{cid}' is not pinned")))
}
