//! Trunks and servers that fail or are slow: they hold up nobody else.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use trunkline::dispatch::batch::{Batch, Limits, Summary};
use trunkline::dispatch::{Dial, Outcome};
use trunkline::store::NewNumber;

use super::{ENGINE, Paper, unlimited};
use crate::calls::{Lab, TO, says};
use crate::support::caller;
use crate::support::http::Message;
use crate::support::standin::FarEnd;
use crate::support::tap::Fault;

#[tokio::test]
async fn a_trunk_that_fails_is_left_alone_and_the_others_go_on() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    // The server does not have the trunk of the fifth caller.
    let paper = Paper::new((0..40).map(|at| (if at % 2 == 0 { 5 } else { 1 }, TO)));
    let pause = Duration::from_millis(20);
    let limits = Limits { concurrency: 1, pause, ..unlimited() };
    let (summary, results) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (20, 20), "{summary:?}");
    let with = |outcome| results.iter().filter(|result| result["outcome"] == outcome).count();
    assert_eq!(with("trunk_unknown"), 5 + 4, "five that opened it, four trials");
    assert_eq!(with("held_back"), 11);
    // They are not done: resuming tries them, once the trunk is there.
    lab.stand_in.trunk("ST_gone", &["*"]);
    let (summary, results) = paper.run(&lab, ENGINE, unlimited(), paper.resume()).await;
    assert_eq!((summary.left, summary.earlier), (0, 20), "{summary:?}");
    assert_eq!(results.len(), 40, "one result an entry, the earlier ones too");
    assert_eq!(lab.stand_in.dialled().len(), 40);
}

/// A trial that fails on the server's account leaves the trunk to the next one.
#[tokio::test]
async fn a_trial_that_says_nothing_of_the_trunk_does_not_hold_it_back_for_good() {
    let lab = Lab::patient().await;
    let carrier =
        says(503, "Service Unavailable", "412 Precondition Failed", "failed_precondition");
    lab.stand_in.at(TO, carrier);
    let paper = Paper::new((0..15).map(|_| (1, TO)));
    let pause = Duration::from_millis(300);
    let limits = Limits { concurrency: 1, pause, retries: 2, ..unlimited() };
    let trouble = || Message::response("503 Service Unavailable", "text/plain", "no");
    // The sixth call is the trial. Its carrier is well again, and its room cannot be made.
    let tell = |_: Option<&Value>, summary: &Summary| {
        if summary.left == 5 && summary.done() == 0 {
            lab.stand_in.at(TO, FarEnd::Answers);
            for _ in 0..3 {
                lab.tap.next("CreateRoom", Fault::Answers(trouble()));
            }
        }
    };
    let batch = Batch::new(&lab.dispatcher, ENGINE, limits, CancellationToken::new());
    let run = batch.run(|| paper.open(), paper.begin(), tell);
    let summary = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap();
    assert_eq!((summary.of(Outcome::Placed), summary.left), (10, 5), "{summary:?}");
    assert_eq!(lab.tap.count("CreateRoom"), 5 + 3 + 10, "the trial met the trouble");
}

/// A dial in doubt can never be repeated, so few come to that.
#[tokio::test]
async fn a_server_that_leaves_dials_in_doubt_is_left_alone() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Breaks);
    let paper = Paper::new((0..60).map(|_| (1, TO)));
    let limits = Limits { concurrency: 1, pause: Duration::from_millis(10), ..unlimited() };
    let (summary, _) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!(
        summary.of(Outcome::InDoubt),
        5 + 4,
        "five that opened it, four trials: {summary:?}"
    );
    assert_eq!(summary.left, 51);
}

/// Runs a batch whose trunks are slow until ten calls went over `ST_any`, which must be soon.
async fn until_ten_went_over_the_other(lab: &Lab, paper: &Paper) -> Summary {
    let cancel = CancellationToken::new();
    let limits = Limits { calls_per_second: 20.0, ..unlimited() };
    let batch = Batch::new(&lab.dispatcher, Dial::Agent, limits, cancel.clone());
    let mut others = 0;
    let tell = |result: Option<&Value>, _: &Summary| {
        others += u64::from(result.is_some_and(|result| result["trunk_id"] == "ST_any"));
        if others == 10 {
            cancel.cancel();
        }
    };
    let run = batch.run(|| paper.open(), paper.begin(), tell);
    tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap()
}

/// Hundreds that wait for a slow trunk do not keep the others waiting.
#[tokio::test]
async fn a_slow_trunk_at_the_head_of_the_file_holds_up_nobody_else() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let paper = Paper::new((0..3000).map(|_| (1, TO)).chain((0..10).map(|_| (2, TO))));
    let summary = until_ten_went_over_the_other(&lab, &paper).await;
    assert!(summary.done() < 200, "the slow ones went on at their pace: {summary:?}");
    assert_eq!(summary.done() + summary.left, 3010, "{summary:?}");
}

/// Those who are in memory are called, whatever the database does to others.
#[tokio::test]
async fn a_database_that_goes_away_holds_up_nobody_who_is_in_memory() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let gated = crate::support::stores::Gated::new(lab.database.store());
    let key = lab.key.as_str();
    let settings = lab.database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", key)]);
    let resolver = trunkline::Resolver::builder(settings).store(gated.clone() as _).start();
    for at in 1..4 {
        resolver.resolve(caller(1, at)).await.unwrap();
    }
    gated.set(crate::support::stores::Fault::Away);
    let dispatcher =
        trunkline::dispatch::Dispatcher::new(resolver, lab.dispatcher.livekit().clone());
    // Cold ones first, so that the database is given up before the warm ones come.
    let cold = (0..60).map(|at| (100 + at % 30, TO));
    let paper = Paper::new(cold.chain((0..60).map(|at| (at % 3 + 1, TO))));
    let limits = Limits { pause: Duration::from_millis(5), ..unlimited() };
    let batch = Batch::new(&dispatcher, Dial::Agent, limits, CancellationToken::new());
    let summary = batch.run(|| paper.open(), paper.begin(), |_, _| {}).await.unwrap();
    assert_eq!((summary.of(Outcome::Placed), summary.left), (60, 60), "{summary:?}");
}

/// Many callers over one slow trunk are one place that waits, and not many.
#[tokio::test]
async fn many_callers_of_one_slow_trunk_hold_up_nobody_else() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let store = lab.database.store();
    let id = store.configs().await.unwrap()[0].id;
    for at in 0..40 {
        let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_free"});
        let number = NewNumber { caller: caller(1, 200 + at), provider: None, rules };
        store.add_number(&number).await.unwrap();
    }
    let slow = (0..2400).map(|at| (200 + at % 40, TO));
    let paper = Paper::new(slow.chain((0..10).map(|_| (2, TO))));
    let summary = until_ten_went_over_the_other(&lab, &paper).await;
    assert!(summary.done() < 200, "{summary:?}");
    assert_eq!(summary.done() + summary.left, 2410, "{summary:?}");
}

/// A number that moves while its entries wait for their turn is called over its new trunk.
#[tokio::test]
async fn an_entry_that_waited_goes_over_the_trunk_that_its_number_has_by_then() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let paper = Paper::new((0..20).map(|_| (1, TO)));
    let limits = Limits { calls_per_second: 10.0, ..unlimited() };
    let trunks = Mutex::new(Vec::new());
    let moved = tokio::sync::Notify::new();
    let tell = |result: Option<&Value>, _: &Summary| {
        let mut trunks = trunks.lock().unwrap();
        trunks.extend(result.map(|result| result["trunk_id"].as_str().unwrap().to_owned()));
        if trunks.len() == 5 {
            moved.notify_one();
        }
    };
    let batch = Batch::new(&lab.dispatcher, Dial::Agent, limits, CancellationToken::new());
    let moving = async {
        moved.notified().await;
        lab.database
            .sql("update voice_agent_numbers set rules = json_set(rules, '$.outbound_trunk_id', 'ST_any')
                where rules ->> 'outbound_trunk_id' = 'ST_own'")
            .await;
    };
    let run = async { batch.run(|| paper.open(), paper.begin(), tell).await.unwrap() };
    let (summary, ()) = tokio::join!(run, moving);
    assert_eq!(summary.of(Outcome::Placed), 20, "{summary:?}");
    let trunks = trunks.into_inner().unwrap();
    let over_new = trunks.iter().filter(|trunk| *trunk == "ST_any").count();
    assert!((10..=15).contains(&over_new), "{trunks:?}");
}
