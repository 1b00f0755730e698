//! The key pairs of LiveKit configs beside the current one: one that is about to be that, one that was.
//!
//! The current pair is in the row of its config, where every reader looks for it.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

#[cfg(feature = "server")]
pub(crate) use super::Behalf as OnBehalf;
use super::{Config, StoreError};
use crate::keyring::Sealed;
use crate::number::ConfigId;

/// On whose behalf pairs are changed: nobody's, where there is no API.
#[cfg(not(feature = "server"))]
pub(crate) enum OnBehalf {}

/// What a pair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PairPhase {
    /// It is to be the current one.
    Pending,
    /// Calls are placed with it.
    Current,
    /// It was the current one, and its server still accepts it.
    Previous,
}

impl PairPhase {
    /// Every one, in the order in which a pair goes through them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Current, Self::Previous];

    /// Its name in tables, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }

    pub(super) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// A pair of a config that is not the current one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeptPair {
    /// What it is for: pending or previous.
    pub phase: PairPhase,
    /// Its config, with the URL, key and secret of this pair.
    pub config: Config,
    /// Whether its URL is still that of the config. If not, it is a pair of another server.
    pub is_here: bool,
    /// When it came to be known.
    pub added_at: Option<DateTime<Utc>>,
    /// When its server accepted it last, as far as that was asked.
    pub checked_at: Option<DateTime<Utc>>,
    /// Since when it is in this phase.
    pub since: Option<DateTime<Utc>>,
    /// Since when it is known that others may have it.
    pub compromised_at: Option<DateTime<Utc>>,
}

/// The pairs of one config.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PairBook {
    /// The config, with its current pair.
    pub config: Config,
    /// Since when that is the current one. `None`: that is not known.
    pub since: Option<DateTime<Utc>>,
    /// The one that is to be it.
    pub pending: Option<KeptPair>,
    /// The one that was it.
    pub previous: Option<KeptPair>,
    /// What time it is by the database's clock.
    pub now: DateTime<Utc>,
}

/// A pair as people are told of it, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShownPair {
    /// Of which config.
    pub config_id: ConfigId,
    /// Its name.
    pub config_name: String,
    /// What it is for.
    pub phase: PairPhase,
    /// The API key.
    pub api_key: String,
    /// Whether it is for the server of its config. If not, it is for nothing any more.
    pub is_here: bool,
    /// When it came to be known.
    pub added_at: Option<DateTime<Utc>>,
    /// When its server accepted it last, as far as that was asked.
    pub checked_at: Option<DateTime<Utc>>,
    /// Since when it is in this phase.
    pub since: Option<DateTime<Utc>>,
    /// For how long that is.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Option<Duration>,
    /// Since when it is known that others may have it.
    pub compromised_at: Option<DateTime<Utc>>,
}

/// How many pairs are in a phase, and how old the oldest is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairAge {
    /// Which phase.
    pub phase: PairPhase,
    /// How many pairs are in it.
    pub many: u64,
    /// For how long the oldest of them is.
    pub oldest: Duration,
}

/// A pair that is written.
#[derive(Debug, Clone)]
pub(crate) struct NewPair {
    pub(crate) url: String,
    pub(crate) api_key: String,
    pub(crate) sealed: Sealed,
    /// Whether its server has accepted it a moment ago.
    pub(crate) is_checked: bool,
    /// Whether others may have it.
    pub(crate) is_compromised: bool,
}

/// What is to become of a pair that is not the current one.
#[derive(Debug, Clone, Default)]
pub(crate) enum PairSlot {
    #[default]
    Stays,
    Goes,
    Is(Box<NewPair>),
}

/// What is to become of the pairs of a config.
#[derive(Debug, Clone, Default)]
pub(crate) struct PairMoves {
    /// The key and secret that calls are placed with from now on.
    pub(crate) current: Option<(String, Sealed)>,
    pub(crate) pending: PairSlot,
    pub(crate) previous: PairSlot,
}

/// What came of changing pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairsChanged {
    Done,
    /// There is no such config.
    Missing,
    /// Whoever decides by what is locked said no.
    Declined,
}

/// Decides by what is locked. `None`: nothing is changed.
pub(crate) type DecidePairs<'d> = &'d mut (dyn FnMut(&PairBook) -> Option<PairMoves> + Send);

/// The calls of a config that may be in the air with its previous pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallsUp {
    pub(crate) many: u64,
    /// How long ago the last one of them was dialled.
    pub(crate) youngest: Duration,
}

/// The pairs of configs.
#[async_trait]
pub(crate) trait PairRows: Send + Sync + 'static {
    /// The pairs of one config. `None`: there is no such config.
    async fn pair_book(&self, id: ConfigId) -> Result<Option<PairBook>, StoreError>;

    /// Every pair, or those of one config, by name of the config. Tells no secret.
    async fn shown_pairs(&self, of: Option<ConfigId>) -> Result<Vec<ShownPair>, StoreError>;

    /// How many pairs are in each phase. Empty, of an older step.
    async fn pair_ages(&self) -> Result<Vec<PairAge>, StoreError>;

    /// Changes the pairs of a config in one transaction, in which nobody else does, and nobody promotes
    /// another encryption key.
    async fn change_pairs(
        &self,
        on_behalf: Option<&OnBehalf>,
        id: ConfigId,
        decide: DecidePairs<'_>,
    ) -> Result<PairsChanged, StoreError>;

    /// So many pairs that are not the current ones, in the order of their configs and phases: those after
    /// this one, or the first ones. None, of an older step.
    async fn pairs_after(
        &self,
        after: Option<(ConfigId, PairPhase)>,
        most: usize,
    ) -> Result<Vec<KeptPair>, StoreError>;

    /// Puts the same secret in the place of one, sealed again. `false`: it was changed meanwhile, or another
    /// key seals since.
    async fn reseal_pair(&self, read: &KeptPair, sealed: &Sealed) -> Result<bool, StoreError>;

    /// The calls that may be in the air with the previous pair of a config. `None`: this role may not look.
    async fn calls_up(&self, id: ConfigId) -> Result<Option<CallsUp>, StoreError>;
}

#[expect(clippy::ref_option, reason = "serde gives it so")]
fn seconds<S: serde::Serializer>(age: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    age.map(|age| age.as_secs()).serialize(out)
}
