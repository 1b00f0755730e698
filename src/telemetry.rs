//! Every metric's name, help and labels, and the handles that record them, made once.
//!
//! The library only emits, through the `metrics` facade; what listens is the program's choice. No
//! label carries a tenant, a number, a config or a URL.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::changes::Hearing;
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
/// Loads of a config alone, after it changed: one, however many numbers point at it.
pub const CONFIG_LOADS: &str = "trunkline_config_loads_total";
/// Answers in the cache.
pub const ENTRIES: &str = "trunkline_cache_entries";
/// Lives of the change listener that ended.
pub const LIVES_ENDED: &str = "trunkline_change_listener_lives_ended_total";

/// Changes that were learned of and applied.
pub const CHANGES: &str = "trunkline_changes_applied_total";
/// How often changes may have been missed, so that everything was asked for anew.
pub const DOUBTS: &str = "trunkline_cache_doubts_total";
/// 1 for the way, `by`, in which changes are learned of at present.
pub const HEARING: &str = "trunkline_changes_heard";
/// Answers in memory that were held against the database.
pub const CHECKS: &str = "trunkline_self_checks_total";
/// Answers that the self-check found to be staler than they may be.
pub const STALE_FOUND: &str = "trunkline_self_check_stale_total";
/// The longest time, in seconds, that an answer was seen to count after the database said otherwise.
pub const STALENESS: &str = "trunkline_staleness_seconds_max";
/// Tasks beside the callers that panicked and were started again.
pub const RESTARTS: &str = "trunkline_task_restarts_total";

/// The handles of one resolver.
pub(crate) struct Telemetry {
    database: Counter,
    environment: Counter,
    fallbacks: Vec<Counter>,
    refusals: Vec<Counter>,
    pub(crate) stale: Counter,
    pub(crate) loads: Counter,
    pub(crate) config_loads: Counter,
    entries: Gauge,
    hearing: [Gauge; Hearing::ALL.len()],
    pub(crate) checks: Counter,
    pub(crate) stale_found: Counter,
    pub(crate) staleness: Gauge,
    pub(crate) restarts: Counter,
    pub(crate) changes: ChangesCounted,
}

/// What those who tell of changes count.
#[derive(Clone)]
pub(crate) struct ChangesCounted {
    applied: Counter,
    doubts: Counter,
    pub(crate) lives_ended: Counter,
}

impl ChangesCounted {
    pub(crate) fn applied(&self, changes: usize) {
        self.applied.increment(changes as u64);
    }

    pub(crate) fn doubted(&self) {
        self.doubts.increment(1);
    }
}

impl Telemetry {
    /// Describes every metric and makes its handles, all series at zero.
    pub(crate) fn new() -> Self {
        describe_counter!(RESOLUTIONS, Unit::Count, "Answers given, by source");
        describe_counter!(FALLBACKS, Unit::Count, "Answers given by the environment, by reason");
        describe_counter!(REFUSALS, Unit::Count, "Questions nobody could answer, by reason");
        describe_counter!(STALE, Unit::Count, "Answers that were the last good one");
        describe_counter!(LOADS, Unit::Count, "Loads from the database, begun");
        describe_counter!(CONFIG_LOADS, Unit::Count, "Loads of a config alone, after it changed");
        describe_gauge!(ENTRIES, Unit::Count, "Answers in the cache");
        describe_counter!(LIVES_ENDED, Unit::Count, "Lives of the change listener that ended");
        describe_counter!(CHANGES, Unit::Count, "Changes that were applied");
        describe_counter!(DOUBTS, Unit::Count, "Times everything was asked for anew");
        describe_gauge!(HEARING, "1 for the way in which changes are learned of");
        describe_counter!(CHECKS, Unit::Count, "Answers held against the database");
        describe_counter!(STALE_FOUND, Unit::Count, "Answers found staler than they may be");
        describe_gauge!(STALENESS, Unit::Seconds, "The staleness of the stalest answer ever seen");
        describe_counter!(RESTARTS, Unit::Count, "Tasks that panicked and were started again");
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
            config_loads: counter!(CONFIG_LOADS),
            entries: gauge!(ENTRIES),
            hearing: Hearing::ALL.map(|way| gauge!(HEARING, "by" => way.as_str())),
            checks: counter!(CHECKS),
            stale_found: counter!(STALE_FOUND),
            staleness: gauge!(STALENESS),
            restarts: counter!(RESTARTS),
            changes: ChangesCounted {
                applied: counter!(CHANGES),
                doubts: counter!(DOUBTS),
                lives_ended: counter!(LIVES_ENDED),
            },
        };
        telemetry.staleness.set(0.0);
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

    /// Says by which way changes are learned of.
    pub(crate) fn hears_by(&self, hearing: Hearing) {
        for (way, gauge) in Hearing::ALL.iter().zip(&self.hearing) {
            gauge.set(f64::from(u8::from(*way == hearing)));
        }
    }

    /// Counts a question that nobody could answer.
    pub(crate) fn refused(&self, reason: Reason) {
        self.refusals[place(reason)].increment(1);
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let ChangesCounted { applied, doubts, lives_ended } = &self.changes;
        let single =
            [&self.database, &self.environment, &self.stale, &self.loads, &self.config_loads];
        let beside =
            [applied, doubts, lives_ended, &self.checks, &self.stale_found, &self.restarts];
        single.into_iter().chain(beside).chain(&self.fallbacks).chain(&self.refusals)
    }
}

fn place(reason: Reason) -> usize {
    reason as usize
}
