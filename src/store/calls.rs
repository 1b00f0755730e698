//! Calls that clients place through a daemon, each with a row from before it was dialled.
//!
//! ```text
//! accepted --dial--> dialling --end--> ended        by the attempt that has the claim
//!    |  '--take over--> accepted                    with another claim, if that attempt is gone
//!    '----------------- end ---------> ended
//! ```
//!
//! **Invariant:** a call is dialled only by the attempt whose claim its row has, and one that is being
//! dialled is never taken over. So it is dialled once.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
use crate::number::{Caller, ConfigId, E164, TenantId};

/// A call that is asked for.
pub(crate) struct NewCall<'c> {
    pub(crate) id: Uuid,
    /// Who asks.
    pub(crate) client: Uuid,
    /// His word for this question: the same one is the same call.
    pub(crate) key: &'c str,
    /// The SHA-256 of what he asks, in hex.
    pub(crate) body: &'c str,
    pub(crate) caller: Caller,
    pub(crate) attempt: CallAttempt,
}

/// An attempt to place a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallAttempt {
    /// A random word that tells it from every other one.
    pub(crate) claim: Uuid,
    /// The row of the node that makes it.
    pub(crate) node: Option<Uuid>,
    /// How long it takes at the most.
    pub(crate) within: Duration,
}

/// The row of a call.
#[derive(Debug, Clone)]
pub(crate) struct CallRow {
    pub(crate) id: Uuid,
    pub(crate) body: String,
    pub(crate) state: CallState,
    pub(crate) claim: Uuid,
    /// Whether it has not ended, and never will by itself: its node is gone, or its time is over.
    pub(crate) is_abandoned: bool,
    pub(crate) room: Option<String>,
    pub(crate) config: Option<ConfigId>,
    /// What was answered, as JSON.
    pub(crate) answer: Option<String>,
    /// When its outcome was known.
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// What its server told of its end.
    pub(crate) left: Option<CallLeft>,
}

/// When the phone of a call left, and why.
#[derive(Debug, Clone)]
pub(crate) struct CallLeft {
    pub(crate) at: DateTime<Utc>,
    /// In LiveKit's words.
    pub(crate) reason: Option<String>,
    pub(crate) sip_status: Option<String>,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallState {
    /// Nobody was called yet.
    Accepted,
    /// Somebody may have been called.
    Dialling,
    /// Its outcome is known.
    Ended,
}

impl CallState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dialling => "dialling",
            Self::Ended => "ended",
        }
    }

    /// A word that is none of these may be a later version's, so nothing may be dialled.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "accepted" => Self::Accepted,
            "ended" => Self::Ended,
            _ => Self::Dialling,
        }
    }
}

/// Which calls of a client are looked for. Everything that is there must fit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallFilter<'f> {
    /// Those whose room has this in its name.
    pub(crate) room: Option<&'f str>,
    /// Those from or to a number with these digits in it.
    pub(crate) digits: Option<&'f str>,
}

/// A call as a list tells it.
#[derive(Debug, Clone)]
pub(crate) struct CallLine {
    pub(crate) id: Uuid,
    pub(crate) tenant: TenantId,
    /// The digits of whoever calls, and of whom he calls if that is known.
    pub(crate) caller: String,
    pub(crate) callee: Option<String>,
    pub(crate) room: Option<String>,
    pub(crate) state: CallState,
    pub(crate) outcome: Option<String>,
    pub(crate) created_at: Option<DateTime<Utc>>,
}

/// The rows of calls. Each method is one statement.
#[async_trait]
pub(crate) trait CallRows: Send + Sync + 'static {
    /// Begins a row. `false`: the client has one under this key.
    async fn begin_call(&self, call: &NewCall<'_>) -> Result<bool, StoreError>;

    /// The call of a client under a key of his.
    async fn call_by_key(&self, client: Uuid, key: &str) -> Result<Option<CallRow>, StoreError>;

    /// A call of a client.
    async fn call(&self, client: Uuid, id: Uuid) -> Result<Option<CallRow>, StoreError>;

    /// So many calls of a client, the newest first.
    async fn calls(
        &self,
        client: Uuid,
        filter: CallFilter<'_>,
        most: usize,
    ) -> Result<Vec<CallLine>, StoreError>;

    /// Goes on with a call that nobody was called for, in place of the attempt that has it. `false`: it
    /// has not got it any more.
    async fn take_over_call(
        &self,
        id: Uuid,
        from: Uuid,
        attempt: CallAttempt,
    ) -> Result<bool, StoreError>;

    /// Writes down that it is about to be dialled. `false`: this attempt may not dial it.
    async fn dial_call(
        &self,
        id: Uuid,
        claim: Uuid,
        room: &str,
        config: Option<ConfigId>,
        callee: E164,
    ) -> Result<bool, StoreError>;

    /// Writes down what became of it. Of a call that was given up, its attempt still may. `false`: it
    /// was known.
    async fn end_call(
        &self,
        id: Uuid,
        claim: Uuid,
        outcome: &str,
        answer: &str,
    ) -> Result<bool, StoreError>;

    /// Writes down that the phone has left the room of a call of this config, or of the environment, and
    /// why, with the last state of its SIP call; unless that is known. `false`: it is, or there is no such call.
    async fn leave_call(
        &self,
        room: &str,
        config: Option<ConfigId>,
        by_environment: bool,
        why: (Option<&str>, Option<&str>),
    ) -> Result<bool, StoreError>;

    /// The calls of a client of which something became known within this time, each with its tenant.
    async fn news_of_calls(
        &self,
        client: Uuid,
        tenant: Option<TenantId>,
        within: Duration,
    ) -> Result<Vec<(TenantId, CallRow)>, StoreError>;

    /// Removes the rows of calls that are older than this.
    async fn forget_calls(&self, older_than: Duration) -> Result<u64, StoreError>;
}
