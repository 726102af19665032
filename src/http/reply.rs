//! Streamed replies whose errors are not lost: a failure before the first item is a status, a later one the trailer
//! `X-Stream-Error` where the caller takes trailers, else a broken connection.

use std::{convert::Infallible, io};

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

/// What a stream carries, with the headers Kubo's clients look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes of a file or block.
    Bytes,
    /// A tar archive.
    Tar,
    /// A content archive.
    Car,
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
        Content::Car => ("application/vnd.ipld.car", "x-stream-output"),
        Content::Lines => ("application/json", "x-chunked-output"),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(HeaderName::from_static(flag), HeaderValue::from_static("1"));
    headers.insert(header::TRAILER, HeaderValue::from_static("X-Stream-Error"));
    Ok(response)
}

/// One JSON value and a line break.
pub fn line<T: Serialize>(value: &T) -> Bytes {
    let mut out = serde_json::to_vec(value).expect("plain data becomes JSON");
    out.push(b'\n');
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
