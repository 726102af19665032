//! `repo/stat`, `repo/gc`, `repo/verify`, `repo/version` and `repo/ls`.

use std::time::Duration;

use axum::{Json, Router, body::Body, extract::State, response::Response, routing::post};
use futures::{StreamExt, stream};

use super::{content, refs};
use crate::{
    base::{HasKind, Kind},
    cluster::Cluster,
    config::duration,
    content::{ContentError, Mend, Verified},
    dag::cids::CidText,
    http::{
        HttpError,
        model::{
            dag::CidLink,
            repo::{FaultReply, GcLine, RepoStat, RepoVersion, VerifyLine},
        },
        params::Params,
        reply,
    },
    node::Node,
    store::{Fault, repo::LAYOUT},
};

/// The routes.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/repo/stat", post(stat))
        .route("/stats/repo", post(stat))
        .route("/repo/gc", post(gc))
        .route("/repo/verify", post(verify))
        .route("/repo/version", post(version))
        .route("/repo/ls", post(refs::local))
}

async fn stat(State(node): State<Node>, params: Params) -> Result<Json<RepoStat>, HttpError> {
    let repo = content(&node, &params)?.repo().clone();
    let (measured, blocks) = (repo.clone(), repo.blocks().stat());
    let repo_size =
        tokio::task::spawn_blocking(move || measured.disk_bytes()).await.map_err(ContentError::joined)??;
    let sizes = RepoStat { repo_size, storage_max: repo.blocks().limit().unwrap_or(u64::MAX), ..RepoStat::default() };
    if params.flag("size-only")?.unwrap_or(false) {
        return Ok(Json(sizes));
    }
    let (repo_path, version) = (repo.dir().display().to_string(), format!("fs-repo@{LAYOUT}"));
    Ok(Json(RepoStat { num_objects: blocks.blocks, repo_path, version, ..sizes }))
}

/// Removes what nothing keeps; names it.
async fn gc(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let (silent, told) = (params.flag("silent")?.unwrap_or(false), params.flag("stream-errors")?.unwrap_or(false));
    let text = params.cid_text()?;
    let removed = content(&node, &params)?.collect();
    let lines = removed.flat_map(move |found| {
        let lines = match found {
            Ok(_) if silent => Vec::new(),
            Ok(cid) => vec![Ok(GcLine { key: Some(CidLink { cid: text.of(&cid) }), error: String::new() })],
            Err(error) if told => {
                let failed = HttpError::new(error.kind(), "encountered errors during gc run");
                vec![Ok(GcLine { key: None, error: error.to_string() }), Err(failed)]
            }
            Err(error) => vec![Err(error.into())],
        };
        stream::iter(lines)
    });
    let lines = reply::alive(Box::pin(reply::packed(lines)));
    reply::stream(reply::Content::Lines, params.trailers, Box::pin(lines)).await
}

/// How long one damaged block is looked for in the network, unless told otherwise.
const HEAL_LIMIT: Duration = Duration::from_secs(30);

/// What a check has found so far.
#[derive(Default)]
struct Tally {
    damaged: u64,
    mended: u64,
    blocks: u64,
}

/// Checks everything in the repo, and mends what is to be mended.
async fn verify(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let (drop, heal) = (params.flag("drop")?.unwrap_or(false), params.flag("heal")?.unwrap_or(false));
    let limit = match params.text("heal-timeout").filter(|text| !text.is_empty()) {
        None => HEAL_LIMIT,
        Some(text) => duration::parse(text)?,
    };
    let mend = match (heal, drop) {
        (true, _) => {
            node.online()?;
            Mend::Heal(if limit.is_zero() { Duration::MAX } else { limit })
        }
        (false, true) => Mend::Drop,
        (false, false) => Mend::Nothing,
    };
    let text = params.cid_text()?;
    let dir = node.repo().dir().to_owned();
    let cluster =
        tokio::task::spawn_blocking(move || Cluster::check_files(&dir)).await.map_err(ContentError::joined)?;
    let cluster = cluster.into_iter().map(|(file, reason)| Ok(Verified::Fault(Box::new(Fault::of(file, reason)))));
    let found = stream::iter(cluster).chain(content(&node, &params)?.verify(mend));
    // One more behind the last, for how it ended.
    let all = found.map(|found| found.map(Some)).chain(stream::iter([Ok(None)]));
    let lines = all.scan(Tally::default(), move |tally, found| {
        let line = match found {
            Err(error) => Err(error.into()),
            Ok(Some(Verified::Blocks(blocks))) => {
                tally.blocks = blocks;
                Ok(VerifyLine { progress: blocks, ..VerifyLine::default() })
            }
            Ok(Some(Verified::Fault(fault))) => {
                tally.damaged += 1;
                tally.mended += u64::from(fault.mended);
                Ok(told(*fault, text))
            }
            Ok(None) => ended(tally),
        };
        std::future::ready(Some(line))
    });
    let lines = reply::alive(Box::pin(reply::packed(lines)));
    reply::stream(reply::Content::Lines, params.trailers, Box::pin(lines)).await
}

fn told(fault: Fault, text: CidText) -> VerifyLine {
    let Fault { file, offset, cid, reason, mended } = fault;
    let cid = cid.map(|cid| text.of(&cid));
    let place = offset.map_or(file.clone(), |offset| format!("{file}, byte {offset}"));
    let msg = match &cid {
        Some(cid) => format!("block {cid} was corrupt ({place}: {reason})"),
        None if mended => format!("{place} was corrupt ({reason}), rebuilt"),
        None => format!("{place} was corrupt ({reason})"),
    };
    VerifyLine { msg, progress: 0, fault: Some(FaultReply { file, offset, cid, reason, mended }) }
}

/// The last line; an error when something stays damaged.
fn ended(tally: &Tally) -> Result<VerifyLine, HttpError> {
    let msg = match (tally.damaged, tally.mended) {
        (0, _) => "verify complete, all blocks validated.".to_owned(),
        (damaged, 0) => format!("verify complete, {damaged} blocks or files corrupt"),
        (damaged, mended) => format!("verify complete, {damaged} blocks or files corrupt, {mended} of them mended"),
    };
    match tally.damaged == tally.mended {
        true => Ok(VerifyLine { msg, ..VerifyLine::default() }),
        false => Err(HttpError::new(Kind::Corrupt, msg)),
    }
}

async fn version() -> Json<RepoVersion> {
    Json(RepoVersion { version: LAYOUT.into() })
}
