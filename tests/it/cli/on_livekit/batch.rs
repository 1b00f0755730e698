//! Batches as people run them: killed, stopped, resumed, and read afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::super::{NUMBER, OTHER_TENANT, Running, Site, TENANT, refused};
use crate::support::database::Kind;
use crate::support::livekit::Server;
use crate::support::program::Program;

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
    assert!(run.err.contains("5 entries: 2 invalid, 1 not_allowed, 2 placed; 0 left"), "{run:?}");
    run.ok();
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
        ("phone,from,tenant\n1,2,3\n", "no column to"),
        ("to,from\n1,2\n", "no column tenant"),
        ("to,from,tenant,to\n", "two columns \"to\""),
    ] {
        let file = site.file("bad.csv", text);
        let error = refused(site.run(&["batch", "run", &file, "--json"]), 1, "batch_malformed");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(!fs::exists(format!("{file}.journal")).unwrap());
    }
    let missing = site.folder.path().join("none.csv").display().to_string();
    refused(site.run(&["batch", "run", &missing, "--json"]), 1, "batch_malformed");
    let folder = site.folder.path().display().to_string();
    let error = refused(site.run(&["batch", "run", &folder, "--json"]), 1, "batch_malformed");
    assert!(error["message"].as_str().unwrap().contains("no regular file"), "{error}");
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
    assert!((value("trunkline_calls_total{outcome=\"placed\"}") - placed).abs() < 3.0);
}
