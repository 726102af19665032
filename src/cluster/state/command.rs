//! Sans-IO: what may stand in the cluster's log, what applying it answers, and what it makes known.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    base::{Cid, Kind, NodeId, PeerId, Role, cbor},
    cluster::model::{ClusterId, Fence, MemberInfo, Outcome, TaskId, TaskSpec, TaskState},
};

use super::records::PinId;

/// Largest encoded [`Entry`], in bytes.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;
/// Most requests in one [`Entry`].
pub const MAX_ENTRY_REQUESTS: usize = 1_024;
/// Largest payload of a [`Command::Noop`], in bytes.
pub const MAX_NOOP_BYTES: usize = 16 * 1024;
/// Longest text of an error, a setting's value or a pin's name kept in the state, in bytes.
pub const MAX_TEXT_BYTES: usize = 4 * 1024;
/// Most changes in one [`Command::PinBatch`].
pub const MAX_PIN_CHANGES: usize = 1_000;

/// One entry of the Raft log: many requests, decided together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The greater of the previous entry's time and the proposer's clock, in milliseconds since 1970. No clock is
    /// read while applying.
    pub time_ms: u64,
    /// Who proposed it.
    pub proposer: NodeId,
    /// What is asked for, applied in order.
    pub requests: Vec<Request>,
}

impl Entry {
    /// The entry as it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads an entry; one that a newer version wrote is read as far as possible, see [`Command::Unknown`].
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::from_slice(bytes, MAX_ENTRY_BYTES)
    }
}

/// One command and who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The sender's number for deduplication, drawn at random by the sender; all zero asks for none.
    #[serde(with = "serde_bytes")]
    pub client: [u8; 16],
    /// Counts the sender's commands: the same (client, sequence) is applied once, and answered alike again.
    pub sequence: u64,
    /// What to do.
    #[serde(serialize_with = "nest", deserialize_with = "unnest")]
    pub command: Command,
}

impl Request {
    /// A request without deduplication, for commands that are idempotent by themselves.
    pub fn once(command: Command) -> Self {
        Request { client: [0; 16], sequence: 0, command }
    }
}

/// A change of one pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinChange {
    /// Makes or replaces the pin `id`.
    Put {
        /// The pin's number, drawn by the proposer.
        id: PinId,
        /// What is pinned.
        cid: Cid,
        /// Who must hold it.
        holders: Vec<NodeId>,
    },
    /// Replaces the holders of the pin `id`.
    Holders {
        /// Which pin.
        id: PinId,
        /// Who must hold it from now on.
        holders: Vec<NodeId>,
    },
    /// Ends the pin `id`.
    Remove {
        /// Which pin.
        id: PinId,
    },
}

/// What can be asked of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a cluster; the founder becomes [`FOUNDER`](super::FOUNDER).
    Found {
        /// The cluster's identity.
        cluster: ClusterId,
        /// Its first master.
        founder: MemberInfo,
    },
    /// Admits a master or a worker. Again with the same peer and storage: the same number again. At most one in an
    /// entry, since the entry's index is the number.
    Admit {
        /// Whom.
        member: MemberInfo,
        /// The token that was shown, for the records.
        #[serde(with = "serde_bytes")]
        token_id: [u8; 16],
    },
    /// Changes what a member is for.
    SetRole {
        /// Whom.
        node: NodeId,
        /// To what.
        role: Role,
    },
    /// Gives a member no new work.
    Drain {
        /// Whom.
        node: NodeId,
    },
    /// Ends [`Command::Drain`].
    Undrain {
        /// Whom.
        node: NodeId,
    },
    /// The leader has lost sight of a member.
    Lost {
        /// Whom.
        node: NodeId,
    },
    /// A lost member is seen again.
    Back {
        /// Whom.
        node: NodeId,
    },
    /// Ends a membership for good; a tombstone remains and the number is never given again.
    Remove {
        /// Whom.
        node: NodeId,
    },
    /// Sets a setting.
    SetSetting {
        /// Which.
        key: String,
        /// To what.
        value: String,
        /// The revision the writer saw (0 = none yet); another one is a conflict. `None` overwrites.
        expect: Option<u64>,
    },
    /// Accepts a task. Again with the same id: the same answer, marked as a duplicate.
    Submit {
        /// The hash of the spec.
        task: TaskId,
        /// What to do.
        spec: TaskSpec,
    },
    /// Gives a pending task to a node. The entry's index becomes the fence.
    Assign {
        /// Which task.
        task: TaskId,
        /// To whom.
        node: NodeId,
        /// Which attempt this is, counted from 1: a scheduler that saw an older state is refused.
        attempt: u32,
    },
    /// Ends an attempt. With another fence than the current one: [`Reply::Stale`].
    Complete {
        /// Which task.
        task: TaskId,
        /// The fence of the attempt.
        fence: Fence,
        /// Who ran it.
        node: NodeId,
        /// How it ended.
        outcome: Outcome,
        /// Who holds the result: the holders of the pin that the same entry makes.
        holders: Vec<NodeId>,
    },
    /// Ends a task that has not ended.
    Cancel {
        /// Which task.
        task: TaskId,
    },
    /// Takes tasks back whose lease ran out, and ends those whose time is over.
    Expire {
        /// Attempts whose lease ran out; one that has another fence by now is left alone.
        leases: Vec<(TaskId, Fence)>,
        /// Tasks whose `not_after` has passed; others are left alone.
        tasks: Vec<TaskId>,
    },
    /// Forgets tasks that have ended and whose specs stopped being valid an hour before this time; at most
    /// [`FORGET_BATCH`](super::FORGET_BATCH) at once.
    ForgetTasks {
        /// Milliseconds since 1970; the entry's time is the limit.
        before_ms: u64,
    },
    /// Forgets answers kept for deduplication that are older than this; at most
    /// [`FORGET_BATCH`](super::FORGET_BATCH) at once.
    ForgetReplies {
        /// Milliseconds since 1970; an hour before the entry's time is the limit.
        before_ms: u64,
    },
    /// Changes pins, all or none.
    PinBatch {
        /// What changes, in order.
        changes: Vec<PinChange>,
    },
    /// Does nothing, durably: a barrier, and the benchmark's command.
    Noop {
        /// Ballast.
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    },
    /// A command of a newer version. The leader refuses to log it; a node that meets one in the log stops, because
    /// going on would make its state differ from the others'.
    #[serde(skip)]
    Unknown(Bytes),
}

fn nest<S: Serializer>(command: &Command, to: S) -> Result<S::Ok, S::Error> {
    match command {
        Command::Unknown(bytes) => to.serialize_bytes(bytes),
        known => to.serialize_bytes(&cbor::to_vec(known)),
    }
}

fn unnest<'de, D: Deserializer<'de>>(from: D) -> Result<Command, D::Error> {
    let bytes = serde_bytes::ByteBuf::deserialize(from)?;
    Ok(cbor::from_slice(&bytes, MAX_ENTRY_BYTES).unwrap_or_else(|_| Command::Unknown(Bytes::from(bytes.into_vec()))))
}

/// What a request is answered with once it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done {
        /// The log index that did it.
        index: u64,
    },
    /// The member has a number.
    Admitted {
        /// The number.
        node: NodeId,
        /// The log index that gave it.
        index: u64,
        /// Whether it had been given before.
        duplicate: bool,
    },
    /// The task is known.
    Task {
        /// Which.
        id: TaskId,
        /// The log index that accepted it.
        index: u64,
        /// Whether it had been accepted before.
        duplicate: bool,
    },
    /// The task is given away.
    Assigned {
        /// Which.
        task: TaskId,
        /// The fence of the attempt.
        fence: Fence,
    },
    /// The task is at an end or waits for another attempt.
    Completed {
        /// Which.
        task: TaskId,
        /// Its state now: pending again after a failure that may be retried.
        state: TaskState,
        /// The log index that decided it.
        index: u64,
    },
    /// The fence is not the current one: another attempt owns the task or it has ended.
    Stale,
    /// The setting is set.
    Setting {
        /// Its revision: the log index that set it.
        revision: u64,
    },
    /// It was not done.
    Refused {
        /// What kind of refusal.
        kind: Kind,
        /// Why, for people.
        message: String,
    },
}

impl Reply {
    /// A refusal.
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Reply::Refused { kind, message: message.into() }
    }
}

/// What applying an entry makes known to the node it is applied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member was admitted or its record changed.
    MemberChanged {
        /// Whom.
        node: NodeId,
    },
    /// A membership ended.
    MemberRemoved {
        /// Whom.
        node: NodeId,
        /// Its identity on the network.
        peer: PeerId,
    },
    /// A task was accepted.
    TaskSubmitted {
        /// Which.
        id: TaskId,
    },
    /// A task was given to a node.
    TaskAssigned {
        /// Which.
        id: TaskId,
        /// To whom.
        node: NodeId,
        /// The attempt's fence.
        fence: Fence,
    },
    /// An attempt ended without an end of the task, which is pending again.
    TaskRequeued {
        /// Which.
        id: TaskId,
        /// Who had it.
        node: NodeId,
        /// The ended attempt's fence.
        fence: Fence,
    },
    /// A task ended.
    TaskEnded {
        /// Which.
        id: TaskId,
        /// How.
        state: TaskState,
        /// The attempt that was running, if one was.
        attempt: Option<(NodeId, Fence)>,
    },
    /// A pin was made, changed or removed.
    PinChanged {
        /// Which.
        id: PinId,
        /// What it pins.
        cid: Cid,
    },
    /// A setting changed.
    SettingChanged {
        /// Which.
        key: String,
        /// The log index that set it.
        revision: u64,
    },
    /// The whole state was replaced by a snapshot: read everything again.
    Reloaded,
}
