//! What travels on `/ipfs-kit/cluster/1.0.0`: one call and one answer a stream, a join has two of each.
//!
//! Every call but a join carries the caller's certificate, which must name the peer at the other end of the stream.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    base::{Multiaddr, PeerId, Role, frame},
    net::{Class, Net, Stream},
};

use super::{
    error::{ClusterError, WireError},
    model::{Certificate, MasterInfo, Receipt, SignedSpec, TaskId, TaskRecord},
    raft::Timing,
    state::{Reply, Request},
    view::MemberStatus,
};

/// The protocol's name.
pub const PROTOCOL: &str = "/ipfs-kit/cluster/1.0.0";
/// The largest call, in bytes: forwarded requests of one log entry fit.
pub const MAX_CALL_BYTES: usize = 320 * 1024;
/// The largest answer, in bytes: the status of 10,000 members fits.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The most addresses of one node that are kept and sent.
pub const MAX_ADDRS: usize = 16;

/// A question and who asks it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The caller's certificate; none when it joins.
    pub certificate: Option<Certificate>,
    /// The question.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Let me in; answered by [`Answer::Challenge`], to which a [`TokenProof`](super::model::token::TokenProof) follows.
    Join(Newcomer),
    /// I am here. A master says so to the leader every second; others renew their certificate and the masters' list.
    Hello {
        /// Where the caller listens.
        addrs: Vec<Multiaddr>,
        /// The id of the caller's repo.
        #[serde(with = "serde_bytes")]
        storage_id: [u8; 16],
    },
    /// Put this task into the log; answered with the accepted receipt.
    Submit(Box<SignedSpec>),
    /// From a master to the leader: put these into the log.
    Propose(Vec<Request>),
    /// How does the cluster stand?
    Status,
    /// How does this task stand?
    Task(TaskId),
    /// The task's outcome receipt; the answer waits for it, at most this long.
    Outcome {
        /// Which.
        task: TaskId,
        /// In milliseconds, at most 20,000.
        wait_ms: u32,
    },
}

impl Ask {
    /// The question's name.
    pub fn name(&self) -> &'static str {
        match self {
            Ask::Join(_) => "join",
            Ask::Hello { .. } => "hello",
            Ask::Submit(_) => "submit",
            Ask::Propose(_) => "propose",
            Ask::Status => "status",
            Ask::Task(_) => "task",
            Ask::Outcome { .. } => "outcome",
        }
    }
}

/// Who wants in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// As what.
    pub role: Role,
    /// The id of its repo.
    #[serde(with = "serde_bytes")]
    pub storage_id: [u8; 16],
    /// Its public key (protobuf encoding); must hash to the peer at the other end.
    #[serde(with = "serde_bytes")]
    pub peer_key: Vec<u8>,
    /// Where it listens.
    pub addrs: Vec<Multiaddr>,
}

/// What a newcomer gets.
#[derive(Clone, Serialize, Deserialize)]
pub struct Admission {
    /// Its certificate.
    pub certificate: Certificate,
    /// The masters it can turn to.
    pub masters: Vec<MasterInfo>,
    /// The cluster's private key, for masters only; the stream is encrypted and the newcomer has proved its token.
    pub cluster_key: Option<serde_bytes::ByteBuf>,
    /// Raft's timers, chosen when the cluster was founded.
    #[serde(default)]
    pub timing: Option<Timing>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admission({}, {} masters)", self.certificate.role, self.masters.len())
    }
}

/// How the cluster stands, as a master says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The leader it knows.
    pub leader: Option<PeerId>,
    /// Raft's term.
    pub term: u64,
    /// The last committed index.
    pub committed: u64,
    /// The last applied index.
    pub applied: u64,
    /// Masters and workers.
    pub members: Vec<MemberStatus>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Prove that you hold a token, over this nonce. The certificate shows which cluster asks.
    Challenge {
        /// The answering member's certificate.
        certificate: Certificate,
        /// Fresh and random.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 32],
    },
    /// You are a member.
    Admitted(Box<Admission>),
    /// Ask one of these instead, the leader first if one is known.
    Elsewhere {
        /// The leader.
        leader: Option<PeerId>,
        /// The masters known here.
        masters: Vec<MasterInfo>,
    },
    /// I heard you.
    Hello {
        /// The leader.
        leader: Option<PeerId>,
        /// The masters.
        masters: Vec<MasterInfo>,
        /// A new certificate, when the caller's runs out soon.
        certificate: Option<Box<Certificate>>,
    },
    /// A receipt.
    Receipt(Box<Receipt>),
    /// What applying answered.
    Replies(Vec<Reply>),
    /// How the cluster stands.
    Status(StatusAnswer),
    /// How the task stands; none when it is not known.
    Task(Option<Box<TaskRecord>>),
    /// It could not be done.
    Error(WireError),
}

/// Opens a stream to a member, asks, and gives its answer; errors it tells are errors here.
pub async fn call(net: &Net, peer: PeerId, call: &Call, limit: Duration) -> Result<Answer, ClusterError> {
    let asked = async {
        let (_, mut stream) = net.streams().open(peer, &[PROTOCOL], Class::Control).await?;
        frame::write(&mut stream, call).await?;
        read_answer(&mut stream, peer).await
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(ClusterError::Timeout { what: format!("an answer of {peer}"), limit }),
    }
}

/// Reads one answer.
pub async fn read_answer(stream: &mut Stream, peer: PeerId) -> Result<Answer, ClusterError> {
    match frame::read(stream, MAX_ANSWER_BYTES).await? {
        Some(Answer::Error(e)) => Err(e.into()),
        Some(answer) => Ok(answer),
        None => Err(ClusterError::Protocol { peer, why: "the stream ended without an answer".into() }),
    }
}

/// Unexpected answers are the other side's fault.
pub fn unexpected(peer: PeerId) -> ClusterError {
    ClusterError::Protocol { peer, why: "the answer does not fit the question".into() }
}
