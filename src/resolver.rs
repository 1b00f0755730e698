//! Number in, credentials out: the read path on one screen, and what it is built from.
//!
//! The flag decides first. Then the cache answers, if what it has is proven; else one load a
//! caller asks the database; else the environment answers, with its reason. Nothing here fails in
//! silence and nothing panics a caller.

mod builder;
mod config;
mod decision;
mod explain;
mod reload;
mod upkeep;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::builder::ResolverBuilder;
use self::config::Visit;
use self::decision::{Decision, decide};
pub use self::explain::{Explanation, Step};
pub use self::reload::{ReloadError, follow};
use self::upkeep::Upkeep;
pub use self::upkeep::{Health, NotReady};
use crate::cache::fence::{Fence, Generation, Stamp};
use crate::cache::flight::{Crashed, Flights};
use crate::cache::{Cache, Fresh, LastGood, Outcome, dice};
use crate::changes::{Change, Teller};
use crate::clock::{Clock, Moment};
use crate::credentials::{Resolution, Source};
use crate::environment::{Environment, ResolveError};
use crate::keyring::KeyRing;
use crate::lifecycle::Lifecycle;
use crate::number::{Caller, ConfigId, E164};
use crate::reason::Reason;
use crate::settings::{Cold, Settings, Tuning};
use crate::store::{Store, StoreError};
use crate::telemetry::Telemetry;

/// Resolves callers to LiveKit credentials. Cloning shares it.
#[derive(Clone)]
pub struct Resolver {
    engine: Arc<Engine>,
}

/// What the clones of a resolver and its loads share.
struct Engine {
    running: ArcSwap<Running>,
    cache: Arc<Cache>,
    flights: Flights<Caller, Landed>,
    config_flights: Flights<ConfigId, Option<Arc<Visit>>>,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    lifecycle: Lifecycle,
    telemetry: Telemetry,
    tuning: Tuning,
    /// The settings that only a restart changes.
    cold: Cold,
    /// Held by a reload, so that two of them do not cross.
    reloading: Mutex<()>,
    /// Whether changes are to be listened for: the flag.
    enabled: watch::Sender<bool>,
    /// Until when the database is left alone by those who have a last good answer.
    pause_until: AtomicU64,
    /// Who tells of changes. `None`: whoever has the store.
    teller: Option<Arc<Teller>>,
    upkeep: Upkeep,
}

/// What a load is for.
#[derive(Clone, Copy)]
enum Purpose {
    /// A caller waits for it.
    Answer,
    /// An answer that is in use nears its end; a caller asked for it last at this moment.
    Refresh { used_at: Moment },
}

/// What a load came to.
#[derive(Clone)]
struct Landed {
    outcome: Outcome,
    stamp: Stamp,
    /// When the database was asked.
    asked_at: Moment,
}

impl Landed {
    /// Whether it is as new as a question must have it that came at this point and moment.
    ///
    /// What changed before the question is known by now, if it is proven that no change was missed;
    /// else the load must have begun less than a lease before it.
    fn answers(
        &self,
        (asked, at): (Generation, Moment),
        proven: bool,
        fence: &Fence,
        lease: Duration,
    ) -> bool {
        let took_off_after = self.asked_at >= at && self.stamp.born >= asked;
        let in_time = proven || self.asked_at.after(lease) >= at;
        took_off_after || (in_time && fence.admits(self.stamp))
    }
}

/// The settings that change while it runs, ready to use.
struct Running {
    enabled: bool,
    ring: Option<Arc<KeyRing>>,
    environment: Environment,
    /// What everybody is told while the flag is off.
    off: Outcome,
}

impl Resolver {
    /// Starts to build one.
    #[must_use]
    pub fn builder(settings: Settings) -> ResolverBuilder {
        ResolverBuilder::new(settings)
    }

    /// The credentials for a call from `caller`.
    ///
    /// A warm caller is answered without waiting. A cold one waits for one statement, for
    /// `RESOLVE_DEADLINE` at the most; then the last good answer serves, or the environment.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when neither the database nor the environment has an answer.
    pub async fn resolve(&self, caller: Caller) -> Result<Resolution, ResolveError> {
        match self.engine.at_once(caller) {
            Some(outcome) => self.engine.counted(outcome),
            None => self.engine.counted(self.engine.after_loading(caller).await),
        }
    }

    /// The answer for `caller` if it is in memory and proven: the warm part of
    /// [`resolve`](Self::resolve), without a future. `None`: it would have to be loaded.
    #[must_use]
    pub fn try_resolve(&self, caller: Caller) -> Option<Result<Resolution, ResolveError>> {
        self.engine.at_once(caller).map(|outcome| self.engine.counted(outcome))
    }

    /// The credentials for a call from a number whose tenant is not known.
    ///
    /// Answered only when exactly one tenant owns the number, which is asked anew each time, so
    /// name the tenant where you can.
    ///
    /// # Errors
    ///
    /// [`ResolveError::TenantNeeded`] when several own it, otherwise as [`resolve`](Self::resolve).
    pub async fn resolve_unowned(&self, number: E164) -> Result<Resolution, ResolveError> {
        let engine = &self.engine;
        let running = engine.running.load_full();
        if !running.enabled {
            return engine.counted(running.off.clone());
        }
        let owners = match &engine.store {
            Some(store) => {
                let asked =
                    tokio::time::timeout(engine.tuning.resolve_deadline, store.owners(number));
                match asked.await {
                    Ok(owners) => owners.map_err(|error| reason_of(&error)),
                    Err(_) => Err(Reason::DatabaseTimeout),
                }
            }
            None => Err(Reason::DatabaseNotConfigured),
        };
        let reason = match owners.as_deref() {
            Ok(&[tenant]) => return self.resolve(Caller::new(tenant, number)).await,
            Ok([_, _, ..]) => return Err(ResolveError::TenantNeeded),
            Ok([]) => Reason::NumberUnknown,
            Err(reason) => *reason,
        };
        let outcome = running.environment.answer(reason, None, engine.clock.now());
        log_source(number, &outcome);
        engine.counted(outcome)
    }

    /// How long ago the database was asked for an answer.
    #[must_use]
    pub fn age(&self, resolution: &Resolution) -> Duration {
        self.engine.clock.now().since(resolution.loaded_at())
    }

    /// Tells of a change that this process made itself, so that it is used at once. What the
    /// database tells later of the same change costs one more load.
    pub fn invalidate(&self, change: Change) {
        self.engine.cache.apply(change);
    }

    /// How many answers are in memory.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.engine.cache.len()
    }

    /// Whether a change cannot have been missed: there is proof, or nobody who would tell.
    #[must_use]
    pub fn hears_changes(&self) -> bool {
        self.engine.cache.fence.lease_is_live(self.engine.clock.now())
    }

    /// How it fares: by which way it learns of changes, and what the self-check has found.
    #[must_use]
    pub fn health(&self) -> Health {
        self.engine.health()
    }

    /// Ends when [`stop`](Self::stop) is called.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.engine.lifecycle.stopping()
    }

    /// Ends the tasks that run beside the callers and waits for them, for `patience` at the most.
    /// `false`: some are still running.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.engine.lifecycle.stop(patience).await
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.lifecycle.stopping().cancel();
    }
}

impl Engine {
    /// The flag, then the cache.
    fn at_once(&self, caller: Caller) -> Option<Outcome> {
        let running = self.running.load();
        if !running.enabled {
            return Some(running.off.clone());
        }
        let now = self.clock.now();
        self.cache.hit(caller, now).or_else(|| self.with_new_config(caller, now))
    }

    /// The database, else the last good answer, else the environment.
    async fn after_loading(self: &Arc<Self>, caller: Caller) -> Outcome {
        let now = self.clock.now();
        let last = self.cache.last_good(caller, now);
        if let Some(last) = &last
            && self.database_is_left_alone(now)
            && let Some(stale) =
                self.cache.keep_last_good(caller, last, now, self.error_until(caller))
        {
            return stale;
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
    fn database_is_left_alone(&self, now: Moment) -> bool {
        let proven = self.teller.is_some() && self.cache.fence.lease_is_live(now);
        now.0 < self.pause_until.load(Ordering::Acquire) && !proven
    }

    /// Waits for a load that is as new as this question.
    async fn load(self: &Arc<Self>, caller: Caller) -> Result<Outcome, Crashed> {
        let asked = (self.cache.fence.generation(), self.clock.now());
        loop {
            let engine = Arc::clone(self);
            // Taken before the load begins, and held: it may be wiped for its age at any moment.
            let last = self.cache.last_good(caller, self.clock.now());
            let take_off = |born| engine.fly(caller, born, last, Purpose::Answer);
            let flight = self.flights.board(caller, &self.cache.fence, &self.lifecycle, take_off);
            let landed = flight.await?;
            let proven = self.cache.fence.lease_is_live(self.clock.now());
            // A flight that was joined may have read what changed before we asked. The next one
            // takes off after that.
            if landed.answers(asked, proven, &self.cache.fence, self.tuning.lease) {
                return Ok(landed.outcome);
            }
        }
    }

    /// One load: asks, decides, caches.
    async fn fly(
        self: Arc<Self>,
        caller: Caller,
        born: Generation,
        last: Option<LastGood>,
        purpose: Purpose,
    ) -> Landed {
        if let Purpose::Answer = purpose
            && let Some(answer) = self.after_config_change(caller).await
        {
            return answer;
        }
        self.telemetry.loads.increment(1);
        let running = self.running.load_full();
        let asked_at = self.clock.now();
        let route = match &self.store {
            Some(store) => store.route(caller).await,
            None => {
                let decision = Decision::no_database();
                return self.land(caller, born, (asked_at, asked_at), &running, decision);
            }
        };
        let used_at = match purpose {
            Purpose::Answer => asked_at,
            Purpose::Refresh { used_at } => used_at,
        };
        match route {
            Ok(route) => {
                self.pause_until.store(0, Ordering::Release);
                let decision = decide(route, running.ring.as_ref());
                self.land(caller, born, (asked_at, used_at), &running, decision)
            }
            Err(error) => {
                tracing::debug!(caller = ?caller.number, %error, "the database was asked in vain");
                // One row that cannot be read says nothing of the others.
                if matches!(error, StoreError::Unreachable { .. } | StoreError::Timeout { .. }) {
                    self.pause_until.store(self.error_until(caller).0, Ordering::Release);
                    self.cache.distrust_database(self.clock.now().after(DISTRUST));
                }
                // An answer that still counts is better than what there is without the database.
                if let (Purpose::Refresh { .. }, Some((outcome, _))) =
                    (purpose, self.cache.proven(caller, self.clock.now()))
                {
                    return Landed { outcome, stamp: Stamp::new(born, caller, None), asked_at };
                }
                let outcome = self.without_database(caller, last, reason_of(&error));
                Landed { outcome, stamp: Stamp::new(born, caller, None), asked_at }
            }
        }
    }

    /// Makes an answer of what the rows say, and keeps it.
    fn land(
        &self,
        caller: Caller,
        born: Generation,
        (asked_at, used_at): (Moment, Moment),
        running: &Running,
        decision: Decision,
    ) -> Landed {
        let stamp = Stamp::new(born, caller, decision.depends_on);
        let outcome =
            decision.outcome(born, &running.environment, &self.cache, &self.clock, asked_at);
        self.tell(caller, &outcome);
        let answered = matches!(&outcome, Ok(answer) if answer.source() == Source::Database);
        let ttl = if answered { self.tuning.ttl } else { self.tuning.negative_ttl };
        let ttl = ttl.mul_f64(1.0 - self.tuning.ttl_jitter * dice((caller, asked_at.0)));
        let refresh_at =
            if answered { asked_at.after(ttl.mul_f64(REFRESH_AT)) } else { Moment::NEVER };
        let fresh = Fresh {
            outcome: outcome.clone(),
            stamp,
            serve_until: asked_at.after(ttl),
            keep_until: asked_at.after(self.tuning.max_stale),
            refresh_at,
            used_at,
            needs_lease: true,
        };
        self.cache.keep(caller, fresh, self.clock.now());
        self.telemetry.cached(self.cache.len());
        Landed { outcome, stamp, asked_at }
    }

    /// The last good answer, else the environment: for when the database is in the way. Either
    /// serves for `ERROR_TTL` before the database is asked again.
    fn without_database(&self, caller: Caller, last: Option<LastGood>, reason: Reason) -> Outcome {
        // Before the settings are read: what a reload makes of them must outrank this answer.
        let born = self.cache.fence.generation();
        let (now, until) = (self.clock.now(), self.error_until(caller));
        if matches!(reason, Reason::DatabaseUnreachable | Reason::DatabaseTimeout) {
            self.cache.distrust_database(now.after(DISTRUST));
        }
        let kept = last.and_then(|last| self.cache.keep_last_good(caller, &last, now, until));
        if let Some(stale) = kept {
            return stale;
        }
        let environment = &self.running.load().environment;
        let outcome = environment.answer(reason, None, now);
        self.tell(caller, &outcome);
        let stamp = Stamp::new(born, caller, None);
        let fresh = Fresh {
            outcome: outcome.clone(),
            stamp,
            serve_until: until,
            keep_until: until,
            refresh_at: Moment::NEVER,
            used_at: now,
            needs_lease: false,
        };
        self.cache.keep(caller, fresh, now);
        outcome
    }

    fn error_until(&self, caller: Caller) -> Moment {
        let now = self.clock.now();
        // Half to whole, so that those who failed together do not ask again together.
        now.after(self.tuning.error_ttl.mul_f64(0.5 + 0.5 * dice((caller, now.0))))
    }

    /// Logs where an answer comes from, when that differs from what was cached: never once a call.
    fn tell(&self, caller: Caller, outcome: &Outcome) {
        let gist = |outcome: &Outcome| match outcome {
            Ok(answer) => (answer.config_id(), answer.reason()),
            Err(error) => (None, error.reason()),
        };
        if self.cache.peek(caller, gist) == Some(gist(outcome)) {
            return;
        }
        log_source(caller.number, outcome);
    }

    fn counted(&self, outcome: Outcome) -> Outcome {
        match &outcome {
            Ok(answer) => {
                self.telemetry.answered(answer.source(), answer.reason());
                if answer.stale() {
                    self.telemetry.stale.increment(1);
                }
            }
            Err(error) => {
                if let Some(reason) = error.reason() {
                    self.telemetry.refused(reason);
                }
            }
        }
        outcome
    }
}

impl Running {
    fn new(settings: Settings, clock: &Arc<dyn Clock>) -> Self {
        let environment = Environment::new(settings.environment, Arc::clone(clock));
        let off = environment.answer(Reason::FlagOff, None, clock.now());
        Self { enabled: settings.enabled, ring: settings.ring, environment, off }
    }
}

/// The words that operators search for.
fn log_source(number: E164, outcome: &Outcome) {
    let number = number.masked();
    match outcome {
        Ok(answer) => match answer.reason() {
            None => tracing::info!(
                config = answer.config_name(),
                %number,
                "Using LiveKit credentials from database"
            ),
            Some(reason) => {
                tracing::warn!(%reason, %number, "Falling back to environment variables");
            }
        },
        Err(error) => tracing::error!(%number, %error, "no credentials for a call"),
    }
}

fn reason_of(error: &StoreError) -> Reason {
    match error {
        StoreError::Unreachable { .. } => Reason::DatabaseUnreachable,
        StoreError::Timeout { .. } => Reason::DatabaseTimeout,
        _ => Reason::DatabaseError,
    }
}

/// How long a failed load keeps answers from being wiped for their age alone.
const DISTRUST: Duration = Duration::from_secs(10);
/// After which part of its time an answer that is in use is loaded anew.
const REFRESH_AT: f64 = 0.85;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::TenantId;

    #[test]
    fn a_load_that_was_long_on_its_way_does_not_answer_a_late_question_without_proof() {
        let (fence, lease) = (Fence::new(), Duration::from_secs(1));
        let number = "+971500000001".parse().unwrap();
        let caller = Caller::new(TenantId(uuid::Uuid::nil()), number);
        let landed = |at| Landed {
            outcome: Err(ResolveError::TenantNeeded),
            stamp: Stamp::new(fence.generation(), caller, None),
            asked_at: Moment(0).after(at),
        };
        let question = |at| (fence.generation(), Moment(0).after(at));
        let early = landed(Duration::ZERO);
        let (soon, late) = (Duration::from_millis(900), Duration::from_millis(1100));
        assert!(early.answers(question(soon), false, &fence, lease));
        assert!(!early.answers(question(late), false, &fence, lease), "nothing was heard since");
        assert!(early.answers(question(late), true, &fence, lease));
        assert!(landed(late).answers(question(late), false, &fence, lease), "its own load");
        fence.bump(Change::Number(caller));
        assert!(!early.answers(question(soon), true, &fence, lease));
        let own = landed(late);
        let asked = question(late);
        fence.bump(Change::Number(caller));
        assert!(own.answers(asked, true, &fence, lease), "it asked before the change");
    }
}
