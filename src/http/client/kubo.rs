//! A running Kubo as a repo to be moved: its pins and files tree by its API, its blocks one by one.
//!
//! Blocks come over a few connections that are kept, each asked for by its CID: so a block that many DAGs share comes
//! once, what was interrupted goes on at the block, and what the Kubo does not have it is not made to fetch.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header},
};
use bytes::BytesMut;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use serde::Deserialize;

use super::{
    Client, ClientError, PinQuery,
    transport::{Ask, shown, tcp},
};
use crate::{
    base::{Cid, Kind, MAX_BLOCK_BYTES, Tasks, cid},
    config,
    content::{
        ContentError,
        moving::{Got, LeftBehind, MoveError, Origin},
    },
    http::{error::ErrorBody, model::PinLine},
    store::{Pin, PinKind, pins::check_name},
};

/// Longest wait for any one answer, or for its next piece.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections that are kept.
const KEPT: usize = 32;
/// Most bytes of an error's text.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The API of a running Kubo.
pub struct KuboApi {
    client: Client,
    host: String,
    port: u16,
    tasks: Tasks,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

/// What `key/list` answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyList {
    #[serde(default)]
    keys: Vec<KeyEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyEntry {
    name: String,
}

impl KuboApi {
    /// The Kubo whose API is at `url`; nothing is asked yet.
    pub fn connect(url: &str) -> Result<KuboApi, ClientError> {
        let (host, port) = config::address::api(url)?;
        let client = Client::connect(url)?;
        Ok(KuboApi { client, host, port, tasks: Tasks::new(), idle: Mutex::default() })
    }

    fn broken(&self, reason: impl ToString) -> ContentError {
        MoveError::origin(self.name(), reason).into()
    }

    /// An answer, or its next piece, unless it takes too long.
    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ContentError> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(|e| self.broken(e)),
            Err(_) => Err(self.broken(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, and whether it was used before.
    async fn connection(&self) -> Result<(SendRequest<Body>, bool), ClientError> {
        let old = self.kept().pop();
        match old {
            Some(connection) if !connection.is_closed() => Ok((connection, true)),
            _ => Ok((tcp(&self.host, self.port, &self.tasks).await?, false)),
        }
    }

    async fn get(&self, cid: &Cid) -> Result<Got, ClientError> {
        loop {
            let (mut connection, old) = self.connection().await?;
            match self.ask(&mut connection, cid).await {
                Ok(got) => {
                    if connection.ready().await.is_ok() {
                        let mut kept = self.kept();
                        if kept.len() < KEPT {
                            kept.push(connection);
                        }
                    }
                    return Ok(got);
                }
                // It was closed while nobody used it; there are fewer of those each time.
                Err(ClientError::Broken { .. }) if old => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(&self, connection: &mut SendRequest<Body>, cid: &Cid) -> Result<Got, ClientError> {
        let broken = |e: &dyn std::fmt::Display| ClientError::Broken { reason: e.to_string() };
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Ask::post("/api/v0/block/get").arg(cid).with("offline", true).uri()?;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("ipfs-kit/", env!("CARGO_PKG_VERSION"))));
        if let Ok(value) = HeaderValue::from_str(&shown(&self.host, self.port)) {
            headers.insert(header::HOST, value);
        }
        let response = connection.send_request(request).await.map_err(|e| broken(&e))?;
        let fine = response.status() == StatusCode::OK;
        let limit = if fine { MAX_BLOCK_BYTES } else { MAX_ERROR_BYTES };
        let (status, mut body) = (response.status(), response.into_body());
        let mut data = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| broken(&e))?;
            let Ok(piece) = frame.into_data() else { continue };
            if data.len() + piece.len() > limit {
                // The rest is not read, so that the connection is of no use any more.
                return match fine {
                    true => Ok(Got::Bad(format!("it is over the {MAX_BLOCK_BYTES} bytes that a block may have"))),
                    false => Err(ClientError::Malformed { reason: format!("{status}, and an endless text") }),
                };
            }
            data.extend_from_slice(&piece);
        }
        if fine {
            return Ok(Got::Bytes(data.freeze()));
        }
        let text = match serde_json::from_slice::<ErrorBody>(&data) {
            Ok(body) => body.message,
            Err(_) => {
                let text: String = String::from_utf8_lossy(&data).chars().take(300).collect();
                return Err(ClientError::Malformed { reason: format!("{status}: {}", text.trim()) });
            }
        };
        // Kubo says "ipld: could not find CID", ipfs-kit "CID was not found locally".
        Ok(if text.contains("not find") || text.contains("not found") { Got::Missing } else { Got::Bad(text) })
    }

    fn read(&self, line: PinLine, kind: PinKind) -> Result<Pin, ContentError> {
        let cid = cid::parse(&line.cid).map_err(|e| self.broken(format!("a pin: {e}")))?;
        let name = Some(line.name).filter(|name| !name.is_empty());
        check_name(name.as_deref())?;
        Ok(Pin { cid, kind, name })
    }
}

impl Origin for KuboApi {
    fn name(&self) -> String {
        format!("the Kubo at {}", shown(&self.host, self.port))
    }

    fn pins(&self) -> BoxStream<'_, Result<Pin, ContentError>> {
        let kinds = [("recursive", PinKind::Recursive), ("direct", PinKind::Direct)];
        let listings = stream::iter(kinds).then(move |(name, kind)| async move {
            let query = PinQuery { kind: name.into(), names: true, ..PinQuery::default() };
            let lines = self.client.pins(&query);
            let lines = self.within(lines).await?;
            Ok::<_, ContentError>(stream::try_unfold(lines, move |mut lines| async move {
                let line = self.within(lines.next::<PinLine>()).await?;
                line.map(|line| Ok((self.read(line, kind)?, lines))).transpose()
            }))
        });
        listings.try_flatten().boxed()
    }

    fn files_root(&self) -> BoxFuture<'_, Result<Option<Cid>, ContentError>> {
        async {
            let stat = self.within(self.client.files_stat("/", false)).await?;
            cid::parse(&stat.hash).map(Some).map_err(|e| self.broken(format!("the files tree's root: {e}")))
        }
        .boxed()
    }

    fn block(&self, cid: Cid) -> BoxFuture<'_, Result<Got, ContentError>> {
        async move { self.within(self.get(&cid)).await }.boxed()
    }

    fn left(&self) -> BoxFuture<'_, Result<Vec<LeftBehind>, ContentError>> {
        async {
            let list = async {
                match self.client.key_list().await {
                    // An ipfs-kit, which lists none yet.
                    Err(ClientError::Refused { kind: Kind::NotFound, .. }) => Ok(Vec::new()),
                    other => other,
                }
            };
            let names = self.within(list).await?;
            let reason =
                "no API gives keys away; stop Kubo and import its folder with --with-keys, or use 'ipfs key export'";
            let left = |name| LeftBehind { what: "key".into(), name, reason: reason.into() };
            Ok(names.into_iter().filter(|name| name != "self").map(left).collect())
        }
        .boxed()
    }
}

impl Client {
    /// The names of a Kubo's keys.
    async fn key_list(&self) -> Result<Vec<String>, ClientError> {
        let list: KeyList = self.send(Ask::post("/api/v0/key/list")).await?.json().await?;
        Ok(list.keys.into_iter().map(|key| key.name).collect())
    }
}
