//! Calls that the engine dials itself, on a stand-in for a server with SIP. What it answers was
//! recorded, and is held against a real server in `on_livekit/alike.rs`.

mod batch;
mod limits;
mod pairs;
mod rings;

use std::time::Duration;

use serde_json::json;
use trunkline::dispatch::livekit::{LiveKit, Timeouts};
use trunkline::dispatch::{CallRequest, Dial, Dispatcher, EngineDial, Outcome, Report};
use trunkline::store::{ConfigEdit, NewNumber};
use trunkline::{KeyRing, Resolver};

use crate::support::caller;
use crate::support::database::{Kind, TestDatabase};
use crate::support::http::Message;
use crate::support::livekit::config_on;
use crate::support::standin::{FarEnd, StandIn};
use crate::support::tap::{Fault, Tap, claims};

const KEYS: [(&str, &str); 2] = [
    ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789"),
    ("APIsecond", "canary-of-the-second-key-0123456789-012345678"),
];
const TO: &str = "+919876543210";

/// A stand-in with a trunk that carries the caller, and a dispatcher for it.
struct Lab {
    stand_in: StandIn,
    tap: Tap,
    dispatcher: Dispatcher,
    database: TestDatabase,
    ring: KeyRing,
    key: String,
}

impl Lab {
    async fn new(timeout: Duration) -> Self {
        let stand_in = StandIn::start(&KEYS).await;
        let tap = Tap::before(stand_in.port).await;
        let database = TestDatabase::migrated(Kind::Sqlite).await;
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        let store = database.store();
        let config = config_on(&ring, &tap.url(), KEYS[0], "eu");
        let id = store.create_config(&config).await.unwrap();
        let own = caller(1, 1).number.to_string();
        stand_in.trunk("ST_own", &[&own]);
        stand_in.trunk("ST_any", &["*"]);
        stand_in.trunk("ST_free", &[]);
        stand_in.trunk("ST_other", &["+971509999999"]);
        for (at, trunk) in (1..).zip(["ST_own", "ST_any", "ST_free", "ST_other", "ST_gone"]) {
            let rules = json!({"livekit_config": id, "outbound_trunk_id": trunk});
            let number = NewNumber { caller: caller(1, at), provider: None, rules };
            store.add_number(&number).await.unwrap();
        }
        let settings = database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", &key)]);
        let livekit = LiveKit::new(Timeouts { connect: Duration::from_secs(5), answer: timeout });
        let dispatcher = Dispatcher::new(Resolver::builder(settings).start(), livekit);
        Self { stand_in, tap, dispatcher, database, ring, key }
    }

    async fn patient() -> Self {
        Self::new(Duration::from_secs(20)).await
    }

    async fn call(&self, from: u64, ringing: u64) -> Report {
        self.dispatcher.call(&request(from, ringing)).await
    }
}

/// A request that the engine dials.
fn request(from: u64, ringing: u64) -> CallRequest {
    let ringing = Duration::from_secs(ringing);
    let dial = Dial::Engine(EngineDial { ringing, ..EngineDial::default() });
    CallRequest { dial, ..CallRequest::new(caller(1, from), TO) }
}

fn says(code: u16, text: &'static str, status: &'static str, twirp: &'static str) -> FarEnd {
    let words =
        if code == 603 { "unexpected status from INVITE response" } else { "INVITE failed" };
    FarEnd::Says { code, text, status, twirp, words }
}

#[tokio::test]
async fn what_became_of_a_call_is_told_apart() {
    let lab = Lab::patient().await;
    for (far_end, outcome, sip) in [
        (FarEnd::Answers, Outcome::Placed, None),
        (
            says(486, "Busy Here", "429 Too Many Requests", "resource_exhausted"),
            Outcome::Busy,
            Some(486),
        ),
        (says(603, "Decline", "403 Forbidden", "permission_denied"), Outcome::Declined, Some(603)),
        (says(404, "Not Found", "404 Not Found", "not_found"), Outcome::NumberUnknown, Some(404)),
        (
            says(503, "Service Unavailable", "412 Precondition Failed", "failed_precondition"),
            Outcome::CarrierTrouble,
            Some(503),
        ),
        (
            says(480, "Temporarily Unavailable", "503 Service Unavailable", "unavailable"),
            Outcome::NoAnswer,
            Some(480),
        ),
        (FarEnd::WantsPassword, Outcome::CarrierTrouble, None),
        (FarEnd::Rings, Outcome::NoAnswer, None),
        (FarEnd::NoService, Outcome::NoSipService, None),
    ] {
        lab.stand_in.at(TO, far_end.clone());
        let report = lab.call(1, 1).await;
        assert_eq!(report.outcome, outcome, "{far_end:?}: {report:?}");
        assert_eq!(report.sip.as_ref().map(|sip| sip.code), sip, "{report:?}");
        assert_eq!(report.sip_call_id.is_some(), outcome == Outcome::Placed);
        // The agent does not wait in the room of a call that did not come about.
        let room_stays = outcome == Outcome::Placed;
        assert_eq!(report.call.is_some(), room_stays, "{report:?}");
        assert_eq!(lab.stand_in.rooms().len(), 1, "the room of the first call only: {far_end:?}");
    }
    let gone = lab.call(5, 1).await;
    assert_eq!(gone.outcome, Outcome::TrunkUnknown, "{gone:?}");
}

#[tokio::test]
async fn a_call_that_does_not_wait_is_placed_while_the_phone_rings() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Rings);
    let dial = Dial::Engine(EngineDial { wait_until_answered: false, ..EngineDial::default() });
    let request = CallRequest { dial, ..CallRequest::new(caller(1, 1), TO) };
    let report = lab.dispatcher.call(&request).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(lab.stand_in.dialled()[0]["wait_until_answered"], false);
}

#[tokio::test]
async fn the_caller_number_is_always_set_and_checked_against_the_trunk() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    for from in [1, 2, 3, 1] {
        let report = lab.call(from, 1).await;
        assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    }
    let dialled = lab.stand_in.dialled();
    let numbers: Vec<_> = dialled.iter().map(|dial| dial["sip_number"].as_str().unwrap()).collect();
    let number = |at| caller(1, at).number.to_string();
    assert_eq!(numbers, [1, 2, 3, 1].map(number));
    assert_eq!(dialled[0]["ringing_timeout"], "1s");
    assert_eq!(dialled[0]["max_call_duration"], "3600s");
    assert_eq!(lab.tap.count("ListSIPOutboundTrunk"), 3, "each trunk once");

    let report = lab.call(4, 1).await;
    assert_eq!(report.outcome, Outcome::CallerNotOnTrunk, "{report:?}");
    assert!(report.message.unwrap().contains("ST_other"));
    assert_eq!(lab.stand_in.dialled().len(), 4, "it was not dialled");
}

/// The caller is +971500000001.
#[tokio::test]
async fn what_is_sent_as_the_caller_number_is_what_the_trunk_is_asked_for() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let placed = (Outcome::Placed, 1);
    let refused = (Outcome::CallerNotOnTrunk, 0);
    let national = json!({"caller_format": ["0", "base_number"]});
    let (store, own) = (lab.database.store(), caller(1, 1).number);
    let config = store.configs().await.unwrap()[0].id;
    for (at, (numbers, mut rules, expected, sent)) in [
        (&["0500000001"][..], json!({}), placed, "+971500000001"),
        (&["0500000001"], national.clone(), placed, "0500000001"),
        (&["0500000002", "+500000001"], national, refused, ""),
        (&["9500000001"], json!({"caller_format": ["9", "base_number"]}), placed, "9500000001"),
        (&["9500000001"], json!({}), refused, ""),
        (&["reception", "alice7"], json!({}), placed, "+971500000001"),
        (&["reception", "+971500000002"], json!({}), refused, ""),
        (&["+971500000002", " * "], json!({}), placed, "+971500000001"),
        (&["+971500000002"], json!({"caller_check": "warn"}), placed, "+971500000001"),
        (&["+971500000002"], json!({"caller_check": "refuse"}), refused, ""),
    ]
    .into_iter()
    .enumerate()
    {
        // The same number of another tenant.
        let (trunk, caller) = (format!("ST_{at}"), caller(100 + at as u128, 1));
        lab.stand_in.trunk(&trunk, numbers);
        rules["livekit_config"] = json!(config);
        rules["outbound_trunk_id"] = json!(trunk);
        store.add_number(&NewNumber { caller, provider: None, rules }).await.unwrap();
        let before = lab.stand_in.dialled().len();
        let dial = Dial::Engine(EngineDial::default());
        let request = CallRequest { dial, ..CallRequest::new(caller, TO) };
        let report = lab.dispatcher.call(&request).await;
        let dialled = lab.stand_in.dialled().split_off(before);
        assert_eq!((report.outcome, dialled.len()), expected, "{numbers:?} {report:?}");
        if let Some(dialled) = dialled.first() {
            assert_eq!(dialled["sip_number"], sent, "{numbers:?}");
            let told = &lab.stand_in.told(&report.call.unwrap().room)[0];
            assert_eq!((&told["sip_number"], &told["from_number"]), (&json!(sent), &json!(own)));
        }
    }
}

/// Whatever becomes of the request, the phone rings once.
#[tokio::test]
async fn a_dial_without_an_answer_is_in_doubt_and_never_asked_for_again() {
    let lab = Lab::new(Duration::from_millis(300)).await;
    for far_end in [FarEnd::Breaks, FarEnd::Hangs] {
        lab.stand_in.at(TO, far_end.clone());
        let before = lab.stand_in.dialled().len();
        let report = lab.call(1, 0).await;
        assert_eq!(report.outcome, Outcome::InDoubt, "{far_end:?}: {report:?}");
        assert!(report.outcome.may_have_rung());
        assert_eq!(lab.stand_in.dialled().len() - before, 1, "{far_end:?}");
        let call = report.call.expect("the room stays, since a person may be in it");
        lab.dispatcher.hang_up(&call).await.unwrap();
    }
    let bad_gateway = Message::response("502 Bad Gateway", "text/html", "<html>no</html>");
    lab.tap.next("CreateSIPParticipant", Fault::Answers(bad_gateway));
    let report = lab.call(1, 0).await;
    assert_eq!(report.outcome, Outcome::InDoubt, "a proxy's error says nothing: {report:?}");
    assert_eq!(lab.tap.count("CreateSIPParticipant"), 3);
}

#[tokio::test]
async fn an_agent_that_may_have_been_sent_is_looked_for_and_else_the_call_is_in_doubt() {
    let lab = Lab::new(Duration::from_millis(300)).await;
    lab.stand_in.at(TO, FarEnd::Answers);
    lab.tap.next("CreateDispatch", Fault::HoldsAnswer);
    let report = lab.call(1, 0).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(lab.stand_in.told(&report.call.unwrap().room).len(), 1, "one agent");

    lab.tap.next("CreateDispatch", Fault::LosesAnswer);
    lab.tap.next("ListDispatch", Fault::LosesAnswer);
    let report = lab.call(1, 0).await;
    assert_eq!(report.outcome, Outcome::InDoubt, "{report:?}");
    assert_eq!(lab.stand_in.dialled().len(), 1, "and nothing is dialled then");
}

/// Whatever comes back after an answer was lost, the room is looked into before another agent is sent.
#[tokio::test]
async fn an_agent_that_may_have_been_sent_is_not_forgotten_over_another_refusal() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let busy = Message::response("429 Too Many Requests", "text/plain", "later");
    lab.tap.next("CreateDispatch", Fault::LosesAnswer);
    // The look after it is lost as well.
    lab.tap.next(
        "ListDispatch",
        Fault::Answers(Message::response(
            "200 OK",
            "application/json",
            "{\"agent_dispatches\":[]}",
        )),
    );
    lab.tap.next("CreateDispatch", Fault::Answers(busy));
    let report = lab.call(1, 1).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(lab.stand_in.told(&report.call.unwrap().room).len(), 1, "one agent");
    assert_eq!(lab.tap.count("CreateDispatch"), 2);
}

/// A refusal that comes after an agent may have been sent does not make the call undone.
#[tokio::test]
async fn a_refused_look_after_a_lost_answer_leaves_the_call_in_doubt() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    lab.tap.next("CreateDispatch", Fault::LosesAnswer);
    let refusal = || Message::response("401 Unauthorized", "text/plain", "invalid API key: x");
    for _ in 0..3 {
        lab.tap.next("ListDispatch", Fault::Answers(refusal()));
    }
    let report = lab.call(1, 1).await;
    assert_eq!(report.outcome, Outcome::InDoubt, "{report:?}");
    assert_eq!(lab.tap.count("CreateDispatch"), 1);
}

#[tokio::test]
async fn a_401_at_the_dial_is_tried_once_more_without_a_second_agent() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let refusal =
        Message::response("401 Unauthorized", "text/plain", "invalid API key: APIstandin");
    lab.tap.next("CreateSIPParticipant", Fault::Answers(refusal));
    let report = lab.call(1, 1).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(lab.stand_in.told(&report.call.unwrap().room).len(), 1);
    assert_eq!(lab.stand_in.dialled().len(), 1);
    assert_eq!(lab.tap.count("CreateSIPParticipant"), 2);
}

/// A token is good for its method and for a minute.
#[tokio::test]
async fn each_request_carries_only_the_rights_that_its_method_needs() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let report = lab.call(1, 1).await;
    let call = report.call.unwrap();
    lab.dispatcher.find(&call.room).await.unwrap();
    lab.dispatcher.hang_up(&call).await.unwrap();
    let mut seen = Vec::new();
    for request in lab.tap.requests() {
        let claims = claims(&request);
        assert_eq!((claims.iss.as_str(), claims.exp - claims.nbf), (KEYS[0].0, 60));
        let (video, sip) = (&claims.video, &claims.sip);
        let rights = [
            ("room_create", video.room_create),
            ("room_list", video.room_list),
            ("room_admin", video.room_admin),
            ("room_join", video.room_join),
            ("sip_admin", sip.admin),
            ("sip_call", sip.call),
        ];
        let rights: Vec<_> = rights.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let method = request.word().rsplit('/').next().unwrap().to_owned();
        assert!(video.room.is_empty() || video.room == call.room);
        seen.push((method, rights.join(" ")));
        if request.word().ends_with("CreateSIPParticipant") {
            assert_eq!(request.header("x-livekit-request-id"), Some(call.room.as_str()));
        }
    }
    let expected = [
        ("ListSIPOutboundTrunk", "sip_admin"),
        ("CreateRoom", "room_create"),
        ("CreateDispatch", "room_admin"),
        ("CreateSIPParticipant", "sip_call"),
        ("ListRooms", "room_list"),
        ("DeleteRoom", "room_create"),
    ];
    assert_eq!(seen, expected.map(|(method, rights)| (method.to_owned(), rights.to_owned())));
}

#[tokio::test]
async fn no_secret_and_no_token_is_in_what_a_report_says() {
    let lab = Lab::patient().await;
    let edit = ConfigEdit {
        api_secret: Some(lab.ring.seal("canary-that-the-server-does-not-know", 0).unwrap()),
        ..ConfigEdit::default()
    };
    let store = lab.database.store();
    let id = store.configs().await.unwrap()[0].id;
    store.update_config(id, &edit).await.unwrap();
    crate::support::eventually("the server refuses", async || {
        lab.call(1, 1).await.outcome == Outcome::CredentialsRefused
    })
    .await;
    let report = lab.call(1, 1).await;
    let text = format!("{report:?} {report:#?}");
    assert!(text.contains("401") && text.contains("[token]"), "{text}");
    assert!(!text.contains("canary") && !text.contains("eyJ"), "{text}");
}
