//! Who tells of changes: the parts that do it for each kind of database, kept alive.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::time::{Instant, sleep};

#[cfg(feature = "postgres")]
use super::bell::Bell;
#[cfg(feature = "postgres")]
use super::listener::Listener;
#[cfg(feature = "sqlite")]
use super::poller::Poller;
#[cfg(feature = "postgres")]
use super::reader::Reader;
use super::{Hearing, backoff};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::settings::Tuning;
#[cfg(feature = "postgres")]
use crate::store::ChangeLog;
use crate::store::OpenStore;
use crate::telemetry::ChangesCounted;

/// Tells the cache of changes.
pub(crate) struct Teller {
    ears: Ears,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    lives_ended: Counter,
    /// Why the last life of the ear ended.
    ear_trouble: Mutex<Option<String>>,
    /// Why the log cannot be read at present.
    log_trouble: Arc<Mutex<Option<String>>>,
}

/// Something with lives: each is one connection, and whatever goes wrong with it ends it.
pub(super) trait Ear: Sync {
    /// Why a life ends.
    type Ended: Display + Send;

    /// Hears until something goes wrong, and says what.
    fn life(&self) -> impl Future<Output = Result<Infallible, Self::Ended>> + Send;

    /// How long to wait at the most before the next life.
    fn longest_wait(_ended: &Self::Ended) -> Duration {
        Duration::from_secs(1)
    }
}

enum Ears {
    #[cfg(feature = "postgres")]
    Postgres { listener: Listener, reader: Box<Reader>, bell: Arc<Bell> },
    #[cfg(feature = "sqlite")]
    Sqlite(Poller),
}

impl Teller {
    pub(crate) fn new(
        opened: OpenStore,
        tuning: &Tuning,
        cache: &Arc<Cache>,
        clock: &Arc<dyn Clock>,
        counted: ChangesCounted,
    ) -> Self {
        let lives_ended = counted.lives_ended.clone();
        let (cache, clock) = (Arc::clone(cache), Arc::clone(clock));
        let log_trouble = Arc::<Mutex<_>>::default();
        // No hit counts before something has proven that changes are heard.
        cache.fence.end_lease();
        let ears = match opened {
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
                    log: ChangeLog::new(store, lease).into(),
                    bell: Arc::clone(&bell),
                    cache: Arc::clone(&cache),
                    clock: Arc::clone(&clock),
                    counted,
                    trouble: Arc::clone(&log_trouble),
                    poll: tuning.log_poll,
                };
                Ears::Postgres { listener, reader: Box::new(reader), bell }
            }
            #[cfg(feature = "sqlite")]
            OpenStore::Sqlite(store) => Ears::Sqlite(Poller {
                store,
                cache: Arc::clone(&cache),
                clock: Arc::clone(&clock),
                counted,
                interval: tuning.poll,
                lease: tuning.lease,
            }),
        };
        Self { ears, cache, clock, lives_ended, ear_trouble: Mutex::default(), log_trouble }
    }

    /// Tells for as long as it is polled.
    pub(crate) async fn tell(&self) -> Infallible {
        match &self.ears {
            #[cfg(feature = "postgres")]
            Ears::Postgres { listener, reader, .. } => {
                tokio::select! {
                    never = reader.read() => never,
                    never = self.lives(listener) => never,
                }
            }
            #[cfg(feature = "sqlite")]
            Ears::Sqlite(poller) => self.lives(poller).await,
        }
    }

    /// By which way changes are learned of.
    pub(crate) fn hearing(&self) -> Hearing {
        if !self.lease_is_live() {
            return Hearing::Nothing;
        }
        match &self.ears {
            #[cfg(feature = "postgres")]
            Ears::Postgres { bell, .. } if bell.sounds() => Hearing::Notify,
            _ => Hearing::ChangeLog,
        }
    }

    /// Why it is not the quickest way: what keeps the log from being read, else what keeps NOTIFY
    /// from being heard.
    pub(crate) fn trouble(&self) -> Option<String> {
        let of = |trouble: &Mutex<Option<String>>| lock(trouble).clone();
        match (self.hearing(), &self.ears) {
            (Hearing::Notify, _) => None,
            #[cfg(feature = "sqlite")]
            (Hearing::ChangeLog, Ears::Sqlite(_)) => None,
            _ => of(&self.log_trouble).or_else(|| of(&self.ear_trouble)),
        }
    }

    fn lease_is_live(&self) -> bool {
        self.cache.fence.lease_is_live(self.clock.now())
    }

    /// One life after the other.
    async fn lives<E: Ear>(&self, ear: &E) -> Infallible {
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let why = match ear.life().await {
                Ok(never) => return never,
                Err(why) => why,
            };
            self.lives_ended.increment(1);
            *lock(&self.ear_trouble) = Some(why.to_string());
            // A life that lasted was a good one; only what fails again and again is waited for.
            failures = if began.elapsed() > LASTED { 0 } else { failures + 1 };
            if failures <= 1 {
                tracing::warn!(%why, "the listener for changes has to begin anew");
            } else {
                tracing::debug!(%why, failures, "the listener for changes cannot begin");
            }
            sleep(backoff(failures, E::longest_wait(&why))).await;
        }
    }
}

fn lock(trouble: &Mutex<Option<String>>) -> MutexGuard<'_, Option<String>> {
    trouble.lock().unwrap_or_else(PoisonError::into_inner)
}

const LASTED: Duration = Duration::from_secs(5);
