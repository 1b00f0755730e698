//! Why a token is not taken, by what its holder or an operator can do about it.

use crate::reason::Reason;
use crate::token::{NoToken, OutOfTime};

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is no token.
    #[error("this is no token: {why}")]
    Malformed {
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is signed in another way than LiveKit's tokens are.
    #[error("the token is not signed by HS256, as LiveKit's tokens are")]
    OtherAlgorithm,
    /// Neither a LiveKit config nor the environment has the API key that it names.
    #[error("no LiveKit config has the API key that the token names as its issuer")]
    IssuerUnknown,
    /// There are LiveKit configs with its API key, and it was signed with the secret of none.
    #[error("the secret of the LiveKit config did not sign this token")]
    SignatureInvalid,
    /// It does not say when it ends.
    #[error("the token does not say when it ends (exp)")]
    Endless,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It is not good yet.
    #[error("the token is not good yet (nbf)")]
    Early,
    /// It is about another body.
    #[error("the token is not about this body: its sha256 is missing, or another one")]
    OtherBody,
    /// There are LiveKit configs with its API key, and one of them cannot be used.
    #[error("a LiveKit config with the API key of the token cannot be used: {reason}")]
    ConfigUnusable {
        /// Why.
        reason: Reason,
    },
    /// It cannot be told at present which configs there are.
    #[error("the LiveKit configs cannot be read at present: {reason}")]
    Unavailable {
        /// Why.
        reason: Reason,
    },
}

impl VerifyError {
    /// A stable `snake_case` name for the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "jwt_malformed",
            Self::OtherAlgorithm => "algorithm_refused",
            Self::IssuerUnknown => "issuer_unknown",
            Self::SignatureInvalid => "signature_invalid",
            Self::Endless => "jwt_endless",
            Self::Expired => "jwt_expired",
            Self::Early => "jwt_early",
            Self::OtherBody => "other_body",
            Self::ConfigUnusable { reason } | Self::Unavailable { reason } => reason.as_str(),
        }
    }

    /// Whether asking again a moment later may go well.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl From<NoToken> for VerifyError {
    fn from(why: NoToken) -> Self {
        match why {
            NoToken::Malformed(why) => Self::Malformed { why },
            NoToken::OtherAlgorithm => Self::OtherAlgorithm,
        }
    }
}

impl From<OutOfTime> for VerifyError {
    fn from(why: OutOfTime) -> Self {
        match why {
            OutOfTime::Endless => Self::Endless,
            OutOfTime::Expired => Self::Expired,
            OutOfTime::Early => Self::Early,
        }
    }
}
