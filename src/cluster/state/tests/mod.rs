//! Commands over tables in memory, one after the other.

mod histories;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    command::MAX_NOOP_BYTES,
    records::{REPLIES, REPLY_TIMES},
    *,
};
use crate::{
    base::{Block, Cid, Codec, Hash, Keypair, Kind, NodeId, PeerId, Role},
    cluster::model::{
        ClusterId, ClusterKey, Fence, MemberInfo, MemberState, Outcome, TaskId, TaskSpec, TaskState, spec::MAX_LIFE_MS,
    },
    store::{Batch, Durability, Kv, kv::MemoryKv},
};

const START_MS: u64 = 1_800_000_000_000;

fn cluster() -> ClusterId {
    ClusterKey::from_seed([9; 32]).id()
}

fn peer(n: u8) -> PeerId {
    Keypair::ed25519_from_bytes([n; 32]).unwrap().public().to_peer_id()
}

fn member(n: u8, disk: u8, role: Role) -> MemberInfo {
    let addrs = vec!["/ip4/127.0.0.1/tcp/4001".parse().unwrap()];
    MemberInfo { peer: peer(n), storage_id: [disk; 16], role, addrs }
}

fn spec(n: u8, not_after_ms: u64) -> TaskSpec {
    TaskSpec {
        cluster: cluster(),
        author: peer(200),
        nonce: [n; 16],
        kind: "noop".into(),
        input: None,
        params: BTreeMap::new(),
        not_after_ms,
        priority: 0,
    }
}

fn cid(n: u8) -> Cid {
    *Block::new(Codec::Raw, Hash::Sha2_256, vec![n]).unwrap().cid()
}

struct World {
    kv: Arc<dyn Kv>,
    state: StateReader<KvTables>,
    index: u64,
    time_ms: u64,
}

impl World {
    fn new() -> Self {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::default());
        World { state: StateReader::new(KvTables(kv.clone())), kv, index: 1, time_ms: START_MS }
    }

    fn founded() -> Self {
        let mut world = World::new();
        let found = Command::Found { cluster: cluster(), founder: member(1, 1, Role::Master) };
        assert_eq!(world.one(found), Reply::Admitted { node: FOUNDER, index: 2, duplicate: false });
        world
    }

    fn entry(&mut self, requests: Vec<Request>) -> Applied {
        let entry = Entry { time_ms: self.time_ms, proposer: FOUNDER, requests };
        self.index += 1;
        self.apply(self.index, &entry)
    }

    fn apply(&self, index: u64, entry: &Entry) -> Applied {
        // As it stands in the log, so that what the encoding loses is found.
        let entry = &Entry::decode(&entry.encode()).unwrap();
        let tables = KvTables(self.kv.clone());
        let mut view = Overlay::new(&tables);
        let applied = apply(&mut view, index, entry).unwrap();
        let mut batch = Batch::new();
        tables::fill(&mut batch, view.into_changes());
        self.kv.commit(batch, Durability::Lazy).unwrap();
        applied
    }

    fn one(&mut self, command: Command) -> Reply {
        self.entry(vec![Request::once(command)]).replies.remove(0)
    }

    fn admit(&mut self, n: u8, disk: u8, role: Role) -> Reply {
        self.one(Command::Admit { member: member(n, disk, role), token_id: [0; 16] })
    }

    fn worker(&mut self, n: u8) -> NodeId {
        match self.admit(n, n, Role::Worker) {
            Reply::Admitted { node, .. } => node,
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, n: u8) -> TaskId {
        let spec = spec(n, self.time_ms + 3_600_000);
        let task = spec.id();
        let reply = self.one(Command::Submit { task, spec });
        assert!(matches!(reply, Reply::Task { id, .. } if id == task), "{reply:?}");
        task
    }

    fn assign(&mut self, task: TaskId, node: NodeId, attempt: u32) -> Fence {
        match self.one(Command::Assign { task, node, attempt }) {
            Reply::Assigned { fence, .. } => fence,
            other => panic!("{other:?}"),
        }
    }

    fn rows(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let each = &mut |t: &str, k: &[u8], v: &[u8]| {
            rows.push((t.to_string(), k.to_vec(), v.to_vec()));
            Ok(())
        };
        self.kv.dump(&STATE_TABLES, each).unwrap();
        rows
    }
}

fn kind(reply: &Reply) -> Option<Kind> {
    match reply {
        Reply::Refused { kind, .. } => Some(*kind),
        _ => None,
    }
}

#[test]
fn founding_happens_once_and_first() {
    let mut world = World::new();
    assert_eq!(kind(&world.admit(2, 2, Role::Worker)), Some(Kind::Conflict));
    let mut world = World::founded();
    assert_eq!(world.state.cluster().unwrap(), Some(cluster()));
    let again = Command::Found { cluster: cluster(), founder: member(1, 1, Role::Master) };
    assert!(matches!(world.one(again), Reply::Admitted { node: FOUNDER, duplicate: true, .. }));
    let other = Command::Found { cluster: ClusterId([1; 32]), founder: member(2, 2, Role::Master) };
    assert_eq!(kind(&world.one(other)), Some(Kind::Conflict));
}

#[test]
fn numbers_are_log_indexes_and_never_given_twice() {
    let mut world = World::founded();
    let first = world.admit(2, 2, Role::Worker);
    let node = NodeId::new(FIRST_EPOCH, world.index);
    assert_eq!(first, Reply::Admitted { node, index: world.index, duplicate: false });
    assert!(matches!(world.admit(2, 2, Role::Worker), Reply::Admitted { node: n, duplicate: true, .. } if n == node));
    assert_eq!(kind(&world.admit(2, 2, Role::Master)), Some(Kind::Conflict));
    assert_eq!(kind(&world.admit(3, 3, Role::Leecher)), Some(Kind::Invalid));
    // Another disk: another member, and the former one is gone.
    let Reply::Admitted { node: wiped, duplicate: false, .. } = world.admit(2, 99, Role::Worker) else { panic!() };
    assert_ne!(wiped, node);
    assert!(world.state.is_removed(node).unwrap());
    assert_eq!(world.state.member_by_peer(&peer(2)).unwrap().unwrap().node, wiped);
    // Removed and admitted again: a new number, although peer and disk are the same.
    assert!(matches!(world.one(Command::Remove { node: wiped }), Reply::Done { .. }));
    assert!(world.state.member_by_peer(&peer(2)).unwrap().is_none());
    let Reply::Admitted { node: third, .. } = world.admit(2, 99, Role::Worker) else { panic!() };
    assert!(third > wiped);
    // One number for each entry.
    let admit = |n| Request::once(Command::Admit { member: member(n, n, Role::Worker), token_id: [0; 16] });
    let applied = world.entry(vec![admit(20), admit(21)]);
    assert!(matches!(applied.replies[0], Reply::Admitted { .. }));
    assert_eq!(kind(&applied.replies[1]), Some(Kind::Busy));
}

#[test]
fn a_draining_member_that_was_lost_drains_on() {
    let mut world = World::founded();
    let node = world.worker(2);
    let state = |world: &World| world.state.member(node).unwrap().unwrap().state;
    world.one(Command::Drain { node });
    assert_eq!(state(&world), MemberState::Draining);
    world.one(Command::Lost { node });
    assert_eq!(state(&world), MemberState::Lost);
    world.one(Command::Back { node });
    assert_eq!(state(&world), MemberState::Draining);
    world.one(Command::Undrain { node });
    assert_eq!(state(&world), MemberState::Alive);
    assert_eq!(kind(&world.one(Command::Lost { node: NodeId::new(1, 9_999) })), Some(Kind::NotFound));
}

#[test]
fn a_completion_and_its_pin_are_one_step_and_a_late_one_is_stale() {
    let mut world = World::founded();
    let (a, b) = (world.worker(2), world.worker(3));
    let task = world.submit(1);
    let first = world.assign(task, a, 1);
    assert!(matches!(world.one(Command::Expire { leases: vec![(task, first)], tasks: vec![] }), Reply::Done { .. }));
    assert_eq!(world.state.task_tried(&task).unwrap(), [a]);
    let second = world.assign(task, b, 2);
    assert!(second > first);
    let success = |n| Outcome::Success { result: Some(cid(n)), bytes: 7 };
    let complete = |fence, node, outcome| Command::Complete { task, fence, node, outcome, holders: vec![b, b] };
    assert_eq!(world.one(complete(first, a, success(1))), Reply::Stale);
    assert_eq!(world.one(complete(second, a, success(1))), Reply::Stale);
    assert!(world.state.pins(None, 10).unwrap().is_empty());
    let done = world.one(complete(second, b, success(2)));
    let index = world.index;
    assert_eq!(done, Reply::Completed { task, state: TaskState::Completed, index });
    let record = world.state.task(&task).unwrap().unwrap();
    assert_eq!((record.state, record.result, record.worker), (TaskState::Completed, Some(cid(2)), Some(peer(3))));
    let pins = world.state.pins_of(&cid(2), 10).unwrap();
    assert_eq!(pins.len(), 1);
    assert_eq!((pins[0].1.holders.as_slice(), pins[0].1.index), (&[b][..], index));
    // Told again, as after a lost acknowledgement: the same answer, nothing new. Told differently: stale.
    assert_eq!(world.one(complete(second, b, success(2))), done);
    assert_eq!(world.one(complete(second, b, success(3))), Reply::Stale);
    assert_eq!(world.one(Command::Cancel { task }), done);
}

#[test]
fn a_task_may_be_accepted_and_given_away_by_one_entry_and_is_given_away_once() {
    let mut world = World::founded();
    let (w1, w2) = (world.worker(1 + 10), world.worker(2 + 10));
    let both = |n: u8, node| {
        let spec = spec(n, START_MS + 3_600_000);
        let task = spec.id();
        (task, vec![Command::Submit { task, spec }, Command::Assign { task, node, attempt: 1 }])
    };
    let once = |commands: Vec<Command>| commands.into_iter().map(Request::once).collect::<Vec<_>>();
    let (task, commands) = both(1, w1);
    let done = world.entry(once(commands));
    let fence = Fence { epoch: FIRST_EPOCH, index: world.index };
    let accepted = Reply::Task { id: task, index: world.index, duplicate: false };
    assert_eq!(done.replies, vec![accepted, Reply::Assigned { task, fence }]);
    assert_eq!(done.events, vec![Event::TaskSubmitted { id: task }, Event::TaskAssigned { id: task, node: w1, fence }]);
    // The same spec by other routes, in its own entry and twice in one: it stays where it is.
    let (_, again) = both(1, w2);
    let done = world.entry(once([again.clone(), again].concat()));
    assert!(matches!(done.replies[0], Reply::Task { index, duplicate: true, .. } if index == fence.index));
    assert_eq!((kind(&done.replies[1]), kind(&done.replies[3])), (Some(Kind::Conflict), Some(Kind::Conflict)));
    assert!(done.events.is_empty());
    // A worker that takes nothing any more: the task is accepted and waits; a spec that is refused is given to nobody.
    world.one(Command::Drain { node: w2 });
    let (task, commands) = both(2, w2);
    let done = world.entry(once(commands));
    assert_eq!((kind(&done.replies[0]), kind(&done.replies[1])), (None, Some(Kind::Conflict)));
    assert_eq!(world.state.task(&task).unwrap().unwrap().state, TaskState::Pending);
    assert_eq!(world.assign(task, w1, 1).index, world.index);
    world.time_ms += 4_000_000;
    let (late, commands) = both(3, w1);
    let done = world.entry(once(commands));
    assert_eq!((kind(&done.replies[0]), kind(&done.replies[1])), (Some(Kind::Timeout), Some(Kind::NotFound)));
    assert_eq!(world.state.task(&late).unwrap(), None);
}

#[test]
fn failures_are_retried_elsewhere_until_they_are_not() {
    let mut world = World::founded();
    let a = world.worker(2);
    let task = world.submit(1);
    let fail = |fence, retryable| Command::Complete {
        task,
        fence,
        node: a,
        outcome: Outcome::Failure { message: "é".repeat(2_000), retryable },
        holders: vec![],
    };
    for attempt in 1..=MAX_ATTEMPTS {
        let fence = world.assign(task, a, attempt);
        let Reply::Completed { state, .. } = world.one(fail(fence, true)) else { panic!() };
        let last = attempt == MAX_ATTEMPTS;
        assert_eq!(state, if last { TaskState::Failed } else { TaskState::Pending });
    }
    assert!(world.state.task(&task).unwrap().unwrap().error.unwrap().len() <= 1024);
    let task = world.submit(2);
    let fence = world.assign(task, a, 1);
    let fatal = Outcome::Failure { message: "no".into(), retryable: false };
    let reply = world.one(Command::Complete { task, fence, node: a, outcome: fatal, holders: vec![] });
    assert!(matches!(reply, Reply::Completed { state: TaskState::Failed, .. }));
    assert_eq!(world.state.meta().unwrap().live_tasks, 0);
}

#[test]
fn specs_are_judged_by_the_entrys_time_and_remembered_an_hour_longer() {
    let mut world = World::founded();
    let good = spec(1, START_MS + 1_000);
    let submit = |spec: &TaskSpec| Command::Submit { task: spec.id(), spec: spec.clone() };
    assert!(matches!(world.one(submit(&good)), Reply::Task { duplicate: false, .. }));
    assert!(matches!(world.one(submit(&good)), Reply::Task { duplicate: true, .. }));
    let forged = Command::Submit { task: good.id(), spec: spec(2, START_MS + 1_000) };
    assert_eq!(kind(&world.one(forged)), Some(Kind::Conflict));
    let renamed = Command::Submit { task: TaskId([1; 32]), spec: spec(2, START_MS + 1_000) };
    assert_eq!(kind(&world.one(renamed)), Some(Kind::Invalid));
    assert_eq!(kind(&world.one(submit(&spec(3, START_MS)))), Some(Kind::Timeout));
    assert_eq!(kind(&world.one(submit(&spec(3, START_MS + 2 * MAX_LIFE_MS)))), Some(Kind::Invalid));
    let foreign = TaskSpec { cluster: ClusterId([3; 32]), ..spec(4, START_MS + 1_000) };
    assert_eq!(kind(&world.one(submit(&foreign))), Some(Kind::Invalid));
    // Its time is over, it ends; an hour later it may be forgotten, and is refused for its age if it comes again.
    world.time_ms = START_MS + 1_000;
    world.one(Command::Expire { leases: vec![], tasks: vec![good.id()] });
    assert_eq!(world.state.task(&good.id()).unwrap().unwrap().state, TaskState::TimedOut);
    world.time_ms = START_MS + 1_000 + TASK_KEPT_MS;
    world.one(Command::ForgetTasks { before_ms: u64::MAX });
    assert!(world.state.task(&good.id()).unwrap().is_some());
    world.time_ms += 1;
    world.one(Command::ForgetTasks { before_ms: u64::MAX });
    assert!(world.state.task(&good.id()).unwrap().is_none());
    assert!(world.state.tasks(None, None, 10).unwrap().is_empty());
    assert_eq!(kind(&world.one(submit(&good))), Some(Kind::Timeout));
    assert_eq!(world.state.meta().unwrap().tasks, 0);
}

#[test]
fn a_clock_that_goes_back_does_not_take_the_state_with_it() {
    let mut world = World::founded();
    world.time_ms = START_MS + 50;
    world.one(Command::Noop { payload: vec![] });
    world.time_ms = START_MS - 10_000;
    world.one(Command::Noop { payload: vec![] });
    assert_eq!(world.state.meta().unwrap().time_ms, START_MS + 50);
}

#[test]
fn numbered_requests_are_applied_once() {
    let mut world = World::founded();
    let set = |value: &str| Command::SetSetting { key: "k".into(), value: value.into(), expect: None };
    let numbered = |sequence, command| Request { client: [7; 16], sequence, command };
    let first = world.entry(vec![numbered(1, set("a"))]).replies.remove(0);
    world.entry(vec![numbered(2, set("b"))]);
    // The first one comes again: answered as before, and "b" stands.
    assert_eq!(world.entry(vec![numbered(1, set("a"))]).replies.remove(0), first);
    assert_eq!(world.state.setting("k").unwrap().unwrap().value, "b");
    let misused = world.entry(vec![numbered(1, set("c"))]).replies.remove(0);
    assert_eq!(kind(&misused), Some(Kind::Conflict));
    // Twice in one entry counts once too.
    let twice = world.entry(vec![numbered(3, set("d")), numbered(3, set("d"))]);
    assert_eq!(twice.replies[0], twice.replies[1]);
    assert_eq!(twice.events.len(), 1);
    // A refusal is not kept.
    let stale = Command::SetSetting { key: "k".into(), value: "e".into(), expect: Some(1) };
    assert_eq!(kind(&world.entry(vec![numbered(4, stale)]).replies[0]), Some(Kind::Conflict));
    assert!(matches!(world.entry(vec![numbered(4, set("f"))]).replies[0], Reply::Setting { .. }));
    // What is old is forgotten, by a logged command.
    world.time_ms += 2 * TASK_KEPT_MS;
    world.one(Command::ForgetReplies { before_ms: u64::MAX });
    assert_eq!(world.state.meta().unwrap().replies, 0);
    let rest: Vec<_> = world.rows().into_iter().filter(|r| r.0 == REPLIES || r.0 == REPLY_TIMES).collect();
    assert!(rest.is_empty());
}

#[test]
fn pins_change_all_or_none() {
    let mut world = World::founded();
    let put = |n: u8, c: u8| PinChange::Put { id: PinId([n; 32]), cid: cid(c), holders: vec![FOUNDER, NodeId(5)] };
    let batch = |changes| Command::PinBatch { changes };
    assert!(matches!(world.one(batch(vec![put(1, 1), put(2, 1)])), Reply::Done { .. }));
    let missing = PinChange::Holders { id: PinId([9; 32]), holders: vec![] };
    assert_eq!(kind(&world.one(batch(vec![PinChange::Remove { id: PinId([1; 32]) }, missing]))), Some(Kind::NotFound));
    assert_eq!(world.state.pins_of(&cid(1), 10).unwrap().len(), 2);
    assert_eq!(world.state.pin(&PinId([1; 32])).unwrap().unwrap().holders, [FOUNDER]);
    world.one(batch(vec![put(1, 2), PinChange::Remove { id: PinId([2; 32]) }]));
    assert!(world.state.pins_of(&cid(1), 10).unwrap().is_empty());
    assert_eq!(world.state.pins_of(&cid(2), 10).unwrap().len(), 1);
    assert_eq!(world.state.meta().unwrap().pins, 1);
}

#[test]
fn what_a_newer_version_logged_stops_an_older_one() {
    #[derive(serde::Serialize)]
    enum Newer {
        Dance { steps: u32 },
    }
    #[derive(serde::Serialize)]
    struct Raw {
        #[serde(with = "serde_bytes")]
        client: [u8; 16],
        sequence: u64,
        #[serde(with = "serde_bytes")]
        command: Vec<u8>,
    }
    let command = crate::base::cbor::to_vec(&Newer::Dance { steps: 3 });
    let bytes = crate::base::cbor::to_vec(&Raw { client: [0; 16], sequence: 0, command });
    let request: Request = crate::base::cbor::from_slice(&bytes, 1_000).unwrap();
    assert!(matches!(request.command, Command::Unknown(_)));
    assert_eq!(crate::base::cbor::to_vec(&request), bytes);
    let world = World::founded();
    let before = world.rows();
    let tables = KvTables(world.kv.clone());
    let requests = vec![Request::once(Command::Noop { payload: vec![] }), request];
    let entry = Entry { time_ms: START_MS, proposer: FOUNDER, requests };
    let stopped = apply(&mut Overlay::new(&tables), 9, &entry);
    assert!(matches!(stopped, Err(StateError::Newer { index: 9, .. })));
    assert_eq!(world.rows(), before);
}

#[test]
fn limits_hold() {
    let mut world = World::founded();
    let large = Command::Noop { payload: vec![0; MAX_NOOP_BYTES + 1] };
    assert_eq!(kind(&world.one(large)), Some(Kind::Invalid));
    let long = Command::SetSetting { key: "k".into(), value: "v".repeat(5_000), expect: None };
    assert_eq!(kind(&world.one(long)), Some(Kind::Invalid));
    let tables = KvTables(world.kv.clone());
    let mut meta = world.state.meta().unwrap();
    meta.live_tasks = MAX_LIVE_TASKS;
    let mut view = Overlay::new(&tables);
    view.put(records::META, records::META_KEY, records::encode(&meta));
    let mut batch = Batch::new();
    tables::fill(&mut batch, view.into_changes());
    world.kv.commit(batch, Durability::Lazy).unwrap();
    let spec = spec(1, START_MS + 1_000);
    assert_eq!(kind(&world.one(Command::Submit { task: spec.id(), spec })), Some(Kind::Busy));
}
