//! The claims of a token as JSON: a first part that never changes, and the rest.
//!
//! Written without `Serialize`, which would take a sixth of the time that making a token takes.
//! Names are LiveKit's and need no escaping; text from outside is escaped by `serde_json`.

use serde::Serialize;

use super::{SipGrant, TokenRequest};

/// The issuer. Ends in spaces, which are nothing to JSON, where base64 can be continued.
pub(super) fn first(api_key: &str) -> Vec<u8> {
    let mut json = Json(vec![b'{']);
    json.value("iss", api_key);
    json.0.resize(json.0.len().next_multiple_of(3), b' ');
    json.0
}

/// What follows the issuer.
pub(super) fn rest(request: &TokenRequest, unix_seconds: u64) -> Vec<u8> {
    let TokenRequest { identity, name, metadata, attributes, room_config, ttl, video, sip } =
        request;
    let mut json = Json(Vec::with_capacity(USUAL_LENGTH));
    json.text("sub", identity.as_deref());
    json.value("nbf", unix_seconds);
    json.value("exp", unix_seconds.saturating_add(ttl.as_secs()));
    json.text("name", name.as_deref());
    json.text("metadata", metadata.as_deref());
    if !attributes.is_empty() {
        json.value("attributes", attributes);
    }
    if let Some(config) = room_config {
        json.value("roomConfig", config);
    }
    json.object("video", |json| {
        json.flag("roomCreate", video.room_create);
        json.flag("roomList", video.room_list);
        json.flag("roomAdmin", video.room_admin);
        json.flag("roomJoin", video.room_join);
        json.text("room", video.room.as_deref());
        json.choice("canPublish", video.can_publish);
        json.choice("canSubscribe", video.can_subscribe);
        json.choice("canPublishData", video.can_publish_data);
        if !video.can_publish_sources.is_empty() {
            let names: Vec<_> = video.can_publish_sources.iter().map(|from| from.name()).collect();
            json.value("canPublishSources", names);
        }
        json.choice("canUpdateOwnMetadata", video.can_update_own_metadata);
        json.flag("hidden", video.hidden);
        json.flag("recorder", video.recorder);
    });
    if *sip != SipGrant::default() {
        json.object("sip", |json| {
            json.flag("admin", sip.admin);
            json.flag("call", sip.call);
        });
    }
    json.close();
    json.0
}

/// Members of objects, each with a comma behind it. Inlined, so that names are stored as constants.
struct Json(Vec<u8>);

impl Json {
    #[inline]
    fn name(&mut self, name: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn value(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        serde_json::to_writer(&mut self.0, &value).expect("text and numbers are JSON");
        self.0.push(b',');
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.value(name, text);
        }
    }

    #[inline]
    fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.name(name);
            self.0.extend_from_slice(b"true,");
        }
    }

    #[inline]
    fn choice(&mut self, name: &str, choice: Option<bool>) {
        if let Some(choice) = choice {
            self.value(name, choice);
        }
    }

    #[inline]
    fn object(&mut self, name: &str, members: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push(b'{');
        members(self);
        self.close();
        self.0.push(b',');
    }

    fn close(&mut self) {
        if self.0.ends_with(b",") {
            self.0.pop();
        }
        self.0.push(b'}');
    }
}

const USUAL_LENGTH: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::{RoomAgent, RoomConfig, VideoGrant};
    use super::*;

    fn claims(api_key: &str, request: &TokenRequest) -> Value {
        let first = first(api_key);
        assert!(first.len().is_multiple_of(3));
        serde_json::from_slice(&[first, rest(request, 1_763_900_000)].concat()).unwrap()
    }

    #[test]
    fn what_is_not_granted_is_not_said() {
        let bare =
            json!({ "iss": "APIkey", "nbf": 1_763_900_000, "exp": 1_763_900_060, "video": {} });
        assert_eq!(claims("APIkey", &TokenRequest::default()), bare);
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(text in any::<String>(), flag in any::<bool>()) {
            let all = TokenRequest {
                identity: Some(text.clone()),
                name: Some(text.clone()),
                metadata: Some(text.clone()),
                attributes: [(text.clone(), text.clone())].into(),
                room_config: flag.then(|| RoomConfig {
                    departure_timeout: Some(7),
                    metadata: Some(text.clone()),
                    agents: vec![RoomAgent::new(text.clone(), None)],
                    ..RoomConfig::default()
                }),
                ttl: Duration::from_secs(5),
                video: VideoGrant {
                    room_create: flag,
                    room_list: !flag,
                    room_admin: flag,
                    room_join: !flag,
                    room: Some(text.clone()),
                    can_publish: Some(flag),
                    hidden: flag,
                    ..VideoGrant::default()
                },
                sip: SipGrant { admin: flag, call: !flag },
            };
            let video = if flag {
                json!({
                    "roomCreate": true, "roomAdmin": true, "room": text, "canPublish": true,
                    "hidden": true,
                })
            } else {
                json!({ "roomList": true, "roomJoin": true, "room": text, "canPublish": false })
            };
            let mut wanted = json!({
                "iss": text, "sub": text, "name": text, "metadata": text,
                "attributes": { text.clone(): text },
                "nbf": 1_763_900_000, "exp": 1_763_900_005,
                "video": video,
                "sip": if flag { json!({ "admin": true }) } else { json!({ "call": true }) },
            });
            if flag {
                let agents = json!([{ "agentName": text }]);
                wanted["roomConfig"] =
                    json!({ "departureTimeout": 7, "metadata": text, "agents": agents });
            }
            prop_assert_eq!(claims(&text, &all), wanted);
        }
    }
}
