//! The credentials that numbers share: one object a config, so that one wipe serves all of them.
//!
//! **Invariant:** a change bumps the fence and wipes under the same lock under which loads join. So
//! a load either joined before, and its answer is refused by the fence, or it comes after, and
//! finds nothing old to join.

use std::collections::HashMap;

use super::fence::Generation;
use crate::credentials::Credentials;
use crate::number::ConfigId;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type ByConfig = HashMap<ConfigId, (Generation, Weak<Credentials>)>;

/// Credentials by the config they came from, and the generation of the row they were made of.
/// Holds none of them alive.
#[derive(Default)]
pub(crate) struct SharedCredentials {
    by_config: Mutex<ByConfig>,
}

impl SharedCredentials {
    /// Takes part in the credentials of a config when they are those of `matches`, or makes new
    /// ones and shares those.
    ///
    /// `born` is the generation in which the row behind `make` was read. A row that says something
    /// else than before is a change that was not heard of: `bump` is called for it, so that the
    /// answers that still hold the old credentials, which are wiped, count no more.
    pub(crate) fn join<E>(
        &self,
        id: ConfigId,
        born: Generation,
        bump: impl FnOnce(),
        matches: impl FnOnce(&Credentials) -> bool,
        make: impl FnOnce() -> Result<Credentials, E>,
    ) -> Result<Arc<Credentials>, E> {
        let mut by_config = self.lock();
        let there = by_config.get(&id).and_then(|(made, weak)| Some((*made, weak.upgrade()?)));
        if let Some((_, shared)) = &there
            && matches(shared)
            && shared.acquire()
        {
            return Ok(Arc::clone(shared));
        }
        let credentials = Arc::new(make()?);
        match there {
            // An old row that arrives late. Nobody would wipe what is not shared, so its answer must
            // not count from here on, and is not kept.
            Some((newer, _)) if newer > born => {
                bump();
                return Ok(credentials);
            }
            Some((_, old)) => {
                bump();
                old.wipe();
            }
            None if by_config.len() == by_config.capacity() => {
                by_config.retain(|_, (_, weak)| weak.strong_count() > 0);
            }
            None => {}
        }
        by_config.insert(id, (born, Arc::downgrade(&credentials)));
        Ok(credentials)
    }

    /// Bumps the fence for a change of one config, and wipes its credentials.
    pub(crate) fn change(&self, id: ConfigId, bump: impl FnOnce()) {
        let mut by_config = self.lock();
        bump();
        if let Some(old) = by_config.remove(&id).and_then(|(_, weak)| weak.upgrade()) {
            old.wipe();
        }
    }

    /// Bumps the fence for a change of everything, and wipes all credentials.
    pub(crate) fn change_all(&self, bump: impl FnOnce()) {
        let mut by_config = self.lock();
        bump();
        by_config.drain().filter_map(|(_, (_, weak))| weak.upgrade()).for_each(|old| old.wipe());
    }

    fn lock(&self) -> MutexGuard<'_, ByConfig> {
        self.by_config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
