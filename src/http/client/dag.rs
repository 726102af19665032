//! DAGs and archives: `dag`, `block`, `cid`, `refs`, `resolve`.

use std::path::PathBuf;

use super::{Client, ClientError, Lines, Reply, transport::Ask};

/// How archives are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Pins the roots they name.
    pub pin_roots: bool,
    /// Asks for what was read, too.
    pub stats: bool,
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
}
