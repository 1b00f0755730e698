//! Nodes that cannot be listed answer all the same, and say why.

use trunkline::nodes::Nodes;
use trunkline::store::Migrations;
use trunkline::{Resolver, Settings};

use super::{PATIENCE, listed, names, node};
use crate::support::database::{BOTH, Kind, TestDatabase, settings};
use crate::support::eventually;
use crate::support::live::Live;
use crate::support::postgres::{Cluster, psql};

/// Waits until it says why it is not listed, and returns that.
async fn unlisted(resolver: &Resolver) -> String {
    eventually("it is unlisted", async || resolver.health().unlisted.is_some()).await;
    resolver.health().unlisted.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_the_right_answers_says_that_it_is_unlisted_and_is_found() {
    let live = Live::new(Kind::Postgres).await;
    let url = &live.database.url;
    let role = format!("reader_of_{}", url.rsplit('/').next().unwrap());
    psql(
        url,
        &format!(
            "create role {role} login;
             grant select on voice_agent_livekit, voice_agent_numbers, voice_agent_changes,
                 trunkline_rollout, trunkline_migrations to {role}"
        ),
    );
    let as_role = url.replace("owner@", &format!("{role}@"));
    let of_role = || -> Settings {
        let mut settings = settings(&as_role, &[("NODE_NAME", "reader")]);
        settings.ring = (live.settings)(&[]).ring;
        settings
    };
    let resolver = Resolver::builder(of_role()).start();
    let why = unlisted(&resolver).await;
    assert!(why.contains("permission denied for table trunkline_nodes"), "{why}");
    eventually("changes are heard", async || resolver.hears_changes()).await;
    assert!(resolver.resolve(live.caller).await.unwrap().reason().is_none());
    live.set_trunk("ST_new").await;
    eventually("changes are used", async || {
        resolver.resolve(live.caller).await.unwrap().trunk_id() == Some("ST_new")
    })
    .await;
    assert_eq!(resolver.health().not_ready, None);
    let found = Nodes::of(&live.database.open).unlisted().await.unwrap();
    let found: Vec<_> = found.iter().filter(|node| node.name == "reader").collect();
    assert!(found.len() == 1 && found[0].role == role && found[0].sessions >= 2, "{found:?}");

    psql(url, &format!("grant select, insert, update, delete on trunkline_nodes to {role}"));
    resolver.reload(of_role()).unwrap();
    eventually("it is listed", async || {
        listed(&live.database).await.iter().any(|node| node.name == "reader")
    })
    .await;
    // It learns a moment after others that its row is written.
    eventually("it knows", async || resolver.health().unlisted.is_none()).await;
    let found = Nodes::of(&live.database.open).unlisted().await.unwrap();
    assert!(found.iter().all(|node| node.name != "reader"), "{found:?}");
    resolver.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_replica_it_answers_and_is_unlisted() {
    let cluster = Cluster::start();
    let name = cluster.database_name();
    let database = TestDatabase::on(&cluster.url(&name));
    database.open.migrate(Migrations::Up).await.unwrap();
    let standby = cluster.standby();
    cluster.is_followed_by(&standby);
    let at_standby = TestDatabase::on(&standby.url(&name));
    let resolver = Resolver::builder(at_standby.settings(&[])).start();
    let why = unlisted(&resolver).await;
    assert!(why.contains("read-only transaction"), "{why}");
    eventually("changes are heard", async || resolver.hears_changes()).await;
    assert_eq!(resolver.health().not_ready, None);
    // Others can be listed from there.
    let other = node(&database, "at the primary", &[]).await;
    eventually("it is listed at the replica", async || {
        names(&listed(&at_standby).await) == ["at the primary"]
    })
    .await;
    for resolver in [resolver, other] {
        resolver.stop(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_tables_without_that_of_nodes_it_answers_and_says_what_to_run() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        database.open.migrate(Migrations::DownTo(4)).await.unwrap();
        let status = database.open.migrate(Migrations::Status).await.unwrap();
        assert!(status.is_enough() && !status.is_current(), "{status:?}");
        let live = Live::on(database).await;
        let why = unlisted(&live.resolver).await;
        assert!(why.contains("run `trunkline db migrate`"), "{why}");
        assert!(live.resolver.resolve(live.caller).await.unwrap().reason().is_none());
        live.set_trunk("ST_new").await;
        live.trunk_becomes(Some("ST_new")).await;
        assert_eq!(live.resolver.health().not_ready, None, "{kind:?}");
    }
}
