//! Nodes of one database know of each other, and of what each has seen.

mod unlisted;

use std::time::Duration;

use trunkline::nodes::{Node, NodeState, Nodes, SeenError};
use trunkline::store::NewNumber;
use trunkline::{KeyRing, Resolver};

use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::postgres::psql;
use crate::support::{HandClock, caller, eventually, number};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node of this name, once it is listed and has looked.
async fn node(database: &TestDatabase, name: &str, more: &[(&str, &str)]) -> Resolver {
    let variables = [&[("NODE_NAME", name)], more].concat();
    let resolver = Resolver::builder(database.settings(&variables)).program("a test").start();
    let nodes = Nodes::of(&database.open);
    eventually("it is listed", async || {
        let listed = nodes.list().await.unwrap();
        listed.iter().any(|node| node.name == name && node.applied.is_some())
    })
    .await;
    resolver
}

async fn listed(database: &TestDatabase) -> Vec<Node> {
    Nodes::of(&database.open).list().await.unwrap()
}

fn names(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.name.as_str()).collect()
}

/// Writes one more number, and returns the place of that change.
async fn change(database: &TestDatabase, at: u64) -> i64 {
    database.store().add_number(&some_number(at)).await.unwrap();
    database.log().newest_change().await.unwrap()
}

fn some_number(at: u64) -> NewNumber {
    number(caller(1, at), None)
}

/// Makes a row look as old as that.
async fn ages(database: &TestDatabase, name: &str, seconds: u64) {
    let at = match database.kind {
        Kind::Postgres => format!("clock_timestamp() - interval '{seconds} seconds'"),
        Kind::Sqlite => format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{seconds} seconds')"),
    };
    let sql = format!("update trunkline_nodes set refreshed_at = {at} where name = '{name}'");
    database.sql(&sql).await;
}

/// Makes a row of a node that is no more, like that of another one.
async fn copy(database: &TestDatabase, of: &str, name: &str) {
    let (columns, values) = (
        "host, program, version, keys, settings, hearing, lease, max_stale, applied, cached, refreshes, \
         started_at, refreshed_at",
        match database.kind {
            Kind::Postgres => "gen_random_uuid()",
            Kind::Sqlite => "randomblob(16)",
        },
    );
    let sql = format!(
        "insert into trunkline_nodes (id, name, {columns})
         select {values}, '{name}', {columns} from trunkline_nodes where name = '{of}'"
    );
    database.sql(&sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_know_each_other_and_each_others_keys_until_they_stop() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let keys = [(); 2].map(|()| KeyRing::generate().unwrap().to_string());
        let ids = keys.each_ref().map(|key| KeyRing::parse(key).unwrap().key_ids()[0].to_string());
        let key = "LIVEKIT_SECRET_ENCRYPTION_KEY";
        let first = node(&database, "a", &[(key, &keys[0])]).await;
        let both = format!("{},{}", keys[1], keys[0]);
        let second = node(&database, "b", &[(key, &both), ("MAX_STALE", "2h")]).await;
        let nodes = first.nodes().unwrap().list().await.unwrap();
        assert_eq!(names(&nodes), ["a", "b"], "{kind:?}");
        assert_eq!(nodes[0].keys, [ids[0].clone()]);
        assert_eq!(nodes[1].keys, [ids[1].clone(), ids[0].clone()]);
        assert_ne!(nodes[0].settings, nodes[1].settings, "MAX_STALE is to be shared");
        assert_eq!(nodes[1].max_stale, Duration::from_secs(7200));
        for node in &nodes {
            assert_eq!((node.program.as_str(), node.state), ("a test", NodeState::Live));
            assert_eq!(node.version, env!("CARGO_PKG_VERSION"));
            assert!(!node.host.is_empty() && node.since.is_some(), "{node:?}");
        }
        // What a reload changes is told of soon.
        let settings = |more: &[(&str, &str)]| {
            database.settings(&[&[("NODE_NAME", "a"), (key, both.as_str())], more].concat())
        };
        first.reload(settings(&[])).unwrap();
        eventually("the new ring is listed", async || listed(&database).await[0].keys.len() == 2)
            .await;
        assert!(first.stop(PATIENCE).await);
        assert_eq!(names(&listed(&database).await), ["b"]);
        drop(second);
        eventually("one that is dropped leaves, too", async || listed(&database).await.is_empty())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_gone_counts_until_its_max_stale_and_no_longer() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let first = node(&database, "patient", &[("MAX_STALE", "100s")]).await;
        copy(&database, "patient", "gone").await;
        first.stop(PATIENCE).await;
        let state = async |seconds| {
            ages(&database, "gone", seconds).await;
            listed(&database).await.first().map(|node| node.state)
        };
        assert_eq!(state(25).await, Some(NodeState::Live));
        assert_eq!(state(35).await, Some(NodeState::Silent));
        // As long as a test that is held up for long might take.
        assert_eq!(state(70).await, Some(NodeState::Silent));
        assert_eq!(state(101).await, None);
        // It may be late between two writes, however short its MAX_STALE is.
        database.sql("update trunkline_nodes set max_stale = 0").await;
        assert_eq!(state(5).await, Some(NodeState::Live));
        assert_eq!(state(31).await, None);

        // A row goes a day after it counted, with the next node that comes.
        let rows = async || {
            let all = "update trunkline_nodes set max_stale = 1e9";
            database.sql(all).await;
            listed(&database).await.iter().filter(|node| node.name == "gone").count()
        };
        for (age, left) in [(86_300, 1), (86_500, 0)] {
            database.sql("update trunkline_nodes set max_stale = 0").await;
            ages(&database, "gone", age).await;
            let next = node(&database, "next", &[]).await;
            let forgotten = "select count(*) from trunkline_nodes where name = 'gone'";
            if left == 0 && kind == Kind::Postgres {
                let url = database.url.clone();
                eventually("it is forgotten", async || psql(&url, forgotten) == "0").await;
            } else if left == 0 {
                eventually("it is forgotten", async || rows().await == 0).await;
            }
            assert!(next.stop(PATIENCE).await);
            assert_eq!(rows().await, left, "{kind:?} {age}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_by_all_once_all_have_applied_it() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let nodes = Nodes::of(&database.open);
        let place = change(&database, 1).await;
        let none = nodes.seen_by(place, PATIENCE).await.unwrap();
        assert_eq!((none.seen, none.of), (0, 0), "nobody is there");

        let (first, second) = (node(&database, "a", &[]).await, node(&database, "b", &[]).await);
        let place = change(&database, 2).await;
        let seen = nodes.seen_by(place, PATIENCE).await.unwrap();
        assert_eq!((seen.seen, seen.of, names(&seen.behind)), (2, 2, vec![]), "{kind:?}");
        // Nodes tell of it soon: between two of their usual writes are nine seconds at the least.
        for at in 10..13 {
            let place = change(&database, at).await;
            let seen = nodes.seen_by(place, Duration::from_secs(8)).await.unwrap();
            assert_eq!(seen.seen, 2, "{kind:?}: {seen:?}");
        }
        copy(&database, "b", "stopped").await;
        let place = change(&database, 3).await;
        let seen = nodes.seen_by(place, Duration::from_secs(2)).await.unwrap();
        assert!(seen.seen >= 1 && seen.of == 3, "{seen:?}");
        assert!(names(&seen.behind).contains(&"stopped"), "{seen:?}");

        // What is not in the log: never there, or pruned.
        let missing = nodes.seen_by(10_000, Duration::ZERO).await.unwrap_err();
        assert!(
            matches!(missing, SeenError::NoSuchChange { change: 10_000, newest } if newest == place)
        );
        assert!(missing.to_string().contains(&format!("goes up to {place}")), "{missing}");
        database.sql("delete from trunkline_nodes where name = 'stopped'").await;
        let old = match kind {
            Kind::Postgres => "clock_timestamp() - interval '2 days'",
            Kind::Sqlite => "'2020-01-01T00:00:00.000Z'",
        };
        database.sql(&format!("update voice_agent_changes set changed_at = {old}")).await;
        database.log().prune_changes(Duration::from_secs(3600)).await.unwrap();
        let seen = nodes.seen_by(place - 1, PATIENCE).await.unwrap();
        assert_eq!((seen.seen, seen.of), (2, 2), "{kind:?}: it was pruned");
        for resolver in [first, second] {
            resolver.stop(PATIENCE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_commits_late_is_not_called_seen_before_it_is() {
    use sqlx::{Connection, Executor};

    let database = TestDatabase::migrated(Kind::Postgres).await;
    let nodes = Nodes::of(&database.open);
    let resolver = node(&database, "a", &[]).await;
    let mut late = sqlx::PgConnection::connect(&database.url).await.unwrap();
    late.execute("begin").await.unwrap();
    late.execute(
        "insert into voice_agent_numbers (tenant_id, country_code, base_number)
         values (gen_random_uuid(), '+971', 500000001)",
    )
    .await
    .unwrap();
    let place: i64 = sqlx::query_scalar("select max(seq) from voice_agent_changes")
        .fetch_one(&mut late)
        .await
        .unwrap();
    // A later place commits, and everybody sees it.
    let later = change(&database, 2).await;
    assert!(later > place);
    let seen = nodes.seen_by(later, PATIENCE).await.unwrap();
    assert_eq!((seen.seen, seen.of), (1, 1));
    let open = nodes.seen_by(place, Duration::ZERO).await.unwrap_err();
    assert!(matches!(open, SeenError::NoSuchChange { .. }), "{open}");
    // One that looked last before the commit.
    copy(&database, "a", "early").await;

    late.execute("commit").await.unwrap();
    let seen = nodes.seen_by(later, PATIENCE).await.unwrap();
    assert_eq!((seen.seen, seen.of), (2, 2), "both have the later place");
    let seen = nodes.seen_by(place, Duration::from_secs(2)).await.unwrap();
    assert_eq!((seen.of, names(&seen.behind).contains(&"early")), (2, true), "{seen:?}");
    database.sql("delete from trunkline_nodes where name = 'early'").await;
    let seen = nodes.seen_by(place, PATIENCE).await.unwrap();
    assert_eq!((seen.seen, seen.of), (1, 1));
    resolver.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_an_open_transaction_is_not_taken_for_one_that_was_pruned() {
    use sqlx::{Connection, Executor};

    let database = TestDatabase::migrated(Kind::Postgres).await;
    let resolver = node(&database, "a", &[]).await;
    let insert = |number: u64| {
        format!(
            "insert into voice_agent_numbers (tenant_id, country_code, base_number)
             values (gen_random_uuid(), '+971', {number})"
        )
    };
    // The younger transaction takes the first place, and the older one commits the second.
    let [mut older, mut younger] = [
        sqlx::PgConnection::connect(&database.url).await.unwrap(),
        sqlx::PgConnection::connect(&database.url).await.unwrap(),
    ];
    older.execute("begin; select pg_current_xact_id()").await.unwrap();
    younger.execute("begin").await.unwrap();
    younger.execute(sqlx::AssertSqlSafe(insert(1))).await.unwrap();
    older.execute(sqlx::AssertSqlSafe(insert(2))).await.unwrap();
    older.execute("commit").await.unwrap();
    let newest = database.log().newest_change().await.unwrap();
    let nodes = Nodes::of(&database.open);
    assert_eq!(nodes.seen_by(newest, PATIENCE).await.unwrap().seen, 1);
    let open = nodes.seen_by(newest - 1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(open, SeenError::NoSuchChange { .. }), "{open}");
    resolver.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_else_has_written_is_left_to_him() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let resolver = node(&database, "a", &[]).await;
        let before = listed(&database).await[0].id;
        database.sql("update trunkline_nodes set name = 'copy', refreshes = refreshes + 1").await;
        change(&database, 1).await;
        eventually("it has taken another id", async || {
            names(&listed(&database).await) == ["a", "copy"]
        })
        .await;
        let nodes = listed(&database).await;
        assert_eq!(nodes[1].id, before, "{kind:?}");
        assert_ne!(nodes[0].id, before);
        resolver.stop(PATIENCE).await;
        assert_eq!(names(&listed(&database).await), ["copy"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ten_years_off_changes_nothing() {
    for kind in BOTH {
        let database = TestDatabase::migrated(kind).await;
        let right = node(&database, "right", &[]).await;
        let clock = HandClock::default();
        clock.advance(Duration::from_secs(10 * 365 * 86_400));
        let builder = Resolver::builder(database.settings(&[("NODE_NAME", "wrong")]));
        let wrong = builder.clock(std::sync::Arc::new(clock)).start();
        eventually("both are there", async || listed(&database).await.len() == 2).await;
        let place = change(&database, 1).await;
        let seen = Nodes::of(&database.open).seen_by(place, PATIENCE).await.unwrap();
        assert_eq!((seen.seen, seen.of), (2, 2), "{kind:?}");
        let nodes = listed(&database).await;
        assert!(nodes.iter().all(|node| node.state == NodeState::Live), "{nodes:?}");
        let apart = nodes[0].since.unwrap() - nodes[1].since.unwrap();
        assert!(apart.num_hours() == 0, "{nodes:?}");
        for resolver in [right, wrong] {
            resolver.stop(PATIENCE).await;
        }
    }
}
