//! The ring of the settings by what the database says of keys: which one seals, which are refused, and the
//! data keys that it opens.
//!
//! **Invariant:** a ring is swapped as the settings are: as a whole, and before what it makes outdated is
//! dropped.

use std::sync::{Arc, PoisonError};

use super::{Live, Outdated, Running};
use crate::keyring::{ExposeSecret, KeyError, KeyRing, KeyRule, WrappedKey};
use crate::store::{Config, DataKeyPlace, KeyBook};

/// What the database says of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::resolver) struct KnownKeys {
    rule: KeyRule,
    data_keys: Vec<WrappedKey>,
    place: DataKeyPlace,
}

impl From<KeyBook> for KnownKeys {
    fn from(book: KeyBook) -> Self {
        let rule = book.rule();
        let data_keys = book.data_keys.into_iter().map(|key| key.wrapped).collect();
        Self { rule, data_keys, place: book.data_key_place }
    }
}

impl Live {
    /// Has the ring follow what the database says of keys. Returns whether that is news.
    pub(in crate::resolver) fn know_keys(
        &self,
        known: Option<KnownKeys>,
        discard: impl FnOnce(Outdated),
    ) -> bool {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known_keys.load().as_deref() == known.as_ref() {
            return false;
        }
        let running = self.running.load().copy().knowing(known.as_ref());
        for unopened in running.ring.iter().flat_map(|ring| ring.unopened()) {
            tracing::error!(key = %unopened.id, root = %unopened.root, "{unopened}");
        }
        if known.as_ref().is_some_and(|known| known.place == DataKeyPlace::Hidden) {
            tracing::warn!("{}", data_key_trouble(None, true).unwrap_or_default());
        }
        self.known_keys.store(known.map(Arc::new));
        self.swap(running, discard);
        true
    }

    /// How many data keys of the database do not open.
    pub(in crate::resolver) fn unopened(&self) -> usize {
        self.running.load().ring.as_ref().map_or(0, |ring| ring.unopened().len())
    }

    /// What is wrong with the data keys of the database, as far as they were read.
    pub(in crate::resolver) fn data_key_trouble(&self) -> Option<String> {
        let running = self.running.load();
        let known = self.known_keys.load();
        let is_hidden = known.as_ref().is_some_and(|known| known.place == DataKeyPlace::Hidden);
        data_key_trouble(running.ring.as_deref(), is_hidden)
    }
}

impl Running {
    /// The same with its ring by what the database says of keys.
    pub(super) fn knowing(self, known: Option<&KnownKeys>) -> Self {
        let data_keys = known.map(|known| &*known.data_keys).unwrap_or_default();
        let rule = known.map(|known| known.rule.clone());
        let ruled = |ring: &Arc<KeyRing>| ring.with_data_keys(data_keys).ruled(rule.clone());
        let ring = self.ring.as_ref().map(|ring| Arc::new(ruled(ring)));
        Self { ring, ..self }
    }

    /// Whether no key of the ring has sealed the secret of a config.
    pub(in crate::resolver) fn lacks_key_of(&self, config: &Config) -> bool {
        let key_of = |ring: &Arc<KeyRing>| ring.key_of(config.api_secret.expose_secret());
        let key = self.ring.as_ref().map(key_of);
        matches!(key, Some(Err(KeyError::NoKeyFits { .. } | KeyError::DataKeyUnopened { .. })))
    }
}

/// The first thing that is wrong with data keys, in words.
fn data_key_trouble(ring: Option<&KeyRing>, is_hidden: bool) -> Option<String> {
    if is_hidden {
        let why =
            "this role may not read trunkline_keys, so what data keys seal does not open here";
        return Some(why.to_owned());
    }
    ring.and_then(|ring| ring.unopened().first()).map(ToString::to_string)
}
