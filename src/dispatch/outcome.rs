//! What became of a call, in words that say what to do next.

use serde::{Serialize, Serializer};

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
    /// It rang, and nobody answered in time.
    NoAnswer,
    /// Somebody closed the room while the phone rang.
    Cancelled,
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
    /// No worker took the agent's job in time. Nothing was dialled by the engine.
    NoAgent,
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
    /// Another entry of the same batch calls the same person.
    Duplicate,
    /// Its trunk or server failed for so long that a batch went on without it. It was not tried.
    HeldBack,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Placed,
        Self::Busy,
        Self::Declined,
        Self::NoAnswer,
        Self::Cancelled,
        Self::NumberUnknown,
        Self::CarrierTrouble,
        Self::TrunkUnknown,
        Self::CallerNotOnTrunk,
        Self::NoSipService,
        Self::NoAgent,
        Self::CredentialsRefused,
        Self::Unreachable,
        Self::Rejected,
        Self::InDoubt,
        Self::NotAllowed,
        Self::NoCredentials,
        Self::Invalid,
        Self::Duplicate,
        Self::HeldBack,
    ];

    /// A stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::Cancelled => "cancelled",
            Self::NumberUnknown => "number_unknown",
            Self::CarrierTrouble => "carrier_trouble",
            Self::TrunkUnknown => "trunk_unknown",
            Self::CallerNotOnTrunk => "caller_not_on_trunk",
            Self::NoSipService => "no_sip_service",
            Self::NoAgent => "no_agent",
            Self::CredentialsRefused => "credentials_refused",
            Self::Unreachable => "unreachable",
            Self::Rejected => "rejected",
            Self::InDoubt => "in_doubt",
            Self::NotAllowed => "not_allowed",
            Self::NoCredentials => "no_credentials",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
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
            | Self::Cancelled
            | Self::NumberUnknown
            | Self::CarrierTrouble
            | Self::InDoubt => true,
            Self::TrunkUnknown
            | Self::CallerNotOnTrunk
            | Self::NoSipService
            | Self::NoAgent
            | Self::CredentialsRefused
            | Self::Unreachable
            | Self::Rejected
            | Self::NotAllowed
            | Self::NoCredentials
            | Self::Invalid
            | Self::Duplicate
            | Self::HeldBack => false,
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
