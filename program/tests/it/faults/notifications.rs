//! Notifications that do not come, and those that should not have.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline::ChangeSource;

use super::lab::{LEASE, Lab, SLACK};
use crate::support::eventually;
use crate::support::postgres::Cluster;
use crate::support::proxy::{Flows, Mode};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_used_although_its_notification_was_lost() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    lab.proxy.set(Flows::All, Mode::Deaf);
    for _ in 0..4 {
        lab.change_is_used("notifications lost", LEASE + SLACK).await;
        sleep(LEASE / 3).await;
    }
    let seen = watch.end_without_failure("notifications lost").await;
    assert_eq!(seen.stale, 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doorbell_that_is_deaf_is_found_out_by_a_change_and_heard_again_once_it_is_not() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    let hears_by = |way| lab.resolver.health().change_source == way;
    for _ in 0..2 {
        eventually("through NOTIFY", async || hears_by(ChangeSource::Notify)).await;
        lab.proxy.set(Flows::All, Mode::Deaf);
        // The first change may have come before the proof did, as far as anybody can tell.
        eventually("found deaf", async || {
            lab.change_is_used("deaf", LEASE + SLACK).await;
            hears_by(ChangeSource::ChangeLog)
        })
        .await;
        lab.change_is_used("known to be deaf", LEASE + SLACK).await;
        lab.proxy.heal();
    }
    // One connection that is deaf is given up for one that is not.
    eventually("through NOTIFY", async || hears_by(ChangeSource::Notify)).await;
    let before = lab.proxy.accepted();
    lab.proxy.set(Flows::Listening, Mode::Deaf);
    eventually("it listens anew", async || {
        lab.change_is_used("one connection is deaf", LEASE + SLACK).await;
        lab.proxy.accepted() > before
    })
    .await;
    eventually("through NOTIFY", async || hears_by(ChangeSource::Notify)).await;
    let seen = watch.end_without_failure("deaf").await;
    assert_eq!(seen.stale, 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_made_up_notifications_flushes_nothing_and_stops_nobody() {
    let cluster = Cluster::shared();
    let lab = Lab::start(cluster).await;
    let watch = lab.watch();
    let (cached, loads) = (lab.resolver.cached(), lab.counters.loads());
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < 2 * LEASE {
        for payload in PAYLOADS {
            let sql = format!(
                "select count(pg_notify('trunkline_' || md5('public'), {payload}))
                 from generate_series(1, 500) as at"
            );
            cluster.psql(&lab.database, &sql);
            rounds += 1;
        }
    }
    let (cached_now, loads) = (lab.resolver.cached(), lab.counters.loads() - loads);
    let seen = watch.end_without_failure("made-up notifications").await;
    eprintln!("made-up notifications: {loads} loads for {rounds} times 500 of them");
    assert_eq!(cached_now, cached, "nothing was flushed");
    assert_eq!(seen.stale, 0, "{seen:?}");
    // Each number may be looked at anew twice a second, whatever is made up.
    let most = 2 * u64::try_from(lab.callers.len()).unwrap() * (1 + began.elapsed().as_secs());
    assert!(loads <= most, "{loads} loads, {most} allowed");
    lab.change_is_used("made-up notifications", LEASE + SLACK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_that_nobody_reads_are_no_reason_to_be_late() {
    let cluster = Cluster::shared();
    let lab = Lab::start(cluster).await;
    // As large as they may be, faster than they are read: the network is slow for them alone.
    lab.proxy.set(Flows::Listening, Mode::Slow(Duration::from_millis(100)));
    let watch = lab.watch();
    for _ in 0..3 {
        let sql =
            "select count(pg_notify('trunkline_' || md5('public'), rpad(at || ',', 7999, '9')))
                   from generate_series(1, 1000) as at";
        cluster.psql(&lab.database, sql);
        lab.change_is_used("a flood of notifications", LEASE + SLACK).await;
    }
    watch.end_without_failure("a flood of notifications").await;
}

/// SQL for payloads; `at` differs from one to the next.
const PAYLOADS: [&str; 12] = [
    "cast(at as text) || ' is no number'",
    "'all'",
    "'*' || at",
    "'-' || at",
    "cast(9000000000 + at as text)",
    "'9223372036854775807'",
    "'99999999999999999999' || at",
    "rpad(at || ',', 7999, '7,')",
    "'beat:' || md5(cast(at as text)) || ':' || at",
    "'{\"config\":\"' || gen_random_uuid() || '\"}'",
    "repeat(chr(128293), 1999) || chr(1 + at)",
    "'1,' || at",
];
