//! The encryption keys as the database knows them: by their ids, with what each is for. And the secrets
//! that are sealed again under another one.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;

use super::{Config, StoreError};
use crate::keyring::{KeyId, KeyRing, KeyRule, Sealed, WrappedKey};
use crate::number::ConfigId;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyPhase {
    /// It opens everywhere, and is to seal.
    Staged,
    /// It seals.
    Sealing,
    /// It sealed before; secrets under it are sealed again.
    Old,
    /// It opens nothing any more, though it is still there.
    Refused,
    /// It is gone, and never comes back.
    Retired,
}

impl KeyPhase {
    /// Every one, in the order in which a key goes through them.
    pub const ALL: [Self; 5] =
        [Self::Staged, Self::Sealing, Self::Old, Self::Refused, Self::Retired];

    /// Its name in tables, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Sealing => "sealing",
            Self::Old => "old",
            Self::Refused => "refused",
            Self::Retired => "retired",
        }
    }

    pub(super) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// A key that the database knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KnownKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub phase: KeyPhase,
    /// When it became known.
    pub added_at: Option<DateTime<Utc>>,
    /// Since when it is in this phase.
    pub since: Option<DateTime<Utc>>,
    /// Since when no pass over all secrets has found one under it.
    pub clean_since: Option<DateTime<Utc>>,
    /// Since when it is known that others may have it.
    pub compromised_at: Option<DateTime<Utc>>,
}

/// A key that rests in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataKey {
    /// It, as it rests.
    pub wrapped: WrappedKey,
    /// When it was made.
    pub added_at: Option<DateTime<Utc>>,
    /// Since when it is sealed by its root key.
    pub wrapped_at: Option<DateTime<Utc>>,
}

/// Whether a database has a place for data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataKeyPlace {
    /// It is of a step before that.
    #[default]
    None,
    /// It has, and this role may not read it.
    Hidden,
    /// It has.
    Open,
}

/// What the database knows of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyBook {
    /// How often another key began to seal.
    pub epoch: i64,
    /// The key that seals. `None`: the first one of each ring.
    pub sealing: Option<KeyId>,
    /// Since when somebody has said that no reader is left that nobody sees and that has one key.
    pub readers_confirmed_at: Option<DateTime<Utc>>,
    /// The keys, the newest first.
    pub keys: Vec<KnownKey>,
    /// Those of them that rest in the database, the oldest first.
    pub data_keys: Vec<DataKey>,
    /// Whether it has a place for such.
    pub data_key_place: DataKeyPlace,
    /// What time it is by the database's clock.
    pub now: DateTime<Utc>,
}

impl KeyBook {
    /// A key of it.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&KnownKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// A key of it that rests in the database.
    #[must_use]
    pub fn data_key(&self, id: KeyId) -> Option<&DataKey> {
        self.data_keys.iter().find(|key| key.wrapped.id == id)
    }

    /// The data keys that this one seals.
    #[must_use]
    pub fn under_root(&self, root: KeyId) -> Vec<KeyId> {
        let under = self.data_keys.iter().filter(|key| key.wrapped.root == root);
        under.map(|key| key.wrapped.id).collect()
    }

    /// The ring with the data keys that it opens, by what the database says of keys.
    #[must_use]
    pub fn ring(&self, ring: &KeyRing) -> KeyRing {
        self.whole_ring(ring).ruled(Some(self.rule()))
    }

    /// The ring with the data keys that it opens.
    #[must_use]
    pub fn whole_ring(&self, ring: &KeyRing) -> KeyRing {
        let wrapped: Vec<_> = self.data_keys.iter().map(|key| key.wrapped.clone()).collect();
        ring.with_data_keys(&wrapped)
    }

    /// What a ring is to follow.
    #[must_use]
    pub fn rule(&self) -> KeyRule {
        let refused = |key: &&KnownKey| matches!(key.phase, KeyPhase::Refused | KeyPhase::Retired);
        let refused = self.keys.iter().filter(refused).map(|key| key.id).collect();
        KeyRule { epoch: self.epoch, sealing: self.sealing, refused }
    }

    /// How long ago that was, by the database's clock.
    #[must_use]
    pub fn ago(&self, at: Option<DateTime<Utc>>) -> Option<Duration> {
        at.map(|at| (self.now - at).to_std().unwrap_or_default())
    }
}

/// What is to become of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyMoves {
    /// Which keys enter which phase.
    pub(crate) phases: Vec<(KeyId, KeyPhase)>,
    /// The key that is to seal.
    pub(crate) sealing: Option<KeyId>,
    /// Whether another key seals from now on, so that what was sealed before is not taken any more.
    pub(crate) is_promotion: bool,
    /// Somebody says that no reader is left that has one key only, or that there may be some.
    pub(crate) readers_confirmed: Option<bool>,
    /// Keys that others may have.
    pub(crate) compromised: Vec<KeyId>,
    /// Data keys that are to rest so.
    pub(crate) wrapped: Vec<WrappedKey>,
    /// Data keys that go.
    pub(crate) dropped: Vec<KeyId>,
}

/// Decides by what is locked. `None`: nothing is changed.
pub(crate) type DecideKeys<'d> = &'d mut (dyn FnMut(&KeyBook) -> Option<KeyMoves> + Send);

/// A secret that is to take the place of another one.
pub(crate) struct Resealed<'r> {
    /// The row as it was read.
    pub(crate) read: &'r Config,
    /// The same secret, sealed again.
    pub(crate) sealed: Sealed,
}

/// The keys as the database knows them.
#[async_trait]
pub(crate) trait KeyRows: Send + Sync + 'static {
    /// What it knows. `None`: it is of an older step, and knows of no keys.
    async fn key_book(&self) -> Result<Option<KeyBook>, StoreError>;

    /// Changes what it knows, in one transaction in which nobody else does and nobody writes a secret.
    /// Returns whether anything was changed. `claimed` is what the audit is told of who asks.
    async fn move_keys(
        &self,
        claimed: Option<&Json>,
        decide: DecideKeys<'_>,
    ) -> Result<bool, StoreError>;

    /// Notes which of these keys a pass over all secrets has found one under.
    async fn note_pass(&self, found: &[(KeyId, bool)]) -> Result<(), StoreError>;

    /// So many configs in the order of their ids: those after this one, or the first ones.
    async fn configs_after(
        &self,
        after: Option<ConfigId>,
        most: usize,
    ) -> Result<Vec<Config>, StoreError>;

    /// Puts secrets in the places of the same ones, all in one statement, and returns which rows took it.
    /// A row that was edited since, or that somebody edits at this moment, is left as it is; and all of
    /// them are, once another key seals. The update time of a row stays.
    async fn reseal_all(&self, batch: &[Resealed<'_>]) -> Result<Vec<ConfigId>, StoreError>;
}
