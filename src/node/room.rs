//! How much of the disk blocks may take, and collecting garbage before they take it all.

use std::time::{Duration, Instant};

use futures::TryStreamExt;

use super::NodeError;
use crate::{
    base::{Role, Tasks, time},
    cluster::Cluster,
    config::Config,
    content::Content,
    store::Repo,
};

/// How often the disk is looked at, for what others take of it.
const LOOK: Duration = Duration::from_secs(60);
/// How long a collection that made no room is not repeated for the same wish.
const PATIENCE: Duration = Duration::from_secs(10);
/// The part of the disk's room that blocks may take when nothing else is said, in percent.
const ROOM_PERCENT: u64 = 80;
const GB: u64 = 1_000_000_000;

/// Most bytes that blocks may take: what is set, else what the role is for, within the disk's room.
fn most(set: Option<u64>, role: Option<Role>, used: u64, free: u64) -> u64 {
    let ceiling = match role {
        Some(Role::Master) => 500 * GB,
        Some(Role::Worker) => 100 * GB,
        Some(Role::Leecher) | None => 10 * GB,
    };
    set.unwrap_or_else(|| ceiling.min(used.saturating_add(free) / 100 * ROOM_PERCENT))
}

/// Sets the limit as settings, role and disk have it now.
pub fn apply(config: &Config, repo: &Repo) -> Result<(), NodeError> {
    let blocks = repo.blocks();
    // A membership that cannot be read is told by whoever needs it.
    let role = Cluster::role_on_disk(repo.dir()).unwrap_or_default();
    let most = most(config.storage.max, role, blocks.stat().disk_bytes, repo.free_bytes()?);
    blocks.set_limit(Some(most), config.storage.watermark_percent);
    Ok(())
}

/// Whether garbage is to be collected.
#[derive(Debug, Default)]
struct Pressure {
    /// Bytes that were left by the last collection, and when that was.
    last: Option<(u64, Instant)>,
}

impl Pressure {
    /// A put would take what there is, `used`, to `demand`. Nothing is gained by collecting again unless more came since
    /// the last time, or may have been unpinned.
    fn wants(&self, used: u64, demand: u64, watermark: u64, limit: u64, now: Instant) -> bool {
        let worth = |(left, at): (u64, Instant)| {
            used > left.saturating_add(limit / 100) || now.saturating_duration_since(at) >= PATIENCE
        };
        demand >= watermark && self.last.is_none_or(worth)
    }
}

/// Looks at the disk now and then, and collects garbage if that is wanted, until `tasks` are stopped.
pub fn start(content: &Content, config: &Config, tasks: &Tasks) {
    let (content, config) = (content.clone(), config.clone());
    tasks.spawn("storage room", async move {
        let mut look = tokio::time::interval(LOOK);
        let mut again =
            tokio::time::interval(config.storage.interval.unwrap_or(Duration::from_secs(u64::from(u32::MAX))));
        again.reset();
        let blocks = content.repo().blocks();
        let mut pressure = Pressure::default();
        loop {
            let demand = tokio::select! {
                _ = look.tick() => {
                    let (config, repo) = (config.clone(), content.repo().clone());
                    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || apply(&config, &repo)).await {
                        tracing::warn!(%error, "the room for blocks cannot be measured");
                    }
                    continue;
                }
                demand = blocks.crossed() => Some(demand),
                _ = again.tick() => None,
            };
            if !config.storage.collect {
                continue;
            }
            let (used, watermark) = (blocks.stat().disk_bytes, blocks.watermark());
            let limit = blocks.limit().unwrap_or(u64::MAX);
            let due = match demand {
                Some(demand) => pressure.wants(used, demand, watermark, limit, time::now()),
                None => used >= watermark,
            };
            if !due {
                continue;
            }
            tracing::info!(used, watermark, "garbage is collected");
            if let Err(error) = content.collect().try_for_each(|_| std::future::ready(Ok(()))).await {
                tracing::warn!(%error, "garbage could not be collected");
            }
            pressure.last = Some((blocks.stat().disk_bytes, time::now()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_is_set_else_what_role_and_disk_allow() {
        assert_eq!(most(Some(7), Some(Role::Master), 0, 0), 7);
        assert_eq!(most(None, None, 0, 1000 * GB), 10 * GB);
        assert_eq!(most(None, Some(Role::Leecher), 0, 1000 * GB), 10 * GB);
        assert_eq!(most(None, Some(Role::Worker), 0, 1000 * GB), 100 * GB);
        assert_eq!(most(None, Some(Role::Master), 0, 1000 * GB), 500 * GB);
        // What blocks take already is theirs: the limit does not move while they grow.
        assert_eq!(most(None, None, 0, 5 * GB), 4 * GB);
        assert_eq!(most(None, None, 3 * GB, 2 * GB), 4 * GB);
    }

    #[test]
    fn a_collection_that_was_no_help_is_not_repeated_at_once() {
        let mut pressure = Pressure::default();
        let now = time::now();
        assert!(!pressure.wants(80, 89, 90, 100, now) && pressure.wants(80, 110, 90, 100, now));
        pressure.last = Some((95, now));
        assert!(!pressure.wants(96, 120, 90, 100, now) && pressure.wants(97, 120, 90, 100, now));
        assert!(pressure.wants(96, 120, 90, 100, now + PATIENCE));
        pressure.last = Some((10, now));
        assert!(pressure.wants(90, 91, 90, 100, now));
    }
}
