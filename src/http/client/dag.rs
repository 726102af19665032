//! DAGs and archives: `dag`, `block`, `cid`, `refs`, `resolve`.

use std::path::PathBuf;

use super::{Client, ClientError, Lines, Reply, transport::Ask};
use crate::http::model::{
    BlockReply,
    dag::{CidReply, PathReply, Removed, ResolveReply},
};

/// How archives are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Pins the roots they name.
    pub pin_roots: bool,
    /// Asks for what was read, too.
    pub stats: bool,
}

/// How values are stored; `None` = as the node does it (DAG-JSON in, DAG-CBOR stored, SHA2-256).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// What they are written in.
    pub input_codec: Option<String>,
    /// What they are stored in.
    pub store_codec: Option<String>,
    /// The hash function.
    pub hash: Option<String>,
    /// Pins them with all below them.
    pub pin: bool,
}

/// How blocks are stored; `None` = raw, SHA2-256, version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockOptions {
    /// The codec their CIDs name.
    pub codec: Option<String>,
    /// The hash function.
    pub hash: Option<String>,
    /// The CIDs' version; 0 means DAG-PB.
    pub version: Option<u8>,
    /// Pins them with all below them.
    pub pin: bool,
}

/// Which references are wanted, and how they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefsOptions {
    /// Those of what is linked to, too.
    pub recursive: bool,
    /// Each CID once only.
    pub unique: bool,
    /// As `from -> to`.
    pub edges: bool,
    /// With `<src>`, `<dst>` and `<linkname>` in it.
    pub format: Option<String>,
    /// How deep to go.
    pub max_depth: Option<u32>,
}

impl Client {
    /// A DAG as a CARv1: a CID, or a path that leads to one. With `partial`, what is not at the node is left out.
    pub async fn dag_export(&self, path: &str, partial: bool) -> Result<Reply, ClientError> {
        let mut ask = Ask::post("/api/v0/dag/export").arg(path);
        if partial {
            ask = ask.with("local-only", true);
        }
        self.send(ask).await
    }

    /// Stores what archives hold (`-` = standard input); one [`crate::http::model::dag::ImportEvent`] a line. `progress`
    /// is told the bytes read so far.
    pub async fn dag_import(
        &self,
        paths: &[PathBuf],
        options: ImportOptions,
        progress: impl FnMut(u64),
    ) -> Result<Lines, ClientError> {
        let ask = Ask::post("/api/v0/dag/import").with("pin-roots", options.pin_roots).with("stats", options.stats);
        Ok(self.send_files(ask, paths, progress).await?.lines())
    }

    /// Stores values (`-` = standard input) and gives their CIDs.
    pub async fn dag_put(&self, paths: &[PathBuf], options: &PutOptions) -> Result<Vec<String>, ClientError> {
        let mut ask = Ask::post("/api/v0/dag/put").with("pin", options.pin);
        for (name, value) in
            [("input-codec", &options.input_codec), ("store-codec", &options.store_codec), ("hash", &options.hash)]
        {
            if let Some(value) = value {
                ask = ask.with(name, value);
            }
        }
        let mut lines = self.send_files(ask, paths, |_| ()).await?.lines();
        let mut out = Vec::new();
        while let Some(CidReply { cid }) = lines.next().await? {
            out.push(cid.cid);
        }
        Ok(out)
    }

    /// What a path leads to, as a value in a codec (`None` = DAG-JSON).
    pub async fn dag_get(&self, path: &str, codec: Option<&str>) -> Result<Reply, ClientError> {
        let mut ask = Ask::post("/api/v0/dag/get").arg(path);
        if let Some(codec) = codec {
            ask = ask.with("output-codec", codec);
        }
        self.send(ask).await
    }

    /// The last block a path leads to, and what is left of the path in it.
    pub async fn dag_resolve(&self, path: &str) -> Result<ResolveReply, ClientError> {
        self.send(Ask::post("/api/v0/dag/resolve").arg(path)).await?.json().await
    }

    /// How much DAGs hold: totals so far, one [`crate::http::model::dag::StatSummary`] a line, and at last all of it.
    pub async fn dag_stat(&self, paths: &[String]) -> Result<Lines, ClientError> {
        Ok(self.send(args("/api/v0/dag/stat", paths)).await?.lines())
    }

    /// Stores blocks (`-` = standard input); one answer each.
    pub async fn block_put_files(
        &self,
        paths: &[PathBuf],
        options: &BlockOptions,
    ) -> Result<Vec<BlockReply>, ClientError> {
        let mut ask = Ask::post("/api/v0/block/put").with("pin", options.pin);
        for (name, value) in [("cid-codec", &options.codec), ("mhtype", &options.hash)] {
            if let Some(value) = value {
                ask = ask.with(name, value);
            }
        }
        if options.version == Some(0) {
            ask = ask.with("format", "v0");
        }
        let mut lines = self.send_files(ask, paths, |_| ()).await?.lines();
        collect(&mut lines).await
    }

    /// The size of a block.
    pub async fn block_stat(&self, path: &str) -> Result<BlockReply, ClientError> {
        self.send(Ask::post("/api/v0/block/stat").arg(path)).await?.json().await
    }

    /// Removes blocks that nothing keeps.
    pub async fn block_rm(&self, paths: &[String], force: bool) -> Result<Vec<Removed>, ClientError> {
        let mut lines = self.send(args("/api/v0/block/rm", paths).with("force", force)).await?.lines();
        collect(&mut lines).await
    }

    /// What blocks link to, one [`crate::http::model::dag::RefLine`] a line.
    pub async fn refs(&self, paths: &[String], options: &RefsOptions) -> Result<Lines, ClientError> {
        let mut ask = args("/api/v0/refs", paths).with("recursive", options.recursive).with("unique", options.unique);
        if let Some(format) = &options.format {
            ask = ask.with("format", format);
        }
        if options.edges {
            ask = ask.with("edges", true);
        }
        if let Some(depth) = options.max_depth {
            ask = ask.with("max-depth", depth);
        }
        Ok(self.send(ask).await?.lines())
    }

    /// Every block at the node, one [`crate::http::model::dag::RefLine`] a line.
    pub async fn refs_local(&self) -> Result<Lines, ClientError> {
        Ok(self.send(Ask::post("/api/v0/refs/local")).await?.lines())
    }

    /// What a path leads to, as a path.
    pub async fn resolve(&self, path: &str) -> Result<String, ClientError> {
        let reply: PathReply = self.send(Ask::post("/api/v0/resolve").arg(path)).await?.json().await?;
        Ok(reply.path)
    }
}

fn args(path: &'static str, args: &[String]) -> Ask {
    args.iter().fold(Ask::post(path), |ask, arg| ask.arg(arg))
}

async fn collect<T: serde::de::DeserializeOwned>(lines: &mut Lines) -> Result<Vec<T>, ClientError> {
    let mut out = Vec::new();
    while let Some(line) = lines.next().await? {
        out.push(line);
    }
    Ok(out)
}
