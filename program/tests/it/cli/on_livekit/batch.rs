//! Batches as people run them: killed, stopped, resumed, and read afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::super::{NUMBER, OTHER_TENANT, Running, Site, TENANT, refused};
use crate::support::database::Kind;
use crate::support::eventually;
use crate::support::livekit::Server;
use crate::support::program::Program;
use crate::support::standin::{FarEnd, StandIn};

const ENTRIES: usize = 1000;

/// A batch of this many leads, to numbers of its own.
fn leads(site: &Site, name: &str, many: usize) -> String {
    let lead = |at| format!("{TENANT},{NUMBER},+9198765{at:05},lead {at}");
    let lines: Vec<_> = (0..many).map(lead).collect();
    site.file(name, &format!("tenant,from,to,lead\n{}\n", lines.join("\n")))
}

fn results(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `batch run` with these arguments, so far that it has placed a few calls.
fn begun(program: &Program, arguments: &[&str]) -> Running {
    let mut command = program.command(&[&["batch", "run"], arguments].concat());
    command.stderr(Stdio::null());
    let running = Running::start(command);
    for _ in 0..150 {
        running.line();
    }
    running
}

/// Killed twice in the middle, the batch still leaves one room an entry, with one agent in it that
/// was told what the entry says.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_thousand_killed_twice_leaves_a_thousand_rooms() {
    let server = Server::shared();
    let (site, id) = Site::calling(Kind::Postgres);
    let file = leads(&site, "leads.csv", ENTRIES);
    let fast = ["--json", "--cps", "0", "--concurrency", "8"];
    for resume in [&[][..], &["--resume"]] {
        drop(begun(&site, &[&[file.as_str()], &fast[..], resume].concat()));
    }
    let path = site.folder.path().join("results.jsonl").display().to_string();
    let more = ["--resume", "--results", &path];
    site.run(&[&["batch", "run", &file], &fast[..], &more].concat()).ok();

    let mut by_lead = BTreeMap::new();
    let look = server.look();
    let rooms = look.livekit.rooms(&look.with, &[]).await.unwrap();
    let results = results(&path);
    assert_eq!(results.len(), ENTRIES);
    let job = results[0]["job_id"].as_str().unwrap();
    let batch = format!("call-{}-", job.rsplit_once('-').unwrap().0);
    let ours = rooms.iter().filter(|room| room.name.starts_with(&batch));
    for room in ours {
        let metadata: Value = serde_json::from_str(&room.metadata).unwrap();
        assert_eq!(metadata["from_number"], NUMBER);
        by_lead
            .insert(metadata["lead"].as_str().unwrap().to_owned(), (room.name.clone(), metadata));
    }
    let rooms_of_ours = rooms.iter().filter(|room| room.name.starts_with(&batch)).count();
    // One that was in the air when the program was killed may be in doubt; then it was not repeated.
    let placed = results.iter().filter(|result| result["outcome"] == "placed").count();
    assert_eq!((placed, rooms_of_ours, by_lead.len()), (ENTRIES, ENTRIES, ENTRIES));
    for result in &results {
        let line: usize = usize::try_from(result["line"].as_u64().unwrap()).unwrap();
        let (room, metadata) = &by_lead[&format!("lead {}", line - 2)];
        assert_eq!((&result["room"], &result["config_id"]), (&json!(room), &json!(id)));
        assert_eq!(metadata["to_number"], result["to"]);
        assert_eq!(
            look.told(room).await,
            std::slice::from_ref(metadata),
            "one agent, told the same"
        );
    }
    refused(site.run(&["batch", "run", &file, "--json"]), 6, "batch_begun");
}

#[test]
fn a_batch_that_is_interrupted_says_what_is_left_and_goes_on_later() {
    for signal in ["-INT", "-TERM"] {
        let (site, _) = Site::calling(Kind::Sqlite);
        let file = leads(&site, "leads.csv", 400);
        let mut command = site.command(&["batch", "run", &file, "--cps", "100", "--json"]);
        command.stderr(Stdio::piped());
        let mut running = Running::start(command);
        for _ in 0..20 {
            running.line();
        }
        let pid = running.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut err = String::new();
        let mut pipe = running.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut err).unwrap();
        assert_eq!(running.child.wait().unwrap().code(), Some(1), "{err}");
        let error: Value = serde_json::from_str(err.trim()).unwrap();
        assert_eq!(error["error"], "batch_incomplete", "{error}");
        assert!(error["message"].as_str().unwrap().ends_with(" left"), "{error}");
        let out = site.run(&["batch", "run", &file, "--cps", "0", "--json", "--resume"]).ok();
        assert_eq!(out.lines().count(), 400, "{signal}");
    }
}

/// The first time, phones may ring to their end; the second time they are ended. Either is told.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_lets_phones_ring_and_ends_them_when_it_comes_again() {
    let (site, stand_in) = Site::with_carrier().await;
    for at in 0..6 {
        stand_in.at(&format!("+9198765{at:05}"), FarEnd::Rings);
    }
    let signal = |pid: u32| {
        let killed = Command::new("kill").args(["-INT", &pid.to_string()]).status();
        assert!(killed.unwrap().success());
    };
    let seen = |stand_in: &StandIn| {
        let requests = stand_in.requests();
        requests.iter().filter(|asked| asked.word().ends_with("/ListParticipants")).count()
    };
    for again in [false, true] {
        let file = leads(&site, &format!("leads-{again}.csv"), 6);
        let ringing = if again { "60" } else { "10" };
        let arguments = ["batch", "run", &file, "--engine-dials", "--ringing", ringing];
        let mut command = site.command(&[&arguments[..], &["--concurrency", "2"]].concat());
        command.stderr(Stdio::piped());
        let before = seen(&stand_in);
        let mut running = Running::start(command);
        eventually("two ring, and that is seen", async || {
            stand_in.ringing() == 2 && seen(&stand_in) >= before + 2
        })
        .await;
        signal(running.child.id());
        let mut pipe = std::io::BufReader::new(running.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("calls that ring may finish") {
            let read = std::io::BufRead::read_line(&mut pipe, &mut line).unwrap();
            assert_ne!(read, 0, "{line}");
        }
        if again {
            signal(running.child.id());
        }
        std::io::Read::read_to_string(&mut pipe, &mut line).unwrap();
        assert_eq!(running.child.wait().unwrap().code(), Some(1), "{line}");
        let outcome = if again { "2 cancelled" } else { "2 no_answer" };
        assert!(line.contains(outcome) && line.contains("4 left"), "{line}");
        assert_eq!(line.contains("calls that ring are ended"), again, "{line}");
    }
}

/// What a person has to mend is told at the end, by what was met.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_says_at_its_end_what_is_left_and_what_to_mend() {
    let (site, stand_in) = Site::with_carrier().await;
    for (at, far_end) in [(0, FarEnd::Answers), (1, FarEnd::WantsPassword), (2, FarEnd::Silent)] {
        stand_in.at(&format!("+9198765{at:05}"), far_end);
    }
    let file = leads(&site, "leads.csv", 3);
    let dials = ["batch", "run", &file, "--engine-dials", "--ringing", "1"];
    let run = site.run(&dials);
    assert_eq!(run.code, 1, "{run:?}");
    for words in ["1 placed; 2 left (2 carrier_trouble)", "--resume", "When the carrier does not"] {
        assert!(run.err.contains(words), "{run:?}");
    }
    assert!(run.out.contains("user or password"), "{run:?}");
    stand_in.at("+919876500001", FarEnd::Answers);
    stand_in.at("+919876500002", FarEnd::Answers);
    let run = site.run(&[&dials[..], &["--resume"]].concat());
    assert!(run.err.contains("3 placed") && run.err.contains("0 left"), "{run:?}");
    run.ok();
}

#[test]
fn a_batch_of_mixed_entries_has_one_result_each() {
    let server = Server::shared();
    let (site, _) = Site::calling(Kind::Sqlite);
    site.add_number(OTHER_TENANT, "+919000000001", None);
    let environment = site
        .with("LIVEKIT_URL", &server.url())
        .with("LIVEKIT_API_KEY", server.keys[1].0)
        .with("LIVEKIT_API_SECRET", server.keys[1].1);
    let file = site.file(
        "mixed.jsonl",
        &format!(
            "{}\n{}\n\n{}\nnot json\n{}\n",
            json!({"to": "+919876543210", "from": NUMBER, "tenant": TENANT, "score": 3}),
            json!({"to_number": "098765 43210", "from_number": "+919000000001", "tenant_id": OTHER_TENANT}),
            json!({"to": "12", "from": NUMBER, "tenant": TENANT}),
            json!({"to": "+14155552671", "from": NUMBER, "tenant": "x"}),
        ),
    );
    let path = site.folder.path().join("out.jsonl").display().to_string();
    let run = environment.run(&["batch", "run", &file, "--results", &path]);
    assert!(run.err.contains("5 entries: 2 placed; 3 left (2 invalid, 1 not_allowed)"), "{run:?}");
    assert_eq!(run.code, 1, "what must be corrected is left");
    let results = results(&path);
    let of = |line: u64| results.iter().find(|result| result["line"] == line).unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!((&of(1)["outcome"], &of(1)["source"]), (&json!("placed"), &json!("database")));
    assert_eq!((&of(2)["outcome"], &of(2)["source"]), (&json!("placed"), &json!("environment")));
    assert_eq!(of(2)["phone_number"], "+919876543210");
    assert_eq!(of(4)["outcome"], "not_allowed");
    assert_eq!((&of(5)["outcome"], &of(6)["outcome"]), (&json!("invalid"), &json!("invalid")));
}

#[test]
fn what_is_no_batch_is_refused_before_anything_is_placed() {
    let (site, _) = Site::calling(Kind::Sqlite);
    for (text, words) in [
        ("", "the file is empty"),
        ("phone,from,tenant\n1,2,3\n", "no column \"to\""),
        ("to,from\n1,2\n", "no column \"tenant\""),
        ("to,from,tenant,to\n", "\"to\" and \"to\" name the same column"),
    ] {
        let file = site.file("bad.csv", text);
        let error = refused(site.run(&["batch", "run", &file, "--json"]), 2, "batch_malformed");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(!fs::exists(format!("{file}.journal")).unwrap());
    }
    let missing = site.folder.path().join("none.csv").display().to_string();
    refused(site.run(&["batch", "run", &missing, "--json"]), 2, "batch_malformed");
    let folder = site.folder.path().display().to_string();
    let error = refused(site.run(&["batch", "run", &folder, "--json"]), 2, "batch_malformed");
    assert!(error["message"].as_str().unwrap().contains("a regular file"), "{error}");
    let file = leads(&site, "leads.csv", 1);
    refused(site.run(&["batch", "run", &file, "--resume", "--json"]), 1, "no_journal");
    for wrong in
        [&["--cps", "-1"][..], &["--cps", "1e-20"], &["--concurrency", "0"], &["--tenant", "x"]]
    {
        let run = site.run(&[&["batch", "run", &file, "--json"], wrong].concat());
        assert_eq!(run.code, 2, "{run:?}");
    }
    // A tenant and a caller for all of them.
    let bare = site.file("bare.csv", "to\n+919876543210\n");
    let out = site.run(&["batch", "run", &bare, "--tenant", TENANT, "--from", NUMBER]).ok();
    assert!(out.starts_with("line 2: placed, "), "{out}");
}

#[test]
fn results_are_written_over_nothing_that_is_read() {
    let (site, _) = Site::calling(Kind::Sqlite);
    let file = leads(&site, "leads.csv", 2);
    let before = fs::read(&file).unwrap();
    let journal = format!("{file}.journal");
    let roundabout = site.folder.path().join("./leads.csv").display().to_string();
    let other = site.folder.path().join("./leads.csv.journal").display().to_string();
    for taken in [&file, &journal, &roundabout, &other] {
        let run = site.run(&["batch", "run", &file, "--results", taken, "--json"]);
        refused(run, 2, "results_taken");
    }
    let nowhere = site.folder.path().join("no/such/folder").display().to_string();
    refused(
        site.run(&["batch", "run", &file, "--results", &nowhere, "--json"]),
        1,
        "results_failed",
    );
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(!fs::exists(&journal).unwrap(), "nothing has begun");
    site.run(&["batch", "run", &file, "--results", "/dev/null"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_shows_how_it_stands_while_it_runs() {
    let (site, _) = Site::calling(Kind::Sqlite);
    let file = leads(&site, "leads.csv", 400);
    let port = crate::support::postgres::free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = site.command(&["batch", "run", &file, "--cps", "100", "--listen", &listen]);
    command.stderr(Stdio::null());
    let running = Running::start(command);
    for _ in 0..30 {
        running.line();
    }
    let text = crate::support::http::get(port, "/metrics").await.body;
    let value = |series: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(series))
            .unwrap_or_else(|| panic!("{series}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let placed = value("trunkline_batch_entries{state=\"placed\"}");
    assert!((30.0..400.0).contains(&placed), "{placed}");
    let waiting = value("trunkline_batch_entries{state=\"waiting\"}");
    assert!((placed + waiting - 400.0).abs() < 0.5, "{placed} {waiting}");
    // A call is counted when it is over, and its entry when that is noted: as many as go on at once.
    let counted = value("trunkline_calls_total{outcome=\"placed\"}");
    assert!((counted - placed).abs() <= 16.0, "{counted} {placed}");
}
