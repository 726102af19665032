//! Files and folders to and from a node.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use axum::body::Body;
use futures::stream;

use super::{
    Client, ClientError, Reply,
    transport::Ask,
    upload::{self, Upload},
};
use crate::{
    content::{self, Written},
    http::model::{AddEvent, BlockReply},
};

/// How something is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddOptions {
    /// Folders with all below them; without it a folder is refused.
    pub recursive: bool,
    /// Files whose names begin with a dot too.
    pub hidden: bool,
    /// Pins the root.
    pub pin: bool,
    /// 0 or 1; `None` = Kubo's default, 0.
    pub cid_version: Option<u8>,
    /// Leaves without UnixFS around them; `None` = as the CID version has it.
    pub raw_leaves: Option<bool>,
}

impl Default for AddOptions {
    fn default() -> Self {
        AddOptions { recursive: false, hidden: false, pin: true, cid_version: None, raw_leaves: None }
    }
}

/// What was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// The root's CID.
    pub cid: String,
    /// The last part of the path; empty for standard input.
    pub name: String,
    /// Bytes of all files.
    pub size: u64,
    /// Files and symlinks.
    pub files: u64,
}

impl Client {
    /// Adds a file or folder of this machine (`-` = standard input). `progress` is told the bytes read so far.
    pub async fn add(
        &self,
        path: &Path,
        options: &AddOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Added, ClientError> {
        let Upload { body, boundary, mut counted, failure, name } = upload::start(path, options)?;
        let mut ask = Ask::post("/api/v0/add").with("pin", options.pin).with("progress", false);
        if let Some(version) = options.cid_version {
            ask = ask.with("cid-version", version);
        }
        if let Some(raw) = options.raw_leaves {
            ask = ask.with("raw-leaves", raw);
        }
        ask.body = body;
        ask.content_type = Some(format!("multipart/form-data; boundary={boundary}"));
        let sending = async {
            let mut lines = self.send_unbounded(ask).await?.lines();
            let mut root = None;
            while let Some(event) = lines.next::<AddEvent>().await? {
                if event.hash.is_some() {
                    root = event.hash;
                }
            }
            let early = "the daemon ended before it named the CID; it may have been stopped";
            root.ok_or_else(|| ClientError::Broken { reason: early.into() })
        };
        tokio::pin!(sending);
        let mut watching = true;
        let outcome = loop {
            let seen = *counted.borrow_and_update();
            progress(seen.bytes);
            tokio::select! {
                outcome = &mut sending => break outcome,
                changed = counted.changed(), if watching => watching = changed.is_ok(),
                () = stalled(self.limit) => break Err(ClientError::Timeout {
                    seconds: self.limit.unwrap_or_default().as_secs_f64(),
                    what: "the content to be taken",
                }),
            }
        };
        // What went wrong here explains a connection that broke there.
        if let Some(error) = failure.lock().unwrap_or_else(|e| e.into_inner()).take() {
            return Err(error);
        }
        let seen = *counted.borrow();
        Ok(Added { cid: outcome?, name, size: seen.bytes, files: seen.files })
    }

    pub(super) async fn send_unbounded(&self, ask: Ask) -> Result<Reply, ClientError> {
        self.transport.send(ask).await
    }

    /// The bytes of a file: a CID, or a path below one.
    pub async fn cat(&self, path: &str, offset: u64, length: Option<u64>) -> Result<Reply, ClientError> {
        let mut ask = Ask::post("/api/v0/cat").arg(path);
        if offset > 0 {
            ask = ask.with("offset", offset);
        }
        if let Some(length) = length {
            ask = ask.with("length", length);
        }
        self.send(ask).await
    }

    /// Writes a file or folder to `out`; a file into it when it is a folder. Never writes outside it.
    pub async fn get(&self, path: &str, out: &Path, progress: impl FnMut(u64) + Send) -> Result<Written, ClientError> {
        let reply = self.send(Ask::post("/api/v0/get").arg(path).with("archive", true)).await?;
        // What went wrong with the connection is said as it was, not as the reader of the archive saw it.
        let failure = Mutex::new(None);
        let failed = &failure;
        let pieces = stream::unfold((reply, progress, 0), |(mut reply, mut progress, mut done)| async move {
            match reply.next().await {
                Ok(None) => None,
                Ok(Some(piece)) => {
                    done += piece.len() as u64;
                    progress(done);
                    Some((Ok(piece), (reply, progress, done)))
                }
                Err(error) => {
                    let text = error.to_string();
                    *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                    Some((Err(io::Error::other(text)), (reply, progress, done)))
                }
            }
        });
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
        let written = content::extract_tar(pieces, out, PathBuf::from(name)).await;
        match failure.lock().unwrap_or_else(|e| e.into_inner()).take() {
            Some(error) => Err(error),
            None => Ok(written?),
        }
    }

    /// The bytes of one block.
    pub async fn block_get(&self, cid: &str) -> Result<Vec<u8>, ClientError> {
        self.send(Ask::post("/api/v0/block/get").arg(cid)).await?.bytes().await
    }

    /// Stores one block of raw bytes.
    pub async fn block_put(&self, data: &[u8]) -> Result<BlockReply, ClientError> {
        let (boundary, body) = upload::single(data);
        let mut ask = Ask::post("/api/v0/block/put");
        ask.body = Body::from(body);
        ask.content_type = Some(format!("multipart/form-data; boundary={boundary}"));
        self.send(ask).await?.json().await
    }
}

/// Resolves when nothing has moved for the time limit.
pub(super) async fn stalled(limit: Option<std::time::Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
