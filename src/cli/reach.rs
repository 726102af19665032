//! Whom a verb asks: the daemon named, the daemon on the repo, or a node opened in this process.

use std::path::Path;

use super::output::{Context, Failure};
use crate::{
    config::repo,
    http::{Client, ClientError},
    node::Node,
};

/// What a verb needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The repo; a daemon is asked when one runs.
    Repo,
    /// The network, and so a daemon.
    Daemon,
}

/// A node to ask.
pub struct Reached {
    client: Client,
    opened: Option<Node>,
}

impl Reached {
    /// Asks it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends a node that was opened for this verb.
    pub async fn close(self) {
        if let Some(node) = self.opened {
            node.stop().await;
        }
    }
}

/// Finds the node to ask.
pub async fn node(context: &Context, need: Need) -> Result<Reached, Failure> {
    // What is wrong with the settings is said before anything is done without them.
    context.settings()?;
    let named = context.common.api_url.clone();
    let named = named.or_else(|| std::env::var(repo::API_VARIABLE).ok().filter(|url| !url.is_empty()));
    if let Some(url) = named {
        return Ok(Reached { client: dressed(Client::connect(&url)?, context), opened: None });
    }
    let folder = context.repo()?;
    if let Some(client) = daemon_on(&folder).await? {
        return Ok(Reached { client: dressed(client, context), opened: None });
    }
    if need == Need::Daemon {
        return Err(Failure::new(format!(
            "no daemon runs on the repo {0}, and this needs one: start it with 'ipfs-kit --repo {0} daemon', \
             or name another with --api-url",
            folder.display()
        )));
    }
    if !folder.is_dir() {
        return Err(Failure::new(format!(
            "there is no repo at {0}: make one with 'ipfs-kit --repo {0} init', or name another with --repo",
            folder.display()
        )));
    }
    let opened = Node::builder().config(context.settings()?.config(folder)?).offline().start().await?;
    Ok(Reached { client: dressed(Client::in_process(opened.clone()), context), opened: Some(opened) })
}

/// The client with what every verb was told.
fn dressed(client: Client, context: &Context) -> Client {
    let mut client = client.with_timeout(context.timeout());
    if context.common.offline {
        client = client.offline();
    }
    match &context.common.cid_base {
        Some(base) => client.with_cid_base(base),
        None => client,
    }
}

/// The daemon whose address stands in the repo; one left behind by a daemon that was killed counts as none.
async fn daemon_on(folder: &Path) -> Result<Option<Client>, Failure> {
    let file = repo::api_file(folder);
    let address = match std::fs::read_to_string(&file) {
        Ok(address) => address,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ClientError::file(&file, &e).into()),
    };
    let Ok(client) = Client::connect(&address) else { return Ok(None) };
    Ok(client.serves(folder).await.then_some(client))
}
