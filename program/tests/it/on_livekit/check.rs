//! Looking at a credential before it is trusted: each fault is named, and what to do about it.

use serde_json::json;
use trunkline::clock::SystemClock;
use trunkline::dispatch::check::{Finding, Subject, Verdict, check};
use trunkline::routing::CallerId;
use trunkline::{E164, ExposeSecret, KeyRing, Secret};

use crate::support::http::Message;
use crate::support::livekit::{Server, client, make_trunk};
use crate::support::standin::StandIn;
use crate::support::tap::{Fault, Tap, claims};
use crate::support::{NOW, caller};

/// What one subject is, where it differs from a good one.
#[derive(Clone)]
struct Case {
    url: String,
    key: String,
    secret: String,
    trunk: Option<String>,
    numbers: Vec<E164>,
}

impl Case {
    fn good(server: &Server) -> Self {
        let (key, secret) = server.keys[0];
        let (key, secret) = (key.to_owned(), secret.to_owned());
        Self { url: server.url(), key, secret, trunk: None, numbers: Vec::new() }
    }

    async fn findings(&self) -> Vec<Finding> {
        let ring = KeyRing::parse(&KeyRing::generate().unwrap()).unwrap();
        let sealed = ring.seal(&self.secret, NOW).unwrap();
        let secret: Secret = ring.open(sealed.as_str()).unwrap().secret;
        assert_eq!(secret.expose_secret().as_str(), self.secret);
        let numbers: Vec<_> = self.numbers.iter().copied().map(CallerId::from).collect();
        let trunks: Vec<_> =
            self.trunk.iter().map(|trunk| (trunk.as_str(), numbers.clone())).collect();
        let subject =
            Subject { url: &self.url, api_key: &self.key, api_secret: &secret, trunks: &trunks };
        let findings = check(&client(), &SystemClock::default(), &subject).await;
        let text = format!("{findings:?} {}", json!(findings));
        assert!(!text.contains(&self.secret) && !text.contains("eyJ"), "{text}");
        findings
    }

    /// Step and code of what failed; the steps behind it were not taken.
    async fn fault(&self) -> (&'static str, &'static str) {
        let findings = self.findings().await;
        let (last, others) = findings.split_last().unwrap();
        assert_eq!(last.verdict, Verdict::Failed, "{findings:?}");
        assert!(last.hint.is_some(), "{last:?}");
        assert!(others.iter().all(|other| other.verdict != Verdict::Failed), "{findings:?}");
        (last.step, last.code)
    }
}

/// The real server has no SIP service beside it, which is the one thing that is wrong.
#[tokio::test]
async fn a_good_credential_passes_every_step_but_for_a_sip_service_that_does_not_run() {
    let server = Server::shared();
    let number = caller(1, 1).number;
    let trunk = make_trunk(server, &[&number.to_string(), "+14155550123"]).await;
    let case = Case { trunk: Some(trunk), numbers: vec![number], ..Case::good(server) };
    assert_eq!(case.fault().await, ("sip", "no_sip_service"));
    let findings = case.findings().await;
    let good = findings.iter().filter(|finding| finding.verdict == Verdict::Ok);
    let steps: Vec<_> = good.map(|finding| finding.step).collect();
    assert_eq!(steps, ["shape", "dns", "tcp", "key", "secret", "clock", "trunk"]);
    let look = server.look();
    let rooms = look.livekit.rooms(&look.with, &[]).await.unwrap();
    assert!(rooms.iter().all(|room| !room.name.starts_with("trunkline-check")), "{rooms:?}");
}

#[tokio::test]
async fn whether_a_sip_service_runs_is_told_without_calling_anybody() {
    let keys = Server::shared().keys;
    let stand_in = StandIn::start(&keys).await;
    let tap = Tap::before(stand_in.port).await;
    stand_in.trunk("ST_any", &["*"]);
    let good =
        Case { url: tap.url(), trunk: Some("ST_any".into()), ..Case::good(Server::shared()) };
    let sip = async || {
        let findings = good.findings().await;
        let last = findings.last().unwrap().clone();
        assert_eq!(last.step, "sip", "{findings:?}");
        (last.verdict, last.code)
    };
    assert_eq!(sip().await, (Verdict::Ok, "ok"));
    stand_in.sip_service(false);
    assert_eq!(sip().await, (Verdict::Failed, "no_sip_service"));
    for (words, code) in [
        ("twirp error unknown: no servers available (received 1 responses)", "sip_busy"),
        ("missing sip trunk id and sip number", "sip_untold"),
    ] {
        let body = json!({"code": "x", "msg": words}).to_string();
        let answer = Message::response("503 Service Unavailable", "application/json", body);
        tap.next("CreateSIPParticipant", Fault::Answers(answer));
        assert_eq!(sip().await, (Verdict::Warning, code));
    }
    assert_eq!(stand_in.dialled().len(), 0);
    assert_eq!(stand_in.rooms(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_written_wrong_is_seen_before_anybody_is_asked() {
    let good = Case::good(Server::shared());
    let (key, secret) = (good.key.clone(), good.secret.clone());
    let twilio = Some(format!("TK{}", "0123456789abcdef".repeat(2)));
    for (case, code) in [
        (Case { url: "calls.example".into(), ..good.clone() }, "url_malformed"),
        (Case { url: format!("{}\n", good.url), ..good.clone() }, "url_malformed"),
        (Case { url: "wss://x.sip.livekit.cloud".into(), ..good.clone() }, "sip_host"),
        (Case { key: String::new(), ..good.clone() }, "empty"),
        (Case { secret: format!("{secret}\n"), ..good.clone() }, "white_space"),
        (Case { key: format!(" {key}"), ..good.clone() }, "white_space"),
        (Case { key: secret, secret: key, ..good.clone() }, "swapped"),
        (Case { trunk: twilio, ..good.clone() }, "trunk_of_twilio"),
    ] {
        assert_eq!(case.fault().await, ("shape", code));
    }
    let odd = Case { trunk: Some("mumbai_trunk_001".into()), ..good };
    let odd = odd.findings().await;
    assert_eq!((odd[0].verdict, odd[0].code), (Verdict::Warning, "trunk_unusual"));
}

#[tokio::test]
async fn what_lies_between_is_told_layer_by_layer() {
    let server = Server::shared();
    let good = Case::good(server);
    let at = |url: String| Case { url, ..good.clone() };
    let closed = crate::support::postgres::free_port();
    let (step, code) = at("wss://nowhere.invalid".into()).fault().await;
    assert!(step == "dns" && ["host_unknown", "dns_timeout"].contains(&code), "{code}");
    let (step, code) = at(format!("ws://127.0.0.1:{closed}")).fault().await;
    assert_eq!((step, code), ("tcp", "not_connected"));
    let plain = at(format!("wss://127.0.0.1:{}", server.port)).findings().await;
    let failed = plain.last().unwrap();
    assert_eq!((failed.step, failed.code), ("tls", "tls_failed"));
    assert!(failed.hint.unwrap().contains("ws://"), "{failed:?}");
    let path = at(format!("{}/some/where", server.url())).fault().await;
    assert_eq!(path, ("livekit", "not_livekit"));

    let tap = Tap::before(server.port).await;
    tap.next("ListRooms", Fault::Answers(Message::response("200 OK", "text/html", "<html>")));
    assert_eq!(at(tap.url()).fault().await, ("livekit", "not_livekit"));
}

#[tokio::test]
async fn a_wrong_key_a_wrong_secret_and_a_wrong_clock_are_told_apart() {
    let server = Server::shared();
    let good = Case::good(server);
    let unknown = Case { key: "APInobody".into(), ..good.clone() };
    assert_eq!(unknown.fault().await, ("key", "key_unknown"));
    let wrong = Case { secret: server.keys[1].1.into(), ..good.clone() };
    assert_eq!(wrong.fault().await, ("secret", "secret_wrong"));

    // The clocks of a test are the same; the server's words and its date are those of another.
    let tap = Tap::before(server.port).await;
    let mut answer = Message::response(
        "401 Unauthorized",
        "text/plain",
        "invalid token: eyJh.eyJi.c2ln, error: token has invalid claims: token is not valid yet",
    );
    answer.headers.push(("date".into(), "Mon, 23 Nov 2026 10:00:00 GMT".into()));
    tap.next("ListRooms", Fault::Answers(answer));
    let findings = Case { url: tap.url(), ..good.clone() }.findings().await;
    let failed = findings.last().unwrap();
    assert_eq!((failed.step, failed.code), ("clock", "clock_skew"));
    assert!(failed.message.contains("s ahead of the server's"), "{failed:?}");

    let mut answer = Message::response("200 OK", "application/json", "{\"rooms\":[]}");
    answer.headers.push(("date".into(), "Mon, 23 Nov 2026 10:00:00 GMT".into()));
    tap.next("ListRooms", Fault::Answers(answer));
    let findings = Case { url: tap.url(), ..good }.findings().await;
    let skewed = findings.iter().find(|finding| finding.step == "clock").unwrap();
    assert_eq!((skewed.verdict, skewed.code), (Verdict::Warning, "clock_skew"));
}

#[tokio::test]
async fn a_trunk_that_is_not_there_or_does_not_carry_the_number_is_told() {
    let server = Server::shared();
    let good = Case::good(server);
    let gone = Case { trunk: Some("ST_missing".into()), ..good.clone() };
    assert_eq!(gone.fault().await, ("trunk", "trunk_unknown"));
    let trunk = make_trunk(server, &["+14155550123"]).await;
    let numbers = vec![caller(1, 1).number];
    let other = Case { trunk: Some(trunk.clone()), numbers, ..good.clone() };
    assert_eq!(other.fault().await, ("trunk", "number_not_on_trunk"));
    let findings = other.findings().await;
    let said = &findings.last().unwrap().message;
    assert!(!said.contains(&caller(1, 1).number.to_string()), "numbers are masked: {said}");
    // Without Redis a server has no SIP.
    let without = Case { trunk: Some(trunk), ..Case::good(Server::other()) };
    assert_eq!(without.fault().await, ("trunk", "no_sip"));
    let none = good.findings().await;
    assert_eq!(
        none.last().map(|last| (last.verdict, last.code)),
        Some((Verdict::Warning, "no_trunk"))
    );
}

/// The rights that the token of a request grants, by LiveKit's names for them.
fn rights(request: &Message) -> Vec<String> {
    let claims = serde_json::to_value(claims(request)).unwrap();
    let granted = |group: &str| {
        let rights = claims[group].as_object().cloned().unwrap_or_default();
        let granted = rights.into_iter().filter(|(_, right)| *right == json!(true));
        granted.map(|(name, _)| format!("{group}.{name}")).collect::<Vec<_>>()
    };
    ["video", "sip"].map(granted).concat()
}

/// A good subject before a stand-in that has everything, and the tap between them.
async fn behind_a_tap() -> (Case, Tap, StandIn) {
    let stand_in = StandIn::start(&Server::shared().keys).await;
    let tap = Tap::before(stand_in.port).await;
    stand_in.trunk("ST_any", &["*"]);
    let case =
        Case { url: tap.url(), trunk: Some("ST_any".into()), ..Case::good(Server::shared()) };
    (case, tap, stand_in)
}

#[tokio::test]
async fn each_token_of_a_check_has_the_right_of_its_method_and_no_other() {
    let (case, tap, _stand_in) = behind_a_tap().await;
    case.findings().await;
    let requests = tap.requests();
    let asked = requests.iter().filter(|request| request.word().contains("/twirp/"));
    let asked: Vec<_> = asked
        .map(|request| (request.word().rsplit('/').next().unwrap(), rights(request)))
        .collect();
    assert_eq!(
        asked,
        [
            ("ListRooms", vec!["video.roomList".to_owned()]),
            ("ListSIPOutboundTrunk", vec!["sip.admin".to_owned()]),
            ("CreateSIPParticipant", vec!["sip.call".to_owned()]),
            ("DeleteRoom", vec!["video.roomCreate".to_owned()]),
        ]
    );
}

#[tokio::test]
async fn what_answers_and_is_no_livekit_server_is_not_repeated() {
    let (case, tap, _stand_in) = behind_a_tap().await;
    for status in ["401 Unauthorized", "403 Forbidden", "500 Internal Server Error"] {
        for method in ["ListRooms", "ListSIPOutboundTrunk", "CreateSIPParticipant"] {
            for (kind, body) in [
                ("text/plain", "canary"),
                ("application/json", r#"{"Code":"Success","Token":"canary"}"#),
                ("application/json", r#"{"code":"Success","msg":"canary"}"#),
            ] {
                tap.next(method, Fault::Answers(Message::response(status, kind, body)));
                let findings = format!("{:?}", case.findings().await);
                assert!(!findings.contains("canary"), "{status} {method} {kind}: {findings}");
            }
        }
    }
}

#[tokio::test]
async fn addresses_where_no_server_is_are_refused_before_anything_is_sent() {
    for url in [
        "ws://169.254.169.254",
        "http://169.254.169.254:80",
        "ws://[::ffff:169.254.169.254]",
        "wss://[fe80::1]",
        "http://[fd00:ec2::254]",
        "http://metadata.google.internal",
    ] {
        let case = Case { url: url.into(), ..Case::good(Server::shared()) };
        assert_eq!(case.fault().await, ("shape", "off_limits"), "{url}");
    }
}
