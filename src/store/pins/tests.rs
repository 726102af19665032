//! Tests of the pins over an engine in memory and over one that fails.

use super::*;
use crate::{
    base::{Block, Codec, Hash},
    store::MemoryKv,
};

fn cid(n: u8) -> Cid {
    *Block::new(Codec::Raw, Hash::Sha2_256, vec![n]).unwrap().cid()
}

fn pins() -> Pins {
    Pins::new(Arc::new(MemoryKv::new()))
}

#[tokio::test]
async fn pins_are_added_replaced_listed_and_removed() {
    let pins = pins();
    assert!(pins.add(&cid(1), PinKind::Direct, Some("one".into())).await.unwrap());
    assert!(!pins.add(&cid(1), PinKind::Direct, None).await.unwrap());
    assert_eq!(pins.get(&cid(1)).unwrap().unwrap().name.as_deref(), Some("one"));
    assert!(pins.add(&cid(1), PinKind::Recursive, None).await.unwrap());
    assert!(matches!(pins.add(&cid(1), PinKind::Direct, None).await, Err(StoreError::PinnedRecursively { .. })));
    assert!(!pins.remove(&cid(1), Some(PinKind::Direct)).await.unwrap());
    for n in 2..10 {
        pins.add(&cid(n), PinKind::Recursive, None).await.unwrap();
    }
    let mut all = Vec::new();
    loop {
        let page = pins.list(all.last().map(|p: &Pin| &p.cid), 4).unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert_eq!(all.len(), 9);
    assert!(pins.remove(&cid(1), None).await.unwrap());
    assert!(!pins.remove(&cid(1), None).await.unwrap());
    assert_eq!(pins.get(&cid(1)).unwrap(), None);
}

#[tokio::test]
async fn holds_belong_to_their_owner_alone() {
    let pins = pins();
    for (owner, n) in [("task:1:1", 1), ("task:1:1", 2), ("task:1:10", 1), ("cluster:x", 1), ("task:1:1", 1)] {
        pins.hold(owner, &cid(n)).await.unwrap();
    }
    assert_eq!(pins.holds("task:").unwrap().len(), 3);
    pins.release("task:1:1").await.unwrap();
    pins.release("task:1:1").await.unwrap();
    assert_eq!(pins.holds("task:").unwrap(), [("task:1:10".to_owned(), cid(1))]);
    assert_eq!(pins.holds("").unwrap().len(), 2);
    assert!(pins.hold("", &cid(1)).await.is_err());
}

#[tokio::test]
async fn long_names_are_refused() {
    assert!(pins().add(&cid(1), PinKind::Direct, Some("x".repeat(256))).await.is_err());
}

/// An engine whose commits wait until they are let through, or made to fail.
struct Gate {
    inner: MemoryKv,
    entered: std::sync::mpsc::SyncSender<usize>,
    pass: std::sync::Mutex<std::sync::mpsc::Receiver<bool>>,
}

impl Kv for Gate {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: &str,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<crate::store::KvPair>, StoreError> {
        self.inner.scan(table, from, to, limit)
    }

    fn last(&self, table: &str) -> Result<Option<crate::store::KvPair>, StoreError> {
        self.inner.last(table)
    }

    fn commit(&self, batch: crate::store::Batch, durability: crate::store::Durability) -> Result<(), StoreError> {
        self.entered.send(batch.len()).unwrap();
        if !self.pass.lock().unwrap().recv().unwrap() {
            let source = std::io::Error::from_raw_os_error(28);
            return Err(StoreError::Full { doing: "testing", source });
        }
        self.inner.commit(batch, durability)
    }

    fn dump(
        &self,
        tables: &[&str],
        row: &mut dyn FnMut(&str, &[u8], &[u8]) -> std::io::Result<()>,
    ) -> Result<(), StoreError> {
        self.inner.dump(tables, row)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_while_one_is_synced_share_the_next_sync() {
    use futures::{FutureExt, future::join_all};
    let (entered, commits) = std::sync::mpsc::sync_channel(16);
    let (go, pass) = std::sync::mpsc::sync_channel(16);
    let pins = Pins::new(Arc::new(Gate { inner: MemoryKv::new(), entered, pass: pass.into() }));
    let one = cid(1);
    let mut first = Box::pin(pins.add(&one, PinKind::Recursive, None));
    assert!(first.as_mut().now_or_never().is_none());
    assert_eq!(commits.recv().unwrap(), 1);
    // While the first is being synced the rest queue up; one of them sees what another of the group has done.
    let cids: Vec<Cid> = (2..102).map(cid).collect();
    let mut rest = Box::pin(join_all(cids.iter().map(|cid| pins.add(cid, PinKind::Direct, None))));
    assert!(rest.as_mut().now_or_never().is_none());
    let mut refused = Box::pin(async {
        pins.add(&cid(2), PinKind::Recursive, None).await.unwrap();
        pins.add(&cid(2), PinKind::Direct, None).await
    });
    assert!(refused.as_mut().now_or_never().is_none());
    go.send(true).unwrap();
    assert!(first.await.unwrap());
    assert_eq!(commits.recv().unwrap(), 100, "one commit, in which the last change of a pin counts");
    assert!(rest.as_mut().now_or_never().is_none(), "nothing is answered before it is synced");
    go.send(true).unwrap();
    assert!(rest.await.into_iter().all(|new| new.unwrap()));
    assert!(matches!(refused.await, Err(StoreError::PinnedRecursively { .. })));
    assert_eq!(pins.list(None, 1000).unwrap().len(), 101);

    // A failed sync fails each of its group, and nobody else.
    let all = [cid(200), cid(201)];
    let mut failing = Box::pin(join_all(all.iter().map(|cid| pins.add(cid, PinKind::Direct, None))));
    assert!(failing.as_mut().now_or_never().is_none());
    let mut failed = 0;
    while failed < all.len() {
        failed += commits.recv().unwrap();
        go.send(false).unwrap();
    }
    assert!(failing.await.into_iter().all(|new| matches!(new, Err(StoreError::Full { .. }))));
    assert_eq!(pins.get(&cid(200)).unwrap(), None);
    go.send(true).unwrap();
    assert!(pins.add(&cid(200), PinKind::Direct, None).await.unwrap());
}

#[tokio::test]
async fn pins_go_together_or_not_at_all_and_move() {
    let pins = pins();
    for n in 1..4 {
        pins.add(&cid(n), PinKind::Recursive, Some(format!("pin {n}"))).await.unwrap();
    }
    pins.add(&cid(9), PinKind::Direct, None).await.unwrap();
    assert_eq!(pins.remove_all(vec![cid(1), cid(8), cid(2)], None).await.unwrap(), Some(cid(8)));
    assert_eq!(pins.remove_all(vec![cid(9), cid(1)], Some(PinKind::Direct)).await.unwrap(), Some(cid(1)));
    assert_eq!(pins.list(None, 10).unwrap().len(), 4);
    assert_eq!(pins.remove_all(vec![cid(1), cid(2)], None).await.unwrap(), None);

    assert!(matches!(pins.update(&cid(1), &cid(5), true).await, Err(StoreError::UpdateFrom { .. })));
    assert!(matches!(pins.update(&cid(9), &cid(5), true).await, Err(StoreError::UpdateFrom { .. })));
    pins.update(&cid(3), &cid(3), true).await.unwrap();
    pins.update(&cid(3), &cid(9), false).await.unwrap();
    let moved = pins.get(&cid(9)).unwrap().unwrap();
    assert_eq!((moved.kind, moved.name.as_deref()), (PinKind::Recursive, Some("pin 3")));
    assert!(matches!(pins.update(&cid(3), &cid(9), true).await, Err(StoreError::UpdateTo { .. })));
    pins.update(&cid(3), &cid(4), true).await.unwrap();
    assert_eq!(pins.get(&cid(3)).unwrap(), None);
}

#[test]
fn roots_are_under_way_while_somebody_wants_them() {
    let pins = pins();
    let (one, again, two) = (pins.under_way(&cid(1)), pins.clone().under_way(&cid(1)), pins.under_way(&cid(2)));
    assert_eq!(pins.roots_under_way().len(), 2);
    drop((one, two));
    assert_eq!(pins.roots_under_way(), [cid(1)]);
    drop(again);
    assert!(pins.roots_under_way().is_empty());
}
