//! What is seen of a phone while it is dialled: it tells a phone that nobody answers from a carrier
//! that does not, and what may be called again from what may not.

use std::time::Duration;

use serde_json::json;
use trunkline::Phone;
use trunkline::dispatch::{Again, CallRequest, Dial, EngineDial, Outcome};

use super::{Lab, TO, request, says};
use crate::support::eventually;
use crate::support::http::Message;
use crate::support::standin::FarEnd;
use crate::support::tap::Fault;

const A_SECOND: Duration = Duration::from_secs(1);

fn unavailable() -> FarEnd {
    says(503, "Service Unavailable", "412 Precondition Failed", "failed_precondition")
}

#[tokio::test]
async fn a_carrier_that_does_not_answer_is_no_phone_that_rings() {
    let lab = Lab::patient().await;
    for (far_end, outcome, again) in [
        (FarEnd::Rings, Outcome::NoAnswer, Again::Never),
        (FarEnd::Silent, Outcome::CarrierTrouble, Again::Mended),
        (unavailable(), Outcome::CarrierTrouble, Again::Mended),
        (
            FarEnd::RingsThen(A_SECOND, Box::new(unavailable())),
            Outcome::CarrierTrouble,
            Again::Never,
        ),
    ] {
        lab.stand_in.at(TO, far_end.clone());
        let report = lab.call(1, 2).await;
        assert_eq!((report.outcome, report.again), (outcome, again), "{far_end:?}: {report:?}");
        assert_eq!(lab.stand_in.rooms(), Vec::<String>::new(), "{far_end:?}");
    }
}

/// Where nobody could see how the phone is, it may have rung.
#[tokio::test]
async fn what_was_not_seen_is_not_taken_for_silence() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Silent);
    let unseen = || Message::response("503 Service Unavailable", "text/plain", "no");
    for _ in 0..10 {
        lab.tap.next("ListParticipants", Fault::Answers(unseen()));
    }
    let report = lab.call(1, 3).await;
    assert_eq!((report.outcome, report.again), (Outcome::NoAnswer, Again::Never), "{report:?}");
}

#[tokio::test]
async fn a_phone_that_rings_is_looked_at_no_more() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::RingsThen(A_SECOND * 2, Box::new(FarEnd::Answers)));
    let report = lab.call(1, 20).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert_eq!(lab.tap.count("ListParticipants"), 1);
}

/// Another answer than "it rang for as long as it might" would say that the phone was not answered.
#[tokio::test]
async fn a_call_whose_room_is_closed_while_it_rings_is_cancelled() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Rings);
    let closing = async {
        eventually("it rings", async || lab.stand_in.ringing() == 1).await;
        // That it rings is seen a moment later.
        eventually("that is seen", async || lab.tap.count("ListParticipants") > 0).await;
        lab.stand_in.close(&lab.stand_in.rooms()[0]);
    };
    let (report, ()) = tokio::join!(lab.call(1, 20), closing);
    assert_eq!(report.outcome, Outcome::Cancelled, "{report:?}");
}

#[tokio::test]
async fn a_dial_in_doubt_is_settled_where_the_phone_is_in_its_room() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::AnsweredUnheard);
    let report = lab.call(1, 5).await;
    assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    assert!(report.sip_call_id.is_some_and(|id| id.starts_with("SCL_")));

    let late = FarEnd::RingsThen(A_SECOND * 2, Box::new(FarEnd::Answers));
    lab.stand_in.at(TO, late);
    lab.tap.next("CreateSIPParticipant", Fault::ForgetsAnswer(A_SECOND / 2));
    let report = lab.call(1, 20).await;
    assert_eq!(report.outcome, Outcome::Placed, "it was waited for: {report:?}");

    // The server's own limit of time.
    let words = "request timed out";
    let (status, twirp) = ("408 Request Timeout", "deadline_exceeded");
    lab.stand_in.at(TO, FarEnd::Fails { status, twirp, words });
    let report = lab.call(1, 5).await;
    assert_eq!((report.outcome, report.again), (Outcome::InDoubt, Again::Never), "{report:?}");
    assert!(report.call.is_some(), "the room stays: somebody may be in it");
    assert_eq!(lab.stand_in.dialled().len(), 3, "each once");
}

/// Carriers that doubt who calls are told of with the status of a wrong key.
#[tokio::test]
async fn what_a_carrier_refuses_is_not_dialled_again_with_other_credentials() {
    let lab = Lab::patient().await;
    let doubted = says(438, "Invalid Identity Header", "401 Unauthorized", "unauthenticated");
    lab.stand_in.at(TO, FarEnd::RingsThen(A_SECOND / 2, Box::new(doubted)));
    let report = lab.call(1, 5).await;
    assert_eq!(report.outcome, Outcome::CarrierTrouble, "{report:?}");
    assert_eq!(lab.stand_in.dialled().len(), 1);
}

#[tokio::test]
async fn the_room_of_a_refused_dispatch_is_closed() {
    let lab = Lab::patient().await;
    let busy = || Message::response("429 Too Many Requests", "text/plain", "later");
    for _ in 0..3 {
        lab.tap.next("CreateDispatch", Fault::Answers(busy()));
    }
    let report = lab.call(1, 1).await;
    assert_eq!((report.outcome, report.again), (Outcome::Rejected, Again::AtLimit), "{report:?}");
    assert_eq!(lab.stand_in.rooms(), Vec::<String>::new());
    assert!(report.call.is_none());
}

#[tokio::test]
async fn an_agent_that_no_worker_takes_is_not_a_placed_call() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let confirmed = |dial| {
        let confirm_agent = Some(Duration::from_millis(400));
        CallRequest { dial, confirm_agent, ..request(1, 5) }
    };
    let engine = Dial::Engine(EngineDial::default());
    lab.stand_in.workers(false);
    for dial in [Dial::Agent, engine] {
        let report = lab.dispatcher.call(&confirmed(dial)).await;
        assert_eq!((report.outcome, report.again), (Outcome::NoAgent, Again::Mended), "{report:?}");
        assert!(report.message.unwrap().contains("agent-of-eu"));
        assert_eq!(lab.stand_in.rooms(), Vec::<String>::new());
    }
    assert_eq!(lab.stand_in.dialled().len(), 0, "nobody is called for an agent that is not there");
    // Whoever cannot be sent home may dial yet.
    lab.tap.next("DeleteRoom", Fault::LosesRequest);
    let report = lab.dispatcher.call(&confirmed(Dial::Agent)).await;
    assert_eq!((report.outcome, report.again), (Outcome::InDoubt, Again::Never), "{report:?}");
    lab.stand_in.workers(true);
    for dial in [Dial::Agent, engine] {
        let report = lab.dispatcher.call(&confirmed(dial)).await;
        assert_eq!(report.outcome, Outcome::Placed, "{report:?}");
    }
    assert_eq!(lab.stand_in.dialled().len(), 1);
}

#[tokio::test]
async fn a_room_is_told_as_soon_as_it_is_there_and_the_agent_of_who_dials() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    for (dial, word) in [(Dial::Agent, "agent"), (request(1, 5).dial, "engine")] {
        let at_that_time = std::sync::Mutex::new(Vec::new());
        let made = |call: &trunkline::dispatch::Call| {
            let mut seen = at_that_time.lock().unwrap();
            seen.push((call.room.clone(), lab.stand_in.told(&call.room).len()));
        };
        let request = CallRequest { dial, ..request(1, 5) };
        let report = lab.dispatcher.call_notifying(&request, made).await;
        let room = report.call.unwrap().room;
        assert_eq!(at_that_time.into_inner().unwrap(), [(room.clone(), 0)], "before the agent");
        let told = &lab.stand_in.told(&room)[0];
        assert_eq!(
            (&told["dial"], &told["phone_identity"]),
            (&json!(word), &json!("phone-919876543210"))
        );
        assert_eq!(report.phone_identity.as_deref(), Some("phone-919876543210"));
    }
    assert_eq!(lab.stand_in.dialled()[0]["participant_identity"], "phone-919876543210");
}

/// What the rules of the number say of the phone, and the options of the call in front of that.
#[tokio::test]
async fn a_phone_is_dialled_as_rules_and_options_say() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    lab.call(1, 5).await;
    lab.database
        .sql(
            "update voice_agent_numbers set rules = json_patch(rules, '{\"krisp_enabled\": true,
            \"display_name\": \"The bank\", \"headers\": {\"X-Campaign\": \"7\"},
            \"participant_attributes\": {\"lead\": \"rules\"}}')
            where rules ->> 'outbound_trunk_id' = 'ST_own'",
        )
        .await;
    let options = Phone {
        hide_phone_number: Some(true),
        participant_name: Some("Lead".into()),
        participant_attributes: [("lead".into(), "options".into())].into(),
        ..Phone::default()
    };
    let request = CallRequest { phone: options, ..request(1, 5) };
    eventually("the rules are read anew", async || {
        lab.dispatcher.call(&request).await;
        lab.stand_in.dialled().last().unwrap()["krisp_enabled"] == true
    })
    .await;
    let dialled = lab.stand_in.dialled();
    for member in ["krisp_enabled", "display_name", "headers", "hide_phone_number"] {
        assert!(dialled[0].get(member).is_none(), "{member} is left to the server");
    }
    let last = dialled.last().unwrap();
    assert_eq!(
        [
            &last["display_name"],
            &last["headers"],
            &last["hide_phone_number"],
            &last["participant_name"],
            &last["participant_attributes"]
        ],
        [
            &json!("The bank"),
            &json!({"X-Campaign": "7"}),
            &json!(true),
            &json!("Lead"),
            &json!({"lead": "options"})
        ]
    );

    let before = dialled.len();
    let spliced = Phone {
        headers: [("X-Lead".into(), "7\r\nTo: somebody".into())].into(),
        ..Phone::default()
    };
    let report = lab.dispatcher.call(&CallRequest { phone: spliced, ..request.clone() }).await;
    assert_eq!(report.outcome, Outcome::Invalid, "{report:?}");
    assert_eq!(lab.stand_in.dialled().len(), before);
}
