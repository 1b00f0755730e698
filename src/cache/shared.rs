//! Credentials by config: all numbers of a config share one object, so one wipe reaches all of them.
//!
//! **Invariant:** a change bumps the fence and wipes under the same lock under which loads join. So
//! a load either joined before, and its answer is refused by the fence, or it comes after, and
//! finds nothing old to join.

use std::collections::HashMap;

use super::fence::{Fence, Generation};
use crate::change::Change;
use crate::credentials::Credentials;
use crate::number::ConfigId;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type ByConfig = HashMap<ConfigId, SharedConfig>;

/// Credentials by the config they came from. Holds none of them alive.
#[derive(Default)]
pub(crate) struct SharedCredentials {
    by_config: Mutex<ByConfig>,
}

struct SharedConfig {
    /// The generation of the row they were made of.
    born: Generation,
    credentials: Weak<Credentials>,
    facts: Arc<Facts>,
}

/// What a config says besides its credentials.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) name: Arc<str>,
    pub(crate) trunk: Option<Box<str>>,
    pub(crate) agent: Option<Box<str>>,
    /// Then no call begins with it; those that began go on.
    pub(crate) is_disabled: bool,
}

impl SharedCredentials {
    /// Shares the credentials of a config if `matches` accepts them; else makes new ones and shares
    /// those. Also returns the generation to stamp the config's part of an answer with.
    ///
    /// `born` is the generation in which the row behind `make` was read. A row that differs from the
    /// one before it is a change that no feed reported. The fence is bumped for it and the old
    /// credentials are wiped, so that no answer with them is current any more. What was found then has
    /// that new generation.
    pub(crate) fn join<E>(
        &self,
        id: ConfigId,
        born: Generation,
        facts: &Arc<Facts>,
        fence: &Fence,
        matches: impl FnOnce(&Credentials) -> bool,
        make: impl FnOnce() -> Result<Credentials, E>,
    ) -> Result<(Arc<Credentials>, Generation), E> {
        let mut by_config = self.lock();
        let mut there = by_config.get_mut(&id).and_then(SharedConfig::in_use);
        if let Some((shared, credentials)) = &mut there
            && matches(credentials)
            && credentials.acquire()
        {
            let born = shared.agree(born, facts, || newly_found(fence, id, born));
            return Ok((Arc::clone(credentials), born));
        }
        let newer = there.as_ref().is_some_and(|(shared, _)| shared.born > born);
        let old = there.map(|(_, credentials)| credentials);
        let credentials = Arc::new(make()?);
        let born = match old {
            // An old row that arrives late. Its credentials are not shared, so no change would wipe
            // them: the bump makes their answer outdated, so that it is not kept.
            Some(_) if newer => {
                fence.bump(Change::Config(id));
                return Ok((credentials, born));
            }
            Some(old) => {
                let born = newly_found(fence, id, born);
                old.wipe();
                born
            }
            None => {
                if by_config.len() == by_config.capacity() {
                    by_config.retain(|_, shared| shared.credentials.strong_count() > 0);
                }
                born
            }
        };
        let (weak, facts) = (Arc::downgrade(&credentials), Arc::clone(facts));
        by_config.insert(id, SharedConfig { born, credentials: weak, facts });
        Ok((credentials, born))
    }

    /// Shares the credentials of a config, if their generation is current.
    pub(crate) fn current(
        &self,
        id: ConfigId,
        is_current: impl FnOnce(Generation) -> bool,
    ) -> Option<(Generation, Arc<Credentials>, Arc<Facts>)> {
        let by_config = self.lock();
        let SharedConfig { born, credentials, facts } = by_config.get(&id)?;
        let credentials = credentials.upgrade().filter(|_| is_current(*born))?;
        credentials.acquire().then(|| (*born, credentials, Arc::clone(facts)))
    }

    /// Whether these are the credentials that a config has now.
    pub(crate) fn holds(&self, id: ConfigId, credentials: &Arc<Credentials>) -> bool {
        let by_config = self.lock();
        let there = by_config.get(&id).and_then(|shared| shared.credentials.upgrade());
        there.is_some_and(|there| Arc::ptr_eq(&there, credentials))
    }

    /// Bumps the fence for a change of one config, and wipes its credentials.
    pub(crate) fn change(&self, id: ConfigId, bump: impl FnOnce() -> Generation) {
        let mut by_config = self.lock();
        bump();
        if let Some(old) = by_config.remove(&id).and_then(|shared| shared.credentials.upgrade()) {
            old.wipe();
        }
    }

    /// Bumps the fence for a change of everything, and wipes all credentials.
    pub(crate) fn change_all(&self, bump: impl FnOnce() -> Generation) {
        let mut by_config = self.lock();
        bump();
        let all = by_config.drain().filter_map(|(_, shared)| shared.credentials.upgrade());
        all.for_each(|old| old.wipe());
    }

    fn lock(&self) -> MutexGuard<'_, ByConfig> {
        self.by_config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedConfig {
    /// This with its credentials, if an answer still uses them.
    fn in_use(&mut self) -> Option<(&mut Self, Arc<Credentials>)> {
        let credentials = self.credentials.upgrade()?;
        Some((self, credentials))
    }

    /// Records that a row with the same credentials was read, unless a newer one was. Returns the
    /// generation of its other columns: `new`, if they differ from before.
    fn agree(
        &mut self,
        born: Generation,
        facts: &Arc<Facts>,
        new: impl FnOnce() -> Generation,
    ) -> Generation {
        if self.born > born {
            return born;
        }
        let was = std::mem::replace(&mut self.facts, Arc::clone(facts));
        self.born = if was == *facts { born } else { new() };
        self.born
    }
}

/// Bumps the fence for a change that no feed reported, and returns the generation of what was found.
/// No known change is lost by calling it new: changes bump under the lock that the caller holds.
fn newly_found(fence: &Fence, id: ConfigId, born: Generation) -> Generation {
    let still_current = fence.admits_config(id, born);
    let bumped = fence.bump(Change::Config(id));
    if still_current { bumped } else { born }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::{Clock, SystemClock};

    struct Lab {
        shared: SharedCredentials,
        fence: Fence,
        clock: Arc<dyn Clock>,
    }

    impl Lab {
        fn new() -> Self {
            let (shared, clock) = (SharedCredentials::default(), Arc::new(SystemClock::default()));
            Self { shared, fence: Fence::new(), clock }
        }

        /// Joins as a load does that read a row in this generation.
        fn join(&self, at: u128, born: Generation, name: &str, same: bool) -> Arc<Credentials> {
            let make = || {
                let url = "wss://eu.example".parse().unwrap();
                let secret = Arc::new(Box::new(String::from("a secret")).into());
                Ok::<_, ()>(Credentials::held(url, "APIeu", secret, Arc::clone(&self.clock)))
            };
            let facts =
                Arc::new(Facts { name: name.into(), trunk: None, agent: None, is_disabled: false });
            let joined = self.shared.join(id(at), born, &facts, &self.fence, |_| same, make);
            joined.unwrap().0
        }

        /// What numbers of this config take part in now, and what it says.
        fn current(&self, at: u128) -> (Generation, Arc<Credentials>, Arc<str>) {
            let (born, credentials, facts) = self.shared.current(id(at), |_| true).unwrap();
            (born, credentials, Arc::clone(&facts.name))
        }

        /// Something else changes.
        fn later(&self) -> Generation {
            self.fence.bump(Change::Config(id(u128::MAX)))
        }
    }

    fn id(at: u128) -> ConfigId {
        ConfigId(Uuid::from_u128(at))
    }

    #[test]
    fn what_a_config_says_besides_is_that_of_the_newest_row() {
        let lab = Lab::new();
        let early = lab.fence.generation();
        let credentials = lab.join(1, early, "old", true);
        let late = lab.later();
        assert!(Arc::ptr_eq(&lab.join(1, late, "new", true), &credentials));
        let (born, _, name) = lab.current(1);
        assert_eq!(&*name, "new");
        assert!(born > late, "nobody logged of it, so it is a change");
        // A row that was read before that and arrives only now.
        assert!(Arc::ptr_eq(&lab.join(1, early, "old", true), &credentials));
        let (still_born, _, name) = lab.current(1);
        assert_eq!((still_born, &*name), (born, "new"));
    }

    #[test]
    fn credentials_of_a_newer_row_outlive_an_old_row_that_arrives_late() {
        let lab = Lab::new();
        let early = lab.fence.generation();
        let first = lab.join(1, early, "eu", true);
        let second = lab.join(1, lab.later(), "eu", false);
        assert!(!first.acquire() && second.acquire(), "the first are wiped");
        let late = lab.join(1, early, "eu", false);
        assert!(!Arc::ptr_eq(&late, &second));
        assert!(Arc::ptr_eq(&lab.current(1).1, &second) && second.acquire());
        assert!(!lab.fence.admits_config(id(1), early), "what came late does not count");
    }

    #[test]
    fn configs_that_nobody_uses_any_more_take_no_room_and_those_in_use_stay_shared() {
        let lab = Lab::new();
        let join = |at| lab.join(at, lab.fence.generation(), "eu", true);
        let in_use: Vec<_> = (0..100).map(join).collect();
        (100..10_000).for_each(|at| drop(join(at)));
        assert!(lab.shared.lock().len() < 1000, "{}", lab.shared.lock().len());
        for (at, credentials) in (0..).zip(&in_use) {
            assert!(Arc::ptr_eq(&join(at), credentials));
        }
    }
}
