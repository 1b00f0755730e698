//! The body of a request: JSON, of bounded size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::fields::{Field, malformed, respell, wrong};
use super::problem::Problem;

/// Takes JSON alone: a page in a browser cannot send that to another host without being asked for.
pub(super) fn refuse_other_types(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be JSON, with Content-Type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message))
}

/// Takes files of these kinds alone, for the same reason.
pub(super) fn refuse_other_files(kinds: &[&str], headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    if kinds.iter().any(|kind| given.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    let message = format!("the Content-Type must be {}", kinds.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_batch", message))
}

/// Reads a file.
pub(super) async fn read_file(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    read_within(LARGEST_FILE, PATIENCE_FOR_FILES, headers, body).await
}

/// A text that is wiped when it is dropped: a password, or a token.
pub(super) struct Private(Zeroizing<String>);

impl std::ops::Deref for Private {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Private> for Zeroizing<String> {
    fn from(private: Private) -> Self {
        private.0
    }
}

impl<'de> Deserialize<'de> for Private {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Reads all of it.
pub(in crate::server) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    read_up_to(LARGEST, headers, body).await
}

/// Reads all of it, if it has no more bytes than this.
pub(in crate::server) async fn read_up_to(
    most: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Problem> {
    read_within(most, PATIENCE, headers, body).await
}

async fn read_within(
    most: usize,
    patience: Duration,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > most) {
        return Err(too_large(most));
    }
    let reading = async {
        let mut chunks = body.into_data_stream();
        let mut whole = Vec::with_capacity(length.unwrap_or(0));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| malformed("the body broke off"))?;
            if whole.len() + chunk.len() > most {
                return Err(too_large(most));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    };
    timeout(patience, reading).await.unwrap_or_else(|_| {
        let message = format!("the body did not come within {patience:?}");
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_late", message))
    })
}

/// Reads what comes of one that nobody looks at, for a moment: who still sends it while the connection
/// is closed does not see why he was refused.
pub(super) async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let reading = async {
        let mut left = LARGEST;
        while let Some(Ok(chunk)) = chunks.next().await {
            let Some(rest) = left.checked_sub(chunk.len()) else { return };
            left = rest;
        }
    };
    timeout(MOMENT, reading).await.ok();
}

/// Reads it as what a route takes. What is wrong is looked for only where something is.
pub(super) fn parse<'b, T: Deserialize<'b>>(
    body: &'b [u8],
    fields: &[Field],
) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("at line {}, character {}", error.line(), error.column());
        match serde_json::from_slice(body) {
            Err(_) => malformed(format!("the body is not JSON, {place}")),
            Ok(value) => wrong(&value, fields).unwrap_or_else(|| {
                malformed(format!(
                    "the body is not as it must be, {place}: is a field there twice?"
                ))
            }),
        }
    })
}

/// The same of members that may be spelled in camelCase. `also` sees them before they are read.
pub(super) fn parse_respelled<T: DeserializeOwned>(
    body: &[u8],
    fields: &[Field],
    also: impl FnOnce(&Map<String, Value>) -> Result<(), Problem>,
) -> Result<T, Problem> {
    let mut members: Map<_, _> = parse(body, fields)?;
    respell(&mut members, fields)?;
    also(&members)?;
    let value = Value::Object(members);
    match wrong(&value, fields) {
        Some(problem) => Err(problem),
        None => {
            serde_json::from_value(value).map_err(|_| malformed("the body is not as it must be"))
        }
    }
}

fn too_large(most: usize) -> Problem {
    let message = format!("the body has more than {} KiB", most >> 10);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

/// In bytes.
const LARGEST: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST_FILE: usize = 16 << 20;
const PATIENCE_FOR_FILES: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::HeaderValue;
    use futures_util::stream;

    use super::*;

    #[test]
    fn only_json_is_taken() {
        let refused = |kind: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            refuse_other_types(&headers).is_err()
        };
        assert!(!refused("application/json") && !refused("Application/JSON; charset=utf-8"));
        for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
            assert!(refused(kind), "{kind}");
        }
        assert!(refuse_other_types(&HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_bounded_too() {
        let chunks = |many: usize| {
            let chunk = || Ok::<_, Infallible>(vec![b' '; 1024]);
            Body::from_stream(stream::iter((0..many).map(move |_| chunk())))
        };
        assert_eq!(read(&HeaderMap::new(), chunks(64)).await.unwrap().len(), LARGEST);
        assert_eq!(read(&HeaderMap::new(), chunks(65)).await.unwrap_err().code, "body_too_large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = stream::pending::<Result<Vec<u8>, Infallible>>();
        let late = read(&HeaderMap::new(), Body::from_stream(never)).await.unwrap_err();
        assert_eq!(late.code, "body_late");
    }
}
