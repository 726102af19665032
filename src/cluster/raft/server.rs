//! The other half of the network: streams that other masters opened to this node.

use std::{fs::File, io, io::Write, sync::Arc, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, Stream, StreamExt, io::ReadHalf, io::WriteHalf, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    base::{NodeId, PeerId, Tasks, frame},
    cluster::state::{KvTables, StateReader},
};

use super::{
    link::{BoxDuplex, InboundLink, Lane, Link},
    machine::Machine,
    options::Authorise,
    snapshot::SnapshotFile,
    types::{TypeConfig, decode_entry},
    wire::{Answer, Append, Ask, CHUNK_BYTES, Chunk, Hello, MAX_FRAME_BYTES, MAX_HELLO_BYTES, SnapshotHead},
};

type OpenRaft = openraft::Raft<TypeConfig, Machine>;

/// Streams whose opener has not shown yet that it is a master; more are refused.
const MAX_STRANGERS: usize = 256;
/// Streams served at once; more are refused.
const MAX_STREAMS: usize = 256;
/// Snapshots received at once.
const MAX_SNAPSHOTS: usize = 2;
/// Largest snapshot received, in bytes.
const MAX_SNAPSHOT_BYTES: u64 = 64 << 30;
/// How long the first frame, or the next piece of a snapshot, may take.
const STEP: Duration = Duration::from_secs(10);

/// What serving needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub node: NodeId,
    pub raft: OpenRaft,
    pub machine: Machine,
    pub state: StateReader<KvTables>,
    pub authorise: Arc<dyn Authorise>,
    pub tasks: Tasks,
}

impl Server {
    /// Serves both protocols until the tasks are stopped.
    pub fn start(self, link: &dyn Link) {
        for (lane, limit) in [(Lane::Raft, MAX_STREAMS), (Lane::Snapshot, MAX_SNAPSHOTS)] {
            let mut inbound = link.accept(lane);
            // Strangers who say nothing must not take the places of masters, least of all the few for snapshots.
            let (strangers, served) = (Arc::new(Semaphore::new(MAX_STRANGERS)), Arc::new(Semaphore::new(limit)));
            let this = self.clone();
            self.tasks.spawn("raft accept", async move {
                while let Some(link) = inbound.recv().await {
                    // Dropping the stream resets it: the other side backs off.
                    let Ok(place) = strangers.clone().try_acquire_owned() else { continue };
                    let (server, served) = (this.clone(), served.clone());
                    this.tasks.spawn("raft stream", async move {
                        let peer = link.peer;
                        if let Err(why) = server.serve(link, lane, place, served).await {
                            tracing::debug!(%peer, why, "a raft stream ended");
                        }
                    });
                }
            });
        }
    }

    async fn serve(
        &self,
        link: InboundLink,
        lane: Lane,
        place: OwnedSemaphorePermit,
        served: Arc<Semaphore>,
    ) -> Result<(), String> {
        let InboundLink { peer, stream } = link;
        let (mut reader, mut writer) = stream.split();
        let hello: Option<Hello> =
            timeout(STEP, frame::read(&mut reader, MAX_HELLO_BYTES)).await.map_err(text)?.map_err(text)?;
        let Some(hello) = hello else { return Ok(()) };
        if let Err(why) = self.check(peer, &hello) {
            tracing::warn!(%peer, why, "refused a raft stream");
            answer(&mut writer, &Answer::Refused(why)).await?;
            // Read what was on its way, so that the refusal is not lost to a reset.
            let _ = timeout(STEP, frame::read_bytes(&mut reader, MAX_FRAME_BYTES)).await;
            return writer.close().await.map_err(text);
        }
        let Ok(_served) = served.try_acquire_owned() else { return Err("too many streams are served".into()) };
        drop(place);
        match lane {
            Lane::Raft => self.converse(reader, writer).await,
            Lane::Snapshot => {
                let reply = match self.receive(&mut reader).await {
                    Ok(answer) => answer,
                    Err(why) => Answer::Refused(why),
                };
                answer(&mut writer, &reply).await?;
                writer.close().await.map_err(text)
            }
        }
    }

    fn check(&self, peer: PeerId, hello: &Hello) -> Result<(), String> {
        if hello.to != self.node {
            return Err(format!("this is node {}, not {}", self.node, hello.to));
        }
        self.authorise.may_speak_raft(peer, hello.from, &hello.certificate)?;
        if self.state.is_removed(hello.from).map_err(text)? {
            return Err(format!("node {} is no longer a member", hello.from));
        }
        Ok(())
    }

    async fn converse(&self, mut reader: ReadHalf<BoxDuplex>, mut writer: WriteHalf<BoxDuplex>) -> Result<(), String> {
        loop {
            let ask: Option<Ask> = frame::read(&mut reader, MAX_FRAME_BYTES).await.map_err(text)?;
            let reply = match ask {
                None => return Ok(()),
                Some(Ask::Append(first)) => return self.appends(first, reader, writer).await,
                Some(Ask::Vote(request)) => Answer::Vote(self.raft.vote(request).await.map_err(text)?),
                Some(Ask::PreVote(request)) => Answer::Vote(self.raft.pre_vote(request).await.map_err(text)?),
                Some(Ask::Transfer(request)) => {
                    Answer::Transfer(self.raft.handle_transfer_leader(request).await.map_err(text)?)
                }
            };
            answer(&mut writer, &reply).await?;
        }
    }

    async fn appends(
        &self,
        first: Append,
        reader: ReadHalf<BoxDuplex>,
        mut writer: WriteHalf<BoxDuplex>,
    ) -> Result<(), String> {
        let requests = stream::once(async { request(first) }).chain(rest(reader));
        let stopped = self.tasks.clone();
        let requests =
            requests.take_while(|r| std::future::ready(r.is_ok())).filter_map(|r| std::future::ready(r.ok()));
        let requests = requests.take_until(async move { stopped.stopped().await });
        let mut results = std::pin::pin!(self.raft.stream_append(requests));
        while let Some(result) = results.next().await {
            let result = result.map_err(text)?;
            let over = result.is_err();
            answer(&mut writer, &Answer::Append(result)).await?;
            if over {
                return writer.close().await.map_err(text);
            }
        }
        Ok(())
    }

    async fn receive(&self, reader: &mut ReadHalf<BoxDuplex>) -> Result<Answer, String> {
        let head: SnapshotHead = step(reader, MAX_FRAME_BYTES).await?;
        if head.bytes > MAX_SNAPSHOT_BYTES {
            return Err(format!("a snapshot of {} bytes is over the limit", head.bytes));
        }
        // openraft panics on a snapshot its sender cannot own.
        if head.meta.last_log_id.is_some_and(|id| id.leader_id > head.vote.leader_id) {
            return Err("the snapshot is newer than its sender's vote".into());
        }
        let path = self.machine.inbox();
        let remover = Remover(path.clone());
        let create = path.clone();
        let mut file = blocking(move || File::create(create)).await?;
        let mut left = head.bytes;
        while left > 0 {
            let chunk: Chunk = step(reader, CHUNK_BYTES + 1024).await?;
            if crc32fast::hash(&chunk.data) != chunk.crc {
                return Err("a piece of the snapshot was damaged on its way".into());
            }
            left = left.checked_sub(chunk.data.len() as u64).ok_or("more bytes than announced")?;
            file = blocking(move || file.write_all(&chunk.data).map(|()| file)).await?;
        }
        let snapshot = blocking(move || file.sync_all().and_then(|()| SnapshotFile::open(&path))).await?;
        let snapshot = openraft::Snapshot { meta: head.meta, snapshot };
        let response = self.raft.install_full_snapshot(head.vote, snapshot).await.map_err(text)?;
        drop(remover);
        Ok(Answer::Installed(response.vote))
    }
}

/// Removes a received file, unless it was moved to its place.
struct Remover(std::path::PathBuf);

impl Drop for Remover {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn text(e: impl ToString) -> String {
    e.to_string()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(text)?.map_err(text)
}

async fn step<T: serde::de::DeserializeOwned>(reader: &mut ReadHalf<BoxDuplex>, limit: usize) -> Result<T, String> {
    let frame = timeout(STEP, frame::read(reader, limit)).await.map_err(text)?.map_err(text)?;
    frame.ok_or_else(|| "the stream ended early".into())
}

async fn answer(writer: &mut WriteHalf<BoxDuplex>, answer: &Answer) -> Result<(), String> {
    frame::write(writer, answer).await.map_err(text)
}

fn request(append: Append) -> Result<AppendEntriesRequest<TypeConfig>, String> {
    let entries = append.entries.into_iter().map(|bytes| decode_entry(bytes.into_vec().into()).map_err(text));
    Ok(AppendEntriesRequest {
        vote: append.vote,
        prev_log_id: append.prev,
        leader_commit: append.commit,
        entries: entries.collect::<Result<_, _>>()?,
    })
}

fn rest(reader: ReadHalf<BoxDuplex>) -> impl Stream<Item = Result<AppendEntriesRequest<TypeConfig>, String>> {
    stream::unfold(reader, |mut reader| async move {
        let next = match frame::read::<_, Ask>(&mut reader, MAX_FRAME_BYTES).await {
            Ok(None) => return None,
            Ok(Some(Ask::Append(append))) => request(append),
            Ok(Some(_)) => Err("another question among appends".into()),
            Err(e) => Err(e.to_string()),
        };
        Some((next, reader))
    })
}
