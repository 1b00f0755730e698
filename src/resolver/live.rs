//! The settings that a reload can change, the flag among them. Here, and nowhere else, is decided
//! whether the database or the environment answers.
//!
//! The flag decides whose credentials place a call. The rules of a number come from its row in either
//! case, except under `DATABASE_OFF`.
//!
//! **Invariant:** settings are swapped as a whole. They are swapped before the answers that they make
//! outdated are dropped, so a load that begins after the drop sees the new settings.

mod known_keys;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use self::known_keys::KnownKeys;
use super::decision::{Chosen, Decision, Unusable, choose, choose_disabled_or_not, decide};
use crate::answer::{KnownRules, ResolveError, Unanswered};
use crate::cache::{CacheEntry, Resolution, ResolveOutcome};
use crate::change::Change;
use crate::clock::{Clock, Moment};
use crate::environment::Environment;
use crate::keyring::KeyRing;
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::rollout::{Side, Standing};
use crate::settings::{Settings, SettingsError, StartupSettings};
use crate::store::{Config, Route};

/// The settings in force.
pub(super) struct Live {
    running: ArcSwap<Running>,
    /// Whether the database is asked: a copy for the warm path.
    asks_database: AtomicBool,
    /// The same and the flag, for the background tasks.
    watched: watch::Sender<Switches>,
    has_store: bool,
    /// The settings that only a restart changes.
    startup: StartupSettings,
    /// What the database says of keys, as far as it was read.
    known_keys: ArcSwapOption<KnownKeys>,
    /// Held by a reload, so that two reloads do not overlap.
    reloading: Mutex<()>,
}

/// What the settings switch on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switches {
    /// Whether the database is asked.
    pub(super) database: bool,
    /// Whether its configs place calls.
    pub(super) configs: bool,
}

/// Settings that change while it runs, ready to use.
pub(super) struct Running {
    flag: Flag,
    switches: Switches,
    #[cfg(feature = "dispatch")]
    pub(super) routing: crate::routing::Reading,
    pub(super) ring: Option<Arc<KeyRing>>,
    /// Of the settings that all nodes must share.
    pub(super) fingerprint: Arc<str>,
    /// Each setting as anybody may see it.
    #[cfg(feature = "server")]
    pub(super) shown: Arc<[crate::settings::ShownSetting]>,
    pub(super) environment: Arc<Environment>,
    /// The answer for every caller while the database is not asked.
    off: Arc<CacheEntry>,
}

/// The two settings that decide who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flag {
    enabled: bool,
    database_off: bool,
}

impl Flag {
    fn switches(self, has_store: bool) -> Switches {
        Switches {
            database: !self.database_off && (has_store || self.enabled),
            configs: !self.database_off && self.enabled,
        }
    }

    /// The answer for every caller while the database is not asked.
    fn off(self, environment: &Environment, clock: &Arc<dyn Clock>) -> Arc<CacheEntry> {
        if self.database_off {
            tracing::warn!("DATABASE_OFF is set: the environment answers, and no rules hold");
        }
        let reason = if self.database_off { Reason::DatabaseOff } else { Reason::FlagOff };
        Arc::new(CacheEntry::from(environment.answer(reason, KnownRules::Unknown, clock.now())))
    }
}

/// What new settings make outdated in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outdated {
    /// Everything that such a change makes outdated.
    Dropped(Change),
    /// The source of credentials has changed: every answer is outdated, and none of the rules.
    SourceSwitched,
}

/// Why new settings were refused. The old ones stay in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// They are not valid.
    #[error(transparent)]
    Invalid(#[from] SettingsError),
    /// They change what only a restart can change.
    #[error(
        "{variables} changed, which needs a restart; {}",
        if *switched_off {
            "USE_SELFHOST_ROUTING_TABLE or DATABASE_OFF was switched anyway, and nothing else"
        } else {
            "nothing was changed"
        }
    )]
    NeedsRestart {
        /// Which ones.
        variables: String,
        /// Whether they also turn the flag off or set `DATABASE_OFF`: that is done in any case.
        switched_off: bool,
    },
}

impl Live {
    pub(super) fn new(settings: Settings, has_store: bool, clock: &Arc<dyn Clock>) -> Self {
        let startup = settings.startup();
        let running = Running::new(settings, has_store, clock);
        let switches = running.switches;
        Self {
            running: ArcSwap::from_pointee(running),
            asks_database: switches.database.into(),
            watched: watch::Sender::new(switches),
            has_store,
            startup,
            known_keys: ArcSwapOption::empty(),
            reloading: Mutex::default(),
        }
    }

    /// What the process began with.
    pub(super) fn startup(&self) -> &StartupSettings {
        &self.startup
    }

    /// The settings, to use for a whole load.
    pub(super) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Whether the database is asked for what is not in memory.
    #[inline(always)]
    pub(super) fn asks_database(&self) -> bool {
        self.asks_database.load(Ordering::Acquire)
    }

    /// The answer for every caller while it is not.
    pub(super) fn off(&self) -> Arc<CacheEntry> {
        Arc::clone(&self.running.load().off)
    }

    /// What is switched on, and when that changes.
    pub(super) fn watch(&self) -> watch::Receiver<Switches> {
        self.watched.subscribe()
    }

    /// Takes new settings. `discard` drops what they make outdated in the cache.
    pub(super) fn take(
        &self,
        settings: Settings,
        clock: &Arc<dyn Clock>,
        discard: impl FnOnce(Outdated),
    ) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let variables = settings.needs_restart_from(&self.startup);
        if variables.is_empty() {
            let known = self.known_keys.load_full();
            let running = Running::new(settings, self.has_store, clock).knowing(known.as_deref());
            self.swap(running, discard);
            return Ok(());
        }
        // Switching the database off is urgent, so it is done whatever else the file changes.
        let off = self.running.load().turned_off_by(&settings, self.has_store, clock);
        let switched_off = off.is_some();
        if let Some(off) = off {
            self.swap(off, discard);
        }
        Err(ReloadError::NeedsRestart { variables: variables.join(", "), switched_off })
    }

    fn swap(&self, new: Running, discard: impl FnOnce(Outdated)) {
        let old = self.running.swap(Arc::new(new));
        let running = self.running.load();
        if let Some(outdated) = running.makes_outdated(&old) {
            discard(outdated);
        }
        let switches = running.switches;
        self.asks_database.store(switches.database, Ordering::Release);
        self.watched.send_if_modified(|was| std::mem::replace(was, switches) != switches);
    }
}

impl Running {
    fn new(settings: Settings, has_store: bool, clock: &Arc<dyn Clock>) -> Self {
        let flag = Flag { enabled: settings.enabled, database_off: settings.database_off };
        let fingerprint = settings.fingerprint().into();
        #[cfg(feature = "server")]
        let shown = Arc::clone(settings.shown());
        let environment = Arc::new(Environment::new(settings.environment, Arc::clone(clock)));
        Self {
            flag,
            switches: flag.switches(has_store),
            off: flag.off(&environment, clock),
            #[cfg(feature = "dispatch")]
            routing: settings.routing,
            ring: settings.ring,
            fingerprint,
            #[cfg(feature = "server")]
            shown,
            environment,
        }
    }

    /// The same, with what new settings switch off. `None`: they switch nothing off.
    fn turned_off_by(
        &self,
        new: &Settings,
        has_store: bool,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let flag = Flag {
            enabled: self.flag.enabled && new.enabled,
            database_off: self.flag.database_off || new.database_off,
        };
        (flag != self.flag).then(|| Self {
            flag,
            switches: flag.switches(has_store),
            off: flag.off(&self.environment, clock),
            ..self.copy()
        })
    }

    fn copy(&self) -> Self {
        Self {
            flag: self.flag,
            switches: self.switches,
            off: Arc::clone(&self.off),
            #[cfg(feature = "dispatch")]
            routing: self.routing.clone(),
            ring: self.ring.clone(),
            fingerprint: Arc::clone(&self.fingerprint),
            #[cfg(feature = "server")]
            shown: Arc::clone(&self.shown),
            environment: Arc::clone(&self.environment),
        }
    }

    /// Whether the database is asked, and whether its configs place calls.
    pub(super) fn switches(&self) -> Switches {
        self.switches
    }

    /// The answer for every caller while the database is not asked.
    pub(super) fn without_asking(&self) -> Option<&Arc<CacheEntry>> {
        (!self.switches.database).then_some(&self.off)
    }

    /// Whether the flag is on: configs of the database place calls.
    pub(super) fn uses_configs(&self) -> bool {
        self.flag.enabled
    }

    /// The decision for a row, or for the lack of one, by where its caller stands in the rollout.
    pub(super) fn decide(&self, standing: Standing, route: Option<Route>) -> Decision {
        if !self.uses_configs() {
            return Decision::by_rules_alone(route.as_ref(), Unusable::FlagOff);
        }
        let Standing { side, falls_back } = standing;
        match side {
            Side::Inside => Decision { falls_back, ..self.decide_inside(route) },
            Side::Shadow => self.decide_inside(route).shadowed(),
            Side::Outside => Decision::by_rules_alone(route.as_ref(), Unusable::OutsideRollout),
        }
    }

    /// The same of whom the database answers, whatever flag and rollout say.
    pub(super) fn decide_inside(&self, route: Option<Route>) -> Decision {
        decide(route, self.ring.as_ref(), self.environment.hosts())
    }

    /// The same for a config alone.
    pub(super) fn choose(&self, id: ConfigId, config: Option<Config>) -> Result<Chosen, Unusable> {
        choose(id, config, self.ring.as_ref(), self.environment.hosts())
    }

    /// The same for what began with it, disabled or not.
    pub(super) fn choose_begun(
        &self,
        id: ConfigId,
        config: Option<Config>,
    ) -> Result<Chosen, Unusable> {
        let config = config.ok_or(Unusable::ConfigMissing(id))?;
        choose_disabled_or_not(config, self.ring.as_ref(), self.environment.hosts())
    }

    /// The environment's answer when the database gives none, for a reason, by the rules as far as
    /// they are known.
    pub(super) fn fall_back(
        &self,
        reason: Reason,
        falls_back: bool,
        rules: KnownRules,
        now: Moment,
    ) -> ResolveOutcome {
        if self.uses_configs() && !falls_back {
            return Err(Unanswered { error: ResolveError::RolloutComplete { reason }, rules });
        }
        let reason = if self.uses_configs() { reason } else { Reason::FlagOff };
        self.environment.answer(reason, rules, now).map(Resolution::new)
    }

    /// The same when the database cannot be asked. Who is outside of the rollout misses nothing by that.
    pub(super) fn without_database(
        &self,
        reason: Reason,
        Standing { side, falls_back }: Standing,
        rules: KnownRules,
        now: Moment,
    ) -> ResolveOutcome {
        self.fall_back(side.reason().unwrap_or(reason), falls_back, rules, now)
    }

    /// The effect of the switches, in words.
    pub(super) fn flag(&self) -> &'static str {
        match self.switches {
            Switches { configs: true, .. } => {
                "USE_SELFHOST_ROUTING_TABLE is on: the database is asked first"
            }
            Switches { database: true, .. } => {
                "USE_SELFHOST_ROUTING_TABLE is off: the environment answers, by the number's rules"
            }
            _ if self.flag.database_off => {
                "DATABASE_OFF is set: the environment answers, and no rules hold"
            }
            _ => {
                "USE_SELFHOST_ROUTING_TABLE is off and no DATABASE_URL is set: the environment \
                 answers, and no rules hold"
            }
        }
    }

    /// What was cached under older settings and is outdated under these.
    fn makes_outdated(&self, older: &Self) -> Option<Outdated> {
        let same_ring = match (&self.ring, &older.ring) {
            (Some(ring), Some(older)) => ring.opens_like(older),
            (ring, older) => ring.is_none() && older.is_none(),
        };
        let same_hosts = self.environment.hosts() == older.environment.hosts();
        if !same_ring || !same_hosts {
            Some(Outdated::Dropped(Change::All))
        } else if !self.environment.answers_like(&older.environment) {
            Some(Outdated::Dropped(Change::Numbers))
        } else if self.uses_configs() != older.uses_configs() {
            Some(Outdated::SourceSwitched)
        } else {
            None
        }
    }
}
