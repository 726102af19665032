//! What the leader decides, as pure cores: who runs what, whose lease is over, who is lost, who votes.
//!
//! For the leader's task (`leader`) and the worker's session. Nothing here reads a clock or waits; times are
//! milliseconds since boot and come in as arguments.

pub mod growth;
pub mod health;
pub mod lease;
pub mod scheduler;
