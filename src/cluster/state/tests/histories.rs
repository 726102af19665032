//! Random histories of commands: what must hold, holds after every entry.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

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
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

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
