//! Whatever happens to the relay, edits are used: by the relay, or by reading the change log.

use trunkline::store::Migrations;
use trunkline::{ChangeSource, KeyRing, RelayRole};

use super::daemon::Daemon;
use super::{Fleet, role_of};
use crate::support::database::{Kind, TestDatabase};
use crate::support::eventually;
use crate::support::postgres::Cluster;
use crate::support::proxy::{Flows, Mode, Proxy};
use crate::support::redis::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_leader_and_standbys_end_others_take_their_places() {
    let mut fleet = Fleet::of(8).await;
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    fleet.end(RelayRole::Leader).await;
    fleet.settles().await;
    fleet.edit_reaches_all("second").await;
    fleet.end(RelayRole::Standby).await;
    fleet.end(RelayRole::Leader).await;
    assert_eq!(fleet.nodes.len(), 4);
    fleet.edit_reaches_all("third").await;
    fleet.settles().await;
}

/// It does not know that it was stopped, and goes on as if it led.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_has_others_lead_and_follows_when_it_goes_on() {
    let mut fleet = Fleet::of(0).await;
    let leader = Daemon::of(&fleet, &fleet.redis.url(), &[]);
    eventually("it leads", async || leader.has_role(RelayRole::Leader).await).await;
    for at in 0..5 {
        let node = fleet.node(&format!("n{at}"), &[]);
        fleet.nodes.push(node);
    }
    eventually("two stand by, and others follow", async || {
        fleet.with_role(RelayRole::Standby).len() == 2
            && fleet.with_role(RelayRole::Follower).len() == 3
    })
    .await;
    fleet.edit_reaches_all("first").await;
    leader.signal("-STOP");
    fleet.edit_reaches_all("second").await;
    fleet.settles().await;
    fleet.edit_reaches_all("third").await;
    leader.signal("-CONT");
    eventually("it follows", async || leader.has_role(RelayRole::Follower).await).await;
    fleet.settles().await;
    fleet.edit_reaches_all("fourth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_database_is_silent_has_others_lead() {
    let mut fleet =
        Fleet::on(Redis::start(), TestDatabase::migrated(Kind::Postgres).await, 0).await;
    let proxy = Proxy::before(Cluster::shared().port);
    let name = fleet.database.url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let leader = fleet.node("silent", &[("DATABASE_URL", &proxy.url(name))]);
    eventually("it leads", async || role_of(&leader) == RelayRole::Leader).await;
    for at in 0..4 {
        let node = fleet.node(&format!("n{at}"), &[]);
        fleet.nodes.push(node);
    }
    fleet.edit_reaches_all("first").await;
    proxy.set(Flows::All, Mode::BlackHole);
    fleet.edit_reaches_all("second").await;
    eventually("another one leads", async || fleet.with_role(RelayRole::Leader).len() == 1).await;
    // It follows as well as any: what it learns of changes does not come from the database.
    eventually("it leads no more", async || role_of(&leader) != RelayRole::Leader).await;
    fleet.edit_reaches_all("third").await;
    proxy.heal();
    fleet.nodes.push(leader);
    fleet.settles().await;
    fleet.edit_reaches_all("fourth").await;
}

/// Nobody asks over it all the time, who would find that out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_finds_out_that_a_connection_is_dead_while_it_loads() {
    let mut fleet = Fleet::of(3).await;
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    let proxy = Proxy::before(Cluster::shared().port);
    let name = fleet.database.url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let through = [("DATABASE_URL", &*proxy.url(name)), ("STORE_DEADLINE", "8s")];
    let follower = fleet.node("through", &through);
    eventually("it follows", async || role_of(&follower) == RelayRole::Follower).await;
    for trunk in ["second", "third"] {
        let before = proxy.accepted();
        fleet.set_trunk(trunk).await;
        eventually("it has loaded that", async || {
            follower.resolve(fleet.caller).await.unwrap().trunk_id() == Some(trunk)
        })
        .await;
        // A connection that lies idle is closed in a moment; the next load meets it, or opens one.
        proxy.set(Flows::Open, Mode::BlackHole);
        assert!(role_of(&follower) == RelayRole::Follower && proxy.accepted() >= before);
    }
    fleet.nodes.push(follower);
    fleet.edit_reaches_all("fourth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_redis_each_node_reads_for_itself_and_follows_again_once_it_is_there() {
    let mut fleet = Fleet::of(4).await;
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    fleet.redis.kill();
    fleet.all_are_alone().await;
    fleet.edit_reaches_all("second").await;
    assert!(fleet.nodes.iter().all(|node| node.health().change_source != ChangeSource::Relay));
    let trouble = fleet.nodes[0].health().relay.unwrap().trouble;
    assert!(trouble.is_some_and(|why| why.starts_with("the relay does not answer")));
    // It comes back empty.
    fleet.redis.begin_anew();
    fleet.settles().await;
    fleet.edit_reaches_all("third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_silent_is_left_and_what_it_says_later_is_old() {
    let fleet = Fleet::of(4).await;
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    fleet.redis.signal("-STOP");
    fleet.all_are_alone().await;
    fleet.edit_reaches_all("second").await;
    fleet.redis.signal("-CONT");
    fleet.settles().await;
    fleet.answers("second").await;
    fleet.edit_reaches_all("third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_a_replica_is_not_believed() {
    let (fleet, other) = (Fleet::of(4).await, Redis::start());
    fleet.settles().await;
    let port = other.port.to_string();
    assert_eq!(fleet.redis.cli(&["replicaof", "127.0.0.1", &port]), "OK");
    fleet.all_are_alone().await;
    eventually("it says why", async || {
        let trouble = fleet.nodes[0].health().relay.unwrap().trouble;
        trouble.as_deref() == Some("the relay is a slave, and not a master")
    })
    .await;
    fleet.edit_reaches_all("first").await;
    assert_eq!(fleet.redis.cli(&["replicaof", "no", "one"]), "OK");
    fleet.settles().await;
    fleet.edit_reaches_all("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_put_into_the_stream_changes_no_answer() {
    let fleet = Fleet::of(4).await;
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    let redis = &fleet.redis;
    let stream = redis.cli(&["--raw", "keys", "trunkline:*:changes"]);
    let last = redis.cli(&["--raw", "xrevrange", &stream, "+", "-", "count", "3"]);
    let old: Vec<_> = last.lines().map(ToOwned::to_owned).collect();
    assert_eq!(old.len(), 15, "an id, and two fields, of three entries: {old:?}");
    for _ in 0..20 {
        redis.cli(&["xadd", &stream, "*", "k", "cafecafe", "m", "no message"]);
        redis.cli(&["xadd", &stream, "*", "nothing", "of ours"]);
        for entry in old.chunks(5) {
            redis.cli(&["xadd", &stream, "*", "k", &entry[2], "m", &entry[4]]);
        }
    }
    fleet.edit_reaches_all("second").await;
    // Nor does what is taken out of it.
    redis.cli(&["del", &stream]);
    fleet.edit_reaches_all("third").await;
    redis.cli(&["set", &stream, "no stream"]);
    fleet.edit_reaches_all("fourth").await;
    redis.cli(&["del", &stream]);
    fleet.settles().await;
    fleet.edit_reaches_all("fifth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_key_reads_for_itself_and_says_so() {
    let mut fleet = Fleet::of(4).await;
    fleet.settles().await;
    let other = KeyRing::generate().unwrap().to_string();
    let stranger = fleet.node("stranger", &[("LIVEKIT_SECRET_ENCRYPTION_KEY", &other)]);
    eventually("it says why", async || {
        let relay = stranger.health().relay.unwrap();
        relay.role == RelayRole::Alone
            && relay.trouble.is_some_and(|why| why.contains("a key that this node does not have"))
    })
    .await;
    assert!(stranger.health().change_source != ChangeSource::Relay);
    fleet.edit_reaches_all("first").await;
    // With the ring of the others beside its own it follows.
    let both = format!("{other},{}", fleet.key);
    let knows = fleet.node("knows", &[("LIVEKIT_SECRET_ENCRYPTION_KEY", &both)]);
    eventually("it follows", async || role_of(&knows) == RelayRole::Follower).await;
    fleet.nodes.push(knows);
    fleet.edit_reaches_all("second").await;
    assert_eq!(role_of(&stranger), RelayRole::Alone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_those_who_follow_know_that_nothing_is_proven() {
    let mut cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(Migrations::Up).await.unwrap();
    let fleet = Fleet::on(Redis::start(), database, 4).await;
    fleet.settles().await;
    fleet.edit_reaches_all("first").await;
    // An answer that was loaded before its change was heard of is dropped by it.
    fleet.have_seen_all().await;
    fleet.answers("first").await;
    cluster.kill();
    eventually("nobody hears anything", async || {
        fleet.nodes.iter().all(|node| node.health().change_source == ChangeSource::Nothing)
    })
    .await;
    // What is in memory serves.
    fleet.answers("first").await;
    cluster.restart();
    fleet.settles().await;
    fleet.edit_reaches_all("second").await;
}
