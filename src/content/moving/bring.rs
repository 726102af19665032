//! An import: another repo's roots, each behind the blocks below it.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use futures::{StreamExt, TryStreamExt, stream, stream::FuturesUnordered};

use super::{Content, ContentError, Counts, Got, LeftBehind, MoveError, MoveEvent, Origin, TakeFiles, spool::Spool};
use crate::{
    base::{Block, Cid, cid},
    content::{
        mfs::{CpOptions, FilesPath, Mfs},
        pins::Seen,
        source::{Sender, empty_dir, gone},
    },
    dag::{self, DagError},
    store::{NewBlock, Pin, PinKind, StoreError},
};

/// Blocks asked for at a time.
const LANES: usize = 32;
/// Pins that are brought together and share one sync.
const BATCH: usize = 256;
/// Most links that wait to be followed, so that no DAG can fill the memory.
const MAX_OPEN: usize = 1_000_000;
/// Blocks of more than this are hashed on a thread that may take its time.
const HASH_ELSEWHERE_BYTES: usize = 16 * 1024;
/// How often it is told how far it is.
const NEWS: Duration = Duration::from_secs(1);

/// Why a root cannot be brought whole.
struct Lack {
    cid: Cid,
    reason: String,
}

struct Bringer {
    content: Content,
    origin: Arc<dyn Origin>,
    counts: Counts,
    sender: Sender<MoveEvent>,
    /// What was walked, whole.
    seen: Seen,
}

pub(super) async fn run(
    content: Content,
    origin: Arc<dyn Origin>,
    files: TakeFiles,
    sender: Sender<MoveEvent>,
) -> Result<(), ContentError> {
    // Nothing that has come is collected before its root is kept.
    let _adding = content.repo().blocks().adding();
    let counts = Counts::default();
    let (news, counted) = (sender.clone(), counts.clone());
    let bringer = Bringer { content, origin, counts, sender, seen: Seen::default() };
    let mut work = Box::pin(bringer.all(files));
    let mut tick = tokio::time::interval(NEWS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            done = &mut work => return done,
            // Who does not listen now hears the next one.
            _ = tick.tick() => drop(news.try_send(Ok(MoveEvent::Progress(counted.now(None))))),
        }
    }
}

impl Bringer {
    async fn all(mut self, files: TakeFiles) -> Result<(), ContentError> {
        let root = match files {
            TakeFiles::No => None,
            _ => self.origin.files_root().await?.filter(|root| root != empty_dir().cid()),
        };
        // Better told before hours of work than after.
        if let Some(root) = &root {
            self.place(root, &files).await?;
        }
        for left in self.origin.left().await? {
            self.leave(left).await?;
        }
        let mut spool = Spool::new(&self.content.repo().scratch()?)?;
        let origin = self.origin.clone();
        let mut pins = origin.pins();
        while let Some(pin) = pins.try_next().await? {
            spool.push(&pin)?;
            self.counts.0.pins.store(spool.count(), Ordering::Relaxed);
        }
        drop(pins);
        origin.pour(&self.content, &self.counts).await?;
        let mut rows = spool.read()?;
        loop {
            let page = rows.page(BATCH)?;
            if page.is_empty() {
                break;
            }
            self.pins(page).await?;
        }
        let root = match root {
            Some(root) => self.files(root, files).await?,
            None => None,
        };
        // What came with no root of its own is durable too when this is said to be done.
        self.content.repo().blocks().sync().await?;
        self.sender.send(Ok(MoveEvent::Done(self.counts.now(root.as_ref())))).await.map_err(gone)
    }

    async fn leave(&self, left: LeftBehind) -> Result<(), ContentError> {
        self.counts.0.left_behind.fetch_add(1, Ordering::Relaxed);
        self.sender.send(Ok(MoveEvent::LeftBehind(left))).await.map_err(gone)
    }

    /// Brings some pins: their blocks, one sync, then the pins.
    async fn pins(&mut self, page: Vec<Pin>) -> Result<(), ContentError> {
        let mut new = Vec::with_capacity(page.len());
        for pin in page {
            match self.wanted(pin)? {
                Some(pin) => new.push(pin),
                None => drop(self.counts.0.pins_here.fetch_add(1, Ordering::Relaxed)),
            }
        }
        let kept = self.content.repo().pins().clone();
        // What is collected meanwhile leaves alone what has come for these.
        let _under_way: Vec<_> = new.iter().map(|pin| kept.under_way(&pin.cid)).collect();
        let (whole, lacking) = self.blocks_of(new).await?;
        self.content.repo().blocks().sync().await?;
        // At a time, so that they share syncs.
        let added = stream::iter(whole).map(|pin| {
            let (kept, content) = (kept.clone(), self.content.clone());
            async move {
                match kept.add(&pin.cid, pin.kind, pin.name).await {
                    // Somebody pinned it so meanwhile, which keeps more.
                    Ok(_) | Err(StoreError::PinnedRecursively { .. }) => content.announce(&pin.cid).await,
                    Err(error) => return Err(error),
                }
                Ok(())
            }
        });
        let mut added = added.buffer_unordered(BATCH);
        while added.try_next().await?.is_some() {
            self.counts.0.pins_brought.fetch_add(1, Ordering::Relaxed);
        }
        for (pin, lack) in lacking {
            let reason = format!("block {}: {}", lack.cid, lack.reason);
            self.leave(LeftBehind { what: "pin".into(), name: pin.cid.to_string(), reason }).await?;
        }
        Ok(())
    }

    /// The pin as it is to be made here; `None` when what is here keeps as much. A name that is here stays.
    fn wanted(&self, mut pin: Pin) -> Result<Option<Pin>, ContentError> {
        let Some(here) = self.content.repo().pins().get(&pin.cid)? else { return Ok(Some(pin)) };
        if here.kind == PinKind::Recursive {
            pin.kind = PinKind::Recursive;
        }
        let same = here.kind == pin.kind && (pin.name.is_none() || here.name.is_some());
        pin.name = here.name.or(pin.name);
        Ok((!same).then_some(pin))
    }

    /// Brings what these pins keep; gives those that are whole now, and those that are not, with the reason.
    async fn blocks_of(&mut self, pins: Vec<Pin>) -> Result<(Vec<Pin>, Vec<(Pin, Lack)>), ContentError> {
        let (direct, recursive): (Vec<_>, Vec<_>) = pins.into_iter().partition(|pin| pin.kind == PinKind::Direct);
        let (mut whole, mut lacking) = (Vec::new(), Vec::new());
        for pin in direct {
            match self.one(pin.cid).await? {
                Ok(()) => whole.push(pin),
                Err(lack) => lacking.push((pin, lack)),
            }
        }
        let roots: Vec<Cid> = recursive.iter().map(|pin| pin.cid).collect();
        if self.walk(&roots, false).await?.is_ok() {
            whole.extend(recursive);
            return Ok((whole, lacking));
        }
        // One of them lacks something. Each alone, and nothing that was walked counts as whole any more.
        for pin in recursive {
            match self.walk(&[pin.cid], false).await? {
                Ok(()) => whole.push(pin),
                Err(lack) => lacking.push((pin, lack)),
            }
        }
        Ok((whole, lacking))
    }

    /// Brings everything below these. When something is missing, that ends it; or, when `partly`, it is counted.
    async fn walk(&mut self, roots: &[Cid], partly: bool) -> Result<Result<(), Lack>, ContentError> {
        let mut open: Vec<Cid> = roots.iter().rev().filter(|cid| self.seen.insert(cid)).copied().collect();
        let (content, origin, counts) = (self.content.clone(), self.origin.clone(), self.counts.clone());
        let mut coming = FuturesUnordered::new();
        loop {
            while coming.len() < LANES {
                let Some(cid) = open.pop() else { break };
                coming.push(take(&content, &*origin, &counts, cid));
            }
            let Some(taken) = coming.next().await else { return Ok(Ok(())) };
            match taken? {
                Ok(links) => {
                    if open.len() + links.len() > MAX_OPEN {
                        let (count, limit) = ((open.len() + links.len()) as u64, MAX_OPEN as u64);
                        return Err(DagError::TooLarge { what: "links of a DAG waiting", count, limit }.into());
                    }
                    // Last in, first out: reversed, a file's blocks come in its order.
                    open.extend(links.into_iter().rev().filter(|cid| self.seen.insert(cid)));
                }
                Err(_) if partly => drop(counts.0.files_missing.fetch_add(1, Ordering::Relaxed)),
                Err(lack) => {
                    self.seen = Seen::default();
                    return Ok(Err(lack));
                }
            }
        }
    }

    /// Brings one block alone, whatever it links to.
    async fn one(&self, cid: Cid) -> Result<Result<(), Lack>, ContentError> {
        let blocks = self.content.repo().blocks();
        if let Err(error) = cid::admit(&cid) {
            return Ok(Err(Lack { cid, reason: error.to_string() }));
        }
        if blocks.claim(&cid).is_some() {
            self.counts.0.blocks_here.fetch_add(1, Ordering::Relaxed);
            return Ok(Ok(()));
        }
        let data = match self.origin.block(cid).await? {
            Got::Bytes(data) => data,
            other => return Ok(Err(lack(cid, other))),
        };
        let bytes = data.len() as u64;
        let made = Block::verify(cid, data).and_then(|block| {
            let links = dag::links(block.cid(), block.data()).ok();
            dag::with_links(block, links)
        });
        match made {
            Ok(dag::OutBlock { block, links }) => {
                blocks.put(vec![NewBlock { block, links }]).await?;
                self.counts.brought(bytes);
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(Lack { cid, reason: error.to_string() })),
        }
    }

    /// Whether the files tree that comes has a place here.
    async fn place(&self, root: &Cid, files: &TakeFiles) -> Result<(), ContentError> {
        let here = self.content.files().root()?;
        match files {
            TakeFiles::AsRoot if here != *empty_dir().cid() && here != *root => {
                Err(MoveError::FilesHere { theirs: Box::new(*root) }.into())
            }
            _ => Ok(()),
        }
    }

    /// Brings the files tree. What the other repo did not have of it either is fetched when it is read, as there.
    async fn files(&mut self, root: Cid, files: TakeFiles) -> Result<Option<Cid>, ContentError> {
        let _under_way = self.content.repo().pins().under_way(&root);
        if let Err(lack) = self.one(root).await? {
            let left = LeftBehind { what: "files".into(), name: root.to_string(), reason: lack.reason };
            self.leave(left).await?;
            return Ok(None);
        }
        self.seen = Seen::default();
        if let Err(lack) = self.walk(&[root], true).await? {
            return Err(DagError::malformed("files tree", lack.reason).into());
        }
        self.content.repo().blocks().sync().await?;
        let tree = self.content.files();
        match files {
            // It may have changed meanwhile.
            TakeFiles::AsRoot => {
                let old = tree.adopt(root).await?;
                if old.is_some() {
                    return Err(MoveError::FilesHere { theirs: Box::new(root) }.into());
                }
            }
            TakeFiles::Into(path) => copy(&tree, root, &path).await?,
            TakeFiles::No => return Ok(None),
        }
        Ok(Some(root))
    }
}

async fn copy(tree: &Mfs, root: Cid, path: &FilesPath) -> Result<(), ContentError> {
    // Run again, it is there already.
    if tree.stat(&path.to_string(), false).await.is_ok_and(|stat| stat.cid == root) {
        return Ok(());
    }
    let options = CpOptions { parents: true, ..CpOptions::default() };
    tree.cp(&format!("/ipfs/{root}"), path, &options, true).await
}

/// What a block links to, when it is here or has been brought; else why not.
async fn take(
    content: &Content,
    origin: &dyn Origin,
    counts: &Counts,
    cid: Cid,
) -> Result<Result<Vec<Cid>, Lack>, ContentError> {
    let blocks = content.repo().blocks();
    if let Err(error) = cid::admit(&cid) {
        return Ok(Err(Lack { cid, reason: error.to_string() }));
    }
    blocks.claim(&cid);
    if let Some(links) = blocks.links(&cid).await? {
        counts.0.blocks_here.fetch_add(1, Ordering::Relaxed);
        return Ok(Ok(links));
    }
    // Here under another codec, or inside its CID.
    if let Some(data) = blocks.get(&cid).await? {
        counts.0.blocks_here.fetch_add(1, Ordering::Relaxed);
        return Ok(dag::links(&cid, &data).map_err(|error| Lack { cid, reason: error.to_string() }));
    }
    let data = match origin.block(cid).await? {
        Got::Bytes(data) => data,
        Got::Missing if cid == *empty_dir().cid() => empty_dir().data().clone(),
        other => return Ok(Err(lack(cid, other))),
    };
    let bytes = data.len();
    let check = move || -> Result<NewBlock, DagError> {
        let block = Block::verify(cid, data)?;
        Ok(NewBlock { links: dag::links(&cid, block.data())?, block })
    };
    let checked = match bytes > HASH_ELSEWHERE_BYTES {
        true => tokio::task::spawn_blocking(check).await.map_err(ContentError::joined)?,
        false => check(),
    };
    match checked {
        Ok(new) => {
            let links = new.links.clone();
            blocks.put(vec![new]).await?;
            counts.brought(bytes as u64);
            Ok(Ok(links))
        }
        Err(error) => Ok(Err(Lack { cid, reason: error.to_string() })),
    }
}

fn lack(cid: Cid, got: Got) -> Lack {
    let reason = match got {
        Got::Bad(reason) => reason,
        Got::Missing | Got::Bytes(_) => "it is not there".into(),
    };
    Lack { cid, reason }
}
