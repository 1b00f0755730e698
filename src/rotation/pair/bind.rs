//! Binds the secrets of pairs that are pending or previous, as those of their configs are.

use super::{PairError, Pairs};
use crate::keyring::KeyError;
use crate::number::ConfigId;
use crate::rotation::census::named;
use crate::store::StoreError;

/// What became of the secret of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairBound {
    /// The name of its config, and which of its pairs it is.
    pub name: String,
    /// What became of it. `Ok`: whether it was sealed again, or would be; if not, it was so before.
    pub outcome: Result<bool, PairUnbound>,
}

/// Why the secret of a pair is left as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairUnbound {
    /// It does not open.
    Unopenable(KeyError),
    /// Somebody has changed it meanwhile.
    Changed,
}

impl Pairs {
    /// Binds the secrets of the other pairs of a config, or unbinds them. Only looks, where `dry_run`.
    ///
    /// # Errors
    ///
    /// [`PairError::Store`].
    pub async fn rebind(
        &self,
        id: ConfigId,
        bound: bool,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<Vec<PairBound>, PairError> {
        let (ring, book) = match self.book(id).await {
            Ok(book) => (self.sealer().await?, book),
            // Of a step before that of pairs, or removed meanwhile.
            Err(PairError::Store(StoreError::NotMigrated { .. }) | PairError::NoConfig { .. }) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut done = Vec::new();
        for pair in book.pending.iter().chain(&book.previous) {
            let outcome = match pair.config.rebound(&ring, bound, unix_seconds) {
                Err(error) => Err(PairUnbound::Unopenable(error)),
                Ok(None) => Ok(false),
                Ok(Some(_)) if dry_run => Ok(true),
                Ok(Some(sealed)) => {
                    let is_written = self.rows.reseal_pair(pair, &sealed).await?;
                    is_written.then_some(true).ok_or(PairUnbound::Changed)
                }
            };
            done.push(PairBound { name: named(pair).name, outcome });
        }
        Ok(done)
    }
}
