//! Streamed replies whose errors are not lost: a failure before the first item is a status, a later one the trailer
//! `X-Stream-Error` where the caller takes trailers, else a broken connection.

use std::{convert::Infallible, io, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, header},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;

use super::HttpError;

/// The trailer that tells of a failure after the first bytes.
pub const STREAM_ERROR: HeaderName = HeaderName::from_static("x-stream-error");

/// Says how many bytes of content a stream will bring.
pub const CONTENT_LENGTH: HeaderName = HeaderName::from_static("x-content-length");

/// What a stream carries, with the headers Kubo's clients look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes of a file or block.
    Bytes,
    /// A tar archive.
    Tar,
    /// Something that is compressed.
    Gzip,
    /// A content archive.
    Car,
    /// A block.
    Block,
    /// One JSON value a line.
    Lines,
}

/// Whether the caller reads trailers.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|v| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("trailers")))
}

/// A streamed reply; waits for the first item, so that a failure before it is a plain error.
pub async fn stream<S>(content: Content, trailers: bool, mut items: S) -> Result<Response<Body>, HttpError>
where
    S: Stream<Item = Result<Bytes, HttpError>> + Send + Unpin + 'static,
{
    let first = match items.next().await {
        Some(Ok(first)) => Some(Ok(first)),
        Some(Err(error)) => return Err(error),
        None => None,
    };
    let frames = stream::iter(first).chain(items).map(move |item| match item {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(error) if trailers => Ok(Frame::trailers(trailer(&error))),
        Err(error) => Err(io::Error::other(error.message)),
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    let (kind, flag) = match content {
        Content::Bytes => ("text/plain", "x-stream-output"),
        Content::Tar => ("application/x-tar", "x-stream-output"),
        Content::Gzip => ("application/gzip", "x-stream-output"),
        Content::Block => ("application/vnd.ipld.raw", "x-stream-output"),
        Content::Car => ("application/vnd.ipld.car", "x-stream-output"),
        Content::Lines => ("application/json", "x-chunked-output"),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(HeaderName::from_static(flag), HeaderValue::from_static("1"));
    headers.insert(header::TRAILER, HeaderValue::from_static("X-Stream-Error"));
    Ok(response)
}

/// How long nothing goes out before whoever waits gets a sign of life.
const SILENCE: Duration = Duration::from_secs(10);

/// The same stream of lines with an empty one, which readers of JSON pass over, whenever there is nothing else for long.
pub fn alive<S>(items: S) -> impl Stream<Item = Result<Bytes, HttpError>> + Send
where
    S: Stream<Item = Result<Bytes, HttpError>> + Send + Unpin + 'static,
{
    stream::unfold(items, |mut items| async move {
        match tokio::time::timeout(SILENCE, items.next()).await {
            Ok(next) => next.map(|item| (item, items)),
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), items)),
        }
    })
    .fuse()
}

/// Most values that go out as one piece.
const PACK: usize = 512;

/// A streamed reply of one JSON value a line. What is ready at once goes out together.
pub async fn lines<T, S>(trailers: bool, items: S) -> Result<Response<Body>, HttpError>
where
    T: Serialize + 'static,
    S: Stream<Item = Result<T, HttpError>> + Send + 'static,
{
    stream(Content::Lines, trailers, Box::pin(packed(items))).await
}

/// Values as lines, those that are ready at once together.
pub fn packed<T, S>(items: S) -> impl Stream<Item = Result<Bytes, HttpError>> + Send
where
    T: Serialize + 'static,
    S: Stream<Item = Result<T, HttpError>> + Send + 'static,
{
    items.ready_chunks(PACK).flat_map(|chunk| {
        let (mut bytes, mut failure) = (Vec::new(), None);
        for item in chunk {
            match item {
                Ok(value) => put_line(&mut bytes, &value),
                Err(error) => {
                    failure = Some(Err(error));
                    break;
                }
            }
        }
        let whole = (!bytes.is_empty()).then(|| Ok(Bytes::from(bytes)));
        stream::iter(whole.into_iter().chain(failure))
    })
}

fn put_line<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(&mut *out, value).expect("plain data becomes JSON");
    out.push(b'\n');
}

/// One JSON value and a line break.
pub fn line<T: Serialize>(value: &T) -> Bytes {
    let mut out = Vec::new();
    put_line(&mut out, value);
    out.into()
}

fn trailer(error: &HttpError) -> HeaderMap {
    let text: String = error.message.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let mut map = HeaderMap::new();
    map.insert(STREAM_ERROR, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("failed")));
    map
}

/// A stream of one item.
pub fn once(bytes: Bytes) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + Unpin {
    stream::iter([Ok::<_, Infallible>(bytes)]).map(|r| r.map_err(|never| match never {}))
}
