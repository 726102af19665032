//! The HTTP faces of a node and their typed client.
//!
//! For the command line and for programs: [`rpc`] is Kubo's `/api/v0`, [`rest`] our own `/api/v1`, `/health` and
//! `/metrics`, [`client`] speaks both. What always holds: no handler runs before [`guard`] has looked at where the
//! request comes from, bodies stream both ways, and an error reaches the caller as a status and a sentence. Start
//! with [`router`].

pub mod client;
pub mod error;
pub mod guard;
pub mod model;
pub mod params;
pub mod reply;
pub mod rest;
pub mod rpc;

use axum::{Router, middleware};
use tokio::net::TcpListener;

pub use client::{Client, ClientError};
pub use error::HttpError;

use crate::{base::Tasks, node::Node};

/// Most bytes of a request's body that are no upload.
const BODY_LIMIT_BYTES: usize = 256 * 1024;

/// Every route of a node, behind the guard.
pub fn router(node: Node) -> Router {
    Router::new()
        .nest("/api/v0", rpc::routes())
        .nest("/api/v1", rest::routes())
        .merge(rest::operations())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(middleware::from_fn(guard::check))
        .with_state(node)
}

/// Serves `router` on `listener` until `tasks` are stopped; requests under way then get a moment to finish.
pub fn serve(listener: TcpListener, router: Router, tasks: &Tasks) {
    let group = tasks.clone();
    tasks.spawn_graceful("http", async move {
        let stop = group.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.stopped().await });
        let limit = async {
            group.stopped().await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        };
        tokio::select! {
            ended = serving => if let Err(error) = ended { tracing::error!(%error, "the API server ended") },
            () = limit => tracing::debug!("requests still under way were cut off"),
        }
    });
}
