//! Webhooks of LiveKit servers: who may tell, and what it says of a call afterwards.

use livekit_token::AccessToken;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trunkline::KeyRing;
use trunkline::store::NewNumber;

use super::{ALL, Daemon, Request, Site, TENANT, refused, status_and_body};
use crate::support::database::{BOTH, Kind};
use crate::support::eventually;
use crate::support::http::Message;
use crate::support::livekit::{Server, config_on};
use crate::support::standin::{FarEnd, StandIn};
use crate::support::{caller, number};

const KEYS: (&str, &str) = ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789");
const FROM: &str = "+971500000007";
const TO: &str = "+919876543210";

/// A webhook as a server with this key sends it.
fn webhook((key, secret): (&str, &str), body: &str) -> Request {
    let hash = base64(&Sha256::digest(body.as_bytes()));
    let token = AccessToken::with_api_key(key, secret).with_sha256(&hash).to_jwt().unwrap();
    Request::post("/v1/livekit/webhook", &Value::Null)
        .with("content-type", "application/webhook+json")
        .with("authorization", &token)
        .body(body)
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

/// The phone of this room has hung up.
fn left(room: &str, kind: &str) -> String {
    json!({
        "event": "participant_left",
        "id": "EV_1",
        "createdAt": "1700000000",
        "room": {"sid": "RM_1", "name": room},
        "participant": {
            "sid": "PA_1", "identity": TO, "kind": kind, "disconnectReason": "CLIENT_INITIATED",
            "attributes": {"sip.callStatus": "hangup", "sip.phoneNumber": TO},
        },
    })
    .to_string()
}

/// A client that calls through a stand-in.
struct Lab {
    site: Site,
    stand_in: StandIn,
    token: String,
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let site = Site::new(kind).await;
        let stand_in = StandIn::start(&[KEYS]).await;
        stand_in.trunk("ST_own", &["*"]);
        let ring = KeyRing::parse(&site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY")).unwrap();
        let store = site.database.store();
        let id =
            store.create_config(&config_on(&ring, &stand_in.url(), KEYS, "calls")).await.unwrap();
        let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_own"});
        let number = NewNumber { caller: caller(1, 7), provider: None, rules };
        store.add_number(&number).await.unwrap();
        let token = site.client("dialler", &["--tenant", TENANT, "--may", "calls"]);
        Self { site, stand_in, token }
    }

    async fn call(&self, daemon: &Daemon, key: &str) -> Value {
        let body = json!({"from": FROM, "to": TO, "dial": "engine", "ringing": 20});
        let request = Request::new("POST", "/v1/calls", &body, &self.token);
        let (status, body) =
            status_and_body(&daemon.send(request.with("idempotency-key", key)).await);
        assert_eq!(status, 201, "{body}");
        body
    }
}

fn is_recorded(message: &Message) -> bool {
    let (status, body) = status_and_body(message);
    assert_eq!(status, 200, "{body}");
    body["recorded"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_says_when_and_why_its_phone_left() {
    for kind in BOTH {
        let lab = Lab::new(kind).await;
        lab.stand_in.at(TO, FarEnd::Answers);
        let daemon = lab.site.daemon();
        let placed = lab.call(&daemon, "a").await;
        assert_eq!((&placed["outcome"], &placed["answered"]), (&json!("placed"), &json!(true)));
        let room = placed["room"].as_str().unwrap();
        let path = format!("/v1/calls/{}", placed["id"].as_str().unwrap());
        let look = async || daemon.get(&lab.token, &path).await.1;
        assert_eq!(look().await, placed, "nothing was told yet");

        // An agent that leaves, another room, and another event.
        let other_room = left("call-of-nobody", "SIP");
        let started = json!({"event": "room_started", "room": {"name": room}}).to_string();
        for body in [&left(room, "AGENT"), &other_room, &started] {
            assert!(!is_recorded(&daemon.send(webhook(KEYS, body)).await), "{body}");
        }
        assert_eq!(look().await, placed);

        assert!(is_recorded(&daemon.send(webhook(KEYS, &left(room, "SIP"))).await));
        let told = look().await;
        assert!(told["left_at"].is_string() && told["seconds"].as_u64().unwrap() < 3600, "{told}");
        assert_eq!(told["disconnect_reason"], "CLIENT_INITIATED");
        assert_eq!(told["sip_call_status"], "hangup");
        // What is told again, and that the room is closed at last, change nothing.
        let closed = json!({"event": "room_finished", "room": {"name": room}}).to_string();
        for body in [&left(room, "SIP"), &closed] {
            assert!(!is_recorded(&daemon.send(webhook(KEYS, body)).await), "{body}");
        }
        assert_eq!(look().await, told);
        let metrics = daemon.metrics().await;
        for line in [
            "trunkline_webhooks_total{outcome=\"recorded\"} 1",
            "trunkline_webhooks_total{outcome=\"ignored\"} 5",
            "trunkline_calls_left_total{reason=\"client_initiated\"} 1",
            "trunkline_calls_left_total{reason=\"other\"} 0",
        ] {
            assert!(metrics.contains(line), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_of_ours_tells_and_only_of_its_own_calls() {
    let lab = Lab::new(Kind::Sqlite).await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let other = ("APIother", "canary-of-another-server-0123456789-01234567");
    let ring = KeyRing::parse(&lab.site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY")).unwrap();
    let config = config_on(&ring, "wss://other.example", other, "other");
    lab.site.database.store().create_config(&config).await.unwrap();
    let daemon = lab.site.daemon();
    let placed = lab.call(&daemon, "a").await;
    let body = left(placed["room"].as_str().unwrap(), "SIP");
    // Of another config, whose room of that name is another one.
    assert!(!is_recorded(&daemon.send(webhook(other, &body)).await));

    let good = || webhook(KEYS, &body);
    let join = AccessToken::with_api_key(KEYS.0, KEYS.1).with_identity("agent").to_jwt().unwrap();
    let strange = webhook(("APIother", KEYS.1), &body);
    let client = format!("Bearer {}", lab.site.client("all", &ALL));
    for request in [
        strange,
        webhook(("APInobody", KEYS.1), &body),
        good().body(&body.replace("SIP", "sip")),
        good().with("authorization", &join),
        good().with("authorization", &client),
        good().with("authorization", ""),
        Request::post("/v1/livekit/webhook", &json!({})),
    ] {
        refused(&daemon.send(request).await, 401, "webhook_unsigned");
    }
    refused(&daemon.send(webhook(KEYS, "{")).await, 400, "body_malformed");
    let large = format!("{}{}", body, " ".repeat(1 << 20));
    refused(&daemon.send(webhook(KEYS, &large)).await, 413, "body_too_large");
    let (_, told) =
        daemon.get(&lab.token, &format!("/v1/calls/{}", placed["id"].as_str().unwrap())).await;
    assert_eq!(told, placed, "nothing of that was believed");
    // With or without a scheme, and of more than other bodies may have.
    let bearer = good().0.header("authorization").map(|token| format!("Bearer {token}")).unwrap();
    let long = format!("{}{}", body, " ".repeat(100 << 10));
    assert!(is_recorded(&daemon.send(webhook(KEYS, &long)).await));
    assert!(!is_recorded(&daemon.send(good().with("authorization", &bearer)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_livekit_a_real_server_tells_that_a_room_was_closed() {
    let port = crate::support::postgres::free_port();
    let hook = format!("http://127.0.0.1:{port}/v1/livekit/webhook");
    let server = Server::with_webhook(&hook);
    let mut site = Site::new(Kind::Sqlite).await;
    let ring = KeyRing::parse(&site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY")).unwrap();
    let store = site.database.store();
    let config = config_on(&ring, &server.url(), server.keys[0], "real");
    let id = store.create_config(&config).await.unwrap();
    store.add_number(&number(caller(1, 7), Some(id))).await.unwrap();
    let token = site.client("dialler", &["--tenant", TENANT, "--may", "calls"]);
    site.program = site.program.with("API_LISTEN", &format!("127.0.0.1:{port}"));
    let daemon = site.daemon();
    let look = server.look();
    eventually("the server is up", async || look.livekit.rooms(&look.with, &[]).await.is_ok())
        .await;

    let body = json!({"from": FROM, "to": TO});
    let request = Request::new("POST", "/v1/calls", &body, &token).with("idempotency-key", "a");
    let (status, placed) = status_and_body(&daemon.send(request).await);
    assert_eq!((status, placed["outcome"].as_str()), (201, Some("placed")), "{placed}");
    let path = format!("/v1/calls/{}", placed["id"].as_str().unwrap());
    let ended = daemon.ask(&token, &format!("{path}/end"), &json!({})).await;
    assert_eq!(ended.word(), "200", "{ended:?}");
    eventually("the server has told", async || {
        daemon.get(&token, &path).await.1["left_at"].is_string()
    })
    .await;
    assert!(daemon.metrics().await.contains("trunkline_webhooks_total{outcome=\"refused\"} 0"));
}

/// The environment's server tells of the calls that were placed with its key, with or without a database
/// that knows of a config.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_of_the_environment_tells_of_its_calls_and_of_no_other() {
    for kind in BOTH {
        let mut lab = Lab::new(kind).await;
        let own = ("APIown", "canary-of-the-environment-0123456789-012345");
        let stand_in = StandIn::start(&[own]).await;
        stand_in.trunk("ST_own", &["*"]);
        for server in [&stand_in, &lab.stand_in] {
            server.at(TO, FarEnd::Answers);
        }
        lab.site.program = lab
            .site
            .program
            .clone()
            .with("LIVEKIT_URL", &stand_in.url())
            .with("LIVEKIT_API_KEY", own.0)
            .with("LIVEKIT_API_SECRET", own.1)
            .with("OUTBOUND_TRUNK_ID", "ST_own");
        let number = number(caller(1, 9), None);
        lab.site.database.store().add_number(&number).await.unwrap();
        let verifier = lab.site.client("verifier", &ALL);
        let narrow = lab.site.client("narrow", &["--tenant", TENANT, "--may", "verify"]);
        let daemon = lab.site.daemon();
        let of_config = lab.call(&daemon, "a").await;
        let body = json!({"from": "+971500000009", "to": TO, "dial": "engine", "ringing": 20});
        let request = Request::new("POST", "/v1/calls", &body, &lab.token);
        let of_own = status_and_body(&daemon.send(request.with("idempotency-key", "b")).await).1;
        assert_eq!((&of_own["outcome"], &of_own["config_id"]), (&json!("placed"), &Value::Null));

        let room = |call: &Value| call["room"].as_str().unwrap().to_owned();
        // Neither key speaks for the other's calls.
        assert!(!is_recorded(&daemon.send(webhook(own, &left(&room(&of_config), "SIP"))).await));
        assert!(!is_recorded(&daemon.send(webhook(KEYS, &left(&room(&of_own), "SIP"))).await));
        assert!(is_recorded(&daemon.send(webhook(own, &left(&room(&of_own), "SIP"))).await));
        let forged = (own.0, "another-secret-0123456789-0123456789-0123");
        refused(
            &daemon.send(webhook(forged, &left(&room(&of_own), "SIP"))).await,
            401,
            "webhook_unsigned",
        );
        let path = format!("/v1/calls/{}", of_own["id"].as_str().unwrap());
        assert_eq!(daemon.get(&lab.token, &path).await.1["disconnect_reason"], "CLIENT_INITIATED");

        let token = AccessToken::with_api_key(own.0, own.1).with_identity("ann").to_jwt().unwrap();
        let asked = json!({"token": token});
        let (status, told) = daemon.answer(&verifier, "/v1/livekit/verify", &asked).await;
        assert_eq!((status, &told["config_id"]), (200, &Value::Null), "{told}");
        assert_eq!(
            (&told["config_name"], &told["claims"]["sub"]),
            (&json!("environment"), &json!("ann"))
        );
        // It is of no tenant.
        refused(&daemon.ask(&narrow, "/v1/livekit/verify", &asked).await, 422, "issuer_unknown");
    }
}
