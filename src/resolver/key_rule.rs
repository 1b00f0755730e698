//! Follows what the database says of keys: which one seals, which ones are refused, and which rest in it.
//!
//! It is read when a node begins, soon after it changed, and now and then; and when a secret is met that no key
//! of the ring has sealed, at most once in a `LEASE`. While it cannot be read, what was read last holds. Whoever
//! writes a secret reads it again in his own transaction.

use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Gauge, gauge};
use tokio::time::sleep;

use super::Engine;
use super::live::{Live, Outdated};
use super::metrics::Telemetry;
use super::whole::Around;
use crate::backoff::dice;
use crate::cache::Cache;
use crate::cache::fence::Generation;
use crate::clock::{Clock, Moment};
use crate::nodes::Registration;
use crate::rotation::Rotation;
use crate::store::{KeyRows, OpenStore, StoreError};
use crate::telemetry::DATA_KEYS_UNOPENED;

/// What the database says of keys, as this process reads it.
pub(super) struct KeysInForce {
    /// `None`: nothing says anything of keys.
    rows: Option<Arc<dyn KeyRows>>,
    live: Arc<Live>,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    registration: Option<Arc<Registration>>,
    telemetry: Arc<Telemetry>,
    /// How many data keys do not open.
    unopened: Gauge,
    /// When it was last asked for because of a secret that did not open, and held while it is.
    asked: tokio::sync::Mutex<Option<(Generation, Moment)>>,
}

impl KeysInForce {
    pub(super) fn new(
        database: Option<&OpenStore>,
        registration: Option<&Arc<Registration>>,
        telemetry: &Arc<Telemetry>,
        around: &Around,
    ) -> Self {
        Self {
            rows: database.map(OpenStore::key_rows),
            live: Arc::clone(&around.live),
            cache: Arc::clone(&around.cache),
            clock: Arc::clone(&around.clock),
            lease: around.tuning.lease,
            registration: registration.cloned(),
            telemetry: Arc::clone(telemetry),
            unopened: gauge!(DATA_KEYS_UNOPENED),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// Reads it, and has the ring follow it.
    async fn read(&self) -> Result<(), StoreError> {
        let Some(rows) = &self.rows else { return Ok(()) };
        let known = rows.key_book().await?;
        let is_news = self.live.know_keys(known.map(Into::into), |outdated| {
            if let Outdated::Dropped(change) = outdated {
                self.telemetry.by_reload.increment(1);
                self.cache.apply(change);
            }
        });
        self.unopened.set(f64::from(u32::try_from(self.live.unopened()).unwrap_or(u32::MAX)));
        // Others wait for a key to be in every ring.
        if let Some(registration) = self.registration.as_ref().filter(|_| is_news) {
            registration.tell_news();
        }
        Ok(())
    }

    /// Reads it for a secret that no key of the ring has sealed, unless that was done a moment ago and nothing is
    /// known to have changed since.
    pub(super) async fn learn(&self) -> Result<(), StoreError> {
        if self.rows.is_none() {
            return Ok(());
        }
        let mut asked = self.asked.lock().await;
        let (born, now) = (self.cache.fence.generation(), self.clock.now());
        let is_new = |(read, at): (Generation, Moment)| {
            now < at.after(self.lease) && !self.cache.fence.keys_changed_since(read)
        };
        if asked.is_some_and(is_new) {
            return Ok(());
        }
        self.read().await?;
        *asked = Some((born, now));
        Ok(())
    }
}

impl Engine {
    /// The encryption keys of its database. `None`: no database is named, or no key is set.
    pub(super) fn rotation(&self) -> Option<Rotation> {
        let (database, ring) = (self.database.as_ref()?, self.live.running().ring.clone()?);
        Some(Rotation::new(database, &ring, &self.tuning))
    }
}

/// Follows it for as long as it is polled.
pub(super) async fn follow_keys(engine: Weak<Engine>) {
    let Some(mut applied) =
        engine.upgrade().and_then(|engine| engine.feed.as_ref().map(|feed| feed.applied().watch()))
    else {
        return;
    };
    loop {
        let Some(read) = read(&engine).await else { return };
        let wait = if read.is_known { EVERY } else { AGAIN };
        let changed = async {
            loop {
                // With its sender gone nothing is new any more.
                if applied.changed().await.is_err() {
                    return std::future::pending().await;
                }
                match engine.upgrade() {
                    Some(engine) if !engine.cache.fence.keys_changed_since(read.born) => {}
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = sleep(wait.mul_f64(1.0 - dice() / 5.0)) => {}
            () = changed => {}
        }
    }
}

/// A look at the state of the keys.
struct Look {
    /// From before it was read.
    born: Generation,
    is_known: bool,
}

async fn read(engine: &Weak<Engine>) -> Option<Look> {
    let engine = engine.upgrade()?;
    let born = engine.cache.fence.generation();
    let is_known = match engine.loader.keys.read().await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "what the database says of keys could not be read");
            false
        }
    };
    Some(Look { born, is_known })
}

const EVERY: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(10);
