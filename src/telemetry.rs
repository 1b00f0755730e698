//! Every metric's name, help and labels, and the handles that record them, made once.
//!
//! The library only emits, through the `metrics` facade; what listens is the program's choice. No
//! label carries a tenant, a number, a config or a URL.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::credentials::Source;
use crate::reason::Reason;

/// Answers given, by `source`.
pub const RESOLUTIONS: &str = "trunkline_resolutions_total";
/// Answers given by the environment, by `reason`.
pub const FALLBACKS: &str = "trunkline_fallbacks_total";
/// Questions that nobody could answer, by `reason`.
pub const REFUSALS: &str = "trunkline_refusals_total";
/// Answers that were the last good one of a database that is away.
pub const STALE: &str = "trunkline_stale_resolutions_total";
/// Loads from the database, begun.
pub const LOADS: &str = "trunkline_loads_total";
/// Answers in the cache.
pub const ENTRIES: &str = "trunkline_cache_entries";
/// Lives of the change listener that ended.
pub const LIVES_ENDED: &str = "trunkline_change_listener_lives_ended_total";

/// The handles of one resolver.
pub(crate) struct Telemetry {
    database: Counter,
    environment: Counter,
    fallbacks: Vec<Counter>,
    refusals: Vec<Counter>,
    pub(crate) stale: Counter,
    pub(crate) loads: Counter,
    entries: Gauge,
    pub(crate) lives_ended: Counter,
}

impl Telemetry {
    /// Describes every metric and makes its handles, all series at zero.
    pub(crate) fn new() -> Self {
        describe_counter!(RESOLUTIONS, Unit::Count, "Answers given, by source");
        describe_counter!(FALLBACKS, Unit::Count, "Answers given by the environment, by reason");
        describe_counter!(REFUSALS, Unit::Count, "Questions nobody could answer, by reason");
        describe_counter!(STALE, Unit::Count, "Answers that were the last good one");
        describe_counter!(LOADS, Unit::Count, "Loads from the database, begun");
        describe_gauge!(ENTRIES, Unit::Count, "Answers in the cache");
        describe_counter!(LIVES_ENDED, Unit::Count, "Lives of the change listener that ended");
        let by_reason = |name: &'static str| {
            Reason::ALL.iter().map(|reason| counter!(name, "reason" => reason.as_str())).collect()
        };
        let telemetry = Self {
            database: counter!(RESOLUTIONS, "source" => "database"),
            environment: counter!(RESOLUTIONS, "source" => "environment"),
            fallbacks: by_reason(FALLBACKS),
            refusals: by_reason(REFUSALS),
            stale: counter!(STALE),
            loads: counter!(LOADS),
            entries: gauge!(ENTRIES),
            lives_ended: counter!(LIVES_ENDED),
        };
        telemetry.counters().for_each(|counter| counter.absolute(0));
        telemetry
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, source: Source, reason: Option<Reason>) {
        match source {
            Source::Database => self.database.increment(1),
            Source::Environment => self.environment.increment(1),
        }
        if let Some(reason) = reason {
            self.fallbacks[place(reason)].increment(1);
        }
    }

    /// Says how many answers are cached.
    pub(crate) fn cached(&self, entries: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 numbers")]
        self.entries.set(entries as f64);
    }

    /// Counts a question that nobody could answer.
    pub(crate) fn refused(&self, reason: Reason) {
        self.refusals[place(reason)].increment(1);
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let single =
            [&self.database, &self.environment, &self.stale, &self.loads, &self.lives_ended];
        single.into_iter().chain(&self.fallbacks).chain(&self.refusals)
    }
}

fn place(reason: Reason) -> usize {
    reason as usize
}
