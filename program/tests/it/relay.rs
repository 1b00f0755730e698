//! Nodes that learn of changes over a Redis.

mod daemon;
mod faults;
mod keys;
mod ways;

use std::time::Duration;

use trunkline::nodes::Nodes;
use trunkline::store::ConfigEdit;
use trunkline::{Caller, ChangeSource, ConfigId, KeyRing, RelayRole, Resolver};

use crate::support::database::{Kind, TestDatabase};
use crate::support::redis::Redis;
use crate::support::{caller, config, eventually, number};

const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes of one database that share a relay, and a number that all of them answer.
struct Fleet {
    redis: Redis,
    database: TestDatabase,
    key: String,
    config: ConfigId,
    caller: Caller,
    nodes: Vec<Resolver>,
}

impl Fleet {
    async fn of(many: usize) -> Self {
        Self::over(Redis::start(), many).await
    }

    async fn over(redis: Redis, many: usize) -> Self {
        Self::on(redis, TestDatabase::migrated(Kind::Postgres).await, many).await
    }

    async fn on(redis: Redis, database: TestDatabase, many: usize) -> Self {
        let key = KeyRing::generate().unwrap().to_string();
        let ring = KeyRing::parse(&key).unwrap();
        let config = database.store().create_config(&config(&ring, "eu")).await.unwrap();
        let caller = caller(1, 1);
        database.store().add_number(&number(caller, Some(config))).await.unwrap();
        let mut fleet = Self { redis, database, key, config, caller, nodes: Vec::new() };
        for at in 0..many {
            let node = fleet.node(&format!("n{at}"), &[]);
            fleet.nodes.push(node);
        }
        fleet
    }

    fn node(&self, name: &str, more: &[(&str, &str)]) -> Resolver {
        let url = self.redis.url();
        let variables = [
            &[
                ("NODE_NAME", name),
                ("RELAY_URL", url.as_str()),
                ("LIVEKIT_SECRET_ENCRYPTION_KEY", self.key.as_str()),
                ("SELF_CHECK_INTERVAL", "0s"),
            ],
            more,
        ]
        .concat();
        Resolver::builder(self.database.settings(&variables)).start()
    }

    fn with_role(&self, role: RelayRole) -> Vec<&Resolver> {
        self.nodes.iter().filter(|node| role_of(node) == role).collect()
    }

    /// Waits until one node leads, two stand by, and all others follow.
    async fn settles(&self) {
        let others = self.nodes.len() - 3;
        eventually("one leads, two stand by, others follow", async || {
            let many = |role| self.with_role(role).len();
            (many(RelayRole::Leader), many(RelayRole::Standby), many(RelayRole::Follower))
                == (1, 2, others)
        })
        .await;
    }

    async fn set_trunk(&self, trunk: &str) {
        let edit = ConfigEdit { trunk_id: Some(Some(trunk.into())), ..ConfigEdit::default() };
        assert!(self.database.store().update_config(self.config, &edit).await.unwrap());
    }

    /// Waits until every node answers with this trunk.
    async fn answers(&self, trunk: &str) {
        for node in &self.nodes {
            eventually("the new trunk is used", async || {
                node.resolve(self.caller).await.unwrap().trunk_id() == Some(trunk)
            })
            .await;
        }
    }

    /// Makes an edit, and waits until every node uses it.
    async fn edit_reaches_all(&self, trunk: &str) {
        self.set_trunk(trunk).await;
        self.answers(trunk).await;
    }

    /// Waits until every node tells that it has seen all changes.
    async fn have_seen_all(&self) {
        let change = self.database.log().newest_change().await.unwrap();
        let (nodes, all) = (Nodes::of(&self.database.open), self.nodes.len());
        // One whose first row is not written yet does not count.
        eventually("all have told that they have seen it", async || {
            let seen = nodes.seen_by(change, PATIENCE).await.unwrap();
            assert_eq!(seen.seen, seen.of, "{:?}", seen.behind);
            seen.of == all
        })
        .await;
    }

    /// Ends the nodes that have this role.
    async fn end(&mut self, role: RelayRole) {
        let (ending, staying): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.nodes).into_iter().partition(|node| role_of(node) == role);
        self.nodes = staying;
        for node in ending {
            assert!(node.stop(PATIENCE).await);
        }
    }

    async fn all_are_alone(&self) {
        eventually("each reads for itself", async || {
            self.with_role(RelayRole::Alone).len() == self.nodes.len()
        })
        .await;
    }

    /// How many sessions this node has at the database.
    async fn sessions(&self, name: &str) -> String {
        let query = format!(
            "select count(*) from pg_stat_activity where datname = current_database()
                and application_name = 'trunkline/{name}'"
        );
        self.database.value(&query).await
    }
}

fn role_of(node: &Resolver) -> RelayRole {
    node.health().relay.expect("it takes part").role
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_follows_one_leader_and_leaves_the_database_alone() {
    let fleet = Fleet::of(6).await;
    fleet.settles().await;
    fleet.set_trunk("first").await;
    fleet.answers("first").await;
    for follower in fleet.with_role(RelayRole::Follower) {
        assert_eq!(follower.health().change_source, ChangeSource::Relay);
    }
    for (at, node) in fleet.nodes.iter().enumerate() {
        if role_of(node) == RelayRole::Follower {
            let name = format!("n{at}");
            eventually("it holds no connection", async || fleet.sessions(&name).await == "0").await;
        }
    }
    // Warm answers need none either, and are current.
    fleet.set_trunk("second").await;
    fleet.answers("second").await;
    // The leader writes the rows of all.
    fleet.have_seen_all().await;
}
