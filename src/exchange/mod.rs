//! Fetching and serving blocks: real Bitswap (1.2.0 down to the unversioned protocol) as sans-IO cores with tasks around.
//!
//! What always holds: no block is stored or delivered whose CID was not recomputed from its bytes; every queue, wantlist
//! and buffer is bounded; replies are taken from any stream of a peer. Start reading at [`service`], then [`client`] and
//! [`server`].

pub mod client;
pub mod error;
pub mod frame;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod inbound;
pub mod message;
mod replies;
pub mod server;
pub mod service;
pub mod session;
pub mod stat;
#[cfg(test)]
mod tests;
mod wants;

pub use error::ExchangeError;
pub use service::Exchange;
pub use session::Session;
pub use stat::ExchangeStat;
