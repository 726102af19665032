//! An export: every block, and the roots as they are when all blocks below them are out.
//!
//! Order: all blocks in the order they lie; then the pins and the files tree's root; then whatever was stored since. A
//! block is never listed before the listing's place, so all that lay below a root when the root was read is out at the
//! end, unless it was removed between the two: then the roots are read again.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use serde::{Deserialize, Serialize};

use super::{MoveError, PinRow};
use crate::{
    base::Cid,
    content::{
        Content, ContentError,
        source::{Sender, driven, empty_dir, gone},
    },
    dag::car,
    store::Cursor,
};

/// Pieces of the archive are gathered to about this many bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// Blocks listed at a time.
const PAGE: usize = 1024;
/// Blocks read ahead of the one going out.
const AHEAD: usize = 16;
/// Pins that go out together.
const PINS: usize = 1024;
/// How often roots are read before it is given up; the waits between double.
const TRIES: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Damaged blocks that are named.
const NAMED: usize = 1000;

/// A piece of an export, in the order they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarryOut {
    /// More of the archive.
    Car(Bytes),
    /// More pins.
    Pins(Vec<PinRow>),
    /// Forget the pins that came: they come anew.
    Again,
    /// The end.
    Done(Exported),
}

/// What an export holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Sections of the archive. A block that was moved meanwhile may stand in it twice.
    pub blocks: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Pins.
    pub pins: u64,
    /// The root of the files tree, when it is not empty.
    pub files_root: Option<String>,
    /// Damaged blocks that are not in it: how many.
    pub damaged: u64,
    /// The first thousand of them.
    pub left_out: Vec<String>,
}

struct Out {
    content: Content,
    sender: Sender<CarryOut>,
    piece: BytesMut,
    done: Exported,
    /// Where the last page that was listed begins, and what it had.
    last: Cursor,
    page: Vec<Cid>,
}

impl Content {
    /// All of the repo, while it serves: the archive's pieces, the pins, and what came since.
    pub fn carry_out(&self) -> BoxStream<'static, Result<CarryOut, ContentError>> {
        let content = self.clone();
        driven(4, move |sender| async move {
            let mut out = Out {
                content,
                sender,
                piece: BytesMut::with_capacity(PIECE_BYTES),
                done: Exported::default(),
                last: Cursor::default(),
                page: Vec::new(),
            };
            // Its roots stand beside it.
            out.piece.put_slice(&car::header(&[]));
            out.damage_known().await?;
            out.blocks().await?;
            out.roots().await?;
            let done = std::mem::take(&mut out.done);
            out.send(CarryOut::Done(done)).await
        })
        .boxed()
    }
}

impl Out {
    async fn send(&self, piece: CarryOut) -> Result<(), ContentError> {
        self.sender.send(Ok(piece)).await.map_err(gone)
    }

    /// All blocks from the last page on.
    async fn blocks(&mut self) -> Result<(), ContentError> {
        let blocks = self.content.repo().blocks().clone();
        let mut from = Some(self.last);
        let mut again: Vec<Cid> = std::mem::take(&mut self.page);
        again.sort_unstable();
        while let Some(at) = from {
            let moment = blocks.moment();
            let (page, next) = blocks.list(Some(at), PAGE).await?;
            let new: Vec<Cid> = page.iter().filter(|cid| again.binary_search(cid).is_err()).copied().collect();
            let read = stream::iter(new).map(|cid| {
                let blocks = blocks.clone();
                async move { Ok::<_, ContentError>((cid, blocks.get(&cid).await?)) }
            });
            let mut read = read.buffered(AHEAD).boxed();
            while let Some((cid, data)) = read.try_next().await? {
                match data {
                    Some(data) => self.section(&cid, &data).await?,
                    // Else it may have been removed meanwhile, which nobody misses.
                    None if !blocks.removed_since(moment) => self.damaged(&cid),
                    None => {}
                }
            }
            (self.last, self.page) = (at, page);
            again = if next.is_some() { Vec::new() } else { again };
            from = next;
        }
        let piece = self.piece.split().freeze();
        if !piece.is_empty() {
            self.send(CarryOut::Car(piece)).await?;
        }
        Ok(())
    }

    async fn section(&mut self, cid: &Cid, data: &Bytes) -> Result<(), ContentError> {
        self.piece.put_slice(&car::section_head(cid, data.len()));
        self.piece.put_slice(data);
        self.done.blocks += 1;
        self.done.bytes += data.len() as u64;
        if self.piece.len() >= PIECE_BYTES {
            let piece = self.piece.split().freeze();
            self.send(CarryOut::Car(piece)).await?;
            self.piece.reserve(PIECE_BYTES);
        }
        Ok(())
    }

    fn damaged(&mut self, cid: &Cid) {
        self.done.damaged += 1;
        if self.done.left_out.len() < NAMED {
            self.done.left_out.push(cid.to_string());
        }
    }

    /// What was found damaged when the store was opened, and has not come back.
    async fn damage_known(&mut self) -> Result<(), ContentError> {
        let blocks = self.content.repo().blocks().clone();
        for cid in blocks.damage().iter().filter_map(|damage| damage.cid) {
            if !blocks.has(&cid).await? {
                self.damaged(&cid);
            }
        }
        Ok(())
    }

    /// The roots, and what was stored since the last listing.
    async fn roots(&mut self) -> Result<(), ContentError> {
        let mut wait = FIRST_WAIT;
        for _ in 0..TRIES {
            let moment = self.content.repo().blocks().moment();
            let files = self.content.files().root()?;
            self.done.files_root = (files != *empty_dir().cid()).then(|| files.to_string());
            self.done.pins = 0;
            let mut after = None;
            loop {
                let page = self.content.page(after.as_ref()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.cid);
                for some in page.chunks(PINS) {
                    self.done.pins += some.len() as u64;
                    self.send(CarryOut::Pins(some.iter().map(PinRow::from).collect())).await?;
                }
            }
            self.blocks().await?;
            if !self.content.repo().blocks().removed_since(moment) {
                return Ok(());
            }
            self.send(CarryOut::Again).await?;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Err(MoveError::Restless { tries: TRIES }.into())
    }
}
