//! Trunks, and phones that are dialled into rooms.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::pairs::Refusal;
use super::{LiveKit, LiveKitError, null_is_empty};
use crate::cache::Resolution;
use crate::rules::Phone;
use crate::token::SipGrant;

/// An outbound SIP trunk, without its password.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct SipTrunk {
    /// Its id, `ST_…`.
    #[serde(rename = "sip_trunk_id")]
    pub id: String,
    /// The numbers that may call over it; `*` is any.
    #[serde(default)]
    pub numbers: Vec<String>,
}

/// A phone that was dialled into a room.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct SipParticipant {
    /// Its id, `PA_…`.
    #[serde(default)]
    pub participant_id: String,
    /// The call's id, `SCL_…`.
    #[serde(default)]
    pub sip_call_id: String,
}

/// A phone to be dialled into a room.
#[derive(Debug, Clone, Serialize)]
pub struct SipDial<'a> {
    /// The trunk.
    #[serde(rename = "sip_trunk_id")]
    pub trunk: &'a str,
    /// The number that is called, as the carrier wants it.
    #[serde(rename = "sip_call_to")]
    pub to: &'a str,
    /// The number that calls. Without it the server takes any of the trunk's.
    #[serde(rename = "sip_number")]
    pub from: &'a str,
    /// Where the phone joins.
    #[serde(rename = "room_name")]
    pub room: &'a str,
    /// The identity under which it joins.
    #[serde(rename = "participant_identity")]
    pub identity: &'a str,
    /// How long it may ring.
    #[serde(rename = "ringing_timeout", serialize_with = "seconds")]
    pub ringing: Duration,
    /// How long the call may take.
    #[serde(rename = "max_call_duration", serialize_with = "seconds")]
    pub longest: Duration,
    /// Whether to answer only once the phone is answered.
    pub wait_until_answered: bool,
    /// What else is said of the phone.
    #[serde(flatten)]
    pub phone: &'a Phone,
}

impl LiveKit {
    /// One outbound trunk, if the server has it.
    pub async fn sip_trunk(
        &self,
        on: &Resolution,
        id: &str,
    ) -> Result<Option<SipTrunk>, LiveKitError> {
        #[derive(Serialize)]
        struct ListTrunks<'a> {
            trunk_ids: [&'a str; 1],
        }
        #[derive(Deserialize)]
        struct Trunks {
            #[serde(default, deserialize_with = "null_is_empty")]
            items: Vec<Option<serde_json::Value>>,
        }
        let rights = SipGrant::admin();
        let body = ListTrunks { trunk_ids: [id] };
        let found: Trunks = self.ask(on, "SIP/ListSIPOutboundTrunk", &rights.into(), &body).await?;
        // Some servers put an empty item in the place of a trunk that they do not have, and some
        // that do not know the filter answer with all trunks.
        let trunks = found.items.into_iter().flatten();
        let read = |trunk| serde_json::from_value::<SipTrunk>(trunk).ok();
        Ok(trunks.filter_map(read).find(|trunk| trunk.id == id))
    }

    /// Dials a phone into a room, once: again only where a token was refused, before anything was done. `call` names the call to servers that know duplicates by it.
    pub async fn dial(
        &self,
        on: &Resolution,
        dial: &SipDial<'_>,
        call: &str,
    ) -> Result<SipParticipant, LiveKitError> {
        let patience = if dial.wait_until_answered { dial.ringing } else { Duration::ZERO };
        let asking = |on: &Resolution| {
            let request = self
                .request(on, "SIP/CreateSIPParticipant", &SipGrant::call().into(), dial)?
                .header("x-livekit-request-id", call)
                // Without it the server's own limit is 80 s. It comes before ours, so that there is an
                // answer in any case.
                .header(
                    "x-twirp-timeout-ms",
                    (self.timeouts.answer / 2).saturating_add(patience).as_millis().to_string(),
                );
            Ok(request.timeout(self.timeouts.answer.saturating_add(patience)))
        };
        let asked = self.with_either_pair(on, Refusal::OfTokenAlone, asking);
        let span = tracing::debug_span!("livekit", method = "SIP/CreateSIPParticipant");
        asked.instrument(span).await
    }

    /// Asks for a call to a host that cannot exist, over no trunk, into a room of its own which is
    /// closed again. What a SIP service says to that is an error, too.
    pub(in crate::dispatch) async fn probe_sip(&self, on: &Resolution) -> Result<(), LiveKitError> {
        let room = format!("trunkline-check-{}", uuid::Uuid::new_v4().simple());
        let body = serde_json::json!({
            "trunk": {"hostname": NO_HOST}, "sip_call_to": "0", "sip_number": "0",
            "room_name": room, "participant_identity": "trunkline-check",
            "wait_until_answered": true, "ringing_timeout": "1s",
        });
        let rights = SipGrant::call();
        let asked: Result<serde::de::IgnoredAny, _> =
            self.ask(on, "SIP/CreateSIPParticipant", &rights.into(), &body).await;
        // It is there only if a SIP service is.
        let _ = self.delete_room(on, &room).await;
        asked.map(drop)
    }
}

/// A name that no DNS knows, by RFC 6761.
const NO_HOST: &str = "trunkline-check.invalid";

fn seconds<S: serde::Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    // Rounded up: no time at all would mean the server's own default.
    let rounded = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    out.collect_str(&format_args!("{rounded}s"))
}
