//! References: what blocks link to, in the order a depth-first walk meets it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    pin::Pin,
};

use bytes::Bytes;
use futures::{
    FutureExt, Stream,
    future::{BoxFuture, MaybeDone, maybe_done},
};

use super::{
    Content, ContentError,
    pins::Seen,
    source::{Sender, Source, driven, gone},
};
use crate::{
    base::{Cid, Codec},
    dag::{self, DagError, pb},
    store::Cursor,
};

/// Blocks asked for ahead of the one being told.
const AHEAD: usize = 32;
/// Most links waiting, so that deep and wide DAGs cannot fill the memory.
const MAX_OPEN: usize = 1_000_000;
/// Blocks listed at a time.
const PAGE: usize = 512;

/// Which references are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefsOptions {
    /// Name each CID once only.
    pub unique: bool,
    /// How deep to go; 1 = what the roots themselves link to, `None` = to the end.
    pub max_depth: Option<u32>,
    /// Whether the links' names are wanted; finding them reads every block.
    pub names: bool,
}

/// A link from one block to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Whose link it is.
    pub from: Cid,
    /// Where it leads.
    pub to: Cid,
    /// Its name; DAG-PB alone has them.
    pub name: Vec<u8>,
}

type Links = Vec<(Cid, Vec<u8>)>;
type Coming = Pin<Box<MaybeDone<BoxFuture<'static, Result<Links, ContentError>>>>>;

struct Link {
    to: Cid,
    name: Vec<u8>,
    coming: Option<Coming>,
}

struct Level {
    from: Cid,
    links: VecDeque<Link>,
}

impl Content {
    /// The references of DAGs. What is named has been fetched. An error ends its root, and the next one follows.
    pub fn refs(
        &self,
        roots: Vec<Cid>,
        options: RefsOptions,
    ) -> impl Stream<Item = Result<Reference, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(64, move |sender| async move {
            let mut seen = Depths::default();
            for root in roots {
                let source = content.source(root);
                let mut walk = Walk { source, sender: &sender, options, seen: &mut seen };
                match walk.run(root).await {
                    Err(error) if !sender.is_closed() => sender.send(Err(error)).await.map_err(gone)?,
                    ended => ended?,
                }
            }
            Ok(())
        })
    }

    /// The CIDs of all blocks stored here.
    pub fn local_refs(&self) -> impl Stream<Item = Result<Cid, ContentError>> + Send + Unpin + 'static {
        let blocks = self.repo.blocks().clone();
        driven(PAGE, move |sender| async move {
            let mut at = Some(Cursor::default());
            while let Some(from) = at {
                let (page, next) = blocks.list(Some(from), PAGE).await?;
                for cid in page {
                    sender.send(Ok(cid)).await.map_err(gone)?;
                }
                at = next;
            }
            Ok(())
        })
    }
}

/// CIDs named already, and how near to a root.
#[derive(Default)]
struct Depths {
    /// Enough where the depth has no limit.
    seen: Seen,
    depths: HashMap<Cid, u32>,
}

impl Depths {
    /// Whether to go on below, and whether to name it.
    fn visit(&mut self, cid: &Cid, depth: u32, options: RefsOptions) -> (bool, bool) {
        let deeper = options.max_depth.is_none_or(|max| depth < max);
        if options.max_depth.is_some_and(|max| depth > max) {
            return (false, false);
        }
        if !options.unique {
            return (deeper, true);
        }
        if options.max_depth.is_none() {
            let new = self.seen.insert(cid);
            return (new, new);
        }
        match self.depths.entry(*cid) {
            Entry::Occupied(known) if *known.get() <= depth => (false, false),
            Entry::Occupied(mut known) => {
                known.insert(depth);
                (deeper, false)
            }
            Entry::Vacant(new) => {
                new.insert(depth);
                (deeper, true)
            }
        }
    }
}

struct Walk<'a> {
    source: Source,
    sender: &'a Sender<Reference>,
    options: RefsOptions,
    seen: &'a mut Depths,
}

impl Walk<'_> {
    async fn run(&mut self, root: Cid) -> Result<(), ContentError> {
        let links = links(self.source.clone(), root, self.options.names).await?;
        let mut levels = vec![level(root, links)];
        let mut open = levels[0].links.len();
        loop {
            let depth = levels.len() as u32;
            let Some(level) = levels.last_mut() else { return Ok(()) };
            let from = level.from;
            self.read_ahead(level, depth);
            let Some(Link { to, name, coming }) = level.links.pop_front() else {
                levels.pop();
                continue;
            };
            open -= 1;
            let (deeper, named) = self.seen.visit(&to, depth, self.options);
            if !deeper && !named {
                continue;
            }
            let below = match coming {
                Some(mut coming) => {
                    coming.as_mut().await;
                    coming.as_mut().take_output().expect("it was waited for")
                }
                None => self.ask(to, deeper).await,
            }?;
            if named {
                self.sender.send(Ok(Reference { from, to, name })).await.map_err(gone)?;
            }
            if deeper && !below.is_empty() {
                open += below.len();
                if open > MAX_OPEN {
                    let (count, limit) = (open as u64, MAX_OPEN as u64);
                    return Err(DagError::TooLarge { what: "links of a DAG waiting", count, limit }.into());
                }
                levels.push(self::level(to, below));
            }
        }
    }

    /// What a block links to or, where nobody goes on, nothing: then it only has to be there.
    fn ask(&self, cid: Cid, deeper: bool) -> BoxFuture<'static, Result<Links, ContentError>> {
        let (source, names) = (self.source.clone(), self.options.names);
        async move {
            if deeper {
                return links(source, cid, names).await;
            }
            if !source.blocks.has(&cid).await? {
                source.get(&cid).await?;
            }
            Ok(Vec::new())
        }
        .boxed()
    }

    fn read_ahead(&self, level: &mut Level, depth: u32) {
        // Deep down, what is ahead above was asked for already; a few a level then do.
        let ahead = (AHEAD >> depth.min(8)).max(2);
        let deeper = self.options.max_depth.is_none_or(|max| depth < max);
        for link in level.links.iter_mut().take(ahead) {
            let known = self.options.unique && self.options.max_depth.is_none() && self.seen.seen.contains(&link.to);
            if link.coming.is_none() && !known {
                let mut coming = Box::pin(maybe_done(self.ask(link.to, deeper)));
                // Polled once, so that it is on its way while the ones before it are told.
                let _ = coming.as_mut().now_or_never();
                link.coming = Some(coming);
            }
        }
    }
}

fn level(from: Cid, links: Links) -> Level {
    Level { from, links: links.into_iter().map(|(to, name)| Link { to, name, coming: None }).collect() }
}

async fn links(source: Source, cid: Cid, names: bool) -> Result<Links, ContentError> {
    if !names {
        return Ok(source.links(&cid).await?.into_iter().map(|cid| (cid, Vec::new())).collect());
    }
    named(&cid, &source.get(&cid).await?)
}

fn named(cid: &Cid, bytes: &Bytes) -> Result<Links, ContentError> {
    if Codec::from(cid.codec()) != Codec::DagPb {
        return Ok(dag::links(cid, bytes)?.into_iter().map(|cid| (cid, Vec::new())).collect());
    }
    Ok(pb::PbNode::decode_shared(bytes)?.links.into_iter().map(|link| (link.cid, link.name)).collect())
}
