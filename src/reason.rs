//! Why the database did not answer: one word for each reason, the same everywhere.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $word:literal,)*) => {
        /// Why the environment answered and not the database. The words are stable: they stand in
        /// logs, metrics, JSON and `FALLBACK_DENY`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// The reason as one `snake_case` word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// `USE_SELFHOST_ROUTING_TABLE` is off.
    FlagOff = "flag_off",
    /// `DATABASE_OFF` is set.
    DatabaseOff = "database_off",
    /// The rollout has not come to this caller yet.
    OutsideRollout = "outside_rollout",
    /// The rollout is at its stage `shadow`: what the database would have answered is compared.
    Shadow = "shadow",
    /// No `DATABASE_URL` is set.
    DatabaseNotConfigured = "database_not_configured",
    /// The tenant has no such number.
    NumberUnknown = "number_unknown",
    /// The number's rules name no LiveKit config.
    ConfigUnassigned = "config_unassigned",
    /// The number's rules are no object, or `livekit_config` in them is no UUID.
    RulesMalformed = "rules_malformed",
    /// The rules name a LiveKit config that does not exist.
    ConfigMissing = "config_missing",
    /// The LiveKit config is disabled.
    ConfigDisabled = "config_disabled",
    /// The LiveKit config has a malformed URL or an empty key.
    ConfigInvalid = "config_invalid",
    /// The host of the LiveKit config's URL is not in `LIVEKIT_HOSTS`.
    HostNotAllowed = "host_not_allowed",
    /// The config's API secret does not open with any key of the ring.
    SecretUnopenable = "secret_unopenable",
    /// The config's API secret was sealed for another config, URL or API key: somebody without the
    /// key has changed the row.
    SecretBoundElsewhere = "secret_bound_elsewhere",
    /// The config's API secret is not bound to it, and `BOUND_SECRETS_ONLY` is on.
    SecretNotBound = "secret_not_bound",
    /// The database cannot be reached or refuses.
    DatabaseUnreachable = "database_unreachable",
    /// The database did not answer in time.
    DatabaseTimeout = "database_timeout",
    /// The database answered with an error, such as a missing table.
    DatabaseError = "database_error",
    /// The load itself failed. A bug; the log has it.
    LoadPanicked = "load_panicked",
}

impl Reason {
    /// Whether asking again may help without anybody changing a row: the database was in the way.
    #[must_use]
    pub fn is_recoverable(self) -> bool {
        matches!(
            self,
            Self::DatabaseUnreachable
                | Self::DatabaseTimeout
                | Self::DatabaseError
                | Self::LoadPanicked
        )
    }
}

impl Reason {
    /// Whether a setting wants it so.
    pub(crate) fn is_by_settings(self) -> bool {
        matches!(self, Self::FlagOff | Self::DatabaseOff)
    }

    /// Whether somebody chose it: by settings, by the rollout, or by what a row does not say yet. The others
    /// are faults.
    pub(crate) fn is_chosen(self) -> bool {
        self.is_by_settings()
            || self.is_by_rollout()
            || matches!(
                self,
                Self::DatabaseNotConfigured | Self::NumberUnknown | Self::ConfigUnassigned
            )
    }

    /// Whether the rollout wants it so, which is no fault and cannot be denied.
    #[must_use]
    pub fn is_by_rollout(self) -> bool {
        matches!(self, Self::OutsideRollout | Self::Shadow)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

/// A word that is no [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such reason")]
pub struct UnknownReason;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_word() {
        for &reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
    }
}
