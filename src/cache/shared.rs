//! The credentials that numbers share: one object a config, so that one wipe serves all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::fence::{Fence, Generation};
use crate::credentials::Credentials;
use crate::number::ConfigId;

/// Credentials by the config they came from. Holds none of them alive.
#[derive(Default)]
pub(crate) struct SharedCredentials {
    by_config: Mutex<HashMap<ConfigId, (Generation, Weak<Credentials>)>>,
}

impl SharedCredentials {
    /// Takes part in the credentials of a config when they are still those of `matches`, or makes
    /// new ones and shares those.
    ///
    /// `born` is the generation in which the row behind `make` was read.
    pub(crate) fn join<E>(
        &self,
        id: ConfigId,
        born: Generation,
        fence: &Fence,
        matches: impl FnOnce(&Credentials) -> bool,
        make: impl FnOnce() -> Result<Credentials, E>,
    ) -> Result<Arc<Credentials>, E> {
        let mut by_config = self.lock();
        if let Some((made, weak)) = by_config.get(&id)
            && let Some(credentials) = weak.upgrade()
            // Made before a change they may be wiped at any moment: only newer ones are joined.
            && !fence.config_changed_since(id, *made)
            && matches(&credentials)
            && credentials.acquire()
        {
            return Ok(credentials);
        }
        let credentials = Arc::new(make()?);
        if by_config.len() >= by_config.capacity() {
            by_config.retain(|_, (_, weak)| weak.strong_count() > 0);
        }
        let displaced = by_config.insert(id, (born, Arc::downgrade(&credentials)));
        // The wipe that a change ordered looks here for them, and would not find the old ones.
        if let Some((made, old)) = displaced
            && fence.config_changed_since(id, made)
            && let Some(old) = old.upgrade()
        {
            old.wipe();
        }
        Ok(credentials)
    }

    /// Wipes the credentials of one config that were read before `change`.
    pub(crate) fn wipe(&self, id: ConfigId, change: Generation) {
        let mut by_config = self.lock();
        if by_config.get(&id).is_some_and(|(made, _)| *made < change)
            && let Some((_, old)) = by_config.remove(&id)
            && let Some(old) = old.upgrade()
        {
            old.wipe();
        }
    }

    /// Wipes all credentials that were read before `change`.
    pub(crate) fn wipe_all(&self, change: Generation) {
        self.lock().retain(|_, (made, weak)| {
            let keep = *made >= change;
            if !keep && let Some(old) = weak.upgrade() {
                old.wipe();
            }
            keep
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConfigId, (Generation, Weak<Credentials>)>> {
        self.by_config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
