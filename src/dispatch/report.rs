//! What became of a call, in full: for the caller, for a line of JSON, for the record.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::livekit::SipStatus;
use super::{Call, CallRequest, Failed, Outcome};
use crate::answer::Answer;
use crate::cache::Resolution;
use crate::routing::CallRouting;

/// What became of a call, and all that was decided on the way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where it was not placed. Holds no secret.
    pub message: Option<String>,
    /// What the carrier said, where the engine dialled.
    pub sip: Option<SipStatus>,
    /// The job that it was placed for.
    pub job: String,
    /// How it was routed, if it came that far.
    pub routing: Option<CallRouting>,
    /// The credentials that it was placed with, if it came that far.
    pub resolution: Option<Resolution>,
    /// What to hang up with, once a room was made.
    pub call: Option<Call>,
    /// The id of the agent dispatch.
    pub dispatch_id: Option<String>,
    /// The id of the SIP call, where the engine dialled.
    pub sip_call_id: Option<String>,
    /// Whether nothing was dialled and trying again may help.
    pub may_retry: bool,
    /// How long all of it took.
    pub took: Duration,
    /// The part of it in which a LiveKit server was waited for.
    pub waited: Duration,
}

impl Report {
    pub(super) fn of(request: &CallRequest) -> Self {
        Self {
            outcome: Outcome::Placed,
            message: None,
            sip: None,
            job: request.job.clone(),
            routing: None,
            resolution: None,
            call: None,
            dispatch_id: None,
            sip_call_id: None,
            may_retry: false,
            took: Duration::ZERO,
            waited: Duration::ZERO,
        }
    }

    pub(super) fn fail(&mut self, failed: Failed) {
        let Failed { outcome, message, sip, may_retry, .. } = failed;
        (self.outcome, self.message, self.sip) = (outcome, Some(message), sip);
        self.may_retry = may_retry && !outcome.may_have_rung();
    }
}

impl Serialize for Report {
    /// Writes an object whose members are always there.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let answer = self.resolution.as_deref();
        let routing = self.routing.as_ref();
        let dialled = routing.and_then(|routing| routing.verdict.as_ref().ok());
        json!({
            "outcome": self.outcome,
            "message": self.message,
            "job_id": self.job,
            "room": self.call.as_ref().map(|call| &call.room),
            "config_id": answer.and_then(Answer::config_id),
            "config_name": answer.and_then(Answer::config_name),
            "source": answer.map(Answer::source),
            "reason": answer.and_then(Answer::reason),
            "url": answer.map(|answer| answer.url().as_str()),
            "trunk_id": answer.and_then(Answer::trunk_id),
            "agent_name": answer.map(Answer::agent_name),
            "carrier": routing.and_then(|routing| routing.carrier.as_ref()),
            "country": routing.and_then(|routing| routing.country),
            "phone_number": dialled.map(|dialled| &dialled.formatted),
            "dispatch_id": self.dispatch_id,
            "sip_call_id": self.sip_call_id,
            "sip_status_code": self.sip.as_ref().map(|sip| sip.code),
            "sip_status": self.sip.as_ref().map(|sip| &sip.text),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
        .serialize(out)
    }
}
