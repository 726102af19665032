//! Sans-IO: the bounds of fetching, with why they are what they are.

use std::time::Duration;

/// Limits and times of the fetching side.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Wants of all sessions together.
    pub wants: usize,
    /// Smallest and largest number of bytes outstanding at one peer.
    pub window_floor: usize,
    /// See `window_floor`.
    pub window_ceiling: usize,
    /// Wants for blocks outstanding at one peer (Kubo keeps 1024 entries of a wantlist).
    pub asks_per_peer: usize,
    /// Connected peers asked for presence at first, and how many more each time nobody answered for `probe_wait`.
    pub probe_first: usize,
    /// See `probe_first`.
    pub probe_step: usize,
    /// See `probe_first`.
    pub probe_wait: Duration,
    /// Blocks whose presence is asked for at a time.
    pub probe_blocks: usize,
    /// Bounds of the time after which a silent peer counts as late, and what holds before anything is known of it.
    pub late_floor: Duration,
    /// See `late_floor`.
    pub late_ceiling: Duration,
    /// See `late_floor`.
    pub late_unknown: Duration,
    /// Bounds of the time after which silence counts as a failure.
    pub timeout_floor: Duration,
    /// See `timeout_floor`.
    pub timeout_ceiling: Duration,
    /// A single want may be this old while others are answered, at least.
    pub age_floor: Duration,
    /// First and longest wait before searching again.
    pub search_base: Duration,
    /// See `search_base`.
    pub search_ceiling: Duration,
    /// First and longest wait before peers that refused are asked again.
    pub round_base: Duration,
    /// See `round_base`.
    pub round_ceiling: Duration,
    /// Peers known at once.
    pub peers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            wants: 65_536,
            window_floor: 4 * 1024 * 1024,
            window_ceiling: 64 * 1024 * 1024,
            asks_per_peer: 768,
            probe_first: 8,
            probe_step: 16,
            probe_wait: Duration::from_millis(200),
            probe_blocks: 16,
            late_floor: Duration::from_millis(40),
            late_ceiling: Duration::from_secs(2),
            late_unknown: Duration::from_millis(500),
            timeout_floor: Duration::from_secs(1),
            timeout_ceiling: Duration::from_secs(5),
            age_floor: Duration::from_secs(5),
            search_base: Duration::from_secs(1),
            search_ceiling: Duration::from_secs(30),
            round_base: Duration::from_secs(3),
            round_ceiling: Duration::from_secs(30),
            peers: 4096,
        }
    }
}
