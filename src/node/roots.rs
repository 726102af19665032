//! The roots a node holds, in pages, to be announced again after a restart.

use std::sync::Arc;

use crate::{base::Cid, routing::RootPages, store::Repo};

/// Pins first, then what tasks and the cluster hold.
pub fn pages(repo: Repo) -> RootPages {
    Arc::new(move |after, limit| {
        let repo = repo.clone();
        Box::pin(async move {
            // Reading the pins blocks.
            tokio::task::spawn_blocking(move || page(&repo, after, limit)).await.unwrap_or_default()
        })
    })
}

fn page(repo: &Repo, after: Option<Cid>, limit: usize) -> Vec<Cid> {
    let pins = repo.pins();
    let failed = |error| tracing::warn!(%error, "the roots to announce cannot be read");
    let is_pin = after.is_none_or(|cid| matches!(pins.get(&cid), Ok(Some(_))));
    if is_pin {
        let page = pins.list(after.as_ref(), limit).map_err(failed).unwrap_or_default();
        if !page.is_empty() {
            return page.into_iter().map(|pin| pin.cid).collect();
        }
    }
    let mut held: Vec<Cid> =
        pins.holds("").map_err(failed).unwrap_or_default().into_iter().map(|(_, cid)| cid).collect();
    held.retain(|cid| matches!(pins.get(cid), Ok(None)));
    held.sort_unstable();
    held.dedup();
    let from = match after {
        Some(after) if !is_pin => held.partition_point(|cid| *cid <= after),
        _ => 0,
    };
    held.into_iter().skip(from).take(limit).collect()
}
