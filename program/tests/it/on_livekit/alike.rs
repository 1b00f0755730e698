//! The stand-in answers what the real server answers, wherever that can.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::{SipGrant, TokenRequest, VideoGrant};

use crate::support::http::{Message, post};
use crate::support::livekit::{Server, environment};
use crate::support::standin::StandIn;

const JSON: &str = "application/json";

/// Every request goes to both, and what comes back is the same but for ids, times and codecs.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of requests, one a line")]
async fn the_stand_in_and_the_real_server_answer_alike() {
    let server = Server::shared();
    let stand_in = StandIn::start(&server.keys).await;
    // The real server has none.
    stand_in.workers(false);
    let (key, secret) = server.keys[0];
    let good = environment(&server.url(), key, secret);
    let token =
        |request: &TokenRequest| format!("Bearer {}", good.token(request).unwrap().as_str());
    let minted = |key: &str, secret: &str| {
        let with = environment("ws://127.0.0.1", key, secret);
        let list = VideoGrant::list();
        format!("Bearer {}", with.token(&list.into()).unwrap().as_str())
    };
    let room = format!("alike-{}", uuid::Uuid::new_v4().simple());
    let (list, create, admin) = (
        token(&VideoGrant::list().into()),
        token(&VideoGrant::create().into()),
        token(&VideoGrant::admin(room.clone()).into()),
    );
    let (sip_admin, sip_call) = (token(&SipGrant::admin().into()), token(&SipGrant::call().into()));
    let expired = aged(&good, -700);
    let early = aged(&good, 120);
    let nobody = token(&TokenRequest::default());
    let named = json!({"names": [room]}).to_string();
    let made = json!({"name": room, "metadata": "m"}).to_string();
    let sent = json!({"room": room, "agent_name": "a", "metadata": "m"}).to_string();
    let of_room = json!({"room": room}).to_string();
    let trunk = json!({"trunk": {"name": "t", "address": "127.0.0.1:9", "auth_username": "u",
        "numbers": ["+971501234567"], "auth_password": "canary-of-the-trunk"}})
    .to_string();
    let dial = |trunk: &str, to: &str, room: &str| {
        json!({"sip_trunk_id": trunk, "sip_call_to": to, "sip_number": "+971501234567",
            "room_name": room, "participant_identity": "p", "wait_until_answered": true,
            "ringing_timeout": "5s", "max_call_duration": "60s"})
        .to_string()
    };
    let wrong_key = minted("APInobody", secret);
    let wrong_secret = minted(key, "another secret that is long enough as well");
    let bare = list.trim_start_matches("Bearer ").to_owned();

    let ask = async |method: &str, headers: Vec<(&str, &str)>, body: &str| {
        let path = format!("/twirp/livekit.{method}");
        let (real, ours) = tokio::join!(
            timed(post(server.port, &path, &headers, body)),
            timed(post(stand_in.port, &path, &headers, body)),
        );
        let ((real, real_took), (ours, our_took)) = (real, ours);
        assert_eq!(gist(&real), gist(&ours), "{method} {body}");
        let apart = real_took.abs_diff(our_took);
        assert!(apart < Duration::from_millis(900), "{method}: {real_took:?} {our_took:?}");
        (real, ours)
    };
    let both = async |method: &str, auth: Option<&str>, kind: &str, body: &str| {
        let mut headers = vec![("content-type", kind)];
        headers.extend(auth.map(|auth| ("authorization", auth)));
        ask(method, headers, body).await
    };
    let asked_in = async |within: u64, method: &str, auth: &str, body: &str| {
        let within = within.to_string();
        let headers = vec![
            ("content-type", JSON),
            ("authorization", auth),
            ("x-twirp-timeout-ms", within.as_str()),
        ];
        ask(method, headers, body).await
    };
    for (auth, status) in [
        (None, "401"),
        (Some(nobody.as_str()), "401"),
        (Some(&bare), "401"),
        (Some("Bearer abc"), "401"),
        (Some(&wrong_key), "401"),
        (Some(&wrong_secret), "401"),
        (Some(&expired), "401"),
        (Some(&early), "401"),
        (Some(&list), "200"),
    ] {
        let (real, _) = both("RoomService/ListRooms", auth, JSON, &named).await;
        assert_eq!(real.word(), status, "{real:?}");
    }
    both("RoomService/CreateRoom", Some(&create), JSON, &made).await;
    both("RoomService/CreateRoom", Some(&create), JSON, &made.replace("\"m\"", "\"n\"")).await;
    both("RoomService/ListRooms", Some(&list), JSON, &named).await;
    both("RoomService/CreateRoom", Some(&create), JSON, "{bad").await;
    both("RoomService/CreateRoom", Some(&create), "text/plain", &made).await;
    both("RoomService/Nothing", Some(&create), JSON, "{}").await;
    both("AgentDispatchService/CreateDispatch", Some(&admin), JSON, &sent).await;
    both("AgentDispatchService/CreateDispatch", Some(&admin), JSON, &sent).await;
    let (listed, _) = both("AgentDispatchService/ListDispatch", Some(&admin), JSON, &of_room).await;
    assert_eq!(listed.body.matches("\"agent_name\":\"a\"").count(), 2, "not idempotent");
    both("AgentDispatchService/CreateDispatch", Some(&create), JSON, &sent).await;
    let (real, ours) = both("SIP/CreateSIPOutboundTrunk", Some(&sip_admin), JSON, &trunk).await;
    let id = |made: &Message| {
        let made: Value = serde_json::from_str(&made.body).unwrap();
        made["sip_trunk_id"].as_str().unwrap().to_owned()
    };
    // Each knows its own trunk only, so these two are asked for by a name that both know.
    stand_in.trunk(&id(&real), &["+971501234567"]);
    assert_ne!(id(&real), id(&ours));
    let asked = json!({"trunk_ids": [id(&real)]}).to_string();
    both("SIP/ListSIPOutboundTrunk", Some(&sip_admin), JSON, &asked).await;
    both("SIP/ListSIPOutboundTrunk", Some(&sip_admin), JSON, r#"{"trunk_ids":["ST_missing"]}"#)
        .await;
    let sip = "SIP/CreateSIPParticipant";
    both(sip, Some(&sip_admin), JSON, &dial(&id(&real), "+919876543210", &room)).await;
    both(sip, Some(&sip_call), JSON, &dial("ST_missing", "+919876543210", &room)).await;
    both(sip, Some(&sip_call), JSON, &dial(&id(&real), "", &room)).await;
    both(sip, Some(&sip_call), JSON, &dial(&id(&real), "+919876543210", "")).await;
    both(sip, Some(&sip_call), JSON, &dial(&id(&real), "+919876543210", &room)).await;
    // A client may set the server's limit of time; that nobody answers is still what it says.
    let (answer, _) =
        asked_in(300, sip, &sip_call, &dial(&id(&real), "+919876543210", &room)).await;
    assert_eq!(answer.word(), "503", "{answer:?}");
    stand_in.sip_service(false);
    let inline = dial("", "0", &room)
        .replace("\"sip_trunk_id\":\"\"", "\"trunk\":{\"hostname\":\"trunkline-check.invalid\"}");
    let (real, _) = both(sip, Some(&sip_call), JSON, &inline).await;
    assert!(real.body.contains("no response from servers"), "{real:?}");
    let participants = "RoomService/ListParticipants";
    both(participants, Some(&admin), JSON, &of_room).await;
    both(participants, Some(&create), JSON, &of_room).await;
    both("RoomService/DeleteRoom", Some(&create), JSON, &of_room).await;
    both(participants, Some(&admin), JSON, &of_room).await;
    both("RoomService/DeleteRoom", Some(&create), JSON, &of_room).await;
    both("AgentDispatchService/ListDispatch", Some(&admin), JSON, &of_room).await;
}

/// Status, kind and body; of a body that is no error, what does not differ from one answer to the
/// next.
fn gist(answer: &Message) -> (String, Option<String>, Value) {
    let kind = answer.header("content-type").map(ToOwned::to_owned);
    let mut body = json!(answer.body);
    if answer.word() == "200" {
        body = serde_json::from_str(&answer.body).unwrap();
        forget(&mut body);
    }
    (answer.word().to_owned(), kind, body)
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match name.as_str() {
                    "sid" | "id" | "sip_trunk_id" => {
                        let kind =
                            value.as_str().and_then(|id| id.split('_').next()).unwrap().to_owned();
                        *value = json!(kind);
                    }
                    "creation_time" | "creation_time_ms" | "created_at" | "turn_password" => {
                        *value = json!(value.is_string());
                    }
                    "enabled_codecs" => *value = json!(value.is_array()),
                    _ => forget(value),
                }
            }
        }
        Value::Array(values) => {
            values.iter_mut().for_each(forget);
            // The real server keeps dispatches in no order.
            values.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

/// A token that was made that many seconds from now, good for a minute.
fn aged(good: &trunkline::Resolution, seconds: i64) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};

    let list = VideoGrant::list();
    let token = good.token(&list.into()).unwrap();
    let mut parts = token.as_str().split('.');
    let header = parts.next().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    for member in ["nbf", "exp"] {
        claims[member] = json!(claims[member].as_i64().unwrap() + seconds);
    }
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let secret = good.api_secret().unwrap();
    let secret = trunkline::ExposeSecret::expose_secret(&secret);
    let tag = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes())
        .unwrap()
        .chain_update(signed.as_bytes())
        .finalize()
        .into_bytes();
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = tokio::time::Instant::now();
    let done = work.await;
    (done, began.elapsed())
}
