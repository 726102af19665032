//! Sans-IO: founding, admission and the states of members.

use crate::{
    base::{Kind, NodeId, Role},
    cluster::model::{ClusterId, Member, MemberInfo, MemberState},
};

use super::{
    FIRST_EPOCH, FOUNDER, MAX_MEMBERS,
    apply::Step,
    command::{Event, Reply},
    error::StateError,
    reader::{member_row, node_of_peer},
    records::{self, MEMBER_PEERS, MEMBERS, MemberRow, node_key},
};

impl Step<'_, '_> {
    pub(super) fn found(&mut self, cluster: &ClusterId, founder: &MemberInfo) -> Result<Reply, StateError> {
        if let Some(known) = self.meta.cluster {
            let same = known == *cluster && node_of_peer(self.view, &founder.peer)? == Some(FOUNDER);
            return Ok(match same {
                true => Reply::Admitted { node: FOUNDER, index: self.index, duplicate: true },
                false => Reply::refused(Kind::Conflict, format!("this log belongs to the cluster {known}")),
            });
        }
        if founder.role != Role::Master {
            return Ok(Reply::refused(Kind::Invalid, "a cluster is founded by a master"));
        }
        self.meta.cluster = Some(*cluster);
        self.meta.epoch = FIRST_EPOCH;
        self.meta.founded_ms = self.meta.time_ms;
        self.add(FOUNDER, founder);
        Ok(Reply::Admitted { node: FOUNDER, index: self.index, duplicate: false })
    }

    pub(super) fn admit(&mut self, info: &MemberInfo) -> Result<Reply, StateError> {
        if info.role == Role::Leecher {
            return Ok(Reply::refused(Kind::Invalid, "leechers have no number in the log"));
        }
        let old = match node_of_peer(self.view, &info.peer)? {
            Some(node) => member_row(self.view, node)?,
            None => None,
        };
        if let Some(row) = &old {
            if row.member.storage_id == info.storage_id {
                return Ok(self.admit_again(row.clone(), info));
            }
        } else if self.meta.members >= MAX_MEMBERS {
            return Ok(Reply::refused(Kind::Busy, format!("the cluster has {MAX_MEMBERS} members already")));
        }
        if self.meta.last_admission == self.index {
            return Ok(Reply::refused(Kind::Busy, "one admission for each log entry; try again"));
        }
        // The same peer with another disk: the former member is gone, whatever its disk had promised with it.
        if let Some(row) = old {
            self.bury(row);
        }
        let node = NodeId::new(self.meta.epoch, self.index);
        self.meta.last_admission = self.index;
        self.add(node, info);
        Ok(Reply::Admitted { node, index: self.index, duplicate: false })
    }

    fn admit_again(&mut self, mut row: MemberRow, info: &MemberInfo) -> Reply {
        let member = &row.member;
        if member.role != info.role {
            let why = format!("{} is a member already, as {}; change its role instead", info.peer, member.role);
            return Reply::refused(Kind::Conflict, why);
        }
        let (node, index) = (member.node, row.admitted);
        if info.role == Role::Master && row.addrs != info.addrs {
            row.addrs = info.addrs.clone();
            self.save(row);
        }
        Reply::Admitted { node, index, duplicate: true }
    }

    fn add(&mut self, node: NodeId, info: &MemberInfo) {
        let member = Member {
            node,
            peer: info.peer,
            storage_id: info.storage_id,
            role: info.role,
            state: MemberState::Alive,
            since_ms: self.meta.time_ms,
        };
        let addrs = if info.role == Role::Master { info.addrs.clone() } else { Vec::new() };
        self.view.put(MEMBER_PEERS, info.peer.to_bytes(), records::encode(&node));
        self.meta.members += 1;
        self.save(MemberRow { member, addrs, draining: false, admitted: self.index });
    }

    fn save(&mut self, row: MemberRow) {
        let node = row.member.node;
        self.view.put(MEMBERS, node_key(node), records::encode(&row));
        self.events.push(Event::MemberChanged { node });
    }

    fn bury(&mut self, mut row: MemberRow) {
        let Member { node, peer, .. } = row.member;
        row.member.state = MemberState::Removed;
        row.member.since_ms = self.meta.time_ms;
        row.addrs.clear();
        self.view.put(MEMBERS, node_key(node), records::encode(&row));
        self.view.delete(MEMBER_PEERS, peer.to_bytes());
        self.meta.members = self.meta.members.saturating_sub(1);
        self.events.push(Event::MemberRemoved { node, peer });
    }

    /// Changes a current member's record; nothing is written when nothing changes.
    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut MemberRow)) -> Result<Reply, StateError> {
        let Some(row) = member_row(self.view, node)?.filter(|r| r.member.state != MemberState::Removed) else {
            return Ok(Reply::refused(Kind::NotFound, format!("{node} is not a member")));
        };
        let mut new = row.clone();
        change(&mut new);
        if new != row {
            if new.member.state != row.member.state {
                new.member.since_ms = self.meta.time_ms;
            }
            self.save(new);
        }
        Ok(self.done())
    }

    pub(super) fn set_role(&mut self, node: NodeId, role: Role) -> Result<Reply, StateError> {
        if role == Role::Leecher {
            return Ok(Reply::refused(Kind::Invalid, "leechers have no number in the log; remove the member instead"));
        }
        self.change(node, |row| row.member.role = role)
    }

    pub(super) fn set_draining(&mut self, node: NodeId, draining: bool) -> Result<Reply, StateError> {
        self.change(node, |row| {
            row.draining = draining;
            if row.member.state != MemberState::Lost {
                row.member.state = if draining { MemberState::Draining } else { MemberState::Alive };
            }
        })
    }

    pub(super) fn set_lost(&mut self, node: NodeId, lost: bool) -> Result<Reply, StateError> {
        self.change(node, |row| {
            row.member.state = match (lost, row.draining) {
                (true, _) => MemberState::Lost,
                (false, true) => MemberState::Draining,
                (false, false) => MemberState::Alive,
            }
        })
    }

    pub(super) fn remove(&mut self, node: NodeId) -> Result<Reply, StateError> {
        match member_row(self.view, node)? {
            None => return Ok(Reply::refused(Kind::NotFound, format!("{node} is not a member"))),
            Some(row) if row.member.state == MemberState::Removed => {}
            Some(row) => self.bury(row),
        }
        Ok(self.done())
    }
}
