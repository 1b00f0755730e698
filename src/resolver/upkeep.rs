//! What runs beside the callers: telling of changes, sweeping, refreshing, pruning and the
//! self-check. Each is a task that is started again should it panic.
//!
//! **Invariant:** none of them keeps a resolver alive that nobody holds any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::decision::decide;
use super::loading::Purpose;
use super::warming::warm_up;
use super::{Engine, Resolver};
use crate::cache::{Place, SWEEP};
use crate::changes::{Change, Hearing};
use crate::settings::Warm;
use crate::store::StoreError;

/// What the tasks have found.
#[derive(Default)]
pub(super) struct Upkeep {
    /// Whether changes have been heard at least once.
    has_heard: AtomicBool,
    /// Whether what was to be loaded at the start has been, as far as it could be.
    pub(super) warmed: AtomicBool,
    checked: AtomicU64,
    found_stale: AtomicU64,
    /// Whether the last self-check found a stale answer.
    stale_now: AtomicBool,
    /// In nanoseconds.
    max_staleness: AtomicU64,
}

/// How a resolver fares.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether the database is asked at all: the flag.
    pub enabled: bool,
    /// By which way it learns of changes at present.
    pub hearing: Hearing,
    /// Why it is not the quicker one, where that is known.
    pub trouble: Option<String>,
    /// How many answers are in memory.
    pub cached: usize,
    /// How many answers the self-check has held against the database.
    pub checked: u64,
    /// How many of them were staler than `LEASE` allows.
    pub found_stale: u64,
    /// For how long at most an answer was seen to count after the database said otherwise.
    pub max_staleness: Duration,
    /// Why it should not be given calls to answer. Not for want of a database while it knows
    /// answers.
    pub not_ready: Option<NotReady>,
}

/// Why a resolver should not be given calls to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotReady {
    /// It has just begun.
    #[error("nothing has proven yet that changes are heard")]
    HasNotHeard,
    /// What `WARM` names is being loaded.
    #[error("the numbers that WARM names are being loaded")]
    Warming,
    /// The database is away, nothing is in memory, and the environment has no credentials.
    #[error("there is nothing to answer with: no database, nothing in memory, and no environment")]
    NothingToAnswerWith,
    /// The self-check says so.
    #[error("the last self-check found an answer that is staler than it may be")]
    Stale,
}

impl Resolver {
    /// Records at once what is else recorded twenty times a second: for a scrape.
    #[cfg(feature = "server")]
    pub(crate) fn tell_metrics(&self) {
        self.engine.tell_metrics(self.engine.hearing());
    }
}

impl Engine {
    pub(super) fn health(&self) -> Health {
        let found = &self.upkeep;
        let hearing = self.hearing();
        let enabled = self.running.load().enabled;
        let not_ready = if !enabled {
            None
        } else if hearing == Hearing::Nothing && !found.has_heard.load(Ordering::Acquire) {
            Some(NotReady::HasNotHeard)
        } else if hearing == Hearing::Nothing && self.has_nothing_to_answer_with() {
            Some(NotReady::NothingToAnswerWith)
        } else if self.tuning.warm != Warm::None && !found.warmed.load(Ordering::Acquire) {
            Some(NotReady::Warming)
        } else {
            found.stale_now.load(Ordering::Acquire).then_some(NotReady::Stale)
        };
        Health {
            enabled,
            hearing,
            trouble: self.teller.as_ref().and_then(|teller| teller.trouble()),
            cached: self.cache.len(),
            checked: found.checked.load(Ordering::Acquire),
            found_stale: found.found_stale.load(Ordering::Acquire),
            max_staleness: Duration::from_nanos(found.max_staleness.load(Ordering::Acquire)),
            not_ready,
        }
    }

    fn has_nothing_to_answer_with(&self) -> bool {
        self.cache.len() == 0 && !self.running.load().environment.missing().is_empty()
    }

    fn hearing(&self) -> Hearing {
        self.teller.as_ref().map_or(Hearing::Embedder, |teller| teller.hearing())
    }

    /// Records what is not recorded where it happens.
    fn tell_metrics(&self, hearing: Hearing) {
        let (telemetry, now) = (&self.telemetry, self.clock.now());
        telemetry.add_up();
        telemetry.hears_by(hearing);
        telemetry.cached(self.cache.len());
        telemetry.evicted(&self.cache.evicted);
        let fence = &self.cache.fence;
        telemetry.proven(fence.lease_is_live(now), fence.lease_age(now, self.tuning.lease));
    }

    /// Starts every task that runs beside the callers.
    pub(super) fn start_upkeep(self: &Arc<Self>, enabled: &watch::Receiver<bool>) {
        if let Some(teller) = &self.teller {
            let teller = Arc::clone(teller);
            self.start("changes", enabled, move |_| {
                let teller = Arc::clone(&teller);
                async move { match Box::pin(teller.tell()).await {} }
            });
            self.start("self-check", enabled, check_now_and_then);
            self.start("prune", enabled, prune_now_and_then);
        }
        if self.tuning.warm != Warm::None && self.store.is_some() {
            self.start("warm-up", enabled, warm_up);
        }
        let always = watch::channel(true).1;
        let (in_use, wanted) = mpsc::channel(REFRESHES_WAITING);
        let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
        self.start("sweeper", &always, move |engine| sweep(engine, in_use.clone()));
        self.start("refresh", &always, move |engine| refresh(engine, Arc::clone(&wanted)));
    }

    /// Runs a task while `enabled` says so, until the resolver stops.
    fn start<F>(
        self: &Arc<Self>,
        name: &'static str,
        enabled: &watch::Receiver<bool>,
        task: impl Fn(Weak<Self>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (engine, enabled) = (Arc::downgrade(self), enabled.clone());
        let (stopping, restarts) = (self.lifecycle.stopping(), self.telemetry.restarts.clone());
        let task = Arc::new(task);
        let supervised = move || {
            let (engine, mut enabled) = (Weak::clone(&engine), enabled.clone());
            let (stopping, task) = (stopping.clone(), Arc::clone(&task));
            async move {
                let while_enabled = async {
                    loop {
                        // With its sender gone, the flag stays as it is.
                        if enabled.wait_for(|on| *on).await.is_err() && !*enabled.borrow() {
                            return;
                        }
                        tokio::select! {
                            () = task(Weak::clone(&engine)) => return,
                            Ok(_) = enabled.wait_for(|on| !*on) => {}
                        }
                    }
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = while_enabled => {}
                }
            }
        };
        self.lifecycle.supervise(name, move || restarts.increment(1), supervised);
    }

    /// Loads anew what is in use, unless the database is in the way.
    async fn refresh(self: &Arc<Self>, place: Place) {
        let now = self.clock.now();
        if self.database_is_left_alone(now) {
            return;
        }
        let Some(used_at) = self.cache.used_at(place) else { return };
        let (engine, (caller, _)) = (Arc::clone(self), place);
        let last = self.cache.last_good(caller, now);
        let take_off = |born| engine.fly(caller, born, last, Purpose::Refresh { used_at });
        let _landed =
            self.flights.board(caller, &self.cache.fence, &self.lifecycle, take_off).await;
    }

    /// Holds one answer against the database.
    async fn check(&self) {
        let (Some(store), Ok(dice)) = (&self.store, getrandom::u64()) else { return };
        let asked_at = self.clock.now();
        let sample = self.cache.any(dice).and_then(|caller| {
            let (outcome, serial) = self.cache.proven(caller, asked_at)?;
            Some((caller, outcome, serial))
        });
        let Some((caller, outcome, serial)) = sample else {
            // What would not be served cannot be stale.
            return found_nothing(&self.upkeep);
        };
        let running = self.running.load_full();
        let Ok(route) = store.route(caller).await else {
            // What was found before says nothing of an answer that nobody can be held against now.
            return found_nothing(&self.upkeep);
        };
        let decision = decide(route, running.ring.as_ref());
        let place = (caller, serial);
        let staleness = if decision.says(&outcome, &running.environment) {
            Duration::ZERO
        } else {
            self.until_it_counts_no_more(place, asked_at).await
        };
        // Held against what the settings said before, it says nothing.
        if !Arc::ptr_eq(&running, &self.running.load_full()) {
            return;
        }
        let found = &self.upkeep;
        let stale = staleness > self.tuning.lease;
        found.checked.fetch_add(1, Ordering::AcqRel);
        self.telemetry.checks.increment(1);
        let nanos = u64::try_from(staleness.as_nanos()).unwrap_or(u64::MAX);
        let most = found.max_staleness.fetch_max(nanos, Ordering::AcqRel).max(nanos);
        self.telemetry.staleness.set(Duration::from_nanos(most).as_secs_f64());
        found.stale_now.store(stale, Ordering::Release);
        if stale {
            found.found_stale.fetch_add(1, Ordering::AcqRel);
            self.telemetry.stale_found.increment(1);
            tracing::error!(?staleness, "an answer in memory was stale; it is dropped");
            self.telemetry.by_self_check.increment(1);
            self.cache.apply(Change::Number(caller));
            if let Some(id) = outcome.ok().and_then(|answer| answer.config_id()) {
                self.cache.apply(Change::Config(id));
            }
        }
    }

    /// Waits until an answer that is known to be old is refused, and returns how long after the
    /// database had said otherwise that was.
    async fn until_it_counts_no_more(
        &self,
        place: Place,
        asked_at: crate::clock::Moment,
    ) -> Duration {
        loop {
            let now = self.clock.now();
            let staleness = now.since(asked_at);
            if !self.cache.still_counts(place, now) || staleness > self.tuning.lease * 2 {
                return staleness;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn found_nothing(upkeep: &Upkeep) {
    upkeep.stale_now.store(false, Ordering::Release);
}

/// Wipes what is due, notes by which way changes are heard, and passes on what is in use.
async fn sweep(engine: Weak<Engine>, in_use: mpsc::Sender<Place>) {
    let mut due = interval(SWEEP);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let Some(engine) = engine.upgrade() else { return };
        for place in engine.cache.sweep(engine.clock.now()) {
            // With so many waiting, callers load the rest themselves.
            if in_use.try_send(place).is_err() {
                break;
            }
        }
        let hearing = engine.hearing();
        engine.tell_metrics(hearing);
        if hearing != Hearing::Nothing {
            engine.upkeep.has_heard.store(true, Ordering::Release);
        }
    }
}

async fn refresh(engine: Weak<Engine>, wanted: Arc<tokio::sync::Mutex<mpsc::Receiver<Place>>>) {
    let mut wanted = wanted.lock().await;
    futures_util::stream::poll_fn(|context| wanted.poll_recv(context))
        .for_each_concurrent(REFRESHES_AT_ONCE, |place| {
            let engine = engine.upgrade();
            async move {
                if let Some(engine) = engine {
                    engine.refresh(place).await;
                }
            }
        })
        .await;
}

async fn check_now_and_then(engine: Weak<Engine>) {
    loop {
        let rhythm = engine.upgrade().map(|engine| engine.tuning.self_check);
        let Some(Some(rhythm)) = rhythm else { return };
        sleep(rhythm).await;
        let Some(engine) = engine.upgrade() else { return };
        engine.check().await;
    }
}

async fn prune_now_and_then(engine: Weak<Engine>) {
    loop {
        let keep = engine.upgrade().map(|engine| engine.tuning.keep_changes);
        let Some(Some(keep)) = keep else { return };
        // Not all nodes at once, nor right at their start.
        let dice = getrandom::u64().unwrap_or(0) % PRUNE_EVERY.as_secs();
        sleep(PRUNE_EVERY / 2 + Duration::from_secs(dice)).await;
        let Some(engine) = engine.upgrade() else { return };
        let Some(store) = &engine.store else { return };
        match store.prune_changes(keep).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "the change log was pruned"),
            Err(StoreError::Refused { code, .. }) if MAY_NOT_WRITE.contains(&&*code) => {
                tracing::debug!("the change log is not pruned from here");
            }
            Err(error) => tracing::warn!(%error, "the change log could not be pruned"),
        }
    }
}

/// A role without the right to delete, and a replica.
const MAY_NOT_WRITE: [&str; 2] = ["42501", "25006"];
const REFRESHES_WAITING: usize = 4096;
/// Callers come first: they have the other connections.
const REFRESHES_AT_ONCE: usize = 2;
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
