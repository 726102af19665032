//! The typed client of a node: the same calls over TCP or straight into a node of this process.
//!
//! For the command line and for programs in Rust. What always holds: an answer is an error unless it is whole, and a
//! broken stream is never taken for a short one. Start with [`Client::connect`].

mod content;
mod dag;
mod error;
mod files;
mod form;
mod kubo;
mod list;
mod moving;
mod pins;
mod repo;
mod transport;
mod upload;

pub use content::{AddOptions, Added, Archive};
pub use dag::{BlockOptions, ImportOptions, PutOptions, RefsOptions};
pub use error::ClientError;
pub use files::{FilesAttributes, FilesStyle, FilesWrite};
pub use kubo::KuboApi;
pub use list::Listing;
pub use pins::PinQuery;
pub use transport::{Lines, Reply};

use std::time::Duration;

use serde::Serialize;
use transport::{Ask, Transport};

use super::model::{
    HealthReply, IdReply, InitRequest, RoutingEvent, StatusReply, Strings, SwarmPeer, SwarmPeers, TaskReply,
    TaskRequest, TokenReply, TokenRequest, VersionReply,
};

/// How long a node may take to say which repo is its.
const PROBE: Duration = Duration::from_secs(2);

/// A client of one node. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    limit: Option<Duration>,
    /// Whether the node is told that there is no limit.
    patient: bool,
    /// Stands in the query of every request.
    every: Vec<(&'static str, String)>,
}

impl Client {
    /// The same client with a time limit (`None` = for ever, where a client that was told nothing waits as long as the node
    /// is set to): for the answer to begin, and for each further piece of it. The node gets the
    /// limit too and gives its reason when it is over.
    pub fn with_timeout(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self.patient = limit.is_none();
        self
    }

    /// The same client whose node never asks the network.
    pub fn offline(mut self) -> Self {
        self.every.push(("offline", "true".into()));
        self
    }

    /// The same client, answered with CIDs in this multibase where Kubo has it so.
    pub fn with_cid_base(mut self, base: &str) -> Self {
        self.every.push(("cid-base", base.to_owned()));
        self
    }

    /// The time limit.
    pub fn timeout(&self) -> Option<Duration> {
        self.limit
    }

    async fn send(&self, mut ask: Ask) -> Result<Reply, ClientError> {
        ask.limit = self.limit;
        ask.query.extend(self.every.iter().cloned());
        if let Some(limit) = self.limit {
            ask = ask.with("timeout", format!("{}ms", limit.as_millis()));
        } else if self.patient {
            ask = ask.with("timeout", "0");
        }
        self.transport.send(ask).await
    }

    /// Who the node is.
    pub async fn id(&self) -> Result<IdReply, ClientError> {
        self.send(Ask::post("/api/v0/id")).await?.json().await
    }

    /// Its version.
    pub async fn version(&self) -> Result<VersionReply, ClientError> {
        self.send(Ask::post("/api/v0/version")).await?.json().await
    }

    /// The peers it is connected to.
    pub async fn peers(&self) -> Result<Vec<SwarmPeer>, ClientError> {
        let reply: SwarmPeers = self.send(Ask::post("/api/v0/swarm/peers").with("verbose", true)).await?.json().await?;
        Ok(reply.peers.unwrap_or_default())
    }

    /// Connects it to a multiaddress; returns what happened, in words.
    pub async fn connect_to(&self, address: &str) -> Result<Vec<String>, ClientError> {
        let reply: Strings = self.send(Ask::post("/api/v0/swarm/connect").arg(address)).await?.json().await?;
        Ok(reply.strings)
    }

    /// Provider records of a CID from the DHT, one [`RoutingEvent`] a line, as they are found.
    pub async fn find_providers(&self, cid: &str, limit: usize) -> Result<Vec<RoutingEvent>, ClientError> {
        let ask = Ask::post("/api/v0/routing/findprovs").arg(cid).with("num-providers", limit);
        let mut lines = self.send(ask).await?.lines();
        let mut out = Vec::new();
        while let Some(event) = lines.next().await? {
            out.push(event);
        }
        Ok(out)
    }

    /// Founds a cluster with the node as its first master.
    pub async fn cluster_init(&self, request: &InitRequest) -> Result<StatusReply, ClientError> {
        self.post("/api/v1/cluster/init", request).await
    }

    /// The cluster at this moment.
    pub async fn cluster_status(&self) -> Result<StatusReply, ClientError> {
        self.send(Ask::get("/api/v1/cluster/status")).await?.json().await
    }

    /// Makes a token that admits to the cluster.
    pub async fn token_create(&self, request: &TokenRequest) -> Result<TokenReply, ClientError> {
        self.post("/api/v1/cluster/token", request).await
    }

    /// Submits a task; returns at its accepted receipt.
    pub async fn task_submit(&self, request: &TaskRequest) -> Result<TaskReply, ClientError> {
        self.post("/api/v1/tasks", request).await
    }

    /// Waits for a task's outcome receipt.
    pub async fn task_wait(&self, id: &str) -> Result<TaskReply, ClientError> {
        self.send(Ask::get("/api/v1/tasks/wait").with("id", id)).await?.json().await
    }

    /// A task as the masters have it.
    pub async fn task_status(&self, id: &str) -> Result<TaskReply, ClientError> {
        self.send(Ask::get("/api/v1/tasks/status").with("id", id)).await?.json().await
    }

    /// What the node counts, in OpenMetrics' text form.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let text = self.send(Ask::get("/metrics")).await?.bytes().await?;
        String::from_utf8(text).map_err(|e| ClientError::Malformed { reason: e.to_string() })
    }

    /// Whether the node that answers works on the repo in `folder`; false when none answers soon.
    pub async fn serves(&self, folder: &std::path::Path) -> bool {
        let ask = async {
            let client = self.clone().with_timeout(Some(PROBE));
            client.send(Ask::get("/health")).await?.json::<HealthReply>().await
        };
        match (ask.await, folder.canonicalize()) {
            (Ok(health), Ok(folder)) => folder == std::path::Path::new(&health.repo),
            // It answers, but so late that nothing can be said: better its own errors than a second opener's.
            (Err(ClientError::Timeout { .. }), _) => true,
            _ => false,
        }
    }

    async fn post<T: Serialize, R: serde::de::DeserializeOwned>(
        &self,
        path: &'static str,
        value: &T,
    ) -> Result<R, ClientError> {
        self.send(Ask::post(path).json(value)).await?.json().await
    }
}
