//! Who answers: the settings that change while a resolver runs, and the flag among them. Decided
//! here and nowhere else.
//!
//! **Invariant:** settings are taken whole. They are swapped before what they make wrong is dropped,
//! so that a load which begins after the drop sees the new ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::reload::ReloadError;
use crate::cache::{Entry, Outcome, Resolution};
use crate::change::Change;
use crate::clock::{Clock, Moment};
use crate::environment::Environment;
use crate::keyring::KeyRing;
use crate::reason::Reason;
use crate::settings::{Cold, Settings};

/// The settings that hold now.
pub(super) struct Live {
    running: ArcSwap<Running>,
    /// The flag, for those who answer from memory.
    enabled: AtomicBool,
    /// The flag, for those who listen for changes.
    listens: watch::Sender<bool>,
    /// The settings that only a restart changes.
    cold: Cold,
    /// Held by a reload, so that two of them do not cross.
    reloading: Mutex<()>,
}

/// Settings that change while it runs, ready to use.
pub(super) struct Running {
    enabled: bool,
    #[cfg(feature = "dispatch")]
    pub(super) routing: crate::routing::Reading,
    pub(super) ring: Option<Arc<KeyRing>>,
    pub(super) environment: Environment,
    /// What everybody is told while the flag is off.
    off: Arc<Entry>,
}

impl Live {
    pub(super) fn new(settings: Settings, clock: &Arc<dyn Clock>) -> Self {
        let (cold, enabled) = (settings.cold(), settings.enabled);
        Self {
            running: ArcSwap::from_pointee(Running::new(settings, clock)),
            enabled: enabled.into(),
            listens: watch::Sender::new(enabled),
            cold,
            reloading: Mutex::default(),
        }
    }

    /// The settings, to use for a whole load.
    pub(super) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Whether the database is asked first.
    #[inline(always)]
    pub(super) fn asks_database(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// What everybody is told while the flag is off.
    pub(super) fn off(&self) -> Arc<Entry> {
        Arc::clone(&self.running.load().off)
    }

    /// Whether the database is asked first, and when that changes.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.listens.subscribe()
    }

    /// Takes new settings. `drop` is told what they make wrong of what is cached.
    pub(super) fn take(
        &self,
        settings: Settings,
        clock: &Arc<dyn Clock>,
        drop: impl FnOnce(Change),
    ) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let variables = settings.needs_restart_from(&self.cold);
        if !variables.is_empty() {
            return Err(ReloadError::NeedsRestart { variables: variables.join(", ") });
        }
        let enabled = settings.enabled;
        let old = self.running.swap(Arc::new(Running::new(settings, clock)));
        if let Some(change) = self.running.load().makes_wrong(&old) {
            drop(change);
        }
        self.enabled.store(enabled, Ordering::Release);
        self.listens.send_if_modified(|was| std::mem::replace(was, enabled) != enabled);
        Ok(())
    }
}

impl Running {
    fn new(settings: Settings, clock: &Arc<dyn Clock>) -> Self {
        let environment = Environment::new(settings.environment, Arc::clone(clock));
        let off = Arc::new(Entry::from(environment.answer(Reason::FlagOff, None, clock.now())));
        Self {
            enabled: settings.enabled,
            #[cfg(feature = "dispatch")]
            routing: settings.routing,
            ring: settings.ring,
            environment,
            off,
        }
    }

    /// Whether the database is asked first.
    pub(super) fn asks_database(&self) -> bool {
        self.enabled
    }

    /// What everybody is told, where the database is not asked.
    pub(super) fn for_everybody(&self) -> Option<&Arc<Entry>> {
        (!self.enabled).then_some(&self.off)
    }

    /// What the environment answers for a reason, without any rules.
    pub(super) fn without_database(&self, reason: Reason, now: Moment) -> Outcome {
        self.environment.answer(reason, None, now).map(Resolution::new)
    }

    /// What was cached under older settings and is wrong under these.
    fn makes_wrong(&self, older: &Self) -> Option<Change> {
        let keys = |running: &Self| running.ring.as_ref().map(|ring| ring.key_ids());
        if keys(self) != keys(older) {
            Some(Change::All)
        } else if !self.environment.answers_like(&older.environment) {
            Some(Change::Numbers)
        } else {
            None
        }
    }
}
