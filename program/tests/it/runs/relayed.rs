//! Nodes that follow over a relay: the row of each is written by whoever leads that.

use trunkline::{KeyRing, RelayRole, Resolver};

use super::{Lab, eventually};
use crate::support::database::Kind;
use crate::support::redis::Redis;
use crate::support::{caller, config, number};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_counts_the_calls_of_nodes_that_follow() {
    let (lab, redis) = (Lab::new(Kind::Postgres).await, Redis::start());
    let (ring, store) = (KeyRing::parse(&lab.key).unwrap(), lab.database.store());
    let (good, bad) = (caller(1, 1), caller(2, 1));
    let other = store.create_config(&config(&crate::support::ring(), "elsewhere")).await.unwrap();
    let config = store.create_config(&config(&ring, "eu")).await.unwrap();
    store.add_number(&number(good, Some(config))).await.unwrap();
    store.add_number(&number(bad, Some(other))).await.unwrap();
    let nodes: Vec<_> = (0..5)
        .map(|at| {
            let variables = [
                ("NODE_NAME", format!("n{at}")),
                ("RELAY_URL", redis.url()),
                ("LIVEKIT_SECRET_ENCRYPTION_KEY", lab.key.clone()),
            ];
            let variables: Vec<_> = variables.iter().map(|(name, at)| (*name, &**at)).collect();
            Resolver::builder(lab.database.settings(&variables)).start()
        })
        .collect();
    let follow = || nodes.iter().filter(|node| role_of(node) == RelayRole::Follower);
    eventually("two follow", async || follow().count() == 2).await;
    for at in 0..5 {
        lab.is_listed(&format!("n{at}")).await;
    }

    lab.begin_at_once().await;
    lab.counts().await;
    for node in follow() {
        eventually("it obeys the step", async || {
            node.resolve(good).await.is_ok_and(|answer| answer.reason().is_none())
        })
        .await;
    }
    let before = lab.run().await.progress.at_step;
    for node in follow() {
        for _ in 0..20 {
            assert_eq!(node.resolve(good).await.unwrap().reason(), None);
        }
        assert!(node.resolve(bad).await.is_err());
    }
    eventually("their calls are counted", async || {
        let now = lab.run().await.progress.at_step;
        (now.inside - before.inside, now.faults - before.faults) >= (42, 2)
    })
    .await;
    assert_eq!(follow().count(), 2, "they followed all the time");
}

fn role_of(node: &Resolver) -> RelayRole {
    node.health().relay.expect("it takes part").role
}
