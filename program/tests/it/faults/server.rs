//! The server itself: killed, stopped where it stands, full. Each test breaks one of its own.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error};
use tokio::time::{Instant, sleep};

use super::lab::{DEADLINE, LEASE, Lab, RECOVERY, SLACK};
use crate::support::eventually;
use crate::support::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_stops_no_warm_number_and_is_used_again_within_two_seconds() {
    let mut cluster = Cluster::start();
    let lab = Lab::start(&cluster).await;
    let watch = lab.watch();
    cluster.kill();
    lab.marked_stale().await;
    sleep(LEASE).await;
    cluster.restart();
    let back = Instant::now();
    lab.proven_again("server killed", back, RECOVERY + SLACK).await;
    lab.change_is_used("server killed", RECOVERY + SLACK).await;
    let seen = watch.end_without_failure("server killed").await;
    assert!(seen.stale > 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_killed_costs_no_warm_number_its_answer() {
    let cluster = Cluster::start();
    let lab = Lab::start(&cluster).await;
    let watch = lab.watch();
    let connect = async || PgConnection::connect(&cluster.url(&lab.database)).await;
    for round in 0..2 {
        let mut witness = connect().await.unwrap();
        assert!(cluster.kill_backends(OURS) > 0);
        // The server takes it for a crash: it ends every session, and recovers.
        eventually("sessions are ended", async || witness.ping().await.is_err()).await;
        eventually("the server answers again", async || connect().await.is_ok()).await;
        let what = format!("backend killed, round {round}");
        lab.proven_again(&what, Instant::now(), RECOVERY + SLACK).await;
        lab.change_is_used(&what, RECOVERY + SLACK).await;
        lab.settle().await;
    }
    watch.end_without_failure("backend killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_terminated_costs_no_warm_number_its_answer() {
    let cluster = Cluster::shared();
    let lab = Lab::start(cluster).await;
    let watch = lab.watch();
    for round in 0..3 {
        let ours = format!("{OURS} and datname = '{}'", lab.database);
        cluster.terminate_backends(&ours);
        let what = format!("backend terminated, round {round}");
        lab.change_is_used(&what, LEASE + SLACK).await;
    }
    watch.end_without_failure("backend terminated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_holds_no_caller_longer_than_his_deadline() {
    let cluster = Cluster::start();
    let lab = Lab::start(&cluster).await;
    let watch = lab.watch();
    cluster.freeze();
    lab.marked_stale().await;
    sleep(2 * LEASE).await;
    cluster.thaw();
    let back = Instant::now();
    lab.proven_again("server frozen", back, RECOVERY + SLACK).await;
    lab.change_is_used("server frozen", RECOVERY + SLACK).await;
    let seen = watch.end_without_failure("server frozen").await;
    assert!(seen.stale > 0, "{seen:?}");
    assert!(seen.slowest < DEADLINE + SLACK, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_changes_nothing_for_warm_numbers() {
    let cluster = Cluster::start_with(&["max_connections=24"]);
    let lab = Lab::start(&cluster).await;
    let watch = lab.watch();
    let mut crowd = Vec::new();
    loop {
        match PgConnection::connect(&cluster.url(&lab.database)).await {
            Ok(connection) => crowd.push(connection),
            Err(Error::Database(error)) if error.code().as_deref() == Some(TOO_MANY) => break,
            Err(error) => panic!("{error}"),
        }
    }
    // The way around the proxy has a connection from before.
    for _ in 0..3 {
        lab.change_is_used("server full", LEASE + SLACK).await;
        sleep(LEASE / 2).await;
    }
    let seen = watch.end_without_failure("server full").await;
    assert_eq!(seen.stale, 0, "{seen:?}");
}

/// The sessions of the engine.
const OURS: &str = "application_name like 'trunkline%'";
const TOO_MANY: &str = "53300";
