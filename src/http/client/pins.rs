//! Pins of a node.

use axum::body::Body;

use super::{Client, ClientError, Lines, transport::Ask, upload};
use crate::http::model::{PinEvent, PinsReply};

/// CIDs that go into the address of a request; more are sent as a file.
const ARGS: usize = 64;

/// Which pins to list. The default is all of them, without names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinQuery {
    /// `recursive`, `direct`, `indirect` or `all`; empty = `all`.
    pub kind: String,
    /// Only how these are pinned; one that is not is an error.
    pub paths: Vec<String>,
    /// Names too.
    pub names: bool,
    /// Only pins whose name contains this.
    pub name: Option<String>,
}

impl Client {
    /// Pins CIDs or paths, with all below them unless `recursive` is false; fetches what is missing. `progress` is told
    /// the blocks that are here so far and their bytes. Gives the CIDs in their order.
    pub async fn pin(
        &self,
        paths: &[String],
        recursive: bool,
        name: Option<&str>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Vec<String>, ClientError> {
        let mut ask = with_args(Ask::post("/api/v0/pin/add"), paths).with("recursive", recursive);
        // News twice a second, so that a long walk is not taken for a daemon that hangs.
        ask = ask.with("progress", true);
        if let Some(name) = name {
            ask = ask.with("name", name);
        }
        let mut lines = self.send(ask).await?.lines();
        let mut pins = Vec::new();
        while let Some(event) = lines.next::<PinEvent>().await? {
            if event.pins.is_empty() {
                progress(event.progress, event.bytes);
            }
            pins.extend(event.pins);
        }
        if pins.len() != paths.len() {
            let early = "the daemon ended before all was pinned; it may have been stopped";
            return Err(ClientError::Broken { reason: early.into() });
        }
        Ok(pins)
    }

    /// Takes pins back: all of them, or none when one is not pinned. Without `recursive` only direct ones.
    pub async fn unpin(&self, paths: &[String], recursive: bool) -> Result<Vec<String>, ClientError> {
        let ask = with_args(Ask::post("/api/v0/pin/rm"), paths).with("recursive", recursive);
        Ok(self.send(ask).await?.json::<PinsReply>().await?.pins)
    }

    /// Gives the recursive pin of `from` to `to`; the old one goes if `unpin`. Gives both CIDs.
    pub async fn pin_update(&self, from: &str, to: &str, unpin: bool) -> Result<Vec<String>, ClientError> {
        let ask = Ask::post("/api/v0/pin/update").arg(from).arg(to).with("unpin", unpin);
        Ok(self.send(ask).await?.json::<PinsReply>().await?.pins)
    }

    /// Checks the recursive pins: one [`crate::http::model::PinVerifyLine`] for each broken one, and for whole ones too
    /// if `verbose`.
    pub async fn pin_verify(&self, verbose: bool) -> Result<Lines, ClientError> {
        Ok(self.send(Ask::post("/api/v0/pin/verify").with("verbose", verbose)).await?.lines())
    }

    /// The pins, one [`crate::http::model::PinLine`] a line.
    pub async fn pins(&self, query: &PinQuery) -> Result<Lines, ClientError> {
        let mut ask = Ask::post("/api/v0/pin/ls").with("stream", true).with("names", query.names);
        if !query.kind.is_empty() {
            ask = ask.with("type", &query.kind);
        }
        if let Some(name) = &query.name {
            ask = ask.with("name", name);
        }
        ask = query.paths.iter().fold(ask, |ask, path| ask.arg(path));
        Ok(self.send(ask).await?.lines())
    }
}

/// The paths as arguments, or as the lines of a file when they are many.
fn with_args(ask: Ask, paths: &[String]) -> Ask {
    if paths.len() <= ARGS {
        return paths.iter().fold(ask, |ask, path| ask.arg(path));
    }
    let (boundary, body) = upload::single(paths.join("\n").as_bytes());
    Ask { body: Body::from(body), content_type: Some(format!("multipart/form-data; boundary={boundary}")), ..ask }
}
