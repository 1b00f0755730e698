//! Batches: paced, stopped, resumed; nobody is called twice.

mod again;
mod trunks;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline::dispatch::batch::{Batch, Defaults, Entries, Journal, Limits, Summary};
use trunkline::dispatch::{Dial, EngineDial, Outcome};

use super::{Lab, TO, says};
use crate::support::standin::FarEnd;
use crate::support::{caller, eventually};

/// A folder with a batch and its journal.
pub(super) struct Paper {
    _folder: tempfile::TempDir,
    file: PathBuf,
    journal: PathBuf,
}

pub(super) const ENGINE: Dial = Dial::Engine(EngineDial {
    wait_until_answered: true,
    ringing: Duration::from_secs(1),
    longest: Duration::from_secs(60),
});

impl Paper {
    /// One entry for each of these callers and destinations.
    pub(super) fn new(entries: impl IntoIterator<Item = (u64, &'static str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, journal) = (folder.path().join("calls.csv"), folder.path().join("journal"));
        let paper = Self { _folder: folder, file, journal };
        paper.write(entries);
        paper
    }

    pub(super) fn write(&self, entries: impl IntoIterator<Item = (u64, &'static str)>) {
        let line = |(at, (from, to)): (usize, (u64, &str))| {
            let caller = caller(1, from);
            format!("{to},{},{},lead {at}", caller.number, caller.tenant)
        };
        let lines = entries.into_iter().enumerate().map(line);
        let lines: Vec<_> =
            std::iter::once("to,from,tenant,lead".to_owned()).chain(lines).collect();
        let text = lines.join("\n") + "\n";
        fs::write(&self.file, text).unwrap();
    }

    pub(super) fn begin(&self) -> Journal {
        Journal::begin(&self.journal).unwrap()
    }

    pub(super) fn resume(&self) -> Journal {
        Journal::resume(&self.journal).unwrap()
    }

    pub(super) async fn run(
        &self,
        lab: &Lab,
        dial: Dial,
        limits: Limits,
        journal: Journal,
    ) -> (Summary, Vec<Value>) {
        let results = Mutex::new(Vec::new());
        let batch = Batch::new(&lab.dispatcher, dial, limits, CancellationToken::new());
        let tell =
            |result: Option<&Value>, _: &Summary| results.lock().unwrap().extend(result.cloned());
        let summary = batch.run(|| self.open(), journal, tell).await.unwrap();
        (summary, results.into_inner().unwrap())
    }

    pub(super) fn open(&self) -> Result<Entries, trunkline::dispatch::batch::NoBatch> {
        Entries::open(&self.file, Defaults::default())
    }
}

pub(super) fn unlimited() -> Limits {
    Limits { calls_per_second: 0.0, retries: 0, allow_duplicates: true, ..Limits::default() }
}

/// The results' lines with their outcomes, in the order of the lines.
pub(super) fn outcomes(results: &[Value]) -> Vec<(u64, &str)> {
    let read = |result: &'_ Value| result["line"].as_u64().unwrap();
    let mut outcomes: Vec<_> =
        results.iter().map(|result| (read(result), result["outcome"].as_str().unwrap())).collect();
    outcomes.sort_unstable();
    outcomes
}

#[tokio::test]
async fn each_trunk_goes_at_its_own_rate() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    // The slow trunk's entries come first, and hold up nobody.
    let paper = Paper::new((0..12).map(|_| (1, TO)).chain((0..4).map(|_| (2, TO))));
    let limits = Limits { calls_per_second: 20.0, ..unlimited() };
    let when = Mutex::new(Vec::new());
    let batch = Batch::new(&lab.dispatcher, ENGINE, limits, CancellationToken::new());
    let began = Instant::now();
    let tell = |result: Option<&Value>, _: &Summary| {
        when.lock()
            .unwrap()
            .extend(result.map(|result| (result["trunk_id"].clone(), began.elapsed())));
    };
    let summary = batch.run(|| paper.open(), paper.begin(), tell).await.unwrap();
    assert_eq!((summary.of(Outcome::Placed), summary.left), (16, 0), "{summary:?}");
    let when = when.into_inner().unwrap();
    let last = |trunk| when.iter().filter(|(of, _)| of == trunk).map(|(_, at)| *at).max().unwrap();
    let (slow, other) = (last("ST_own"), last("ST_any"));
    assert!(
        slow >= Duration::from_millis(530),
        "11 gaps of 50 ms, but for what timers are late: {slow:?}"
    );
    assert!(other >= Duration::from_millis(130) && other < slow, "{other:?} {slow:?}");
}

/// How fast they go is measured in `benches/dispatch.rs`.
#[tokio::test]
async fn thousands_of_entries_are_each_called_once_in_the_order_of_the_file() {
    const MANY: u64 = 2_000;
    let lab = Lab::patient().await;
    let paper = Paper::new([]);
    let caller = caller(1, 1);
    let line = |at| format!("+9198765{at:05},{},{},{at}\n", caller.number, caller.tenant);
    let text = (0..MANY).map(line).collect::<String>();
    fs::write(&paper.file, format!("to,from,tenant,at\n{text}")).unwrap();
    let (summary, results) = paper.run(&lab, Dial::Agent, unlimited(), paper.begin()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (MANY, 0), "{summary:?}");
    let sent = lab.stand_in.requests();
    let sent = sent.iter().filter(|request| request.word().ends_with("/CreateDispatch"));
    let metadata = sent.map(|request| {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        serde_json::from_str::<Value>(body["metadata"].as_str().unwrap()).unwrap()
    });
    let order: Vec<u64> =
        metadata.map(|told| told["at"].as_str().unwrap().parse().unwrap()).collect();
    let each: std::collections::BTreeSet<_> = order.iter().copied().collect();
    assert_eq!((order.len() as u64, each.len() as u64), (MANY, MANY));
    // Those that are placed at the same time may overtake each other.
    let most = Limits::default().concurrency as u64;
    let early = (0..).zip(&order).find(|&(turn, &at)| at > turn + most);
    assert_eq!(early, None, "nobody goes before their turn");
    assert_eq!(results.len() as u64, MANY);
}

#[tokio::test]
async fn no_more_calls_are_under_way_on_a_server_than_allowed() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Rings);
    let paper = Paper::new((0..7).map(|at| (at % 3 + 1, TO)));
    let limits = Limits { concurrency: 3, ..unlimited() };
    let (summary, _) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!(summary.of(Outcome::NoAnswer), 7, "{summary:?}");
    assert_eq!(lab.stand_in.most_at_once(), 3);
}

#[tokio::test]
async fn only_what_was_not_dialled_is_tried_again() {
    let lab = Lab::patient().await;
    let numbers = ["+919876543211", "+919876543212", "+919876543213", "+919876543214"];
    lab.stand_in.at(numbers[0], FarEnd::NoService);
    lab.stand_in.at(numbers[1], FarEnd::Breaks);
    lab.stand_in
        .at(numbers[2], says(486, "Busy Here", "429 Too Many Requests", "resource_exhausted"));
    lab.stand_in.at(numbers[3], FarEnd::Answers);
    let paper = Paper::new(numbers.map(|number| (1, number)));
    let limits = Limits { retries: 1, ..unlimited() };
    let (_, results) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    let mut seen: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result["to"].as_str().unwrap(),
                result["outcome"].as_str().unwrap(),
                result["attempts"].as_u64().unwrap(),
            )
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            (numbers[0], "no_sip_service", 2),
            (numbers[1], "in_doubt", 1),
            (numbers[2], "busy", 1),
            (numbers[3], "placed", 1),
        ]
    );
    assert_eq!(lab.stand_in.dialled().len(), 3, "each of the others once");
}

#[tokio::test]
async fn a_cancelled_batch_stops_at_once_and_says_what_is_left() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let paper = Paper::new((0..200).map(|_| (1, TO)));
    let cancel = CancellationToken::new();
    // Few in the air, so that how busy the machine is hardly counts.
    let limits = Limits { calls_per_second: 50.0, concurrency: 2, ..unlimited() };
    let batch = Batch::new(&lab.dispatcher, ENGINE, limits, cancel.clone());
    let mut stopped_at = None;
    let tell = |_: Option<&Value>, summary: &Summary| {
        if summary.done() == 5 {
            cancel.cancel();
            stopped_at.get_or_insert(Instant::now());
        }
    };
    let summary = batch.run(|| paper.open(), paper.begin(), tell).await.unwrap();
    let took = stopped_at.unwrap().elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!(summary.done() + summary.left, 200, "{summary:?}");
    assert!((5..10).contains(&summary.done()), "{summary:?}");
    assert_eq!(
        lab.stand_in.dialled().len() as u64,
        summary.done(),
        "nothing is dialled after that"
    );

    let (summary, results) = paper.run(&lab, ENGINE, unlimited(), paper.resume()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (200, 0), "{summary:?}");
    assert_eq!(results.len(), 200);
    assert_eq!(lab.stand_in.dialled().len(), 200, "each once");
}

#[tokio::test]
async fn entries_that_cannot_be_called_have_their_result_too() {
    let lab = Lab::patient().await;
    let paper = Paper::new([(1, TO), (1, "not a number"), (7, TO)]);
    let mut text = fs::read_to_string(&paper.file).unwrap();
    text.push_str("too,few\n");
    fs::write(&paper.file, text).unwrap();
    let (summary, results) = paper.run(&lab, Dial::Agent, unlimited(), paper.begin()).await;
    let expected = [(2, "placed"), (3, "not_allowed"), (4, "no_credentials"), (5, "invalid")];
    assert_eq!(outcomes(&results), expected, "{summary:?}");
    let placed = results.iter().find(|result| result["line"] == 2).unwrap();
    let told = lab.stand_in.told(placed["room"].as_str().unwrap());
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["lead"], &told[0]["to_number"]), (&json!("lead 0"), &json!(TO)));
    assert_eq!(told[0]["job_id"], placed["job_id"]);
    assert!(placed["job_id"].as_str().unwrap().ends_with("-2"), "the batch and the line");
}

/// One person in two forms; and who is left, is left with all who call the same person.
#[tokio::test]
async fn a_duplicate_ends_as_the_first_one_does() {
    let lab = Lab::patient().await;
    let local = "00 91 98765 43210";
    let paper = Paper::new([(1, TO), (1, local), (2, TO), (1, TO)]);
    let limits = Limits { allow_duplicates: false, ..unlimited() };
    // There is no SIP service.
    let (summary, results) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    let left = [(2, "no_sip_service"), (3, "duplicate"), (4, "no_sip_service"), (5, "duplicate")];
    assert_eq!((outcomes(&results), summary.left), (left.to_vec(), 4), "{summary:?}");
    lab.stand_in.at(TO, FarEnd::Answers);
    let (summary, results) = paper.run(&lab, ENGINE, limits, paper.resume()).await;
    let done = [(2, "placed"), (3, "duplicate"), (4, "placed"), (5, "duplicate")];
    assert_eq!((outcomes(&results), summary.left), (done.to_vec(), 0), "{summary:?}");
    assert_eq!(lab.stand_in.dialled().len(), 2, "another caller is another call");
    let (again, _) = paper.run(&lab, ENGINE, limits, paper.resume()).await;
    assert_eq!((again.earlier, lab.stand_in.dialled().len()), (4, 2));
}

/// What was no number when the batch began is one by new rules, and it is somebody's who was called.
#[tokio::test]
async fn who_an_entry_calls_is_judged_by_the_rules_that_hold_when_it_is_its_turn() {
    let lab = Lab::patient().await;
    let paper = Paper::new([(1, TO), (1, "098765 43210")]);
    let limits = Limits { allow_duplicates: false, ..unlimited() };
    let (summary, results) = paper.run(&lab, Dial::Agent, limits, paper.begin()).await;
    assert_eq!(outcomes(&results), [(2, "placed"), (3, "not_allowed")], "{summary:?}");
    lab.database
        .sql(
            "update voice_agent_numbers set rules = json_set(rules, '$.allowed_outbound', 'india')",
        )
        .await;
    eventually("the rules are new", async || {
        let answer = lab.dispatcher.resolver().resolve(caller(1, 1)).await.unwrap();
        lab.dispatcher.resolver().route_with(&answer, caller(1, 1), "098765 43210").allowed()
    })
    .await;
    let (summary, results) = paper.run(&lab, Dial::Agent, limits, paper.resume()).await;
    assert_eq!(outcomes(&results), [(2, "placed"), (3, "duplicate")], "{summary:?}");
    assert_eq!(lab.stand_in.rooms().len(), 1);
}

/// A database that is away costs no entry: they are left, and a later run places them.
#[tokio::test]
async fn a_database_that_is_away_takes_no_entry_with_it() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let gated = crate::support::stores::Gated::new(lab.database.store());
    gated.set(crate::support::stores::Fault::Away);
    let key = lab.key.as_str();
    let settings = lab.database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", key)]);
    let resolver = trunkline::Resolver::builder(settings).store(gated.clone() as _).start();
    let dispatcher =
        trunkline::dispatch::Dispatcher::new(resolver, lab.dispatcher.livekit().clone());
    let paper = Paper::new((0..50).map(|at| (at % 3 + 1, TO)));
    let run = async |journal| {
        let limits = Limits { pause: Duration::from_millis(10), ..unlimited() };
        let batch = Batch::new(&dispatcher, Dial::Agent, limits, CancellationToken::new());
        batch.run(|| paper.open(), journal, |_, _| {}).await.unwrap()
    };
    let summary = run(paper.begin()).await;
    assert_eq!((summary.done(), summary.left), (0, 50), "{summary:?}");
    assert!(gated.routes() < 40, "a database that fails is left alone: {}", gated.routes());
    gated.set(crate::support::stores::Fault::None);
    eventually("it is asked again", async || {
        let answers = (1..4).map(|at| dispatcher.resolver().resolve(caller(1, at)));
        futures_util::future::join_all(answers).await.iter().all(Result::is_ok)
    })
    .await;
    let summary = run(paper.resume()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (50, 0), "{summary:?}");
}
