//! Why a step of turning a pair is not done. Nothing of it was done then.

use chrono::{DateTime, SecondsFormat, Utc};

use super::PairRefused;
use crate::draft::FieldErrors;
use crate::keyring::KeyError;
use crate::nodes::names;
use crate::number::ConfigId;
use crate::store::{PairPhase, StoreError};

/// Why a step of turning a pair is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret does not open, or cannot be sealed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What was entered cannot be a pair.
    #[error(transparent)]
    Fields(#[from] FieldErrors),
    /// There is no such config.
    #[error("there is no LiveKit config {id}")]
    NoConfig {
        /// Which one.
        id: ConfigId,
    },
    /// The new pair has the key of the current one.
    #[error("{api_key} is the API key of the current pair")]
    SameKey {
        /// Which one.
        api_key: String,
    },
    /// The new pair is the one that is kept.
    #[error("{api_key} is the API key of the previous pair")]
    WasPrevious {
        /// Which one.
        api_key: String,
    },
    /// Another pair is pending.
    #[error("another pair is pending: {api_key}")]
    AnotherPending {
        /// Which one.
        api_key: String,
    },
    /// No pair is pending.
    #[error("no pair is pending")]
    NothingPending,
    /// No previous pair is kept.
    #[error("no previous pair is kept")]
    NothingPrevious,
    /// A previous pair is kept, and would be lost.
    #[error("the previous pair {api_key} is still kept")]
    PreviousKept {
        /// Which one.
        api_key: String,
    },
    /// The URL of the config was changed since.
    #[error(
        "the {} pair {api_key} is for another server: the URL of the config was changed since",
        phase.as_str()
    )]
    OtherServer {
        /// What it is for.
        phase: PairPhase,
        /// Which one.
        api_key: String,
    },
    /// Others may have the pair.
    #[error("others may have the pair {api_key}")]
    Compromised {
        /// Which one.
        api_key: String,
    },
    /// The server does not accept a pair, or could not be asked.
    #[error("the {} pair {api_key} is not accepted: {}", phase.as_str(), why.message)]
    Refused {
        /// What it is for.
        phase: PairPhase,
        /// Which one.
        api_key: String,
        /// What was found.
        why: PairRefused,
    },
    /// Nodes may use the pair still.
    #[error("{} may use the previous pair still", names(nodes))]
    NodesBehind {
        /// Their names.
        nodes: Vec<String>,
    },
    /// Tokens may be shown that the pair signed.
    #[error("tokens that the previous pair signed may be shown until {}", at(until))]
    TooEarly {
        /// Until when, by the database's clock.
        until: DateTime<Utc>,
    },
    /// Calls may be in the air that began with the pair.
    #[error(
        "{many} calls may be in the air with the previous pair, until {} at the latest",
        at(until)
    )]
    CallsUp {
        /// How many.
        many: u64,
        /// Until when, by the database's clock.
        until: DateTime<Utc>,
    },
    /// Somebody else changed the pairs meanwhile.
    #[error("somebody else changed the pairs of this config at this moment; nothing was changed")]
    Raced,
}

impl PairError {
    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Fields(errors) => errors.first().problem.code(),
            Self::NoConfig { .. } => "config_not_found",
            Self::SameKey { .. } => "pair_is_current",
            Self::WasPrevious { .. } => "pair_is_previous",
            Self::AnotherPending { .. } => "another_pair_pending",
            Self::NothingPending => "no_pair_pending",
            Self::NothingPrevious => "no_previous_pair",
            Self::PreviousKept { .. } => "previous_pair_kept",
            Self::OtherServer { .. } => "pair_of_other_server",
            Self::Compromised { .. } => "pair_compromised",
            Self::Refused { .. } => "pair_refused",
            Self::NodesBehind { .. } => "nodes_behind",
            Self::TooEarly { .. } => "pair_too_early",
            Self::CallsUp { .. } => "calls_in_the_air",
            Self::Raced => "pairs_changed",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(_) | Self::Fields(_) => return None,
            Self::Key(error) => return error.hint(),
            Self::NoConfig { .. } => "`trunkline livekit list` shows what there is",
            Self::SameKey { .. } => {
                "a server keeps one secret for a key: make a pair with a key of its own"
            }
            Self::WasPrevious { .. } => "`trunkline livekit roll-back` makes it current again",
            Self::AnotherPending { .. } => {
                "`trunkline livekit promote` goes on with it, `trunkline livekit roll-back` forgets it"
            }
            Self::NothingPending => "enter one with `trunkline livekit rotate`",
            Self::NothingPrevious => "`trunkline livekit pairs` shows what there is",
            Self::PreviousKept { .. } => {
                "retire it first with `trunkline livekit retire`; it says from when that may be"
            }
            Self::OtherServer { .. } => {
                "`trunkline livekit roll-back` forgets a pending one, `trunkline livekit retire` a previous one"
            }
            Self::Compromised { .. } => "make a new pair at the server",
            Self::Refused { phase: PairPhase::Pending, .. } => {
                "it is kept: add it to the server (self-hosted: its key file, and a restart; cloud: the \
                 console), then `trunkline livekit promote`"
            }
            Self::Refused { phase: PairPhase::Current, .. } => {
                "the server must accept both: put it back there; --old-is-gone goes on without it"
            }
            Self::Refused { why, .. } => return why.hint,
            Self::NodesBehind { .. } => {
                "`trunkline nodes list` shows them; wait for them, or end them"
            }
            Self::TooEarly { .. } | Self::CallsUp { .. } => {
                "run it again then; --now does not wait, and cuts off whoever has such a token"
            }
            Self::Raced => "look with `trunkline livekit pairs`, and run it again",
        })
    }
}

fn at(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
