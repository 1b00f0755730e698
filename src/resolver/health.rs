//! The health of a resolver: how it learns of changes, what the self-check has found, and whether
//! it is ready for calls.
//!
//! Ready means that changes have been heard once, and not that a number was loaded: the first call
//! of any number is one statement. A resolver that was ready stays so while its database is away,
//! as long as memory or the environment has an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::{Engine, Resolver};
use crate::changes::ChangeSource;
use crate::nodes::NodeFacts;
use crate::settings::Warm;

/// What the tasks have found.
#[derive(Default)]
pub(super) struct HealthState {
    /// Whether changes have been heard at least once.
    pub(super) has_heard: AtomicBool,
    /// Whether the warm-up has ended.
    pub(super) warmed: AtomicBool,
    pub(super) checked: AtomicU64,
    pub(super) found_stale: AtomicU64,
    /// Whether the last self-check found a stale answer.
    pub(super) stale_now: AtomicBool,
    /// In nanoseconds.
    pub(super) max_staleness: AtomicU64,
}

/// The health of a resolver.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether configs of the database place calls: the flag is on, and `DATABASE_OFF` is not set.
    pub enabled: bool,
    /// By which way it learns of changes at present.
    #[serde(rename = "hearing")]
    pub change_source: ChangeSource,
    /// Why it is not the quicker one, where that is known.
    pub trouble: Option<String>,
    /// How it stands to the relay, if the settings name one.
    #[cfg(feature = "relay")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<crate::changes::RelayHealth>,
    /// How many answers are in memory.
    pub cached: usize,
    /// How many answers the self-check has compared with the database.
    pub checked: u64,
    /// How many of them were staler than `LEASE` allows.
    pub found_stale: u64,
    /// The longest time for which an answer was seen to serve after the database had another one.
    pub max_staleness: Duration,
    /// Why it is not listed among the nodes of its database. It answers all the same.
    pub unlisted: Option<String>,
    /// What is wrong with the data keys of its database: what they seal does not open here.
    pub data_keys: Option<String>,
    /// Why it is not ready for calls. It stays ready without its database while it has answers.
    pub not_ready: Option<NotReady>,
}

/// Why a resolver is not ready for calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotReady {
    /// It has just begun.
    #[error("nothing has proven yet that changes are heard")]
    #[serde(rename = "has_not_heard")]
    NoChangeSource,
    /// What `WARM` names is being loaded.
    #[error("the numbers that WARM names are being loaded")]
    Warming,
    /// The database is away, nothing is in memory, and the environment has no credentials.
    #[error("there is nothing to answer with: no database, nothing in memory, and no environment")]
    NothingToAnswerWith,
    /// The self-check says so.
    #[error("the last self-check found an answer that is older than allowed")]
    Stale,
}

impl Resolver {
    /// Ends when calls should be given to it: changes are heard, and what `WARM` names is loaded. Never,
    /// while that is not so; [`health`](Self::health) says why.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let resolver = trunkline::Resolver::builder(trunkline::Settings::from_env()?).start();
    /// let patience = std::time::Duration::from_secs(10);
    /// if tokio::time::timeout(patience, resolver.ready()).await.is_err() {
    ///     eprintln!("not ready: {:?}", resolver.health().not_ready);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn ready(&self) {
        while self.engine.health().not_ready.is_some() {
            tokio::time::sleep(LOOKS_AT_READINESS).await;
        }
    }

    /// Records now what the sweep records twenty times a second: for a scrape.
    #[cfg(feature = "server")]
    pub(crate) fn record_metrics(&self) {
        self.engine.record_metrics(self.engine.change_source());
    }
}

impl Engine {
    pub(super) fn health(&self) -> Health {
        let found = &self.health_state;
        let source = self.change_source();
        let enabled = self.live.running().switches().configs;
        let not_ready = if !enabled {
            None
        } else if source == ChangeSource::Nothing && !found.has_heard.load(Ordering::Acquire) {
            Some(NotReady::NoChangeSource)
        } else if source == ChangeSource::Nothing && self.has_nothing_to_answer_with() {
            Some(NotReady::NothingToAnswerWith)
        } else if self.tuning.warm != Warm::None && !found.warmed.load(Ordering::Acquire) {
            Some(NotReady::Warming)
        } else {
            found.stale_now.load(Ordering::Acquire).then_some(NotReady::Stale)
        };
        Health {
            enabled,
            change_source: source,
            trouble: self.feed.as_ref().and_then(|feed| feed.trouble()),
            #[cfg(feature = "relay")]
            relay: self.feed.as_ref().and_then(|feed| feed.relay()).map(|relay| relay.health()),
            cached: self.cache.len(),
            checked: found.checked.load(Ordering::Acquire),
            found_stale: found.found_stale.load(Ordering::Acquire),
            max_staleness: Duration::from_nanos(found.max_staleness.load(Ordering::Acquire)),
            unlisted: self.registration.as_ref().and_then(|registration| registration.unlisted()),
            data_keys: self.live.data_key_trouble(),
            not_ready,
        }
    }

    /// What is told of it among the nodes.
    pub(super) fn node_facts(&self) -> NodeFacts {
        let running = self.live.running();
        let keys = running.ring.as_ref().map(|ring| ring.key_ids()).unwrap_or_default();
        let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
        NodeFacts {
            keys: keys.join(","),
            settings: Arc::clone(&running.fingerprint),
            hearing: self.change_source(),
            cached: self.cache.len(),
            counts: self.telemetry.counts_inside(),
        }
    }

    fn has_nothing_to_answer_with(&self) -> bool {
        self.cache.len() == 0 && !self.live.running().environment.missing().is_empty()
    }

    pub(super) fn change_source(&self) -> ChangeSource {
        self.feed.as_ref().map_or(ChangeSource::Embedder, |feed| feed.change_source())
    }

    /// Records the gauges that follow from the state.
    pub(super) fn record_metrics(&self, source: ChangeSource) {
        let (telemetry, now) = (&self.telemetry, self.clock.now());
        telemetry.add_up();
        telemetry.hears_by(source);
        telemetry.cached(self.cache.len());
        telemetry.evicted(&self.cache.evicted);
        let fence = &self.cache.fence;
        telemetry.proven(fence.lease_is_live(now), fence.lease_age(now, self.tuning.lease));
    }
}

/// How often readiness is looked at by those who wait for it.
const LOOKS_AT_READINESS: Duration = Duration::from_millis(5);
