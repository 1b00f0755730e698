//! The webhooks of a LiveKit server: what they tell of the end of a call.

use serde::Deserialize;

/// A phone has left its room, or the room was closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallEnd {
    pub(crate) room: String,
    /// In LiveKit's words, such as `CLIENT_INITIATED`. None where the room was closed before it was told.
    pub(crate) reason: Option<String>,
    /// The last state of the SIP call, such as `hangup`.
    pub(crate) sip_status: Option<String>,
}

/// As LiveKit writes it. What else there is means nothing here.
#[derive(Deserialize)]
struct Told {
    event: String,
    room: Option<Room>,
    participant: Option<Participant>,
}

#[derive(Deserialize)]
struct Room {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Participant {
    #[serde(default)]
    kind: String,
    disconnect_reason: Option<String>,
    #[serde(default)]
    attributes: std::collections::HashMap<String, String>,
}

impl CallEnd {
    /// Reads the body of a webhook. `Ok(None)`: it is about something else. An error: it is none.
    pub(crate) fn read(body: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        let Told { event, room, participant } = serde_json::from_slice(body)?;
        let Some(Room { name: room }) = room.filter(|room| !room.name.is_empty()) else {
            return Ok(None);
        };
        Ok(match (event.as_str(), participant) {
            ("participant_left", Some(mut left)) if left.kind == "SIP" => {
                let sip_status = left.attributes.remove("sip.callStatus");
                Some(Self { room, reason: left.disconnect_reason, sip_status })
            }
            ("room_finished", _) => Some(Self { room, reason: None, sip_status: None }),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_that_leaves_ends_its_call_and_an_agent_that_leaves_does_not() {
        let left = |kind: &str| {
            let body = format!(
                r#"{{"event":"participant_left","room":{{"sid":"RM_1","name":"call-7"}},
                "participant":{{"sid":"PA_1","identity":"+1","kind":"{kind}","disconnectReason":"USER_REJECTED",
                "attributes":{{"sip.callStatus":"hangup","sip.phoneNumber":"+1"}}}},"id":"EV_1","createdAt":"1"}}"#
            );
            CallEnd::read(body.as_bytes()).unwrap()
        };
        let (room, status) = ("call-7".to_owned(), Some("hangup".to_owned()));
        let reason = Some("USER_REJECTED".to_owned());
        assert_eq!(left("SIP"), Some(CallEnd { room, reason, sip_status: status }));
        for kind in ["AGENT", "STANDARD", "", "sip"] {
            assert_eq!(left(kind), None, "{kind}");
        }
    }

    #[test]
    fn a_room_that_is_closed_ends_its_call_and_the_rest_is_something_else() {
        let read = |body: &str| CallEnd::read(body.as_bytes());
        let closed = read(r#"{"event":"room_finished","room":{"name":"call-7"}}"#).unwrap();
        assert_eq!(closed.map(|end| end.room).as_deref(), Some("call-7"));
        for body in [
            r#"{"event":"room_started","room":{"name":"call-7"}}"#,
            r#"{"event":"room_finished","room":{}}"#,
            r#"{"event":"participant_left","room":{"name":"call-7"}}"#,
            r#"{"event":"egress_ended","egressInfo":{}}"#,
        ] {
            assert_eq!(read(body).unwrap(), None, "{body}");
        }
        for body in ["", "[]", r#"{"room":{}}"#, r#"{"event":7}"#] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
