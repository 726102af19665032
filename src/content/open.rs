//! Files open for reading: as a stream of a range, or as something that reads and seeks.

use std::{
    io::{self, SeekFrom},
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{StreamExt, stream::BoxStream};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use super::{
    Content, ContentError,
    dagnode::resolve,
    read::send_file,
    source::{Sender, Source, driven, gone},
};
use crate::{
    base::{Cid, HasKind, Kind},
    dag::{
        DagError, DagPath,
        read::{DEFAULT_WINDOW_BYTES, Node},
    },
};

/// Bytes asked for ahead of a reader that may seek elsewhere at any time.
const SEEK_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// A file open for reading. Bytes are fetched as they are read, some ahead; every block is verified.
///
/// Reads and seeks as [`tokio::io::AsyncRead`] and [`tokio::io::AsyncSeek`] say; seeking behind the end is no error,
/// reading there gives nothing. An error of reading wraps the [`ContentError`], and carries the `io::ErrorKind` that is
/// nearest to it; seeking and reading again tries again.
pub struct ContentFile {
    source: Source,
    cid: Cid,
    body: Body,
    size: u64,
    position: u64,
    /// What was read and not taken yet; it stands at `position`.
    chunk: Bytes,
    coming: Option<BoxStream<'static, Result<Bytes, ContentError>>>,
}

#[derive(Clone)]
enum Body {
    /// The root's block.
    File(Bytes),
    /// Where a symbolic link leads.
    Target(Bytes),
}

impl Content {
    /// Opens a file. A symbolic link has its target as its bytes, as in Kubo.
    ///
    /// Errors when the path leads to nothing, or to a directory.
    ///
    /// ```
    /// # use ipfs_kit::content::{AddOptions, Content};
    /// # use ipfs_kit::store::{Repo, StoreOptions};
    /// use std::io::SeekFrom;
    /// use tokio::io::{AsyncReadExt, AsyncSeekExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let repo = Repo::open(&dir.path().join("repo"), StoreOptions::default())?;
    /// # let content = Content::new(repo, None, None);
    /// let added = content.add_bytes("hello world", AddOptions::default()).await?;
    /// let mut file = content.open(added.cid).await?;
    /// file.seek(SeekFrom::End(-5)).await?;
    /// let mut text = String::new();
    /// file.read_to_string(&mut text).await?;
    /// assert_eq!(text, "world");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(&self, path: impl Into<DagPath>) -> Result<ContentFile, ContentError> {
        let path = path.into();
        let source = self.source(path.root);
        let cid = resolve(&source, &path).await?;
        let bytes = source.get(&cid).await?;
        let (body, size) = match Node::decode(&cid, &bytes) {
            Ok(Node::File(file)) => (Body::File(bytes), file.size),
            Ok(Node::Symlink(target)) => {
                let size = target.len() as u64;
                (Body::Target(target.into()), size)
            }
            Ok(Node::Directory(_)) | Err(DagError::Sharded { .. }) => {
                return Err(DagError::NotAFile { cid: Box::new(cid), found: "directory" }.into());
            }
            Err(error) => return Err(error.into()),
        };
        Ok(ContentFile { source, cid, body, size, position: 0, chunk: Bytes::new(), coming: None })
    }
}

impl ContentFile {
    /// The file's CID.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Its bytes, in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range, in order, wherever reading and seeking stand; what lies behind the end is left out.
    pub fn range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, ContentError>> {
        self.stream(range, DEFAULT_WINDOW_BYTES)
    }

    fn stream(&self, range: Range<u64>, window: u64) -> BoxStream<'static, Result<Bytes, ContentError>> {
        let (source, cid, body) = (self.source.clone(), self.cid, self.body.clone());
        driven(4, move |sender| async move { send(&source, cid, body, range, window, &sender).await })
    }

    /// Sends the bytes of a range.
    pub(super) async fn send(self, range: Range<u64>, sender: &Sender<Bytes>) -> Result<(), ContentError> {
        send(&self.source, self.cid, self.body, range, DEFAULT_WINDOW_BYTES, sender).await
    }
}

async fn send(
    source: &Source,
    cid: Cid,
    body: Body,
    range: Range<u64>,
    window: u64,
    sender: &Sender<Bytes>,
) -> Result<(), ContentError> {
    match body {
        Body::File(bytes) => send_file(source, cid, Some(bytes), range, window, sender, |bytes| bytes).await,
        Body::Target(target) => {
            let end = range.end.min(target.len() as u64);
            if range.start >= end {
                return Ok(());
            }
            sender.send(Ok(target.slice(range.start as usize..end as usize))).await.map_err(gone)
        }
    }
}

impl AsyncRead for ContentFile {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let file = self.get_mut();
        while file.chunk.is_empty() {
            if file.position >= file.size || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if file.coming.is_none() {
                file.coming = Some(file.stream(file.position..file.size, SEEK_WINDOW_BYTES));
            }
            let Some(coming) = &mut file.coming else { continue };
            match ready!(coming.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => file.chunk = chunk,
                Some(Err(error)) => {
                    file.coming = None;
                    return Poll::Ready(Err(as_io(error)));
                }
                // Sizes were checked on the way, so the bytes end where the file ends.
                None => file.coming = None,
            }
        }
        let count = file.chunk.len().min(buffer.remaining());
        buffer.put_slice(&file.chunk[..count]);
        file.chunk.advance(count);
        file.position += count as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for ContentFile {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let file = self.get_mut();
        let wanted = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => file.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => file.position.checked_add_signed(offset),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "seeking before the beginning of a file");
        let wanted = wanted.ok_or_else(outside)?;
        // A little way forward may lie in what is here already.
        match wanted.checked_sub(file.position) {
            Some(ahead) if ahead <= file.chunk.len() as u64 => file.chunk.advance(ahead as usize),
            _ => (file.chunk, file.coming) = (Bytes::new(), None),
        }
        file.position = wanted;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

fn as_io(error: ContentError) -> io::Error {
    let kind = match error.kind() {
        Kind::NotFound => io::ErrorKind::NotFound,
        Kind::Invalid => io::ErrorKind::InvalidInput,
        Kind::Denied => io::ErrorKind::PermissionDenied,
        Kind::Timeout => io::ErrorKind::TimedOut,
        Kind::Offline => io::ErrorKind::NotConnected,
        Kind::Corrupt => io::ErrorKind::InvalidData,
        Kind::Conflict | Kind::Busy | Kind::Bug => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncSeekExt};

    use super::*;
    use crate::content::{
        AddOptions,
        tests::{NOTHING, noise, place},
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        /// Reading and seeking give what reading and seeking in memory gives.
        #[test]
        fn reads_and_seeks_as_memory_does(
            size in 0usize..1_500_000,
            steps in proptest::collection::vec((0u8..3, -2_000_000i64..2_000_000, 0usize..600_000), 1..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let place = place();
                let data = noise(size);
                let added = place.content.add_bytes(data.clone(), AddOptions::default()).await.unwrap();
                let mut file = place.content.open(added.cid).await.unwrap();
                let mut memory = std::io::Cursor::new(data);
                prop_assert_eq!(file.size(), size as u64);
                for (how, offset, count) in steps {
                    let to = match how {
                        0 => SeekFrom::Start(offset.unsigned_abs()),
                        1 => SeekFrom::Current(offset),
                        _ => SeekFrom::End(offset),
                    };
                    let (got, expected) = (file.seek(to).await, std::io::Seek::seek(&mut memory, to));
                    prop_assert_eq!(got.ok(), expected.ok());
                    let (mut got, mut expected) = (Vec::new(), Vec::new());
                    (&mut file).take(count as u64).read_to_end(&mut got).await.unwrap();
                    std::io::Read::read_to_end(&mut std::io::Read::take(&mut memory, count as u64), &mut expected).unwrap();
                    prop_assert!(got == expected, "{} and {} bytes", got.len(), expected.len());
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn links_directories_and_missing_blocks() {
        let place = place();
        let mut tree = place.content.add_tree(AddOptions::default()).unwrap();
        tree.symlink(b"d/link", NOTHING, b"to/there").await.unwrap();
        tree.file(b"d/big", NOTHING, futures::stream::iter([Ok(Bytes::from(noise(600_000)))])).await.unwrap();
        let root = tree.finish().await.unwrap().pop().unwrap().cid;
        let at = |name: &str| DagPath { root, segments: vec![name.to_owned()] };
        let mut text = String::new();
        place.content.open(at("link")).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "to/there");
        assert!(place.content.open(root).await.err().unwrap().to_string().contains("is a directory"));
        assert_eq!(place.content.open(at("none")).await.err().unwrap().kind(), Kind::NotFound);

        let mut file = place.content.open(at("big")).await.unwrap();
        let parts = place.content.repo().blocks().links(file.cid()).await.unwrap().unwrap();
        let kept = place.content.repo().blocks().get(&parts[1]).await.unwrap().unwrap();
        place.content.repo().blocks().remove(vec![parts[1]]).await.unwrap();
        let mut out = Vec::new();
        let failed = file.read_to_end(&mut out).await.unwrap_err();
        assert_eq!((failed.kind(), out.len()), (io::ErrorKind::NotFound, 262_144));
        assert!(failed.get_ref().unwrap().is::<ContentError>());
        // With the block back, reading goes on where it stopped.
        let block = crate::base::Block::verify(parts[1], kept).unwrap();
        place.content.repo().blocks().put(vec![crate::store::NewBlock { block, links: vec![] }]).await.unwrap();
        file.read_to_end(&mut out).await.unwrap();
        assert!(out == noise(600_000));
    }
}
