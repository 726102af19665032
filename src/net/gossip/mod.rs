//! Messages to all, on gossipsub: signed, checked before they travel on, bounded.
//!
//! `driver.rs` is the part of the swarm's task, this file is the handle.

mod driver;

use bytes::Bytes;
use libp2p::gossipsub::MessageAcceptance;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use self::driver::Ticket;
pub(super) use self::driver::{Command, Driver, Verdict};
use super::{error::NetError, service};
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
    ticket: Ticket,
}

impl Incoming {
    /// It is good: pass it on.
    pub fn accept(mut self) {
        self.ticket.decide(MessageAcceptance::Accept);
    }

    /// It is forged or malformed: do not pass it on, and hold it against the peer it came from.
    pub fn reject(mut self) {
        self.ticket.decide(MessageAcceptance::Reject);
    }

    /// Do not pass it on, without blame.
    pub fn ignore(mut self) {
        self.ticket.decide(MessageAcceptance::Ignore);
    }
}

/// Messages to all. Cheap to clone.
#[derive(Clone)]
pub struct Gossip {
    pub(super) commands: mpsc::Sender<service::Command>,
    pub(super) dropped: Counter,
    pub(super) limit: usize,
}

impl Gossip {
    /// Takes part in a topic. At most `bound` messages wait in the queue; one that finds it full is ignored and counted.
    /// Dropping the receiver ends the subscription.
    ///
    /// # Errors
    /// [`NetError::Subscribed`] when there is a reader already, [`NetError::Stopped`].
    pub async fn subscribe(&self, topic: &str, bound: usize) -> Result<mpsc::Receiver<Incoming>, NetError> {
        let (queue, receiver) = mpsc::channel(bound.max(1));
        let topic = topic.to_owned();
        self.ask(|reply| Command::Subscribe { topic, queue, reply }).await??;
        Ok(receiver)
    }

    /// Signs and sends a message to the topic; needs no subscription of one's own.
    ///
    /// # Errors
    /// [`NetError::NoPeers`] when no connected peer is subscribed, [`NetError::TooLarge`], [`NetError::Busy`].
    pub async fn publish(&self, topic: &str, data: Vec<u8>) -> Result<(), NetError> {
        if data.len() > self.limit {
            return Err(NetError::TooLarge { bytes: data.len(), limit: self.limit });
        }
        let topic = topic.to_owned();
        self.ask(|reply| Command::Publish { topic, data, reply }).await?
    }

    /// The connected peers that are subscribed to the topic.
    pub async fn subscribers(&self, topic: &str) -> Vec<PeerId> {
        let topic = topic.to_owned();
        self.ask(|reply| Command::Subscribers { topic, reply }).await.unwrap_or_default()
    }

    /// How many messages were ignored because a queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(service::Command::Gossip(command(reply))).await.map_err(|_| NetError::Stopped)?;
        answer.await.map_err(|_| NetError::Stopped)
    }
}
