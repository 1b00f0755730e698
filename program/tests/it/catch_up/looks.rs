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
             where query like 'LISTEN%' and application_name = 'trunkline'
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
