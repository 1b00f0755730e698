//! The change feed: the parts that watch each kind of database for changes, kept alive.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Hearing;
#[cfg(feature = "postgres")]
use super::bell::Bell;
#[cfg(feature = "postgres")]
use super::listener::Listener;
use super::metrics::ChangesCounted;
#[cfg(feature = "sqlite")]
use super::poller::Poller;
#[cfg(feature = "postgres")]
use super::reader::Reader;
use super::watch::Lives;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::settings::Tuning;
#[cfg(feature = "postgres")]
use crate::store::LogCursor;
use crate::store::{ChangeLog, OpenStore, StoreError};

/// Feeds changes to the cache.
pub(crate) struct ChangeFeed {
    watchers: Watchers,
    log: Arc<dyn ChangeLog>,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    /// Of the listener, or of the poller.
    lives: Lives,
    /// Why the log cannot be read at present.
    log_trouble: Arc<Mutex<Option<String>>>,
}

enum Watchers {
    #[cfg(feature = "postgres")]
    Postgres { listener: Listener, reader: Box<Reader>, bell: Arc<Bell> },
    #[cfg(feature = "sqlite")]
    Sqlite(Poller),
}

impl ChangeFeed {
    pub(crate) fn new(
        opened: OpenStore,
        tuning: &Tuning,
        cache: &Arc<Cache>,
        clock: &Arc<dyn Clock>,
        counted: ChangesCounted,
    ) -> Self {
        let lives = Lives::new(counted.lives_ended.clone());
        let (cache, clock) = (Arc::clone(cache), Arc::clone(clock));
        let log_trouble = Arc::<Mutex<_>>::default();
        // No hit counts before something has proven that changes are heard.
        cache.fence.end_lease();
        let log = opened.change_log();
        let watchers = match opened {
            #[cfg(feature = "postgres")]
            OpenStore::Postgres(store) => {
                let lease = tuning.lease;
                let bell = Arc::new(Bell::new(Arc::clone(&cache), Arc::clone(&clock), lease));
                let listener = Listener {
                    store: Arc::clone(&store),
                    bell: Arc::clone(&bell),
                    clock: Arc::clone(&clock),
                    heartbeat: tuning.heartbeat,
                    lease,
                };
                let reader = Reader {
                    store: Arc::clone(&store),
                    log: LogCursor::new(store, lease).into(),
                    bell: Arc::clone(&bell),
                    cache: Arc::clone(&cache),
                    clock: Arc::clone(&clock),
                    counted,
                    trouble: Arc::clone(&log_trouble),
                    lease,
                    poll: tuning.log_poll,
                };
                Watchers::Postgres { listener, reader: Box::new(reader), bell }
            }
            #[cfg(feature = "sqlite")]
            OpenStore::Sqlite(store) => Watchers::Sqlite(Poller {
                store,
                cache: Arc::clone(&cache),
                clock: Arc::clone(&clock),
                counted,
                interval: tuning.poll,
                lease: tuning.lease,
                deadline: tuning.store_deadline,
            }),
        };
        Self { watchers, log, cache, clock, lives, log_trouble }
    }

    /// Tells for as long as it is polled.
    pub(crate) async fn tell(&self) -> Infallible {
        match &self.watchers {
            #[cfg(feature = "postgres")]
            Watchers::Postgres { listener, reader, .. } => {
                tokio::select! {
                    never = reader.read() => never,
                    never = self.lives.live(listener) => never,
                }
            }
            #[cfg(feature = "sqlite")]
            Watchers::Sqlite(poller) => self.lives.live(poller).await,
        }
    }

    /// Forgets the changes that are older than this, and returns how many.
    pub(crate) async fn prune(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.log.prune_changes(older_than).await
    }

    /// By which way changes are learned of.
    pub(crate) fn hearing(&self) -> Hearing {
        if !self.lease_is_live() {
            return Hearing::Nothing;
        }
        match &self.watchers {
            #[cfg(feature = "postgres")]
            Watchers::Postgres { bell, .. } if bell.sounds() => Hearing::Notify,
            _ => Hearing::ChangeLog,
        }
    }

    /// Why it is not the quickest way: what keeps the log from being read, else what keeps NOTIFY
    /// from being heard.
    pub(crate) fn trouble(&self) -> Option<String> {
        let of_log = || self.log_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (self.hearing(), &self.watchers) {
            (Hearing::Notify, _) => None,
            #[cfg(feature = "postgres")]
            (Hearing::ChangeLog, Watchers::Postgres { bell, .. }) if bell.is_muted() => {
                Some("`db migrate --notify off` has taken NOTIFY out of the triggers".into())
            }
            #[cfg(feature = "sqlite")]
            (Hearing::ChangeLog, Watchers::Sqlite(_)) => None,
            _ => of_log().or_else(|| self.lives.trouble()),
        }
    }

    fn lease_is_live(&self) -> bool {
        self.cache.fence.lease_is_live(self.clock.now())
    }
}
