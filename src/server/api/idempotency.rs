//! `Idempotency-Key`: a request that creates something, sent again, creates nothing and gets the same
//! answer.
//!
//! What was answered is written in the transaction of the creation, so both are there or neither is. What
//! was refused is not kept: it is tried anew.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderName, StatusCode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::problem::Problem;
use super::question::Question;
use super::routes::Header;
use crate::access::hex;
use crate::store::{Claim, EarlierAnswer};

/// The keys of requests that this node is answering.
#[derive(Default)]
pub(super) struct KeysInUse(Mutex<HashSet<(Uuid, String)>>);

/// A key that came with a request, for as long as it is answered.
pub(in crate::server) struct Key<'k> {
    client: Uuid,
    text: String,
    /// A hash of what is asked.
    asked: String,
    in_use: &'k KeysInUse,
}

impl KeysInUse {
    /// The key of a request. `None`: it has none.
    pub(super) fn key(
        &self,
        client: Uuid,
        question: &Question<'_>,
    ) -> Result<Option<Key<'_>>, Problem> {
        let Some(text) = named(question.headers)? else { return Ok(None) };
        if !self.lock().insert((client, text.clone())) {
            let message = "a request with this Idempotency-Key is being answered";
            return Err(Problem::conflict("request_running", message)
                .hint("wait for its answer, or ask the same again a moment later"));
        }
        let asked = asked(question);
        Ok(Some(Key { client, text, asked, in_use: self }))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(Uuid, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        self.in_use.lock().remove(&(self.client, std::mem::take(&mut self.text)));
    }
}

impl Key<'_> {
    /// What is stored with the creation.
    pub(super) fn claim<'c>(&'c self, answer: &'c str) -> Claim<'c> {
        Claim { client: self.client, key: &self.text, asked: &self.asked, answer }
    }

    /// What was answered before, if the same was asked.
    pub(super) fn earlier(&self, earlier: EarlierAnswer) -> Result<String, Problem> {
        if earlier.asked == self.asked {
            return Ok(earlier.answer);
        }
        let message = "this Idempotency-Key was used for another request";
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", message)
            .hint("make a new key for each thing that is to be created"))
    }
}

fn named(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(KEY).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let key = first.to_str().ok().filter(|key| {
        (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match key.filter(|_| given.next().is_none()) {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let why = "must be one text of 1 to 255 letters, digits and signs, such as a UUID";
            Err(Problem::field("field_malformed", "Idempotency-Key", why))
        }
    }
}

/// What was asked: the route, whose path it was, and the body to the letter.
fn asked(question: &Question<'_>) -> String {
    let mut hash = Sha256::new();
    for text in [question.route.path, question.id.unwrap_or_default()] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update(question.body);
    hex(&hash.finalize())
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const LONGEST: usize = 255;

pub(super) const KEY_HEADER: Header = Header {
    name: "Idempotency-Key",
    help: "A text of the client's, such as a UUID. The same request with the same key creates nothing \
           a second time, and is answered the same for a day.",
};
pub(super) const REPLAYED_HEADER: Header = Header {
    name: "Idempotency-Replayed",
    help: "true where this was answered before, and nothing was created now.",
};
