//! The words every floor speaks: content ids, blocks, identities, roles, time, error kinds, frames, backoff, tasks.
//!
//! Nothing here knows any behaviour. What always holds: a [`Block`] cannot exist without its bytes having been hashed
//! ([`block`]), a frame is never larger than its reader allows ([`frame`]), and clocks and randomness are read only in
//! [`time`] and [`random`]. Start with [`block`] and [`tasks`].

pub mod backoff;
pub mod block;
pub mod cbor;
pub mod cid;
pub mod error;
pub mod frame;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
pub mod ids;
pub mod random;
pub mod role;
pub mod tasks;
pub mod time;

pub use block::{Block, BlockError, MAX_BLOCK_BYTES};
pub use cid::{Cid, CidError, Codec, Hash};
pub use error::{HasKind, Kind};
pub use ids::{Keypair, Multiaddr, NodeId, PeerId};
pub use role::Role;
pub use tasks::Tasks;
