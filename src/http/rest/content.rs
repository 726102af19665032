//! `/api/v1/stat`.

use axum::{Json, extract::State};

use crate::{
    http::{HttpError, model::NodeStatReply, params::Params, rpc},
    node::Node,
};

/// What the block is that a path (`arg`) leads to.
pub async fn stat(State(node): State<Node>, params: Params) -> Result<Json<NodeStatReply>, HttpError> {
    let text = params.cid_text()?;
    let stat = rpc::content(&node, &params)?.node_stat(&params.path()?).await?;
    Ok(Json(NodeStatReply {
        cid: text.of(&stat.cid),
        kind: stat.kind.as_str().into(),
        codec: stat.codec,
        block_size: stat.block_size,
        cumulative_size: stat.cumulative_size,
        links: stat.links,
        size: stat.size,
    }))
}
