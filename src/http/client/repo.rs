//! The repo as a whole.

use std::time::Duration;

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

    /// Checks everything in the repo: one [`crate::http::model::repo::VerifyLine`] for each thing that is damaged, and some
    /// for progress. Damaged blocks are removed if `drop`, and fetched again if `heal`, each within that time. An error
    /// at the end when something stays damaged.
    pub async fn repo_verify(&self, drop: bool, heal: Option<Duration>) -> Result<Lines, ClientError> {
        let mut ask = Ask::post("/api/v0/repo/verify").with("drop", drop).with("heal", heal.is_some());
        if let Some(limit) = heal {
            ask = ask.with("heal-timeout", format!("{}ms", limit.as_millis()));
        }
        Ok(self.send(ask).await?.lines())
    }

    /// The version of its layout.
    pub async fn repo_version(&self) -> Result<String, ClientError> {
        Ok(self.send(Ask::post("/api/v0/repo/version")).await?.json::<RepoVersion>().await?.version)
    }
}
