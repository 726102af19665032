//! openraft's network: streams to one other master, kept open while they are in order.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    AsyncReadExt, FutureExt, Stream, StreamExt,
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
        NodeId,
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
        Line { dialer: self.clone(), target: NodeId(target), info: node.info(), conn: Spare::default() }
    }
}

/// The way to one other master.
pub(crate) struct Line {
    dialer: Dialer,
    target: NodeId,
    info: Option<MasterInfo>,
    /// An open stream that nobody uses now. The mutex only makes it shareable and is never locked.
    conn: Spare,
}

type Spare = Mutex<Option<Conn>>;

fn spare(conn: &mut Spare) -> &mut Option<Conn> {
    conn.get_mut().unwrap_or_else(PoisonError::into_inner)
}

struct Conn {
    reader: Half<ReadHalf<BoxDuplex>, Result<Answer, String>>,
    writer: Half<WriteHalf<BoxDuplex>, Result<(), FrameError>>,
    /// Answers still to come to requests whose sender did not wait for them: a heartbeat has little time.
    owed: usize,
}

/// One half of a stream: at rest, or with a read or write under way that must not be cut off within a frame.
enum Half<T, R> {
    Idle(T),
    Busy(BoxFuture<'static, (R, T)>),
}

impl Conn {
    fn new(reader: ReadHalf<BoxDuplex>, writer: WriteHalf<BoxDuplex>) -> Self {
        Conn { reader: Half::Idle(reader), writer: Half::Idle(writer), owed: 0 }
    }

    /// The halves, when nothing is under way and no answer is owed.
    fn into_clean(self) -> Option<(ReadHalf<BoxDuplex>, WriteHalf<BoxDuplex>)> {
        match self {
            Conn { reader: Half::Idle(reader), writer: Half::Idle(writer), owed: 0 } => Some((reader, writer)),
            _ => None,
        }
    }
}

fn unreachable(e: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(e))
}

fn broken(e: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(e))
}

async fn read_answer(reader: &mut ReadHalf<BoxDuplex>) -> Result<Answer, FrameError> {
    let ended = || FrameError::Io(io::ErrorKind::UnexpectedEof.into());
    frame::read(reader, MAX_FRAME_BYTES).await?.ok_or_else(ended)
}

impl Line {
    async fn dial(&self, lane: Lane) -> Rpc<(ReadHalf<BoxDuplex>, WriteHalf<BoxDuplex>)> {
        let info = self.info.clone().ok_or_else(|| unreachable("the membership has no address of this node"))?;
        let stream = self.dialer.link.open(info, lane).await.map_err(unreachable)?;
        let (reader, mut writer) = stream.split();
        let certificate = self.dialer.authorise.certificate();
        let hello = Hello { from: self.dialer.node, to: self.target, certificate };
        frame::write(&mut writer, &hello).await.map_err(unreachable)?;
        Ok((reader, writer))
    }

    async fn ask(&mut self, ask: Ask, option: RPCOption) -> Rpc<Answer> {
        let work = async {
            let (mut reader, mut writer) = match spare(&mut self.conn).take().and_then(Conn::into_clean) {
                Some(halves) => halves,
                None => self.dial(Lane::Raft).await?,
            };
            frame::write(&mut writer, &ask).await.map_err(broken)?;
            match read_answer(&mut reader).await.map_err(broken)? {
                Answer::Refused(why) => Err(unreachable(why)),
                answer => {
                    *spare(&mut self.conn) = Some(Conn::new(reader, writer));
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
            let conn = match spare(&mut self.conn).take() {
                Some(conn) => conn,
                None => {
                    let dialled = timeout(patience, self.dial(Lane::Raft)).await;
                    let (reader, writer) = dialled.unwrap_or_else(|_| Err(unreachable("no connection in time")))?;
                    Conn::new(reader, writer)
                }
            };
            let stream = Appends {
                back: spare(&mut self.conn),
                input: Some(input),
                writer: Some(conn.writer),
                reader: Some(conn.reader),
                owed: conn.owed,
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
        let (mut reader, mut writer) = self.dial(Lane::Snapshot).await?;
        let SnapshotFile { file, bytes, .. } = snapshot.snapshot;
        let head = SnapshotHead { vote, meta: snapshot.meta, bytes };
        frame::write(&mut writer, &head).await.map_err(broken)?;
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
            frame::write(&mut writer, &chunk).await.map_err(broken)?;
        }
        match read_answer(&mut reader).await.map_err(broken)? {
            Answer::Installed(vote) => Ok(vote),
            Answer::Refused(why) => Err(unreachable(why)),
            _ => Err(broken("an answer to another question")),
        }
    }
}

/// Pipelined appends: requests are written while earlier answers are still on their way; answers come in order. Gives
/// the connection back when it ends or is dropped; whoever uses it next passes over the answers that are still owed.
struct Appends<'s, S> {
    back: &'s mut Option<Conn>,
    input: Option<S>,
    writer: Option<Half<WriteHalf<BoxDuplex>, Result<(), FrameError>>>,
    reader: Option<Half<ReadHalf<BoxDuplex>, Result<Answer, String>>>,
    /// Answers to pass over before the first one that is waited for.
    owed: usize,
    /// The last log id of each request without an answer yet.
    waiting: VecDeque<Option<LogIdOf>>,
    patience: Duration,
    /// Whether the conversation has ended, so that the connection is of no use any more.
    over: bool,
}

impl<S> Appends<'_, S> {
    fn is_full(&self) -> bool {
        self.owed + self.waiting.len() >= PIPELINE
    }
}

impl<S> Appends<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            match self.writer.take() {
                Some(Half::Busy(mut writing)) => match writing.poll_unpin(cx) {
                    Poll::Ready((result, writer)) => {
                        result.map_err(|e| e.to_string())?;
                        self.writer = Some(Half::Idle(writer));
                    }
                    Poll::Pending => {
                        self.writer = Some(Half::Busy(writing));
                        return Poll::Pending;
                    }
                },
                idle => self.writer = idle,
            }
            if self.is_full() {
                return Poll::Pending;
            }
            let Some(input) = &mut self.input else { return Poll::Pending };
            let Some(request) = std::task::ready!(input.poll_next_unpin(cx)) else {
                self.input = None;
                return Poll::Ready(Ok(()));
            };
            let Some(Half::Idle(mut writer)) = self.writer.take() else {
                return Poll::Ready(Err("the stream is broken".into()));
            };
            self.waiting.push_back(request.entries.last().map(|e| e.log_id).or(request.prev_log_id));
            let patience = self.patience;
            self.writer = Some(Half::Busy(Box::pin(async move {
                let entries = request.entries.iter().map(|e| encode_entry(e).to_vec().into()).collect();
                let ask = Ask::Append(Append {
                    vote: request.vote,
                    prev: request.prev_log_id,
                    commit: request.leader_commit,
                    entries,
                });
                let result = timeout(patience, frame::write(&mut writer, &ask)).await;
                (result.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())), writer)
            })));
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, String>> {
        loop {
            if self.owed == 0 && self.waiting.is_empty() {
                return Poll::Pending;
            }
            let mut reading = match self.reader.take() {
                Some(Half::Busy(reading)) => reading,
                Some(Half::Idle(mut reader)) => {
                    let patience = self.patience;
                    async move {
                        let result = match timeout(patience, read_answer(&mut reader)).await {
                            Ok(result) => result.map_err(|e| e.to_string()),
                            Err(_) => Err("no answer in time".into()),
                        };
                        (result, reader)
                    }
                    .boxed()
                }
                None => return Poll::Ready(Err("the stream is broken".into())),
            };
            let Poll::Ready((result, reader)) = reading.poll_unpin(cx) else {
                self.reader = Some(Half::Busy(reading));
                return Poll::Pending;
            };
            self.reader = Some(Half::Idle(reader));
            match result {
                // Late: its sender has given up waiting, but the other side lives.
                Ok(Answer::Append(Ok(_))) if self.owed > 0 => self.owed -= 1,
                // Late as well, and the last word on this stream.
                Ok(_) if self.owed > 0 => return Poll::Ready(Err("an earlier request was refused".into())),
                result => return Poll::Ready(result),
            }
        }
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
        let full = this.is_full();
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
        if full && !this.is_full() {
            // Late answers have made room for what waits to be written.
            cx.waker().wake_by_ref();
        }
        if this.input.is_none() && this.waiting.is_empty() && matches!(this.writer, Some(Half::Idle(_))) {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl<S> Drop for Appends<'_, S> {
    fn drop(&mut self) {
        let owed = self.owed + self.waiting.len();
        // One that owes so many answers is no longer believed in.
        if self.over || owed >= PIPELINE {
            return;
        }
        if let (Some(reader), Some(writer)) = (self.reader.take(), self.writer.take()) {
            *self.back = Some(Conn { reader, writer, owed });
        }
    }
}
