//! openraft's network: streams to one other master, kept open while they are in order.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt, Stream, StreamExt,
    future::BoxFuture,
    io::{ReadHalf, WriteHalf},
};
use openraft::{
    OptionalSend,
    base::{BoxFuture as RaftFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::time::timeout;

use crate::{
    base::{
        NodeId, cbor,
        frame::{self, FrameError},
    },
    cluster::model::MasterInfo,
};

use super::{
    link::{BoxDuplex, Lane, Link},
    options::Authorise,
    snapshot::SnapshotFile,
    types::{CommittedLeaderId, LogIdOf, MasterNode, TypeConfig, VoteOf, encode_entry},
    wire::{Answer, Append, Ask, CHUNK_BYTES, Chunk, Hello, MAX_FRAME_BYTES, PIPELINE, SnapshotHead},
};

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// What every connection of this node needs.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub node: NodeId,
    pub link: Arc<dyn Link>,
    pub authorise: Arc<dyn Authorise>,
    /// How long an answer to an append may take before the stream is given up.
    pub patience: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Dialer {
    type Network = Line;

    async fn new_client(&mut self, target: u64, node: &MasterNode) -> Line {
        Line { dialer: self.clone(), target: NodeId(target), info: node.info(), conn: None }
    }
}

/// The way to one other master.
pub(crate) struct Line {
    dialer: Dialer,
    target: NodeId,
    info: Option<MasterInfo>,
    /// An open stream without unanswered requests.
    conn: Option<Conn>,
}

struct Conn {
    reader: ReadHalf<BoxDuplex>,
    writer: WriteHalf<BoxDuplex>,
}

fn unreachable(e: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(e))
}

fn broken(e: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(e))
}

/// Length and body in one write, so that a frame costs one packet.
pub(crate) fn framed<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let body = cbor::to_vec(value);
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

async fn write_all(writer: &mut WriteHalf<BoxDuplex>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn read_answer(reader: &mut ReadHalf<BoxDuplex>) -> Result<Answer, FrameError> {
    let ended = || FrameError::Io(io::ErrorKind::UnexpectedEof.into());
    frame::read(reader, MAX_FRAME_BYTES).await?.ok_or_else(ended)
}

impl Line {
    async fn dial(&self, lane: Lane) -> Rpc<Conn> {
        let info = self.info.clone().ok_or_else(|| unreachable("the membership has no address of this node"))?;
        let stream = self.dialer.link.open(info, lane).await.map_err(unreachable)?;
        let (reader, mut writer) = stream.split();
        let certificate = self.dialer.authorise.certificate();
        let hello = Hello { from: self.dialer.node, to: self.target, certificate };
        write_all(&mut writer, &framed(&hello)).await.map_err(unreachable)?;
        Ok(Conn { reader, writer })
    }

    async fn ask(&mut self, ask: Ask, option: RPCOption) -> Rpc<Answer> {
        let work = async {
            let mut conn = match self.conn.take() {
                Some(conn) => conn,
                None => self.dial(Lane::Raft).await?,
            };
            write_all(&mut conn.writer, &framed(&ask)).await.map_err(broken)?;
            match read_answer(&mut conn.reader).await.map_err(broken)? {
                Answer::Refused(why) => Err(unreachable(why)),
                answer => {
                    self.conn = Some(conn);
                    Ok(answer)
                }
            }
        };
        timeout(option.soft_ttl(), work).await.unwrap_or_else(|_| Err(unreachable("no answer in time")))
    }

    async fn ask_vote(&mut self, ask: Ask, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        match self.ask(ask, option).await? {
            Answer::Vote(response) => Ok(response),
            _ => Err(broken("an answer to another question")),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Line {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let once = Box::pin(futures::stream::once(async { rpc }));
        let mut answers = RaftNetworkV2::stream_append(self, once, option).await?;
        let result = answers.next().await.ok_or_else(|| broken("no answer"))??;
        // The rest of the stream gives the connection back.
        while answers.next().await.is_some() {}
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> RaftFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let patience = self.dialer.patience.max(option.soft_ttl());
            let conn = match self.conn.take() {
                Some(conn) => conn,
                None => timeout(patience, self.dial(Lane::Raft))
                    .await
                    .unwrap_or_else(|_| Err(unreachable("no connection in time")))?,
            };
            let stream = Appends {
                back: &mut self.conn,
                input: Some(input),
                writer: Some(conn.writer),
                reader: Some(conn.reader),
                writing: None,
                reading: None,
                waiting: VecDeque::new(),
                patience,
                over: false,
            };
            Ok(Box::pin(stream) as BoxStream<'s, _>)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask_vote(Ask::Vote(rpc), option).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask_vote(Ask::PreVote(rpc), option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf,
        snapshot: openraft::Snapshot<CommittedLeaderId, u64, MasterNode, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = timeout(option.soft_ttl(), self.send_snapshot(vote, snapshot));
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => match sent {
                Ok(result) => Ok(SnapshotResponse::new(result?)),
                Err(_) => Err(unreachable("the snapshot was not installed in time").into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        match self.ask(Ask::Transfer(req), option).await? {
            Answer::Transfer(response) => Ok(response),
            _ => Err(broken("an answer to another question")),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits = [50, 100, 200, 400].map(Duration::from_millis);
        Some(Backoff::new(waits.into_iter().chain(std::iter::repeat(Duration::from_millis(500)))))
    }
}

impl Line {
    async fn send_snapshot(
        &self,
        vote: VoteOf,
        snapshot: openraft::Snapshot<CommittedLeaderId, u64, MasterNode, SnapshotFile>,
    ) -> Rpc<VoteOf> {
        let mut conn = self.dial(Lane::Snapshot).await?;
        let SnapshotFile { file, bytes, .. } = snapshot.snapshot;
        let head = SnapshotHead { vote, meta: snapshot.meta, bytes };
        write_all(&mut conn.writer, &framed(&head)).await.map_err(broken)?;
        let mut at = 0;
        while at < bytes {
            let file = file.clone();
            let read = move || {
                use std::os::unix::fs::FileExt;
                let mut data = vec![0; CHUNK_BYTES.min((bytes - at) as usize)];
                file.read_exact_at(&mut data, at).map(|()| data)
            };
            let data = tokio::task::spawn_blocking(read).await.map_err(broken)?.map_err(broken)?;
            at += data.len() as u64;
            let chunk = Chunk { crc: crc32fast::hash(&data), data };
            write_all(&mut conn.writer, &framed(&chunk)).await.map_err(broken)?;
        }
        match read_answer(&mut conn.reader).await.map_err(broken)? {
            Answer::Installed(vote) => Ok(vote),
            Answer::Refused(why) => Err(unreachable(why)),
            _ => Err(broken("an answer to another question")),
        }
    }
}

type Writing = BoxFuture<'static, (io::Result<()>, WriteHalf<BoxDuplex>)>;
type Reading = BoxFuture<'static, (Result<Answer, String>, ReadHalf<BoxDuplex>)>;

/// Pipelined appends: requests are written while earlier answers are still on their way; answers come in order. Gives
/// the connection back at a clean end; dropped earlier, it drops the connection, whose answers nobody could place.
struct Appends<'s, S> {
    back: &'s mut Option<Conn>,
    input: Option<S>,
    writer: Option<WriteHalf<BoxDuplex>>,
    reader: Option<ReadHalf<BoxDuplex>>,
    writing: Option<Writing>,
    reading: Option<Reading>,
    /// The last log id of each request without an answer yet.
    waiting: VecDeque<Option<LogIdOf>>,
    patience: Duration,
    over: bool,
}

impl<S> Appends<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            if let Some(writing) = &mut self.writing {
                let (result, writer) = std::task::ready!(writing.poll_unpin(cx));
                self.writing = None;
                self.writer = Some(writer);
                result.map_err(|e| e.to_string())?;
            }
            if self.waiting.len() >= PIPELINE {
                return Poll::Pending;
            }
            let Some(input) = &mut self.input else { return Poll::Pending };
            let Some(request) = std::task::ready!(input.poll_next_unpin(cx)) else {
                self.input = None;
                return Poll::Ready(Ok(()));
            };
            let Some(mut writer) = self.writer.take() else { return Poll::Ready(Err("no writer".into())) };
            self.waiting.push_back(request.entries.last().map(|e| e.log_id).or(request.prev_log_id));
            let patience = self.patience;
            self.writing = Some(Box::pin(async move {
                let entries = request.entries.iter().map(|e| encode_entry(e).to_vec().into()).collect();
                let ask = Ask::Append(Append {
                    vote: request.vote,
                    prev: request.prev_log_id,
                    commit: request.leader_commit,
                    entries,
                });
                let result = timeout(patience, write_all(&mut writer, &framed(&ask))).await;
                (result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())), writer)
            }));
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, String>> {
        if self.waiting.is_empty() {
            return Poll::Pending;
        }
        let (reader, patience) = (&mut self.reader, self.patience);
        if self.reading.is_none() {
            let Some(mut reader) = reader.take() else { return Poll::Ready(Err("no reader".into())) };
            self.reading = Some(Box::pin(async move {
                let result = match timeout(patience, read_answer(&mut reader)).await {
                    Ok(result) => result.map_err(|e| e.to_string()),
                    Err(_) => Err("no answer in time".into()),
                };
                (result, reader)
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let (result, reader) = std::task::ready!(reading.poll_unpin(cx));
        self.reading = None;
        self.reader = Some(reader);
        Poll::Ready(result)
    }
}

impl<S> Stream for Appends<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = Rpc<StreamAppendResult<TypeConfig>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Err(why)) = this.poll_write(cx) {
            this.over = true;
            return Poll::Ready(Some(Err(broken(why))));
        }
        if let Poll::Ready(answer) = this.poll_read(cx) {
            let sent = this.waiting.pop_front().flatten();
            let result = match answer {
                Ok(Answer::Append(Ok(_))) => Ok(Ok(sent)),
                Ok(Answer::Append(Err(e))) => Ok(Err(e)),
                Ok(Answer::Refused(why)) => Err(unreachable(why)),
                Ok(_) => Err(broken("an answer to another question")),
                Err(why) => Err(broken(why)),
            };
            // After a conflict or an error the other side has ended its half of the conversation.
            this.over = !matches!(result, Ok(Ok(_)));
            return Poll::Ready(Some(result));
        }
        if this.input.is_none() && this.waiting.is_empty() && this.writing.is_none() {
            this.over = true;
            if let (Some(reader), Some(writer)) = (this.reader.take(), this.writer.take()) {
                *this.back = Some(Conn { reader, writer });
            }
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
