//! Why a block could not be had.

use std::time::Duration;

use crate::base::{Cid, HasKind, Kind};

/// Errors of fetching.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// Nobody delivered it in time.
    #[error(
        "{cid} was not found locally; asked {asked} connected peers ({refused} said they do not have it) and routing \
         named {providers} providers within {} s",
        waited.as_secs_f64().round()
    )]
    NotFound {
        /// What was wanted.
        cid: Box<Cid>,
        /// Peers that were asked for it.
        asked: usize,
        /// Those of them that said they do not have it.
        refused: usize,
        /// Providers that routing named for the session.
        providers: usize,
        /// How long it was tried.
        waited: Duration,
    },
    /// The CID cannot name a block here.
    #[error("this CID cannot be fetched: {0}")]
    Cid(#[from] crate::base::CidError),
    /// The block store failed.
    #[error("the block store failed: {0}")]
    Store(String),
    /// The node is stopping.
    #[error("the node is stopping; start it again to fetch")]
    Stopping,
    /// Too much is wanted at once.
    #[error("more than {limit} blocks are wanted at once; try again when some have come")]
    Busy {
        /// The limit.
        limit: usize,
    },
}

impl HasKind for ExchangeError {
    fn kind(&self) -> Kind {
        match self {
            ExchangeError::NotFound { .. } => Kind::NotFound,
            ExchangeError::Cid(_) => Kind::Invalid,
            ExchangeError::Store(_) => Kind::Bug,
            ExchangeError::Stopping => Kind::Offline,
            ExchangeError::Busy { .. } => Kind::Busy,
        }
    }
}
