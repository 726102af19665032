//! What all services of one membership share: identity, certificate, the masters' addresses, and asking a master.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    base::{HasKind, Kind, Multiaddr, NodeId, PeerId, Role, Tasks, time},
    net::Net,
    store::Repo,
};

use super::{
    counts::Counts,
    door,
    error::ClusterError,
    leader::Msg,
    model::{Certificate, ClusterId, ClusterKey, MasterInfo},
    options::DataPlane,
    plan::health::Standing,
    raft::{ProposeError, Raft, RaftStatus, Timing},
    rpc::{self, Answer, Ask, Call, MAX_ADDRS},
    service::Parts,
    state::{Command, Reply, Request},
    tasks::desk::ReceiptDesk,
    trust::{self, MemberFile},
};

/// The most masters whose addresses are kept.
const MAX_MASTERS: usize = 64;
/// One master may take this long to answer before the next is asked.
const ASK_LIMIT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What only masters have.
pub struct MasterSide {
    /// The cluster's key.
    pub key: ClusterKey,
    /// The log and the state.
    pub raft: Raft,
    /// The leader's task, which runs on every master and works on the one that leads.
    pub desk: mpsc::Sender<Msg>,
    /// How the leader sees the members; empty elsewhere.
    pub standing: watch::Sender<BTreeMap<NodeId, Standing>>,
}

impl MasterSide {
    /// Puts requests into the log, on the leader. A submission goes by the leader's task, which may give the task away in
    /// the same entry.
    pub async fn propose(&self, requests: Vec<Request>) -> Result<Vec<Reply>, ProposeError> {
        if let [request] = &requests[..]
            && let Command::Submit { task, spec } = &request.command
            && request.client == [0; 16]
            && self.raft.watch().borrow().is_leader
        {
            let (answer, reply) = oneshot::channel();
            let msg = Msg::Submit { task: *task, spec: Box::new(spec.clone()), answer };
            if self.desk.send(msg).await.is_ok()
                && let Ok(reply) = reply.await
            {
                return reply.map(|reply| vec![reply]);
            }
            // The leader's task has let go of it: it leads no more, or only now.
        }
        self.raft.propose(requests).await
    }
}

/// One membership while the node runs.
pub struct Ctx {
    /// The repo.
    pub repo: Repo,
    /// The network.
    pub net: Net,
    /// The data side.
    pub data: Arc<dyn DataPlane>,
    /// What is counted.
    pub counts: Counts,
    /// The group of this membership's tasks.
    pub tasks: Tasks,
    /// The cluster.
    pub cluster: ClusterId,
    /// This node's role.
    pub role: Role,
    /// This node's number.
    pub node: Option<NodeId>,
    /// This node.
    pub peer: PeerId,
    /// Raft's timers, as chosen when the cluster was founded.
    pub timing: Option<Timing>,
    /// On masters.
    pub master: Option<MasterSide>,
    /// Receipts, and who waits for them.
    pub receipts: ReceiptDesk,
    file: Mutex<MemberFile>,
    leader: Mutex<Option<PeerId>>,
    masters_changed: watch::Sender<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; a poisoned value would be whole all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ctx {
    /// The shared part of a membership.
    pub(super) fn new(parts: &Parts, tasks: Tasks, file: MemberFile, master: Option<MasterSide>) -> Arc<Self> {
        let Parts { repo, net, data, counts, .. } = parts.clone();
        let ctx = Ctx {
            peer: net.local_peer(),
            repo,
            net,
            data,
            counts,
            tasks,
            cluster: file.cluster,
            role: file.role,
            node: file.node,
            timing: file.timing,
            master,
            receipts: ReceiptDesk::default(),
            file: Mutex::new(file),
            leader: Mutex::new(None),
            masters_changed: watch::Sender::new(0),
        };
        for info in ctx.masters() {
            ctx.know(&info);
        }
        Arc::new(ctx)
    }

    /// The master side, or an error that names the masters.
    pub fn master(&self, what: &'static str) -> Result<&MasterSide, ClusterError> {
        self.master.as_ref().ok_or_else(|| ClusterError::NeedsMaster { what, masters: self.describe_masters() })
    }

    fn describe_masters(&self) -> String {
        let one = |m: &MasterInfo| match m.addrs.first() {
            Some(addr) => format!("{addr}/p2p/{}", m.peer),
            None => m.peer.to_string(),
        };
        let all: Vec<String> = self.masters().iter().map(one).collect();
        if all.is_empty() { "none is known".into() } else { all.join(", ") }
    }

    /// This node's certificate.
    pub fn certificate(&self) -> Certificate {
        lock(&self.file).certificate.clone()
    }

    /// Takes over a renewed certificate, if it is one.
    pub fn renew(&self, certificate: Certificate) -> Result<(), ClusterError> {
        certificate.verify_shown_by(self.peer, &self.cluster, time::unix_ms())?;
        let mut file = lock(&self.file);
        if certificate.role == self.role && certificate.node == self.node {
            file.certificate = certificate;
            trust::save(self.repo.dir(), &file)?;
        }
        Ok(())
    }

    /// Where this node listens, for others.
    pub fn own_addrs(&self) -> Vec<Multiaddr> {
        let mut addrs = self.net.peers().announce_addrs();
        addrs.truncate(MAX_ADDRS);
        addrs
    }

    /// The masters known.
    pub fn masters(&self) -> Vec<MasterInfo> {
        lock(&self.file).masters.clone()
    }

    /// Tells when the masters or their addresses change.
    pub fn watch_masters(&self) -> watch::Receiver<u64> {
        self.masters_changed.subscribe()
    }

    /// Takes over a list of masters, told by one of them, and keeps it.
    pub fn learn_masters(&self, mut masters: Vec<MasterInfo>) {
        masters.truncate(MAX_MASTERS);
        for info in &mut masters {
            info.addrs.truncate(MAX_ADDRS);
        }
        masters.sort_by_key(|m| m.peer);
        {
            let mut file = lock(&self.file);
            if masters.is_empty() || file.masters == masters {
                return;
            }
            file.masters = masters.clone();
            if let Err(e) = trust::save(self.repo.dir(), &file) {
                tracing::warn!("the masters' addresses cannot be kept: {e}");
            }
        }
        for info in &masters {
            self.know(info);
        }
        self.masters_changed.send_modify(|n| *n += 1);
    }

    fn know(&self, info: &MasterInfo) {
        if info.peer != self.peer {
            self.net.peers().add_address(info.peer, info.addrs.clone());
            self.net.peers().protect(info.peer, "cluster master");
        }
    }

    /// Notes who leads, as far as this member was told.
    pub fn note_leader(&self, leader: Option<PeerId>) {
        *lock(&self.leader) = leader;
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<PeerId> {
        match &self.master {
            Some(side) => side.raft.watch().borrow().leader_info.as_ref().map(|info| info.peer),
            None => *lock(&self.leader),
        }
    }

    /// Whom to turn to: `first`, the leader and other connected masters, then those that are not connected.
    pub fn candidates(&self, first: Option<PeerId>) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> = self.masters().iter().map(|m| m.peer).collect();
        let leader = self.leader();
        // A leader whose connection has ended is most likely dead: those that can be reached know who follows it.
        peers.sort_by_key(|p| (first != Some(*p), !self.net.peers().is_connected(p), leader != Some(*p)));
        peers.retain(|p| *p != self.peer);
        peers
    }

    /// Asks one master.
    pub async fn call(&self, peer: PeerId, ask: Ask, limit: Duration) -> Result<Answer, ClusterError> {
        rpc::call(&self.net, peer, &Call { certificate: Some(self.certificate()), ask }, limit).await
    }

    /// Asks any master that answers, this node itself when it is one.
    pub async fn ask(self: &Arc<Self>, ask: Ask, limit: Duration) -> Result<Answer, ClusterError> {
        if self.master.is_some() {
            let own = self.certificate();
            return match tokio::time::timeout(limit, door::answer(self, &own, ask)).await {
                Ok(answer) => answer,
                Err(_) => Err(ClusterError::Timeout { what: "an answer of the cluster".into(), limit }),
            };
        }
        let patience = match &ask {
            Ask::Outcome { wait_ms, .. } => ASK_LIMIT + Duration::from_millis(u64::from(*wait_ms)),
            _ => ASK_LIMIT,
        };
        let tried = Mutex::new("no master is known".to_owned());
        let asking = async {
            loop {
                for peer in self.candidates(None) {
                    match self.call(peer, ask.clone(), patience).await {
                        Ok(Answer::Elsewhere { leader, masters }) => {
                            self.learn_masters(masters);
                            self.note_leader(leader);
                        }
                        Ok(answer) => return Ok(answer),
                        Err(e) if final_refusal(&e) => return Err(e),
                        Err(e) => {
                            if self.leader() == Some(peer) {
                                self.note_leader(None);
                            }
                            *lock(&tried) = e.to_string();
                        }
                    }
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(ClusterError::NoLeader { reason: lock(&tried).clone() }),
        }
    }

    /// Puts commands into the log, through whoever leads, trying until `limit`. All of them must be harmless when they
    /// come twice.
    pub async fn propose(&self, commands: Vec<Command>, limit: Duration) -> Result<Vec<Reply>, ClusterError> {
        let side = self.master("change the cluster")?;
        let requests: Vec<Request> = commands.into_iter().map(Request::once).collect();
        let reason = Mutex::new("none was elected yet".to_owned());
        let mut status = side.raft.watch();
        let proposing = async {
            loop {
                let seen = reign(&status.borrow_and_update());
                match side.propose(requests.clone()).await {
                    Ok(replies) => return Ok(replies),
                    Err(ProposeError::Stopped(reason)) => return Err(ClusterError::Raft { reason }),
                    Err(ProposeError::TooLarge(message)) => {
                        return Err(ClusterError::Refused { kind: Kind::Invalid, message });
                    }
                    Err(ProposeError::NotLeader { leader: Some((node, info)) }) if info.peer != self.peer => {
                        // One that died says nothing for long: who learns of another turns to that one at once.
                        let mut news = status.clone();
                        let replaced = news.wait_for(|now| now.leader.is_some_and(|other| other != node));
                        let answer = tokio::select! {
                            answer = self.call(info.peer, Ask::Propose(requests.clone()), ASK_LIMIT) => answer,
                            _ = replaced => Ok(Answer::Elsewhere { leader: None, masters: Vec::new() }),
                        };
                        match answer {
                            Ok(Answer::Replies(replies)) if replies.len() == requests.len() => return Ok(replies),
                            Ok(_) => *lock(&reason) = format!("{} leads no more", info.peer),
                            Err(e) => *lock(&reason) = e.to_string(),
                        }
                    }
                    Err(e) => *lock(&reason) = e.to_string(),
                }
                let _ = tokio::time::timeout(RETRY_PAUSE, status.wait_for(|now| reign(now) != seen)).await;
            }
        };
        match tokio::time::timeout(limit, proposing).await {
            Ok(replies) => replies,
            Err(_) => Err(ClusterError::NoLeader { reason: lock(&reason).clone() }),
        }
    }

    /// [`Ctx::propose`] of one command; a refusal is an error.
    pub async fn propose_one(&self, command: Command, limit: Duration) -> Result<Reply, ClusterError> {
        match self.propose(vec![command], limit).await?.into_iter().next() {
            Some(Reply::Refused { kind, message }) => Err(ClusterError::Refused { kind, message }),
            Some(reply) => Ok(reply),
            None => Err(ClusterError::Raft { reason: "no reply to a command".into() }),
        }
    }
}

/// Who leads, since when: what must change before a proposal that failed is worth another try.
fn reign(status: &RaftStatus) -> (u64, Option<NodeId>) {
    (status.term, status.leader)
}

/// Whether asking another master would give the same answer.
fn final_refusal(e: &ClusterError) -> bool {
    match e {
        ClusterError::Refused { kind, .. } => !matches!(kind, Kind::Offline | Kind::Busy | Kind::Timeout | Kind::Bug),
        ClusterError::Net(_)
        | ClusterError::Frame(_)
        | ClusterError::Timeout { .. }
        | ClusterError::Protocol { .. } => false,
        other => other.kind() != Kind::Offline,
    }
}
