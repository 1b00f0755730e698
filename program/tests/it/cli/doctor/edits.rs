//! `doctor --edit`: a row of each table is inserted, changed and removed, and nothing of it stays.

use std::time::Duration;

use sqlx::Connection;

use super::super::within;
use super::{BOTH, Kind, Run, Site, never_hints_at_itself, of_state, psql};

fn look(site: &Site) -> Run {
    let run = site.run(&["doctor", "--edit", "--json"]);
    never_hints_at_itself(&run);
    run
}

fn failed(site: &Site) -> Vec<String> {
    of_state(&look(site), "fail")
}

#[test]
fn edits_arrive_in_the_log_and_nothing_of_them_stays() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let rows = || {
            let log = site.run(&["doctor"]).out;
            let place = log.lines().find(|line| line.contains("up to place")).map(str::to_owned);
            (site.configs(), site.numbers(), place)
        };
        let before = rows();
        let run = look(&site);
        assert_eq!((run.code, of_state(&run, "fail")), (0, vec![]), "{}", run.out);
        let found = "edits: insert, update and delete of both tables arrive in the change log";
        assert!(of_state(&run, "ok").iter().any(|ok| ok.starts_with(found)), "{}", run.out);
        assert!(before.2.is_some());
        assert_eq!(rows(), before, "{kind:?}");
    }
}

#[test]
fn each_edit_that_does_not_arrive_is_named() {
    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    for (table, trigger) in [
        ("voice_agent_livekit", "insert"),
        ("voice_agent_livekit", "truncate"),
        ("voice_agent_numbers", "update"),
        ("voice_agent_numbers", "delete"),
        ("voice_agent_numbers", "truncate"),
    ] {
        let alter = |how: &str| {
            psql(&url, &format!("alter table {table} {how} trigger trunkline_log_{trigger}"));
        };
        alter("disable");
        let expected = format!("edits: {trigger} of {table} does not arrive in the change log");
        assert_eq!(failed(&site), [expected]);
        alter("enable");
    }
    assert_eq!(failed(&site), Vec::<String>::new());
}

#[test]
fn a_role_whose_edits_fire_no_trigger_is_found() {
    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    let name = url.rsplit('/').next().unwrap();
    psql(&url, &format!("alter database {name} set session_replication_role = replica"));
    let failed = failed(&site);
    assert_eq!(failed.len(), 8, "{failed:?}");
    assert!(failed.iter().all(|found| found.ends_with("does not arrive in the change log")));
}

#[test]
fn on_sqlite_triggers_that_a_tool_left_out_are_missed() {
    let site = Site::migrated(Kind::Sqlite);
    let lost = include_str!("../../../../../tests/cases/databases/triggers-lost-sqlite.sql");
    let url = site.variable("DATABASE_URL");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(lost).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    let failed = failed(&site);
    let missed = ["insert", "update", "delete"].map(|edit| {
        format!("edits: {edit} of voice_agent_livekit does not arrive in the change log")
    });
    assert_eq!(failed, missed);
}

#[test]
fn edits_that_a_table_does_not_take_are_told_apart() {
    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    psql(
        &url,
        "alter table voice_agent_numbers add column plan text not null check (plan <> 'canary')",
    );
    let run = look(&site);
    let found = of_state(&run, "fail");
    assert!(found.len() == 1 && found[0].contains("insert of voice_agent_numbers"), "{found:?}");
    assert!(found[0].contains("23502") && !run.out.contains("Failing row"), "{found:?}");
    psql(
        &url,
        "alter table voice_agent_numbers drop column plan;
         create function swallow() returns trigger language plpgsql as 'begin return null; end';
         create trigger swallow before update on voice_agent_numbers
         for each row execute function swallow()",
    );
    let found = of_state(&look(&site), "fail");
    assert_eq!(found, ["edits: update of voice_agent_numbers was taken, and changed no row"]);
}

/// Nobody waits for long, and nobody is made to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_is_told_in_the_words_of_the_server() {
    let site = Site::migrated(Kind::Postgres);
    let url = site.variable("DATABASE_URL");
    let mut holder = sqlx::PgConnection::connect(&url).await.unwrap();
    let hold = "begin; lock table voice_agent_numbers in share row exclusive mode";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let patient = site.with("STORE_DEADLINE", "60s");
    let run = within(Duration::from_secs(55), move || patient.run(&["doctor", "--edit", "--json"]));
    let found = of_state(&run, "fail");
    let words = "insert of voice_agent_numbers: the database refused `trial` (code 55P03): \
                 canceling statement due to lock timeout";
    assert!(found.len() == 1 && found[0].ends_with(words), "{found:?}");
}

#[test]
fn a_file_that_may_only_be_read_is_told_in_the_words_of_sqlite() {
    let site = Site::migrated(Kind::Sqlite);
    let url = format!("{}?mode=ro", site.variable("DATABASE_URL"));
    let run = site.with("DATABASE_URL", &url).run(&["doctor", "--edit", "--json"]);
    let found = of_state(&run, "fail");
    assert!(found[0].ends_with("attempt to write a readonly database"), "{found:?}");
}
