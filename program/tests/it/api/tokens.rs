//! Tokens: good at the server that places the calls, and never more than the client may have.

use livekit_token::TokenVerifier;
use serde_json::{Value, json};

use super::{ALL, NUMBER, Request, Site, TENANT, from, joining, refused, status_and_body};
use crate::support::database::{BOTH, Kind};
use crate::support::secret_of;

#[tokio::test]
async fn a_client_gets_a_token_that_the_official_verifier_accepts() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("dialler", &ALL);
        let daemon = site.daemon();
        let grants = json!({"room": "call-7", "identity": "dialler", "sip_call": true});
        let body = json!({"tenant": TENANT, "from": NUMBER, "grants": grants, "ttl": 90});
        let over_tcp = daemon.ask(&token, "/v1/tokens", &body).await;
        let bearer = format!("Bearer {token}");
        let request = Request::post("/v1/tokens", &body).with("authorization", &bearer);
        for answer in [over_tcp, daemon.send_local(request).await] {
            let (status, body) = status_and_body(&answer);
            assert_eq!(status, 200, "{kind:?} {body}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert!(answer.header("access-control-allow-origin").is_none());
            assert_eq!(
                (&body["url"], &body["trunk_id"]),
                (&json!("wss://eu.example"), &json!("ST_eu"))
            );
            assert_eq!((&body["source"], &body["reason"]), (&json!("database"), &Value::Null));
            assert_eq!(
                (&body["agent_name"], &body["stale"]),
                (&json!("inbound-agent"), &json!(false))
            );
            let verifier = TokenVerifier::with_api_key("APIeu", &secret_of("eu"));
            let claims = verifier.verify(body["token"].as_str().unwrap()).unwrap();
            assert_eq!((claims.sub.as_str(), claims.video.room.as_str()), ("dialler", "call-7"));
            assert!(claims.video.room_join && !claims.video.room_admin && claims.sip.call);
            assert_eq!(claims.exp - claims.nbf, 90);
            let expires_at = body["expires_at"].as_u64().unwrap();
            assert!(claims.exp as u64 - expires_at <= 1, "{} {expires_at}", claims.exp);
        }
    }
}

#[tokio::test]
async fn each_right_of_a_token_is_the_client_s_or_refused() {
    let site = Site::new(Kind::Sqlite).await;
    let limits = ["--tenant", TENANT, "--may", "tokens", "--room", "call-*", "--longest", "1m"];
    let token = site.client("narrow", &limits);
    let daemon = site.daemon();
    let (status, _) = daemon.answer(&token, "/v1/tokens", &joining("call-7")).await;
    assert_eq!(status, 200);
    let with = |grants: Value, ttl: u64| json!({"tenant": TENANT, "from": NUMBER, "grants": grants, "ttl": ttl});
    let in_room = |room| json!({"room": room, "identity": "a"});
    for (body, code, field) in [
        (with(in_room("lobby"), 60), "room_not_allowed", "grants.room"),
        (with(json!({"sip_call": true}), 60), "grant_not_allowed", "grants.sip_call"),
        (with(json!({"room": "call-7", "agent": true}), 60), "grant_not_allowed", "grants.agent"),
        (with(json!({"admin": true}), 60), "grant_not_allowed", "grants.admin"),
        (with(in_room("call-7"), 61), "ttl_too_long", "ttl"),
    ] {
        let body = refused(&daemon.ask(&token, "/v1/tokens", &body).await, 403, code);
        assert_eq!(body["field"], field);
    }
    for path in ["/v1/resolve", "/v1/route"] {
        let body = json!({"tenant": TENANT, "from": NUMBER});
        refused(&daemon.ask(&token, path, &body).await, 403, "scope_missing");
    }
    let metrics = daemon.metrics().await;
    for line in [
        "trunkline_api_tokens_total{outcome=\"database\"} 1",
        "trunkline_api_tokens_total{outcome=\"environment\"} 0",
        "trunkline_api_request_duration_seconds_count{work=\"call\"} 0",
        "trunkline_api_refusals_total{reason=\"grant_not_allowed\"} 3",
        "trunkline_api_refusals_total{reason=\"ttl_too_long\"} 1",
        "trunkline_api_refusals_total{reason=\"scope_missing\"} 2",
        "trunkline_http_requests_total{route=\"/v1/tokens\",code=\"200\"} 1",
        "trunkline_http_requests_total{route=\"/v1/tokens\",code=\"403\"} 5",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line}");
    }
}

#[tokio::test]
async fn the_fallback_answers_with_its_reason_and_none_is_told() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("dialler", &ALL);
    let daemon = site.daemon();
    let grants = json!({"sip_call": true});
    let body = json!({"tenant": TENANT, "from": "+971500000009", "grants": grants});
    let problem = daemon.ask(&token, "/v1/tokens", &body).await;
    let told = refused(&problem, 422, "environment_incomplete");
    assert!(told["hint"].as_str().unwrap().contains("--explain"), "{told}");
    let unanswered = "trunkline_api_tokens_total{outcome=\"unanswered\"} 1";
    assert!(daemon.metrics().await.lines().any(|line| line == unanswered));
    drop(daemon);

    let program = site
        .program
        .clone()
        .with("LIVEKIT_URL", "wss://env.example")
        .with("LIVEKIT_API_KEY", "APIenv")
        .with("LIVEKIT_API_SECRET", "canary-secret-of-env");
    let daemon = super::Daemon::start(&program);
    let (status, answer) = daemon.answer(&token, "/v1/tokens", &body).await;
    assert_eq!((status, &answer["source"]), (200, &json!("environment")), "{answer}");
    assert_eq!(
        (&answer["reason"], &answer["url"]),
        (&json!("number_unknown"), &json!("wss://env.example"))
    );
    let verifier = TokenVerifier::with_api_key("APIenv", "canary-secret-of-env");
    assert!(verifier.verify(answer["token"].as_str().unwrap()).unwrap().sip.call);
}

#[tokio::test]
async fn a_secret_is_for_a_client_that_may_have_it_and_asks_for_it_and_is_logged() {
    let site = Site::new(Kind::Sqlite).await;
    let all = site.client("all", &ALL);
    let plain = site.client("plain", &["--all-tenants", "--may", "resolve"]);
    let daemon = site.daemon();
    let secret = |body: Value| {
        let mut body = body;
        body["secret"] = json!(true);
        body
    };
    for (token, body) in [(&all, from(NUMBER)), (&plain, from(NUMBER))] {
        let (status, answer) = daemon.answer(token, "/v1/resolve", &body).await;
        assert_eq!((status, &answer["config_name"]), (200, &json!("eu")), "{answer}");
        assert!(answer.get("api_key").is_none() && answer.get("api_secret").is_none(), "{answer}");
    }
    let refusal = daemon.ask(&plain, "/v1/resolve", &secret(from(NUMBER))).await;
    refused(&refusal, 403, "scope_missing");
    let (status, answer) = daemon.answer(&all, "/v1/resolve", &secret(from(NUMBER))).await;
    assert_eq!((status, &answer["api_secret"]), (200, &json!(secret_of("eu"))));
    let (_, log) = daemon.process.end_by("-TERM");
    let given: Vec<_> = log.lines().filter(|line| line.contains("gave the API secret")).collect();
    assert_eq!(given.len(), 1, "{log}");
    assert!(given[0].contains("\"all\"") && given[0].contains("+971*******01"), "{given:?}");
    assert!(!log.contains(&secret_of("eu")) && !log.contains(NUMBER), "{log}");
}

#[tokio::test]
async fn each_step_is_told_to_who_asks_for_it() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    let body = json!({"tenant": TENANT, "from": NUMBER, "explain": true});
    let (status, answer) = daemon.answer(&token, "/v1/resolve", &body).await;
    assert_eq!(status, 200, "{answer}");
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!(
        (&steps[0]["step"], &steps.last().unwrap()["step"]),
        (&json!("caller"), &json!("answer"))
    );
    let unknown = json!({"tenant": TENANT, "from": "+971500000009", "explain": true});
    let told = daemon.ask(&token, "/v1/resolve", &unknown).await;
    let told = refused(&told, 422, "environment_incomplete");
    assert!(told["steps"].as_array().is_some_and(|steps| steps.len() > 2), "{told}");
    let nobody = json!({"from": NUMBER, "explain": true});
    refused(&daemon.ask(&token, "/v1/resolve", &nobody).await, 400, "tenant_needed");
}

#[tokio::test]
async fn a_route_is_what_the_command_line_says() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    for to in ["050 765 4321", "+442079460958", "not a number"] {
        let arguments = ["route", "--json", "--tenant", TENANT, "--from", NUMBER, "--to", to];
        let said = site.program.run(&arguments).json();
        let body = json!({"tenant": TENANT, "from": NUMBER, "to": to});
        assert_eq!(daemon.answer(&token, "/v1/route", &body).await, (200, said), "{to}");
    }
}
