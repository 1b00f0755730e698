//! Data keys turn by schedule: over a year, with a leader that dies at each step, with two at once, and never by force.

use std::process::{Child, Command};
use std::time::Duration;

use serde_json::json;
use trunkline::rotation::{Blocked, Rotation, RotationError};
use trunkline::{KeyRing, Resolver};

use super::wrapped::{stage_wrapped, told};
use super::{Turning, id, phases};
use crate::cli::{KEY, NUMBER, TENANT};
use crate::support::NOW;
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::postgres::psql;

const PERIOD: Duration = Duration::from_secs(90 * 86_400);

/// Lets so many days pass for what the database knows of keys.
async fn days_pass(database: &TestDatabase, days: u32) {
    for (table, columns) in [
        ("trunkline_known_keys", &["added_at", "since", "clean_since"][..]),
        ("trunkline_key_state", &["readers_confirmed_at"]),
        ("trunkline_key_rotation", &["held_until", "step_at", "blocked_since"]),
    ] {
        let earlier = columns.iter().map(|column| match database.kind {
            Kind::Postgres => format!("{column} = {column} - interval '{days} days'"),
            Kind::Sqlite => {
                format!("{column} = strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-{days} days')")
            }
        });
        let earlier = earlier.collect::<Vec<_>>().join(", ");
        database.sql(&format!("update {table} set {earlier}")).await;
    }
}

/// A site whose first data key seals, which its node has; and the ids of the key.
fn begun(kind: Kind) -> (Turning, String) {
    let turning = Turning::begin(kind);
    let site = turning.with(&[&turning.old]);
    let key = stage_wrapped(&site);
    site.run(&["key", "rotate", "--force"]).ok();
    assert_eq!(phases(&site)[1], (key.clone(), json!("sealing"), 1), "{kind:?}");
    (turning, key)
}

fn caller() -> trunkline::Caller {
    trunkline::Caller::parse(TENANT, NUMBER).unwrap()
}

async fn opens(node: &Resolver) {
    let answer = node.resolve(caller()).await.unwrap();
    assert_eq!(answer.reason(), None, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_year_of_days_four_keys_are_made_and_each_goes() {
    for kind in BOTH {
        let (turning, first) = begun(kind);
        let node = turning.node("n", &[&turning.old]).await;
        told(&node, &first).await;
        let settings = turning.database.settings(&[("NODE_NAME", "n"), (KEY, &turning.old)]);
        let ring = KeyRing::parse(&turning.old).unwrap();
        let open = crate::support::database::open(&settings);
        let rotation = Rotation::new(&open, &ring, &settings.tuning);
        let mut steps = Vec::new();
        for day in 0..365 {
            loop {
                let turn = rotation.turn(PERIOD, NOW + day * 86_400).await.unwrap();
                for step in &turn.steps {
                    steps.push(step.name);
                    if let ("stage", Some(key)) = (step.name, step.key) {
                        // Not before every node has it.
                        told(&node, &key.to_string()).await;
                    }
                }
                if let Some(why) = &turn.blocked_by {
                    panic!("{kind:?}: {why} on day {day}");
                }
                if turn.steps.is_empty() {
                    break;
                }
                opens(&node).await;
            }
            days_pass(&turning.database, 1).await;
        }
        let many = |name| steps.iter().filter(|step| **step == name).count();
        // The key of the settings goes out of use first, and then each data key but the last.
        let counted = ["stage", "promote", "reseal", "refuse", "retire"].map(many);
        assert_eq!(counted, [4, 4, 4, 5, 5], "{kind:?} {steps:?}");
        let left = turning.database.value("select key_id from trunkline_keys").await;
        assert_ne!(left, first, "{kind:?}");
        let status = turning.with(&[&turning.old]).run(&["key", "status", "--json"]).json();
        assert_eq!((&status["sealing"], &status["epoch"]), (&json!(left), &json!(6)), "{kind:?}");
        opens(&node).await;
    }
}

/// Waits for what a daemon does that looks every ten seconds.
async fn in_time(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, waiting).await.is_ok(), "never came true: {what}");
}

/// A daemon that turns keys by schedule.
struct Daemon(Child);

impl Daemon {
    fn start(turning: &Turning, name: &str) -> Self {
        let program = turning.both().with("KEY_ROTATION", "90d");
        let program = program.with("NODE_NAME", name).with("MAX_STALE", "0s");
        let mut command: Command = program.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Kills it, and lets the time pass for which it counts and holds its turn.
    async fn dies(mut self, database: &TestDatabase, name: &str) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        database.sql(&format!("delete from trunkline_nodes where name = '{name}'")).await;
        days_pass(database, 0).await;
        let past = match database.kind {
            Kind::Postgres => "now() - interval '1 second'",
            Kind::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 second')",
        };
        database.sql(&format!("update trunkline_key_rotation set held_until = {past}")).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What state a key is in. Asked without a session that would stand before the gate.
async fn state(database: &TestDatabase, key: &str) -> String {
    let sql = format!("select state from trunkline_known_keys where key_id = '{key}'");
    database.value(&sql).await
}

/// The data key that is not this one, once there is one.
async fn next_key(database: &TestDatabase, first: &str) -> String {
    let sql = format!("select max(key_id) from trunkline_keys where key_id <> '{first}'");
    let mut next = String::new();
    in_time("the next key is made", async || {
        next = database.value(&format!("select coalesce(({sql}), '')")).await;
        !next.is_empty()
    })
    .await;
    next
}

/// How often a key entered a state, by the audit.
async fn entered(database: &TestDatabase, key: &str, state: &str) -> String {
    let field = match database.kind {
        Kind::Postgres => "cast(after as json) ->> 'state'",
        Kind::Sqlite => "after ->> 'state'",
    };
    let sql = format!(
        "select count(*) from trunkline_audit where entity = 'key' and row_id = '{key}' and {field} = '{state}'"
    );
    database.value(&sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_after_a_leader_that_died_goes_on_from_each_step() {
    for kind in BOTH {
        let (turning, first) = begun(kind);
        let database = &turning.database;
        days_pass(database, 91).await;
        // The key of the settings goes first, as it is old already.
        let reached = async |key: &str, wanted: &str| {
            in_time("the step is taken", async || state(database, key).await == wanted).await;
        };
        let root = id(&turning.old);
        for wanted in ["refused", "retired"] {
            let daemon = Daemon::start(&turning, "one");
            reached(&root, wanted).await;
            daemon.dies(database, "one").await;
            days_pass(database, 2).await;
        }
        let daemon = Daemon::start(&turning, "two");
        let next = next_key(database, &first).await;
        daemon.dies(database, "two").await;
        for wanted in ["old", "refused", "retired"] {
            let daemon = Daemon::start(&turning, "three");
            reached(&first, wanted).await;
            daemon.dies(database, "three").await;
            // Killed before it sealed again, or after it: the next one has to find out.
            if wanted == "old" {
                let daemon = Daemon::start(&turning, "four");
                let clean =
                    "select count(*) from trunkline_known_keys where clean_since is not null";
                let clean = format!("{clean} and key_id = '{first}'");
                in_time("none is under it", async || database.value(&clean).await == "1").await;
                daemon.dies(database, "four").await;
            }
            days_pass(database, 2).await;
        }
        for became in ["staged", "sealing"] {
            assert_eq!(entered(database, &next, became).await, "1", "{kind:?} {became}");
        }
        for became in ["old", "refused", "retired"] {
            assert_eq!(entered(database, &first, became).await, "1", "{kind:?} {became}");
        }
        assert_eq!(database.value("select count(*) from trunkline_keys").await, "1", "{kind:?}");
        let site = turning.with(&[&turning.old]);
        assert_eq!(
            site.run(&["key", "verify", "--json"]).json()["keys"],
            json!([{"id": next, "configs": 1}])
        );
        let listed = site.run(&["audit", "list", "--entity", "key", "--json"]).ok();
        assert!(listed.contains("KEY_ROTATION"), "{kind:?} {listed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_daemons_one_turns_and_a_node_without_the_root_key_holds_it_up_by_name() {
    for kind in BOTH {
        let (turning, first) = begun(kind);
        let database = &turning.database;
        // From here on the second key of the settings seals the data keys, which one node does not have.
        turning.both().run(&["key", "rewrap", "--force"]).ok();
        let stranger = turning.node("stranger", &[&turning.old]).await;
        days_pass(database, 91).await;
        // Without it the key of the settings would have to be waited for.
        database
            .sql(&format!(
                "update trunkline_known_keys set state = 'retired' where key_id = '{}'",
                id(&turning.old)
            ))
            .await;
        let daemons = ["one", "two"].map(|name| Daemon::start(&turning, name));
        let next = next_key(database, &first).await;
        let blocked = "select coalesce((select blocked_by from trunkline_key_rotation), '')";
        in_time("the stranger is named", async || {
            let why = database.value(blocked).await;
            why.contains("stranger") && why.contains(&next)
        })
        .await;
        assert_eq!(state(database, &next).await, "staged", "{kind:?}: nothing is forced");
        drop(stranger);
        in_time("it goes on", async || state(database, &next).await == "sealing").await;
        in_time("and says so", async || database.value(blocked).await.is_empty()).await;
        assert_eq!(database.value("select count(*) from trunkline_keys").await, "2", "{kind:?}");
        for became in ["staged", "sealing"] {
            assert_eq!(entered(database, &next, became).await, "1", "{kind:?} {became}");
        }
        drop(daemons);
    }
}

/// It is told what keeps it from beginning, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_nobody_began_makes_no_key() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let settings = turning.database.settings(&[(KEY, &turning.old)]);
        let ring = KeyRing::parse(&turning.old).unwrap();
        let rotation = Rotation::new(&turning.database.open, &ring, &settings.tuning);
        let blocked = async || match rotation.turn(PERIOD, NOW).await.unwrap().blocked_by {
            Some(why @ Blocked::Keys(_)) => why.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(blocked().await.contains("one of the settings"), "{kind:?}");
        turning.both().run(&["key", "stage", "--unseen-readers", "none"]).ok();
        turning.both().run(&["key", "promote", "--force"]).ok();
        assert!(blocked().await.contains("one of the settings"), "{kind:?}");
        assert_eq!(turning.database.value("select count(*) from trunkline_keys").await, "0");
        turning.database.open.migrate(trunkline::store::Migrations::DownTo(17)).await.unwrap();
        assert!(blocked().await.contains("db migrate"), "{kind:?}");
        turning.database.open.migrate(trunkline::store::Migrations::DownTo(12)).await.unwrap();
        let error = rotation.turn(PERIOD, NOW).await.unwrap_err();
        assert!(matches!(error, RotationError::NotMigrated), "{kind:?} {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_without_the_right_says_so_and_one_with_it_turns() {
    let (turning, first) = begun(Kind::Postgres);
    let url = turning.database.url.clone();
    let site = turning.with(&[&turning.old]);
    let grants = ["db", "grants", "--service", "turn_svc", "--editor", "turn_edt", "--apply"];
    site.run(&grants).ok();
    psql(&url, "alter role turn_svc login");
    let root = id(&turning.old);
    psql(
        &url,
        &format!("update trunkline_known_keys set state = 'retired' where key_id = '{root}'"),
    );
    days_pass(&turning.database, 91).await;
    let program = turning.with(&[&turning.old]).with("KEY_ROTATION", "90d");
    let program = program.with("DATABASE_URL", &url.replace("owner@", "turn_svc@"));
    let doctor = program.run(&["doctor"]);
    assert!(doctor.out.contains("KEY_ROTATION"), "{}", doctor.out);
    let program = program.with("NODE_NAME", "svc");
    let command = program.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut daemon = crate::support::process::Process::start(command);
    daemon.said("may not turn keys");
    assert_eq!(psql(&url, "select count(*) from trunkline_keys"), "1");
    site.run(&[&grants[..], &["--keys"]].concat()).ok();
    drop(daemon);
    psql(&url, "delete from trunkline_nodes");
    let program =
        turning.with(&[&turning.old]).with("KEY_ROTATION", "90d").with("NODE_NAME", "svc");
    let program = program.with("DATABASE_URL", &url.replace("owner@", "turn_svc@"));
    let command = program.command(&["serve", "--listen", "127.0.0.1:0"]);
    let daemon = crate::support::process::Process::start(command);
    let next = next_key(&turning.database, &first).await;
    in_time("it seals", async || state(&turning.database, &next).await == "sealing").await;
    drop(daemon);
}
