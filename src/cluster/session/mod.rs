//! Sessions: each worker holds one with the leader, over which it is given work and gives back outcomes.
//!
//! [`wire`] is what travels, [`client`] the worker's side, [`runner`] what runs there, [`outbox`] what must still be
//! told, [`server`] the master's side. What always holds: an outcome leaves the outbox only after the leader said that
//! it is in the log or refused; a worker that was not acknowledged for 7.5 s of boot time has stopped its attempts.

pub mod client;
pub mod outbox;
pub mod runner;
pub mod server;
pub mod wire;
