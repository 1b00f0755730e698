//! The builder of a resolver.

use std::fmt;
use std::sync::Arc;

use thread_local::ThreadLocal;

#[cfg(feature = "server")]
use super::clients::Clients;
use super::health::HealthState;
use super::key_rule::KeysInForce;
use super::live::Live;
use super::loader::Loader;
use super::metrics::Telemetry;
use super::owners::Owners;
#[cfg(feature = "server")]
use super::people::People;
use super::rollout::{KeptRollout, RolloutInForce};
use super::route_batcher::RouteBatcher;
use super::source_log::SourceLog;
use super::url_watch::UrlWatch;
use super::verification::Issuers;
use super::whole::Around;
use super::{Engine, Resolver};
use crate::cache::single_flight::SingleFlight;
use crate::cache::{Cache, Lifetimes};
use crate::changes::ChangeFeed;
use crate::clock::{Clock, TickingClock};
use crate::lifecycle::Lifecycle;
use crate::nodes::{NodeIdentity, Registration};
use crate::settings::{Settings, host_name};
use crate::store::{OpenStore, Store};

/// Builds a [`Resolver`]. Nothing runs, and nothing is opened, before [`start`](Self::start).
pub struct ResolverBuilder {
    settings: Settings,
    store: Option<Arc<dyn Store>>,
    database: Option<OpenStore>,
    /// The machine's, unless somebody gave another one.
    clock: Option<Arc<dyn Clock>>,
    /// What it is called among the nodes. `None`: as the program's file is.
    program: Option<String>,
    is_listed: bool,
}

impl ResolverBuilder {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, store: None, database: None, clock: None, program: None, is_listed: true }
    }

    /// A store in place of the database that the settings name. It has no change feed: report its
    /// changes with [`Resolver::invalidate`], or let the TTL find them.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The database that the settings name, opened already. Its connections are shared.
    #[must_use]
    pub fn database(mut self, database: OpenStore) -> Self {
        self.database = Some(database);
        self
    }

    /// A clock in place of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Which program this is among the nodes of its database. Without it, the name of the program's file.
    #[must_use]
    pub fn program(mut self, program: &str) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Leaves it out of the list of nodes: for a program that asks once and ends.
    #[must_use]
    pub fn unlisted(mut self) -> Self {
        self.is_listed = false;
        self
    }

    /// Starts the resolver and the tasks beside it. Opens no connection yet: that happens with the
    /// first load, and with hot reload, neither of which begins under `DATABASE_OFF`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(self) -> Resolver {
        let Self { settings, store: given, database, clock, program, is_listed } = self;
        let clock = clock.unwrap_or_else(|| TickingClock::start(settings.tuning.lease));
        let tuning = Arc::new(settings.tuning.clone());
        let longest = tuning.ttl.max(tuning.negative_ttl).max(tuning.max_stale);
        let cache = Arc::new(Cache::new(tuning.capacity, longest, tuning.ttl));
        let telemetry = Arc::new(Telemetry::new());

        let open = || Some(OpenStore::new(settings.database.as_ref()?, &tuning));
        let database = if given.is_some() { None } else { database.or_else(open) };
        let identity = NodeIdentity {
            name: settings.node_name.clone(),
            host: host_name(),
            program: program.unwrap_or_else(own_name),
            lease: tuning.lease,
            max_stale: tuning.max_stale,
        };
        let store = given.or_else(|| database.as_ref().map(OpenStore::store));
        #[cfg(all(feature = "dispatch", feature = "server"))]
        let data_dir = settings.data_dir.clone();
        #[cfg(feature = "relay")]
        let relay = settings.relay.clone();
        let kept = settings.data_dir.as_deref().zip(settings.database.as_ref());
        let kept = kept.map(|(folder, database)| KeptRollout::new(folder, database));
        let (live, lifecycle) =
            (Arc::new(Live::new(settings, store.is_some(), &clock)), Lifecycle::new());
        let feed = database.clone().map(|database| {
            let counted = telemetry.changes.clone();
            Arc::new(ChangeFeed::new(
                database,
                &tuning,
                &cache,
                &clock,
                counted,
                #[cfg(feature = "relay")]
                relay.map(|url| (url, ring_of(&live))),
            ))
        });
        let registration = database.as_ref().filter(|_| is_listed).map(|database| {
            let registration = Registration::new(database, identity);
            #[cfg(feature = "relay")]
            let registration =
                registration.over(feed.as_ref().and_then(|feed| feed.relay().cloned()));
            Arc::new(registration)
        });
        let around = Around {
            live: Arc::clone(&live),
            cache: Arc::clone(&cache),
            clock: Arc::clone(&clock),
            lifecycle: lifecycle.clone(),
            tuning: Arc::clone(&tuning),
        };
        let rollouts = database.as_ref().map(OpenStore::rollouts);
        let loader = Arc::new(Loader {
            store,
            keys: KeysInForce::new(database.as_ref(), registration.as_ref(), &telemetry, &around),
            has_feed: feed.is_some(),
            live: Arc::clone(&live),
            rollout: RolloutInForce::new(rollouts, kept, &around),
            cache: Arc::clone(&cache),
            clock: Arc::clone(&clock),
            telemetry: Arc::clone(&telemetry),
            source_log: SourceLog::default(),
            lifecycle: lifecycle.clone(),
            tuning: Arc::clone(&tuning),
            lifetimes: Lifetimes {
                ttl: tuning.ttl,
                negative_ttl: tuning.negative_ttl,
                max_stale: tuning.max_stale,
                jitter: tuning.ttl_jitter,
            },
            route_batcher: RouteBatcher::new(tuning.connections),
            loads: SingleFlight::new(),
            config_loads: SingleFlight::new(),
            url_watch: UrlWatch::default(),
            pause_until: 0.into(),
        });
        let engine = Arc::new(Engine {
            live,
            cache,
            clock,
            telemetry,
            threads: ThreadLocal::new(),
            owners: Owners::new(&loader),
            issuers: Issuers::new(&loader),
            #[cfg(feature = "server")]
            clients: Clients::new(database.as_ref().map(OpenStore::clients), &loader),
            #[cfg(feature = "server")]
            people: People::new(database.as_ref().map(OpenStore::people), &loader),
            loader,
            database,
            feed,
            registration,
            health_state: HealthState::default(),
            lifecycle,
            tuning,
            #[cfg(all(feature = "dispatch", feature = "server"))]
            data_dir,
        });
        engine.telemetry.reloaded(Some(engine.clock.unix_time()));
        engine.start_tasks();
        Resolver { engine }
    }
}

/// The keys in force, for the relay.
#[cfg(feature = "relay")]
fn ring_of(live: &Arc<Live>) -> crate::changes::Ring {
    let live = Arc::clone(live);
    Arc::new(move || live.running().ring.clone())
}

/// The name of the program's file.
fn own_name() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_name());
    name.map_or_else(|| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
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
            .field("enabled", &engine.live.running().switches().configs)
            .field("cached", &engine.cache.len())
            .finish_non_exhaustive()
    }
}
