//! `swarm/peers` and `swarm/connect`.

use axum::{Json, extract::State};

use crate::{
    config::address,
    http::{
        HttpError,
        model::{PeerIdentify, Strings, SwarmPeer, SwarmPeers},
        params::Params,
    },
    net::Direction,
    node::Node,
};

/// The connected peers.
pub async fn peers(State(node): State<Node>, params: Params) -> Result<Json<SwarmPeers>, HttpError> {
    let verbose = params.flag("verbose")?.unwrap_or(false);
    let latency = verbose || params.flag("latency")?.unwrap_or(false);
    let direction = verbose || params.flag("direction")?.unwrap_or(false);
    let identify = verbose || params.flag("identify")?.unwrap_or(false);
    let connected = node.online()?.net.peers().connected();
    let list: Vec<_> = connected
        .into_iter()
        .map(|p| SwarmPeer {
            addr: without_peer(&p.address.to_string()),
            peer: p.peer.to_string(),
            latency: p.latency.filter(|_| latency).map(|l| format!("{:?}", l)).unwrap_or_default(),
            muxer: String::new(),
            direction: match p.direction {
                _ if !direction => 0,
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            },
            streams: None,
            identify: if identify {
                PeerIdentify {
                    id: p.peer.to_string(),
                    agent_version: p.agent_version.unwrap_or_default(),
                    protocols: p.protocols,
                }
            } else {
                PeerIdentify::default()
            },
        })
        .collect();
    Ok(Json(SwarmPeers { peers: (!list.is_empty()).then_some(list) }))
}

fn without_peer(address: &str) -> String {
    match address.rsplit_once("/p2p/") {
        Some((bare, _)) if !address.contains("/p2p-circuit") => bare.to_owned(),
        _ => address.to_owned(),
    }
}

/// Connects to every address given.
pub async fn connect(State(node): State<Node>, params: Params) -> Result<Json<Strings>, HttpError> {
    let peers = node.online()?.net.peers();
    params.arg("address")?;
    let mut strings = Vec::new();
    for text in params.args() {
        let address = address::peer(text)?;
        let connecting = peers.connect(address);
        let peer = match params.timeout()? {
            None => connecting.await?,
            Some(limit) => tokio::time::timeout(limit, connecting).await.map_err(|_| {
                let seconds = limit.as_secs_f64();
                HttpError::new(crate::base::Kind::Timeout, format!("{text} did not answer within {seconds} s"))
            })??,
        };
        strings.push(format!("connect {peer} success"));
    }
    Ok(Json(Strings { strings }))
}
