//! `repo/stat`, `repo/gc`, `repo/version` and `repo/ls`.

use axum::{Json, Router, body::Body, extract::State, response::Response, routing::post};
use futures::{StreamExt, stream};

use super::{content, refs};
use crate::{
    base::HasKind,
    content::ContentError,
    http::{
        HttpError,
        model::{
            dag::CidLink,
            repo::{GcLine, RepoStat, RepoVersion},
        },
        params::Params,
        reply,
    },
    node::Node,
    store::repo::LAYOUT,
};

/// The routes.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/repo/stat", post(stat))
        .route("/stats/repo", post(stat))
        .route("/repo/gc", post(gc))
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

async fn version() -> Json<RepoVersion> {
    Json(RepoVersion { version: LAYOUT.into() })
}
