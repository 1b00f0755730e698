//! The doctor: silent about health beyond a line each, and precise about what is wrong.

mod database;
mod deploy;
mod edits;
mod files;

use serde_json::Value;

use super::{KEY, Site, new_key, with_environment, with_live_environment};
use crate::support::database::{BOTH, Kind};
use crate::support::pooler::Pooler;
use crate::support::postgres::{Cluster, psql, tcp_url};
use crate::support::program::{Program, Run};
use crate::support::secret_of;

/// The findings of `doctor --json`.
fn findings(run: &Run) -> Vec<Value> {
    run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The findings that are this bad, as `check: found`.
fn of_state(run: &Run, state: &str) -> Vec<String> {
    let found = findings(run).into_iter().filter(|finding| finding["state"] == state);
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    found
        .map(|finding| format!("{}: {}", text(&finding, "check"), text(&finding, "found")))
        .collect()
}

#[test]
fn a_healthy_database_passes_every_check() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let run = with_live_environment(site.program.clone()).run(&["doctor", "--json"]);
        assert_eq!((of_state(&run, "fail"), of_state(&run, "warn")), (vec![], vec![]), "{kind:?}");
        let heard = match kind {
            Kind::Postgres => "hot reload: changes are heard through NOTIFY",
            Kind::Sqlite => "hot reload: the file is looked at every 20ms",
        };
        assert!(of_state(&run, "ok").contains(&heard.to_owned()));
        let people = site.run(&["doctor"]).ok();
        assert!(people.contains("1 open with key"), "{people}");
        assert!(people.contains("LIVEKIT_URL"), "an incomplete environment is a warning: {people}");
    }
}

#[test]
fn a_secret_that_does_not_open_is_named_by_its_config() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let both = format!("{},{}", new_key(), new_key());
        let run = site.with(KEY, &both).run(&["doctor", "--json"]);
        assert_eq!(run.code, 1, "{}", run.out);
        let failed = of_state(&run, "fail");
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("\"eu\"") && failed[0].contains("no key"), "{failed:?}");
        assert!(!format!("{run:?}").contains(&secret_of("eu")));

        let people = site.with(KEY, &both).run(&["doctor"]);
        assert_eq!(people.code, 1);
        assert!(people.out.contains("FAIL") && people.out.contains("hint:"), "{}", people.out);
        assert!(people.err.contains("one check failed"), "{}", people.err);
    }
}

#[test]
fn tables_that_are_not_up_to_date_are_told_with_the_command_that_helps() {
    for kind in BOTH {
        let site = Site::empty(kind);
        if kind == Kind::Sqlite {
            site.file("x.db", "");
        }
        let run = site.run(&["doctor", "--json"]);
        assert_eq!(run.code, 1);
        let finding =
            findings(&run).into_iter().find(|finding| finding["state"] == "fail").unwrap();
        assert_eq!(finding["check"], "migrations");
        assert!(finding["hint"].as_str().unwrap().contains("trunkline db migrate"), "{finding}");
    }
}

#[test]
fn what_is_not_set_or_not_there_is_found() {
    let site = Site::new();
    let keyless = site.with(KEY, "").run(&["doctor", "--json"]);
    assert!(of_state(&keyless, "fail")[0].starts_with("key ring: "), "{}", keyless.out);
    let away = site.with("DATABASE_URL", "postgres://me:canary@127.0.0.1:1/x");
    let away = away.run(&["doctor", "--json"]);
    assert!(of_state(&away, "fail")[0].starts_with("database: "), "{}", away.out);
    let invalid = site.with("LEASE", "canary").run(&["doctor", "--json"]);
    assert!(of_state(&invalid, "fail")[0].starts_with("settings: "), "{}", invalid.out);
    let nothing = with_environment(Program::new()).run(&["doctor", "--json"]);
    let failed = of_state(&nothing, "fail");
    let checks: Vec<_> = failed.iter().filter_map(|found| found.split(':').next()).collect();
    assert_eq!(checks, ["environment", "key ring", "database"], "{failed:?}");
    for run in [keyless, away, invalid, nothing] {
        assert_eq!(run.code, 1);
        assert!(!format!("{run:?}").contains("canary"), "{run:?}");
    }
}

#[test]
fn a_flag_that_is_off_is_a_warning() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let run = with_live_environment(site.with("USE_SELFHOST_ROUTING_TABLE", "off"));
    let run = run.run(&["doctor", "--json"]);
    assert!(of_state(&run, "warn").iter().any(|found| found.starts_with("flag: ")), "{}", run.out);
    assert_eq!(run.code, 0);
}

#[test]
fn a_pooler_in_transaction_mode_is_a_warning_that_says_what_it_costs() {
    let (site, _) = Site::with_route(Kind::Postgres);
    let database = site.variable("DATABASE_URL");
    let name = database.rsplit('/').next().unwrap();
    let pooler = Pooler::before(Cluster::shared(), "");
    let behind = site.with("DATABASE_URL", &tcp_url(pooler.port, name));
    let run = with_live_environment(behind.clone()).run(&["doctor", "--json"]);
    assert_eq!((run.code, of_state(&run, "fail")), (0, vec![]));
    let warnings = of_state(&run, "warn");
    assert!(warnings[0].contains("NOTIFY is not heard (a pooler stands before"), "{warnings:?}");
    let (_, refused) = behind.run(&["db", "migrate", "--json"]).failed();
    assert!(refused["message"].as_str().unwrap().contains("direct connection"), "{refused}");
}

#[test]
fn triggers_that_are_disabled_are_named() {
    let (site, _) = Site::with_route(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    psql(&url, "alter table voice_agent_numbers disable trigger user");
    let run = site.with("STORE_DEADLINE", "2s").run(&["doctor", "--json"]);
    assert_eq!(run.code, 1);
    let failures = of_state(&run, "fail");
    assert!(failures[0].contains("not audited, since triggers are missing"), "{failures:?}");
    assert!(
        failures[1].contains("triggers that log changes are missing or disabled"),
        "{failures:?}"
    );
}

/// Findings as people read them, and no finding that sends its reader to the doctor.
#[track_caller]
fn never_hints_at_itself(run: &Run) {
    for finding in findings(run) {
        let hint = finding["hint"].as_str().unwrap_or_default();
        assert!(!hint.contains("trunkline doctor"), "{finding}");
    }
}

#[test]
fn the_environments_credentials_are_held_against_their_server() {
    let site = Site::new();
    let good = with_live_environment(site.program.clone());
    let run = good.run(&["doctor", "--json"]);
    assert!(of_state(&run, "ok").iter().any(|found| found.contains("its server takes it")));
    let canary = "canary-of-a-wrong-secret-0123456789-0123456789";
    let wrong = good.clone().with("LIVEKIT_API_SECRET", canary).run(&["doctor", "--json"]);
    let failed = of_state(&wrong, "fail");
    assert!(failed.len() == 1 && failed[0].starts_with("environment: "), "{failed:?}");
    assert!(!format!("{wrong:?}").contains(canary));
    let trunk = good.with("OUTBOUND_TRUNK_ID", "ST_nowhere").run(&["doctor", "--json"]);
    assert!(of_state(&trunk, "fail")[0].contains("no outbound trunk ST_nowhere"), "{}", trunk.out);
    assert_eq!((wrong.code, trunk.code), (1, 1));
}

#[test]
fn secrets_under_an_older_key_are_counted() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let old = site.variable(KEY);
        let ring = site.with(KEY, &format!("{},{old}", new_key()));
        let config = ["livekit", "add", "--name", "us", "--url", "wss://us.example"];
        ring.run_with(&[&config[..], &["--api-key", "APIus"]].concat(), b"canary-of-us").ok();
        let run = ring.run(&["doctor", "--json"]);
        let odd = of_state(&run, "warn");
        let older: Vec<_> = odd.iter().filter(|found| found.starts_with("secrets: ")).collect();
        assert!(older.len() == 1 && older[0].starts_with("secrets: 1 open with the older key"));
        assert!(!format!("{run:?}").contains("canary"), "{run:?}");
        assert_eq!(of_state(&run, "fail"), Vec::<String>::new());
    }
}
