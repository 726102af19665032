//! Pins, and whether a whole DAG is here.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{Stream, StreamExt, TryStreamExt, stream::FuturesUnordered};
use sha2::Digest;

use super::{
    Content, ContentError, PinEntry, PinFilter, PinType,
    source::{Source, driven, gone},
};
use crate::{
    base::Cid,
    store::{Pin, PinKind, StoreError},
};

/// Blocks asked for at a time while a DAG is fetched.
const FETCH_LANES: usize = 64;
/// Pins read from the store at a time.
const PAGE: usize = 4096;

/// A short name of a CID: hashed, so that nobody can make two that collide, whatever their own hash function.
pub(super) type Key = [u8; 16];

pub(super) fn key(cid: &Cid) -> Key {
    let digest = sha2::Sha256::digest(cid.to_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// CIDs seen, 16 bytes each.
#[derive(Default)]
pub(super) struct Seen(HashSet<Key>);

impl Seen {
    /// Whether it is new.
    pub(super) fn insert(&mut self, cid: &Cid) -> bool {
        self.0.insert(key(cid))
    }

    /// Whether it was seen before.
    pub(super) fn contains(&self, cid: &Cid) -> bool {
        self.0.contains(&key(cid))
    }
}

/// How far the fetching of a DAG is. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct PinProgress {
    counts: Arc<(AtomicU64, AtomicU64)>,
}

impl PinProgress {
    /// Different blocks that are here, fetched or found.
    pub fn blocks(&self) -> u64 {
        self.counts.0.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.counts.1.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: u64) {
        self.counts.0.fetch_add(1, Ordering::Relaxed);
        self.counts.1.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Content {
    /// Pins: fetches what is missing, makes it durable, then records the pin. True when it was not pinned so before.
    pub async fn pin(&self, cid: &Cid, kind: PinKind, name: Option<String>) -> Result<bool, ContentError> {
        self.pin_watched(cid, kind, name, &PinProgress::default()).await
    }

    /// As [`Content::pin`], counting in `progress`. What was fetched before an interruption is found again: only the rest
    /// is fetched, as long as nothing was collected between.
    pub async fn pin_watched(
        &self,
        cid: &Cid,
        kind: PinKind,
        name: Option<String>,
        progress: &PinProgress,
    ) -> Result<bool, ContentError> {
        let source = self.source(*cid);
        let _kept = (self.repo.pins().under_way(cid), self.repo.blocks().adding());
        match kind {
            PinKind::Recursive => fetch_all(&source, *cid, None, progress).await?,
            PinKind::Direct => progress.count(source.claim(cid).await?),
        }
        self.repo.blocks().sync().await?;
        let new = self.repo.pins().add(cid, kind, name).await?;
        self.announce(cid).await;
        Ok(new)
    }

    /// Gives the recursive pin of `from`, with its name, to `to`; fetches of `to` what differs. The old pin goes if `unpin`.
    pub async fn update_pin(&self, from: &Cid, to: &Cid, unpin: bool) -> Result<(), ContentError> {
        if self.repo.pins().get(from)?.is_none_or(|pin| pin.kind != PinKind::Recursive) {
            return Err(StoreError::UpdateFrom { cid: from.to_string() }.into());
        }
        let _kept = (self.repo.pins().under_way(to), self.repo.blocks().adding());
        fetch_all(&self.source(*to), *to, Some(*from), &PinProgress::default()).await?;
        self.repo.blocks().sync().await?;
        self.repo.pins().update(from, to, unpin).await?;
        // What both have was not looked at.
        self.protect(*to).await?;
        self.announce(to).await;
        Ok(())
    }

    /// Fetches a whole DAG into the local store and makes it durable; gives its number of different blocks.
    pub async fn fetch(&self, cid: &Cid) -> Result<u64, ContentError> {
        let progress = PinProgress::default();
        let _kept = (self.repo.pins().under_way(cid), self.repo.blocks().adding());
        fetch_all(&self.source(*cid), *cid, None, &progress).await?;
        self.repo.blocks().sync().await?;
        Ok(progress.blocks())
    }

    /// Removes a pin, of this kind or of whatever kind it is.
    pub async fn unpin(&self, cid: &Cid, kind: Option<PinKind>) -> Result<(), ContentError> {
        self.unpin_all(vec![*cid], kind).await
    }

    /// Removes all these pins, or, when one of them is not pinned so, none.
    pub async fn unpin_all(&self, cids: Vec<Cid>, kind: Option<PinKind>) -> Result<(), ContentError> {
        let Some(cid) = self.repo.pins().remove_all(cids, kind).await? else { return Ok(()) };
        let hint = match self.repo.pins().get(&cid)? {
            Some(pin) if pin.kind == PinKind::Recursive => "is pinned recursively, and only direct pins were to go",
            Some(_) => "is not pinned recursively; it is pinned directly",
            None => "is not pinned or pinned indirectly; pin ls shows what is pinned, and below what",
        };
        Err(ContentError::NotPinned { cid: Box::new(cid), hint })
    }

    /// The pins, as a stream. Indirect ones are found by walking the recursive ones locally; each is named once.
    pub fn pins(
        &self,
        filter: PinFilter,
    ) -> impl Stream<Item = Result<PinEntry, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(256, move |sender| async move {
            let below = matches!(filter, PinFilter::All | PinFilter::Only(PinType::Indirect));
            let mut after = None;
            let mut seen = Seen::default();
            loop {
                let page = content.page(after.as_ref()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.cid);
                for pin in page {
                    if below {
                        seen.insert(&pin.cid);
                    }
                    let entry = PinEntry::from(pin);
                    if matches!(filter, PinFilter::All | PinFilter::Roots) || filter == PinFilter::Only(entry.kind) {
                        sender.send(Ok(entry)).await.map_err(gone)?;
                    }
                }
            }
            if !below {
                return Ok(());
            }
            let mut below = content.below();
            while let Some(entry) = below.try_next().await? {
                if seen.insert(&entry.cid) {
                    sender.send(Ok(entry)).await.map_err(gone)?;
                }
            }
            Ok(())
        })
    }

    /// What lies below recursive pins, each CID once, with the first pin that it was found below.
    fn below(&self) -> impl Stream<Item = Result<PinEntry, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(256, move |sender| async move {
            let (mut seen, mut walked) = (Seen::default(), Seen::default());
            let mut after = None;
            loop {
                let page = content.page(after.as_ref()).await?;
                let Some(last) = page.last() else { return Ok(()) };
                after = Some(last.cid);
                for pin in page.into_iter().filter(|pin| pin.kind == PinKind::Recursive) {
                    let source = content.source(pin.cid).offline();
                    let mut open = vec![pin.cid];
                    while let Some(cid) = open.pop() {
                        if !walked.insert(&cid) {
                            continue;
                        }
                        for below in source.links(&cid).await? {
                            if seen.insert(&below) {
                                let (kind, via) = (PinType::Indirect, Some(pin.cid));
                                let entry = PinEntry { cid: below, kind, name: None, via };
                                sender.send(Ok(entry)).await.map_err(gone)?;
                            }
                            open.push(below);
                        }
                    }
                }
            }
        })
    }

    /// The pins, collected.
    pub async fn list_pins(&self, filter: PinFilter) -> Result<Vec<PinEntry>, ContentError> {
        self.pins(filter).try_collect().await
    }

    /// How one CID is pinned by itself, if it is.
    pub fn pinned(&self, cid: &Cid) -> Result<Option<PinEntry>, ContentError> {
        let pin = self.repo.pins().get(cid)?;
        Ok(pin.map(PinEntry::from))
    }

    /// Recursive pins behind `after`, at most `limit`: the roots to announce again after a restart.
    pub async fn roots(&self, after: Option<Cid>, limit: usize) -> Result<Vec<Cid>, ContentError> {
        let pins = self.repo.pins().clone();
        let page = tokio::task::spawn_blocking(move || pins.list(after.as_ref(), limit));
        let page = page.await.map_err(ContentError::joined)??;
        Ok(page.into_iter().map(|pin| pin.cid).collect())
    }

    /// How each of these is pinned, in their order; `None` when it is not pinned in a way that `filter` asks for.
    pub async fn pinned_as(&self, cids: &[Cid], filter: PinFilter) -> Result<Vec<Option<PinEntry>>, ContentError> {
        let wanted = |kind| filter == PinFilter::All || filter == PinFilter::Only(kind);
        let mut found = Vec::with_capacity(cids.len());
        let mut missing: HashMap<Cid, Option<PinEntry>> = HashMap::new();
        for cid in cids {
            let root = self.pinned(cid)?.filter(|pin| wanted(pin.kind) || filter == PinFilter::Roots);
            if root.is_none() && wanted(PinType::Indirect) {
                missing.insert(*cid, None);
            }
            found.push(root);
        }
        let mut open = missing.len();
        if open > 0 {
            let mut below = self.below();
            while open > 0
                && let Some(entry) = below.try_next().await?
            {
                if let Some(place @ None) = missing.get_mut(&entry.cid) {
                    *place = Some(entry);
                    open -= 1;
                }
            }
        }
        Ok(found.into_iter().zip(cids).map(|(root, cid)| root.or_else(|| missing.get(cid)?.clone())).collect())
    }

    /// Whether the whole DAG is here. The network is not asked.
    pub async fn holds(&self, cid: &Cid) -> Result<bool, ContentError> {
        // A recursive pin is recorded only when everything below is here and durable.
        if self.repo.pins().get(cid)?.is_some_and(|pin| pin.kind == PinKind::Recursive) {
            return Ok(true);
        }
        let source = self.source(*cid).offline();
        let mut seen = Seen::default();
        let mut open = vec![*cid];
        while let Some(cid) = open.pop() {
            if !seen.insert(&cid) {
                continue;
            }
            match source.links(&cid).await {
                Ok(links) => open.extend(links),
                Err(ContentError::NotFoundOffline { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) async fn page(&self, after: Option<&Cid>) -> Result<Vec<Pin>, ContentError> {
        let (pins, after) = (self.repo.pins().clone(), after.copied());
        let page = tokio::task::spawn_blocking(move || pins.list(after.as_ref(), PAGE));
        Ok(page.await.map_err(ContentError::joined)??)
    }
}

impl From<Pin> for PinEntry {
    fn from(pin: Pin) -> Self {
        let kind = match pin.kind {
            PinKind::Recursive => PinType::Recursive,
            PinKind::Direct => PinType::Direct,
        };
        PinEntry { cid: pin.cid, kind, name: pin.name, via: None }
    }
}

/// Walks a DAG, fetching what is missing. With `base`, a DAG that is here whole: what both have at the same place is not
/// walked.
pub(super) async fn fetch_all(
    source: &Source,
    root: Cid,
    base: Option<Cid>,
    progress: &PinProgress,
) -> Result<(), ContentError> {
    let mut seen = Seen::default();
    seen.insert(&root);
    let mut open = vec![(root, base)];
    let mut coming = FuturesUnordered::new();
    loop {
        while coming.len() < FETCH_LANES {
            let Some((cid, base)) = open.pop() else { break };
            coming.push(async move {
                let bytes = source.claim(&cid).await?;
                let links = source.links(&cid).await?;
                let before = match &base {
                    Some(base) => source.clone().offline().links(base).await?,
                    None => Vec::new(),
                };
                progress.count(bytes);
                Ok::<_, ContentError>((links, before))
            });
        }
        let Some(found) = coming.next().await else { return Ok(()) };
        let (links, before) = found?;
        let new = changed(links, before);
        // Last in, first out: reversed, a file's blocks come in its order.
        let new: Vec<_> = new.into_iter().filter(|(cid, _)| seen.insert(cid)).collect();
        open.extend(new.into_iter().rev());
    }
}

/// The links that were not there before, each beside one that is not there any more, in their order.
fn changed(links: Vec<Cid>, before: Vec<Cid>) -> Vec<(Cid, Option<Cid>)> {
    if before.is_empty() {
        return links.into_iter().map(|cid| (cid, None)).collect();
    }
    let old: HashSet<&Cid> = before.iter().collect();
    let kept: HashSet<Cid> = links.iter().filter(|cid| old.contains(cid)).copied().collect();
    let mut gone = before.iter().filter(|cid| !kept.contains(cid)).copied();
    links.into_iter().filter(|cid| !kept.contains(cid)).map(|cid| (cid, gone.next())).collect()
}
