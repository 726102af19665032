//! `id` and `version`.

use axum::{Json, extract::State};

use crate::{
    base::{Kind, PeerId},
    config,
    http::{
        HttpError,
        model::{IdReply, VersionReply},
        params::Params,
    },
    node::Node,
    store::repo::LAYOUT,
};

/// Who this node, or a peer it is connected to, is.
pub async fn id(State(node): State<Node>, params: Params) -> Result<Json<IdReply>, HttpError> {
    let own = node.peer_id();
    if let Some(text) = params.args().next().filter(|t| !t.is_empty()) {
        let peer: PeerId = text.parse().map_err(|e| HttpError::invalid(format!("'{text}' is no peer id: {e}")))?;
        if peer != own {
            return other(&node, peer);
        }
    }
    let key = node.repo().keypair().public().encode_protobuf();
    let (addresses, protocols) = match node.online() {
        Ok(online) => (online.net.peers().announce_addrs(), online.net.peers().protocols()),
        Err(_) => Default::default(),
    };
    Ok(Json(IdReply {
        id: own.to_string(),
        public_key: data_encoding::BASE64.encode(&key),
        addresses: addresses.iter().map(|a| format!("{a}/p2p/{own}")).collect(),
        agent_version: config::agent_version(),
        protocols,
    }))
}

fn other(node: &Node, peer: PeerId) -> Result<Json<IdReply>, HttpError> {
    let peers = node.online()?.net.peers();
    let info = peers.connected().into_iter().find(|p| p.peer == peer);
    let info = info.ok_or_else(|| {
        HttpError::new(Kind::NotFound, format!("{peer} is not connected; connect to it with 'ipfs-kit connect ADDR'"))
    })?;
    Ok(Json(IdReply {
        id: peer.to_string(),
        public_key: String::new(),
        addresses: peers.addresses_of(&peer).iter().map(|a| format!("{a}/p2p/{peer}")).collect(),
        agent_version: info.agent_version.unwrap_or_default(),
        protocols: info.protocols,
    }))
}

/// The version of this program.
pub async fn version() -> Json<VersionReply> {
    Json(VersionReply {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: String::new(),
        repo: LAYOUT.into(),
        system: format!("{}/{}", std::env::consts::ARCH, std::env::consts::OS),
        golang: String::new(),
    })
}
