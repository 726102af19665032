//! Listing directories, entry by entry as they come from the DAG, without holding them all.

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{
    Content, ContentError, EntryKind,
    dagnode::resolve,
    read::{MAX_ENTRIES, list},
    source::{Source, driven, gone},
};
use crate::{
    base::{Cid, Codec, HasKind, Kind},
    dag::{
        self, DagError, DagPath, pb,
        pb::PbNode,
        read::Entry,
        unixfs::{self, Attributes, UnixFs},
    },
};

/// Entries that are looked at at a time.
const LANES: usize = 64;
/// Entries that are ready and not taken yet.
const READY: usize = 64;

/// How a directory is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsOptions {
    /// Looks at the first block of each entry to tell what it is. Without it only raw leaves are told, by their CIDs.
    pub look: bool,
    /// Lists entries whose blocks cannot be had, or are not UnixFS, as unknown ones, instead of ending with an error.
    pub lenient: bool,
}

impl Default for LsOptions {
    /// Looks, and is strict, as Kubo is.
    fn default() -> Self {
        LsOptions { look: true, lenient: false }
    }
}

/// One entry of a directory, as [`Content::ls`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LsEntry {
    /// Its name; bytes that are not UTF-8 are replaced. Parts of a file have none.
    pub name: String,
    /// Its CID.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file's content or of a symbolic link's target; 0 for directories; for unknown ones the size that the
    /// link carries, when they were looked at, else 0.
    pub size: u64,
    /// Where a symbolic link leads.
    pub target: Option<String>,
    /// Permissions and time of modification, when the author recorded them.
    pub attributes: Attributes,
}

impl Content {
    /// A directory's entries with what they are, sorted by name; what cannot be told stands as unknown. A file or a
    /// symbolic link has none.
    ///
    /// Errors when the path leads nowhere, and for directories of over a million entries: [`Content::ls_stream`] lists
    /// those.
    pub async fn ls(&self, path: &DagPath) -> Result<Vec<LsEntry>, ContentError> {
        let mut entries = self.ls_stream(path.clone(), LsOptions { look: true, lenient: true });
        let mut all = Vec::new();
        while let Some(entry) = entries.try_next().await? {
            if all.len() == MAX_ENTRIES {
                let (count, limit) = (all.len() as u64 + 1, MAX_ENTRIES as u64);
                return Err(DagError::TooLarge { what: "entries of a directory to list at once", count, limit }.into());
            }
            all.push(entry);
        }
        // What has no name is no entry but a part of a file.
        all.retain(|entry| !entry.name.is_empty());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// A directory's entries as they come: in the order of its node, a sharded one's in that of its shards. Of what is
    /// no directory the links, as Kubo lists them: a file's parts, without names. Memory does not grow with the
    /// directory.
    ///
    /// The stream ends with its first error.
    pub fn ls_stream(
        &self,
        path: impl Into<DagPath>,
        options: LsOptions,
    ) -> BoxStream<'static, Result<LsEntry, ContentError>> {
        let (path, content) = (path.into(), self.clone());
        driven(READY, move |sender| async move {
            let source = &content.source(path.root);
            let root = resolve(source, &path).await?;
            let look = |entry: Entry| async move { look(source, entry, options).await };
            let mut entries = links(source, root).await?.map_ok(look).try_buffered(LANES);
            while let Some(entry) = entries.try_next().await? {
                sender.send(Ok(entry)).await.map_err(gone)?;
            }
            Ok(())
        })
    }
}

/// A directory's entries; the links of anything else.
async fn links(source: &Source, root: Cid) -> Result<BoxStream<'_, Result<Entry, ContentError>>, ContentError> {
    let nameless = |cid| Entry { name: Vec::new(), cid, tsize: 0 };
    let bytes = source.get(&root).await?;
    let entries: Vec<Entry> = if Codec::from(root.codec()) == Codec::DagPb {
        let data = pb::data(&bytes)?.unwrap_or_default();
        match UnixFs::decode(&data)?.kind {
            unixfs::Kind::Directory | unixfs::Kind::HamtShard => return Ok(list(source, root)),
            _ => {
                let links = PbNode::decode_shared(&bytes)?.links;
                links.into_iter().map(|link| Entry { name: link.name, cid: link.cid, tsize: link.tsize }).collect()
            }
        }
    } else {
        dag::links(&root, &bytes)?.into_iter().map(nameless).collect()
    };
    Ok(stream::iter(entries.into_iter().map(Ok)).boxed())
}

async fn look(source: &Source, entry: Entry, options: LsOptions) -> Result<LsEntry, ContentError> {
    let name = String::from_utf8(entry.name).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    let attributes = Attributes::default();
    let mut out = LsEntry { name, cid: entry.cid, kind: EntryKind::Unknown, size: 0, target: None, attributes };
    match Codec::from(entry.cid.codec()) {
        Codec::Raw => (out.kind, out.size) = (EntryKind::File, entry.tsize),
        Codec::DagPb if options.look => match node(source, &entry.cid).await {
            Ok(node) => tell(&mut out, node),
            Err(error) if options.lenient && matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => {
                out.size = entry.tsize;
            }
            Err(error) => return Err(error),
        },
        _ => {}
    }
    Ok(out)
}

async fn node(source: &Source, cid: &Cid) -> Result<UnixFs, ContentError> {
    let data = pb::data(&source.get(cid).await?)?;
    let data = data.ok_or_else(|| DagError::malformed("unixfs", format!("{cid} has no unixfs data")))?;
    Ok(UnixFs::decode(&data)?)
}

fn tell(out: &mut LsEntry, node: UnixFs) {
    out.attributes = node.attributes();
    let data = node.data.unwrap_or_default();
    match node.kind {
        unixfs::Kind::File | unixfs::Kind::Raw => {
            out.kind = EntryKind::File;
            out.size = node.filesize.unwrap_or(data.len() as u64);
        }
        unixfs::Kind::Directory | unixfs::Kind::HamtShard | unixfs::Kind::Metadata => out.kind = EntryKind::Directory,
        unixfs::Kind::Symlink => {
            out.kind = EntryKind::Symlink;
            out.size = data.len() as u64;
            out.target = Some(String::from_utf8_lossy(&data).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        content::{
            AddOptions,
            tests::{NOTHING, noise, place},
        },
        dag::ImportParams,
    };

    async fn all(content: &Content, cid: Cid, options: LsOptions) -> Result<Vec<LsEntry>, ContentError> {
        content.ls_stream(cid, options).try_collect().await
    }

    const BARE: LsOptions = LsOptions { look: false, lenient: false };

    #[tokio::test]
    async fn entries_are_told_apart_or_not_as_asked() {
        let place = place();
        let attributes = Attributes { mode: Some(0o4640), mtime: Some((-5, 7)) };
        let options = AddOptions { preserve_mode: true, preserve_mtime: true, ..AddOptions::default() };
        let mut tree = place.content.add_tree(options).unwrap();
        let item = |data: &'static [u8]| stream::iter([Ok(Bytes::from_static(data))]);
        tree.file(b"d/plain", NOTHING, item(b"12345")).await.unwrap();
        tree.file(b"d/kept", attributes, item(b"123")).await.unwrap();
        tree.file(b"d/sub/x", NOTHING, item(b"1")).await.unwrap();
        tree.symlink(b"d/link", NOTHING, b"to/there").await.unwrap();
        let root = tree.finish().await.unwrap().pop().unwrap().cid;
        let told: Vec<_> = all(&place.content, root, LsOptions::default())
            .await
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.kind, e.size, e.target, e.attributes))
            .collect();
        let entry = |name: &str, kind, size| (name.to_owned(), kind, size, None, NOTHING);
        assert_eq!(
            told,
            [
                ("kept".to_owned(), EntryKind::File, 3, None, attributes),
                ("link".to_owned(), EntryKind::Symlink, 8, Some("to/there".to_owned()), NOTHING),
                entry("plain", EntryKind::File, 5),
                entry("sub", EntryKind::Directory, 0),
            ]
        );
        let bare = all(&place.content, root, BARE).await.unwrap();
        assert!(bare.iter().all(|e| (e.kind, e.size) == (EntryKind::Unknown, 0)));
        // Without one of its blocks a strict listing ends; a lenient one and one that does not look go on.
        let gone = place.content.ls(&root.into()).await.unwrap()[2].cid;
        place.content.repo().blocks().remove(vec![gone]).await.unwrap();
        let failed = all(&place.content, root, LsOptions::default()).await.unwrap_err();
        assert_eq!(failed.kind(), Kind::NotFound);
        assert_eq!(all(&place.content, root, BARE).await.unwrap().len(), 4);
        let lenient = place.content.ls(&root.into()).await.unwrap();
        assert_eq!((lenient[2].kind, lenient[2].size > 5), (EntryKind::Unknown, true));
    }

    #[tokio::test]
    async fn raw_leaves_are_files_without_a_look_and_files_have_parts_without_names() {
        let place = place();
        let params = ImportParams { raw_leaves: true, ..ImportParams::default() };
        let options = AddOptions { params, wrap: true, ..AddOptions::default() };
        let mut tree = place.content.add_tree(options).unwrap();
        let data = Bytes::from(noise(600_000));
        tree.file(b"big", NOTHING, stream::iter([Ok(data)])).await.unwrap();
        let root = tree.finish().await.unwrap().pop().unwrap().cid;
        let big = place.content.ls(&root.into()).await.unwrap()[0].cid;
        let parts = all(&place.content, big, BARE).await.unwrap();
        let parts: Vec<_> = parts.into_iter().map(|e| (e.name, e.kind, e.size)).collect();
        let part = |size| (String::new(), EntryKind::File, size);
        assert_eq!(parts, [part(262_144), part(262_144), part(75_712)]);
        assert!(place.content.ls(&big.into()).await.unwrap().is_empty(), "a file has no entries");
    }
}
