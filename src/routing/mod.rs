//! Who has a CID, who is worth asking, and telling the network what is held here.
//!
//! What always holds: no queue or table here grows with what strangers send; a peer's score lies in [0, 1], a new one's
//! in the middle; scores survive a restart; a search starts answering before any network traffic. Start reading at
//! [`service`], then [`reputation`].

pub mod find;
pub mod ledger;
pub mod provide;
pub mod rank;
pub mod reputation;
pub mod service;

pub use reputation::{Deed, Score};
pub use service::{Candidate, RootPages, Routing, Source};
