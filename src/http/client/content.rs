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
    content::{self, WalkOptions, Written},
    http::model::{AddEvent, BlockReply, NodeStatReply},
};

/// How something is added. `None` leaves it to the node, which does as Kubo does unless it is configured otherwise.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// What is read, and what of it.
    pub walk: WalkOptions,
    /// Replaces the paths that are added by what they lead to, when they are symbolic links.
    pub dereference_args: bool,
    /// What standard input is called.
    pub stdin_name: Option<String>,
    /// Adds folders with nothing in them, too.
    pub empty_dirs: bool,
    /// Pins the roots.
    pub pin: bool,
    /// The pins' name.
    pub pin_name: Option<String>,
    /// Computes CIDs only; nothing is stored.
    pub only_hash: bool,
    /// One root: a folder around all that is added.
    pub wrap: bool,
    /// A set of the options below, by its name in IPIP-499.
    pub profile: Option<String>,
    /// 0 or 1.
    pub cid_version: Option<u8>,
    /// The hash function, by its name in the multicodec table.
    pub hash: Option<String>,
    /// Leaves without UnixFS around them; as the CID version has it, when nothing else is said.
    pub raw_leaves: Option<bool>,
    /// Where files are cut: `size-N`, `rabin-MIN-AVG-MAX` or `buzhash`.
    pub chunker: Option<String>,
    /// The trickle layout.
    pub trickle: Option<bool>,
    /// Most children of a file's node.
    pub max_file_links: Option<usize>,
    /// Most entries of a directory that is not sharded.
    pub max_directory_links: Option<usize>,
    /// Slots of a shard.
    pub max_hamt_fanout: Option<usize>,
    /// Keeps small blocks in their CIDs.
    pub inline: bool,
    /// Bytes of the largest block kept so.
    pub inline_limit: Option<usize>,
    /// Keeps the mode of files and folders.
    pub preserve_mode: bool,
    /// Keeps when they were modified last.
    pub preserve_mtime: bool,
    /// The mode everything is said to have.
    pub mode: Option<u32>,
    /// Seconds since 1970 when everything is said to have been modified, and nanoseconds.
    pub mtime: Option<(i64, u32)>,
}

impl Default for AddOptions {
    fn default() -> Self {
        AddOptions {
            walk: WalkOptions::default(),
            dereference_args: false,
            stdin_name: None,
            empty_dirs: true,
            pin: true,
            pin_name: None,
            only_hash: false,
            wrap: false,
            profile: None,
            cid_version: None,
            hash: None,
            raw_leaves: None,
            chunker: None,
            trickle: None,
            max_file_links: None,
            max_directory_links: None,
            max_hamt_fanout: None,
            inline: false,
            inline_limit: None,
            preserve_mode: false,
            preserve_mtime: false,
            mode: None,
            mtime: None,
        }
    }
}

impl AddOptions {
    fn ask(&self) -> Ask {
        let mut ask = Ask::post("/api/v0/add").with("pin", self.pin).with("progress", false).with("roots-only", true);
        let flags = [
            ("only-hash", self.only_hash),
            ("wrap-with-directory", self.wrap),
            ("inline", self.inline),
            ("preserve-mode", self.preserve_mode),
            ("preserve-mtime", self.preserve_mtime),
        ];
        for (name, _) in flags.into_iter().filter(|(_, on)| *on) {
            ask = ask.with(name, true);
        }
        if !self.empty_dirs {
            ask = ask.with("empty-dirs", false);
        }
        let texts = [
            ("pin-name", self.pin_name.clone()),
            ("profile", self.profile.clone()),
            ("cid-version", self.cid_version.map(|v| v.to_string())),
            ("hash", self.hash.clone()),
            ("raw-leaves", self.raw_leaves.map(|on| on.to_string())),
            ("chunker", self.chunker.clone()),
            ("trickle", self.trickle.map(|on| on.to_string())),
            ("max-file-links", self.max_file_links.map(|n| n.to_string())),
            ("max-directory-links", self.max_directory_links.map(|n| n.to_string())),
            ("max-hamt-fanout", self.max_hamt_fanout.map(|n| n.to_string())),
            ("inline-limit", self.inline_limit.map(|n| n.to_string())),
            ("mode", self.mode.map(|mode| format!("0{mode:o}"))),
            ("mtime", self.mtime.map(|(seconds, _)| seconds.to_string())),
            ("mtime-nsecs", self.mtime.map(|(_, nanos)| nanos.to_string())),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                ask = ask.with(name, text);
            }
        }
        ask
    }
}

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// As a tar archive.
    pub tar: bool,
    /// Compressed by gzip, this hard: 1 to 9.
    pub compression: Option<u32>,
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
    /// Adds files and folders of this machine (`-` = standard input): each by itself, or with a folder around all of them
    /// when the options say so; then there is one result. `progress` is told the bytes read so far.
    pub async fn add_all(
        &self,
        paths: &[PathBuf],
        options: &AddOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Vec<Added>, ClientError> {
        let together: Vec<&[PathBuf]> = if options.wrap { vec![paths] } else { paths.chunks(1).collect() };
        let (mut out, mut before) = (Vec::new(), 0);
        for paths in together {
            let added = self.add_form(paths, options, |bytes| progress(before + bytes)).await?;
            before += added.size;
            out.push(added);
        }
        Ok(out)
    }

    /// Adds one file or folder, as [`Client::add_all`] does.
    pub async fn add(
        &self,
        path: &Path,
        options: &AddOptions,
        progress: impl FnMut(u64),
    ) -> Result<Added, ClientError> {
        self.add_form(&[path.to_owned()], options, progress).await
    }

    /// Bytes of all files that would be added; `None` when that cannot be told beforehand.
    pub async fn add_total(&self, paths: &[PathBuf], options: &AddOptions) -> Option<u64> {
        let (paths, options) = (paths.to_vec(), options.clone());
        tokio::task::spawn_blocking(move || upload::total(&paths, &options)).await.ok()?
    }

    async fn add_form(
        &self,
        paths: &[PathBuf],
        options: &AddOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Added, ClientError> {
        let Upload { body, boundary, mut counted, failure, name } = upload::start(paths, options)?;
        let name = if options.wrap { String::new() } else { name };
        let mut ask = options.ask();
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

    pub(super) async fn send_unbounded(&self, mut ask: Ask) -> Result<Reply, ClientError> {
        ask.query.extend(self.every.iter().cloned());
        self.transport.send(ask).await
    }

    /// The bytes of a file: a CID, or a path below one.
    pub async fn cat(&self, path: &str, offset: u64, length: Option<u64>) -> Result<Reply, ClientError> {
        self.cat_all(&[path.to_owned()], offset, length).await
    }

    /// The bytes of files, one behind the other; `offset` and `length` count in all of them together.
    pub async fn cat_all(&self, paths: &[String], offset: u64, length: Option<u64>) -> Result<Reply, ClientError> {
        let mut ask = paths.iter().fold(Ask::post("/api/v0/cat"), |ask, path| ask.arg(path));
        if offset > 0 {
            ask = ask.with("offset", offset);
        }
        if let Some(length) = length {
            ask = ask.with("length", length);
        }
        self.send(ask).await
    }

    /// What the block is that a path leads to.
    pub async fn stat(&self, path: &str) -> Result<NodeStatReply, ClientError> {
        self.send(Ask::get("/api/v1/stat").arg(path)).await?.json().await
    }

    /// A file or folder as a tar archive, or a file compressed by itself.
    pub async fn get_archive(&self, path: &str, archive: Archive) -> Result<Reply, ClientError> {
        let mut ask = Ask::post("/api/v0/get").arg(path).with("archive", archive.tar);
        if let Some(level) = archive.compression {
            ask = ask.with("compress", true).with("compression-level", level);
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
