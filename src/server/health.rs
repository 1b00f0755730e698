//! Whether the daemon is ready for calls, and two things that only a question now and then shows:
//! whether its tables are the right ones, and which keys its secrets are sealed with.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Gauge, gauge};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::changes::ChangeSource;
use crate::resolver::{NotReady, Resolver};
use crate::store::{
    KeyBook, KeyPhase, KnownKey, Migrations, OpenStore, PairAge, PairPhase, StoreError,
};
use crate::telemetry::{BUILD, KEY_AGE, PAIR_AGE, PAIRS, READY, SEALED, SEALING_KEY_MISSING};

/// What readiness is made of.
pub(super) struct Readiness {
    resolver: Resolver,
    database: Option<OpenStore>,
    stopping: AtomicBool,
    /// Why the tables are not known to be right; `None` once they were.
    tables: Mutex<Option<Unready>>,
    ready: Gauge,
    sealed: Mutex<HashMap<(String, &'static str), Gauge>>,
    key_ages: Mutex<HashMap<(String, &'static str), Gauge>>,
    sealing_key_missing: Gauge,
    pairs: PairGauges,
}

/// How many pairs are in each phase, and for how long the oldest is.
struct PairGauges([(PairPhase, Gauge, Gauge); 3]);

impl PairGauges {
    fn new() -> Self {
        Self(PairPhase::ALL.map(|phase| {
            let state = phase.as_str();
            (phase, gauge!(PAIRS, "state" => state), gauge!(PAIR_AGE, "state" => state))
        }))
    }

    fn record(&self, ages: &[PairAge]) {
        for (phase, many, oldest) in &self.0 {
            let age = ages.iter().find(|age| age.phase == *phase);
            let pairs = age.map_or(0, |age| u32::try_from(age.many).unwrap_or(u32::MAX));
            many.set(f64::from(pairs));
            oldest.set(age.map_or(0.0, |age| age.oldest.as_secs_f64()));
        }
    }
}

/// Why a daemon should not be given calls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unready {
    /// It is about to end.
    #[error("it is stopping")]
    Stopping,
    /// The database has not been reached yet.
    #[error("the database has not been reached yet: {0}")]
    NotReached(String),
    /// The tables are not those that this version works with.
    #[error("the tables are not those of this version; run `trunkline db migrate`")]
    NotMigrated,
    /// The resolver says so.
    #[error(transparent)]
    Resolver(NotReady),
}

impl Unready {
    /// A stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NotReached(_) => "not_reached",
            Self::NotMigrated => "not_migrated",
            Self::Resolver(NotReady::NoChangeSource) => "has_not_heard",
            Self::Resolver(NotReady::Warming) => "warming",
            Self::Resolver(NotReady::NothingToAnswerWith) => "nothing_to_answer_with",
            Self::Resolver(NotReady::Stale) => "stale",
        }
    }
}

/// By which way changes are heard, if any.
pub(super) struct Hears {
    /// There is a database, and it is to be asked.
    pub(super) wanted: bool,
    pub(super) proven: bool,
    pub(super) by: ChangeSource,
    pub(super) trouble: Option<String>,
}

impl Readiness {
    /// Makes its gauges, too.
    pub(super) fn new(resolver: Resolver, database: Option<OpenStore>) -> Self {
        let kind = database.as_ref().map_or("none", OpenStore::kind);
        gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION"), "database" => kind).set(1.0);
        let ready = gauge!(READY);
        ready.set(0.0);
        let unknown = Unready::NotReached("it was not asked yet".into());
        let tables = Mutex::new(database.is_some().then_some(unknown));
        // A gauge for each key of the ring is there from the start, and says nothing before it was
        // counted; others come as they are found.
        let health = Self {
            resolver,
            database,
            stopping: AtomicBool::new(false),
            tables,
            ready,
            sealed: Mutex::default(),
            key_ages: Mutex::default(),
            sealing_key_missing: gauge!(SEALING_KEY_MISSING),
            pairs: PairGauges::new(),
        };
        health.record_sealed(&[]);
        health.record_book(None);
        health.pairs.record(&[]);
        if health.database.is_some() {
            let gauges = health.sealed.lock().unwrap_or_else(PoisonError::into_inner);
            gauges.values().for_each(|gauge| gauge.set(f64::NAN));
            drop(gauges);
        }
        health
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Why it is not ready. While the flag is off the database does not matter.
    fn unready(&self) -> Option<Unready> {
        let health = self.resolver.health();
        if self.stopping.load(Ordering::Acquire) {
            return Some(Unready::Stopping);
        }
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_tables = tables.filter(|_| health.enabled);
        of_tables.or(health.not_ready.map(Unready::Resolver))
    }

    /// Records whether it is ready.
    pub(super) fn look(&self) -> Option<Unready> {
        let unready = self.unready();
        self.ready.set(f64::from(u8::from(unready.is_none())));
        unready
    }

    /// Whether changes are heard, and by which way.
    pub(super) fn hears(&self) -> Hears {
        let health = self.resolver.health();
        Hears {
            wanted: self.database.is_some() && health.enabled,
            proven: self.resolver.hears_changes(),
            by: health.change_source,
            trouble: health.trouble,
        }
    }

    /// Has the resolver record what it would only record in a moment.
    pub(super) fn record_metrics(&self) {
        self.resolver.record_metrics();
    }

    /// What a probe is told.
    pub(super) fn report(&self) -> (StatusCode, Value) {
        let (unready, health) = (self.look(), self.resolver.health());
        let status = match unready {
            None => StatusCode::OK,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let report = json!({
            "ready": unready.is_none(),
            "reason": unready.as_ref().map(Unready::code),
            "message": unready.as_ref().map(ToString::to_string),
            "enabled": health.enabled,
            "hearing": health.change_source,
            "lease": self.resolver.hears_changes(),
            "trouble": health.trouble,
            "cached": health.cached,
            "unlisted": health.unlisted,
            "data_keys": health.data_keys,
        });
        (status, report)
    }

    /// Asks for what is only known by asking, for as long as it is polled.
    pub(super) async fn keep(&self) -> Infallible {
        let Some(database) = &self.database else { return std::future::pending().await };
        let ((), never) = tokio::join!(self.wait_for_tables(database), self.count_sealed());
        never
    }

    /// Looks at the tables until they are the right ones.
    async fn wait_for_tables(&self, database: &OpenStore) {
        let mut backoff = Backoff::default();
        while self.tables.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            let (began, mut wait) = (Instant::now(), LOOK_AGAIN);
            if self.resolver.health().enabled {
                let unready = match database.migrate(Migrations::Status).await {
                    Ok(status) if status.is_enough() => None,
                    Ok(_) => {
                        backoff.succeeded();
                        Some(Unready::NotMigrated)
                    }
                    Err(error) => {
                        wait += backoff.failed(LOOK_AGAIN, began.elapsed());
                        Some(Unready::NotReached(error.to_string()))
                    }
                };
                *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = unready;
            }
            sleep(wait).await;
        }
    }

    /// Counts now and then which key opens how many secrets.
    async fn count_sealed(&self) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let looked = async {
                Ok::<_, StoreError>((
                    self.resolver.key_usage().await?,
                    self.resolver.key_book().await?,
                    self.resolver.pair_ages().await?,
                ))
            };
            let wait = match looked.await {
                Ok((key_usage, book, pairs)) => {
                    backoff.succeeded();
                    self.record_sealed(&key_usage);
                    self.record_book(book.as_ref());
                    self.pairs.record(&pairs);
                    COUNT_EVERY
                }
                Err(error) => {
                    tracing::debug!(%error, "the configs could not be counted");
                    LOOK_AGAIN + backoff.failed(LOOK_AGAIN, began.elapsed())
                }
            };
            sleep(wait).await;
        }
    }

    /// Records for how long each key has been in its state. Those of the ring have a gauge for each state
    /// from the start; others come as they are found.
    fn record_book(&self, book: Option<&KeyBook>) {
        let mut gauges = self.key_ages.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.values().for_each(|gauge| gauge.set(0.0));
        let ring = self.resolver.key_ids().into_iter().filter(|(_, role)| *role != "none");
        let unknown =
            ring.flat_map(|(key, _)| KeyPhase::ALL.map(|phase| (key.clone(), phase.as_str(), 0.0)));
        let known = book.into_iter().flat_map(|book| {
            let age = |key: &KnownKey| book.ago(key.since).unwrap_or_default().as_secs_f64();
            book.keys.iter().map(move |key| (key.id.to_string(), key.phase.as_str(), age(key)))
        });
        for (key, state, age) in unknown.chain(known) {
            let gauge = gauges.entry((key.clone(), state));
            gauge.or_insert_with(|| gauge!(KEY_AGE, "key" => key, "state" => state)).set(age);
        }
        let sealing = book.and_then(|book| book.sealing).map(|key| key.to_string());
        let ring = self.resolver.key_ids();
        let is_missing = sealing.is_some_and(|key| ring.iter().all(|(id, _)| *id != key));
        self.sealing_key_missing.set(f64::from(u8::from(is_missing)));
    }

    /// Records how many secrets each key opens; keys that open none any more are at zero.
    fn record_sealed(&self, key_usage: &[(String, &'static str, u64)]) {
        let mut gauges = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.values().for_each(|gauge| gauge.set(0.0));
        let empty = self.resolver.key_ids().into_iter().map(|(key, role)| (key, role, 0));
        for (key, role, many) in empty.chain(key_usage.iter().cloned()) {
            let gauge = gauges.entry((key.clone(), role));
            let gauge = gauge.or_insert_with(|| gauge!(SEALED, "key" => key, "role" => role));
            gauge.set(f64::from(u32::try_from(many).unwrap_or(u32::MAX)));
        }
    }
}

/// How soon to look again at what was not as it should be.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const COUNT_EVERY: Duration = Duration::from_secs(60);
