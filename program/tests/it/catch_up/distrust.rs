//! What proves nothing does not pass for proof: where the change log may be hidden, unwritten or of
//! another cluster, nothing is taken for fresh because of it, or no less than it is.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use trunkline::store::Migrations;
use trunkline::{Caller, ChangeSource, Resolver};

use super::{TAKE_AN_ID, migrated_on, psql_begin};
use crate::support::database::{Kind, TestDatabase, open, settings};
use crate::support::live::Live;
use crate::support::postgres::{Cluster, psql, psql_refused, tcp_url};
use crate::support::{caller, config, eventually, number, ring};

/// Whether a number is answered without asking the database.
fn is_warm(resolver: &Resolver, caller: Caller) -> bool {
    resolver.try_resolve(caller).is_some_and(|answer| answer.is_ok())
}

async fn goes_deaf(resolver: &Resolver) {
    eventually("deaf", async || !resolver.hears_changes()).await;
}

/// Why a resolver does not hear in the quickest way.
fn trouble(resolver: &Resolver) -> String {
    resolver.health().trouble.unwrap_or_default()
}

#[tokio::test]
async fn rows_that_row_security_may_hide_prove_nothing() {
    for table in ["voice_agent_changes", "voice_agent_livekit", "voice_agent_numbers"] {
        let live = Live::new(Kind::Postgres).await;
        let url = &live.database.url;
        let app = format!("app_{}", url.rsplit('/').next().unwrap());
        psql(
            url,
            &format!(
                "create role {app} login; grant usage on schema public to {app};
                 grant select on all tables in schema public to {app}"
            ),
        );
        let resolver =
            Resolver::builder(settings(&url.replace("owner@", &format!("{app}@")), &[])).start();
        eventually("heard", async || resolver.hears_changes()).await;
        psql(url, &format!("alter table {table} enable row level security"));
        goes_deaf(&resolver).await;
        eventually("said", async || trouble(&resolver).contains(table)).await;
        psql(url, &format!("alter table {table} disable row level security"));
        eventually("heard again", async || resolver.hears_changes()).await;
    }
}

#[tokio::test]
async fn a_log_without_any_row_proves_nothing_until_something_is_written() {
    let live = Live::new(Kind::Postgres).await;
    live.database.sql("delete from voice_agent_changes").await;
    goes_deaf(&live.resolver).await;
    eventually("said", async || trouble(&live.resolver).contains("no row")).await;
    // What is asked for meanwhile comes from the database, whatever was in memory.
    live.set_trunk("ST_2").await;
    live.trunk_becomes(Some("ST_2")).await;
    live.hears().await;
}

#[tokio::test]
async fn a_trigger_that_fires_for_replication_only_is_none() {
    let live = Live::new(Kind::Postgres).await;
    for table in ["voice_agent_livekit", "voice_agent_numbers"] {
        let alter = |how: &str| format!("alter table {table} {how} trigger trunkline_log_update");
        live.database.sql(&alter("enable replica")).await;
        goes_deaf(&live.resolver).await;
        live.database.sql(&alter("enable always")).await;
        live.hears().await;
    }
}

#[tokio::test]
async fn on_sqlite_triggers_that_a_tool_left_out_are_missed() {
    let live = Live::new(Kind::Sqlite).await;
    live.database
        .sql(include_str!("../../../../tests/cases/databases/triggers-lost-sqlite.sql"))
        .await;
    goes_deaf(&live.resolver).await;
    eventually("said", async || trouble(&live.resolver).contains("triggers")).await;
    live.database.sql("update voice_agent_livekit set trunk_id = 'ST_unlogged'").await;
    live.trunk_becomes(Some("ST_unlogged")).await;
}

/// Adds a log as a dump of an older server brings it: its transactions are yet to come.
const RESTORED: &str = "
    insert into voice_agent_changes (xact, changed_at, entity, operation, config_id)
    select cast(cast(cast(cast(pg_snapshot_xmax(pg_current_snapshot()) as text) as bigint)
            + 1000000 + place as text) as xid8),
        now() - interval '20 days', 'config', 'update', gen_random_uuid()
    from generate_series(1, 1500) as place";

#[tokio::test]
async fn a_log_that_was_restored_from_an_older_cluster_is_no_news_at_each_look() {
    let live = Live::new(Kind::Postgres).await;
    let other = caller(1, 2);
    let us = live.store.create_config(&config(&live.ring, "us")).await.unwrap();
    live.store.add_number(&number(other, Some(us))).await.unwrap();
    live.database.sql(&format!("delete from voice_agent_changes; {RESTORED}")).await;
    // All of it is news once, to each that reads the log.
    let mut edits = 0;
    eventually("an edit after which only what changed is asked for anew", async || {
        live.resolver.resolve(other).await.unwrap();
        edits += 1;
        let trunk = format!("ST_{edits}");
        live.set_trunk(&trunk).await;
        live.trunk_becomes(Some(&trunk)).await;
        is_warm(&live.resolver, other)
    })
    .await;
}

#[tokio::test]
async fn on_a_replica_what_was_read_already_is_no_part_of_a_change_of_everything() {
    let primary = Cluster::start();
    let live = Live::on(migrated_on(&primary).await).await;
    let other = caller(1, 2);
    let us = live.store.create_config(&config(&live.ring, "us")).await.unwrap();
    live.store.add_number(&number(other, Some(us))).await.unwrap();
    let replica = primary.standby();
    let url = replica.url(live.database.url.rsplit('/').next().unwrap());
    let resolver = Resolver::builder((live.settings)(&[("DATABASE_URL", &url)])).start();
    // While it is open, the replica can not tell what it had read of later transactions.
    let open = psql_begin(&live.database.url, TAKE_AN_ID);
    for batch in 1..=3 {
        eventually("warm", async || {
            resolver.resolve(other).await.unwrap();
            resolver.hears_changes() && is_warm(&resolver, other)
        })
        .await;
        let edits = format!(
            "do 'begin for turn in 1..400 loop
                update voice_agent_livekit set trunk_id = turn || ''of{batch}'' where name = ''eu'';
            end loop; end'"
        );
        live.database.sql(&edits).await;
        primary.is_followed_by(&replica);
        let newest = format!("400of{batch}");
        eventually("the newest edit is used", async || {
            resolver.resolve(live.caller).await.unwrap().trunk_id() == Some(&*newest)
        })
        .await;
        assert!(is_warm(&resolver, other), "only what changed is asked for anew");
    }
    open.commit();
}

#[tokio::test]
async fn rows_of_transactions_that_are_yet_to_come_are_pruned_in_their_time() {
    let database = TestDatabase::migrated(Kind::Postgres).await;
    database.sql(&format!("delete from voice_agent_changes; {RESTORED}")).await;
    let rows = || psql(&database.url, "select count(*) from voice_agent_changes");
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(database.log().prune_changes(day * 30).await.unwrap(), 0);
    assert_eq!(rows(), "1500");
    database.log().prune_changes(day).await.unwrap();
    assert_eq!(rows(), "1", "the newest place stays");
}

/// That a table whose edits fire no trigger is doubted, and gets its triggers again.
async fn is_mended_by_migrating(live: &Live) {
    goes_deaf(&live.resolver).await;
    live.database.sql("update voice_agent_livekit set trunk_id = 'ST_unlogged'").await;
    live.trunk_becomes(Some("ST_unlogged")).await;
    live.database.open.migrate(Migrations::Up).await.unwrap();
    live.hears().await;
    live.set_trunk("ST_logged").await;
    live.trunk_becomes(Some("ST_logged")).await;
}

#[tokio::test]
async fn tables_that_were_swapped_are_doubted_and_migrating_gives_them_their_triggers() {
    let live = Live::new(Kind::Postgres).await;
    let swap = "alter table voice_agent_livekit rename to voice_agent_livekit_old;
                create table voice_agent_livekit (like voice_agent_livekit_old including all);
                insert into voice_agent_livekit select * from voice_agent_livekit_old;";
    live.database.sql(swap).await;
    is_mended_by_migrating(&live).await;
    let follow = "select count(*) from pg_trigger
        where tgrelid = 'voice_agent_livekit'::regclass and tgname like 'trunkline_pairs_%'";
    assert_eq!(psql(&live.database.url, follow), "4", "pairs go with their configs again");
    // And the way down takes the triggers of the table that was put away, too.
    live.database.open.migrate(Migrations::DownTo(2)).await.unwrap();
}

/// As tools rebuild a table: with the triggers of the old one, or without any.
#[tokio::test]
async fn tables_of_a_file_that_were_swapped_get_their_triggers_by_migrating() {
    let copy = "create table fresh as select * from voice_agent_livekit;";
    for swap in [
        "drop table voice_agent_livekit; alter table fresh rename to voice_agent_livekit;",
        "alter table voice_agent_livekit rename to old;
         alter table fresh rename to voice_agent_livekit;",
    ] {
        let live = Live::new(Kind::Sqlite).await;
        live.database.sql(&format!("{copy} {swap}")).await;
        is_mended_by_migrating(&live).await;
        let log = live.database.log();
        let newest = log.newest_change().await.unwrap();
        live.database.sql("delete from voice_agent_livekit").await;
        let deleted = log.changes_after(newest).await.unwrap().unwrap();
        assert_eq!(deleted.len(), 1, "each trigger is there once, and works");
    }
}

#[tokio::test]
async fn applications_that_commit_in_two_phases_edit_once_triggers_do_not_notify() {
    let cluster = Cluster::start_with(&["max_prepared_transactions=2"]);
    let live = Live::on(migrated_on(&cluster).await).await;
    let edit = |trunk: &str| {
        format!(
            "begin; update voice_agent_livekit set trunk_id = '{trunk}' where name = 'eu';
             prepare transaction 'one'"
        )
    };
    let refused = psql_refused(&live.database.url, &edit("ST_refused"));
    assert!(refused.contains("NOTIFY"), "{refused}");
    live.database.open.notify(false).await.unwrap();
    // Migrating again leaves it so.
    live.database.open.migrate(Migrations::Up).await.unwrap();
    live.database.sql(&edit("ST_2")).await;
    live.database.sql("commit prepared 'one'").await;
    live.trunk_becomes(Some("ST_2")).await;
    eventually("the log is read", async || {
        live.resolver.health().change_source == ChangeSource::ChangeLog
            && trouble(&live.resolver).contains("--notify off")
    })
    .await;
    live.database.open.notify(true).await.unwrap();
    eventually("heard", async || live.resolver.health().change_source == ChangeSource::Notify)
        .await;
}

#[tokio::test]
async fn a_proxy_that_does_not_support_startup_options_is_found_out_like_any_pooler() {
    let (cluster, name) = (Cluster::shared(), Cluster::shared().database_name());
    open(&settings(&cluster.url(&name), &[])).migrate(Migrations::Up).await.unwrap();
    let port = before(cluster.port).await;
    let database = open(&settings(&tcp_url(port, &name), &[]));
    database.admin().create_config(&config(&ring(), "eu")).await.unwrap();
    assert_eq!(database.store().configs().await.unwrap().len(), 1);
}

/// A proxy as managed databases have it, before the server on this port.
#[expect(clippy::disallowed_methods, reason = "a server of a test")]
async fn before(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let length = client.read_u32().await?;
                let mut hello = vec![0; length as usize - 4];
                client.read_exact(&mut hello).await?;
                if hello.windows(8).any(|word| word == b"options\0") {
                    let why = b"SFATAL\0VFATAL\0C0A000\0Mstartup options are not supported\0\0";
                    client.write_u8(b'E').await?;
                    client.write_u32(u32::try_from(why.len()).unwrap() + 4).await?;
                    return client.write_all(why).await;
                }
                let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
                server.write_u32(length).await?;
                server.write_all(&hello).await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    port
}
