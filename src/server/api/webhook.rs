//! `POST /v1/livekit/webhook`: what LiveKit servers tell of their rooms. The signature is the login, so
//! all servers may be pointed at one daemon.
//!
//! **Invariant:** no byte of a body is read before a secret of ours has signed its token.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use metrics::{Counter, counter};
use serde_json::json;

use super::body;
use super::fields::{Field, Kind, malformed, required};
use super::problem::Problem;
use super::reply::Reply;
use crate::dispatch::livekit::webhook::CallEnd;
use crate::dispatch::recorded::RecordedCalls;
use crate::resolver::{Resolver, VerifyError};
use crate::telemetry::{CALLS_LEFT, WEBHOOKS, at_zero};

/// What is counted of webhooks.
pub(super) struct WebhookMetrics {
    recorded: Counter,
    ignored: Counter,
    refused: Counter,
    left: [Counter; REASONS.len()],
}

impl WebhookMetrics {
    pub(super) fn new() -> Self {
        let outcome = |outcome| at_zero(counter!(WEBHOOKS, "outcome" => outcome));
        Self {
            recorded: outcome("recorded"),
            ignored: outcome("ignored"),
            refused: outcome("refused"),
            left: REASONS.map(|reason| at_zero(counter!(CALLS_LEFT, "reason" => reason))),
        }
    }

    fn left(&self, reason: Option<&str>) {
        let is = |known: &&str| reason.is_some_and(|reason| known.eq_ignore_ascii_case(reason));
        let at = REASONS.iter().position(is).unwrap_or(REASONS.len() - 1);
        self.left[at].increment(1);
    }
}

/// Writes down what is told of a call that was placed here. The rest is taken and means nothing.
pub(super) async fn answer(
    resolver: &Resolver,
    calls: Option<&RecordedCalls>,
    metrics: &WebhookMetrics,
    headers: &HeaderMap,
    body: &mut Option<Body>,
) -> Result<Reply, Problem> {
    let refused = |problem| {
        metrics.refused.increment(1);
        problem
    };
    let token = token(headers).ok_or_else(|| refused(unsigned()))?;
    let verified = resolver.verify(token).await.map_err(|error| refused(error_of(&error)))?;
    let unread = body.take().unwrap_or_default();
    let body = body::read_up_to(LARGEST, headers, unread).await.map_err(refused)?;
    if !verified.is_about(&body) {
        return Err(refused(unsigned()));
    }
    let end = CallEnd::read(&body);
    let end = end.map_err(|_| refused(malformed("the body is no webhook of LiveKit")))?;
    let is_recorded = match (calls, &end) {
        (Some(calls), Some(end)) => {
            calls.heard(verified.config_id, verified.by_environment, end).await?
        }
        _ => false,
    };
    match end.filter(|_| is_recorded) {
        Some(end) => {
            metrics.recorded.increment(1);
            metrics.left(end.reason.as_deref());
        }
        None => metrics.ignored.increment(1),
    }
    Ok(Reply::json(&json!({"recorded": is_recorded})))
}

/// As LiveKit sends it, without a scheme; one is read, too.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let text = given.next()?.to_str().ok()?;
    let token = text.strip_prefix("Bearer ").unwrap_or(text).trim();
    given.next().is_none().then_some(token)
}

fn error_of(error: &VerifyError) -> Problem {
    if error.is_temporary() {
        return Problem::unavailable(error.code(), error.to_string());
    }
    unsigned()
}

fn unsigned() -> Problem {
    Problem::unauthorized(
        "webhook_unsigned",
        "no LiveKit config, and not the environment, has signed this webhook",
    )
    .hint(
        "in the server's webhook settings, api_key must be the one of a LiveKit config, or \
         LIVEKIT_API_KEY of the daemon; `trunkline livekit list` shows them",
    )
}

pub(super) const ANSWERED: &[Field] = &[required(
    "recorded",
    Kind::Flag,
    "Whether it told something new of a call that was placed here.",
)];

/// LiveKit's reasons why a participant left, as far as they are counted apart.
const REASONS: [&str; 10] = [
    "client_initiated",
    "participant_removed",
    "room_deleted",
    "room_closed",
    "user_unavailable",
    "user_rejected",
    "sip_trunk_failure",
    "connection_timeout",
    "media_failure",
    "other",
];
/// In bytes.
const LARGEST: usize = 1 << 20;
