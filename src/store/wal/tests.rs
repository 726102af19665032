//! The log against a model, with crashes at random points; every failure prints its seed.

use std::{collections::BTreeMap, fs, path::Path, sync::mpsc};

use super::*;
use crate::base::random;

struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = random::u64();
        println!("seed {seed}");
        Random(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n.max(1)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, Vec<u8>>,
    vote: Option<Vec<u8>>,
    purged: Option<(u64, Vec<u8>)>,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.keys().next_back().copied();
        last.or(self.purged.as_ref().map(|p| p.0)).map_or(0, |last| last + 1)
    }
}

fn open(dir: &Path) -> Result<(Wal, Recovered), StoreError> {
    Wal::open(dir, 4096, None)
}

fn append(wal: &Wal, entries: Vec<(u64, Bytes)>) -> io::Result<()> {
    let (tx, rx) = mpsc::sync_channel(1);
    wal.append(entries, Box::new(move |r| tx.send(r).unwrap()));
    rx.recv().unwrap()
}

async fn content(wal: &Wal, found: &Recovered) -> Model {
    let mut entries = BTreeMap::new();
    if let (Some(mut at), Some(last)) = (found.first, found.last) {
        while at <= last {
            let page = wal.read(at, last + 1, 3000).await.unwrap();
            assert_eq!(page[0].0, at);
            at += page.len() as u64;
            entries.extend(page.into_iter().map(|(i, e)| (i, e.to_vec())));
        }
    }
    Model { entries, vote: found.vote.clone(), purged: found.purged.clone() }
}

async fn step(wal: &Wal, model: &mut Model, random: &mut Random) {
    match random.below(16) {
        0..=8 => {
            let mut batch = Vec::new();
            for _ in 0..1 + random.below(4) {
                let max = if random.below(20) == 0 { 9000 } else { 300 };
                let entry = vec![random.below(256) as u8; random.below(max) as usize];
                let index = model.next();
                model.entries.insert(index, entry.clone());
                batch.push((index, Bytes::from(entry)));
            }
            append(wal, batch).unwrap();
        }
        9 | 10 => {
            let vote = random.below(1 << 30).to_le_bytes().to_vec();
            wal.save_vote(vote.clone()).await.unwrap();
            model.vote = Some(vote);
        }
        11 => wal.save_committed(vec![1, 2, 3]).await.unwrap(),
        12 => {
            let purged = model.purged.as_ref().map(|p| p.0);
            let keep = model.next().saturating_sub(1 + random.below(6));
            if purged.is_some_and(|p| keep < p) || random.below(10) == 0 && purged.is_none() {
                wal.truncate_after(None).await.unwrap();
                model.entries.clear();
            } else {
                wal.truncate_after(Some(keep)).await.unwrap();
                model.entries.retain(|&i, _| i <= keep);
            }
        }
        13 | 14 => {
            let from = model.entries.keys().next().copied().unwrap_or(model.next());
            let upto = from + random.below(12);
            let meta = random.below(1 << 20).to_le_bytes().to_vec();
            if model.purged.as_ref().is_some_and(|p| upto < p.0) {
                return;
            }
            wal.purge_upto(upto, meta.clone()).await.unwrap();
            model.purged = Some((upto, meta));
            model.entries.retain(|&i, _| i > upto);
        }
        _ => {
            if let Some((&index, entry)) = model.entries.iter().nth(random.below(50) as usize) {
                assert_eq!(wal.read(index, index + 1, 1).await.unwrap(), [(index, Bytes::from(entry.clone()))]);
            }
            let next = model.next();
            assert!(wal.read(next, next + 10, 1).await.unwrap().is_empty());
        }
    }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap_or_default()))
        .filter(|(name, _)| name.ends_with(".wal"))
        .collect()
}

/// What a disk may hold that lost power between two states: of what changed, any sectors.
fn torn(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    random: &mut Random,
) -> BTreeMap<String, Vec<u8>> {
    let mut out = before.clone();
    // A new segment's first frame is durable before anything else is written to it; only the newest may be torn.
    let newest = after.keys().next_back();
    for (name, bytes) in after {
        let mut mixed = match before.get(name) {
            Some(old) => old.clone(),
            None => {
                let mut fresh = vec![0; bytes.len()];
                fresh[..frame::HEAD_BYTES].copy_from_slice(&bytes[..frame::HEAD_BYTES]);
                fresh
            }
        };
        let keep_all = Some(name) != newest || random.below(4) == 0;
        let from_begin = !before.contains_key(name);
        let begin = if from_begin { frame_end(bytes) } else { 0 };
        for at in (0..bytes.len()).step_by(512) {
            let end = (at + 512).min(bytes.len());
            if keep_all || end <= begin || random.below(2) == 0 {
                mixed[at..end].copy_from_slice(&bytes[at..end]);
            }
        }
        if from_begin {
            mixed[..begin].copy_from_slice(&bytes[..begin]);
        }
        out.insert(name.clone(), mixed);
    }
    out
}

/// Where a segment's first frame ends.
fn frame_end(bytes: &[u8]) -> usize {
    let salt = frame::Head::decode(bytes).unwrap().salt;
    let rest = &bytes[frame::HEAD_BYTES..];
    frame::HEAD_BYTES + frame::frame(rest, salt).map_or(0, |(_, body)| frame::FRAME_HEAD_BYTES + body.len())
}

#[tokio::test]
async fn a_log_does_what_the_model_does_through_crashes() {
    let mut random = Random::new();
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, found) = open(dir.path()).unwrap();
        assert_eq!(found, Recovered::default());
        let mut model = Model::default();
        for _ in 0..120 {
            if random.below(6) > 0 {
                step(&wal, &mut model, &mut random).await;
                continue;
            }
            let before = (files(dir.path()), model.clone());
            step(&wal, &mut model, &mut random).await;
            let after = files(dir.path());
            let crashed = tempfile::tempdir().unwrap();
            for (name, bytes) in torn(&before.0, &after, &mut random) {
                fs::write(crashed.path().join(name), bytes).unwrap();
            }
            let (recovered, found) = open(crashed.path()).unwrap();
            let got = content(&recovered, &found).await;
            assert!(got == before.1 || got == model, "got {got:?}\nbefore {:?}\nafter {model:?}", before.1);
            // What was found can be gone on with, and is found again.
            let mut model = got;
            for _ in 0..3 {
                step(&recovered, &mut model, &mut random).await;
            }
            drop(recovered);
            let (recovered, found) = open(crashed.path()).unwrap();
            assert_eq!(content(&recovered, &found).await, model);
        }
        drop(wal);
        let found;
        (wal, found) = open(dir.path()).unwrap();
        assert_eq!(content(&wal, &found).await, model);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_damage_or_cuts_the_last_write_alone() {
    let mut random = Random::new();
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path()).unwrap();
    for i in 0..60 {
        append(&wal, vec![(i, Bytes::from(vec![i as u8; 100]))]).unwrap();
    }
    drop(wal);
    let good = files(dir.path());
    for _ in 0..60 {
        let crashed = tempfile::tempdir().unwrap();
        let mut bad = good.clone();
        let which = random.below(bad.len() as u64) as usize;
        let bytes = bad.values_mut().nth(which).unwrap();
        let used = bytes.iter().rposition(|&b| b != 0).unwrap();
        bytes[random.below(used as u64 + 1) as usize] ^= 1 << random.below(8);
        for (name, bytes) in &bad {
            fs::write(crashed.path().join(name), bytes).unwrap();
        }
        match open(crashed.path()) {
            Ok((wal, found)) => {
                let got = content(&wal, &found).await;
                assert!(got.entries.len() >= 59, "{} entries left", got.entries.len());
                assert!(got.entries.iter().all(|(&i, e)| *e == vec![i as u8; 100]));
            }
            Err(StoreError::Damaged { .. }) => assert_eq!(files(crashed.path()), bad, "damaged files are left alone"),
            Err(e) => panic!("{e}"),
        }
    }
}

/// A disk that stopped anywhere between making a segment and having its first frame whole.
#[tokio::test]
async fn a_crash_in_a_new_segments_first_frame_loses_nothing() {
    let mut random = Random::new();
    for purged in [None, Some(3)] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = open(dir.path()).unwrap();
        let mut model = Model { vote: Some(vec![7; 1200]), ..Model::default() };
        wal.save_vote(vec![7; 1200]).await.unwrap();
        wal.save_committed(vec![9; 900]).await.unwrap();
        let (mut index, mut before) = (0, files(dir.path()));
        // Up to the write that begins segment 3; the purge stands in segment 2 then.
        while files(dir.path()).keys().next_back().is_none_or(|name| !name.contains("3.wal")) {
            before = files(dir.path());
            append(&wal, vec![(index, Bytes::from(vec![index as u8; 150]))]).unwrap();
            model.entries.insert(index, vec![index as u8; 150]);
            index += 1;
            if let Some(upto) = purged.filter(|upto| before.len() == 2 && model.purged.is_none() && *upto < index) {
                wal.purge_upto(upto, b"meta".to_vec()).await.unwrap();
                model.purged = Some((upto, b"meta".to_vec()));
                model.entries.retain(|&i, _| i > upto);
            }
        }
        drop(wal);
        // What the write that began it brought is not acknowledged yet.
        model.entries.remove(&(index - 1));
        let made = files(dir.path()).remove("0000000003.wal").unwrap();
        let first = frame_end(&made);
        assert!(first > 4 * 512, "the first frame spans sectors: {first}");
        let fresh = |upto: usize| {
            let mut bytes = vec![0; made.len()];
            bytes[..upto].copy_from_slice(&made[..upto]);
            bytes
        };
        let mut states: Vec<(&str, Vec<u8>)> = Vec::new();
        for len in [0, 1, frame::HEAD_BYTES - 1, frame::HEAD_BYTES, 100, made.len()] {
            states.push(("0000000003.tmp", fresh(frame::HEAD_BYTES)[..len].to_vec()));
        }
        states.extend((frame::HEAD_BYTES..first).step_by(37).map(|cut| ("0000000003.wal", fresh(cut))));
        states.push(("0000000003.wal", fresh(first - 1)));
        for _ in 0..60 {
            let mut bytes = fresh(frame::HEAD_BYTES);
            for at in (0..first).step_by(512).filter(|_| random.below(2) == 0) {
                let end = (at + 512).min(first);
                bytes[at..end].copy_from_slice(&made[at..end]);
            }
            states.push(("0000000003.wal", bytes));
        }
        states.push(("0000000003.wal", fresh(first)));
        for (number, (name, bytes)) in states.into_iter().enumerate() {
            let crashed = tempfile::tempdir().unwrap();
            for (name, bytes) in &before {
                fs::write(crashed.path().join(name), bytes).unwrap();
            }
            fs::write(crashed.path().join(name), bytes).unwrap();
            let (wal, found) = open(crashed.path()).unwrap_or_else(|e| panic!("state {number}: {e}"));
            assert_eq!(found.committed.as_deref(), Some(&[9; 900][..]), "state {number}");
            assert_eq!(content(&wal, &found).await, model, "state {number}");
            let mut more = model.clone();
            for at in 0..4 {
                append(&wal, vec![(more.next(), Bytes::from(vec![at; 1200]))]).unwrap();
                more.entries.insert(more.next(), vec![at; 1200]);
            }
            drop(wal);
            let (wal, found) = open(crashed.path()).unwrap();
            assert_eq!(content(&wal, &found).await, more, "state {number}, later");
        }
    }
}

#[tokio::test]
async fn a_missing_segment_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path()).unwrap();
    for i in 0..80 {
        append(&wal, vec![(i, Bytes::from(vec![0; 200]))]).unwrap();
    }
    drop(wal);
    for segment in [1, 2] {
        let copy = tempfile::tempdir().unwrap();
        for (name, bytes) in files(dir.path()) {
            fs::write(copy.path().join(name), bytes).unwrap();
        }
        fs::remove_file(segments::path(copy.path(), segment)).unwrap();
        assert!(matches!(open(copy.path()), Err(StoreError::Damaged { .. })));
    }
}

#[tokio::test]
async fn purged_segments_go_and_vote_and_committed_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path()).unwrap();
    wal.save_vote(b"vote".to_vec()).await.unwrap();
    wal.save_committed(b"committed".to_vec()).await.unwrap();
    for i in 1..=200 {
        append(&wal, vec![(i, Bytes::from(vec![0; 200]))]).unwrap();
    }
    assert!(files(dir.path()).len() > 8);
    wal.purge_upto(195, b"meta".to_vec()).await.unwrap();
    assert!(files(dir.path()).len() <= 2);
    assert!(wal.read(195, 200, 1 << 20).await.unwrap().is_empty());
    drop(wal);
    let (wal, found) = open(dir.path()).unwrap();
    assert_eq!(found.vote.as_deref(), Some(&b"vote"[..]));
    assert_eq!(found.committed.as_deref(), Some(&b"committed"[..]));
    assert_eq!(found.purged, Some((195, b"meta".to_vec())));
    assert_eq!((found.first, found.last), (Some(196), Some(200)));
    assert_eq!(wal.read(196, 300, 1 << 20).await.unwrap().len(), 5);
    // As after a snapshot from elsewhere: the purge lies beyond the end.
    wal.purge_upto(1000, b"snapshot".to_vec()).await.unwrap();
    assert!(append(&wal, vec![(201, Bytes::new())]).is_err());
    append(&wal, vec![(1001, Bytes::new())]).unwrap();
    drop(wal);
    let (_wal, found) = open(dir.path()).unwrap();
    assert_eq!((found.first, found.last), (Some(1001), Some(1001)));
}

#[tokio::test]
async fn appends_by_many_share_syncs_and_answer_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), 1 << 20, None).unwrap();
    let (tx, rx) = mpsc::sync_channel(4096);
    for i in 0..2000u64 {
        let tx = tx.clone();
        let done = Box::new(move |r: io::Result<()>| tx.send((i, r.is_ok())).unwrap());
        wal.append(vec![(i, Bytes::from(i.to_le_bytes().to_vec()))], done);
        assert_eq!(wal.read(i, i + 1, 1).await.unwrap().len(), 1);
    }
    for i in 0..2000 {
        assert_eq!(rx.recv().unwrap(), (i, true));
    }
}

#[tokio::test]
async fn gaps_and_giants_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path()).unwrap();
    append(&wal, vec![(5, Bytes::new())]).unwrap();
    assert!(append(&wal, vec![(7, Bytes::new())]).is_err());
    assert!(append(&wal, vec![(5, Bytes::new())]).is_err());
    assert!(wal.save_vote(vec![0; MAX_ENTRY_BYTES + 1]).await.is_err());
    append(&wal, vec![(6, Bytes::new())]).unwrap();
}

#[tokio::test]
async fn a_failed_write_ends_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path()).unwrap();
    append(&wal, vec![(0, Bytes::new())]).unwrap();
    // The next segment cannot be made once the folder is gone.
    fs::remove_dir_all(dir.path()).unwrap();
    let mut index = 1;
    let first = loop {
        match append(&wal, vec![(index, Bytes::from(vec![0; 1000]))]) {
            Ok(()) => index += 1,
            Err(e) => break e,
        }
        assert!(index < 100, "the log went on without its folder");
    };
    assert!(first.to_string().contains("then restart"), "{first}");
    let later = append(&wal, vec![(index + 1, Bytes::new())]).unwrap_err();
    assert_eq!(later.to_string(), first.to_string());
    assert!(wal.save_vote(vec![1]).await.is_err());
    assert!(wal.save_committed(vec![1]).await.is_err());
    assert!(wal.purge_upto(1, vec![]).await.is_err());
}
