//! One suite over every engine: random operations against the model in memory, and what each promises after a crash.

use std::fs;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>, bool),
    Scan(u8, Bound<Vec<u8>>, Bound<Vec<u8>>, usize),
    Reopen,
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Vec<u8>, Vec<u8>),
    Delete(u8, Vec<u8>),
    Clear(u8),
}

const TABLES: [&str; 3] = ["a", "ab", "b"];

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x61), Just(0xff)], 0..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn change() -> impl Strategy<Value = Change> {
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        6 => (0..3u8, key(), value).prop_map(|(t, k, v)| Change::Put(t, k, v)),
        2 => (0..3u8, key()).prop_map(|(t, k)| Change::Delete(t, k)),
        1 => (0..3u8).prop_map(Change::Clear),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (proptest::collection::vec(change(), 0..12), any::<bool>()).prop_map(|(c, now)| Step::Commit(c, now)),
        4 => (0..3u8, bound(), bound(), 0..6usize).prop_map(|(t, a, b, n)| Step::Scan(t, a, b, n)),
        1 => Just(Step::Reopen),
    ]
}

fn batch(changes: &[Change]) -> Batch {
    let mut out = Batch::new();
    for change in changes {
        match change.clone() {
            Change::Put(t, k, v) => out.put(TABLES[t as usize], k, v),
            Change::Delete(t, k) => out.delete(TABLES[t as usize], k),
            Change::Clear(t) => out.clear(TABLES[t as usize]),
        }
    }
    out
}

fn as_slices(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn all(kv: &dyn Kv) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    kv.dump(&TABLES, &mut |t, k, v| {
        out.push((t.to_owned(), k.to_vec(), v.to_vec()));
        Ok(())
    })
    .unwrap();
    out
}

fn conforms(steps: &[Step], open: &dyn Fn() -> Box<dyn Kv>) {
    let model = MemoryKv::new();
    let mut kv = Some(open());
    for step in steps {
        let engine = kv.as_deref().unwrap();
        match step {
            Step::Commit(changes, now) => {
                let durability = if *now { Durability::Immediate } else { Durability::Lazy };
                model.commit(batch(changes), durability).unwrap();
                engine.commit(batch(changes), durability).unwrap();
            }
            Step::Scan(t, from, to, limit) => {
                let table = TABLES[*t as usize];
                let (from, to) = (as_slices(from), as_slices(to));
                assert_eq!(
                    engine.scan(table, from, to, *limit).unwrap(),
                    model.scan(table, from, to, *limit).unwrap(),
                    "{table} {from:?} {to:?}"
                );
            }
            Step::Reopen => {
                engine.sync().unwrap();
                drop(kv.take());
                kv = Some(open());
            }
        }
        let engine = kv.as_deref().unwrap();
        assert_eq!(all(engine), all(&model));
        for table in TABLES {
            let last = model.last(table).unwrap();
            assert_eq!(engine.last(table).unwrap(), last);
            if let Some((key, value)) = last {
                assert_eq!(engine.get(table, &key).unwrap(), Some(value));
            }
            assert_eq!(engine.get(table, b"never put").unwrap(), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn redb_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        conforms(&steps, &|| Box::new(RedbKv::open(&dir.path().join("x.redb"), 1 << 20, None).unwrap()));
    }

    #[test]
    fn sled_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        conforms(&steps, &|| Box::new(SledKv::open(&dir.path().join("soft"), 1 << 20, None)));
    }
}

fn one(key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put("a", key, value);
    batch
}

#[test]
fn bad_names_and_sizes_are_refused_whole() {
    let kv = MemoryKv::new();
    let mut batch = one(b"k", b"v");
    batch.put("no spaces", b"k".to_vec(), b"v".to_vec());
    assert!(matches!(kv.commit(batch, Durability::Lazy), Err(StoreError::Invalid { .. })));
    assert_eq!(kv.get("a", b"k").unwrap(), None);
    assert!(kv.commit(one(&[0; MAX_KEY_BYTES + 1], b""), Durability::Lazy).is_err());
}

#[test]
fn redb_keeps_what_was_synced_and_no_part_of_what_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live.redb"), dir.path().join("copy.redb"));
    let kv = RedbKv::open(&live, 1 << 20, None).unwrap();
    kv.commit(one(b"now", b"1"), Durability::Immediate).unwrap();
    kv.commit(one(b"lazy", b"1"), Durability::Lazy).unwrap();
    kv.sync().unwrap();
    kv.commit(one(b"lost", b"1"), Durability::Lazy).unwrap();
    // What a process finds that starts after this one was killed here.
    fs::copy(&live, &copy).unwrap();
    let after = RedbKv::open(&copy, 1 << 20, None).unwrap();
    assert!(after.get("a", b"now").unwrap().is_some());
    assert!(after.get("a", b"lazy").unwrap().is_some());
    assert!(after.get("a", b"lost").unwrap().is_none());
}

#[test]
fn a_redb_file_half_made_is_made_anew_and_a_strange_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo.redb");
    // What a kill leaves while redb makes a file: its length, and no first bytes.
    for (name, len) in [("repo.redb.tmp", 1 << 20), ("repo.redb.tmp", 0), ("repo.redb", 0)] {
        fs::write(dir.path().join(name), vec![0; len]).unwrap();
        let kv = RedbKv::open(&path, 1 << 20, None).unwrap();
        kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
        drop(kv);
        assert!(RedbKv::open(&path, 1 << 20, None).unwrap().get("a", b"k").unwrap().is_some());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_file(&path).unwrap();
    }
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let refused = RedbKv::open(&path, 1 << 20, None).err().unwrap();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("repo.redb"), "{refused}");
}

#[test]
fn a_deleted_sled_folder_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("soft");
    let kv = SledKv::open(&path, 1 << 20, None);
    kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
    drop(kv);
    fs::remove_dir_all(&path).unwrap();
    let kv = SledKv::open(&path, 1 << 20, None);
    assert_eq!(kv.get("a", b"k").unwrap(), None);
    kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
}

#[test]
fn a_sled_folder_that_cannot_be_made_is_found_empty() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"no folder").unwrap();
    let kv = SledKv::open(&file.join("soft"), 1 << 20, None);
    kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
    assert_eq!(kv.get("a", b"k").unwrap(), None);
    assert_eq!(kv.last("a").unwrap(), None);
    assert!(kv.scan("a", Bound::Unbounded, Bound::Unbounded, 9).unwrap().is_empty());
    kv.sync().unwrap();
    // As after the time it is left alone.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    kv.try_now();
    kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
    assert_eq!(kv.get("a", b"k").unwrap().unwrap(), b"v");
}

#[test]
fn a_damaged_sled_folder_is_never_fatal() {
    let seed = crate::base::random::u64();
    println!("seed {seed}");
    let mut random = seed;
    let mut next = move || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        random >> 33
    };
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("soft");
        let kv = SledKv::open(&path, 1 << 20, None);
        for i in 0..400u32 {
            kv.commit(one(&i.to_be_bytes(), &[7; 200]), Durability::Lazy).unwrap();
        }
        drop(kv);
        for entry in fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            if !file.is_file() {
                continue;
            }
            let mut bytes = fs::read(&file).unwrap();
            match round % 3 {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes.iter_mut().for_each(|b| *b = next() as u8),
                _ => (0..64).for_each(|_| {
                    let at = next() as usize % bytes.len().max(1);
                    if let Some(b) = bytes.get_mut(at) {
                        *b ^= 1 << (next() % 8);
                    }
                }),
            }
            fs::write(&file, bytes).unwrap();
        }
        let kv = SledKv::open(&path, 1 << 20, None);
        kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
        for i in 0..400u32 {
            kv.get("a", &i.to_be_bytes()).unwrap();
        }
        kv.commit(one(b"k", b"v"), Durability::Immediate).unwrap();
        assert_eq!(kv.get("a", b"k").unwrap().unwrap(), b"v");
    }
}
