//! Which key opens how many secrets, and which secrets none opens: those of configs, and of their pairs that
//! are pending or previous.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Rotation, RotationError};
use crate::keyring::{ExposeSecret, KeyError, KeyId, KeyRing};
use crate::number::ConfigId;
use crate::store::{Config, KeptPair, KeyBook, KeyPhase};

/// Which key opens how many secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Census {
    /// How many are sealed under each key.
    pub by_key: BTreeMap<KeyId, u64>,
    /// Those that do not open: no key of the ring fits, they are not sealed, or belong elsewhere.
    pub left: Vec<LeftSecret>,
}

/// A secret that is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftSecret {
    /// Of which config.
    pub config_id: ConfigId,
    /// Its name.
    pub name: String,
    /// Why, as a code: `no_key_fits`, or `prefix_missing` of one that is not sealed.
    pub code: &'static str,
    /// The same in words.
    pub message: String,
}

impl LeftSecret {
    pub(super) fn new(config: &Config, error: &KeyError) -> Self {
        Self {
            config_id: config.id,
            name: config.name.clone(),
            code: error.code(),
            message: error.to_string(),
        }
    }
}

impl Census {
    /// How many secrets are sealed under a key.
    #[must_use]
    pub fn under(&self, key: KeyId) -> u64 {
        self.by_key.get(&key).copied().unwrap_or(0)
    }

    fn count(&mut self, config: &Config, ring: &KeyRing, opens: Result<(), KeyError>) {
        if let Ok(key) = ring.key_of(config.api_secret.expose_secret()) {
            *self.by_key.entry(key).or_default() += 1;
        }
        if let Err(error) = opens {
            self.left.push(LeftSecret::new(config, &error));
        }
    }
}

impl Rotation {
    /// Counts by whom each secret is sealed. Opens none.
    pub(super) async fn count(&self) -> Result<Census, RotationError> {
        let ring = self.ring();
        let signed = |config: &Config| ring.key_of(config.api_secret.expose_secret());
        self.look_at_all(|config| signed(config).map(drop)).await
    }

    /// Opens every secret, with whichever key fits, and notes since when each old key opens none.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`], [`RotationError::NotMigrated`].
    pub async fn verify(&self) -> Result<Census, RotationError> {
        let book = self.book().await?;
        let ring = self.ring();
        let opens = |config: &Config| match config.open(&ring) {
            // Whether only bound ones may be used is the readers' concern.
            Ok(_) | Err(KeyError::NotBound) => Ok(()),
            Err(error) => Err(error),
        };
        let census = self.look_at_all(opens).await?;
        self.note(&book, &census).await?;
        Ok(census)
    }

    /// Notes what a pass over all secrets has found.
    pub(super) async fn note(&self, book: &KeyBook, census: &Census) -> Result<(), RotationError> {
        let watched = |phase| matches!(phase, KeyPhase::Old | KeyPhase::Refused);
        let found = book.keys.iter().filter(|key| watched(key.phase));
        // What the ring does not have is not recognized: of such a key nothing is known.
        let found = found.filter(|key| self.has(key.id));
        let found: Vec<_> = found.map(|key| (key.id, census.under(key.id) > 0)).collect();
        Ok(self.rows.note_pass(&found).await?)
    }

    async fn look_at_all(
        &self,
        opens: impl Fn(&Config) -> Result<(), KeyError>,
    ) -> Result<Census, RotationError> {
        let (ring, mut census, mut last) = (self.ring(), Census::default(), None);
        loop {
            let page = self.rows.configs_after(last, PAGE).await?;
            last = page.last().map(|config| config.id);
            for config in &page {
                census.count(config, &ring, opens(config));
            }
            if page.len() < PAGE {
                break;
            }
            // Others of this thread have their turn.
            tokio::task::yield_now().await;
        }
        let mut last = None;
        loop {
            let page = self.pairs.pairs_after(last, PAGE).await?;
            last = page.last().map(|pair| (pair.config.id, pair.phase));
            for pair in &page {
                let config = named(pair);
                census.count(&config, &ring, opens(&config));
            }
            if page.len() < PAGE {
                return Ok(census);
            }
        }
    }
}

/// The config of a pair, by a name that tells which of its pairs it is.
pub(super) fn named(pair: &KeptPair) -> Config {
    let name = format!("{} ({} pair)", pair.config.name, pair.phase.as_str());
    Config { name, ..pair.config.clone() }
}

/// How many configs are read at once.
pub(super) const PAGE: usize = 512;
