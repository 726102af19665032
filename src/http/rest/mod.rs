//! Our own faces: `/api/v1` for blocks, whole repos, the cluster and its tasks, `/health` and `/metrics` for those who
//! operate a node.

mod cluster;
mod content;
mod operations;
mod repo;
mod tasks;

use axum::{
    Router,
    extract::{FromRequest, Request},
    routing::{get, post},
};
use serde::de::DeserializeOwned;

use super::HttpError;
use crate::node::Node;

/// The routes below `/api/v1`.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/stat", get(content::stat))
        .route("/cluster/init", post(cluster::init))
        .route("/cluster/status", get(cluster::status))
        .route("/cluster/peers", get(cluster::peers))
        .route("/cluster/token", post(cluster::token))
        .route("/repo/export", post(repo::export))
        .route("/repo/import", post(repo::import))
        .route("/tasks", post(tasks::submit))
        .route("/tasks/status", get(tasks::status))
        .route("/tasks/wait", get(tasks::wait))
        .route("/tasks/result", get(tasks::result))
}

/// The routes for operators.
pub fn operations() -> Router<Node> {
    Router::new().route("/health", get(operations::health)).route("/metrics", get(operations::metrics))
}

/// A JSON body; what is wrong with it is told in our error's shape. Only `application/json` is read, which a form on a
/// web page cannot send.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Json(value)),
            Err(error) => Err(HttpError::invalid(error.body_text())),
        }
    }
}
