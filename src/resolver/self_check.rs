//! The self-check: now and then it compares one answer in memory with the database.
//!
//! A change that no trigger reports is beyond what a lease can prove. The check measures how long
//! an outdated answer is served. One that is past `LEASE` is dropped, and the resolver is not ready
//! until a later check finds none.
//!
//! **Invariant:** only an answer that would be served now can be found stale. Without an answer of
//! the database the check finds nothing.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::Engine;
use super::health::HealthState;
use crate::cache::EntryId;
use crate::change::Change;
use crate::clock::Moment;

/// Checks for as long as it is polled and the engine is there, if the settings want it.
pub(super) async fn check_now_and_then(engine: Weak<Engine>) {
    loop {
        let rhythm = engine.upgrade().map(|engine| engine.tuning.self_check);
        let Some(Some(rhythm)) = rhythm else { return };
        sleep(rhythm).await;
        let Some(engine) = engine.upgrade() else { return };
        if engine.feed.as_ref().is_some_and(|feed| feed.leaves_upkeep_to_others()) {
            found_nothing(&engine.health_state);
            continue;
        }
        engine.check().await;
    }
}

impl Engine {
    /// Compares one answer with the database.
    async fn check(&self) {
        let (Some(store), Ok(random)) = (&self.loader.store, getrandom::u64()) else { return };
        let asked_at = self.clock.now();
        let sample = self.cache.any(random).and_then(|caller| {
            let (outcome, serial) = self.cache.proven(caller, asked_at)?;
            Some((caller, outcome, serial))
        });
        let Some((caller, outcome, serial)) = sample else {
            // What would not be served cannot be stale.
            return found_nothing(&self.health_state);
        };
        let running = self.live.running();
        let Ok(route) = store.route(caller).await else {
            // Without the database there is nothing to compare with, so an earlier finding ends.
            return found_nothing(&self.health_state);
        };
        let Ok(standing) = self.loader.standing(caller, &running).await else {
            return found_nothing(&self.health_state);
        };
        let decision = running.decide(standing, route);
        let place = (caller, serial);
        let staleness = if decision.says(&outcome, &running.environment) {
            Duration::ZERO
        } else {
            self.until_no_longer_served(place, asked_at).await
        };
        // The settings changed meanwhile: the comparison was with the old ones.
        if !Arc::ptr_eq(&running, &self.live.running()) {
            return;
        }
        let found = &self.health_state;
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

    /// Waits until an outdated answer is no longer served, and returns how long it was served after
    /// the database had another one.
    async fn until_no_longer_served(&self, place: EntryId, asked_at: Moment) -> Duration {
        loop {
            let now = self.clock.now();
            let staleness = now.since(asked_at);
            if !self.cache.is_still_current(place, now) || staleness > self.tuning.lease * 2 {
                return staleness;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn found_nothing(health_state: &HealthState) {
    health_state.stale_now.store(false, Ordering::Release);
}
