//! The network between the engine and a server that is well: torn, silent, slow.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use trunkline::store::Migrations;
use trunkline::{KeyRing, Resolver};

use super::lab::{DEADLINE, LEASE, Lab, RECOVERY, SLACK, version_of};
use crate::support::database::TestDatabase;
use crate::support::eventually;
use crate::support::postgres::{Cluster, tcp_url};
use crate::support::proxy::{Flows, Mode, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_resets_is_answered_without_a_storm_of_connections() {
    let lab = Lab::start(Cluster::shared()).await;
    let (watch, before) = (lab.watch(), lab.proxy.accepted());
    let (began, mut changes) = (Instant::now(), 0);
    while began.elapsed() < 3 * LEASE {
        lab.proxy.set(Flows::Open, Mode::Reset);
        lab.change_is_used("reset storm", LEASE + SLACK).await;
        changes += 1;
        sleep(Duration::from_millis(100)).await;
    }
    let connections = lab.proxy.accepted() - before;
    eprintln!("reset storm: {connections} connections for {changes} resets");
    // Those of the pool, a listener with the one that proves it, and one that reads the change log.
    assert!(connections <= 8 * (changes + 1), "{connections} for {changes}");
    watch.end_without_failure("reset storm").await;
}

/// Else a server that a whole fleet comes to at once is asked for several connections by each node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_waits_at_a_busy_server_with_one_connection() {
    let (cluster, key) = (Cluster::shared(), KeyRing::generate().unwrap());
    let proxy = Proxy::before(cluster.port);
    let database = TestDatabase::on(&tcp_url(proxy.port, &cluster.database_name()));
    database.open.migrate(Migrations::Up).await.unwrap();
    proxy.set(Flows::All, Mode::BlackHole);
    let (before, attempts) = (proxy.accepted(), Cell::new(0));
    let settings = database.settings(&[("LIVEKIT_SECRET_ENCRYPTION_KEY", key.as_str())]);
    let node = Resolver::builder(settings).start();
    eventually("it has waited in vain", async || {
        let by_now = proxy.accepted() - before;
        let waits = node.health().trouble.is_none();
        if waits {
            attempts.set(by_now);
        }
        !waits
    })
    .await;
    assert_eq!(attempts.get(), 1);
    proxy.heal();
    eventually("it is ready", async || node.health().not_ready.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_stops_no_warm_number_and_is_not_hammered() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    lab.proxy.set(Flows::All, Mode::Reset);
    let before = lab.proxy.accepted();
    lab.marked_stale().await;
    sleep(3 * LEASE).await;
    let attempts = lab.proxy.accepted() - before;
    eprintln!("refused: {attempts} attempts in more than 3 s");
    assert!(attempts < 100, "{attempts}");
    lab.proxy.heal();
    lab.proven_again("refused", Instant::now(), RECOVERY + SLACK).await;
    lab.change_is_used("refused", RECOVERY + SLACK).await;
    let seen = watch.end_without_failure("refused").await;
    assert!(seen.stale > 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_used_although_every_open_connection_is_a_black_hole() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    for round in 0..2 {
        lab.proxy.set(Flows::Open, Mode::BlackHole);
        let what = format!("black hole, round {round}");
        lab.change_is_used(&what, LEASE + SLACK).await;
        // And again, once whatever the first change led to has been replaced.
        lab.change_is_used(&what, LEASE + SLACK).await;
    }
    watch.end_without_failure("black hole").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_is_not_answered_is_asked_again_on_a_new_connection_before_the_lease_ends() {
    // Long enough for a busy machine: a look every two seconds, and asked again after one.
    let (cluster, lease) = (Cluster::shared(), [("LEASE", "8s")]);
    let lab = Lab::start_with(cluster, cluster.port, &lease).await;
    for _ in 0..2 {
        let before = lab.proxy.accepted();
        lab.proxy.set(Flows::Open, Mode::BlackHole);
        eventually("it is asked again", async || {
            assert!(lab.resolver.hears_changes(), "the lease has ended");
            lab.proxy.accepted() > before
        })
        .await;
        let commit = lab.commit().await;
        eventually("a change is used", async || {
            assert!(lab.resolver.hears_changes(), "the lease has ended");
            let answer = lab.resolver.resolve(lab.callers[0]).await;
            version_of(&answer).is_some_and(|version| version >= commit.version)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_used_although_the_listener_hears_nothing_for_ever() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    lab.proxy.set(Flows::Listening, Mode::BlackHole);
    for _ in 0..4 {
        lab.change_is_used("listener in a black hole", LEASE + SLACK).await;
        sleep(LEASE / 3).await;
    }
    let seen = watch.end_without_failure("listener in a black hole").await;
    assert_eq!(seen.stale, 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_holds_no_caller_longer_than_his_deadline() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    lab.proxy.set(Flows::All, Mode::BlackHole);
    // Made where the engine cannot see it, so nothing of it may stop a warm number.
    let unseen = lab.commit().await;
    lab.marked_stale().await;
    sleep(3 * LEASE).await;
    lab.proxy.heal();
    let back = Instant::now();
    lab.proven_again("all in a black hole", back, RECOVERY + SLACK).await;
    lab.used("all in a black hole", unseen, back.duration_since(unseen.at) + RECOVERY + SLACK)
        .await;
    let seen = watch.end_without_failure("all in a black hole").await;
    assert!(seen.stale > 0, "{seen:?}");
    assert!(seen.slowest < DEADLINE + SLACK, "{seen:?}");
}

/// As where packets were lost: an answer to what was asked then never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_opened_while_the_network_was_gone_is_not_waited_for() {
    let cluster = Cluster::shared();
    let lab = Lab::start_with(cluster, cluster.port, &[("LEASE", "2s")]).await;
    let watch = lab.watch();
    lab.proxy.set(Flows::All, Mode::BlackHole);
    lab.marked_stale().await;
    // As long as it takes to be most patient with a busy server: an attempt takes 8 s then, and the pause
    // after it up to 16.
    sleep(16 * LEASE).await;
    lab.proxy.set(Flows::New, Mode::Pass);
    let back = Instant::now();
    eventually("changes are heard", async || lab.resolver.hears_changes()).await;
    eprintln!("dead ones after a black hole: heard after {} ms", back.elapsed().as_millis());
    watch.end_without_failure("dead ones after a black hole").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_is_not_noticed_by_who_asks_for_a_warm_number() {
    // Times of production, tripled: a busy machine stands still for longer than those leave. A node
    // that had just lent the connection of its looks when the network became slow was late with a look.
    let (cluster, delay) = (Cluster::shared(), Duration::from_millis(600));
    let variables = [
        ("LEASE", "3s"),
        ("STORE_DEADLINE", "6s"),
        ("RESOLVE_DEADLINE", "1500ms"),
        ("SELF_CHECK_INTERVAL", "0s"),
    ];
    let lab = Lab::start_with(cluster, cluster.port, &variables).await;
    lab.proxy.set(Flows::All, Mode::Slow(delay));
    let (watch, loads) = (lab.watch(), lab.counters.loads());
    sleep(6 * LEASE).await;
    let seen = watch.end_without_failure("slow").await;
    assert_eq!(seen.stale, 0, "{seen:?}");
    assert_eq!(lab.counters.loads(), loads, "nobody waited for the database: {seen:?}");
    eprintln!("slow: 99 % of warm numbers within {:?}", seen.permille(990));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_used_over_a_slow_network() {
    // A connection that has to be opened takes round trips of its own.
    let deadline = [("RESOLVE_DEADLINE", "2s")];
    let cluster = Cluster::shared();
    let lab = Lab::start_with(cluster, cluster.port, &deadline).await;
    let watch = lab.watch();
    lab.proxy.set(Flows::All, Mode::Slow(Duration::from_millis(200)));
    for _ in 0..3 {
        lab.change_is_used("slow", LEASE + SLACK).await;
    }
    watch.end_without_failure("slow").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_in_its_middle_is_asked_for_again() {
    let lab = Lab::start(Cluster::shared()).await;
    let watch = lab.watch();
    for round in 0..5 {
        lab.proxy.set(Flows::Open, Mode::Cut);
        lab.change_is_used(&format!("cut, round {round}"), LEASE + SLACK).await;
    }
    watch.end_without_failure("cut").await;
    eventually("changes are heard", async || lab.resolver.hears_changes()).await;
}
