//! The repo as a whole.

use super::{Client, ClientError, Lines, transport::Ask};
use crate::http::model::repo::{RepoStat, RepoVersion};

impl Client {
    /// How much the repo holds; with `size_only` no more than sizes.
    pub async fn repo_stat(&self, size_only: bool) -> Result<RepoStat, ClientError> {
        self.send(Ask::post("/api/v0/repo/stat").with("size-only", size_only)).await?.json().await
    }

    /// Removes what nothing keeps: one [`crate::http::model::repo::GcLine`] for each block, none when `silent`.
    pub async fn repo_gc(&self, stream_errors: bool, silent: bool) -> Result<Lines, ClientError> {
        let ask = Ask::post("/api/v0/repo/gc").with("stream-errors", stream_errors).with("silent", silent);
        Ok(self.send(ask).await?.lines())
    }

    /// The version of its layout.
    pub async fn repo_version(&self) -> Result<String, ClientError> {
        Ok(self.send(Ask::post("/api/v0/repo/version")).await?.json::<RepoVersion>().await?.version)
    }
}
