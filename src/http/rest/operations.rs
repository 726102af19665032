//! `/health` and `/metrics`.

use std::fmt::Write;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use prometheus_client::encoding::text::encode;

use crate::{
    base::Kind,
    config,
    http::{HttpError, model::HealthReply},
    node::Node,
};

/// That this node serves, and which it is.
pub async fn health(State(node): State<Node>) -> Json<HealthReply> {
    let folder = node.repo().dir();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    Json(HealthReply {
        status: "ok".into(),
        id: node.peer_id().to_string(),
        agent_version: config::agent_version(),
        repo: folder.display().to_string(),
    })
}

/// Counters in OpenMetrics' text form.
pub async fn metrics(State(node): State<Node>) -> Result<Response, HttpError> {
    let mut text = String::new();
    let blocks = node.repo().blocks().stat();
    let mut number = |name: &str, help: &str, kind: &str, value: u64| {
        let total = if kind == "counter" { "_total" } else { "" };
        let _ = writeln!(
            text,
            "# HELP ipfs_kit_{name} {help}\n# TYPE ipfs_kit_{name} {kind}\nipfs_kit_{name}{total} {value}"
        );
    };
    number("blocks", "Blocks stored.", "gauge", blocks.blocks);
    number("block_bytes", "Bytes of the blocks stored.", "gauge", blocks.bytes);
    let cache = node.repo().blocks().cache_stat();
    number("cache_hits", "Small blocks found in memory.", "counter", cache.hits);
    number("cache_misses", "Small blocks read from the disk or the page cache.", "counter", cache.misses);
    number("cache_blocks", "Blocks kept in memory.", "gauge", cache.entries);
    number("cache_bytes", "Memory they take.", "gauge", cache.bytes);
    number("cache_capacity_bytes", "Memory they may take.", "gauge", cache.capacity);
    number(
        "cache_recent_bytes",
        "Of it, what was read once may take before it gives way.",
        "gauge",
        cache.recent_bytes,
    );
    let Ok(online) = node.online() else { return Ok(shown(text + "# EOF\n")) };
    number("peers", "Peers connected.", "gauge", online.net.peers().connected().len() as u64);
    number("dht_peers", "Peers in the DHT's routing table.", "gauge", online.net.dht().routing_table_size() as u64);
    let stat = online.exchange.stat();
    number("bitswap_blocks_received", "Wanted blocks received.", "counter", stat.blocks_received);
    number("bitswap_bytes_received", "Bytes of wanted blocks received.", "counter", stat.bytes_received);
    number("bitswap_duplicate_blocks", "Blocks received again.", "counter", stat.duplicate_blocks);
    number("bitswap_unasked_blocks", "Blocks never asked for, dropped.", "counter", stat.unasked_blocks);
    number("bitswap_blocks_sent", "Blocks sent.", "counter", stat.blocks_sent);
    number("bitswap_bytes_sent", "Bytes of blocks sent.", "counter", stat.bytes_sent);
    number("bitswap_wants", "Blocks wanted now.", "gauge", stat.wants);
    let registry = online.net.metrics();
    let registry = registry.lock().unwrap_or_else(|e| e.into_inner());
    // Ends with the mark that ends the whole text.
    encode(&mut text, &registry)
        .map_err(|e| HttpError::new(Kind::Bug, format!("the metrics cannot be written: {e}")))?;
    Ok(shown(text))
}

fn shown(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
