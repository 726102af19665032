//! Sans-IO: which worker gets a task: one that holds the input, then one that fits, then the least loaded.

use std::collections::BTreeSet;

use crate::base::NodeId;

/// How long a task waits for a full worker that holds its input before any other may take it.
pub const PATIENCE_MS: u64 = 10_000;

/// A worker with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView<'a> {
    /// Its number.
    pub node: NodeId,
    /// The kinds it runs.
    pub kinds: &'a [String],
    /// How many tasks it runs at once.
    pub capacity: u32,
    /// How many it has.
    pub load: u32,
    /// Whether it may get new ones: neither suspect nor draining.
    pub open: bool,
}

/// A task to be placed.
#[derive(Clone, Debug)]
pub struct Want<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Who said that it holds the input.
    pub holders: &'a BTreeSet<NodeId>,
    /// Who had it last and failed; taken only when nobody else fits.
    pub avoid: Option<NodeId>,
    /// How long it has been ready.
    pub waited_ms: u64,
}

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// To this worker.
    Assign(NodeId),
    /// Nowhere yet.
    Wait,
}

/// Chooses a worker. Equal ones are taken in the order of their numbers, so the choice is the same everywhere.
pub fn choose(want: &Want<'_>, workers: &[WorkerView<'_>]) -> Choice {
    let able: Vec<&WorkerView<'_>> =
        workers.iter().filter(|w| w.open && w.kinds.iter().any(|k| k == want.kind)).collect();
    let others = able.iter().any(|w| Some(w.node) != want.avoid);
    let able = able.into_iter().filter(|w| !others || Some(w.node) != want.avoid);
    let (holding, rest): (Vec<_>, Vec<_>) = able.partition(|w| want.holders.contains(&w.node));
    if let Some(node) = least_loaded(&holding) {
        return Choice::Assign(node);
    }
    if !holding.is_empty() && want.waited_ms < PATIENCE_MS {
        return Choice::Wait;
    }
    least_loaded(&rest).map_or(Choice::Wait, Choice::Assign)
}

fn least_loaded(workers: &[&WorkerView<'_>]) -> Option<NodeId> {
    let free = workers.iter().filter(|w| w.load < w.capacity);
    // Loads are compared as shares of the capacity, without fractions.
    let best = free.min_by(|a, b| {
        let (x, y) = (u64::from(a.load) * u64::from(b.capacity), u64::from(b.load) * u64::from(a.capacity));
        x.cmp(&y).then(b.capacity.cmp(&a.capacity)).then(a.node.cmp(&b.node))
    });
    best.map(|w| w.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> Vec<String> {
        vec!["noop".into(), "word-count".into()]
    }

    fn worker(n: u64, kinds: &[String], capacity: u32, load: u32) -> WorkerView<'_> {
        WorkerView { node: NodeId(n), kinds, capacity, load, open: true }
    }

    fn want<'a>(holders: &'a BTreeSet<NodeId>, waited_ms: u64) -> Want<'a> {
        Want { kind: "noop", holders, avoid: None, waited_ms }
    }

    #[test]
    fn the_holder_is_preferred_even_when_it_is_busier() {
        let k = kinds();
        let workers = [worker(1, &k, 4, 0), worker(2, &k, 4, 3)];
        let holders = BTreeSet::from([NodeId(2)]);
        assert_eq!(choose(&want(&holders, 0), &workers), Choice::Assign(NodeId(2)));
        assert_eq!(choose(&want(&BTreeSet::new(), 0), &workers), Choice::Assign(NodeId(1)));
    }

    #[test]
    fn a_full_holder_is_waited_for_but_not_for_ever() {
        let k = kinds();
        let workers = [worker(1, &k, 4, 0), worker(2, &k, 4, 4)];
        let holders = BTreeSet::from([NodeId(2)]);
        assert_eq!(choose(&want(&holders, PATIENCE_MS - 1), &workers), Choice::Wait);
        assert_eq!(choose(&want(&holders, PATIENCE_MS), &workers), Choice::Assign(NodeId(1)));
    }

    #[test]
    fn twenty_tasks_run_where_their_inputs_lie() {
        let k = kinds();
        let mut load = [0u32; 2];
        for i in 0..20u64 {
            let at = (i % 2) as usize;
            let holders = BTreeSet::from([NodeId(at as u64)]);
            let workers = [worker(0, &k, 32, load[0]), worker(1, &k, 32, load[1])];
            assert_eq!(choose(&want(&holders, 0), &workers), Choice::Assign(NodeId(at as u64)));
            load[at] += 1;
        }
    }

    #[test]
    fn closed_full_and_unable_workers_get_nothing() {
        let k = kinds();
        let none = BTreeSet::new();
        let closed = WorkerView { open: false, ..worker(1, &k, 4, 0) };
        assert_eq!(choose(&want(&none, 0), &[closed]), Choice::Wait);
        assert_eq!(choose(&want(&none, 0), &[worker(1, &[], 4, 0)]), Choice::Wait);
        assert_eq!(choose(&want(&none, 0), &[worker(1, &k, 0, 0)]), Choice::Wait);
        assert_eq!(choose(&want(&none, 0), &[worker(1, &k, 2, 2)]), Choice::Wait);
        assert_eq!(choose(&want(&none, 0), &[]), Choice::Wait);
    }

    #[test]
    fn a_retry_goes_elsewhere_when_there_is_an_elsewhere() {
        let k = kinds();
        let none = BTreeSet::new();
        let retry = Want { avoid: Some(NodeId(1)), ..want(&none, 0) };
        assert_eq!(choose(&retry, &[worker(1, &k, 4, 0), worker(2, &k, 4, 3)]), Choice::Assign(NodeId(2)));
        assert_eq!(choose(&retry, &[worker(1, &k, 4, 0)]), Choice::Assign(NodeId(1)));
    }

    #[test]
    fn load_is_shared_out_by_capacity() {
        let k = kinds();
        let none = BTreeSet::new();
        let mut load = [0u32, 0];
        for _ in 0..30 {
            let workers = [worker(0, &k, 10, load[0]), worker(1, &k, 20, load[1])];
            let Choice::Assign(node) = choose(&want(&none, 0), &workers) else { panic!("there is room") };
            load[node.0 as usize] += 1;
        }
        assert_eq!(load, [10, 20]);
    }
}
