//! Sans-IO: one UnixFS node as the files tree sees it: read whole, changed, written again with its CID's own version and
//! hash function.

use bytes::Bytes;

use super::MfsError;
use crate::{
    base::{Cid, Codec},
    content::ContentError,
    dag::{
        DagError, ImportParams, OutBlock,
        edit::like,
        pb::{PbLink, PbNode},
        unixfs::{Attributes, Kind, UnixFs},
    },
};

/// Permission bits that UnixFS's mode has; what stands above them is kept and means nothing here.
pub(super) const MODE_BITS: u32 = 0o7777;

/// A node.
#[derive(Debug, Clone)]
pub(super) struct FsNode {
    /// How it is written: CID version and hash function of the one it was read from.
    pub(super) params: ImportParams,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    /// A raw block: a whole small file.
    Raw(Bytes),
    /// A node with a UnixFS message.
    Pb { message: UnixFs, links: Vec<PbLink> },
}

impl FsNode {
    /// Reads a node; an error when it is no UnixFS.
    pub(super) fn decode(cid: &Cid, bytes: &Bytes) -> Result<Self, ContentError> {
        let params = like(&ImportParams::default(), cid)?;
        let no_unixfs = || MfsError::NotUnixFs { cid: Box::new(*cid) };
        let body = match Codec::from(cid.codec()) {
            Codec::Raw => Body::Raw(bytes.clone()),
            Codec::DagPb => {
                let node = PbNode::decode_shared(bytes)?;
                let message = UnixFs::decode(node.data.as_ref().ok_or_else(no_unixfs)?)?;
                Body::Pb { message, links: node.links }
            }
            _ => return Err(no_unixfs().into()),
        };
        Ok(FsNode { params, body })
    }

    /// A node that was made here, to be written by these parameters.
    pub(super) fn new(params: ImportParams, message: UnixFs, links: Vec<PbLink>) -> Self {
        FsNode { params, body: Body::Pb { message, links } }
    }

    /// An empty file or directory.
    pub(super) fn empty(params: ImportParams, kind: Kind, attributes: Attributes) -> Self {
        let mut message = UnixFs::with_attributes(kind, &attributes);
        message.filesize = (kind == Kind::File).then_some(0);
        FsNode::new(params, message, Vec::new())
    }

    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        match &self.body {
            Body::Raw(_) => Kind::Raw,
            Body::Pb { message, .. } => message.kind,
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_dir(&self) -> bool {
        matches!(self.kind(), Kind::Directory | Kind::HamtShard)
    }

    /// Whether it is a file whose bytes can be read and written.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.kind(), Kind::Raw | Kind::File)
    }

    /// Its links.
    pub(super) fn links(&self) -> &[PbLink] {
        match &self.body {
            Body::Raw(_) => &[],
            Body::Pb { links, .. } => links,
        }
    }

    /// Bytes of a file; of a symbolic link's target; 0 for directories.
    pub(super) fn size(&self) -> u64 {
        match &self.body {
            Body::Raw(bytes) => bytes.len() as u64,
            Body::Pb { message, .. } => match message.kind {
                Kind::Directory | Kind::HamtShard | Kind::Metadata => 0,
                Kind::Symlink => message.data.as_ref().map_or(0, |data| data.len() as u64),
                Kind::File | Kind::Raw => message.filesize.unwrap_or_else(|| {
                    let own = message.data.as_ref().map_or(0, |data| data.len() as u64);
                    message.blocksizes.iter().fold(own, |sum, size| sum.saturating_add(*size))
                }),
            },
        }
    }

    /// What it says of itself.
    pub(super) fn attributes(&self) -> Attributes {
        match &self.body {
            Body::Raw(_) => Attributes::default(),
            Body::Pb { message, .. } => message.attributes(),
        }
    }

    /// The same node saying this of itself. A raw block, which can say nothing, becomes a node of CID version 0 around
    /// its bytes, as Kubo has it.
    pub(super) fn with_attributes(mut self, attributes: Attributes) -> Self {
        match &mut self.body {
            Body::Raw(bytes) => {
                let mut message = UnixFs::with_attributes(Kind::File, &attributes);
                message.filesize = Some(bytes.len() as u64);
                message.data = Some(bytes.clone());
                self.params = ImportParams::default();
                self.body = Body::Pb { message, links: Vec::new() };
            }
            Body::Pb { message, .. } => (message.mode, message.mtime) = (attributes.mode, attributes.mtime),
        }
        self
    }

    /// Its block, and the size of the whole DAG.
    pub(super) fn encode(&self) -> Result<(OutBlock, u64), DagError> {
        match &self.body {
            Body::Raw(bytes) => {
                let block = self.params.raw_block(bytes.clone())?;
                Ok((OutBlock { block, links: Vec::new() }, bytes.len() as u64))
            }
            Body::Pb { message, links } => {
                PbNode { links: links.clone(), data: Some(message.encode().into()) }.into_block(&self.params)
            }
        }
    }
}

/// A mode with these permission bits set; none at all when nothing is left.
pub(super) fn with_permissions(old: Option<u32>, permissions: u32) -> Option<u32> {
    let mode = (old.unwrap_or(0) & !MODE_BITS) | (permissions & MODE_BITS);
    (mode != 0).then_some(mode)
}
