//! Kubo's RPC, `/api/v0`: the paths, arguments, replies and errors its clients know.
//!
//! POST only, as Kubo has it. What a client asks for and this node cannot do is refused with a sentence, never ignored
//! silently when it would change the result.

mod add;
mod block;
pub mod cid;
mod dag;
mod files;
mod form;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod id;
mod ls;
mod part;
mod pin;
mod read;
mod refs;
mod repo;
mod routing;
mod swarm;

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::post};

pub use part::go_mode;

use super::{HttpError, error, params::Params};
use crate::{base::MAX_BLOCK_BYTES, content::Content, node::Node};

/// Blocks of the largest size that one `block/put` may bring; smaller ones may be more.
const PUT_BLOCKS: usize = 16;
/// Room for what a form puts around them.
const FORM_BYTES: usize = 64 * 1024;

/// The routes below `/api/v0`.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/add", post(add::add).layer(DefaultBodyLimit::disable()))
        .route("/cat", post(read::cat))
        .route("/get", post(read::get))
        .route("/ls", post(ls::ls))
        .nest("/files", files::routes())
        .route("/id", post(id::id))
        .route("/version", post(id::version))
        .route("/swarm/peers", post(swarm::peers))
        .route("/swarm/connect", post(swarm::connect))
        .route("/pin/add", post(pin::add).layer(DefaultBodyLimit::max(pin::ARGS_BYTES)))
        .route("/pin/rm", post(pin::remove).layer(DefaultBodyLimit::max(pin::ARGS_BYTES)))
        .route("/pin/ls", post(pin::list))
        .route("/pin/update", post(pin::update))
        .route("/pin/verify", post(pin::verify))
        .route("/block/get", post(block::get))
        .route("/block/put", post(block::put).layer(DefaultBodyLimit::max(PUT_BLOCKS * MAX_BLOCK_BYTES + FORM_BYTES)))
        .route("/block/stat", post(block::stat))
        .route("/block/rm", post(block::remove))
        .route("/routing/findprovs", post(routing::find_providers))
        .merge(cid::routes())
        .merge(dag::routes())
        .merge(refs::routes())
        .merge(repo::routes())
        .layer(middleware::map_request(form::ends_later))
        .layer(middleware::map_response(error::as_kubo))
}

/// The node's content, with the time limit the caller asks for.
pub(super) fn content(node: &Node, params: &Params) -> Result<Content, HttpError> {
    let content = match params.timeout()? {
        Some(limit) => node.content().with_timeout(limit),
        None => node.content().clone(),
    };
    Ok(if params.flag("offline")?.unwrap_or(false) { content.offline() } else { content })
}
