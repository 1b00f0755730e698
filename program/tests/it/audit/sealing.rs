//! Sealing: one chain whoever seals, late commits included, pruned from its beginning; and a daemon that
//! does it.

use std::time::Duration;

use sqlx::Connection;
use trunkline::store::Seal;

use super::{broken, head, program, rows, seal_all, verify, without_guards};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::http::get;
use crate::support::postgres::{psql, psql_refused};
use crate::support::process::Process;
use crate::support::{caller, eventually, number};

async fn add(database: &TestDatabase, numbers: std::ops::RangeInclusive<u64>) {
    for at in numbers {
        database.store().add_number(&number(caller(1, at), None)).await.unwrap();
    }
}

#[tokio::test]
async fn two_sealers_at_once_make_one_chain() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let numbers: Vec<_> = (1..=400).map(|at| number(caller(1, at), None)).collect();
        database.store().import(&numbers).await.unwrap();
        let seal = async |few: bool| {
            let (audit, mut rows) = (database.open.audit(), 0);
            while rows < 400 && audit.count_unsealed(1).await.unwrap() > 0 {
                let sealed = if few { audit.seal_few(400).await } else { audit.seal(7).await };
                if let Seal::Sealed { rows: sealed, .. } = sealed.unwrap() {
                    rows += sealed;
                }
            }
            rows
        };
        let (one, two, three) = tokio::join!(seal(true), seal(false), seal(true));
        assert_eq!(one + two + three, 400, "each row once");
        assert_eq!(verify(&database, &[]).json()["verified"], 400);
    }
}

#[tokio::test]
async fn a_row_that_was_committed_late_is_chained_late() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    let mut late = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(
        "begin; insert into voice_agent_numbers (tenant_id, base_number)
        values (gen_random_uuid(), 1)",
    )
    .execute(&mut late)
    .await
    .unwrap();
    add(&database, 1..=3).await;
    assert_eq!(seal_all(&database).await, 3);
    add(&database, 4..=4).await;
    assert_eq!(seal_all(&database).await, 1, "the horizon stays before the one that is open");
    sqlx::raw_sql("commit").execute(&mut late).await.unwrap();
    assert_eq!(database.open.audit().count_unsealed(9).await.unwrap(), 1);
    assert_eq!(seal_all(&database).await, 1);
    let positions: Vec<_> = rows(&database).await.iter().map(|row| row.position).collect();
    assert_eq!(positions, [Some(5), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(verify(&database, &[]).json()["unsealed"], 0);
    add(&database, 5..=5).await;
    assert_eq!(seal_all(&database).await, 1, "and the chain goes on");
}

#[tokio::test]
async fn what_a_restore_from_another_server_brings_is_found_and_so_is_what_comes_after_it() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    add(&database, 1..=3).await;
    seal_all(&database).await;
    // Transactions of the other server were far ahead.
    psql(
        &database.url,
        "update trunkline_audit set xact = '4000000000';
        update trunkline_audit_chain set horizon = '4000000001'",
    );
    broken(&database, &[], "row 1");
    let database = TestDatabase::migrated(Kind::Postgres).await;
    psql(
        &database.url,
        "insert into trunkline_audit (at, xact, entity, operation)
        select now(), '4000000000', 'config', 'insert' from generate_series(1, 3)",
    );
    seal_all(&database).await;
    psql(&database.url, "update trunkline_audit_chain set horizon = '4000000001'");
    add(&database, 1..=2).await;
    assert_eq!(seal_all(&database).await, 2);
    assert_eq!(verify(&database, &[]).json()["verified"], 5);
    // The command goes through all rows, and needs no horizon for it.
    add(&database, 3..=3).await;
    psql(
        &database.url,
        "update trunkline_audit set id = default where position('3' in digits) > 0",
    );
    let sealed = program(&database).run(&["audit", "seal", "--json"]).json();
    assert_eq!((&sealed["sealed"], &sealed["position"]), (&1.into(), &6.into()));
    assert_eq!(program(&database).run(&["audit", "seal", "--json"]).json()["sealed"], 0);
}

/// Has all rows be from long ago, as nobody but the owner can while they are not sealed.
async fn age(database: &TestDatabase) {
    match database.kind {
        Kind::Postgres => {
            database.sql("update trunkline_audit set at = at - interval '31 days'").await;
        }
        Kind::Sqlite => {
            without_guards(database).await;
            database.sql("update trunkline_audit set at = '2001-01-01T00:00:00.000Z'").await;
        }
    }
}

#[tokio::test]
async fn pruning_takes_the_oldest_that_are_sealed_and_leaves_a_checkpoint() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let audit = database.open.audit();
        let month = Duration::from_secs(30 * 86_400);
        add(&database, 1..=6).await;
        age(&database).await;
        assert_eq!(audit.prune_audit(month, 100).await.unwrap(), 0, "nothing is sealed");
        seal_all(&database).await;
        let logged = head(&database);
        assert_eq!(audit.prune_audit(month * 2000, 100).await.unwrap(), 0, "all is younger");
        assert_eq!(audit.prune_audit(month, 4).await.unwrap(), 4);
        let told = super::newest(&database).await.row;
        assert_eq!((&*told.operation, told.row_id.as_deref()), ("prune", Some("4")));
        assert_eq!(told.after()["rows"], 4, "{kind:?}");
        let verified = verify(&database, &["--head", &logged]).json();
        assert_eq!((&verified["verified"], &verified["begins_after"]), (&2.into(), &4.into()));
        let exported = program(&database).run(&["audit", "export"]).ok();
        assert_eq!(exported.lines().count(), 2);
        assert_eq!(audit.prune_audit(month, 100).await.unwrap(), 2);
        assert_eq!(audit.prune_audit(month, 100).await.unwrap(), 0);
        add(&database, 7..=8).await;
        assert_eq!(seal_all(&database).await, 4, "and what tells of both times");
        assert_eq!(audit.prune_audit(month, 100).await.unwrap(), 0, "these are young");
        let verified = verify(&database, &["--head", &logged]).json();
        assert_eq!((&verified["verified"], &verified["position"]), (&4.into(), &10.into()));
        assert_eq!(verified["begins_after"], 6);
    }
}

#[tokio::test]
async fn oldest_rows_that_were_deleted_are_not_taken_for_pruned() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        add(&database, 1..=4).await;
        age(&database).await;
        seal_all(&database).await;
        without_guards(&database).await;
        database.sql("delete from trunkline_audit where id <= 2").await;
        broken(&database, &[], "row 2 at position 2 is gone");
        database.sql("delete from trunkline_audit_chain where position < 2").await;
        broken(&database, &[], "position 2, and no pruning tells of that");
        // Nor does pruning go past a row that is gone.
        database.sql("delete from trunkline_audit where id = 4").await;
        let audit = database.open.audit();
        let month = Duration::from_secs(30 * 86_400);
        assert_eq!(audit.prune_audit(month, 100).await.unwrap(), 1, "{kind:?}");
        broken(&database, &[], "row 4 at position 4 is gone");
    }
}

#[tokio::test]
async fn on_postgres_nothing_younger_than_thirty_days_is_pruned_whoever_asks() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    add(&database, 1..=2).await;
    seal_all(&database).await;
    assert_eq!(database.open.audit().prune_audit(Duration::ZERO, 100).await.unwrap(), 0);
    assert_eq!(psql(&database.url, "select trunkline_prune_audit('public', -1e9, 100)"), "0");
    psql(&database.url, "create schema theirs");
    let refused = psql_refused(&database.url, "select trunkline_prune_audit('theirs', 0, 100)");
    assert!(refused.contains("serves the audit of its own owner only"), "{refused}");
}

#[tokio::test]
async fn a_daemon_seals_soon_after_an_edit_and_logs_where_the_chain_ends() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let serve = ["serve", "--listen", "127.0.0.1:0", "--json"];
        let mut daemon = Process::start(program(&database).command(&serve));
        let told: serde_json::Value = daemon.line(|line| serde_json::from_str(line).ok());
        let port: u16 =
            told["listening"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        add(&database, 1..=3).await;
        // Nothing of it is in the change log.
        database
            .store()
            .create_config(&crate::support::config(&crate::support::ring(), "eu"))
            .await
            .unwrap();
        eventually("all is sealed", async || {
            rows(&database).await.iter().filter(|row| row.position.is_some()).count() == 4
        })
        .await;
        let metrics = get(port, "/metrics").await.body;
        assert!(metrics.contains("trunkline_audit_sealed_rows_total 4"), "{metrics}");
        assert!(metrics.contains("trunkline_audit_unsealed_rows 0"));
        let (_, log) = daemon.end_by("-TERM");
        assert!(
            log.contains("the audit is sealed up to here") && log.contains(&head(&database)),
            "{log}"
        );
    }
}
