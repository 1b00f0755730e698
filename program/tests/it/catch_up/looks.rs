//! What a look at the change log costs the database: no more than what is new, whoever is busy there.

use std::time::Duration;

use sqlx::postgres::PgListener;
use trunkline::ChangeSource;

use super::{migrated_on, psql_begin};
use crate::support::database::{Kind, TestDatabase};
use crate::support::eventually;
use crate::support::live::Live;
use crate::support::postgres::{Cluster, psql};

/// How often an index of the change log was gone into, and how many rows were read of it so far.
fn read(database: &TestDatabase) -> (u64, u64) {
    let sql = "select sum(idx_scan), sum(idx_tup_read) + (
            select sum(seq_tup_read) from pg_stat_user_tables where relname = 'voice_agent_changes'
        ) from pg_stat_user_indexes where relname = 'voice_agent_changes'";
    let told = psql(&database.url, sql);
    let (scans, rows) = told.split_once('|').unwrap();
    (scans.parse().unwrap(), rows.parse().unwrap())
}

/// Waits for some dozen looks, and returns how many scans there were and how many rows they read.
async fn dozens_of_looks(database: &TestDatabase) -> (u64, u64) {
    let before = read(database);
    // The server tells a second later, and a busy machine looks seldom.
    for _ in 0..1000 {
        let after = read(database);
        if after.0 > before.0 + 60 {
            return (after.0 - before.0, after.1 - before.1);
        }
        // A ring that leads to nothing is answered by a look as well.
        psql(&database.url, "select pg_notify('trunkline_' || md5('public'), '')");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the log is not looked at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_reads_what_is_new_and_no_more_while_a_writer_stays_open_and_20000_changes_pass() {
    let cluster = Cluster::start();
    let live = Live::on(migrated_on(&cluster).await).await;
    let open = psql_begin(
        &live.database.url,
        "update voice_agent_livekit set trunk_id = 'ST_late' where name = 'eu'",
    );
    let changes = "do $$ begin for turn in 1..20000 loop
            update voice_agent_numbers set provider = cast(turn as text);
            if turn % 100 = 0 then commit; end if;
        end loop; end $$";
    live.database.sql(changes).await;
    // The server counts what was read a second later.
    dozens_of_looks(&live.database).await;
    let (scans, rows) = dozens_of_looks(&live.database).await;
    assert!(rows < 2 * scans, "{rows} rows in {scans} scans while it is open");
    open.commit();
    live.trunk_becomes(Some("ST_late")).await;
    dozens_of_looks(&live.database).await;
    let (scans, rows) = dozens_of_looks(&live.database).await;
    assert!(rows < 2 * scans, "{rows} rows in {scans} scans");
}

/// Waits until ten looks in a row have asked for nothing but the snapshot.
async fn stands_still(live: &Live) {
    // The server shows what each session asked last, and when.
    let last =
        "select query like 'select cast(pg_backend_pid()%', query_start from pg_stat_activity
        where application_name like 'trunkline%' and datname = current_database()
            and (query like '%pg_current_snapshot()%' or query like '%voice_agent_changes%')
        order by query_start desc limit 1";
    let (mut before, mut in_a_row) = (String::new(), 0);
    eventually("looks ask for the snapshot alone", async || {
        let told = psql(&live.database.url, last);
        if told != before {
            in_a_row = if told.starts_with("t|") { in_a_row + 1 } else { 0 };
            before = told;
        }
        in_a_row >= 10
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stands_still_is_asked_for_its_snapshot_alone() {
    // Whatever is written to any database of a server, its snapshot tells.
    let cluster = Cluster::start();
    let live = Live::unchecked_on(migrated_on(&cluster).await).await;
    stands_still(&live).await;
    let (scans, _) = read(&live.database);
    stands_still(&live).await;
    assert_eq!(read(&live.database).0, scans, "the log is left alone");
    assert_eq!(live.resolver.health().change_source, ChangeSource::Notify, "and the lease lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_edit_is_missed_where_nothing_but_looks_tells_that_a_database_stands_still_no_more() {
    let cluster = Cluster::start_with(&["max_prepared_transactions=2"]);
    let live = Live::unchecked_on(migrated_on(&cluster).await).await;
    live.database.open.notify(false).await.unwrap();
    let edit = |trunk: &str| {
        format!("update voice_agent_livekit set trunk_id = '{trunk}' where name = 'eu'")
    };
    stands_still(&live).await;
    live.database.sql(&edit("ST_1")).await;
    live.trunk_becomes(Some("ST_1")).await;
    stands_still(&live).await;
    live.database.sql(&format!("begin; savepoint a; {}; release a; commit", edit("ST_2"))).await;
    live.trunk_becomes(Some("ST_2")).await;
    // One that is in progress while others come and go, and while nothing happens.
    let open = psql_begin(&live.database.url, &edit("ST_3"));
    live.database.sql("update voice_agent_numbers set provider = 'other'").await;
    stands_still(&live).await;
    open.commit();
    live.trunk_becomes(Some("ST_3")).await;
    live.database.sql(&format!("begin; {}; prepare transaction 'a'", edit("ST_4"))).await;
    stands_still(&live).await;
    live.database.sql("commit prepared 'a'").await;
    live.trunk_becomes(Some("ST_4")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_sends_one_notification_and_the_next_one_another() {
    let live = Live::new(Kind::Postgres).await;
    let by_notify = async || live.resolver.health().change_source == ChangeSource::Notify;
    let mut listens = PgListener::connect(&live.database.url).await.unwrap();
    let channel = format!("trunkline_{}", psql(&live.database.url, "select md5('public')"));
    listens.listen(&channel).await.unwrap();
    // The first life may have been proven before anybody listened here.
    let mut sent = 0;
    for lives in 1..=3 {
        psql(
            &live.database.url,
            "select pg_terminate_backend(pid) from pg_stat_activity
             where query like 'LISTEN%' and application_name like 'trunkline%'
                 and datname = current_database()",
        );
        eventually("a proof is sent", async || {
            while let Some(heard) = listens.next_buffered() {
                sent += u32::from(heard.payload().starts_with("beat:"));
            }
            sqlx::query("select 1").execute(&mut listens).await.unwrap();
            sent >= lives && by_notify().await
        })
        .await;
        dozens_of_looks(&live.database).await;
        sqlx::query("select 1").execute(&mut listens).await.unwrap();
        while let Some(heard) = listens.next_buffered() {
            sent += u32::from(heard.payload().starts_with("beat:"));
        }
        assert_eq!(sent, lives);
    }
}
