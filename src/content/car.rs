//! Archives: a DAG goes out as a CAR in Kubo's order, archives come in and their roots are pinned.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt, Stream, StreamExt, TryStreamExt,
    future::{BoxFuture, MaybeDone, maybe_done},
};

use super::{
    Content, ContentError,
    pins::{PinProgress, Seen, fetch_all},
    source::{Source, driven, gone},
};
use crate::{
    base::Cid,
    dag::{
        self, DagError,
        car::{self, CarReader, Item, Section},
    },
    store::{NewBlock, PinKind, blocks::Adding},
};

/// Pieces of an archive going out are gathered to about this many bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// Blocks of more than this go out as they are, without being copied together with others.
const WHOLE_BYTES: usize = 32 * 1024;
/// Blocks read ahead of the one going out.
const AHEAD: usize = 32;
/// Most links an export keeps waiting, so that deep and wide DAGs cannot fill the memory.
const MAX_OPEN: usize = 1_000_000;
/// Sections are hashed and put in batches of so many bytes or blocks.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
const BATCH_BLOCKS: usize = 1024;
/// Batches being hashed or put while the next one is read.
pub(super) const LANES: usize = 3;

type Coming = std::pin::Pin<Box<MaybeDone<BoxFuture<'static, Result<Bytes, ContentError>>>>>;

/// A link whose block is still to go out, and the block when it was asked for already.
struct Open {
    cid: Cid,
    coming: Option<Coming>,
}

/// How a DAG is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Leave out what is not here, and all below it, instead of asking the network or failing.
    pub partial: bool,
}

impl Content {
    /// A whole DAG as a CARv1 with one root: every block once, before what it links to, links in the order they stand
    /// in. The first item is an error when the root cannot be had.
    pub fn export(
        &self,
        root: Cid,
        options: ExportOptions,
    ) -> impl Stream<Item = Result<Bytes, ContentError>> + Send + Unpin + 'static {
        let source = if options.partial { self.source(root).offline() } else { self.source(root) };
        driven(4, move |sender| async move {
            let mut out = BytesMut::with_capacity(PIECE_BYTES + WHOLE_BYTES);
            out.put_slice(&car::header(&[root]));
            let mut walk = Walk { source, partial: options.partial, open: Vec::new(), seen: Seen::default(), ahead: 0 };
            walk.open.push(Open { cid: root, coming: None });
            while let Some((cid, data)) = walk.next().await? {
                out.put_slice(&car::section_head(&cid, data.len()));
                if data.len() <= WHOLE_BYTES {
                    out.put_slice(&data);
                } else {
                    sender.send(Ok(out.split().freeze())).await.map_err(gone)?;
                    sender.send(Ok(data)).await.map_err(gone)?;
                }
                if out.len() >= PIECE_BYTES {
                    sender.send(Ok(out.split().freeze())).await.map_err(gone)?;
                }
            }
            if !out.is_empty() {
                sender.send(Ok(out.freeze())).await.map_err(gone)?;
            }
            Ok(())
        })
    }

    /// Begins an import of archives.
    pub fn import(&self) -> CarImport {
        let (roots, seen, stats) = (Vec::new(), Seen::default(), ImportStats::default());
        CarImport { content: self.clone(), roots, seen, stats, adding: self.repo.blocks().adding() }
    }
}

/// Depth first, each block once.
struct Walk {
    source: Source,
    partial: bool,
    /// The next one is the last.
    open: Vec<Open>,
    seen: Seen,
    /// How many of those open have been asked for.
    ahead: usize,
}

impl Walk {
    /// The next block; None at the end.
    async fn next(&mut self) -> Result<Option<(Cid, Bytes)>, ContentError> {
        loop {
            let Some(Open { cid, coming }) = self.open.pop() else { return Ok(None) };
            self.ahead -= usize::from(coming.is_some());
            if !self.seen.insert(&cid) {
                continue;
            }
            let got = match coming {
                Some(mut coming) => {
                    coming.as_mut().await;
                    coming.as_mut().take_output().expect("it was waited for")
                }
                None => self.source.get(&cid).await,
            };
            let links = got.and_then(|data| Ok((dag::links(&cid, &data)?, data)));
            let (links, data) = match links {
                Ok(found) => found,
                Err(_) if self.partial => continue,
                Err(error) => return Err(error),
            };
            if self.open.len() + links.len() > MAX_OPEN {
                let (count, limit) = ((self.open.len() + links.len()) as u64, MAX_OPEN as u64);
                return Err(DagError::TooLarge { what: "links of a DAG waiting", count, limit }.into());
            }
            self.open.extend(links.into_iter().rev().map(|cid| Open { cid, coming: None }));
            self.read_ahead();
            return Ok(Some((cid, data)));
        }
    }

    fn read_ahead(&mut self) {
        for open in self.open.iter_mut().rev().take(AHEAD) {
            if self.ahead >= AHEAD {
                break;
            }
            if open.coming.is_some() || self.seen.contains(&open.cid) {
                continue;
            }
            let (source, cid) = (self.source.clone(), open.cid);
            let get: BoxFuture<'static, _> = Box::pin(async move { source.get(&cid).await });
            let mut coming = Box::pin(maybe_done(get));
            // Polled once, so that it is on its way while the ones before it go out.
            let _ = coming.as_mut().now_or_never();
            open.coming = Some(coming);
            self.ahead += 1;
        }
    }
}

/// What archives held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportStats {
    /// Blocks, repeated ones repeated.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One import of any number of archives, whose DAGs may be spread over them.
pub struct CarImport {
    content: Content,
    roots: Vec<Cid>,
    seen: Seen,
    stats: ImportStats,
    adding: Adding,
}

impl CarImport {
    /// Reads one archive: each block is hashed, its links are read, and it is stored. Errors on what is malformed, and
    /// name the block it came after.
    pub async fn archive(&mut self, pieces: impl Stream<Item = io::Result<Bytes>> + Send) -> Result<(), ContentError> {
        let blocks = self.content.repo.blocks().clone();
        let stored = batches(pieces).map_ok(|batch| {
            let blocks = blocks.clone();
            async move {
                let Batch { roots, sections, bytes, after } = batch;
                let stats = ImportStats { blocks: sections.len() as u64, bytes };
                let checked = tokio::task::spawn_blocking(move || check(sections, after));
                blocks.put(checked.await.map_err(ContentError::joined)??).await?;
                Ok::<_, ContentError>((roots, stats))
            }
        });
        let mut stored = std::pin::pin!(stored.try_buffered(LANES));
        while let Some((roots, stats)) = stored.try_next().await? {
            self.roots.extend(roots.into_iter().filter(|root| self.seen.insert(root)));
            self.stats.blocks += stats.blocks;
            self.stats.bytes += stats.bytes;
        }
        Ok(())
    }

    /// What was stored so far.
    pub fn stats(&self) -> ImportStats {
        self.stats
    }

    /// Makes everything durable; gives the roots that the archives named, each once, and what keeps their blocks from
    /// being collected until they are pinned.
    pub async fn finish(self) -> Result<(Vec<Cid>, Adding), ContentError> {
        self.content.repo.blocks().sync().await?;
        Ok((self.roots, self.adding))
    }
}

impl Content {
    /// Pins a root that was imported, when all below it is here; the network is not asked.
    pub async fn pin_local(&self, root: &Cid) -> Result<(), ContentError> {
        let _kept = (self.repo.pins().under_way(root), self.repo.blocks().adding());
        fetch_all(&self.source(*root).offline(), *root, None, &PinProgress::default()).await?;
        self.repo.blocks().sync().await?;
        self.repo.pins().add(root, PinKind::Recursive, None).await?;
        self.announce(root).await;
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Batch {
    roots: Vec<Cid>,
    pub(super) sections: Vec<Section>,
    bytes: u64,
    /// The block before the first one.
    pub(super) after: Option<Cid>,
}

/// Cuts an archive into batches of sections; the first one has its roots.
pub(super) fn batches(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send,
) -> impl Stream<Item = Result<Batch, ContentError>> + Send {
    let state = (Box::pin(pieces), Some(CarReader::new()), None);
    futures::stream::try_unfold(state, |(mut pieces, mut reader, mut last)| async move {
        let mut batch = Batch { after: last, ..Batch::default() };
        loop {
            let Some(car) = &mut reader else { return Ok(None) };
            while let Some(item) = car.next_item() {
                match item {
                    Item::Roots(roots) => batch.roots = roots,
                    Item::Section(section) => {
                        batch.bytes += section.data.len() as u64;
                        last = Some(section.cid);
                        batch.sections.push(section);
                    }
                }
                if batch.bytes >= BATCH_BYTES || batch.sections.len() >= BATCH_BLOCKS {
                    return Ok(Some((batch, (pieces, reader, last))));
                }
            }
            let piece = pieces.next().await.transpose().map_err(|error| failed(last, ContentError::Input(error)))?;
            match piece {
                Some(piece) => car.feed(&piece).map_err(|error| failed(last, error))?,
                None => {
                    car.finish().map_err(|error| failed(last, error))?;
                    return Ok(Some((batch, (pieces, None, last))));
                }
            }
        }
    })
}

fn failed(after: Option<Cid>, source: impl Into<ContentError>) -> ContentError {
    ContentError::Import { after: after.map(Box::new), source: Box::new(source.into()) }
}

/// Hashes sections and reads their links.
pub(super) fn check(sections: Vec<Section>, mut after: Option<Cid>) -> Result<Vec<NewBlock>, ContentError> {
    let mut out = Vec::with_capacity(sections.len());
    for section in sections {
        let cid = section.cid;
        let checked = section.verify().and_then(|block| Ok(NewBlock { links: dag::links(&cid, block.data())?, block }));
        out.push(checked.map_err(|error| failed(after, error))?);
        after = Some(cid);
    }
    Ok(out)
}
