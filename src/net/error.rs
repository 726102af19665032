//! Why the network could not do something.

use std::time::Duration;

use crate::base::{HasKind, Kind, Multiaddr, PeerId};

/// Why the network could not do something.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The node cannot listen on an address it was told to use.
    #[error("cannot listen on {address}: {reason}; free the port or choose another address")]
    Listen {
        /// The address asked for.
        address: Multiaddr,
        /// What the system said.
        reason: String,
        /// Whether another program holds the port.
        in_use: bool,
    },
    /// The swarm could not be built.
    #[error("cannot set up the network: {reason}")]
    Setup {
        /// What failed.
        reason: String,
    },
    /// An address cannot be dialled.
    #[error("the address {address} cannot be used: {reason}")]
    BadAddress {
        /// The address given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No address of the peer is known.
    #[error("no address of peer {peer} is known; connect to it by its full address first")]
    NoAddress {
        /// The peer asked for.
        peer: PeerId,
    },
    /// Somebody else answers at the address.
    #[error("the peer at {address} is {obtained}, not {expected}; check the address")]
    WrongPeer {
        /// The peer id that was asked for.
        expected: PeerId,
        /// The peer id that answered.
        obtained: Box<PeerId>,
        /// Where it answered.
        address: Multiaddr,
    },
    /// The address or peer id is this node's own.
    #[error("this is the node's own address; give another peer's")]
    OwnAddress,
    /// Nobody could be reached.
    #[error("cannot reach {target}: {reason}")]
    Unreachable {
        /// The peer or address that was dialled.
        target: String,
        /// What each try said.
        reason: String,
    },
    /// A limit or the block list forbids the connection.
    #[error("the connection to {target} was refused by this node: {reason}")]
    Refused {
        /// The peer or address.
        target: String,
        /// The rule that refused it.
        reason: String,
    },
    /// The peer speaks none of the protocols.
    #[error("peer {peer} speaks none of {protocols}")]
    Unsupported {
        /// The peer asked.
        peer: PeerId,
        /// The protocols proposed, separated by commas.
        protocols: String,
    },
    /// The connection ended before the stream was there.
    #[error("the connection to {peer} ended; try again")]
    Closed {
        /// The peer.
        peer: PeerId,
    },
    /// A queue is full.
    #[error("the queue for {what} is full; try again later")]
    Busy {
        /// What is waiting there.
        what: &'static str,
    },
    /// The time is over.
    #[error("{what} did not finish within {limit:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// No peer could be asked or told.
    #[error("no connected peer takes part in {what}; connect to one first")]
    NoPeers {
        /// In what.
        what: String,
    },
    /// A lookup found nothing.
    #[error("{what} was not found on the network")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The topic has a reader already.
    #[error("the topic {topic} is already subscribed to")]
    Subscribed {
        /// The topic.
        topic: String,
    },
    /// A message is over the limit.
    #[error("a message of {bytes} bytes is over the limit of {limit}; send a CID instead")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The network is stopping.
    #[error("the network has stopped")]
    Stopped,
}

impl HasKind for NetError {
    fn kind(&self) -> Kind {
        match self {
            NetError::Listen { in_use: true, .. } | NetError::Subscribed { .. } => Kind::Conflict,
            NetError::Listen { .. } | NetError::Setup { .. } => Kind::Bug,
            NetError::BadAddress { .. }
            | NetError::OwnAddress
            | NetError::WrongPeer { .. }
            | NetError::TooLarge { .. } => Kind::Invalid,
            NetError::NoAddress { .. } | NetError::NotFound { .. } => Kind::NotFound,
            NetError::Refused { .. } => Kind::Denied,
            NetError::Unsupported { .. } => Kind::Invalid,
            NetError::Unreachable { .. } | NetError::Closed { .. } | NetError::NoPeers { .. } | NetError::Stopped => {
                Kind::Offline
            }
            NetError::Busy { .. } => Kind::Busy,
            NetError::Timeout { .. } => Kind::Timeout,
        }
    }
}
