//! Counters of the exchange.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Counters since the start, and what is under way now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExchangeStat {
    /// Wanted blocks received.
    pub blocks_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Blocks received that were already here or no longer wanted.
    pub duplicate_blocks: u64,
    /// Their bytes.
    pub duplicate_bytes: u64,
    /// Blocks received that were never asked for, dropped.
    pub unasked_blocks: u64,
    /// Their bytes.
    pub unasked_bytes: u64,
    /// Blocks sent to others.
    pub blocks_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// HAVE and DONT_HAVE sent to others.
    pub presences_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Blocks asked of a second peer because the first was late.
    pub hedges: u64,
    /// Blocks wanted here now.
    pub wants: u64,
    /// Peers with a wantlist here now.
    pub partners: u64,
}

/// The counters behind [`ExchangeStat`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: Pair,
    pub(super) duplicates: Pair,
    pub(super) unasked: Pair,
    pub(super) sent: Pair,
    pub(super) presences_sent: AtomicU64,
    pub(super) messages_received: AtomicU64,
    pub(super) messages_sent: AtomicU64,
}

/// A number of blocks and of their bytes.
#[derive(Debug, Default)]
pub(super) struct Pair {
    blocks: AtomicU64,
    bytes: AtomicU64,
}

impl Pair {
    pub(super) fn add(&self, blocks: u64, bytes: u64) {
        self.blocks.fetch_add(blocks, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}

impl Counters {
    /// The counters; what is under way is left at 0.
    pub(super) fn read(&self) -> ExchangeStat {
        let pair = |p: &Pair| (p.blocks.load(Relaxed), p.bytes.load(Relaxed));
        let ((blocks_received, bytes_received), (duplicate_blocks, duplicate_bytes)) =
            (pair(&self.received), pair(&self.duplicates));
        let ((unasked_blocks, unasked_bytes), (blocks_sent, bytes_sent)) = (pair(&self.unasked), pair(&self.sent));
        ExchangeStat {
            blocks_received,
            bytes_received,
            duplicate_blocks,
            duplicate_bytes,
            unasked_blocks,
            unasked_bytes,
            blocks_sent,
            bytes_sent,
            presences_sent: self.presences_sent.load(Relaxed),
            messages_received: self.messages_received.load(Relaxed),
            messages_sent: self.messages_sent.load(Relaxed),
            hedges: 0,
            wants: 0,
            partners: 0,
        }
    }
}
