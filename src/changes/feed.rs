//! The change feed: the parts that watch each kind of database for changes, kept alive.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ChangeSource;
use super::applied::Applied;
#[cfg(feature = "postgres")]
use super::apply::Applier;
#[cfg(feature = "postgres")]
use super::doorbell::Doorbell;
#[cfg(feature = "postgres")]
use super::listener::Listener;
use super::metrics::ChangesCounted;
#[cfg(feature = "sqlite")]
use super::poller::Poller;
#[cfg(feature = "postgres")]
use super::reader::Reader;
#[cfg(feature = "relay")]
use super::relay::{OwnReading, Relay, RelayCounted, Ring};
use super::watch::Lives;
use crate::cache::Cache;
use crate::clock::Clock;
#[cfg(feature = "relay")]
use crate::settings::RelayUrl;
use crate::settings::Tuning;
use crate::store::{ChangeLog, OpenStore, StoreError};
#[cfg(feature = "postgres")]
use crate::store::{LogCursor, PostgresStore};

/// Feeds changes to the cache.
pub(crate) struct ChangeFeed {
    watchers: Watchers,
    log: Arc<dyn ChangeLog>,
    applied: Applied,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    /// Of the listener, or of the poller.
    lives: Lives,
    /// Why the log cannot be read at present.
    log_trouble: Arc<Mutex<Option<String>>>,
}

enum Watchers {
    #[cfg(feature = "postgres")]
    Postgres {
        listener: Listener,
        reader: Box<Reader>,
        doorbell: Arc<Doorbell>,
        store: Arc<PostgresStore>,
        #[cfg(feature = "relay")]
        relay: Option<Arc<Relay>>,
    },
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
        #[cfg(feature = "relay")] relay: Option<(RelayUrl, Ring)>,
    ) -> Self {
        let lives = Lives::new(counted.lives_ended.clone());
        let (cache, clock) = (Arc::clone(cache), Arc::clone(clock));
        let (log_trouble, applied) = (Arc::<Mutex<_>>::default(), Applied::default());
        // No hit counts before something has proven that changes are heard.
        cache.fence.end_lease();
        let log = opened.change_log();
        #[cfg(feature = "relay")]
        let relays_counted = RelayCounted::new();
        let watchers = match opened {
            #[cfg(feature = "postgres")]
            OpenStore::Postgres(store) => {
                let lease = tuning.lease;
                #[cfg(feature = "relay")]
                let relay = relay.map(|(url, ring)| {
                    let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
                    Arc::new(Relay::new(url, store, ring, clock, lease, relays_counted))
                });
                let doorbell = Arc::new(Doorbell::new(Arc::clone(&cache), lease));
                let listener = Listener {
                    store: Arc::clone(&store),
                    doorbell: Arc::clone(&doorbell),
                    lease,
                    slow: 0.into(),
                };
                let reader = Reader {
                    log: LogCursor::new(Arc::clone(&store), lease).into(),
                    doorbell: Arc::clone(&doorbell),
                    applier: Applier {
                        cache: Arc::clone(&cache),
                        counted,
                        applied: applied.clone(),
                    },
                    clock: Arc::clone(&clock),
                    trouble: Arc::clone(&log_trouble),
                    lease,
                    poll: tuning.log_poll,
                    #[cfg(feature = "relay")]
                    relay: relay.clone(),
                };
                Watchers::Postgres {
                    listener,
                    reader: Box::new(reader),
                    doorbell,
                    store,
                    #[cfg(feature = "relay")]
                    relay,
                }
            }
            #[cfg(feature = "sqlite")]
            OpenStore::Sqlite(store) => Watchers::Sqlite(Poller {
                store,
                cache: Arc::clone(&cache),
                clock: Arc::clone(&clock),
                counted,
                applied: applied.clone(),
                interval: tuning.poll,
                lease: tuning.lease,
                deadline: tuning.store_deadline,
            }),
        };
        Self { watchers, log, applied, cache, clock, lives, log_trouble }
    }

    /// It is about to be polled, and others ask the database at the same time.
    #[cfg(feature = "postgres")]
    pub(crate) fn begins(&self) {
        if let Watchers::Postgres { reader, .. } = &self.watchers
            && let Ok(log) = reader.log.try_lock()
        {
            log.begins();
        }
    }

    /// Feeds for as long as it is polled.
    pub(crate) async fn run(&self) -> Infallible {
        match &self.watchers {
            #[cfg(feature = "relay")]
            Watchers::Postgres { listener, reader, store, relay: Some(relay), .. } => {
                let _at_last = CloseAll(store);
                let read = async || {
                    let listens = async {
                        relay.until_it_reads_on().await;
                        self.lives.live(listener).await
                    };
                    tokio::select! {
                        never = reader.read() => never,
                        never = listens => never,
                    }
                };
                let node = OwnReading {
                    log: &reader.log,
                    doorbell: &reader.doorbell,
                    applier: &reader.applier,
                };
                tokio::select! {
                    never = relay.take_part(node) => never,
                    never = relay.while_it_reads_itself(read) => never,
                    never = close_idle(store, || relay.follows()) => never,
                }
            }
            #[cfg(feature = "postgres")]
            Watchers::Postgres { listener, reader, store, .. } => {
                let _at_last = CloseAll(store);
                tokio::select! {
                    never = reader.read() => never,
                    never = self.lives.live(listener) => never,
                    never = close_idle(store, || false) => never,
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

    /// The relay, if this node takes part in one.
    #[cfg(feature = "relay")]
    pub(crate) fn relay(&self) -> Option<&Arc<Relay>> {
        match &self.watchers {
            Watchers::Postgres { relay, .. } => relay.as_ref(),
            #[cfg(feature = "sqlite")]
            Watchers::Sqlite(_) => None,
        }
    }

    /// Whether upkeep of the database is left to other nodes: this one has no connection to it.
    #[cfg(feature = "relay")]
    pub(crate) fn leaves_upkeep_to_others(&self) -> bool {
        self.relay().is_some_and(|relay| relay.follows())
    }

    /// Whether upkeep of the database is left to other nodes.
    #[cfg(not(feature = "relay"))]
    #[expect(clippy::unused_self, reason = "each keeps it up")]
    pub(crate) fn leaves_upkeep_to_others(&self) -> bool {
        false
    }

    /// What of the log has been applied.
    pub(crate) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// By which way changes are learned of.
    pub(crate) fn change_source(&self) -> ChangeSource {
        if !self.lease_is_live() {
            return ChangeSource::Nothing;
        }
        match &self.watchers {
            #[cfg(feature = "relay")]
            Watchers::Postgres { relay: Some(relay), .. } if relay.follows() => ChangeSource::Relay,
            #[cfg(feature = "postgres")]
            Watchers::Postgres { doorbell, .. } if doorbell.works() => ChangeSource::Notify,
            _ => ChangeSource::ChangeLog,
        }
    }

    /// Why it is not the quickest way: what keeps the log from being read, else what keeps NOTIFY
    /// from being heard.
    pub(crate) fn trouble(&self) -> Option<String> {
        let of_log = || self.log_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (self.change_source(), &self.watchers) {
            (ChangeSource::Notify | ChangeSource::Relay, _) => None,
            #[cfg(feature = "postgres")]
            (ChangeSource::ChangeLog, Watchers::Postgres { doorbell, .. })
                if doorbell.is_muted() =>
            {
                Some("`db migrate --notify off` has taken NOTIFY out of the triggers".into())
            }
            #[cfg(feature = "sqlite")]
            (ChangeSource::ChangeLog, Watchers::Sqlite(_)) => None,
            _ => of_log().or_else(|| self.lives.trouble()),
        }
    }

    fn lease_is_live(&self) -> bool {
        self.cache.fence.lease_is_live(self.clock.now())
    }
}

/// Closes connections that no statement needs any more.
#[cfg(feature = "postgres")]
async fn close_idle(store: &PostgresStore, soon: impl Fn() -> bool) -> Infallible {
    loop {
        tokio::time::sleep(LOOK_FOR_IDLE).await;
        store.close_idle(soon());
    }
}

/// A database that is left alone is left without connections.
#[cfg(feature = "postgres")]
struct CloseAll<'s>(&'s PostgresStore);

#[cfg(feature = "postgres")]
impl Drop for CloseAll<'_> {
    fn drop(&mut self) {
        self.0.close_all_idle();
    }
}

#[cfg(feature = "postgres")]
const LOOK_FOR_IDLE: Duration = Duration::from_secs(1);
