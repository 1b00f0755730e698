//! The cold path: one load asks the database, decides, and caches the answer. If the database fails,
//! the last good answer serves, or the environment.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tracing::Instrument;

use super::decision::{Decision, Unusable, answer};
use super::key_rule::KeysInForce;
use super::live::{Live, Running};
use super::loaded::{Asked, LoadResult, Loaded, LoadedConfig, reason_of};
use super::metrics::Telemetry;
use super::rollout::RolloutInForce;
use super::route_batcher::RouteBatcher;
use super::source_log::{SourceLog, Topic};
use super::url_watch::UrlWatch;
use super::whole::Around;
use crate::answer::KnownRules;
use crate::cache::fence::{Generation, Stamp};
use crate::cache::single_flight::{Crashed, SingleFlight};
use crate::cache::{Cache, EntryId, Fresh, LastGood, Lifetimes, ResolveOutcome, jitter_fraction};
use crate::clock::{Clock, Moment};
use crate::lifecycle::Lifecycle;
use crate::number::{Caller, ConfigId};
use crate::reason::Reason;
use crate::rollout::{Side, Standing};
use crate::settings::Tuning;
use crate::store::{Config, Store, StoreError};

/// Asks the database for what is not in memory.
pub(super) struct Loader {
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) keys: KeysInForce,
    /// Whether there is a change feed: then a live lease proves that the database answers.
    pub(super) has_feed: bool,
    pub(super) live: Arc<Live>,
    pub(super) rollout: RolloutInForce,
    pub(super) cache: Arc<Cache>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) source_log: SourceLog,
    pub(super) lifecycle: Lifecycle,
    pub(super) tuning: Arc<Tuning>,
    pub(super) lifetimes: Lifetimes,
    pub(super) route_batcher: RouteBatcher,
    pub(super) loads: SingleFlight<Caller, Loaded>,
    pub(super) config_loads: SingleFlight<ConfigId, LoadedConfig>,
    pub(super) url_watch: UrlWatch,
    /// Until when callers that have a last good answer do not ask the database.
    pub(super) pause_until: AtomicU64,
}

/// Why a load came to no decision.
#[derive(Clone)]
pub(super) enum Undecided {
    /// The database was asked in vain.
    Unasked(Arc<StoreError>),
    /// It has told, and not what the rollout makes of it.
    RolloutUnknown(Reason),
}

impl Undecided {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Unasked(error) => reason_of(error),
            Self::RolloutUnknown(reason) => *reason,
        }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unasked(error) => error.fmt(out),
            Self::RolloutUnknown(reason) => write!(out, "the rollout cannot be read: {reason}"),
        }
    }
}

/// What a load is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// A caller waits for it.
    Answer,
    /// An answer in use is about to end. A caller last asked for it at this moment.
    Refresh { used_at: Moment },
}

impl Loader {
    /// The database, else the last good answer, else the environment.
    pub(super) async fn outcome(self: &Arc<Self>, caller: Caller) -> ResolveOutcome {
        let now = self.clock.now();
        let last = self.cache.last_good(caller, now);
        if let Some(last) = &last
            && self.database_is_left_alone(now)
            && let Some(outcome) = self.by_last(caller, last, Reason::DatabaseUnreachable)
        {
            return outcome;
        }
        let loaded = tokio::time::timeout(self.tuning.resolve_deadline, self.load(caller));
        match loaded.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Crashed)) => self.without_database(caller, last, Reason::LoadPanicked),
            Err(_) => self.without_database(caller, last, Reason::DatabaseTimeout),
        }
    }

    /// Whether a load has failed a moment ago, and nothing has proven since that the database
    /// answers.
    pub(super) fn database_is_left_alone(&self, now: Moment) -> bool {
        let proven = self.has_feed && self.cache.fence.lease_is_live(now);
        now.0 < self.pause_until.load(Ordering::Acquire) && !proven
    }

    /// Reloads an answer in use, unless the database failed a moment ago.
    pub(super) async fn refresh(self: &Arc<Self>, place: EntryId) {
        let now = self.clock.now();
        if self.database_is_left_alone(now) {
            return;
        }
        let Some(used_at) = self.cache.used_at(place) else { return };
        let (loader, (caller, _)) = (Arc::clone(self), place);
        let last = self.cache.last_good(caller, now);
        let start = |born| loader.run_load(caller, born, last, Purpose::Refresh { used_at });
        let _loaded =
            self.loads.join_or_start(caller, &self.cache.fence, &self.lifecycle, start).await;
    }

    /// Waits for a load that is as new as this question.
    async fn load(self: &Arc<Self>, caller: Caller) -> Result<ResolveOutcome, Crashed> {
        let question = self.question_now();
        loop {
            let loader = Arc::clone(self);
            // Taken before the load begins, and held: it may be wiped for its age at any moment.
            let last = self.cache.last_good(caller, self.clock.now());
            let joined = AtomicBool::new(true);
            let start = |born| {
                joined.store(false, Ordering::Relaxed);
                let span = tracing::debug_span!("load", number = %caller.number.masked());
                loader.run_load(caller, born, last, Purpose::Answer).instrument(span)
            };
            let flight =
                self.loads.join_or_start(caller, &self.cache.fence, &self.lifecycle, start);
            let result = flight.await;
            self.telemetry.joined.increment(u64::from(joined.load(Ordering::Relaxed)));
            let result = result?;
            let proven = self.cache.fence.lease_is_live(self.clock.now());
            // A load that was joined may have read the row before a change that precedes this
            // question. The next one starts after it.
            if result.answers(question, proven, &self.cache.fence, self.tuning.lease) {
                return Ok(result.outcome);
            }
        }
    }

    /// One load: asks, decides, caches.
    async fn run_load(
        self: Arc<Self>,
        caller: Caller,
        born: Generation,
        last: Option<LastGood>,
        purpose: Purpose,
    ) -> Loaded {
        if let Purpose::Answer = purpose
            && let Some(answer) = self.after_config_change(caller).await
        {
            return answer;
        }
        self.telemetry.loads.increment(1);
        let _under_way = self.telemetry.load_started();
        let running = self.live.running();
        let asked = Asked { born, at: self.clock.now() };
        let used_at = match purpose {
            Purpose::Answer => asked.at,
            Purpose::Refresh { used_at } => used_at,
        };
        match self.decide(caller, asked, &running).await {
            Ok(decision) => self.keep_decision(caller, asked, used_at, &running, decision),
            Err(error) => {
                tracing::debug!(caller = ?caller.number, %error, "the database was asked in vain");
                self.note_undecided(caller, &error);
                // An answer that still counts is better than what there is without the database.
                let proven = match purpose {
                    Purpose::Refresh { .. } => self.cache.proven(caller, self.clock.now()),
                    Purpose::Answer => None,
                };
                let outcome = match proven {
                    Some((outcome, _)) => outcome,
                    None => self.without_database(caller, last, error.reason()),
                };
                Loaded { outcome, stamp: Stamp::new(born, caller, None), asked_at: asked.at }
            }
        }
    }

    /// Checks whether the calls of a config go to another server than before.
    pub(super) fn watch_url(&self, config: Option<&Config>, asked: Asked) {
        if let Some(config) = config {
            self.url_watch.watch(config, asked, &self.telemetry, &self.source_log);
        }
    }

    /// A question asked now.
    pub(super) fn question_now(&self) -> Asked {
        Asked { born: self.cache.fence.generation(), at: self.clock.now() }
    }

    /// Asks the database, and decides what its rows mean.
    pub(super) async fn decide(
        &self,
        caller: Caller,
        asked: Asked,
        running: &Running,
    ) -> Result<Decision, Undecided> {
        let Some(store) = &self.store else { return Ok(Decision::no_database()) };
        let route = self.route_batcher.route(&**store, caller).await.map_err(Undecided::Unasked)?;
        self.pause_until.store(0, Ordering::Release);
        self.watch_url(route.as_ref().and_then(|route| route.config.as_ref()), asked);
        let standing = self.standing(caller, running).await.map_err(Undecided::RolloutUnknown)?;
        let config = route.as_ref().and_then(|route| route.config.as_ref());
        let config = config.filter(|_| running.uses_configs());
        match self.knowing_key_of(config, running).await? {
            None => Ok(running.decide(standing, route)),
            Some(running) => Ok(running.decide(standing, route)),
        }
    }

    /// The settings with a ring that has the key of this config, if that is to be had. `None`: the ring has it,
    /// or no secret is to be opened.
    pub(super) async fn knowing_key_of(
        &self,
        config: Option<&Config>,
        running: &Running,
    ) -> Result<Option<Arc<Running>>, Undecided> {
        if !config.is_some_and(|config| running.lacks_key_of(config)) {
            return Ok(None);
        }
        match self.keys.learn().await {
            Ok(()) => Ok(Some(self.live.running())),
            Err(error @ (StoreError::Unreachable { .. } | StoreError::Timeout { .. })) => {
                Err(Undecided::Unasked(Arc::new(error)))
            }
            Err(error) => {
                tracing::debug!(%error, "what the database says of keys could not be read");
                Ok(None)
            }
        }
    }

    /// What the rollout makes of a caller. A change of it that comes after this outdates what was asked
    /// for before.
    pub(super) async fn standing(
        &self,
        caller: Caller,
        running: &Running,
    ) -> Result<Standing, Reason> {
        if !running.uses_configs() {
            return Ok(Standing::UNKNOWN);
        }
        Ok(Standing::of(&*self.rollout.known().await?, caller))
    }

    /// What a list depends on.
    pub(super) fn around(&self) -> Around {
        Around {
            live: Arc::clone(&self.live),
            cache: Arc::clone(&self.cache),
            clock: Arc::clone(&self.clock),
            lifecycle: self.lifecycle.clone(),
            tuning: Arc::clone(&self.tuning),
        }
    }

    /// Makes an answer of a decision, and caches it.
    pub(super) fn keep_decision(
        &self,
        caller: Caller,
        asked: Asked,
        used_at: Moment,
        running: &Running,
        decision: Decision,
    ) -> Loaded {
        let stamp = Stamp::new(asked.born, caller, decision.depends_on);
        let (outcome, config_born) = self.open(decision, asked, running);
        let stamp = stamp.with_config_of(config_born);
        self.log_source(caller, &outcome);
        let fresh = Fresh::from_database(caller, outcome.clone(), stamp, asked.at, &self.lifetimes)
            .used_at(used_at);
        self.cache.keep(caller, fresh, self.clock.now());
        Loaded { outcome, stamp, asked_at: asked.at }
    }

    /// The answer: the config's, with credentials shared by all numbers that use it, or the
    /// environment's. Also the generation of the config's part.
    pub(super) fn open(
        &self,
        decision: Decision,
        asked: Asked,
        running: &Running,
    ) -> (ResolveOutcome, Generation) {
        let Decision { depends_on, rules, verdict, falls_back, shadow } = decision;
        let environment = &running.environment;
        let opened = verdict.and_then(|chosen| {
            let opened = chosen.credentials(asked.born, &self.cache, &self.clock)?;
            Ok((chosen, opened))
        });
        match opened {
            Ok((chosen, (credentials, config_born))) => {
                let (id, facts) = (chosen.config.id, chosen.facts());
                let rules = rules.rules().cloned();
                let answer = answer(credentials, id, &facts, rules, environment, asked.at);
                (Ok(answer), config_born)
            }
            Err(why) => {
                self.note_refusal(&why, depends_on, asked.at);
                let outcome = running.fall_back(why.reason(), falls_back, rules, asked.at);
                if let Some(wanted) = shadow {
                    self.telemetry.comparisons.compare(&wanted, environment);
                }
                (outcome, asked.born)
            }
        }
    }

    fn note_refusal(&self, why: &Unusable, config: Option<ConfigId>, now: Moment) {
        let Unusable::Secret(error) = why else {
            return tracing::debug!(%why, "the database has no answer");
        };
        self.telemetry.unopened(error);
        if let Some(kept_back) = self.source_log.admit(Topic::Secret, now) {
            let config = config.map(tracing::field::display);
            tracing::error!(config, %error, kept_back, "a secret does not open");
        }
    }

    /// The last good answer, else the environment's: for when the database fails. Either serves for
    /// `ERROR_TTL` before the database is asked again.
    pub(super) fn without_database(
        &self,
        caller: Caller,
        last: Option<LastGood>,
        reason: Reason,
    ) -> ResolveOutcome {
        if matches!(reason, Reason::DatabaseUnreachable | Reason::DatabaseTimeout) {
            self.cache.distrust_database(self.clock.now().after(DISTRUST));
        }
        if let Some(outcome) = last.and_then(|last| self.by_last(caller, &last, reason)) {
            return outcome;
        }
        // Before the settings are read: what a reload makes of them must outrank this answer.
        let born = self.cache.fence.generation();
        let (now, until) = (self.clock.now(), self.error_until(caller));
        let standing = self.rollout.last_standing(caller);
        let running = self.live.running();
        let outcome = running.without_database(reason, standing, KnownRules::Unknown, now);
        self.log_source(caller, &outcome);
        let stamp = Stamp::new(born, caller, None);
        self.cache.keep(caller, Fresh::substitute(outcome.clone(), stamp, now, until), now);
        outcome
    }

    /// The last good answer, if the flag lets it place calls; else the environment's, by the rules that
    /// the database named last. `None`: that is known to have changed.
    fn by_last(&self, caller: Caller, last: &LastGood, reason: Reason) -> Option<ResolveOutcome> {
        // Before the settings are read: what a reload makes of them must outrank this answer.
        let made = self.cache.fence.generation();
        let (now, until) = (self.clock.now(), self.error_until(caller));
        let running = self.live.running();
        let standing = self.rollout.last_standing(caller);
        if running.uses_configs()
            && standing.side == Side::Inside
            && let Some(stale) = self.cache.keep_last_good(caller, last, made, now, until)
        {
            return Some(stale);
        }
        if !self.cache.last_rules_hold(last) {
            return None;
        }
        let outcome = running.without_database(reason, standing, last.rules.clone(), now);
        self.log_source(caller, &outcome);
        let fresh = Fresh::by_last_rules(outcome.clone(), last, made, now, until);
        self.cache.keep(caller, fresh, now);
        Some(outcome)
    }

    /// Records why a load came to nothing.
    pub(super) fn note_undecided(&self, caller: Caller, why: &Undecided) {
        if let Undecided::Unasked(error) = why {
            self.note_failure(caller, error);
        }
    }

    /// Records a failure of the database, for all callers.
    pub(super) fn note_failure(&self, asked_for: impl Hash, error: &StoreError) {
        // A row that cannot be read says nothing about the database.
        if matches!(error, StoreError::Unreachable { .. } | StoreError::Timeout { .. }) {
            self.pause_until.store(self.error_until(asked_for).0, Ordering::Release);
            self.cache.distrust_database(self.clock.now().after(DISTRUST));
        }
    }

    /// Logs where an answer comes from, when that differs from what was cached: never once a call.
    pub(super) fn log_source(&self, caller: Caller, outcome: &ResolveOutcome) {
        let source_of = |outcome: &ResolveOutcome| match outcome {
            Ok(answer) => (answer.config_id(), answer.reason()),
            Err(unanswered) => (None, unanswered.error.reason()),
        };
        if self.cache.peek(caller).as_ref().map(source_of) != Some(source_of(outcome)) {
            self.source_log.log(caller.number, outcome, self.clock.now());
        }
    }

    fn error_until(&self, asked_for: impl Hash) -> Moment {
        let now = self.clock.now();
        // Half to whole, so that those who failed together do not ask again together.
        now.after(self.tuning.error_ttl.mul_f64(0.5 + 0.5 * jitter_fraction((asked_for, now.0))))
    }
}

/// How long after a failed load expired answers are kept.
const DISTRUST: Duration = Duration::from_secs(10);
