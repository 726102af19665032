//! `/api/v1/cluster`: found it, look at it, let others in.

use std::time::Duration;

use axum::extract::State;

use super::Json;
use crate::{
    cluster::{ClusterStatus, Timing, Token},
    http::{
        HttpError,
        model::{InitRequest, MeReply, MemberReply, StatusReply, TokenReply, TokenRequest},
    },
    node::Node,
};

/// How long a token admits when nothing else is said.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

type Reply<T> = Result<axum::Json<T>, HttpError>;

/// Founds a cluster with this node as its first master.
pub async fn init(State(node): State<Node>, Json(request): Json<InitRequest>) -> Reply<StatusReply> {
    let timing = match request.timing.as_deref() {
        None | Some("lan") => Timing::LAN,
        Some("wan") => Timing::WAN,
        Some(other) => return Err(HttpError::invalid(format!("timing '{other}' is not known; use lan or wan"))),
    };
    let status = node.online()?.cluster.init_with(timing).await?;
    Ok(axum::Json(shown(status)))
}

/// The cluster at this moment.
pub async fn status(State(node): State<Node>) -> Reply<StatusReply> {
    Ok(axum::Json(shown(node.online()?.cluster.status().await?)))
}

/// Its masters and workers.
pub async fn peers(State(node): State<Node>) -> Reply<Vec<MemberReply>> {
    Ok(axum::Json(shown(node.online()?.cluster.status().await?).members))
}

/// Makes a token that admits to the cluster.
pub async fn token(State(node): State<Node>, Json(request): Json<TokenRequest>) -> Reply<TokenReply> {
    let ttl = request.ttl_seconds.map_or(TOKEN_TTL, Duration::from_secs);
    if ttl.is_zero() {
        return Err(HttpError::invalid(
            "a token that admits for less than a second is of no use; give it longer by --ttl",
        ));
    }
    let token: Token = node.online()?.cluster.token_create(request.role, ttl).await?;
    Ok(axum::Json(TokenReply {
        token: token.to_string(),
        role: token.role,
        expires_ms: token.expires_ms,
        cluster: token.cluster.to_string(),
    }))
}

fn shown(status: ClusterStatus) -> StatusReply {
    StatusReply {
        cluster: status.cluster.to_string(),
        leader: status.leader.map(|p| p.to_string()),
        term: status.term,
        committed: status.committed,
        applied: status.applied,
        me: MeReply {
            peer: status.me.peer.to_string(),
            role: status.me.role,
            node: status.me.node.map(|n| n.to_string()),
        },
        members: status
            .members
            .into_iter()
            .map(|m| MemberReply {
                peer: m.peer.to_string(),
                node: m.node.to_string(),
                role: m.role,
                state: m.state,
                voter: m.voter,
                addresses: m.addresses.iter().map(ToString::to_string).collect(),
            })
            .collect(),
    }
}
