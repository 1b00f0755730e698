//! What stands between the engine and the primary, or in its place: poolers, replicas, a standby
//! that is promoted.

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep};

use super::lab::{LEASE, Lab, RECOVERY, SLACK};
use crate::support::pooler::Pooler;
use crate::support::postgres::{Cluster, psql, tcp_url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_is_followed_as_its_primary_was() {
    let primary = Cluster::start();
    let mut lab = Lab::start(&primary).await;
    let standby = primary.standby();
    let watch = lab.watch();
    lab.change_is_used("on the primary", LEASE + SLACK).await;
    lab.settle().await;
    primary.is_followed_by(&standby);
    primary.kill();
    lab.marked_stale().await;
    lab.move_to(&standby);
    standby.promote();
    let promoted = Instant::now();
    lab.proven_again("failover", promoted, RECOVERY + SLACK).await;
    for _ in 0..3 {
        lab.change_is_used("on the new primary", RECOVERY + SLACK).await;
    }
    watch.end_without_failure("failover").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_enough_to_be_fresh() {
    let primary = Cluster::start();
    let replica = primary.standby();
    let lab = Lab::start_before(&primary, replica.port).await;
    let watch = lab.watch();
    for _ in 0..4 {
        let commit = lab.commit().await;
        // The replica's own lag is not the engine's: what it has not got, nobody can read there.
        primary.is_followed_by(&replica);
        let commit = super::lab::Commit { at: Instant::now(), ..commit };
        lab.used("on a replica", commit, LEASE + SLACK).await;
        sleep(LEASE / 3).await;
    }
    let seen = watch.end_without_failure("on a replica").await;
    assert_eq!(seen.stale, 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_that_refuses_startup_parameters_is_enough_to_be_fresh() {
    behind("pooler", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_that_ignores_startup_parameters_is_enough_to_be_fresh() {
    behind("pooler that ignores", IGNORES).await;
}

/// What the two tests above stand on: this pooler refuses what sqlx says when it connects.
#[tokio::test]
async fn a_pooler_is_as_awkward_as_in_production() {
    let cluster = Cluster::shared();
    let strict = Pooler::before(cluster, "");
    let url = tcp_url(strict.port, "postgres");
    assert_eq!(psql(&url, "select 'through'"), "through");
    let refused = PgConnection::connect(&url).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("unsupported startup parameter"), "{refused}");
    let lenient = Pooler::before(cluster, IGNORES);
    let mut connection = PgConnection::connect(&tcp_url(lenient.port, "postgres")).await.unwrap();
    connection.ping().await.unwrap();
}

async fn behind(what: &str, settings: &str) {
    let cluster = Cluster::shared();
    let pooler = Pooler::before(cluster, settings);
    let lab = Lab::start_before(cluster, pooler.port).await;
    let watch = lab.watch();
    for _ in 0..4 {
        lab.change_is_used(what, LEASE + SLACK).await;
        sleep(LEASE / 3).await;
    }
    let seen = watch.end_without_failure(what).await;
    assert_eq!(seen.stale, 0, "{seen:?}");
}

const IGNORES: &str = "ignore_startup_parameters = extra_float_digits,options";
