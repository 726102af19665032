//! Kubo's RPC, `/api/v0`: the paths, arguments, replies and errors its clients know.

use axum::Router;

use crate::node::Node;

/// The routes below `/api/v0`.
pub fn routes() -> Router<Node> {
    Router::new()
}
