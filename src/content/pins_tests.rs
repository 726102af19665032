//! Tests of pins over a repo without a network: how things are pinned, what an update walks, what a check finds.

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    tests::{NOTHING, noise, place},
    *,
};
use crate::{
    base::{HasKind, Kind},
    store::PinKind,
};

async fn links(content: &Content, cid: &Cid) -> Vec<Cid> {
    content.repo().blocks().links(cid).await.unwrap().unwrap()
}

fn unpinned() -> AddOptions {
    AddOptions { pin: false, ..AddOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_pinned_as_the_filter_asks() {
    let place = place();
    let content = &place.content;
    let root = content.add_bytes(noise(600_000), unpinned()).await.unwrap().cid;
    let alone = content.add_bytes("alone", unpinned()).await.unwrap().cid;
    let nothing = content.add_bytes("nobody pins this", unpinned()).await.unwrap().cid;
    content.pin(&root, PinKind::Recursive, Some("big".into())).await.unwrap();
    content.pin(&alone, PinKind::Direct, None).await.unwrap();
    let child = links(content, &root).await[1];
    content.pin(&child, PinKind::Direct, None).await.unwrap();
    let leaf = links(content, &root).await[2];

    let asked = [root, alone, child, leaf, nothing];
    let how = async |filter| -> Vec<Option<(PinType, Option<Cid>)>> {
        let pins = content.pinned_as(&asked, filter).await.unwrap();
        pins.into_iter().map(|pin| pin.map(|pin| (pin.kind, pin.via))).collect()
    };
    let (recursive, direct) = (Some((PinType::Recursive, None)), Some((PinType::Direct, None)));
    let below = Some((PinType::Indirect, Some(root)));
    assert_eq!(how(PinFilter::All).await, [recursive, direct, direct, below, None]);
    assert_eq!(how(PinFilter::Only(PinType::Recursive)).await, [recursive, None, None, None, None]);
    assert_eq!(how(PinFilter::Only(PinType::Direct)).await, [None, direct, direct, None, None]);
    assert_eq!(how(PinFilter::Only(PinType::Indirect)).await, [None, None, below, below, None]);

    // In a list each stands once: what is pinned by itself is not listed as indirect.
    let indirect = content.list_pins(PinFilter::Only(PinType::Indirect)).await.unwrap();
    assert!(indirect.iter().all(|pin| pin.cid != child) && indirect.iter().any(|pin| pin.cid == leaf));
    let all = content.list_pins(PinFilter::All).await.unwrap();
    assert_eq!(all.len(), 3 + indirect.len());
    assert_eq!(all.iter().find(|pin| pin.cid == root).unwrap().name.as_deref(), Some("big"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_walks_only_what_differs_and_a_refused_one_changes_nothing() {
    let place = place();
    let content = &place.content;
    let mut data = noise(1_000_000);
    let from = content.add_bytes(data.clone(), AddOptions::default()).await.unwrap().cid;
    data[300_000] ^= 1;
    let to = content.add_bytes(data, unpinned()).await.unwrap().cid;
    let (before, after) = (links(content, &from).await, links(content, &to).await);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert_eq!((before.len(), changed.len()), (4, 1));

    // What both have at the same place is not looked at: it is not even missed.
    content.repo().blocks().remove(vec![before[3]]).await.unwrap();
    let refused = content.update_pin(&to, &from, true).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    content.update_pin(&from, &to, true).await.unwrap();
    assert!(content.pinned(&from).unwrap().is_none());
    assert_eq!(content.pinned(&to).unwrap().unwrap().kind, PinType::Recursive);
    // What differs has to be here.
    content.repo().blocks().remove(vec![*changed[0].0]).await.unwrap();
    assert_eq!(content.update_pin(&to, &from, false).await.unwrap_err().kind(), Kind::NotFound);
    assert!(content.pinned(&from).unwrap().is_none());
    assert!(content.repo().pins().roots_under_way().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_is_missing_below_which_pins() {
    let place = place();
    let content = &place.content;
    let whole = content.add_bytes(noise(600_000), AddOptions::default()).await.unwrap().cid;
    let mut tree = content.add_tree(AddOptions::default()).unwrap();
    for name in ["a/b/c/deep", "a/same", "a/b/same"] {
        let data = if name.ends_with("same") { vec![7; 300_000] } else { b"deep".to_vec() };
        tree.file(name.as_bytes(), NOTHING, stream::iter([Ok(data.into())])).await.unwrap();
    }
    let root = tree.finish().await.unwrap()[0].cid;
    let checks: Vec<PinCheck> = content.check_pins().try_collect().await.unwrap();
    assert_eq!((checks.len(), checks.iter().all(|check| check.ok)), (2, true));

    let deep = content.resolve(&format!("{root}/b/c/deep").parse().unwrap()).await.unwrap();
    let same = content.resolve(&format!("{root}/same").parse().unwrap()).await.unwrap();
    let piece = links(content, &same).await[0];
    content.repo().blocks().remove(vec![deep, piece]).await.unwrap();
    let part = content.resolve(&format!("{root}/b").parse().unwrap()).await.unwrap();
    content.repo().pins().add(&part, PinKind::Recursive, None).await.unwrap();
    let mut checks = content.check_pins();
    let mut broken = 0;
    while let Some(check) = checks.next().await {
        let check = check.unwrap();
        assert_eq!(check.ok, check.cid == whole, "{check:?}");
        if !check.ok {
            broken += 1;
            let mut bad: Vec<Cid> = check.bad.iter().map(|bad| bad.0).collect();
            bad.sort();
            bad.dedup();
            let mut gone = vec![deep, piece];
            gone.sort();
            assert_eq!(bad, gone, "{check:?}");
            assert!(check.bad.iter().all(|(_, why)| why.contains("missing")));
        }
    }
    assert_eq!(broken, 2);
}
