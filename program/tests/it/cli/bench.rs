//! `bench` measures what it says, on a database of its own or on one that is there.

use serde_json::Value;

use super::{NUMBER, Site, TENANT, refused};
use crate::support::database::Kind;
use crate::support::program::Program;

#[test]
fn every_row_has_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new().with("TMPDIR", folder.path().to_str().unwrap());
    let run =
        program.run(&["bench", "--numbers", "100", "--seconds", "1", "--threads", "2", "--json"]);
    let told: Value = run.json();
    assert_eq!((&told["numbers"], &told["threads"]), (&100.into(), &2.into()));
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let of = |name: &str| row[name].as_u64().unwrap();
        assert!(of("asked") > 0 && of("mean_ns") > 0, "{row}");
        assert!(of("p50_ns") <= of("p99_ns") && of("p99_ns") <= of("p999_ns"), "{row}");
        assert!(of("p999_ns") <= of("max_ns"), "{row}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    let words = program.run(&["bench", "--numbers", "10", "--seconds", "1"]).ok();
    assert!(words.contains("cold, one statement") && words.contains("100µs"), "{words}");
}

#[test]
fn a_database_that_is_named_is_asked_and_not_written_to() {
    for kind in [Kind::Postgres, Kind::Sqlite] {
        let (site, _) = Site::with_route(kind);
        let before = (site.configs(), site.numbers());
        let url = site.variable("DATABASE_URL");
        let told = site.run(&["bench", "--database", &url, "--seconds", "1", "--json"]).json();
        assert_eq!(told["numbers"], 1, "{kind:?}");
        assert_eq!((site.configs(), site.numbers()), before);
        site.run(&["number", "remove", "--tenant", TENANT, "--number", NUMBER]).ok();
        refused(site.run(&["bench", "--database", &url, "--json"]), 1, "no_numbers");
        // That of the settings, whose password nobody sees among the arguments.
        refused(site.run(&["bench", "--database", "--json"]), 1, "no_numbers");
    }
}

#[test]
fn a_password_among_the_arguments_is_told() {
    let url = "postgres://u:canary@127.0.0.1:1/x";
    let run = Program::new().run(&["bench", "--database", url]);
    assert_eq!((run.code, run.out.as_str()), (4, ""), "{run:?}");
    assert!(run.err.contains("the password of --database can be seen"), "{run:?}");
    assert!(!run.err.contains("canary"), "{run:?}");
}
