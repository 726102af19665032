//! Listing folders.

use std::collections::VecDeque;

use super::{Client, ClientError, Lines, transport::Ask};
use crate::http::model::{LsLink, LsReply};

/// Folders as they are listed, entry by entry.
pub struct Listing {
    lines: Lines,
    ready: VecDeque<(String, LsLink)>,
}

impl Client {
    /// What lies in folders: CIDs, or paths below them. All entries of one come before those of the next, in the order
    /// in which the node finds them. Without `look` entries are not told apart by what they are, and cost no look at
    /// their blocks.
    pub async fn ls(&self, paths: &[String], look: bool) -> Result<Listing, ClientError> {
        let mut ask = Ask::post("/api/v0/ls").with("stream", true).with("resolve-type", look).with("size", look);
        for path in paths {
            ask = ask.arg(path);
        }
        Ok(Listing { lines: self.send(ask).await?.lines(), ready: VecDeque::new() })
    }
}

impl Listing {
    /// The next entry, with the path as it was asked for; `None` at the end. A folder without entries has none to name it.
    pub async fn next(&mut self) -> Result<Option<(String, LsLink)>, ClientError> {
        while self.ready.is_empty() {
            let Some(reply) = self.lines.next::<LsReply>().await? else { return Ok(None) };
            for object in reply.objects {
                self.ready.extend(object.links.into_iter().map(|link| (object.hash.clone(), link)));
            }
        }
        Ok(self.ready.pop_front())
    }
}
