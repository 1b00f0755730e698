//! Answers on their way into the cache, by where they come from, and how long they last.
//!
//! **Invariant:** only what the database said counts while the lease is live, and no longer. What
//! stands in for it serves without a lease, and until a moment that its maker names.

use std::time::Duration;

use super::dice;
use super::entry::{Outcome, Resolution};
use super::fence::Stamp;
use crate::answer::{Answer, Source};
use crate::clock::Moment;
use crate::number::{Caller, ConfigId};
use crate::rules::Rules;
use crate::sync::{Arc, AtomicBool};

/// How long answers last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// One of the database.
    pub(crate) ttl: Duration,
    /// One that the database does not have.
    pub(crate) negative_ttl: Duration,
    /// The last good one.
    pub(crate) max_stale: Duration,
    /// By which part the first two differ from answer to answer, from 0 to 1.
    pub(crate) jitter: f64,
}

/// An answer to be cached.
pub(crate) struct Fresh {
    pub(super) outcome: Outcome,
    pub(super) stamp: Stamp,
    /// Until when it may answer.
    pub(super) serve_until: Moment,
    /// Until when it may be the last good answer.
    pub(super) keep_until: Moment,
    /// When to load it anew if it is in use; never, if that is later than `serve_until`.
    pub(super) refresh_at: Moment,
    /// When a caller last asked for it.
    pub(super) used_at: Moment,
    /// Whether it answers only while it is proven that no change was missed. The last good answer
    /// and errors do without: they are what there is when the database is away.
    pub(super) needs_lease: bool,
}

impl Fresh {
    /// What the database said when it was asked at that moment.
    pub(crate) fn from_database(
        caller: Caller,
        outcome: Outcome,
        stamp: Stamp,
        asked_at: Moment,
        lifetimes: &Lifetimes,
    ) -> Self {
        let answered = matches!(&outcome, Ok(answer) if answer.source() == Source::Database);
        let ttl = if answered { lifetimes.ttl } else { lifetimes.negative_ttl };
        let ttl = ttl.mul_f64(1.0 - lifetimes.jitter * dice((caller, asked_at.0)));
        let refresh_at =
            if answered { asked_at.after(ttl.mul_f64(REFRESH_AT)) } else { Moment::NEVER };
        Self {
            outcome,
            stamp,
            serve_until: asked_at.after(ttl),
            keep_until: asked_at.after(lifetimes.max_stale),
            refresh_at,
            used_at: asked_at,
            needs_lease: true,
        }
    }

    /// The same for whoever asked for it last at another moment.
    pub(crate) fn used_at(self, used_at: Moment) -> Self {
        Self { used_at, ..self }
    }

    /// What a number said before, joined with what its config says now. It lasts as long as the
    /// number's part would have.
    pub(crate) fn remade(outcome: Outcome, stamp: Stamp, part: &NumberPart, now: Moment) -> Self {
        Self {
            outcome,
            stamp,
            serve_until: part.serve_until,
            keep_until: part.keep_until,
            refresh_at: part.refresh_at,
            used_at: now,
            needs_lease: true,
        }
    }

    /// What there is for want of an answer of the database, until it is asked again.
    pub(crate) fn substitute(outcome: Outcome, stamp: Stamp, now: Moment, until: Moment) -> Self {
        Self {
            outcome,
            stamp,
            serve_until: until,
            keep_until: until,
            refresh_at: Moment::NEVER,
            used_at: now,
            needs_lease: false,
        }
    }

    /// The last good answer, marked stale, until the database is asked again.
    pub(super) fn last_good(outcome: Outcome, last: &LastGood, until: Moment) -> Self {
        let keep_until = last.keep_until;
        Self { keep_until, ..Self::substitute(outcome, last.stamp, until, until) }
    }
}

/// An answer that may serve when the database cannot.
pub(crate) struct LastGood {
    pub(super) answer: Resolution,
    pub(super) stamp: Stamp,
    pub(super) keep_until: Moment,
}

impl LastGood {
    /// It, marked stale, and counting as one more user of its credentials.
    pub(super) fn stale(&self) -> Resolution {
        Resolution::new(Answer {
            credentials: Arc::clone(&self.answer.credentials),
            trunk: self.answer.trunk.clone(),
            agent: Arc::clone(&self.answer.agent),
            origin: self.answer.origin.clone(),
            rules: self.answer.rules.clone(),
            loaded_at: self.answer.loaded_at,
            stale: true,
            counted: AtomicBool::new(true),
        })
    }
}

/// What is left of an answer whose config has changed: what the number says.
pub(crate) struct NumberPart {
    pub(crate) config: ConfigId,
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) loaded_at: Moment,
    pub(crate) stamp: Stamp,
    pub(super) serve_until: Moment,
    pub(super) keep_until: Moment,
    pub(super) refresh_at: Moment,
}

/// After which part of its time an answer that is in use is loaded anew.
const REFRESH_AT: f64 = 0.85;
