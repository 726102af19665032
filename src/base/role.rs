//! The roles of a cluster's members.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a member of a cluster is for. A node without a cluster has no role: it is a plain peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes in Raft, keeps the cluster's state, schedules while it leads.
    Master,
    /// Runs tasks and keeps content.
    Worker,
    /// Reads, and may submit tasks; holds no cluster state and has no number in the log.
    Leecher,
}

impl Role {
    /// Every role, for help texts and tests.
    pub const ALL: [Role; 3] = [Role::Master, Role::Worker, Role::Leecher];

    /// The role's name as written in flags and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Worker => "worker",
            Role::Leecher => "leecher",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a role; use master, worker or leecher")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Role::ALL.into_iter().find(|r| r.as_str() == text).ok_or_else(|| UnknownRole(text.into()))
    }
}
