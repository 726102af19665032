//! `repo/stat`, `repo/version` and `repo/ls`.

use axum::{Json, Router, extract::State, routing::post};

use super::{content, refs};
use crate::{
    content::ContentError,
    http::{
        HttpError,
        model::repo::{RepoStat, RepoVersion},
        params::Params,
    },
    node::Node,
    store::repo::LAYOUT,
};

/// The routes.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/repo/stat", post(stat))
        .route("/stats/repo", post(stat))
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

async fn version() -> Json<RepoVersion> {
    Json(RepoVersion { version: LAYOUT.into() })
}
