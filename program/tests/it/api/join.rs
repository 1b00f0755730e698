//! `/v1/livekit/token` and `/v1/tickets`: who joins a room, and with what; on every node with the ring.

use livekit_token::{Claims, TokenVerifier};
use serde_json::{Value, json};
use trunkline::KeyRing;

use super::{ALL, Daemon, NUMBER, OTHER_TENANT, Site, TENANT, refused, status_and_body};
use crate::support::database::{BOTH, Kind};
use crate::support::{caller, eventually, number, secret_of};

const PATH: &str = "/v1/livekit/token";

/// A client that is one caller, and may do no more than join.
const JOINS: [&str; 8] =
    ["--tenant", TENANT, "--number", NUMBER, "--may", "join", "--room", "call-*"];

/// What the token says, by the official verifier with the secret of the config that answers.
fn verified(answer: &Value) -> Claims {
    let verifier = TokenVerifier::with_api_key("APIeu", &secret_of("eu"));
    verifier.verify(answer["participant_token"].as_str().unwrap()).unwrap()
}

async fn joined(daemon: &Daemon, token: &str, body: &Value) -> Claims {
    let (status, answer) = daemon.answer(token, PATH, body).await;
    assert_eq!((status, &answer["server_url"]), (201, &json!("wss://eu.example")), "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    verified(&answer)
}

async fn ticket(daemon: &Daemon, client: &str, more: Value) -> String {
    let mut body = json!({"tenant": TENANT, "from": NUMBER, "room": "call-7", "identity": "ann"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = daemon.answer(client, "/v1/tickets", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["expires_at"].is_u64());
    answer["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_is_one_caller_joins_what_it_names_and_else_what_nobody_guesses() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let client = site.client("kiosk", &[&JOINS[..], &["--agent"]].concat());
        let daemon = site.daemon();
        let claims = joined(&daemon, &client, &json!({
            "room_name": "call-7", "participant_identity": "ann", "participant_name": "Ann",
            "participant_metadata": "m", "participantAttributes": {"role": "guest"},
            "roomConfig": {"emptyTimeout": 30, "max_participants": 2, "agents": [{"agentName": "a"}]},
        }))
        .await;
        assert_eq!((claims.sub.as_str(), claims.name.as_str()), ("ann", "Ann"), "{kind:?}");
        assert_eq!((claims.video.room.as_str(), claims.metadata.as_str()), ("call-7", "m"));
        assert!(claims.video.room_join && !claims.video.room_admin && !claims.sip.call);
        assert_eq!(claims.attributes["role"], "guest");
        let room = claims.room_config.unwrap();
        assert_eq!((room.empty_timeout, room.max_participants), (30, 2));
        assert_eq!(room.agents[0].agent_name, "a");
        let made = joined(&daemon, &client, &json!({})).await;
        let other = joined(&daemon, &client, &json!({})).await;
        assert!(made.video.room.starts_with("call-") && made.video.room.len() > 24);
        assert!(made.video.room != other.video.room && made.sub != other.sub);
        for (body, status, code) in [
            (json!({"room_name": "lobby"}), 403, "room_not_allowed"),
            (json!({"participant_attributes": {"lk.x": "y"}}), 403, "grant_not_allowed"),
            (json!({"room_config": {"egress": {}}}), 403, "grant_not_allowed"),
            (json!({"room": "call-7"}), 400, "field_unknown"),
        ] {
            refused(&daemon.ask(&client, PATH, &body).await, status, code);
        }
    }
}

#[tokio::test]
async fn a_client_that_is_no_one_caller_is_told_so_and_one_without_the_scope_is_refused() {
    let site = Site::new(Kind::Sqlite).await;
    let may = ["--may", "join", "--room", "*"];
    let all = [&["--all-tenants", "--number", NUMBER], &may[..]].concat();
    let two =
        [&["--tenant", TENANT, "--tenant", OTHER_TENANT, "--number", NUMBER], &may[..]].concat();
    let any = [&["--tenant", TENANT], &may[..]].concat();
    let some = [&["--tenant", TENANT, "--number", NUMBER, "--number", "+1"], &may[..]].concat();
    let clients = [all, two, any, some];
    let clients: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(at, limits)| site.client(&format!("client-{at}"), limits))
        .collect();
    let part = ["--tenant", TENANT, "--number", "+97150", "--may", "join", "--room", "*"];
    let part = site.client("part", &part);
    let plain = site.client("plain", &["--all-tenants", "--may", "tokens,verify", "--room", "*"]);
    let daemon = site.daemon();
    for client in &clients {
        let told = refused(&daemon.ask(client, PATH, &json!({})).await, 422, "caller_needed");
        assert!(told["hint"].as_str().unwrap().contains("ticket"), "{told}");
    }
    // A beginning is no number: none answers for it.
    assert_eq!(daemon.answer(&part, PATH, &json!({})).await.0, 422);
    for path in [PATH, "/v1/tickets"] {
        refused(&daemon.ask(&plain, path, &json!({})).await, 403, "scope_missing");
    }
}

#[tokio::test]
async fn a_ticket_joins_what_it_names_and_does_nothing_else() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let client = site.client("backend", &ALL);
        let daemon = site.daemon();
        let ticket = ticket(&daemon, &client, json!({})).await;
        assert!(ticket.starts_with("tlt_"), "{ticket}");
        let same = json!({"roomName": "call-7", "participant_identity": "ann",
            "participant_attributes": {}, "room_config": {}});
        for body in [json!({}), same] {
            let claims = joined(&daemon, &ticket, &body).await;
            assert_eq!((claims.sub.as_str(), claims.video.room.as_str()), ("ann", "call-7"));
            assert!(claims.video.room_join && !claims.video.room_admin && !claims.sip.call);
        }
        for (body, field) in [
            (json!({"room_name": "call-8"}), "room_name"),
            (json!({"participantIdentity": "bob"}), "participant_identity"),
            (json!({"participant_name": "Bob"}), "participant_name"),
            (json!({"participant_metadata": "m"}), "participant_metadata"),
            (json!({"participant_attributes": {"a": "b"}}), "participant_attributes"),
            (json!({"room_config": {"metadata": "m"}}), "room_config"),
        ] {
            let told = refused(&daemon.ask(&ticket, PATH, &body).await, 403, "ticket_fixed");
            assert_eq!(told["field"], field);
        }
        let asked = json!({"tenant": TENANT, "from": NUMBER});
        for path in ["/v1/tokens", "/v1/resolve", "/v1/route", "/v1/tickets", "/v1/livekit/verify"]
        {
            refused(&daemon.ask(&ticket, path, &asked).await, 401, "token_invalid");
        }
    }
}

#[tokio::test]
async fn a_ticket_is_good_on_every_node_with_the_ring_and_for_its_time() {
    let site = Site::new(Kind::Sqlite).await;
    let client = site.client("backend", &ALL);
    let old = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
    let with_ring = |ring: &str, at: &str| {
        let socket = format!("{}{at}", site.socket().display());
        let program = site.program.clone().with("HTTP_SOCKET", &socket);
        Daemon::start(&program.with("LIVEKIT_SECRET_ENCRYPTION_KEY", ring))
    };
    let new = KeyRing::generate().unwrap();
    let (daemon, rotated) = (site.daemon(), with_ring(&format!("{},{old}", *new), "2"));
    let stranger = with_ring(&new, "3");
    let sealed = ticket(&daemon, &client, json!({"ttl": 600})).await;
    assert_eq!(joined(&rotated, &sealed, &json!({})).await.sub, "ann");
    refused(&stranger.ask(&sealed, PATH, &json!({})).await, 401, "ticket_invalid");
    let mut altered = sealed.clone().into_bytes();
    altered[30] = if altered[30] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    refused(&daemon.ask(&altered, PATH, &json!({})).await, 401, "ticket_invalid");
    let short = ticket(&daemon, &client, json!({"ttl": 1})).await;
    eventually("it has expired", async || {
        daemon.ask(&short, PATH, &json!({})).await.word() == "401"
    })
    .await;
    refused(&daemon.ask(&short, PATH, &json!({})).await, 401, "ticket_expired");
}

#[tokio::test]
async fn a_ticket_ends_with_its_client_and_never_says_more_than_it() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let names = ["revoked", "removed"];
        let clients = names.map(|name| site.client(name, &ALL));
        let daemon = site.daemon();
        let mut tickets = Vec::new();
        for client in &clients {
            tickets.push(ticket(&daemon, client, json!({})).await);
        }
        site.program.run(&["client", "revoke", "revoked"]).ok();
        site.program.run(&["client", "remove", "removed", "--force"]).ok();
        for (ticket, code) in tickets.iter().zip(["client_revoked", "ticket_invalid"]) {
            eventually("it is refused", async || {
                daemon.ask(ticket, PATH, &json!({})).await.word() == "401"
            })
            .await;
            refused(&daemon.ask(ticket, PATH, &json!({})).await, 401, code);
        }
    }
}

#[tokio::test]
async fn a_client_makes_tickets_within_its_limits() {
    let site = Site::new(Kind::Sqlite).await;
    site.database.store().add_number(&number(caller(2, 2), None)).await.unwrap();
    let client = site.client("backend", &JOINS);
    let daemon = site.daemon();
    let own = json!({"from": NUMBER, "room": "call-7", "identity": "ann"});
    let with = |name: &str, value: Value| {
        let mut body = own.clone();
        body[name] = value;
        body
    };
    for (body, status, code) in [
        (with("tenant", json!(OTHER_TENANT)), 403, "tenant_not_allowed"),
        (with("from", json!("+971500000002")), 403, "number_not_allowed"),
        (with("room", json!("lobby")), 403, "room_not_allowed"),
        (with("room", json!("call-\u{7}")), 400, "field_malformed"),
        (with("identity", json!("")), 400, "field_malformed"),
        (with("ttl", json!(601)), 400, "field_malformed"),
        (with("ttl", json!(u64::MAX)), 400, "field_malformed"),
        (with("name", json!("Ann")), 400, "field_unknown"),
    ] {
        refused(&daemon.ask(&client, "/v1/tickets", &body).await, status, code);
    }
    let (status, _) = status_and_body(&daemon.ask(&client, "/v1/tickets", &own).await);
    assert_eq!(status, 200);
}
