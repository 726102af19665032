//! Sans-IO: what is lost, late or doubled: the fetching core recovers, and whoever is honest suffices.

use super::*;

#[test]
fn what_came_by_other_ways_makes_room_for_the_next_wants() {
    let mut sim = Sim::new(&[Manner::Stalls], 0);
    let session = sim.client.open(cid(0));
    sim.client.provider(session, sim.nodes[0].id, sim.now);
    sim.want_all(session, 0..100);
    let asked = sim.asked[0];
    assert!(asked < 90, "the window is full after {asked}");
    (0..10).for_each(|n| sim.client.came(&cid(n), sim.now));
    sim.act();
    assert!(sim.asked[0] >= asked + 10, "{} after {asked}", sim.asked[0]);
    sim.check();
}

#[test]
fn a_session_that_waits_for_room_gets_it_from_another() {
    let mut sim = Sim::new(&[Manner::Honest], 400);
    let (big, small) = (sim.client.open(cid(0)), sim.client.open(cid(300)));
    for session in [big, small] {
        sim.client.provider(session, sim.nodes[0].id, sim.now);
    }
    sim.want_all(big, 0..300);
    sim.want_all(small, 300..310);
    sim.run(ms(5000));
    assert_eq!((sim.got.len(), sim.late), (310, 0));
}

#[test]
fn lost_replies_are_asked_for_again_of_the_only_peer() {
    for (loss, limit) in [(5, 30), (30, 60), (60, 120)] {
        let mut sim = Sim::new(&[Manner::Honest], 250);
        sim.loss = loss;
        let session = sim.client.open(cid(0));
        sim.client.provider(session, sim.nodes[0].id, sim.now);
        sim.want_all(session, 0..250);
        sim.run(Duration::from_secs(limit));
        assert_eq!(sim.got.len(), 250, "with {loss} of a hundred lost, after {limit} s");
        assert_eq!(sim.unasked, 0);
        assert!(sim.late < 25, "{} duplicates with {loss} of a hundred lost", sim.late);
    }
}

#[test]
fn an_only_peer_that_was_silent_is_asked_again_and_the_next_session_asks_it_at_once() {
    let mut sim = Sim::new(&[Manner::Stalls], 120);
    let session = sim.client.open(cid(0));
    sim.client.provider(session, sim.nodes[0].id, sim.now);
    sim.want_all(session, 0..100);
    sim.run(Duration::from_secs(20));
    assert!(sim.got.is_empty());
    assert!(sim.asked[0] < 100, "{} wants told to a silent peer", sim.asked[0]);
    sim.client.close(session);
    sim.act();
    sim.nodes[0].manner = Manner::Honest;
    let session = sim.client.open(cid(100));
    sim.want_all(session, 100..120);
    sim.run(ms(1000));
    assert_eq!(sim.got.len(), 20, "nobody else is there to be asked");
}

#[test]
fn what_waits_here_to_be_stored_is_not_asked_for_twice() {
    let mut sim = Sim::new(&[Manner::Stalls], 40);
    let (peer, session) = (sim.nodes[0].id, sim.client.open(cid(0)));
    sim.client.provider(session, peer, sim.now);
    sim.want_all(session, 0..15);
    let asked = sim.asked[0];
    // Bytes keep coming for longer than any timeout while the store is slow.
    for _ in 0..20 {
        sim.run(ms(500));
        sim.client.heard(&peer, sim.now);
    }
    assert_eq!(sim.asked[0], asked);
    // And what was given up comes after all: the rest is waited for without being told again.
    sim.run(Duration::from_secs(15));
    let told = sim.asked[0];
    sim.client.arrived(peer, &[(cid(0), SIZE)], sim.now, sim.now);
    sim.act();
    assert_eq!(sim.asked[0], told);
    sim.check();
}

#[test]
fn two_providers_share_the_work() {
    let mut sim = Sim::new(&[Manner::Honest; 2], 400);
    sim.nodes.iter_mut().for_each(|n| n.rate = 20e6);
    let session = sim.client.open(cid(0));
    (0..2).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
    sim.want_all(session, 0..400);
    sim.run(ms(20_000));
    assert_eq!(sim.got.len(), 400);
    assert!(sim.from(0) > 100 && sim.from(1) > 100, "{} {}", sim.from(0), sim.from(1));
    assert!(sim.late < 20, "{} duplicates", sim.late);
}

#[test]
fn a_slow_link_causes_few_duplicates() {
    let mut sim = Sim::new(&[Manner::Honest; 2], 60);
    sim.nodes.iter_mut().for_each(|n| n.rate = 500e3);
    let session = sim.client.open(cid(0));
    (0..2).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
    sim.want_all(session, 0..60);
    sim.run(Duration::from_secs(120));
    assert_eq!(sim.got.len(), 60);
    assert!(sim.late <= 12, "{} duplicates", sim.late);
}

fn any_manner() -> impl Strategy<Value = Manner> {
    prop_oneof![Just(Manner::Honest), Just(Manner::Stalls), Just(Manner::Promises), Just(Manner::Junk)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    // A failure prints the seed and the nodes.
    #[test]
    fn one_honest_peer_suffices(
        seed in any::<u64>(),
        others in proptest::collection::vec((any_manner(), 0u64..60, 0u32..60), 0..5),
        jitter_ms in 0u64..40,
        breaks in proptest::collection::vec((0usize..6, 1u64..400), 0..6),
        cancels in proptest::collection::vec(0u32..60, 0..10),
        known in any::<bool>(),
    ) {
        let manners: Vec<Manner> = std::iter::once(Manner::Honest).chain(others.iter().map(|o| o.0)).collect();
        let mut sim = Sim::new(&manners, 60);
        (sim.seed, sim.jitter_ms) = (seed, jitter_ms);
        for (n, (_, delay, has)) in others.iter().enumerate() {
            sim.nodes[n + 1].delay = ms(*delay);
            sim.nodes[n + 1].has.retain(|c| (0..*has).any(|n| cid(n) == *c));
        }
        let session = sim.client.open(cid(0));
        if known {
            (0..manners.len()).for_each(|n| sim.client.provider(session, sim.nodes[n].id, sim.now));
        }
        sim.want_all(session, 0..60);
        let mut gone = BTreeSet::new();
        for n in &cancels {
            sim.client.unwant(session, &cid(*n));
            gone.insert(*n);
        }
        for (n, after) in breaks {
            sim.run(ms(after));
            let n = n % sim.nodes.len();
            let id = sim.nodes[n].id;
            if seed % 2 == 0 {
                sim.client.stream_lost(&id);
            } else {
                sim.client.disconnected(&id, sim.now);
                let me = PeerId::from_bytes(&[0, 1, 7]).unwrap_or(id);
                sim.nodes[n].server.gone(&me);
                sim.client.connected(id, 0.5, true, sim.now);
            }
        }
        sim.run(Duration::from_secs(300));
        prop_assert_eq!(sim.client.wants(), 0, "left after {:?}", sim.now - sim.start);
        let distinct: BTreeSet<Cid> = sim.got.iter().map(|g| g.0).collect();
        prop_assert_eq!(distinct.len(), sim.got.len());
        prop_assert!(distinct.len() >= 60 - gone.len());
        sim.check();
    }
}

/// Found by the test above: what is told again on a new stream may come twice, and the second copy is no crime.
#[test]
fn copies_after_a_broken_stream_are_not_charged() {
    let mut sim = Sim::new(&[Manner::Honest], 60);
    let (peer, session) = (sim.nodes[0].id, sim.client.open(cid(0)));
    sim.client.provider(session, peer, sim.now);
    sim.want_all(session, 0..60);
    sim.client.stream_lost(&peer);
    sim.act();
    sim.run(ms(5000));
    assert_eq!((sim.got.len(), sim.unasked), (60, 0));
}
