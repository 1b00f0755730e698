//! After a gap in hearing, only what changed is asked for anew, and nothing that changed is missed.
//!
//! A gap is made by `DATABASE_OFF`: nobody listens then, and what was read stays known.

mod distrust;
mod looks;

use std::time::Duration;

use trunkline::store::Migrations;
use trunkline::{Caller, ChangeSource, ConfigId};

use crate::support::database::{Kind, TestDatabase};
use crate::support::live::Live;
use crate::support::postgres::{Cluster, psql};
use crate::support::{caller, config, eventually, number};

/// A lab with a second number on a config of its own, both of them warm.
struct Two {
    live: Live,
    other: Caller,
    other_config: ConfigId,
}

impl Two {
    async fn warm() -> Self {
        Self::warm_on(TestDatabase::migrated(Kind::Postgres).await).await
    }

    async fn warm_on(database: TestDatabase) -> Self {
        let live = Live::on(database).await;
        let other_config = live.store.create_config(&config(&live.ring, "us")).await.unwrap();
        let other = caller(1, 2);
        live.store.add_number(&number(other, Some(other_config))).await.unwrap();
        let two = Self { live, other, other_config };
        // Else what was added now may be heard of later, and drop what is warm by then.
        let added = two.live.database.open.change_log().newest_change().await.unwrap();
        let nodes = two.live.resolver.nodes().unwrap();
        eventually("what was added is heard", async || {
            let seen = nodes.seen_by(added, Duration::from_secs(1)).await;
            seen.is_ok_and(|seen| seen.of > 0 && seen.seen == seen.of)
        })
        .await;
        eventually("both are warm", async || {
            two.live.resolver.resolve(two.live.caller).await.unwrap();
            two.live.resolver.resolve(other).await.unwrap();
            two.live.resolver.try_resolve(two.live.caller).is_some() && two.is_warm()
        })
        .await;
        two
    }

    /// Whether the other number is answered without asking the database.
    fn is_warm(&self) -> bool {
        let answer = self.live.resolver.try_resolve(self.other);
        answer.is_some_and(|answer| answer.is_ok_and(|answer| answer.config_id().is_some()))
    }

    /// Waits for proof that the other number is warm; nobody loads it meanwhile.
    async fn stays_warm(&self) {
        eventually("warm without a load", async || self.is_warm()).await;
    }

    /// Nobody listens until [`heed`](Self::heed).
    async fn ignore(&self) {
        self.live.reload(&[("DATABASE_OFF", "true")]);
        eventually("deaf", async || !self.live.resolver.hears_changes()).await;
    }

    async fn heed(&self) {
        self.live.reload(&[]);
        self.live.hears().await;
    }

    fn sql(&self, statement: &str) -> String {
        psql(&self.live.database.url, statement)
    }
}

#[tokio::test]
async fn after_a_gap_only_what_changed_in_it_is_loaded_again() {
    let two = Two::warm().await;
    two.ignore().await;
    two.live.set_trunk("ST_in_the_gap").await;
    two.heed().await;
    two.stays_warm().await;
    assert!(two.live.resolver.try_resolve(two.live.caller).is_none());
    two.live.trunk_becomes(Some("ST_in_the_gap")).await;
}

#[tokio::test]
async fn a_log_that_no_longer_reaches_back_puts_everything_in_doubt() {
    for loss in [
        "update voice_agent_changes set changed_at = changed_at - interval '40 days'",
        "delete from voice_agent_changes",
        "truncate voice_agent_changes",
        "vacuum full voice_agent_changes",
    ] {
        let two = Two::warm().await;
        two.ignore().await;
        // Two changes, since the last one that is old enough is kept.
        two.live.set_trunk("ST_1").await;
        two.live.set_trunk("ST_2").await;
        two.sql(loss);
        if loss.starts_with("update") {
            let keep = Duration::from_secs(30 * 24 * 3600);
            // Not before the transactions of other tests have ended that are older.
            eventually("pruned", async || {
                two.live.database.log().prune_changes(keep).await.unwrap();
                two.sql("select count(*) from voice_agent_changes") == "1"
            })
            .await;
        }
        // A log without any row proves nothing; with one it does.
        two.live.set_trunk("ST_3").await;
        two.heed().await;
        assert!(!two.is_warm(), "{loss}");
        two.live.trunk_becomes(Some("ST_3")).await;
    }
}

#[tokio::test]
async fn pruning_keeps_what_is_young_and_readers_that_are_up_to_date_do_not_notice() {
    // A server of its own: the open transactions of other tests would put the reader's horizon before
    // what pruning keeps, and then it does notice.
    let cluster = Cluster::start();
    let two = Two::warm_on(migrated_on(&cluster).await).await;
    two.live.set_trunk("ST_1").await;
    two.live.trunk_becomes(Some("ST_1")).await;
    eventually("warm again", async || {
        two.live.resolver.resolve(two.other).await.unwrap();
        two.is_warm()
    })
    .await;
    let rows = || two.sql("select count(*) from voice_agent_changes").parse::<u64>().unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(two.live.database.log().prune_changes(hour).await.unwrap(), 0);
    let open = psql_begin(&two.live.database.url, TAKE_AN_ID);
    two.live.set_trunk("ST_2").await;
    two.live.trunk_becomes(Some("ST_2")).await;
    two.sql("update voice_agent_changes set changed_at = changed_at - interval '2 hours'");
    two.live.database.log().prune_changes(hour).await.unwrap();
    // While it is open, every look goes back to before it, and must find where that is.
    two.live.set_trunk("ST_3").await;
    two.live.trunk_becomes(Some("ST_3")).await;
    two.stays_warm().await;
    open.commit();
    let ended = "select pg_snapshot_xmin(pg_current_snapshot()) > xact from voice_agent_changes
                 order by xact desc limit 1";
    eventually("ended", async || two.sql(ended) == "t").await;
    two.live.set_trunk("ST_4").await;
    two.live.trunk_becomes(Some("ST_4")).await;
    two.live.database.log().prune_changes(hour).await.unwrap();
    assert_eq!(rows(), 3, "the last one that is old enough, and the two that are not");
    two.live.set_trunk("ST_5").await;
    two.live.trunk_becomes(Some("ST_5")).await;
    // The reader had seen all that was pruned.
    two.stays_warm().await;
}

#[tokio::test]
async fn a_transaction_that_is_older_than_the_log_puts_nothing_in_doubt() {
    let elsewhere = TestDatabase::empty(Kind::Postgres);
    let open = psql_begin(&elsewhere.url, TAKE_AN_ID);
    let two = Two::warm().await;
    for trunk in ["ST_1", "ST_2", "ST_3"] {
        two.live.set_trunk(trunk).await;
        two.live.trunk_becomes(Some(trunk)).await;
        two.stays_warm().await;
    }
    open.commit();
}

#[tokio::test]
async fn a_transaction_that_wrote_early_and_commits_late_is_not_missed() {
    let two = Two::warm().await;
    let late = psql_begin(
        &two.live.database.url,
        &format!(
            "update voice_agent_livekit set trunk_id = 'ST_late' where id = '{}'",
            two.other_config
        ),
    );
    // This one has the higher place in the log and commits first, heard and unheard.
    two.live.set_trunk("ST_1").await;
    two.live.trunk_becomes(Some("ST_1")).await;
    two.ignore().await;
    two.live.set_trunk("ST_2").await;
    late.commit();
    two.heed().await;
    let other = two.live.resolver.resolve(two.other).await.unwrap();
    assert_eq!(other.trunk_id(), Some("ST_late"));
    two.live.trunk_becomes(Some("ST_2")).await;
}

#[tokio::test]
async fn a_transaction_id_that_is_used_again_after_a_crash_hides_no_change() {
    let two = Two::warm().await;
    // An id that every snapshot takes for one that committed long ago.
    two.sql(
        "insert into voice_agent_changes (xact, entity, operation) values ('3', 'all', 'update');
         select pg_notify('trunkline_' || md5('public'), '')",
    );
    eventually("dropped", async || two.live.resolver.cached() == 0).await;
}

#[tokio::test]
async fn a_row_that_a_newer_version_wrote_is_a_change_of_everything() {
    let two = Two::warm().await;
    two.sql("alter table voice_agent_changes drop constraint voice_agent_changes_entity_check");
    two.sql(
        "insert into voice_agent_changes (entity, operation) values ('tenant', 'merge');
         select pg_notify('trunkline_' || md5('public'), 'something new')",
    );
    eventually("dropped", async || two.live.resolver.cached() == 0).await;
}

#[tokio::test]
async fn more_changes_in_a_gap_than_are_gone_through_are_one_change_of_everything() {
    let two = Two::warm().await;
    two.ignore().await;
    two.sql(
        "insert into voice_agent_changes (entity, operation, config_id)
         select 'config', 'update', gen_random_uuid() from generate_series(1, 1500)",
    );
    two.heed().await;
    assert_eq!(two.live.resolver.cached(), 0);
}

#[tokio::test]
async fn the_way_in_which_changes_are_heard_is_found_out_and_told() {
    let live = Live::new(Kind::Postgres).await;
    let hearing = || live.resolver.health().change_source;
    eventually("through NOTIFY", async || hearing() == ChangeSource::Notify).await;
    live.resolver.resolve(live.caller).await.unwrap();
    live.reload(&[("DATABASE_OFF", "true")]);
    assert_eq!(live.resolver.health().not_ready, None, "the environment answers");
    eventually("nothing", async || hearing() == ChangeSource::Nothing).await;
    live.reload(&[]);
    eventually("through NOTIFY", async || hearing() == ChangeSource::Notify).await;
    let sqlite = Live::new(Kind::Sqlite).await;
    assert_eq!(sqlite.resolver.health().change_source, ChangeSource::ChangeLog);
}

#[tokio::test]
async fn the_log_of_a_file_is_caught_up_or_doubted_as_well() {
    for pruned in [false, true] {
        let live = Live::new(Kind::Sqlite).await;
        let other = caller(1, 2);
        let us = live.store.create_config(&config(&live.ring, "us")).await.unwrap();
        live.store.add_number(&number(other, Some(us))).await.unwrap();
        let is_warm = async |caller| {
            live.resolver.resolve(caller).await.unwrap();
            live.resolver.try_resolve(caller).is_some()
        };
        eventually("warm", async || is_warm(live.caller).await).await;
        // What comes before it in the log is read when this is used.
        live.set_trunk("ST_1").await;
        live.trunk_becomes(Some("ST_1")).await;
        eventually("warm", async || is_warm(live.caller).await && is_warm(other).await).await;
        let hour = Duration::from_secs(3600);
        if pruned {
            // In one transaction: the reader finds that what it read last is gone.
            live.database
                .sql(
                    "begin immediate;
                     update voice_agent_livekit set trunk_id = 'ST_2' where name = 'eu';
                     delete from voice_agent_changes;
                     insert into voice_agent_changes (entity, operation) values ('number', 'x');
                     commit",
                )
                .await;
        } else {
            live.database
                .sql("update voice_agent_changes set changed_at = '2020-01-01T00:00:00.000Z'")
                .await;
            assert!(live.database.log().prune_changes(hour).await.unwrap() > 0);
            live.set_trunk("ST_2").await;
        }
        live.trunk_becomes(Some("ST_2")).await;
        let stays_warm = || live.resolver.try_resolve(other).is_some();
        if pruned {
            assert!(!stays_warm());
        } else {
            eventually("warm without a load", async || stays_warm()).await;
        }
    }
}

/// A transaction that is open in a psql of its own.
struct Open(std::process::Child);

/// Makes a transaction one that others have to wait for.
const TAKE_AN_ID: &str = "do 'begin perform pg_current_xact_id(); end'";

/// A database with the tables on a cluster of the test's own.
async fn migrated_on(cluster: &Cluster) -> TestDatabase {
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(Migrations::Up).await.unwrap();
    database
}

fn psql_begin(url: &str, statement: &str) -> Open {
    use std::io::{BufRead, BufReader, Write};
    let mut child = std::process::Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", url])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("psql is there");
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "begin; {statement}; select 'open';").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "open");
    child.stdin = Some(stdin);
    Open(child)
}

impl Open {
    fn commit(mut self) {
        use std::io::Write;
        writeln!(self.0.stdin.as_mut().unwrap(), "commit;").unwrap();
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}
