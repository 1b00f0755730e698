//! The id of a request: what the client sent, if that is harmless, else one of ours.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Where it stands in requests and answers.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that no other process makes.
pub(in crate::server) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

/// One id: letters, digits and `-_.`, so that it may stand in any log.
pub(in crate::server) struct RequestId(HeaderValue);

impl RequestIds {
    pub(in crate::server) fn new() -> Self {
        let process = getrandom::u32().unwrap_or_else(|_| std::process::id());
        Self { process, next: AtomicU64::new(1) }
    }

    pub(in crate::server) fn of(&self, headers: &HeaderMap) -> RequestId {
        let harmless = |value: &&HeaderValue| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(plain)
        };
        RequestId(headers.get(HEADER).filter(harmless).cloned().unwrap_or_else(|| self.new_id()))
    }

    fn new_id(&self) -> HeaderValue {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:08x}-{next:x}", self.process);
        HeaderValue::try_from(text).expect("hex digits are a header")
    }
}

impl RequestId {
    pub(in crate::server) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    pub(in crate::server) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_client_is_taken_if_it_may_stand_in_a_log() {
        let ids = RequestIds::new();
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            ids.of(&HeaderMap::from_iter([(HEADER, value)])).to_string()
        };
        assert_eq!(of("call-7.a_B"), "call-7.a_B");
        for text in ["", "a b", "a\"b", "a;b", &"x".repeat(65)] {
            assert_ne!(of(text), text);
        }
        let (one, other) = (ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
        assert_ne!(one.as_str(), other.as_str());
    }
}
