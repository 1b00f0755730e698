//! Batches that go on with an earlier run: what it left, what it was about to dial, and its journal.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use trunkline::dispatch::batch::{Batch, BatchError, Journal, Limits};
use trunkline::dispatch::{Dial, Outcome};

use super::{ENGINE, Paper, outcomes, unlimited};
use crate::calls::{KEYS, Lab, TO};
use crate::support::ROOT;
use crate::support::livekit::environment;
use crate::support::standin::FarEnd;

/// What a journal tells of entries that were about to be dialled when a run was killed.
#[tokio::test]
async fn what_was_about_to_be_dialled_is_looked_for_before_it_is_dialled() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let with = environment(&lab.stand_in.url(), KEYS[0].0, KEYS[0].1);
    let livekit = lab.dispatcher.livekit();
    let id = lab.database.store().configs().await.unwrap()[0].id;
    for (dial, expected) in [
        (Dial::Agent, ["placed", "placed", "in_doubt", "placed"]),
        (ENGINE, ["in_doubt", "placed", "in_doubt", "placed"]),
    ] {
        let paper = Paper::new((0..4).map(|_| (1, TO)));
        drop(paper.begin());
        let rooms = ["sent", "empty", "gone"].map(|name| format!("{name}-{}", dial == ENGINE));
        livekit.create_room(&with, &rooms[0], "").await.unwrap();
        livekit.create_dispatch(&with, &rooms[0], "agent-of-eu", "{}").await.unwrap();
        livekit.create_room(&with, &rooms[1], "").await.unwrap();
        let mut journal = fs::read_to_string(&paper.journal).unwrap();
        let entries: Vec<_> = paper.open().unwrap().map(Result::unwrap).collect();
        for (entry, room) in entries.iter().zip(&rooms) {
            let record = json!({"line": entry.line, "digest": format!("{:016x}", entry.digest), "room": room,
                "config": id, "engine": dial == ENGINE});
            journal += &record.to_string();
            journal.push('\n');
        }
        // The power went while the fourth was written.
        journal.push_str("{\"line\":5,\"dig");
        fs::write(&paper.journal, journal).unwrap();

        let dialled = lab.stand_in.dialled().len();
        let (summary, results) = paper.run(&lab, dial, unlimited(), paper.resume()).await;
        assert_eq!(summary.left, 0, "{summary:?}");
        let expected: Vec<_> = (2..).zip(expected).collect();
        assert_eq!(outcomes(&results), expected, "{results:#?}");
        assert_eq!(lab.stand_in.told(&rooms[0]).len(), 1, "no second agent");
        assert_eq!(lab.stand_in.told(&rooms[1]).len(), 1, "the room that was there is used");
        let more = if dial == ENGINE { 2 } else { 0 };
        assert_eq!(lab.stand_in.dialled().len() - dialled, more);
        // The journal is whole again.
        let (again, _) = paper.run(&lab, dial, unlimited(), paper.resume()).await;
        assert_eq!(again.earlier, 4, "{again:?}");
    }
}

#[tokio::test]
async fn a_journal_is_lost_to_nobody() {
    let lab = Lab::patient().await;
    lab.stand_in.at(TO, FarEnd::Answers);
    let paper = Paper::new([(1, TO), (2, TO)]);
    assert!(matches!(Journal::resume(&paper.journal), Err(BatchError::NoJournal)));
    let journal = paper.begin();
    assert!(matches!(Journal::begin(&paper.journal), Err(BatchError::Running)));
    assert!(matches!(Journal::resume(&paper.journal), Err(BatchError::Running)));
    paper.run(&lab, Dial::Agent, unlimited(), journal).await;
    assert!(matches!(Journal::begin(&paper.journal), Err(BatchError::JournalThere)));

    paper.write([(1, TO), (2, "+919876543219"), (1, TO)]);
    let batch = Batch::new(&lab.dispatcher, Dial::Agent, unlimited(), CancellationToken::new());
    let requests = lab.stand_in.requests().len();
    let changed = batch.run(|| paper.open(), paper.resume(), |_, _| {}).await;
    assert!(matches!(changed, Err(BatchError::Changed { line: 3 })), "{changed:?}");
    assert_eq!(lab.stand_in.requests().len(), requests, "it is seen before anything is placed");

    for (text, line) in [
        ("", 1),
        ("{}\n", 1),
        ("{\"batch\":\"b\",\"version\":9}\n", 1),
        ("{\"batch\":\"b\",\"version\":1}\nx\n{\"line\":2}\n", 2),
        ("{\"batch\":\"b\",\"version\":1}\n{\"line\":2,\"digest\":\"0d\"}\n", 2),
    ] {
        fs::write(&paper.journal, text).unwrap();
        let malformed = Journal::resume(&paper.journal).err();
        let found =
            matches!(malformed, Some(BatchError::JournalMalformed { line: at }) if at == line);
        assert!(found, "{text:?}: {malformed:?}");
    }
}

/// A row that is corrected calls nobody whom a later one has called by then.
#[tokio::test]
async fn who_was_called_by_an_earlier_run_is_not_called_by_an_earlier_line() {
    let lab = Lab::patient().await;
    let paper = Paper::new([(1, "to be found out"), (1, TO)]);
    let limits = Limits { allow_duplicates: false, ..unlimited() };
    let (summary, _) = paper.run(&lab, Dial::Agent, limits, paper.begin()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (1, 1), "{summary:?}");
    paper.write([(1, TO), (1, TO)]);
    let mut text = fs::read_to_string(&paper.file).unwrap();
    text = text.replace(",lead 0", ",corrected");
    fs::write(&paper.file, text).unwrap();
    let (summary, results) = paper.run(&lab, Dial::Agent, limits, paper.resume()).await;
    assert_eq!(outcomes(&results), [(2, "duplicate"), (3, "placed")], "{summary:?}");
    assert_eq!(lab.stand_in.rooms().len(), 1);
}

/// They were written by version 1, on a batch of which two entries were done.
#[tokio::test]
async fn a_batch_that_version_1_began_is_gone_on_with() {
    let lab = Lab::patient().await;
    let cases = std::path::Path::new(ROOT).join("tests/cases/journals");
    // With CRLF, blank lines and a line break in quotes; one row is invalid.
    for (name, placed, left) in [("first.csv", 5, 1), ("first.jsonl", 4, 0)] {
        let paper = Paper::new([]);
        fs::copy(cases.join(name), &paper.file).unwrap();
        fs::copy(cases.join(format!("{name}.journal")), &paper.journal).unwrap();
        let before = lab.stand_in.rooms().len();
        for _ in 0..2 {
            let run = paper.run(&lab, Dial::Agent, unlimited(), paper.resume());
            let (summary, results) = run.await;
            assert_eq!((summary.of(Outcome::Placed), summary.left), (placed, left), "{results:#?}");
        }
        let called = lab.stand_in.rooms().len() - before;
        assert_eq!(called as u64, placed - 2, "{name}: nobody twice");
    }
}

/// What was not dialled for want of a SIP service is placed once there is one; nobody is in doubt.
#[tokio::test]
async fn what_is_known_not_to_have_been_dialled_is_dialled_by_the_next_run() {
    let lab = Lab::patient().await;
    let paper = Paper::new((0..12).map(|_| (1, TO)));
    let pause = Duration::from_millis(10);
    let limits = Limits { retries: 0, pause, ..unlimited() };
    let (summary, _) = paper.run(&lab, ENGINE, limits, paper.begin()).await;
    assert_eq!((summary.done(), summary.left), (0, 12), "{summary:?}");
    lab.stand_in.at(TO, FarEnd::Answers);
    let (summary, results) = paper.run(&lab, ENGINE, unlimited(), paper.resume()).await;
    assert_eq!((summary.of(Outcome::Placed), summary.left), (12, 0), "{results:#?}");
    assert_eq!(lab.stand_in.dialled().len(), 12);
}
