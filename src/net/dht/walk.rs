//! Runs lookups: asks peers over raw streams on the DHT's protocol, so that every answer has a known giver.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures::{AsyncWriteExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    super::{
        error::NetError,
        peers::{Book, State, Trust},
        service,
        streams::Streams,
    },
    driver::{Command, Found},
    lookup::{Lookup, Next, Params, place},
    wire::{self, Message, MessageType},
};
use crate::base::{Multiaddr, PeerId};

/// How long one peer may take to be dialled and to answer.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How many lookups run at once.
const MAX_WALKS: usize = 32;

/// What lookups need.
pub(super) struct Walker {
    pub(super) local: PeerId,
    pub(super) protocol: &'static str,
    pub(super) streams: Streams,
    pub(super) book: Arc<Book>,
    pub(super) state: Arc<State>,
    pub(super) commands: mpsc::Sender<service::Command>,
    permits: Semaphore,
}

impl Walker {
    pub(super) fn new(
        local: PeerId,
        protocol: &'static str,
        streams: Streams,
        book: Arc<Book>,
        state: Arc<State>,
        commands: mpsc::Sender<service::Command>,
    ) -> Self {
        Walker { local, protocol, streams, book, state, commands, permits: Semaphore::new(MAX_WALKS) }
    }

    /// Asks the swarm's task.
    pub(super) async fn command<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(service::Command::Dht(command(reply))).await.map_err(|_| NetError::Stopped)?;
        answer.await.map_err(|_| NetError::Stopped)
    }

    /// The records kept here about a key, and the peers to start looking for it with.
    pub(super) async fn start(&self, key: &[u8]) -> Result<(Found, Found), NetError> {
        let key = key.to_vec();
        self.command(|reply| Command::Local { key, reply }).await
    }

    /// Looks for `key` from `seeds` on, giving each answer and its giver to `on_answer`, until that breaks or the closest
    /// peers have answered. Returns those.
    pub(super) async fn walk(
        &self,
        kind: MessageType,
        key: &[u8],
        seeds: Found,
        mut on_answer: impl FnMut(PeerId, &Message) -> ControlFlow<()>,
    ) -> Vec<PeerId> {
        let Ok(_permit) = self.permits.acquire().await else { return Vec::new() };
        for (peer, addrs) in &seeds {
            self.book.learn(*peer, addrs, Trust::Learnt);
        }
        let connected = self.state.speaking(self.protocol);
        let seeds = seeds.into_iter().map(|(peer, _)| peer).chain(connected);
        let mut lookup = Lookup::new(place(key), self.local, seeds, Params::default());
        let question = wire::question(kind, key);
        let mut asking: FuturesUnordered<BoxFuture<'_, (PeerId, Result<Message, NetError>)>> = FuturesUnordered::new();
        loop {
            match lookup.next() {
                Next::Ask(peer) => {
                    let question = &question;
                    asking.push(Box::pin(async move { (peer, self.ask(peer, question).await) }));
                    continue;
                }
                Next::Wait => {}
                Next::Done => return lookup.closest(),
            }
            match asking.next().await {
                Some((peer, Ok(answer))) => {
                    let closer: Vec<_> = wire::peers(&answer.closer_peers).collect();
                    for (peer, addrs) in &closer {
                        self.book.learn(*peer, addrs, Trust::Learnt);
                    }
                    lookup.answered(&peer, closer.into_iter().map(|(peer, _)| peer));
                    if on_answer(peer, &answer).is_break() {
                        return lookup.closest();
                    }
                }
                Some((peer, Err(error))) => {
                    tracing::debug!(%peer, %error, "no answer to a DHT question");
                    lookup.failed(&peer);
                }
                None => return lookup.closest(),
            }
        }
    }

    async fn ask(&self, peer: PeerId, question: &Message) -> Result<Message, NetError> {
        self.talk(peer, std::slice::from_ref(question)).await
    }

    /// Tells a peer that this node provides `key`, and waits until it has taken note.
    pub(super) async fn tell(&self, peer: PeerId, key: &[u8], addrs: &[Multiaddr]) -> Result<(), NetError> {
        let mut record = wire::question(MessageType::AddProvider, key);
        record.provider_peers.push(wire::peer(self.local, addrs));
        // A record gets no answer; the answer to a question behind it shows that it was taken.
        let question = wire::question(MessageType::FindNode, &self.local.to_bytes());
        self.talk(peer, &[record, question]).await.map(drop)
    }

    async fn talk(&self, peer: PeerId, messages: &[Message]) -> Result<Message, NetError> {
        let talk = async {
            let (_, mut stream) = self.streams.open_on(peer, &[self.protocol], None).await?;
            let failed = |_| NetError::Closed { peer };
            for message in messages {
                wire::write(&mut stream, message).await.map_err(failed)?;
            }
            let answer = wire::read(&mut stream).await.map_err(failed)?;
            // The answer is here; how the stream ends does not matter.
            let _ = stream.close().await;
            Ok(answer)
        };
        match tokio::time::timeout(ASK_LIMIT, talk).await {
            Ok(done) => done,
            Err(_) => Err(NetError::Timeout { what: "a DHT question", limit: ASK_LIMIT }),
        }
    }
}
