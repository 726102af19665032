//! `routing/findprovs`.

use axum::{body::Body, extract::State, response::Response};
use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    http::{
        HttpError,
        model::{RoutingEvent, RoutingPeer},
        params::Params,
        reply::{self, Content},
    },
    net::ProviderRecord,
    node::Node,
};

/// Kubo's number for "provider" among the kinds of routing events.
const PROVIDER: u8 = 4;
/// Most providers looked for.
const MOST: usize = 1000;

/// Provider records from the DHT as they are found, each with the peer that gave it as `ID`.
pub async fn find_providers(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let cid = params.cid()?;
    let limit = params.number("num-providers")?.unwrap_or(20usize).clamp(1, MOST);
    let net = &node.online()?.net;
    let found = ReceiverStream::new(net.dht().find_providers(&cid.hash().to_bytes(), limit).await);
    let timeout = params.timeout()?;
    let lines = found.take_until(over(timeout)).map(|record| Ok(reply::line(&event(record))));
    reply::stream(Content::Lines, params.trailers, Box::pin(lines)).await
}

async fn over(limit: Option<std::time::Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn event(record: ProviderRecord) -> RoutingEvent {
    let addrs = record.addrs.iter().map(ToString::to_string).collect();
    RoutingEvent {
        extra: String::new(),
        id: record.from.to_string(),
        responses: vec![RoutingPeer { id: record.peer.to_string(), addrs }],
        kind: PROVIDER,
    }
}
