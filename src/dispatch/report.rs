//! What became of a call, in full: for the caller, for a line of JSON, for the record.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::livekit::SipStatus;
use super::{Again, Call, CallRequest, Failed, Outcome};
use crate::answer::Answer;
use crate::cache::Resolution;
use crate::routing::{CallRouting, Refusal};
use crate::store::PairPhase;

/// What became of a call, and all that was decided on the way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where it was not placed. Holds no secret.
    pub message: Option<String>,
    /// The answer of the carrier, if the engine dialled.
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
    /// The identity under which the phone joins the room, once it is known whom to call.
    pub phone_identity: Option<String>,
    /// Which other pair of the config a server accepted, where it refused the current one.
    pub other_pair: Option<PairPhase>,
    /// When it may be tried again, where it was not placed.
    pub again: Again,
    /// How long all of it took.
    pub took: Duration,
    /// The part of it in which a LiveKit server was waited for.
    pub waited: Duration,
}

/// A report under way: what was decided so far, and no outcome yet.
#[derive(Debug, Default)]
pub(super) struct ReportDraft {
    pub(super) routing: Option<CallRouting>,
    pub(super) resolution: Option<Resolution>,
    pub(super) call: Option<Call>,
    pub(super) dispatch_id: Option<String>,
    pub(super) phone_identity: Option<String>,
    pub(super) other_pair: Option<PairPhase>,
    pub(super) waited: Duration,
}

/// That a call was placed. Only the step that placed it can say so.
#[derive(Debug)]
pub(super) struct Placed {
    /// The id of the SIP call, where the engine dialled.
    pub(super) sip_call_id: Option<String>,
}

impl ReportDraft {
    /// The report, once it is known how the call ended.
    pub(super) fn end(
        self,
        request: &CallRequest,
        ended: Result<Placed, Failed>,
        took: Duration,
    ) -> Report {
        let Self { routing, resolution, call, dispatch_id, phone_identity, other_pair, waited } =
            self;
        let (outcome, message, sip, again, sip_call_id) = match ended {
            Ok(Placed { sip_call_id }) => (Outcome::Placed, None, None, Again::Never, sip_call_id),
            Err(Failed { outcome, message, sip, again, .. }) => {
                (outcome, Some(message), sip, again, None)
            }
        };
        let job = request.job.clone();
        Report {
            outcome,
            message,
            sip,
            job,
            routing,
            resolution,
            call,
            dispatch_id,
            sip_call_id,
            phone_identity,
            other_pair,
            again,
            took,
            waited,
        }
    }
}

impl Report {
    /// Whether nothing was dialled for the way in which the request is written, or for want of
    /// credentials: what is corrected may be called.
    #[must_use]
    pub fn must_be_corrected(&self) -> bool {
        let refusal = self.routing.as_ref().and_then(|routing| routing.verdict.as_ref().err());
        match self.outcome {
            Outcome::Invalid | Outcome::NoCredentials => true,
            Outcome::NotAllowed => refusal.is_some_and(Refusal::is_about_writing),
            _ => false,
        }
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
            "phone_identity": self.phone_identity,
            "other_pair": self.other_pair,
            "dispatch_id": self.dispatch_id,
            "sip_call_id": self.sip_call_id,
            "sip_status_code": self.sip.as_ref().map(|sip| sip.code),
            "sip_status": self.sip.as_ref().map(|sip| &sip.text),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
        .serialize(out)
    }
}
