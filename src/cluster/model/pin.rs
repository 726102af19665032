//! Sans-IO: the cluster's pin records with their explicit holders.

use serde::{Deserialize, Serialize};

use crate::base::{Cid, NodeId};

use super::TaskId;

/// Content the cluster keeps, and who keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// The root.
    pub cid: Cid,
    /// The members that hold it, in ascending order.
    pub holders: Vec<NodeId>,
    /// The task whose result it is.
    pub task: Option<TaskId>,
    /// The log index that made it.
    pub index: u64,
    /// The entry time of that index, in milliseconds since 1970.
    pub time_ms: u64,
}
