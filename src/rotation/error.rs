//! Why a step of a rotation is not done. Nothing of it was done then.

use chrono::{DateTime, SecondsFormat, Utc};

use super::gate::Gate;
use crate::keyring::{KeyError, KeyId};
use crate::nodes::names;
use crate::store::{KeyPhase, StoreError};

/// Why a step of a rotation is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ring cannot do it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database is of an older step.
    #[error("the database knows no state of keys: its step 13 is missing")]
    NotMigrated,
    /// There is no place for data keys.
    #[error("{}", if *is_hidden {
        "this role may not read trunkline_keys, where data keys rest"
    } else {
        "the database has no place for data keys: its step 19 is missing"
    })]
    NoDataKeys {
        /// Whether there is one that this role may not read.
        is_hidden: bool,
    },
    /// Others may have every key of the settings, so none is to seal data keys.
    #[error("every key of this ring's settings is compromised, so none may seal data keys")]
    NoRoot,
    /// Others may have a key that is to seal data keys.
    #[error("key {key} is compromised, and is not used again")]
    Compromised {
        /// Which one.
        key: KeyId,
    },
    /// The ring has no other key than the one that seals.
    #[error("the ring has no new key to stage; key {key} seals")]
    NothingToStage {
        /// Which one.
        key: KeyId,
    },
    /// A key is not in the ring of this process.
    #[error("key {key} is not in the ring of this process")]
    NotInRing {
        /// Which one.
        key: KeyId,
    },
    /// A key stands in the ring twice.
    #[error("key {key} stands in the ring twice")]
    Duplicate {
        /// Which one.
        key: KeyId,
    },
    /// The key that is to be staged stands first, so whoever knows no state seals with it already.
    #[error("key {key} stands first in the ring of {}", names(nodes))]
    Swapped {
        /// Which one.
        key: KeyId,
        /// Whose ring.
        nodes: Vec<String>,
    },
    /// The rings of the nodes begin with different keys.
    #[error("the rings of the nodes begin with different keys: {}", orders.join("; "))]
    OrderDiffers {
        /// Each first key with the nodes that have it.
        orders: Vec<String>,
    },
    /// The key seals already.
    #[error("key {key} seals already")]
    Seals {
        /// Which one.
        key: KeyId,
    },
    /// The key was refused or retired before, or others may have it.
    #[error("key {key} {}", match phase {
        KeyPhase::Retired => "was retired, and is not used again",
        KeyPhase::Refused => "is refused, and is not used again",
        _ => "is compromised, and is not used again",
    })]
    Used {
        /// Which one.
        key: KeyId,
        /// What became of it.
        phase: KeyPhase,
    },
    /// Another key is staged.
    #[error("key {key} is staged already; one key is staged at a time")]
    AnotherStaged {
        /// Which one.
        key: KeyId,
    },
    /// No key is staged.
    #[error("no key is staged")]
    NothingStaged,
    /// The database does not know the key.
    #[error("the database knows no key {key}")]
    Unknown {
        /// Which one.
        key: KeyId,
    },
    /// Nobody has said that there are no readers that nobody sees.
    #[error(
        "readers that are not listed may be there, and whoever has one key only does not survive this"
    )]
    ReadersUnconfirmed,
    /// Somebody could not open what the key is to seal.
    #[error("{}", gate.closed_because())]
    GateClosed {
        /// Who.
        gate: Gate,
    },
    /// Secrets are still sealed under the key.
    #[error("{many} secrets are sealed under key {key}")]
    StillSealed {
        /// Which one.
        key: KeyId,
        /// How many.
        many: u64,
    },
    /// Nodes have no other key that opens.
    #[error(
        "{} cannot do without key {key}: the key that seals is not in their ring",
        names(nodes)
    )]
    NodesNeedIt {
        /// Which one.
        key: KeyId,
        /// Who.
        nodes: Vec<String>,
    },
    /// It is the turn of another step.
    #[error("key {key} is {}, and must be {} first", phase.as_str(), needs.as_str())]
    WrongPhase {
        /// Which one.
        key: KeyId,
        /// What it is.
        phase: KeyPhase,
        /// What it must be.
        needs: KeyPhase,
    },
    /// It is too early.
    #[error("it is too early for key {key}: {why}; that ends at {}", until.to_rfc3339_opts(SecondsFormat::Secs, true))]
    TooEarly {
        /// Which one.
        key: KeyId,
        /// What is waited for.
        why: &'static str,
        /// Until when, by the database's clock.
        until: DateTime<Utc>,
    },
    /// Somebody else changed the keys meanwhile.
    #[error("somebody else changed the keys at this moment; nothing was changed")]
    Raced,
}

impl RotationError {
    /// Whether it is mended by waiting: an old key that something needs yet.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Self::TooEarly { .. }
                | Self::StillSealed { .. }
                | Self::NotInRing { .. }
                | Self::NodesNeedIt { .. }
        )
    }

    /// Until when it is to be waited, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::TooEarly { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::NotMigrated => "keys_not_migrated",
            Self::NoDataKeys { is_hidden: false } => "data_keys_not_migrated",
            Self::NoDataKeys { is_hidden: true } => "data_keys_hidden",
            Self::NoRoot => "no_root_key",
            Self::NothingToStage { .. } => "nothing_to_stage",
            Self::NotInRing { .. } => "key_not_in_ring",
            Self::Duplicate { .. } => "key_duplicate",
            Self::Swapped { .. } => "ring_swapped",
            Self::OrderDiffers { .. } => "ring_order_differs",
            Self::Seals { .. } => "key_seals_already",
            Self::Used { .. } | Self::Compromised { .. } => "key_used_before",
            Self::AnotherStaged { .. } => "another_key_staged",
            Self::NothingStaged => "nothing_staged",
            Self::Unknown { .. } => "key_unknown",
            Self::ReadersUnconfirmed => "readers_unconfirmed",
            Self::GateClosed { .. } => "gate_closed",
            Self::StillSealed { .. } => "key_still_seals",
            Self::NodesNeedIt { .. } => "nodes_need_key",
            Self::WrongPhase { .. } => "key_phase",
            Self::TooEarly { .. } => "key_too_early",
            Self::Raced => "keys_changed",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(_) => return None,
            Self::Key(error) => return error.hint(),
            Self::NotMigrated | Self::NoDataKeys { is_hidden: false } => {
                "run `trunkline db migrate`"
            }
            Self::NoDataKeys { is_hidden: true } => {
                "have the owner run `trunkline db grants --keys --apply`, or grant select on trunkline_keys"
            }
            Self::NoRoot | Self::Compromised { .. } | Self::NothingToStage { .. } => {
                "make a key with `trunkline key generate`, and put it last in \
                 LIVEKIT_SECRET_ENCRYPTION_KEY of every process, after a comma"
            }
            Self::NotInRing { .. } => {
                "put it last in LIVEKIT_SECRET_ENCRYPTION_KEY, after a comma; `trunkline key status` \
                 shows the ids"
            }
            Self::Duplicate { .. } => "remove one of the two from LIVEKIT_SECRET_ENCRYPTION_KEY",
            Self::Swapped { .. } => {
                "put it last until it is promoted: programs that know no state seal with the first key"
            }
            Self::OrderDiffers { .. } => {
                "put the same key first everywhere: programs that know no state seal with the first key"
            }
            Self::Seals { .. } => "name the new key; `trunkline key status` shows the ids",
            Self::Used { .. } => "make a new key with `trunkline key generate`",
            Self::AnotherStaged { .. } => {
                "promote it with `trunkline key promote`, or drop it with `trunkline key retire`"
            }
            Self::NothingStaged => "stage one with `trunkline key stage`",
            Self::Unknown { .. } => "`trunkline key status` shows those that it knows",
            Self::ReadersUnconfirmed => {
                "give each such reader both keys (MultiFernet, in Python), and say --unseen-readers none"
            }
            Self::GateClosed { .. } => {
                "give them the key and reload them, or stop them; --force goes on without them"
            }
            Self::StillSealed { .. } => "seal them again with `trunkline key rotate`",
            Self::NodesNeedIt { .. } => "add the key that seals to their ring, and reload them",
            Self::WrongPhase { needs: KeyPhase::Refused, .. } => {
                "`trunkline key retire` refuses it first, and retires it when it is run again"
            }
            Self::WrongPhase { .. } => "`trunkline key status` shows what each key is",
            Self::TooEarly { .. } => "run it again then; --now does not wait, in an emergency",
            Self::Raced => "look with `trunkline key status`, and run it again",
        })
    }
}
