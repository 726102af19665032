//! How a request reaches a node: over TCP, or straight into the router of a node in this process.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::ClientError;
use crate::{
    base::{Kind, Tasks},
    config,
    http::{
        error::ErrorBody,
        reply::{CONTENT_LENGTH, STREAM_ERROR},
    },
};

/// How long connecting to the API may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that is not streamed.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of an error's text.
const ERROR_LIMIT_BYTES: usize = 64 * 1024;
/// Given to the node beyond its own time limit, so that its reason arrives instead of our guess.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub(super) enum Transport {
    Tcp { host: String, port: u16, tasks: Tasks },
    Local(Router),
}

/// A request under construction.
pub(super) struct Ask {
    pub method: Method,
    pub path: &'static str,
    pub query: Vec<(&'static str, String)>,
    pub body: Body,
    pub content_type: Option<String>,
    /// How long the node may take; `None` = for ever.
    pub limit: Option<Duration>,
}

impl Ask {
    pub fn post(path: &'static str) -> Ask {
        Ask { method: Method::POST, path, query: Vec::new(), body: Body::empty(), content_type: None, limit: None }
    }

    pub fn get(path: &'static str) -> Ask {
        Ask { method: Method::GET, ..Ask::post(path) }
    }

    pub fn arg(self, value: impl ToString) -> Ask {
        self.with("arg", value)
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Ask {
        self.query.push((name, value.to_string()));
        self
    }

    pub fn json<T: serde::Serialize>(mut self, value: &T) -> Ask {
        self.body = Body::from(serde_json::to_vec(value).expect("plain data becomes JSON"));
        self.content_type = Some("application/json".into());
        self
    }

    pub fn uri(&self) -> Result<Uri, ClientError> {
        let mut text = self.path.to_owned();
        for (i, (name, value)) in self.query.iter().enumerate() {
            text.push(if i == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.push_str(&escape(value));
        }
        text.parse().map_err(|e| ClientError::Malformed { reason: format!("no address can be made of {text}: {e}") })
    }
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Transport {
    /// Sends the request; an error status becomes [`ClientError::Refused`].
    ///
    /// Boxed, so that the HTTP client is compiled with this crate and not again with each program that polls it.
    pub fn send(&self, ask: Ask) -> BoxFuture<'_, Result<Reply, ClientError>> {
        Box::pin(self.exchange(ask))
    }

    async fn exchange(&self, ask: Ask) -> Result<Reply, ClientError> {
        let limit = ask.limit;
        let mut request = Request::new(Body::empty());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri()?;
        let headers = request.headers_mut();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("ipfs-kit/", env!("CARGO_PKG_VERSION"))));
        if let Some(kind) = ask.content_type.as_deref().and_then(|k| HeaderValue::from_str(k).ok()) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        *request.body_mut() = ask.body;
        let response = within(limit, "an answer", self.deliver(request)).await??;
        let mut reply = Reply { body: response.1, limit, length: response.2 };
        if response.0.is_success() {
            return Ok(reply);
        }
        let text = reply.collect(ERROR_LIMIT_BYTES).await?;
        Err(match serde_json::from_slice::<ErrorBody>(&text) {
            Ok(body) => ClientError::Refused { kind: body.kind.unwrap_or(Kind::Bug), message: body.message },
            Err(_) => {
                let shown: String = String::from_utf8_lossy(&text).chars().take(300).collect();
                ClientError::Malformed { reason: format!("{}: {}", response.0, shown.trim()) }
            }
        })
    }

    async fn deliver(&self, mut request: Request<Body>) -> Result<(StatusCode, Body, Option<u64>), ClientError> {
        let response = match self {
            Transport::Local(router) => {
                request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
                match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            Transport::Tcp { host, port, tasks } => over_tcp(host, *port, tasks, request).await?,
        };
        let (head, body) = response.into_parts();
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Ok((head.status, body, length))
    }
}

async fn over_tcp(
    host: &str,
    port: u16,
    tasks: &Tasks,
    mut request: Request<Body>,
) -> Result<Response<Body>, ClientError> {
    let mut sender = tcp(host, port, tasks).await?;
    if let Ok(value) = HeaderValue::from_str(&shown(host, port)) {
        request.headers_mut().insert(header::HOST, value);
    }
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok(response.map(Body::new))
}

/// An address as people and the Host header write it.
pub(super) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A new connection, whose work goes on in `tasks`.
pub(super) async fn tcp(host: &str, port: u16, tasks: &Tasks) -> Result<SendRequest<Body>, ClientError> {
    let unreachable = |reason: String| ClientError::Unreachable { address: shown(host, port), reason };
    let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| unreachable("it does not answer".into()))?
        .map_err(|e| unreachable(e.to_string()))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|e| unreachable(e.to_string()))?;
    tasks.spawn("http connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the API ended");
        }
    });
    Ok(sender)
}

fn broken(error: impl std::error::Error) -> ClientError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        reason = format!("{reason}: {deeper}");
        source = deeper.source();
    }
    ClientError::Broken { reason }
}

async fn within<T>(
    limit: Option<Duration>,
    what: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, ClientError> {
    match limit {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit.saturating_add(GRACE), work)
            .await
            .map_err(|_| ClientError::Timeout { seconds: limit.as_secs_f64(), what }),
    }
}

/// An answer's body, read piece by piece or at once.
pub struct Reply {
    body: Body,
    limit: Option<Duration>,
    length: Option<u64>,
}

impl Reply {
    /// How many bytes of content it will bring, when the node says so.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next piece; `None` at the end. A piece must come within the time limit of the request.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let Some(frame) = within(self.limit, "the rest of the answer", self.body.frame()).await? else {
                return Ok(None);
            };
            let frame = frame.map_err(broken)?;
            if let Some(trailers) = frame.trailers_ref()
                && let Some(error) = trailers.get(STREAM_ERROR)
            {
                let message = String::from_utf8_lossy(error.as_bytes()).into_owned();
                return Err(ClientError::Refused { kind: Kind::Bug, message });
            }
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_) => {}
            }
        }
    }

    /// The whole answer, of at most `limit` bytes.
    async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::new();
        while let Some(piece) = self.next().await? {
            if out.len() + piece.len() > limit {
                return Err(ClientError::Malformed { reason: format!("an answer of over {limit} bytes") });
            }
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }

    /// The whole answer as bytes.
    pub async fn bytes(mut self) -> Result<Vec<u8>, ClientError> {
        self.collect(ANSWER_LIMIT_BYTES).await
    }

    /// The whole answer as one JSON value.
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, ClientError> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Malformed { reason: e.to_string() })
    }

    /// Turns the answer into one JSON value a line.
    pub fn lines(self) -> Lines {
        Lines { reply: self, buffer: Vec::new(), read: 0 }
    }
}

/// An answer of one JSON value a line.
pub struct Lines {
    reply: Reply,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read already; they go when more are needed, not line by line.
    read: usize,
}

/// Longest line of an answer.
const LINE_LIMIT_BYTES: usize = 1024 * 1024;

impl Lines {
    /// The next value; `None` at the end.
    pub async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            let rest = &self.buffer[self.read..];
            if let Some(end) = rest.iter().position(|&b| b == b'\n') {
                let line = &rest[..end];
                self.read += end + 1;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Self::parse(line).map(Some);
            }
            if rest.len() > LINE_LIMIT_BYTES {
                return Err(ClientError::Malformed { reason: "a line of over 1 MiB".into() });
            }
            self.buffer.drain(..std::mem::take(&mut self.read));
            match self.reply.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let rest = std::mem::take(&mut self.buffer);
                    return Self::parse(&rest).map(Some);
                }
            }
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|e| ClientError::Malformed { reason: e.to_string() })
    }
}

impl super::Client {
    /// A client of the node at `url`: `http://HOST:PORT`, HOST:PORT or a multiaddress.
    pub fn connect(url: &str) -> Result<Self, ClientError> {
        let (host, port) = config::address::api(url)?;
        Ok(super::Client {
            transport: Transport::Tcp { host, port, tasks: Tasks::new() },
            limit: None,
            patient: false,
            every: Vec::new(),
        })
    }

    /// A client of a node in this process: the same routes, without a socket.
    pub fn in_process(node: crate::node::Node) -> Self {
        super::Client {
            transport: Transport::Local(crate::http::router(node)),
            limit: None,
            patient: false,
            every: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let ask = Ask::post("/api/v0/cat").arg("/ipfs/Q/ä b").with("offset", 3);
        assert_eq!(ask.uri().unwrap().to_string(), "/api/v0/cat?arg=%2Fipfs%2FQ%2F%C3%A4%20b&offset=3");
    }

    async fn lines(pieces: Vec<Vec<u8>>) -> Result<Vec<u64>, ClientError> {
        let pieces = futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let mut lines = Reply { body: Body::from_stream(pieces), limit: None, length: None }.lines();
        let mut out = Vec::new();
        while let Some(number) = lines.next().await? {
            out.push(number);
        }
        Ok(out)
    }

    #[tokio::test]
    async fn lines_are_found_wherever_pieces_end() {
        let text = b"1\n22\n\n  \n333\n4444\n55";
        for size in 1..=text.len() {
            let pieces = text.chunks(size).map(<[u8]>::to_vec).collect();
            assert_eq!(lines(pieces).await.unwrap(), [1, 22, 333, 4444, 55], "in pieces of {size}");
        }
        assert!(lines(vec![b"1\nx\n".to_vec()]).await.is_err());
        let endless = vec![vec![b' '; 400_000]; 4];
        assert!(lines(endless).await.unwrap_err().to_string().contains("1 MiB"));
    }
}
