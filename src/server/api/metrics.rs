//! What is counted of the API. Every series is there from the start, at zero.

use std::collections::{BTreeSet, HashMap};

use axum::http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::time::Instant;

use super::routes::{PAGES, Route, all};
use crate::access::Scope;
use crate::answer::{Answer, Source};
use crate::server::{OTHER, OTHERS};
use crate::telemetry::{API_REFUSALS, API_TIME, API_TOKENS, REQUESTS, SIGN_INS, at_zero};

/// How often each route was answered with each of its codes, and how long that took.
pub(super) struct Requests {
    codes: HashMap<(&'static str, u16), Counter, foldhash::fast::RandomState>,
    times: [Histogram; 4],
}

/// Kinds of work that take times of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Answer,
    Read,
    Edit,
    Call,
}

impl Work {
    fn of(route: &Route) -> Self {
        match route.scope {
            Some(Scope::Calls) if route.takes_body() => Self::Call,
            _ if route.method == "GET" => Self::Read,
            Some(Scope::EditConfigs | Scope::EditNumbers) => Self::Edit,
            _ => Self::Answer,
        }
    }
}

impl Requests {
    pub(super) fn new() -> Self {
        let codes = all()
            .chain([&PAGES])
            .flat_map(|route| route.codes.iter().map(|&code| (route.path, code)));
        let codes = codes.filter(|(_, code)| !is_other(*code));
        let others = OTHERS.into_iter().chain(BEFORE);
        // Methods of one path have codes in common.
        let codes: BTreeSet<_> = codes.chain(others.map(|code| (OTHER, code))).collect();
        let counted = codes.into_iter().map(|(route, code)| {
            let counter = counter!(REQUESTS, "route" => route, "code" => code.to_string());
            ((route, code), at_zero(counter))
        });
        let times = ["answer", "read", "edit", "call"];
        let times = times.map(|work| histogram!(API_TIME, "work" => work));
        Self { codes: counted.collect(), times }
    }

    /// Counts one that was begun at this time, and is answered now.
    pub(super) fn count(&self, route: Option<&Route>, status: StatusCode, begun: Instant) {
        if let Some(route) = route {
            self.times[Work::of(route) as usize].record(begun.elapsed());
        }
        let code = status.as_u16();
        let path = route.filter(|_| !is_other(code)).map_or(OTHER, |route| route.path);
        if let Some(counter) = self.codes.get(&(path, code)) {
            counter.increment(1);
        }
    }
}

/// Whether a code is counted for all routes together, so that there are not more series than help.
fn is_other(code: u16) -> bool {
    OTHERS.contains(&code) || BEFORE.contains(&code)
}

/// What is wrong before a body is read.
const BEFORE: [u16; 4] = [408, 413, 415, 429];

/// Tokens by outcome, and who was turned away.
pub(crate) struct ApiMetrics {
    database: Counter,
    stale: Counter,
    environment: Counter,
    unanswered: Counter,
    refusals: Vec<Counter>,
    sign_ins: [(&'static str, Counter); 4],
}

impl ApiMetrics {
    pub(crate) fn new() -> Self {
        let tokens = |outcome| at_zero(counter!(API_TOKENS, "outcome" => outcome));
        let refusals = REFUSALS.map(|code| at_zero(counter!(API_REFUSALS, "reason" => code)));
        let outcomes = ["accepted", "refused", "throttled", "unavailable"];
        let sign_ins =
            outcomes.map(|outcome| (outcome, at_zero(counter!(SIGN_INS, "outcome" => outcome))));
        Self {
            sign_ins,
            database: tokens("database"),
            stale: tokens("stale"),
            environment: tokens("environment"),
            unanswered: tokens("unanswered"),
            refusals: refusals.into(),
        }
    }

    /// A token was made of this answer.
    pub(super) fn minted(&self, answer: &Answer) {
        let counter = match answer.source() {
            Source::Database if answer.stale() => &self.stale,
            Source::Database => &self.database,
            Source::Environment => &self.environment,
        };
        counter.increment(1);
    }

    /// The client might have had a token, and there was none to have.
    pub(super) fn unanswered(&self) {
        self.unanswered.increment(1);
    }

    /// Counts an attempt to sign in, by what came of it.
    pub(super) fn sign_in(&self, outcome: &str) {
        if let Some((_, counter)) = self.sign_ins.iter().find(|(name, _)| *name == outcome) {
            counter.increment(1);
        }
    }

    /// Counts a problem that is a refusal.
    pub(super) fn refused(&self, code: &str) {
        if let Some(place) = REFUSALS.iter().position(|refusal| *refusal == code) {
            self.refusals[place].increment(1);
        }
    }
}

/// The codes of those who are not let in, and of what a client may not.
const REFUSALS: [&str; 25] = [
    "credential_missing",
    "token_invalid",
    "client_revoked",
    "client_expired",
    "client_unknown",
    "client_unreadable",
    "ticket_invalid",
    "ticket_expired",
    "ticket_fixed",
    "peer_not_mapped",
    "scope_missing",
    "tenant_not_allowed",
    "number_not_allowed",
    "room_not_allowed",
    "grant_not_allowed",
    "ttl_too_long",
    "too_many_requests",
    "login_refused",
    "too_many_logins",
    "session_ended",
    "session_not_here",
    "cross_site",
    "confirmation_needed",
    "user_header_refused",
    "user_unknown",
];
