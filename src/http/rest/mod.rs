//! Our own faces: `/api/v1` for the cluster and its tasks, `/health` and `/metrics` for those who operate a node.

use axum::Router;

use crate::node::Node;

/// The routes below `/api/v1`.
pub fn routes() -> Router<Node> {
    Router::new()
}

/// The routes for operators.
pub fn operations() -> Router<Node> {
    Router::new()
}
