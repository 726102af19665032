//! Tasks by gossip: what members pass on, what masters propose, what submitters wait for.
//!
//! Gossip is the hint, the log entry the truth, the receipt the answer: specs are published and repeated until a
//! receipt that verifies against the cluster id is there. [`bucket`] and [`book`] are cores, [`topics`] holds what is
//! sent.

pub mod book;
pub mod bucket;
pub mod topics;
