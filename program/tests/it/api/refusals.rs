//! What is refused before anything is asked, each with its code; and what no answer and no log holds.

use serde_json::json;

use super::{ALL, Daemon, NUMBER, Request, Site, TENANT, joining, refused, status_and_body};
use crate::support::database::Kind;
use crate::support::http::Message;
use crate::support::secret_of;

struct Lab {
    _site: Site,
    daemon: Daemon,
    token: String,
}

impl Lab {
    async fn new() -> Self {
        let site = Site::new(Kind::Sqlite).await;
        let token = site.client("dialler", &ALL);
        let daemon = site.daemon();
        Self { _site: site, daemon, token }
    }

    /// A request for a token that is answered.
    fn good(&self) -> Request {
        let bearer = format!("Bearer {}", self.token);
        Request::post("/v1/tokens", &joining("call-7")).with("authorization", &bearer)
    }

    async fn is_refused(&self, request: Request, status: u16, code: &str) -> serde_json::Value {
        refused(&self.daemon.send(request).await, status, code)
    }
}

#[tokio::test]
async fn who_says_not_who_he_is_or_says_it_wrong_is_refused() {
    let lab = Lab::new().await;
    assert_eq!(lab.daemon.send(lab.good()).await.word(), "200");
    let bare = Request::post("/v1/tokens", &joining("call-7"));
    let answer = lab.daemon.send(bare.clone()).await;
    refused(&answer, 401, "credential_missing");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let stranger = trunkline::access::ClientToken::generate().unwrap();
    let upper = lab.token.to_uppercase();
    for given in [
        format!("Bearer {}", stranger.as_str()),
        format!("Bearer {upper}"),
        format!("Bearer {}x", lab.token),
        format!("Basic {}", lab.token),
        lab.token.clone(),
        "Bearer".into(),
        "Bearer tlc_".into(),
    ] {
        lab.is_refused(bare.clone().with("authorization", &given), 401, "token_invalid").await;
    }
}

#[tokio::test]
async fn what_a_proxy_passed_on_or_asks_for_another_host_is_refused_over_tcp() {
    let lab = Lab::new().await;
    for name in ["x-forwarded-for", "forwarded"] {
        lab.is_refused(lab.good().with(name, "for=10.0.0.7"), 400, "forwarded").await;
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "metadata"] {
        lab.is_refused(lab.good().with("host", host), 421, "other_host").await;
    }
    for host in ["localhost", "127.0.0.1:9465", "[::1]:9465"] {
        assert_eq!(lab.daemon.send(lab.good().with("host", host)).await.word(), "200", "{host}");
    }
    // On a socket the name is whatever the library of the client makes of its path.
    let answer = lab.daemon.send_local(lab.good().with("host", "api.sock")).await;
    assert_eq!(answer.word(), "200", "{answer:?}");
}

#[tokio::test]
async fn other_paths_and_methods_are_told_and_nothing_is_redirected() {
    let lab = Lab::new().await;
    for path in ["/", "/v1", "/v1/tokens/", "//v1/tokens", "/v1/../v1/tokens", "/metrics"] {
        lab.is_refused(Request::post(path, &json!({})), 404, "not_found").await;
    }
    let answer = lab.daemon.send(Request::get("/v1/tokens")).await;
    refused(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    // The probes and metrics are elsewhere, as they were.
    assert_eq!(crate::support::http::get(lab.daemon.port, "/livez").await.body, "alive\n");
    assert_eq!(crate::support::http::get(lab.daemon.port, "/v1/tokens").await.word(), "404");
}

#[tokio::test]
async fn a_body_is_json_of_bounded_size_and_of_known_fields() {
    let lab = Lab::new().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        lab.is_refused(lab.good().with("content-type", kind), 415, "not_json").await;
    }
    let large = lab.good().body(&" ".repeat((64 << 10) + 1));
    lab.is_refused(large, 413, "body_too_large").await;
    for (body, code, field, told) in [
        ("", "body_malformed", None, "not JSON"),
        ("{\"from\": ", "body_malformed", None, "not JSON"),
        ("[]", "body_malformed", None, "JSON object"),
        ("{}", "field_missing", Some("from"), "must be there"),
        ("{\"from\": 7, \"grants\": {}}", "field_malformed", Some("from"), "must be a text"),
        ("{\"form\": \"x\"}", "field_unknown", Some("the body"), "did you mean from?"),
        (
            "{\"from\": \"x\", \"grants\": {\"rooms\": \"a\"}}",
            "field_unknown",
            Some("grants"),
            "did you mean room?",
        ),
        ("{\"from\": \"x\", \"grants\": {}, \"ttl\": -1}", "field_malformed", Some("ttl"), "whole"),
        (
            "{\"from\": \"+971500000001\", \"from\": \"+971500000002\", \"grants\": {}}",
            "body_malformed",
            None,
            "twice",
        ),
        ("{\"from\": \"0501\", \"grants\": {}}", "number_malformed", Some("from"), "+97150"),
        (
            "{\"tenant\": \"a\", \"from\": \"+971500000001\", \"grants\": {}}",
            "tenant_malformed",
            Some("tenant"),
            "UUID",
        ),
        (
            "{\"from\": \"+971500000001\", \"grants\": {}}",
            "grants_empty",
            Some("grants"),
            "identity",
        ),
    ] {
        let problem = lab.is_refused(lab.good().body(body), 400, code).await;
        assert_eq!(problem["field"].as_str(), field, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{body}: {problem}");
    }
}

#[tokio::test]
async fn an_answer_carries_the_id_of_its_request() {
    let lab = Lab::new().await;
    let named = lab.daemon.send(lab.good().with("x-request-id", "job-7.a")).await;
    assert_eq!(named.header("x-request-id"), Some("job-7.a"));
    let forged = lab.daemon.send(lab.good().with("x-request-id", "a b\"}")).await;
    let made = forged.header("x-request-id").unwrap().to_owned();
    assert!(!made.is_empty() && !made.contains(' '), "{made}");
    lab.is_refused(
        Request::post("/v1/tokens", &json!({})).with("x-request-id", "job-8"),
        401,
        "credential_missing",
    )
    .await;
    let (_, log) = lab.daemon.process.end_by("-TERM");
    assert!(log.contains("job-8") && log.contains("credential_missing"), "{log}");
}

/// Everything that is asked here, at every level of the log.
#[tokio::test]
async fn no_secret_and_no_token_is_in_an_answer_or_in_the_log() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("dialler", &ALL);
    let stranger = trunkline::access::ClientToken::generate().unwrap();
    let daemon = Daemon::start(&site.program.clone().with("RUST_LOG", "trace"));
    let mut answers = Vec::new();
    for given in [token.as_str(), stranger.as_str()] {
        for (path, body) in [
            ("/v1/tokens", joining("call-7")),
            ("/v1/resolve", json!({"tenant": TENANT, "from": NUMBER, "explain": true})),
            ("/v1/route", json!({"tenant": TENANT, "from": NUMBER, "to": "050 765 4321"})),
            ("/v1/tokens", json!({"canary-of-a-body": "canary-of-a-body"})),
        ] {
            answers.push(daemon.ask(given, path, &body).await);
        }
    }
    let minted = status_and_body(&answers[0]).1["token"].as_str().unwrap().to_owned();
    let metrics = daemon.metrics().await;
    let (_, log) = daemon.process.end_by("-TERM");
    assert!(log.contains("\"asked\"") && log.contains("token_invalid"), "the log was caught");
    let texts: Vec<_> = answers.iter().map(|answer| answer.body.as_str()).collect();
    for text in texts.iter().copied().chain([metrics.as_str(), log.as_str()]) {
        for secret in [&secret_of("eu"), &token[4..], &stranger.as_str()[4..], "canary-of-a-body"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(!log.contains(&minted) && !log.contains(NUMBER), "a token or a whole number");
}

/// Who sends the body after the head, as most libraries do, must not meet a closed connection first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_seen_by_who_is_still_sending_and_leaves_the_connection_open() {
    use tokio::io::AsyncWriteExt;

    let site = Site::new(Kind::Sqlite).await;
    let daemon = site.daemon();
    let body = "{}".repeat(1000);
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer tlc_none\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..20 {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", daemon.api.unwrap()));
        let mut stream = tokio::io::BufReader::new(stream.await.unwrap());
        for _ in 0..2 {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // The daemon has read the head by the time that it has answered somebody else.
            daemon.send(Request::get("/v1/openapi.json")).await;
            stream.write_all(body.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let answer = Message::read(&mut stream).await.expect("it is seen");
            assert!(["401", "429"].contains(&answer.word()), "{answer:?}");
        }
    }
}
