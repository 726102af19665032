//! Sans-IO: what travels on `/ipfs-kit/session/1.0.0`.

use serde::{Deserialize, Serialize};

use crate::base::{Cid, Multiaddr, PeerId};
use crate::cluster::{
    error::WireError,
    model::{Certificate, Fence, MasterInfo, Outcome, TaskId, TaskSpec},
};

/// The protocol's name.
pub const PROTOCOL: &str = "/ipfs-kit/session/1.0.0";
/// The largest frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;
/// The most attempts a worker may run or have in its outbox.
pub const MAX_RUNNING: usize = 1_024;
/// How often a worker sends a beat, in milliseconds.
pub const BEAT_MS: u64 = 1_000;

/// From the worker to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Up {
    /// The first frame.
    Hello {
        /// Who.
        certificate: Box<Certificate>,
        /// The id of its repo.
        #[serde(with = "serde_bytes")]
        storage_id: [u8; 16],
        /// What it can run.
        kinds: Vec<String>,
        /// How many at once.
        capacity: u32,
        /// Where it listens.
        addrs: Vec<Multiaddr>,
        /// What it runs, and what waits in its outbox.
        running: Vec<(TaskId, Fence)>,
    },
    /// I live, and these are running or wait in the outbox.
    Beat {
        /// Counts the beats of this session.
        seq: u64,
        /// What it runs.
        running: Vec<(TaskId, Fence)>,
    },
    /// Answers [`Down::HoldsQuery`].
    Holds {
        /// Which question.
        query: u64,
        /// Whether all of it is here.
        held: bool,
    },
    /// An attempt ended; repeated until [`Down::CompleteAck`].
    Complete {
        /// The outbox's number for it.
        seq: u64,
        /// Which task.
        task: TaskId,
        /// Which attempt.
        fence: Fence,
        /// How it ended.
        outcome: Outcome,
    },
}

/// From the leader to the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// Answers the first frame: the session is there.
    Welcome {
        /// The masters.
        masters: Vec<MasterInfo>,
    },
    /// Answers the first frame: turn to the leader instead.
    Redirect {
        /// Who leads, if it is known.
        leader: Option<PeerId>,
        /// The masters.
        masters: Vec<MasterInfo>,
    },
    /// Answers the first frame: you may not.
    Refused(WireError),
    /// Run this.
    Assign {
        /// Which task.
        task: TaskId,
        /// Which attempt.
        fence: Fence,
        /// What to do.
        spec: Box<TaskSpec>,
    },
    /// Stop this attempt, its outcome is of no use any more.
    Cancel {
        /// Which task.
        task: TaskId,
        /// Which attempt.
        fence: Fence,
    },
    /// The beat came while the leader was sure to lead: leases are renewed.
    BeatAck {
        /// Which beat.
        seq: u64,
    },
    /// Is all of this here?
    HoldsQuery {
        /// Which question.
        query: u64,
        /// The root.
        cid: Cid,
    },
    /// The outcome is decided; it may leave the outbox.
    CompleteAck {
        /// The outbox's number.
        seq: u64,
        /// What became of it.
        verdict: Verdict,
    },
    /// The masters and where they are, whenever that changes.
    Masters {
        /// All of them.
        masters: Vec<MasterInfo>,
    },
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is in the log.
    Accepted,
    /// The attempt was not the current one.
    Stale,
}

impl Verdict {
    /// The name used on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Stale => "stale",
        }
    }
}
