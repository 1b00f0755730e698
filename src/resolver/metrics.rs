//! The metrics of a resolver. Every handle is made once, with the resolver.
//!
//! Threads count their warm answers each for itself, in cache lines of their own: one counter that
//! all of them write to would make each wait for the others. The sweep adds them up. Two looks at
//! the clock cost as much as a warm answer, so one in 64 is timed; cold ones are all timed.

use std::cell::Cell;
#[cfg(feature = "server")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::key_rotation::KeyTurnsCounted;
use super::rollout::{Comparisons, RunShown};
use super::sealing::SealsCounted;
use crate::answer::{Answer, Source};
use crate::cache::Evicted;
use crate::changes::{ChangeSource, ChangesCounted};
use crate::keyring::KeyError;
use crate::reason::Reason;
use crate::rollout::Counts;
#[cfg(feature = "server")]
use crate::telemetry::PASSWORD_TIME;
use crate::telemetry::{
    CHECKS, COLD, CONFIG_LOADS, ENTRIES, EVICTIONS, FALLBACKS, HEARING, INVALIDATIONS, LEASE_AGE,
    LEASE_LIVE, LISTENER_UP, LOADS, LOADS_IN_FLIGHT, LOADS_JOINED, REFUSALS, RELOADED, RELOADED_AT,
    RESOLUTIONS, RESTARTS, STALE_FOUND, STALENESS, UNOPENABLE, URLS_CHANGED, WARM, at_zero,
};

/// The handles of one resolver.
pub(super) struct Telemetry {
    from_index: Counter,
    /// Warm answers by the thread that gave them, so that threads do not share what each of them
    /// writes to every time. Added up now and then.
    hits: Mutex<Vec<Arc<HitCounter>>>,
    from_load: Counter,
    stale: Counter,
    environment_by_settings: Counter,
    environment_kept: Counter,
    environment_from_load: Counter,
    fallbacks: Vec<Counter>,
    refusals: Vec<Counter>,
    inside: Inside,
    pub(super) urls_changed: Counter,
    unopenable: [(&'static str, Counter); KeyError::OF_OPENING.len()],
    pub(super) warm: Histogram,
    pub(super) cold: Histogram,
    pub(super) loads: Counter,
    pub(super) config_loads: Counter,
    in_flight: Gauge,
    pub(super) joined: Counter,
    entries: Gauge,
    evictions: [Counter; 3],
    pub(super) refused_by_server: Counter,
    pub(super) by_embedder: Counter,
    pub(super) by_reload: Counter,
    pub(super) by_self_check: Counter,
    change_source: [Gauge; ChangeSource::ALL.len()],
    listener_up: Gauge,
    lease_live: Gauge,
    lease_age: Gauge,
    pub(super) checks: Counter,
    pub(super) stale_found: Counter,
    pub(super) staleness: Gauge,
    pub(super) restarts: Counter,
    reloaded: Gauge,
    reloaded_at: Gauge,
    pub(super) changes: ChangesCounted,
    pub(super) seals: SealsCounted,
    pub(super) key_turns: KeyTurnsCounted,
    pub(super) comparisons: Comparisons,
    pub(super) run: RunShown,
    /// There once people can sign in.
    #[cfg(feature = "server")]
    passwords: OnceLock<Histogram>,
}

/// The calls of those whom the database is to answer: those that it answered, beside the warm ones, and
/// faults. Counted beside the metrics, which nobody can read.
#[derive(Default)]
struct Inside {
    answered: AtomicU64,
    faults: AtomicU64,
}

/// The warm answers of one thread, which nobody else counts.
pub(super) struct Hits {
    counter: Arc<HitCounter>,
    /// Those that are counted elsewhere: of the environment, outdated ones, and errors.
    others: Cell<u64>,
}

/// In a place of its own: threads whose counters share a line of cache wait for each other.
#[derive(Default)]
#[repr(align(128))]
struct HitCounter(AtomicU64);

impl Inside {
    fn note_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// What somebody chose is no fault, and nobody inside was to be answered by the database.
    fn note_unanswered(&self, reason: Reason) {
        if !reason.is_chosen() {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Hits {
    #[inline(always)]
    pub(super) fn count(&self) {
        let HitCounter(hits) = &*self.counter;
        hits.store(hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Notes one that is counted elsewhere, so that the samples are taken of all of them.
    pub(super) fn pass(&self) {
        self.others.set(self.others.get().wrapping_add(1));
    }

    /// Whether the next one is one of those that are looked at more closely.
    #[inline(always)]
    pub(super) fn next_is_sampled(&self) -> bool {
        let hits = self.counter.0.load(Ordering::Relaxed).wrapping_add(self.others.get());
        hits.is_multiple_of(SAMPLED)
    }
}

/// Counts as under way for as long as it is there.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Telemetry {
    /// Describes every metric and makes the handles of a resolver, all series at zero.
    pub(super) fn new() -> Self {
        crate::telemetry::describe();
        let by_reason = |name: &'static str| {
            let of = |reason: &Reason| at_zero(counter!(name, "reason" => reason.as_str()));
            Reason::ALL.iter().map(of).collect()
        };
        let answers =
            |source, from| at_zero(counter!(RESOLUTIONS, "source" => source, "from" => from));
        let drops = |trigger| at_zero(counter!(INVALIDATIONS, "trigger" => trigger));
        let telemetry = Self {
            from_index: answers("database", "index"),
            hits: Mutex::default(),
            from_load: answers("database", "loaded"),
            stale: answers("database", "stale"),
            environment_by_settings: answers("environment", "settings"),
            environment_kept: answers("environment", "negative"),
            environment_from_load: answers("environment", "loaded"),
            fallbacks: by_reason(FALLBACKS),
            refusals: by_reason(REFUSALS),
            inside: Inside::default(),
            urls_changed: at_zero(counter!(URLS_CHANGED)),
            unopenable: KeyError::OF_OPENING
                .map(|code| (code, at_zero(counter!(UNOPENABLE, "reason" => code)))),
            warm: histogram!(WARM),
            cold: histogram!(COLD),
            loads: at_zero(counter!(LOADS)),
            config_loads: at_zero(counter!(CONFIG_LOADS)),
            in_flight: gauge!(LOADS_IN_FLIGHT),
            joined: at_zero(counter!(LOADS_JOINED)),
            entries: gauge!(ENTRIES),
            evictions: ["capacity", "expired", "idle"]
                .map(|cause| at_zero(counter!(EVICTIONS, "cause" => cause))),
            refused_by_server: drops("refused"),
            by_embedder: drops("embedder"),
            by_reload: drops("reload"),
            by_self_check: drops("self_check"),
            change_source: ChangeSource::ALL.map(|way| gauge!(HEARING, "by" => way.as_str())),
            listener_up: gauge!(LISTENER_UP),
            lease_live: gauge!(LEASE_LIVE),
            lease_age: gauge!(LEASE_AGE),
            checks: at_zero(counter!(CHECKS)),
            stale_found: at_zero(counter!(STALE_FOUND)),
            staleness: gauge!(STALENESS),
            restarts: at_zero(counter!(RESTARTS)),
            reloaded: gauge!(RELOADED),
            reloaded_at: gauge!(RELOADED_AT),
            changes: ChangesCounted::new(),
            seals: SealsCounted::new(),
            key_turns: KeyTurnsCounted::new(),
            comparisons: Comparisons::new(),
            run: RunShown::new(),
            #[cfg(feature = "server")]
            passwords: OnceLock::new(),
        };
        for gauge in [&telemetry.staleness, &telemetry.in_flight] {
            gauge.set(0.0);
        }
        telemetry.cached(0);
        telemetry.hears_by(ChangeSource::Nothing);
        telemetry.proven(false, Duration::ZERO);
        telemetry
    }

    /// Counts an answer, which was in memory or not. A warm one of the database is counted by its
    /// thread.
    pub(super) fn answered(&self, answer: &Answer, in_memory: bool) {
        let reason = answer.reason();
        let counter = match (answer.source(), in_memory) {
            (Source::Database, _) if answer.stale() => &self.stale,
            (Source::Database, _) => &self.from_load,
            (Source::Environment, _) if reason.is_some_and(Reason::is_by_settings) => {
                &self.environment_by_settings
            }
            (Source::Environment, true) => &self.environment_kept,
            (Source::Environment, false) => &self.environment_from_load,
        };
        counter.increment(1);
        match reason {
            Some(reason) => {
                self.fallbacks[place(reason)].increment(1);
                self.inside.note_unanswered(reason);
            }
            None => self.inside.note_answered(),
        }
    }

    /// The calls of those inside of the rollout, since the start.
    pub(super) fn counts_inside(&self) -> Counts {
        let faults = self.inside.faults.load(Ordering::Relaxed);
        let answered = self.inside.answered.load(Ordering::Relaxed);
        Counts { inside: self.warm_answers() + answered + faults, faults }
    }

    fn warm_answers(&self) -> u64 {
        self.hits().iter().map(|hits| hits.0.load(Ordering::Relaxed)).sum()
    }

    /// What one more thread counts warm answers with.
    pub(super) fn new_hits(&self) -> Hits {
        let counter = Arc::default();
        self.hits().push(Arc::clone(&counter));
        Hits { counter, others: Cell::new(0) }
    }

    fn hits(&self) -> MutexGuard<'_, Vec<Arc<HitCounter>>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds up what threads have counted each for itself.
    pub(super) fn add_up(&self) {
        self.from_index.absolute(self.warm_answers());
    }

    /// Counts how long passwords take from now on.
    #[cfg(feature = "server")]
    pub(super) fn expect_passwords(&self) {
        self.passwords.get_or_init(|| histogram!(PASSWORD_TIME));
    }

    /// Counts a password that was compared.
    #[cfg(feature = "server")]
    pub(super) fn compared_password(&self, took: Duration) {
        if let Some(passwords) = self.passwords.get() {
            passwords.record(took);
        }
    }

    /// Counts a question that nobody could answer.
    pub(super) fn refused(&self, reason: Reason) {
        self.refusals[place(reason)].increment(1);
        self.inside.note_unanswered(reason);
    }

    /// Counts a secret that did not open.
    pub(super) fn unopened(&self, error: &KeyError) {
        if let Some((_, counter)) = self.unopenable.iter().find(|(code, _)| *code == error.code()) {
            counter.increment(1);
        }
    }

    /// Counts a load as under way until what is returned is dropped.
    pub(super) fn load_started(&self) -> InFlight {
        self.in_flight.increment(1.0);
        InFlight(self.in_flight.clone())
    }

    /// Says how many answers are cached.
    pub(super) fn cached(&self, entries: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 numbers")]
        self.entries.set(entries as f64);
    }

    /// Says how many answers have left memory by now, and why.
    pub(super) fn evicted(&self, evicted: &Evicted) {
        for (counter, many) in self.evictions.iter().zip(evicted.by_cause()) {
            counter.absolute(many);
        }
    }

    /// Says by which way changes are learned of.
    pub(super) fn hears_by(&self, source: ChangeSource) {
        for (way, gauge) in ChangeSource::ALL.iter().zip(&self.change_source) {
            gauge.set(one_if(*way == source));
        }
        self.listener_up.set(one_if(source != ChangeSource::Nothing));
    }

    /// Says whether it is proven that no change was missed, and how long ago it was.
    pub(super) fn proven(&self, live: bool, age: Duration) {
        self.lease_live.set(one_if(live));
        self.lease_age.set(age.as_secs_f64());
    }

    /// Says how the last reload of the settings went. `None`: in vain; else when it was, since 1970.
    pub(super) fn reloaded(&self, at: Option<Duration>) {
        self.reloaded.set(one_if(at.is_some()));
        if let Some(at) = at {
            self.reloaded_at.set(at.as_secs_f64().floor());
        }
    }
}

/// One in so many warm answers is timed, and told of to moka.
const SAMPLED: u64 = 64;

fn one_if(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn place(reason: Reason) -> usize {
    reason as usize
}
