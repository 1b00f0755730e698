//! Checks over the API: step by step, ended with who asked, and no way into the network of the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Daemon, Request, Site, TENANT, refused, status_and_body};
use crate::support::caller;
use crate::support::database::{BOTH, Kind};
use crate::support::events::{Event, Events};
use crate::support::eventually;
use crate::support::livekit::config_on;
use crate::support::standin::StandIn;

const EDITS: [&str; 3] = ["--all-tenants", "--may", "configs,edit_configs"];
const KEY: (&str, &str) = ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789");

impl Daemon {
    /// Begins an answer that goes on.
    pub(super) async fn events(&self, request: Request) -> Events<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.api.unwrap())).await.unwrap();
        let mut stream = BufReader::new(stream);
        request.0.write(&mut stream).await.unwrap();
        Events::of(stream).await
    }
}

fn draft(url: &str) -> Value {
    json!({"url": url, "api_key": KEY.0, "api_secret": KEY.1, "trunk_id": "ST_own",
        "from": "+971500000001"})
}

fn check(token: &str, path: &str, body: &Value) -> Request {
    Request::new("POST", path, body, token)
}

/// The code of the one step that failed, as one document.
async fn fault(daemon: &Daemon, token: &str, body: &Value) -> Value {
    let request = check(token, "/v1/checks", body).with("accept", "application/json");
    let answer = daemon.send(request).await;
    let (status, body) = status_and_body(&answer);
    assert_eq!((status, &body["ok"]), (200, &json!(false)), "{body}");
    assert!(!answer.body.contains("canary"), "{answer:?}");
    body["checks"].as_array().unwrap().last().unwrap()["code"].clone()
}

/// A server that answers each request with this, and counts who connects.
#[expect(clippy::disallowed_methods, reason = "a server of a test")]
async fn answering(answer: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, many) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&many);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).await.is_ok_and(|many| many > 0) {
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    (port, many)
}

#[tokio::test]
async fn each_step_is_an_event_and_the_verdict_is_the_last_one() {
    for kind in BOTH {
        let stand_in = StandIn::start(&[KEY]).await;
        stand_in.trunk("ST_own", &[&caller(1, 1).number.to_string()]);
        let mut site = Site::new(kind).await;
        site.program = site.program.with("LIVEKIT_HOSTS", "127.0.0.0/8");
        let token = site.client("editor", &EDITS);
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let ring = trunkline::KeyRing::parse(&key).unwrap();
        let url = format!("ws://127.0.0.1:{}", stand_in.port);
        let store = site.database.store();
        let mut config = config_on(&ring, &url, KEY, "standin");
        config.trunk_id = Some("ST_own".into());
        let id = store.create_config(&config).await.unwrap();
        store.assign(caller(1, 1), Some(id)).await.unwrap();
        let daemon = site.daemon();
        let stored = format!("/v1/configs/{id}/check");
        for (path, body) in [("/v1/checks", draft(&url)), (&stored, json!({}))] {
            let mut events = daemon.events(check(&token, path, &body)).await;
            assert_eq!(events.head.header("content-type"), Some("text/event-stream"));
            let all = events.rest().await;
            let steps: Vec<_> = all
                .iter()
                .map(|Event { name, data, .. }| {
                    (name.as_str(), data["step"].as_str().unwrap_or_default())
                })
                .collect();
            let expected = ["shape", "dns", "tcp", "key", "secret", "trunk", "sip"]
                .map(|step| ("check", step));
            assert_eq!(steps, [&expected[..], &[("verdict", "")]].concat(), "{kind:?} {all:?}");
            assert_eq!(all.last().unwrap().data, json!({"ok": true}));
            assert!(!format!("{all:?}").contains("canary"), "{all:?}");

            let asked = check(&token, path, &body).with("accept", "application/json");
            let (status, whole) = status_and_body(&daemon.send(asked).await);
            assert_eq!((status, &whole["ok"]), (200, &json!(true)));
            let events: Vec<_> = all[..7].iter().map(|event| event.data.clone()).collect();
            assert_eq!(whole["checks"], json!(events));
        }
        // A number that the trunk does not carry, and a secret that is another one.
        let other = json!({"from": "+971500000009"});
        let asked = check(&token, &stored, &other).with("accept", "application/json");
        let (_, whole) = status_and_body(&daemon.send(asked).await);
        assert_eq!(whole["checks"][5]["code"], "number_not_on_trunk", "{whole}");
        let mut wrong = draft(&url);
        wrong["api_secret"] = json!("canary-another-secret-0123456789-0123456789");
        assert_eq!(fault(&daemon, &token, &wrong).await, "secret_wrong");
        wrong["api_secret"] = json!("dev-s-t-gAAA");
        assert_eq!(fault(&daemon, &token, &wrong).await, "token_malformed");
        assert_eq!(stand_in.dialled().len(), 0);
    }
}

#[tokio::test]
async fn nothing_is_sent_into_a_private_network_however_it_is_written() {
    let (port, many) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("editor", &["--all-tenants", "--may", "configs,edit_configs"]);
    let daemon = site.daemon();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "10.0.0.1",
        "0x0a000001",
        "192.168.0.1",
        "100.64.0.1",
        "[fd00::1]",
        "[64:ff9b::10.0.0.1]",
    ] {
        let url = format!("ws://{host}:{port}");
        assert_eq!(fault(&daemon, &token, &draft(&url)).await, "address_private", "{host}");
        let new = json!({"name": "x", "url": url, "api_key": "K", "api_secret": "s"});
        let answer = daemon.ask(&token, "/v1/configs", &new).await;
        refused(&answer, 400, "address_private");
    }
    for host in ["169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]", "metadata.google.internal"]
    {
        let url = format!("http://{host}:{port}");
        assert_eq!(fault(&daemon, &token, &draft(&url)).await, "off_limits", "{host}");
    }
    assert_eq!(many.load(Ordering::SeqCst), 0, "nobody connected");
    assert_eq!(fault(&daemon, &token, &draft("ftp://127.0.0.1")).await, "url_malformed");
    let id = site.database.store().configs().await.unwrap()[0].id;
    let edit = json!({"url": format!("ws://127.0.0.1:{port}")});
    let answer = daemon.call(&token, "PATCH", &format!("/v1/configs/{id}"), &edit).await;
    refused(&answer, 400, "address_private");

    // What LIVEKIT_HOSTS names is gone to, and nothing else.
    let named = site.program.clone().with("LIVEKIT_HOSTS", "localhost, 10.0.0.0/8");
    let elsewhere = site.folder.path().join("named.sock");
    let daemon = Daemon::start(&named.with("HTTP_SOCKET", elsewhere.to_str().unwrap()));
    let url = format!("ws://127.0.0.1:{port}");
    assert_eq!(fault(&daemon, &token, &draft(&url)).await, "host_not_allowed");
    assert_eq!(many.load(Ordering::SeqCst), 0);
    let url = format!("ws://localhost:{port}");
    fault(&daemon, &token, &draft(&url)).await;
    assert!(many.load(Ordering::SeqCst) > 0);
    let new = json!({"name": "x", "url": url, "api_key": "K", "api_secret": "s"});
    assert_eq!(daemon.ask(&token, "/v1/configs", &new).await.word(), "201");
}

#[tokio::test]
async fn no_redirect_is_followed_and_nothing_that_was_answered_is_repeated() {
    const REDIRECT: &[u8] = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\n\
        content-type: text/plain\r\ncontent-length: 6\r\n\r\ncanary";
    const TWIRP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
        content-length: 44\r\n\r\n{\"code\":\"invalid_argument\",\"msg\":\"a canary\"}";
    const DENIED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n\
        content-length: 43\r\n\r\n{\"code\":\"unauthenticated\",\"msg\":\"a canary\"}";
    const NO_HTTP: &[u8] = b"canary canary canary\r\n\r\n";
    for (answer, code) in [
        (REDIRECT, "not_livekit"),
        (TWIRP, "not_livekit"),
        (DENIED, "refused"),
        (NO_HTTP, "no_http"),
    ] {
        let (port, many) = answering(answer).await;
        let mut site = Site::new(Kind::Sqlite).await;
        site.program = site.program.with("LIVEKIT_HOSTS", "127.0.0.1");
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        let url = format!("http://127.0.0.1:{port}");
        assert_eq!(fault(&daemon, &token, &draft(&url)).await, code);
        assert!(many.load(Ordering::SeqCst) > 0);
    }
}

/// A server that takes connections and answers nothing.
struct Silent(TcpListener);

impl Silent {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn draft(&self) -> Value {
        draft(&format!("http://127.0.0.1:{}", self.0.local_addr().unwrap().port()))
    }

    /// A check that waits for it, and the connection of that.
    async fn asked_by(&self, daemon: &Daemon, token: &str) -> (Events<TcpStream>, TcpStream) {
        let mut events = daemon.events(check(token, "/v1/checks", &self.draft())).await;
        for step in ["shape", "dns", "tcp"] {
            assert_eq!(events.next().await.unwrap().data["step"], step);
        }
        // The first one saw that the port is open.
        drop(self.0.accept().await.unwrap());
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut some = [0; 16];
        assert!(stream.read(&mut some).await.unwrap() > 0);
        (events, stream)
    }
}

async fn ends(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the end of a daemon is waited for beside its events"
)]
async fn a_check_ends_with_who_asked_or_with_the_daemon() {
    let mut site = Site::new(Kind::Sqlite).await;
    site.program = site.program.with("LIVEKIT_HOSTS", "127.0.0.1");
    let token = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let (kept, left) = (Silent::new().await, Silent::new().await);
    // The one that is kept began before, so its deadline comes before that of the other one.
    let (mut kept_events, kept_stream) = kept.asked_by(&daemon, &token).await;
    let (left_events, left_stream) = left.asked_by(&daemon, &token).await;
    drop(left_events);
    tokio::select! {
        biased;
        () = ends(left_stream) => {}
        () = ends(kept_stream) => panic!("it went on for nobody"),
    }
    assert_eq!(kept_events.next().await.unwrap().data["code"], "no_http");

    let (mut events, _stream) = left.asked_by(&daemon, &token).await;
    let stopped = tokio::task::spawn_blocking(move || daemon.process.end_by("-TERM"));
    let end = Event { name: "end".into(), id: None, data: json!({"reason": "stopping"}) };
    assert_eq!(events.rest().await, [end], "and not its deadline");
    let (code, err) = stopped.await.unwrap();
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("some tasks had not ended"), "{err}");
}

#[tokio::test]
async fn a_client_has_four_checks_at_once() {
    let silent = Silent::new().await;
    let mut site = Site::new(Kind::Sqlite).await;
    site.program = site.program.with("LIVEKIT_HOSTS", "127.0.0.1");
    let (token, other) = (site.client("editor", &EDITS), site.client("other", &EDITS));
    let daemon = site.daemon();
    let ask = |token| check(token, "/v1/checks", &silent.draft());
    let mut held = Vec::new();
    let mut refusal = None;
    eventually("one is too many", async || {
        let events = daemon.events(ask(&token)).await;
        if events.head.word() == "200" {
            held.push(events);
            return false;
        }
        refusal = Some(events.head);
        true
    })
    .await;
    assert!(held.len() >= 4, "{}", held.len());
    refused(&refusal.unwrap(), 429, "too_many_requests");
    assert_eq!(daemon.events(ask(&other)).await.head.word(), "200");
    drop(held);
    eventually("the places are free again", async || {
        daemon.events(ask(&token)).await.head.word() == "200"
    })
    .await;
}

#[tokio::test]
async fn who_may_edit_all_configs_may_check_them() {
    let site = Site::new(Kind::Sqlite).await;
    let reader = site.client("reader", &["--all-tenants", "--may", "configs"]);
    let limited = site.client("limited", &["--tenant", TENANT, "--may", "configs,edit_configs"]);
    let editor = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let id = site.database.store().configs().await.unwrap()[0].id;
    let stored = format!("/v1/configs/{id}/check");
    for (path, body) in [("/v1/checks", draft("wss://eu.example")), (&stored, json!({}))] {
        refused(&daemon.ask(&reader, path, &body).await, 403, "scope_missing");
        refused(&daemon.ask(&limited, path, &body).await, 403, "client_limited");
        let mut wrong = body.clone();
        wrong["from"] = json!("x");
        refused(&daemon.ask(&editor, path, &wrong).await, 400, "number_malformed");
    }
    let absent = format!("/v1/configs/{}/check", uuid::Uuid::nil());
    refused(&daemon.ask(&editor, &absent, &json!({})).await, 404, "config_not_found");
    let found = fault(&daemon, &editor, &draft("wss://no-such-host.invalid")).await;
    assert_eq!(found, "host_unknown");
}
