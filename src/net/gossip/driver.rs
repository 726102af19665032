//! Gossip's part of the swarm's task.

use std::collections::HashMap;

use bytes::Bytes;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, PublishError, TopicHash};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{error::NetError, swarm::NetSwarm},
    Incoming,
};
use crate::base::PeerId;

/// What the handle asks of the swarm's task.
#[derive(Debug)]
pub(in super::super) enum Command {
    /// Take part in a topic.
    Subscribe { topic: String, queue: mpsc::Sender<Incoming>, reply: oneshot::Sender<Result<(), NetError>> },
    /// Send a message.
    Publish { topic: String, data: Vec<u8>, reply: oneshot::Sender<Result<(), NetError>> },
    /// Who takes part in a topic.
    Subscribers { topic: String, reply: oneshot::Sender<Vec<PeerId>> },
}

/// What a reader has decided about a message.
#[derive(Debug)]
pub(in super::super) struct Verdict {
    pub(super) id: MessageId,
    pub(super) via: PeerId,
    pub(super) acceptance: MessageAcceptance,
}

/// A message's right to one verdict; dropped unused, it ignores.
#[derive(Debug)]
pub(super) struct Ticket {
    verdict: Option<(MessageId, PeerId)>,
    verdicts: mpsc::Sender<Verdict>,
}

impl Ticket {
    pub(super) fn decide(&mut self, acceptance: MessageAcceptance) {
        if let Some((id, via)) = self.verdict.take() {
            // The queue holds far more verdicts than messages wait in queues; a lost one means the message is ignored.
            let _ = self.verdicts.try_send(Verdict { id, via, acceptance });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.decide(MessageAcceptance::Ignore);
    }
}

/// Gossip's part of the swarm's task.
pub(in super::super) struct Driver {
    topics: HashMap<TopicHash, (String, mpsc::Sender<Incoming>)>,
    verdicts: mpsc::Sender<Verdict>,
    dropped: Counter,
    limit: usize,
}

impl Driver {
    pub(in super::super) fn new(verdicts: mpsc::Sender<Verdict>, dropped: Counter, limit: usize) -> Self {
        Driver { topics: HashMap::new(), verdicts, dropped, limit }
    }

    /// Does what the handle asks.
    pub(in super::super) fn on_command(&mut self, swarm: &mut NetSwarm, command: Command) {
        let gossip = &mut swarm.behaviour_mut().gossip;
        match command {
            Command::Subscribe { topic, queue, reply } => {
                let _ = reply.send(self.subscribe(gossip, topic, queue));
            }
            Command::Publish { topic, data, reply } => {
                let bytes = data.len();
                let done = match gossip.publish(IdentTopic::new(&topic), data) {
                    Ok(_) | Err(PublishError::Duplicate) => Ok(()),
                    Err(PublishError::NoPeersSubscribedToTopic) => Err(NetError::NoPeers { what: topic }),
                    Err(PublishError::MessageTooLarge) => Err(NetError::TooLarge { bytes, limit: self.limit }),
                    Err(PublishError::AllQueuesFull(_)) => Err(NetError::Busy { what: "gossip" }),
                    Err(error) => Err(NetError::Setup { reason: error.to_string() }),
                };
                let _ = reply.send(done);
            }
            Command::Subscribers { topic, reply } => {
                let hash = IdentTopic::new(topic).hash();
                let peers = gossip.all_peers().filter(|(_, topics)| topics.contains(&&hash));
                let _ = reply.send(peers.map(|(peer, _)| *peer).collect());
            }
        }
    }

    fn subscribe(
        &mut self,
        gossip: &mut super::super::swarm::Gossipsub,
        topic: String,
        queue: mpsc::Sender<Incoming>,
    ) -> Result<(), NetError> {
        let name = IdentTopic::new(&topic);
        if self.topics.get(&name.hash()).is_some_and(|(_, queue)| !queue.is_closed()) {
            return Err(NetError::Subscribed { topic });
        }
        gossip.subscribe(&name).map_err(|error| NetError::Setup { reason: error.to_string() })?;
        self.topics.insert(name.hash(), (topic, queue));
        Ok(())
    }

    /// Leaves the topics that nobody reads any more.
    pub(in super::super) fn tidy(&mut self, swarm: &mut NetSwarm) {
        let gossip = &mut swarm.behaviour_mut().gossip;
        self.topics.retain(|_, (topic, queue)| {
            let keep = !queue.is_closed();
            if !keep {
                gossip.unsubscribe(&IdentTopic::new(topic.as_str()));
            }
            keep
        });
    }

    /// Passes a verdict on.
    pub(in super::super) fn on_verdict(&self, swarm: &mut NetSwarm, verdict: Verdict) {
        let Verdict { id, via, acceptance } = verdict;
        // False when the message is no longer in the cache: it came too late to matter.
        swarm.behaviour_mut().gossip.report_message_validation_result(&id, &via, acceptance);
    }

    /// Hands a message to its reader.
    pub(in super::super) fn on_event(&mut self, swarm: &mut NetSwarm, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: via, message_id, message } = event else { return };
        let ignore = |driver: &Self, swarm: &mut NetSwarm, id| {
            driver.on_verdict(swarm, Verdict { id, via, acceptance: MessageAcceptance::Ignore });
        };
        let (Some((topic, queue)), Some(author)) = (self.topics.get(&message.topic), message.source) else {
            return ignore(self, swarm, message_id);
        };
        let (topic, queue) = (topic.clone(), queue.clone());
        let ticket = |id| Ticket { verdict: Some((id, via)), verdicts: self.verdicts.clone() };
        match queue.try_reserve() {
            Ok(slot) => {
                slot.send(Incoming { topic, author, via, data: Bytes::from(message.data), ticket: ticket(message_id) })
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                self.dropped.inc();
                tracing::debug!(topic, %author, "gossip ignored, the queue is full");
                ignore(self, swarm, message_id);
            }
            Err(mpsc::error::TrySendError::Closed(())) => {
                ignore(self, swarm, message_id);
                self.tidy(swarm);
            }
        }
    }
}
