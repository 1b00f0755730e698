//! What became of a call, in words that say what to do next.

use serde::{Serialize, Serializer};

use super::livekit::{Answered, LiveKitError, SipStatus};

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The agent was sent to dial, or the phone was dialled; answered, if that was waited for.
    Placed,
    /// The phone is busy.
    Busy,
    /// The person or their phone declined.
    Declined,
    /// It rang, and nobody answered in time. A carrier that is dead looks the same.
    NoAnswer,
    /// The carrier knows no such number.
    NumberUnknown,
    /// The carrier would not or could not place the call.
    CarrierTrouble,
    /// The server has no such trunk, or the call has none.
    TrunkUnknown,
    /// The trunk does not carry the caller number.
    CallerNotOnTrunk,
    /// The server has no SIP service that answers.
    NoSipService,
    /// The server refused key or secret, also after they were resolved anew.
    CredentialsRefused,
    /// The server could not be reached, or would not do its part. Nothing was dialled.
    Unreachable,
    /// The server refused the request for a reason of its own. Nothing was dialled.
    Rejected,
    /// No answer came after the last step was asked for: it may or may not have been done.
    InDoubt,
    /// The rules of the caller number do not allow it.
    NotAllowed,
    /// There are no credentials for the caller number.
    NoCredentials,
    /// The request itself is wrong.
    Invalid,
    /// Its trunk or server failed for so long that a batch went on without it. It was not tried.
    HeldBack,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Placed,
        Self::Busy,
        Self::Declined,
        Self::NoAnswer,
        Self::NumberUnknown,
        Self::CarrierTrouble,
        Self::TrunkUnknown,
        Self::CallerNotOnTrunk,
        Self::NoSipService,
        Self::CredentialsRefused,
        Self::Unreachable,
        Self::Rejected,
        Self::InDoubt,
        Self::NotAllowed,
        Self::NoCredentials,
        Self::Invalid,
        Self::HeldBack,
    ];

    /// A stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::NumberUnknown => "number_unknown",
            Self::CarrierTrouble => "carrier_trouble",
            Self::TrunkUnknown => "trunk_unknown",
            Self::CallerNotOnTrunk => "caller_not_on_trunk",
            Self::NoSipService => "no_sip_service",
            Self::CredentialsRefused => "credentials_refused",
            Self::Unreachable => "unreachable",
            Self::Rejected => "rejected",
            Self::InDoubt => "in_doubt",
            Self::NotAllowed => "not_allowed",
            Self::NoCredentials => "no_credentials",
            Self::Invalid => "invalid",
            Self::HeldBack => "held_back",
        }
    }

    /// Whether a phone may have rung.
    #[must_use]
    pub fn may_have_rung(self) -> bool {
        match self {
            Self::Placed
            | Self::Busy
            | Self::Declined
            | Self::NoAnswer
            | Self::NumberUnknown
            | Self::CarrierTrouble
            | Self::InDoubt => true,
            Self::TrunkUnknown
            | Self::CallerNotOnTrunk
            | Self::NoSipService
            | Self::CredentialsRefused
            | Self::Unreachable
            | Self::Rejected
            | Self::NotAllowed
            | Self::NoCredentials
            | Self::Invalid
            | Self::HeldBack => false,
        }
    }

    /// What a failed step before any dialling means.
    pub(super) fn of_preparing(error: &LiveKitError) -> Self {
        match error {
            LiveKitError::Credentials(_) => Self::CredentialsRefused,
            _ if error.is_unauthorized() => Self::CredentialsRefused,
            LiveKitError::Answered(answer) if answer.status < 500 => Self::Rejected,
            _ => Self::Unreachable,
        }
    }

    /// What a failed dial means. Only what the server says for certain is not in doubt.
    pub(super) fn of_dialling(error: &LiveKitError) -> Self {
        match error {
            LiveKitError::Answered(answer) => Self::of_answer(answer),
            _ if error.is_ambiguous() => Self::InDoubt,
            _ => Self::of_preparing(error),
        }
    }

    fn of_answer(answer: &Answered) -> Self {
        if let Some(SipStatus { code, .. }) = answer.sip {
            return Self::of_sip(code);
        }
        match (answer.status, answer.code.as_deref()) {
            (401, _) => Self::CredentialsRefused,
            (404, Some("not_found")) => Self::TrunkUnknown,
            (408, Some("canceled" | "deadline_exceeded")) => Self::NoAnswer,
            // The carrier wants a user and a password, and the trunk has none.
            (412, Some("failed_precondition")) => Self::CarrierTrouble,
            (503, Some("unavailable")) => Self::NoSipService,
            (500, Some("internal")) if answer.message.contains("sip not connected") => {
                Self::NoSipService
            }
            (500.., _) => Self::InDoubt,
            _ => Self::Rejected,
        }
    }

    /// By the final responses of RFC 3261, section 21, and those added to it.
    fn of_sip(code: u16) -> Self {
        match code {
            486 | 600 => Self::Busy,
            // Unwanted and rejected are RFC 8197 and RFC 8688.
            603 | 607 | 608 => Self::Declined,
            408 | 480 | 487 => Self::NoAnswer,
            404 | 410 | 484 | 604 => Self::NumberUnknown,
            _ => Self::CarrierTrouble,
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}
