//! Answers on their way into the cache: where each comes from, and how long it may serve.
//!
//! **Invariant:** an answer of the database serves only while the lease is live. A substitute (the
//! last good answer, or the environment's) needs no lease, and serves until a fixed moment.

use std::time::Duration;

use super::entry::{Resolution, ResolveOutcome};
use super::fence::{Generation, Stamp};
use super::jitter_fraction;
use crate::answer::{Answer, KnownRules};
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
    pub(super) outcome: ResolveOutcome,
    pub(super) stamp: Stamp,
    /// A generation from before the settings that made it were read.
    pub(super) made: Generation,
    /// Until when it may answer.
    pub(super) serve_until: Moment,
    /// Until when it may be the last good answer.
    pub(super) stale_until: Moment,
    /// When to reload it if it is in use. Never, if that is later than `serve_until`.
    pub(super) refresh_at: Moment,
    /// When a caller last asked for it.
    pub(super) used_at: Moment,
    /// Whether it serves only while it is proven that no change was missed. The last good answer and
    /// errors do not need that proof: they exist for the time when the database is away.
    pub(super) needs_lease: bool,
}

impl Fresh {
    /// An answer of the database, which was asked at that moment.
    pub(crate) fn from_database(
        caller: Caller,
        outcome: ResolveOutcome,
        stamp: Stamp,
        asked_at: Moment,
        lifetimes: &Lifetimes,
    ) -> Self {
        let answered = outcome.as_ref().is_ok_and(|answer| answer.is_as_the_row_wants());
        let ttl = if answered { lifetimes.ttl } else { lifetimes.negative_ttl };
        let ttl = ttl.mul_f64(1.0 - lifetimes.jitter * jitter_fraction((caller, asked_at.0)));
        let refresh_at =
            if answered { asked_at.after(ttl.mul_f64(REFRESH_AT)) } else { Moment::NEVER };
        Self {
            outcome,
            stamp,
            made: stamp.born,
            serve_until: asked_at.after(ttl),
            stale_until: asked_at.after(lifetimes.max_stale),
            refresh_at,
            used_at: asked_at,
            needs_lease: true,
        }
    }

    /// The same, last asked for by a caller at another moment.
    pub(crate) fn used_at(self, used_at: Moment) -> Self {
        Self { used_at, ..self }
    }

    /// The number's part of an earlier answer, combined with the config as it is now. It serves as
    /// long as the earlier answer would have.
    pub(crate) fn remade(
        outcome: ResolveOutcome,
        stamp: Stamp,
        part: &NumberPart,
        now: Moment,
    ) -> Self {
        Self {
            outcome,
            stamp,
            made: stamp.born,
            serve_until: part.serve_until,
            stale_until: part.stale_until,
            refresh_at: part.refresh_at,
            used_at: now,
            needs_lease: true,
        }
    }

    /// A substitute for an answer of the database, until that is asked again.
    pub(crate) fn substitute(
        outcome: ResolveOutcome,
        stamp: Stamp,
        now: Moment,
        until: Moment,
    ) -> Self {
        Self {
            outcome,
            stamp,
            made: stamp.born,
            serve_until: until,
            stale_until: until,
            refresh_at: Moment::NEVER,
            used_at: now,
            needs_lease: false,
        }
    }

    /// The last good answer, marked stale, until the database is asked again. `made` is a generation
    /// from before the settings that allow it were read.
    pub(super) fn last_good(
        outcome: ResolveOutcome,
        last: &LastGood,
        made: Generation,
        until: Moment,
    ) -> Self {
        let stale_until = last.stale_until;
        Self { made, stale_until, ..Self::substitute(outcome, last.stamp, until, until) }
    }

    /// A substitute that follows the rules that the database named last.
    pub(crate) fn by_last_rules(
        outcome: ResolveOutcome,
        last: &LastGood,
        made: Generation,
        now: Moment,
        until: Moment,
    ) -> Self {
        let (stale_until, stamp) = (last.stale_until, last.stamp.without_config());
        Self { made, stale_until, ..Self::substitute(outcome, stamp, now, until) }
    }
}

/// The last answer of the database for a number.
pub(crate) struct LastGood {
    /// The answer, which may serve when the database cannot.
    pub(super) answer: Option<Resolution>,
    /// The rules of the number's row.
    pub(crate) rules: KnownRules,
    pub(super) stamp: Stamp,
    pub(super) stale_until: Moment,
}

impl LastGood {
    /// The answer, marked stale, and counting as one more user of its credentials. `None`: there is
    /// none, or its credentials were withdrawn.
    pub(super) fn stale(&self) -> Option<Resolution> {
        let answer = self.answer.as_ref().filter(|answer| answer.credentials.acquire())?;
        Some(Resolution::new(Answer {
            credentials: Arc::clone(&answer.credentials),
            trunk: answer.trunk.clone(),
            agent: Arc::clone(&answer.agent),
            origin: answer.origin.clone(),
            rules: answer.rules.clone(),
            no_row: answer.no_row,
            loaded_at: answer.loaded_at,
            stale: true,
            registered: AtomicBool::new(true),
        }))
    }
}

/// The number's part of an answer whose config has changed.
pub(crate) struct NumberPart {
    pub(crate) config: ConfigId,
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) loaded_at: Moment,
    pub(crate) stamp: Stamp,
    pub(super) serve_until: Moment,
    pub(super) stale_until: Moment,
    pub(super) refresh_at: Moment,
}

/// After which part of its lifetime an answer in use is reloaded.
const REFRESH_AT: f64 = 0.85;
