//! Why nobody could answer, and what the number's row says none the less.

use super::KnownRules;
use crate::reason::Reason;

/// Why nobody could answer, by what a caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The database had no answer and the policy keeps the environment from giving one.
    #[error("no credentials: {reason}, and FALLBACK_DENY keeps the environment from answering")]
    FallbackDenied {
        /// Why the database did not answer.
        reason: Reason,
    },
    /// The database had no answer, and the rollout is complete: the environment answers nobody.
    #[error(
        "no credentials: {reason}, and the rollout is complete, so the environment answers nobody"
    )]
    RolloutComplete {
        /// Why the database did not answer.
        reason: Reason,
    },
    /// The database had no answer and the environment is not complete.
    #[error(
        "no credentials: {reason}, and the environment lacks {}; it needs LIVEKIT_URL, \
         LIVEKIT_API_KEY and LIVEKIT_API_SECRET together",
        missing.join(", ")
    )]
    EnvironmentIncomplete {
        /// Why the database did not answer.
        reason: Reason,
        /// The variables that are not set.
        missing: Vec<&'static str>,
    },
    /// The database had no answer, and the host of the environment's URL is not in `LIVEKIT_HOSTS`.
    #[error("no credentials: {reason}, and the host of LIVEKIT_URL is not in LIVEKIT_HOSTS")]
    HostNotAllowed {
        /// Why the database did not answer.
        reason: Reason,
    },
    /// A config was asked for by its id, and cannot be used. The environment never stands in for it.
    #[error("no credentials: {reason}")]
    ConfigUnusable {
        /// Why.
        reason: Reason,
    },
    /// A number was given without a tenant, and more than one tenant owns it.
    #[error("more than one tenant owns this number; name the tenant")]
    TenantNeeded,
}

impl ResolveError {
    /// Why the database did not answer, where it was asked; or that the environment's host may not.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::HostNotAllowed { .. } => Some(Reason::HostNotAllowed),
            Self::FallbackDenied { reason }
            | Self::RolloutComplete { reason }
            | Self::EnvironmentIncomplete { reason, .. }
            | Self::ConfigUnusable { reason } => Some(*reason),
            Self::TenantNeeded => None,
        }
    }

    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FallbackDenied { .. } => "fallback_denied",
            Self::RolloutComplete { .. } => "rollout_complete",
            Self::EnvironmentIncomplete { .. } => "environment_incomplete",
            Self::HostNotAllowed { .. } => "host_not_allowed",
            Self::ConfigUnusable { .. } => "config_unusable",
            Self::TenantNeeded => "tenant_needed",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TenantNeeded => "say --tenant; `trunkline number list` shows who owns it",
            Self::ConfigUnusable { .. } => "`trunkline livekit list` shows what there is",
            Self::HostNotAllowed { .. } => "add the host of LIVEKIT_URL to LIVEKIT_HOSTS",
            Self::RolloutComplete { .. } => {
                "`trunkline resolve --explain` tells each step; `trunkline rollout set live` lets the \
                 environment answer again"
            }
            Self::FallbackDenied { .. } | Self::EnvironmentIncomplete { .. } => {
                "`trunkline resolve --explain` tells each step"
            }
        }
    }

    /// Whether asking again later may help without anybody changing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::HostNotAllowed { reason } => reason.is_recoverable(),
            error => error.reason().is_some_and(Reason::is_recoverable),
        }
    }
}

/// Why there are no credentials, and what the number's row says none the less.
#[derive(Debug, Clone)]
pub(crate) struct Unanswered {
    pub(crate) error: ResolveError,
    pub(crate) rules: KnownRules,
}

impl From<ResolveError> for Unanswered {
    fn from(error: ResolveError) -> Self {
        Self { error, rules: KnownRules::Unknown }
    }
}

impl From<Unanswered> for ResolveError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}
