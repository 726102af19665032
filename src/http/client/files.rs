//! The files tree (MFS) of a node.

use std::path::Path;

use super::{
    AddOptions, Client, ClientError, Reply,
    transport::Ask,
    upload::{self, Upload},
};
use crate::http::model::files::{FlushReply, LsEntry, LsReply, StatReply};

/// How nodes of the files tree are written; `None` = as the node's settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesStyle {
    /// 0 or 1.
    pub cid_version: Option<u8>,
    /// The hash function's name.
    pub hash: Option<String>,
}

impl FilesStyle {
    fn on(&self, mut ask: Ask) -> Ask {
        if let Some(version) = self.cid_version {
            ask = ask.with("cid-version", version);
        }
        if let Some(hash) = &self.hash {
            ask = ask.with("hash", hash);
        }
        ask
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
}

impl FilesAttributes {
    fn on(&self, mut ask: Ask) -> Ask {
        if let Some(mode) = self.mode {
            ask = ask.with("mode", format!("{mode:04o}"));
        }
        if let Some((seconds, nanos)) = self.mtime {
            ask = ask.with("mtime", seconds).with("mtime-nsecs", nanos);
        }
        ask
    }
}

/// How a file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesWrite {
    /// Where the first byte goes.
    pub offset: u64,
    /// Bytes written at most.
    pub count: Option<u64>,
    /// Make the file when it is not there.
    pub create: bool,
    /// Make the directories above it.
    pub parents: bool,
    /// Empty the file first.
    pub truncate: bool,
    /// Leaves without UnixFS around them; `None` = as the file's CID has it.
    pub raw_leaves: Option<bool>,
    /// How new nodes are written.
    pub style: FilesStyle,
    /// What the file says of itself from now on.
    pub attributes: FilesAttributes,
}

impl Client {
    /// What stands at a path of the tree, or what `/ipfs/…` leads to; with `local` also how much of it is there.
    pub async fn files_stat(&self, path: &str, local: bool) -> Result<StatReply, ClientError> {
        self.send(Ask::post("/api/v0/files/stat").arg(path).with("with-local", local)).await?.json().await
    }

    /// What lies in a directory, in its order; with `long` kinds, sizes and CIDs too.
    pub async fn files_ls(&self, path: &str, long: bool) -> Result<Vec<LsEntry>, ClientError> {
        let reply: LsReply =
            self.send(Ask::post("/api/v0/files/ls").arg(path).with("long", long)).await?.json().await?;
        Ok(reply.entries.unwrap_or_default())
    }

    /// The bytes of a file.
    pub async fn files_read(&self, path: &str, offset: u64, count: Option<u64>) -> Result<Reply, ClientError> {
        let mut ask = Ask::post("/api/v0/files/read").arg(path).with("offset", offset);
        if let Some(count) = count {
            ask = ask.with("count", count);
        }
        self.send(ask).await
    }

    /// Writes a file of this machine (`-` = standard input) into one of the tree.
    pub async fn files_write(
        &self,
        path: &str,
        from: &Path,
        options: &FilesWrite,
        flush: bool,
    ) -> Result<(), ClientError> {
        // What a link leads to is written, not the link.
        let from = match from.to_str() {
            Some("-") => from.to_owned(),
            _ => from.canonicalize().map_err(|e| ClientError::file(from, &e))?,
        };
        let Upload { body, boundary, failure, .. } = upload::start(&[from], &AddOptions::default())?;
        let mut ask = Ask::post("/api/v0/files/write").arg(path).with("offset", options.offset);
        for (name, value) in
            [("create", options.create), ("parents", options.parents), ("truncate", options.truncate), ("flush", flush)]
        {
            ask = ask.with(name, value);
        }
        if let Some(count) = options.count {
            ask = ask.with("count", count);
        }
        if let Some(raw) = options.raw_leaves {
            ask = ask.with("raw-leaves", raw);
        }
        ask = options.attributes.on(options.style.on(ask));
        ask.body = body;
        ask.content_type = Some(format!("multipart/form-data; boundary={boundary}"));
        let sent = self.transport.send(ask).await;
        if let Some(error) = failure.lock().unwrap_or_else(|e| e.into_inner()).take() {
            return Err(error);
        }
        sent?.bytes().await.map(drop)
    }

    /// Makes a directory; with `parents` those above it too.
    pub async fn files_mkdir(
        &self,
        path: &str,
        parents: bool,
        style: &FilesStyle,
        attributes: &FilesAttributes,
        flush: bool,
    ) -> Result<(), ClientError> {
        let ask = Ask::post("/api/v0/files/mkdir").arg(path).with("parents", parents).with("flush", flush);
        self.nothing(attributes.on(style.on(ask))).await
    }

    /// Copies content (`/ipfs/…`) or what stands in the tree.
    pub async fn files_cp(
        &self,
        from: &str,
        to: &str,
        parents: bool,
        force: bool,
        flush: bool,
    ) -> Result<(), ClientError> {
        let ask = Ask::post("/api/v0/files/cp").arg(from).arg(to).with("parents", parents);
        self.nothing(ask.with("force", force).with("flush", flush)).await
    }

    /// Moves a file or directory.
    pub async fn files_mv(&self, from: &str, to: &str, flush: bool) -> Result<(), ClientError> {
        self.nothing(Ask::post("/api/v0/files/mv").arg(from).arg(to).with("flush", flush)).await
    }

    /// Removes what stands at these paths.
    pub async fn files_rm(&self, paths: &[String], recursive: bool, force: bool) -> Result<(), ClientError> {
        let ask = Ask::post("/api/v0/files/rm").with("recursive", recursive).with("force", force);
        self.nothing(paths.iter().fold(ask, |ask, path| ask.arg(path))).await
    }

    /// Makes all changes durable; gives the CID of what stands at the path.
    pub async fn files_flush(&self, path: &str) -> Result<String, ClientError> {
        let reply: FlushReply = self.send(Ask::post("/api/v0/files/flush").arg(path)).await?.json().await?;
        Ok(reply.cid)
    }

    /// Writes a directory's own node anew with another CID version or hash function.
    pub async fn files_chcid(&self, path: &str, style: &FilesStyle, flush: bool) -> Result<(), ClientError> {
        self.nothing(style.on(Ask::post("/api/v0/files/chcid").arg(path).with("flush", flush))).await
    }

    /// Sets permission bits.
    pub async fn files_chmod(&self, mode: u32, path: &str, flush: bool) -> Result<(), ClientError> {
        let ask = Ask::post("/api/v0/files/chmod").arg(format!("{mode:04o}")).arg(path);
        self.nothing(ask.with("flush", flush)).await
    }

    /// Sets the modification time; `None` = now.
    pub async fn files_touch(&self, path: &str, mtime: Option<(i64, u32)>, flush: bool) -> Result<(), ClientError> {
        let ask = Ask::post("/api/v0/files/touch").arg(path).with("flush", flush);
        self.nothing(FilesAttributes { mode: None, mtime }.on(ask)).await
    }

    /// Makes another directory the tree's root (`None` = an empty one); gives the old root's CID.
    pub async fn files_chroot(&self, root: Option<&str>) -> Result<String, ClientError> {
        let ask = Ask::post("/api/v0/files/chroot").with("confirm", true);
        let ask = if let Some(root) = root { ask.arg(root) } else { ask };
        let reply: FlushReply = self.send(ask).await?.json().await?;
        Ok(reply.cid)
    }

    async fn nothing(&self, ask: Ask) -> Result<(), ClientError> {
        self.send(ask).await?.bytes().await.map(drop)
    }
}
