//! How a resolver is put together, and the tasks that run beside it.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Engine, Resolver, Running};
use crate::cache::flight::Flights;
use crate::cache::{Cache, SWEEP, dice};
#[cfg(feature = "postgres")]
use crate::changes::listener::Listener;
#[cfg(feature = "sqlite")]
use crate::changes::poller::Poller;
use crate::clock::{Clock, Moment, SystemClock};
use crate::lifecycle::Lifecycle;
use crate::settings::{Settings, Tuning};
use crate::store::{OpenStore, Store};
use crate::telemetry::Telemetry;

/// Builds a [`Resolver`].
pub struct ResolverBuilder {
    settings: Settings,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
}

impl ResolverBuilder {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, store: None, clock: Arc::new(SystemClock::default()) }
    }

    /// A store in place of the database that the settings name. Nobody listens for its changes:
    /// tell of them with [`Resolver::invalidate`], or let the TTL find them.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// A clock in place of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the resolver and the tasks beside it. Opens no connection yet: that happens with the
    /// first load, and with hot reload, neither of which begins while the flag is off.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(self) -> Resolver {
        let Self { settings, store: given, clock } = self;
        let tuning = settings.tuning.clone();
        let cold = settings.cold();
        let longest = tuning.ttl.max(tuning.negative_ttl).max(tuning.max_stale);
        let cache = Arc::new(Cache::new(tuning.capacity, longest));
        let lifecycle = Lifecycle::new();
        let telemetry = Telemetry::new();
        let (enabled, hears_flag) = watch::channel(settings.enabled);

        let store = given.or_else(|| {
            let opened = OpenStore::new(settings.database.as_ref()?, &tuning);
            let store = opened.store();
            let ear = Ear::of(opened, &tuning, &cache, &clock);
            // No hit counts before the first life has proven that it hears.
            cache.fence.renew_lease(Moment::default());
            let ended = telemetry.lives_ended.clone();
            let lives = lives(ear, hears_flag, lifecycle.stopping(), move || ended.increment(1));
            lifecycle.spawn("changes", lives);
            Some(store)
        });
        lifecycle
            .spawn("sweeper", sweep(Arc::clone(&cache), Arc::clone(&clock), lifecycle.stopping()));
        let engine = Engine {
            running: ArcSwap::from_pointee(Running::new(settings, &clock)),
            cache,
            flights: Flights::new(),
            store,
            clock,
            lifecycle,
            telemetry,
            tuning,
            cold,
            reloading: Mutex::default(),
            enabled,
            pause_until: 0.into(),
        };
        Resolver { engine: Arc::new(engine) }
    }
}

impl fmt::Debug for ResolverBuilder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ResolverBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = &self.engine;
        out.debug_struct("Resolver")
            .field("enabled", &engine.running.load().enabled)
            .field("cached", &engine.cache.len())
            .finish_non_exhaustive()
    }
}

/// What hears of changes.
enum Ear {
    #[cfg(feature = "postgres")]
    Postgres(Listener),
    #[cfg(feature = "sqlite")]
    Sqlite(Poller),
}

impl Ear {
    fn of(opened: OpenStore, tuning: &Tuning, cache: &Arc<Cache>, clock: &Arc<dyn Clock>) -> Self {
        let (cache, clock) = (Arc::clone(cache), Arc::clone(clock));
        let lease = tuning.lease;
        match opened {
            #[cfg(feature = "postgres")]
            OpenStore::Postgres(store) => {
                let (heartbeat, patience) = (tuning.heartbeat, tuning.store_deadline);
                Self::Postgres(Listener { store, cache, clock, heartbeat, lease, patience })
            }
            #[cfg(feature = "sqlite")]
            OpenStore::Sqlite(store) => {
                let interval = tuning.poll;
                Self::Sqlite(Poller { store, cache, clock, interval, lease })
            }
        }
    }

    async fn life(&self) -> Result<Infallible, String> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(listener) => listener.life().await.map_err(|ended| ended.to_string()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(poller) => poller.life().await.map_err(|ended| ended.to_string()),
        }
    }
}

/// One life after the other, while the flag is on.
async fn lives(
    ear: Ear,
    mut enabled: watch::Receiver<bool>,
    stopping: tokio_util::sync::CancellationToken,
    ended: impl Fn() + Send,
) {
    let mut failures = 0_u32;
    loop {
        let on = async { enabled.wait_for(|on| *on).await.is_ok() };
        tokio::select! {
            () = stopping.cancelled() => return,
            on = on => if !on { return },
        }
        let began = tokio::time::Instant::now();
        let why = tokio::select! {
            () = stopping.cancelled() => return,
            off = enabled.wait_for(|on| !*on) => match off {
                Ok(_) => continue,
                Err(_) => return,
            },
            ended = ear.life() => match ended {
                Err(why) => why,
                Ok(never) => match never {},
            },
        };
        ended();
        // A life that lasted was a good one; only what fails again and again is waited for.
        failures = if began.elapsed() > LONGEST_WAIT { 0 } else { failures + 1 };
        if failures <= 1 {
            tracing::warn!(%why, "changes are not heard; the database is asked until they are");
        } else {
            tracing::debug!(%why, failures, "changes are still not heard");
        }
        let most = SHORTEST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT);
        let wait = most.mul_f64(dice((failures, began.elapsed().as_nanos())));
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn sweep(
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    stopping: tokio_util::sync::CancellationToken,
) {
    let mut due = tokio::time::interval(SWEEP);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = due.tick() => cache.sweep(clock.now()),
        }
    }
}

const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
