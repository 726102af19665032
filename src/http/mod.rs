//! The HTTP faces of a node and their typed client.
//!
//! For the command line and for programs: [`rpc`] is Kubo's `/api/v0`, [`rest`] our own `/api/v1`, `/health` and
//! `/metrics`, [`client`] speaks both. What always holds: no handler runs before [`guard`] has looked at where the
//! request comes from, bodies stream both ways, and an error reaches the caller as a status and a sentence. Start
//! with [`router`].

pub mod client;
pub mod error;
pub mod guard;
mod gzip;
pub mod model;
pub mod params;
pub mod reply;
pub mod rest;
pub mod rpc;

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

pub use client::{Client, ClientError};
pub use error::HttpError;

use crate::{
    base::{Kind, Tasks},
    node::Node,
};

/// Most bytes of a request's body that are no upload.
const BODY_LIMIT_BYTES: usize = 256 * 1024;

/// How long a request under way may go on when the daemon stops.
const LAST_MOMENT: Duration = Duration::from_millis(150);

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

/// Serves `router` on `listener` until `tasks` are stopped. Requests under way then get a moment to finish; those that
/// wait for something longer are answered with an error, and connections that are still open are left.
pub fn serve(listener: TcpListener, router: Router, tasks: &Tasks) {
    let group = tasks.clone();
    let router = router.layer(middleware::from_fn_with_state(tasks.clone(), until_stopped));
    tasks.spawn_graceful("http", async move {
        let stop = group.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.stopped().await });
        tokio::select! {
            ended = serving => if let Err(error) = ended { tracing::error!(%error, "the API server ended") },
            () = over(&group, 2 * LAST_MOMENT) => tracing::debug!("connections still open were left"),
        }
    });
}

async fn until_stopped(State(group): State<Tasks>, request: Request, next: Next) -> Response {
    tokio::select! {
        answer = next.run(request) => answer,
        () = over(&group, LAST_MOMENT) => {
            let stopping = "the daemon is stopping, so this was not finished; ask again when it runs";
            HttpError::new(Kind::Offline, stopping).into_response()
        }
    }
}

/// Resolves `grace` after the group was told to stop.
async fn over(group: &Tasks, grace: Duration) {
    group.stopped().await;
    tokio::time::sleep(grace).await;
}
