//! The repo as a whole.

use super::{Client, ClientError, transport::Ask};
use crate::http::model::repo::{RepoStat, RepoVersion};

impl Client {
    /// How much the repo holds; with `size_only` no more than sizes.
    pub async fn repo_stat(&self, size_only: bool) -> Result<RepoStat, ClientError> {
        self.send(Ask::post("/api/v0/repo/stat").with("size-only", size_only)).await?.json().await
    }

    /// The version of its layout.
    pub async fn repo_version(&self) -> Result<String, ClientError> {
        Ok(self.send(Ask::post("/api/v0/repo/version")).await?.json::<RepoVersion>().await?.version)
    }
}
