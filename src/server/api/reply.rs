//! What a request is answered with when it is answered.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::events;

/// A status, a body of JSON, of events or for people, and what headers say besides.
#[derive(Debug)]
pub(in crate::server) struct Reply {
    status: StatusCode,
    kind: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

impl Reply {
    pub(super) fn json(value: &Value) -> Self {
        value.to_string().into_bytes().into()
    }

    /// A page for people.
    pub(in crate::server) fn page(html: String) -> Self {
        let kind = "text/html; charset=utf-8";
        Self { status: StatusCode::OK, kind, headers: Vec::new(), body: html.into() }
    }

    /// A file of this kind.
    pub(in crate::server) fn file(kind: &'static str, content: impl Into<Body>) -> Self {
        Self { status: StatusCode::OK, kind, headers: Vec::new(), body: content.into() }
    }

    /// Sends a browser on to a path, which it is to GET.
    pub(in crate::server) fn see(path: &str) -> Self {
        Self::page(String::new()).status(StatusCode::SEE_OTHER).header(LOCATION, path)
    }

    /// The same with the status of this code.
    pub(in crate::server) fn code(self, code: u16) -> Self {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
        self.status(status)
    }

    /// An answer that goes on.
    pub(super) fn events(body: Body) -> Self {
        Self { status: StatusCode::OK, kind: events::KIND, headers: Vec::new(), body }
    }

    /// The same with another status.
    pub(in crate::server) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Something was created, and is to be had there.
    pub(super) fn created(self, path: &str) -> Self {
        self.status(StatusCode::CREATED).header(LOCATION, path)
    }

    /// The version of what is answered.
    pub(super) fn version(self, version: &str) -> Self {
        self.header(ETAG, &format!("\"{version}\""))
    }

    /// A header whose value is of letters and digits of ours.
    pub(in crate::server) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// A header as it is.
    pub(in crate::server) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl From<Vec<u8>> for Reply {
    fn from(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, kind: JSON, headers: Vec::new(), body: body.into() }
    }
}

const JSON: &str = "application/json";
