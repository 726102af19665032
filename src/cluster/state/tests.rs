//! Random histories of commands over tables in memory: what must hold, holds after every entry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

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

/// Commands over few names, so that they meet. Numbers of nodes and fences are guessed from a small range: right ones,
/// old ones and wrong ones.
fn any_command() -> impl Strategy<Value = Command> {
    let node = || (2u64..40).prop_map(|i| NodeId::new(FIRST_EPOCH, i));
    let task = || (0u8..6).prop_map(|n| spec(n, START_MS + 40_000 + u64::from(n) * 10_000).id());
    let fence = || (2u64..80).prop_map(|index| Fence { epoch: FIRST_EPOCH, index });
    let outcome = prop_oneof![
        (any::<bool>(), 0u8..4)
            .prop_map(|(some, n)| Outcome::Success { result: some.then(|| cid(n)), bytes: n.into() }),
        any::<bool>().prop_map(|retryable| Outcome::Failure { message: "m".into(), retryable }),
    ];
    prop_oneof![
        4 => (2u8..8, 0u8..2, any::<bool>()).prop_map(|(n, disk, master)| Command::Admit {
            member: member(n, disk, if master { Role::Master } else { Role::Worker }),
            token_id: [0; 16],
        }),
        1 => node().prop_map(|node| Command::Drain { node }),
        1 => node().prop_map(|node| Command::Undrain { node }),
        1 => node().prop_map(|node| Command::Lost { node }),
        1 => node().prop_map(|node| Command::Back { node }),
        1 => node().prop_map(|node| Command::Remove { node }),
        1 => (node(), any::<bool>()).prop_map(|(node, m)| Command::SetRole {
            node,
            role: if m { Role::Master } else { Role::Leecher },
        }),
        1 => (0u8..3, proptest::option::of(0u64..60)).prop_map(|(n, expect)| Command::SetSetting {
            key: format!("k{n}"),
            value: "v".into(),
            expect,
        }),
        6 => (0u8..6).prop_map(|n| {
            let spec = spec(n, START_MS + 40_000 + u64::from(n) * 10_000);
            Command::Submit { task: spec.id(), spec }
        }),
        12 => (task(), node(), 1u32..4).prop_map(|(task, node, attempt)| Command::Assign { task, node, attempt }),
        12 => (task(), fence(), node(), outcome, proptest::collection::vec(node(), 0..3)).prop_map(
            |(task, fence, node, outcome, holders)| Command::Complete { task, fence, node, outcome, holders }
        ),
        1 => task().prop_map(|task| Command::Cancel { task }),
        3 => (proptest::collection::vec((task(), fence()), 0..4), proptest::collection::vec(task(), 0..2))
            .prop_map(|(leases, tasks)| Command::Expire { leases, tasks }),
        1 => Just(Command::ForgetTasks { before_ms: u64::MAX }),
        1 => Just(Command::ForgetReplies { before_ms: u64::MAX }),
        1 => (0u8..3, 0u8..4, node()).prop_map(|(id, c, node)| Command::PinBatch {
            changes: vec![PinChange::Put { id: PinId([id; 32]), cid: cid(c), holders: vec![node] }],
        }),
        1 => (0u8..3).prop_map(|id| Command::PinBatch { changes: vec![PinChange::Remove { id: PinId([id; 32]) }] }),
        1 => Just(Command::Noop { payload: vec![1] }),
    ]
}

/// A completion that may well be right: it takes the fence and node of whoever has the task.
#[derive(Clone, Debug)]
enum Move {
    Blind(Vec<(Option<(u8, u8)>, Command)>),
    AssignNext(u8, u8),
    CompleteCurrent(u8, bool),
}

fn any_move() -> impl Strategy<Value = Move> {
    let numbered = proptest::option::of((1u8..3, 0u8..20));
    prop_oneof![
        3 => proptest::collection::vec((numbered, any_command()), 1..5).prop_map(Move::Blind),
        2 => (0u8..6, any::<u8>()).prop_map(|(t, n)| Move::AssignNext(t, n)),
        2 => (0u8..6, any::<bool>()).prop_map(|(t, ok)| Move::CompleteCurrent(t, ok)),
    ]
}

fn requests(world: &World, step: &Move) -> Vec<Request> {
    let tasks = world.state.tasks(None, None, 100).unwrap();
    let once = |command| vec![Request::once(command)];
    match step {
        Move::Blind(all) => all
            .iter()
            .map(|(number, command)| match number {
                Some((client, sequence)) => {
                    Request { client: [*client; 16], sequence: u64::from(*sequence), command: command.clone() }
                }
                None => Request::once(command.clone()),
            })
            .collect(),
        Move::AssignNext(t, n) => {
            let members = world.state.members().unwrap();
            let node = members[usize::from(*n) % members.len()].node;
            match tasks.get(usize::from(*t)) {
                Some(r) => once(Command::Assign { task: r.id, node, attempt: r.attempts + 1 }),
                None => once(Command::Noop { payload: vec![] }),
            }
        }
        Move::CompleteCurrent(t, ok) => match tasks.get(usize::from(*t)).map(|r| (r.id, r.fence.zip(r.node))) {
            Some((task, Some((fence, node)))) => {
                let outcome = match ok {
                    true => Outcome::Success { result: Some(cid(1)), bytes: 1 },
                    false => Outcome::Failure { message: "m".into(), retryable: true },
                };
                once(Command::Complete { task, fence, node, outcome, holders: vec![] })
            }
            _ => once(Command::Noop { payload: vec![] }),
        },
    }
}

/// What must hold in every state.
fn check(world: &World) {
    let meta = world.state.meta().unwrap();
    let members = world.state.members().unwrap();
    assert_eq!(meta.members, members.len() as u64);
    let peers: BTreeSet<_> = members.iter().map(|m| m.peer).collect();
    assert_eq!(peers.len(), members.len(), "a peer is one member");
    let tasks = world.state.tasks(None, None, usize::MAX).unwrap();
    assert_eq!(meta.tasks, tasks.len() as u64);
    assert_eq!(meta.live_tasks, tasks.iter().filter(|t| !t.state.is_final()).count() as u64);
    let mut indexed = 0;
    for state in TaskState::ALL {
        let of_state = world.state.tasks(Some(state), None, usize::MAX).unwrap();
        assert!(of_state.iter().all(|t| t.state == state));
        assert!(of_state.is_sorted_by_key(|t| t.accepted_index));
        indexed += of_state.len();
    }
    assert_eq!(indexed, tasks.len(), "a task stands in one list");
    for task in &tasks {
        assert!(task.state != TaskState::Assigned || (task.fence.is_some() && task.node.is_some()));
        if task.state == TaskState::Completed
            && let Some(result) = task.result
        {
            let pin = world.state.pin(&PinId(task.id.0)).unwrap().expect("a result is pinned");
            assert_eq!((pin.cid, pin.task), (result, Some(task.id)));
        }
    }
    let pins = world.state.pins(None, usize::MAX).unwrap();
    assert_eq!(meta.pins, pins.len() as u64);
    for (id, pin) in pins {
        assert!(world.state.pins_of(&pin.cid, 100).unwrap().iter().any(|(other, _)| *other == id));
    }
    let replies = world.rows().iter().filter(|r| r.0 == REPLIES).count() as u64;
    assert_eq!(meta.replies, replies);
    assert_eq!(world.rows().iter().filter(|r| r.0 == REPLY_TIMES).count() as u64, replies);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_holds_what_must_hold(
        moves in proptest::collection::vec((any_move(), 0u64..9_000), 1..60),
        cut in 0usize..60,
    ) {
        let mut world = World::founded();
        let mut log = Vec::new();
        let mut snapshot = None;
        let mut given: BTreeSet<NodeId> = BTreeSet::from([FOUNDER]);
        let mut fences: BTreeMap<TaskId, Fence> = BTreeMap::new();
        let mut owners: BTreeMap<TaskId, (NodeId, Fence)> = BTreeMap::new();
        let mut answered: BTreeMap<([u8; 16], u64), Reply> = BTreeMap::new();
        for (at, (step, elapsed)) in moves.iter().enumerate() {
            if at == cut {
                snapshot = Some((log.len(), world.rows()));
            }
            world.time_ms += elapsed;
            let requests = requests(&world, step);
            let entry = Entry { time_ms: world.time_ms, proposer: FOUNDER, requests: requests.clone() };
            world.index += 1;
            let applied = world.apply(world.index, &entry);
            log.push((world.index, entry, applied.clone()));
            for (request, reply) in requests.iter().zip(&applied.replies) {
                if let Reply::Admitted { node, duplicate: false, .. } = reply
                    && request.client == [0; 16]
                {
                    prop_assert!(given.insert(*node), "{node} was given twice");
                }
                // Nothing is forgotten here in less than an hour, so that every number is answered alike for ever.
                if request.client != [0; 16] && !matches!(reply, Reply::Refused { .. }) {
                    let first = answered.entry((request.client, request.sequence)).or_insert_with(|| reply.clone());
                    prop_assert_eq!(first, reply);
                }
            }
            for event in &applied.events {
                match event {
                    Event::TaskAssigned { id, node, fence } => {
                        prop_assert!(fences.get(id).is_none_or(|last| fence > last), "fences grow");
                        fences.insert(*id, *fence);
                        prop_assert!(owners.insert(*id, (*node, *fence)).is_none(), "two owners of {id}");
                    }
                    Event::TaskRequeued { id, node, fence } => {
                        prop_assert_eq!(owners.remove(id), Some((*node, *fence)));
                    }
                    Event::TaskEnded { id, attempt, .. } => prop_assert_eq!(owners.remove(id), *attempt),
                    _ => {}
                }
            }
            if at % 8 == 7 || at + 1 == moves.len() {
                check(&world);
            }
        }
        // From the beginning, and from the snapshot: the same bytes, replies and events.
        let again = World::founded();
        for (index, entry, applied) in &log {
            prop_assert_eq!(&again.apply(*index, entry), applied);
        }
        prop_assert_eq!(again.rows(), world.rows());
        prop_assert_eq!(again.state.state_hash().unwrap(), world.state.state_hash().unwrap());
        if let Some((from, rows)) = snapshot {
            let later = World::new();
            let mut batch = Batch::new();
            for (table, key, value) in rows {
                batch.put(&table, key, value);
            }
            later.kv.commit(batch, Durability::Lazy).unwrap();
            // All at once over one overlay, as a follower that catches up does.
            let tables = KvTables(later.kv.clone());
            let mut view = Overlay::new(&tables);
            for (index, entry, applied) in &log[from..] {
                prop_assert_eq!(&apply(&mut view, *index, entry).unwrap(), applied);
            }
            let mut batch = Batch::new();
            tables::fill(&mut batch, view.into_changes());
            later.kv.commit(batch, Durability::Lazy).unwrap();
            prop_assert_eq!(later.rows(), world.rows());
        }
    }
}
