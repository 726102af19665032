//! Messages to all: the handle on gossipsub.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::NetError;
use crate::base::PeerId;

/// A message that waits for its verdict; it is forwarded to other peers only after [`Incoming::accept`]. Dropping it
/// counts as [`Incoming::ignore`].
#[derive(Debug)]
pub struct Incoming {
    /// The topic.
    pub topic: String,
    /// Who wrote and signed it.
    pub author: PeerId,
    /// Who passed it on.
    pub via: PeerId,
    /// What it says.
    pub data: Bytes,
}

impl Incoming {
    /// It is good: pass it on.
    pub fn accept(self) {
        todo!()
    }

    /// It is forged or malformed: do not pass it on, and hold it against the peer it came from.
    pub fn reject(self) {
        todo!()
    }

    /// Do not pass it on, without blame.
    pub fn ignore(self) {
        todo!()
    }
}

/// Messages to all. Cheap to clone.
#[derive(Clone)]
pub struct Gossip {}

impl Gossip {
    /// Takes part in a topic. At most `bound` messages wait in the queue; one that finds it full is ignored and counted.
    /// Dropping the receiver ends the subscription.
    ///
    /// # Errors
    /// [`NetError::Subscribed`] when there is a reader already, [`NetError::Stopped`].
    pub async fn subscribe(&self, topic: &str, bound: usize) -> Result<mpsc::Receiver<Incoming>, NetError> {
        let _ = (topic, bound);
        todo!()
    }

    /// Signs and sends a message to the topic; needs no subscription of one's own.
    ///
    /// # Errors
    /// [`NetError::NoPeers`] when no connected peer is subscribed, [`NetError::TooLarge`], [`NetError::Busy`].
    pub async fn publish(&self, topic: &str, data: Vec<u8>) -> Result<(), NetError> {
        let _ = (topic, data);
        todo!()
    }

    /// The connected peers that are subscribed to the topic.
    pub async fn subscribers(&self, topic: &str) -> Vec<PeerId> {
        let _ = topic;
        todo!()
    }

    /// How many messages were ignored because a queue was full.
    pub fn dropped(&self) -> u64 {
        todo!()
    }
}
