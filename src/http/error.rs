//! How failures look over HTTP: Kubo's shape under `/api/v0`, and the same with the kind's name everywhere.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::base::{HasKind, Kind};

/// A failed request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What kind of failure it is; decides the status.
    pub kind: Kind,
    /// What went wrong, for a person.
    pub message: String,
    /// Whether the request itself cannot be read: an argument is missing, or an option is not what it should be.
    pub usage: bool,
}

/// An error as it stands in a response's body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    #[serde(rename = "Message")]
    pub message: String,
    /// Kubo's number: 0 for a failure, 1 for the caller's mistake.
    #[serde(rename = "Code")]
    pub code: u8,
    /// Always `error`.
    #[serde(rename = "Type")]
    pub kind_of_reply: String,
    /// Ours: what kind of failure it is.
    #[serde(rename = "Kind", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

impl HttpError {
    /// A failure of the kind, with a sentence for a person.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        HttpError { kind, message: message.into(), usage: false }
    }

    /// The caller's mistake.
    pub fn invalid(message: impl Into<String>) -> Self {
        HttpError::new(Kind::Invalid, message)
    }

    /// A request that cannot be read.
    pub fn usage(message: impl Into<String>) -> Self {
        HttpError { usage: true, ..HttpError::invalid(message) }
    }

    fn body(&self, code: u8) -> ErrorBody {
        ErrorBody { code, message: self.message.clone(), kind_of_reply: "error".into(), kind: Some(self.kind) }
    }

    /// The status: Kubo's clients expect 500 for whatever failed and 400 for bad arguments, so no finer ones are used.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Denied => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl<E: HasKind> From<E> for HttpError {
    fn from(error: E) -> Self {
        HttpError::new(error.kind(), error.to_string())
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let code = u8::from(self.kind == Kind::Invalid);
        let mut response = (self.status(), Json(self.body(code))).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives errors under `/api/v0` the status Kubo gives them: 400 only where the request itself cannot be read; what its
/// arguments mean is wrong like whatever else fails. Answers with nothing in them are JSON, too: Kubo's command line
/// complains of those whose type it cannot tell.
pub async fn as_kubo(mut response: Response) -> Response {
    if !response.headers().contains_key(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    match response.extensions().get::<HttpError>() {
        Some(error) if error.kind == Kind::Invalid && !error.usage => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(error.body(0))).into_response()
        }
        _ => response,
    }
}

/// The answer for a path nothing listens on.
pub async fn no_such_route(uri: Uri) -> Response {
    let error = HttpError::new(Kind::NotFound, format!("404 - nothing answers at {}", uri.path()));
    (StatusCode::NOT_FOUND, error.into_response().into_body()).into_response()
}

/// The answer for a route asked by the wrong method.
pub async fn wrong_method(uri: Uri) -> Response {
    let method = if uri.path().starts_with("/api/v0/") { "POST" } else { "the other of GET and POST" };
    let error = HttpError::invalid(format!("405 - Method Not Allowed: ask {} by {method}", uri.path()));
    (StatusCode::METHOD_NOT_ALLOWED, error.into_response().into_body()).into_response()
}
