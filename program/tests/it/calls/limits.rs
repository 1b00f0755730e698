//! Limits of batches: what is at its limit is waited for, and what no phone rang for is left to a later
//! run and never lost.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use trunkline::dispatch::batch::{Batch, Limits, Summary};
use trunkline::dispatch::{Dial, EngineDial, Outcome};
use trunkline::store::NewNumber;

use super::batch::{ENGINE, Paper, outcomes, unlimited};
use super::{KEYS, Lab, TO, says};
use crate::support::http::Message;
use crate::support::livekit::config_on;
use crate::support::standin::FarEnd;
use crate::support::tap::Fault;
use crate::support::{caller, eventually};

const SHORT: Duration = Duration::from_millis(30);
const RINGS_LONG: Dial = Dial::Engine(EngineDial {
    wait_until_answered: true,
    ringing: Duration::from_secs(30),
    longest: Duration::from_secs(60),
});

fn with_outcome<'a>(results: &'a [Value], outcome: &str) -> Vec<&'a Value> {
    results.iter().filter(|result| result["outcome"] == outcome).collect()
}

#[tokio::test]
async fn a_carrier_at_its_limit_is_waited_for() {
    let lab = Lab::patient().await;
    for (code, text, status, twirp) in [
        (403, "User channel limit exceeded D1", "403 Forbidden", "permission_denied"),
        (503, "CPS limit exceeded", "412 Precondition Failed", "failed_precondition"),
        (500, "Concurrent call limit exceeded", "412 Precondition Failed", "failed_precondition"),
    ] {
        let before = lab.stand_in.dialled().len();
        lab.stand_in.at(TO, says(code, text, status, twirp));
        let paper = Paper::new((0..8).map(|_| (1, TO)));
        let limits = Limits { pause: SHORT, concurrency: 2, ..unlimited() };
        let batch = Batch::new(&lab.dispatcher, ENGINE, limits, CancellationToken::new());
        let results = Mutex::new(Vec::new());
        let tell =
            |result: Option<&Value>, _: &Summary| results.lock().unwrap().extend(result.cloned());
        let running = batch.run(|| paper.open(), paper.begin(), tell);
        let room_again = async {
            eventually("it was refused twice", async || lab.stand_in.dialled().len() >= before + 3)
                .await;
            lab.stand_in.at(TO, FarEnd::Answers);
        };
        let (summary, ()) = tokio::join!(running, room_again);
        let (summary, results) = (summary.unwrap(), results.into_inner().unwrap());
        assert_eq!((summary.of(Outcome::Placed), summary.left), (8, 0), "{text}: {results:#?}");
        let tried_again = results.iter().filter(|result| result["attempts"].as_u64() > Some(1));
        assert!(tried_again.count() >= 1, "{text}: {results:#?}");
        let refused = lab.stand_in.dialled().len() - before - 8;
        assert!(refused < 8, "not each of them asked in vain: {refused}");
    }
}

#[tokio::test]
async fn a_server_at_its_limit_is_waited_for_and_keeps_no_room() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let busy = || Message::response("429 Too Many Requests", "text/plain", "later");
    for _ in 0..6 {
        lab.tap.next("CreateDispatch", Fault::Answers(busy()));
    }
    let paper = Paper::new((0..4).map(|_| (1, TO)));
    let limits = Limits { pause: SHORT, concurrency: 1, ..unlimited() };
    let (summary, _) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (4, 0), "{summary:?}");
    assert_eq!((lab.stand_in.rooms().len(), lab.stand_in.dialled().len()), (4, 4));
}

#[tokio::test]
async fn a_limit_that_stays_ends_no_lead() {
    let lab = Lab::patient().await;
    let full = says(403, "User channel limit exceeded D1", "403 Forbidden", "permission_denied");
    lab.stand_in.at(TO, full);
    let paper = Paper::new((0..4).map(|_| (1, TO)));
    let limits = Limits { pause: Duration::from_micros(10), concurrency: 1, ..unlimited() };
    // Between two calls it goes slower and slower.
    let stop = CancellationToken::new();
    let batch = Batch::new(&lab.dispatcher, ENGINE, limits, stop.clone());
    let running = batch.run(|| paper.open(), paper.begin(), |_, _| {});
    let stopping = async {
        eventually("it was refused", async || lab.stand_in.dialled().len() >= 3).await;
        stop.cancel();
    };
    let (summary, ()) = tokio::join!(running, stopping);
    let summary = summary.unwrap();
    assert_eq!((summary.done(), summary.left), (0, 4), "{summary:?}");
    lab.stand_in.at(TO, FarEnd::Answers);
    let (summary, _) = paper.run(&lab, ENGINE, unlimited(), paper.resume()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (4, 0), "{summary:?}");
}

#[tokio::test]
async fn a_run_of_calls_to_a_silent_carrier_opens_its_breaker() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Silent);
    let paper = Paper::new((0..20).map(|_| (1, TO)));
    let limits = Limits { pause: SHORT, concurrency: 5, ..unlimited() };
    let (summary, results) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!((summary.done(), summary.left), (0, 20), "{summary:?}");
    // Five that opened it, those that had gone by then, and four trials.
    let silent = with_outcome(&results, "carrier_trouble").len();
    assert!((5 + 4..5 + 4 + 5).contains(&silent), "{silent}: {results:#?}");
    assert_eq!(with_outcome(&results, "held_back").len(), 20 - silent);
    lab.stand_in.at(TO, FarEnd::Answers);
    let (summary, _) = paper.run(&lab, ENGINE, unlimited(), paper.resume()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (20, 0), "{summary:?}");
}

/// What a person can mend is never done with, and one trunk's trouble is not the server's.
#[tokio::test]
async fn nothing_for_which_no_phone_rang_is_lost() {
    let lab = Lab::patient().await;
    let to = ["+919876543211", "+919876543212", "+919876543213"];
    let twirp = "invalid_argument";
    let words = "lookup sip.nowhere.example: no such host";
    let no_host = FarEnd::Fails { status: "400 Bad Request", twirp, words };
    lab.stand_in.at(to[0], no_host);
    lab.stand_in.at(to[1], FarEnd::WantsPassword);
    lab.stand_in.at(to[2], FarEnd::Silent);
    lab.stand_in.at(TO, FarEnd::Answers);
    // The seventh caller has no row, and the fourth trunk does not carry the fourth caller.
    let entries = [(1, to[0]), (1, to[1]), (1, to[2]), (7, TO), (4, TO), (5, TO), (1, TO)];
    let paper = Paper::new(entries);
    let (summary, results) = paper.run(&lab, ENGINE, unlimited(), paper.begin()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (1, 6), "{results:#?}");
    let expected = [
        (2, "carrier_trouble"),
        (3, "carrier_trouble"),
        (4, "carrier_trouble"),
        (5, "no_credentials"),
        (6, "caller_not_on_trunk"),
        (7, "trunk_unknown"),
        (8, "placed"),
    ];
    assert_eq!(outcomes(&results), expected);
    let message = |line: u64| {
        let result = results.iter().find(|result| result["line"] == line).unwrap();
        result["message"].as_str().unwrap().to_owned()
    };
    for (line, words) in
        [(2, "host in the trunk's address"), (3, "user or password"), (4, "did not answer")]
    {
        assert!(message(line).contains(words), "{}", message(line));
    }

    for number in to {
        lab.stand_in.at(number, FarEnd::Answers);
    }
    let store = lab.database.store();
    let id = store.configs().await.unwrap()[0].id;
    let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_own"});
    store.add_number(&NewNumber { caller: caller(1, 7), provider: None, rules }).await.unwrap();
    lab.stand_in.trunk("ST_own", &["*"]);
    lab.stand_in.trunk("ST_other", &["*"]);
    lab.stand_in.trunk("ST_gone", &["*"]);
    // As after a restart: what was known of trunks is not known any more.
    let fresh = trunkline::dispatch::Dispatcher::new(
        lab.dispatcher.resolver().clone(),
        lab.dispatcher.livekit().clone(),
    );
    eventually("the new row is known", async || {
        fresh.resolver().resolve(caller(1, 7)).await.is_ok()
    })
    .await;
    let batch = Batch::new(&fresh, ENGINE, unlimited(), CancellationToken::new());
    let summary = batch.run(|| paper.open(), paper.resume(), |_, _| {}).await.unwrap();
    assert_eq!((summary.of(Outcome::Placed), summary.left), (7, 0), "{summary:?}");
}

#[tokio::test]
async fn a_server_is_one_whatever_key_it_is_asked_with() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Rings);
    let store = lab.database.store();
    let second = config_on(&lab.ring, &lab.tap.url(), KEYS[1], "second");
    let id = store.create_config(&second).await.unwrap();
    let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_any"});
    store.add_number(&NewNumber { caller: caller(1, 8), provider: None, rules }).await.unwrap();
    let paper = Paper::new((0..8).map(|at| (if at % 2 == 0 { 1 } else { 8 }, TO)));
    let limits = Limits { concurrency: 2, ..unlimited() };
    let (summary, _) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!(summary.of(Outcome::NoAnswer), 8, "{summary:?}");
    assert_eq!(lab.stand_in.most_at_once(), 2);
    let issuers = lab.tap.issuers();
    assert!(KEYS.iter().all(|(key, _)| issuers.iter().any(|issuer| issuer == key)));
}

/// A call is up until its room closes.
#[tokio::test]
async fn no_more_calls_are_up_at_once_than_a_trunk_may_have() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let paper = Paper::new((0..5).map(|_| (1, TO)).chain((0..2).map(|_| (2, TO))));
    let limits = Limits { live: Some(2), ..unlimited() };
    let batch = Batch::new(&lab.dispatcher, ENGINE, limits, CancellationToken::new());
    let most = Mutex::new(0);
    let count = || {
        let own = lab.stand_in.dialled();
        let rooms = lab.stand_in.rooms();
        let up = |dial: &&Value| {
            dial["sip_trunk_id"] == "ST_own" && rooms.iter().any(|room| dial["room_name"] == **room)
        };
        let up = own.iter().filter(up).count();
        let mut most = most.lock().unwrap();
        *most = up.max(*most);
        up
    };
    let running = batch.run(
        || paper.open(),
        paper.begin(),
        |_, _| {
            count();
        },
    );
    let hanging_up = async {
        for round in [2, 2, 1] {
            eventually("as many are up as may be", async || count() == round).await;
            for room in lab.stand_in.rooms() {
                lab.stand_in.close(&room);
            }
        }
    };
    let (summary, ()) = tokio::join!(running, hanging_up);
    let summary = summary.unwrap();
    assert_eq!((summary.of(Outcome::Placed), summary.left), (7, 0), "{summary:?}");
    assert_eq!(most.into_inner().unwrap(), 2);
    assert!(lab.tap.count("ListRooms") < 8, "asked politely: {}", lab.tap.count("ListRooms"));
}

/// The rate holds where the carrier is asked, however long the steps before take.
#[tokio::test]
async fn the_rate_holds_for_dials_whose_rooms_took_long() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    lab.tap.next("CreateDispatch", Fault::Delays(Duration::from_millis(700)));
    let paper = Paper::new((0..2).map(|_| (1, TO)));
    let limits = Limits { calls_per_second: 1.0, ..unlimited() };
    let (summary, _) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!(summary.of(Outcome::Placed), 2, "{summary:?}");
    let at = lab.stand_in.dialled_at();
    let apart = at[1] - at[0];
    assert!(apart > Duration::from_millis(850), "a second, but for the way there: {apart:?}");
}

#[tokio::test]
async fn a_batch_that_is_to_stop_lets_phones_ring_and_ends_them_when_told_again() {
    let lab = Lab::patient().await;
    let long = FarEnd::RingsThen(Duration::from_secs(2), Box::new(FarEnd::Answers));
    for (insist, far_end, outcome) in
        [(false, long, Outcome::Placed), (true, FarEnd::Rings, Outcome::Cancelled)]
    {
        lab.stand_in.at(TO, far_end);
        let paper = Paper::new((0..10).map(|_| (1, TO)));
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let limits = Limits { concurrency: 3, ..unlimited() };
        let batch = Batch::new(&lab.dispatcher, RINGS_LONG, limits, stop.clone());
        let batch = batch.ended_by(end.clone());
        let seen = lab.tap.count("ListParticipants");
        let running = batch.run(|| paper.open(), paper.begin(), |_, _| {});
        let stopping = async {
            eventually("three ring", async || lab.stand_in.ringing() == 3).await;
            eventually("that is seen", async || lab.tap.count("ListParticipants") >= seen + 3)
                .await;
            stop.cancel();
            if insist {
                end.cancel();
            }
        };
        let (summary, ()) = tokio::join!(running, stopping);
        let summary = summary.unwrap();
        assert_eq!((summary.of(outcome), summary.left), (3, 7), "{insist}: {summary:?}");
        assert_eq!(lab.stand_in.ringing(), 0);
    }
}
