//! openraft's metrics in our words.

use openraft::{RaftMetrics, errors::Fatal};

use crate::{base::NodeId, cluster::model::MasterInfo};

use super::{options::RaftStatus, types::TypeConfig};

/// Why openraft has stopped. It writes where it was and the error's type before what the disk's error says.
pub(crate) fn reason(fatal: &Fatal<TypeConfig>) -> String {
    let text = fatal.to_string();
    text.rsplit_once("std::io::error::Error: ").map_or(text.as_str(), |(_, said)| said).to_owned()
}

/// What the metrics say.
pub(crate) fn of(node: NodeId, metrics: &RaftMetrics<TypeConfig>) -> RaftStatus {
    let membership = metrics.membership_config.membership();
    let info = |id: &u64| membership.get_node(id).and_then(|n| n.info());
    let listed = |ids: &mut dyn Iterator<Item = u64>| -> Vec<(NodeId, MasterInfo)> {
        ids.filter_map(|id| info(&id).map(|info| (NodeId(id), info))).collect()
    };
    let index = |id: &Option<super::types::LogIdOf>| id.map_or(0, |id| id.index);
    let stopped = metrics.running_state.as_ref().err().map(reason);
    // What the metrics said last before it stopped is no longer so.
    let leader = metrics.current_leader.filter(|_| stopped.is_none());
    RaftStatus {
        node,
        leader: leader.map(NodeId),
        leader_info: leader.and_then(|id| info(&id)),
        term: metrics.current_term,
        committed: index(&metrics.cluster_committed.max(metrics.local_committed)),
        applied: index(&metrics.last_applied),
        last_log: metrics.last_log_index.unwrap_or(0),
        snapshot: index(&metrics.snapshot),
        purged: index(&metrics.purged),
        // Its own committed vote must be on the disk too: before that openraft refuses proposals.
        is_leader: leader == Some(node.0) && metrics.state.is_leader() && metrics.vote.committed,
        voters: listed(&mut membership.voter_ids()),
        learners: listed(&mut membership.learner_ids()),
        matched: metrics
            .replication
            .iter()
            .flatten()
            .map(|(id, matched)| (NodeId(*id), matched.map_or(0, |id| id.index)))
            .collect(),
        stopped,
    }
}
