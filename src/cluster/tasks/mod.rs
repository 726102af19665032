//! Tasks by gossip: what members pass on, what masters propose, what submitters wait for.
//!
//! Gossip is the hint, the log entry the truth, the receipt the answer: specs are published and repeated until a
//! receipt that verifies against the cluster id is there. [`bucket`], [`book`] and [`topics`] are cores; [`intake`]
//! judges what comes, [`submit`] is the author's side.

pub mod book;
pub mod bucket;
pub mod desk;
pub mod intake;
pub mod submit;
pub mod topics;
