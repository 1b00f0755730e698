//! What a batch would do, found out before it does it; and what keeps it from beginning.

use std::fs;

use serde_json::{Value, json};

use super::{CALLER, Desk, KEY, TENANT, journal};
use crate::cli::{KEY as RING, new_key, refused};
use crate::support::program::{Program, Run};

/// Two that are called, one of whom twice; one that is written wrong, one that the rules forbid.
const MIXED: &str =
    "to;name\n+14155552671;A\n+442079460222;B\n(415) 555-2671;C\nxx;D\n+919876543210;E\n";

impl Desk {
    fn mixed(&self) -> std::path::PathBuf {
        let rules = r#"{"allowed_outbound": ["US", "GB"], "outbound_trunk_id": "ST_1"}"#;
        let whose = ["--tenant", TENANT, "--number", CALLER];
        self.site.run(&[&["number", "remove"], &whose[..]].concat()).ok();
        let what = ["--livekit", "eu", "--rules", rules];
        self.site.run(&[&["number", "add"], &whose[..], &what].concat()).ok();
        let file = self.site.folder.path().join("mixed.csv");
        fs::write(&file, MIXED).unwrap();
        file
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_all_and_calls_nobody() {
    let desk = Desk::new().await;
    let file = desk.mixed();
    let run = desk.run(&file, &["--dry-run", "--cps", "0.5"]);
    let told: Value = serde_json::from_str(&run.out).unwrap();
    let of = |lines: &[u64]| json!({"entries": lines.len(), "lines": lines});
    assert_eq!(
        [&told["entries"], &told["separator"], &told["takes_seconds"], &told["calls"]],
        [&json!(5), &json!(";"), &json!(2.0), &of(&[2, 3])]
    );
    assert_eq!(
        told["countries"],
        json!([{"country": "GB", "entries": 1, "lines": [3]}, {"country": "US", "entries": 1, "lines": [2]}])
    );
    assert_eq!(told["trunks"][0]["trunk_id"], "ST_1");
    assert_eq!(told["duplicates"], json!({"entries": 1, "lines": [4], "of": [2]}));
    let refused_ones: Vec<_> = told["refused"].as_array().unwrap().iter().collect();
    let refused_ones: Vec<_> = refused_ones
        .iter()
        .map(|why| (why["reason"].as_str().unwrap(), &why["lines"], &why["must_be_corrected"]))
        .collect();
    assert_eq!(
        refused_ones,
        [
            ("country_not_allowed", &json!([6]), &json!(false)),
            ("not_a_number", &json!([5]), &json!(true)),
        ]
    );
    assert_eq!(run.code, 1);
    let error: Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!(error["error"], "batch_needs_correction");

    let path = file.to_str().unwrap();
    let run = desk.site.run(&[
        "batch",
        "run",
        path,
        "--tenant",
        TENANT,
        "--from",
        CALLER,
        "--dry-run",
        "--cps",
        "0.5",
    ]);
    for words in [
        "5 entries, CSV separated by semicolons, UTF-8",
        "lines 2, 3",
        "ST_1 of ws://",
        "line 4 of line 2",
        "not_allowed (not_a_number)",
        "it takes 2 s",
    ] {
        assert!(run.out.contains(words), "no {words:?}: {}", run.out);
    }
    assert!(!journal(&file).exists(), "nothing has begun");
    assert_eq!(desk.called(), [""; 0]);

    // What the rules forbid needs no correction.
    fs::write(&file, MIXED.replace("xx", "+14155552672")).unwrap();
    desk.run(&file, &["--dry-run"]).ok();
    desk.run(&file, &[]).ok();
    assert_eq!(desk.called().len(), 3);
    let done = desk.run(&file, &["--dry-run", "--resume"]).json();
    assert_eq!((&done["earlier"]["entries"], &done["calls"]), (&json!(5), &of(&[])));
}

/// Whatever is not there, nobody is called, no journal is begun, and it is told apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_does_not_begin_without_what_its_entries_need() {
    let desk = Desk::new().await;
    desk.site.add_number(TENANT, "+14155550101", None);
    let file = desk.case("crlf.csv");
    let url = desk.site.variable("DATABASE_URL");
    let with = |url: Option<&str>, key: Option<&str>| {
        let program =
            url.iter().fold(Program::new(), |program, url| program.with("DATABASE_URL", url));
        key.iter().fold(program, |program, key| program.with(RING, key))
    };
    let key = desk.site.variable(RING);
    let (other, away) = (new_key(), "sqlite:/nowhere/at/all.db");
    let run = |program: &Program, from: &str, more: &[&str]| -> Run {
        let path = file.to_str().unwrap();
        let run = ["batch", "run", path, "--json", "--tenant", TENANT, "--from", from];
        program.run(&[&run, more].concat())
    };
    for (program, from, exit, code) in [
        (with(None, Some(&key)), CALLER, 3, "database_not_configured"),
        (with(Some(away), Some(&key)), CALLER, 4, "database_unreachable"),
        (with(Some(&url), None), CALLER, 5, "secret_unopenable"),
        (with(Some(&url), Some(&other)), CALLER, 5, "secret_unopenable"),
        (with(Some(&url), Some(&key)), "+14155550101", 3, "environment_incomplete"),
    ] {
        let error = refused(run(&program, from, &[]), exit, code);
        assert!(error["message"].as_str().unwrap().contains("lines 2, 3, 4"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--yes"), "{error}");
        let rehearsed = run(&program, from, &["--dry-run"]);
        assert_eq!(rehearsed.code, exit, "{rehearsed:?}");
        assert!(!journal(&file).exists(), "{code}");
        assert_eq!(desk.called(), [""; 0], "{code}");
    }
    // Told to begin all the same it does, and loses nobody.
    let bare = with(None, Some(&key));
    refused_in_the_end(&run(&bare, CALLER, &["--yes"]));
    run(&desk.site, CALLER, &["--resume"]);
    assert_eq!(desk.called().len(), 3);
}

fn refused_in_the_end(run: &Run) {
    assert_eq!(run.code, 1, "{run:?}");
    let error: Value = serde_json::from_str(run.err.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"], "batch_incomplete");
}

/// Where nobody asks for the rules of a number, every country may be called: that is told loudly.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_warns_where_no_rules_hold() {
    let desk = Desk::new().await;
    let file = desk.case("crlf.csv");
    let path = file.to_str().unwrap();
    let run = |off: &Program, more: &[&str]| {
        let run = ["batch", "run", path, "--tenant", TENANT, "--from", CALLER];
        off.run(&[&run, more].concat())
    };
    let known = run(&desk.site, &["--dry-run"]);
    assert!(!known.out.contains("WITHOUT KNOWN RULES"), "{}", known.out);

    let off = [("DATABASE_OFF", "true"), ("LIVEKIT_URL", &desk.stand_in.url())]
        .into_iter()
        .chain([("LIVEKIT_API_KEY", KEY.0), ("LIVEKIT_API_SECRET", KEY.1)])
        .fold(Program::new(), |program, (name, value)| program.with(name, value));
    let told: Value = serde_json::from_str(&run(&off, &["--dry-run", "--json"]).out).unwrap();
    assert_eq!(told["without_rules"], json!({"entries": 3, "lines": [2, 3, 4]}));
    let shown = run(&off, &["--dry-run"]);
    assert!(shown.out.contains("WITHOUT KNOWN RULES"), "{}", shown.out);
    let warning = run(&off, &[]).err;
    assert!(warning.contains("NO RULES HOLD for 3 entries (lines 2, 3, 4)"), "{warning}");
    assert_eq!(desk.called().len(), 3, "it warns, and does what it was told");
}
