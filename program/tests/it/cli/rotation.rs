//! Keys turn: a key is staged, promoted, and what it is to seal is sealed again; what is wrong is told.

mod interrupted;
mod onwards;
mod pairs;
mod readers;
mod scheduled;
mod wrapped;

use serde_json::{Value, json};
use trunkline::store::Migrations;
use trunkline::{KeyId, KeyRing, Resolver};

use super::{KEY, NUMBER, Site, TENANT, new_key, refused};
use crate::support::database::{BOTH, Kind, TestDatabase, settings};
use crate::support::eventually;
use crate::support::postgres::psql;
use crate::support::program::{Program, Run};

const NONE: [&str; 2] = ["--unseen-readers", "none"];

/// A site with two keys, of which the first one seals.
struct Turning {
    site: Site,
    database: TestDatabase,
    old: String,
    new: String,
}

impl Turning {
    fn begin(kind: Kind) -> Self {
        let (site, _) = Site::with_route(kind);
        let database = TestDatabase::at(kind, &site.variable("DATABASE_URL"));
        let (old, new) = (site.variable(KEY), new_key());
        Self { site, database, old, new }
    }

    /// The program with these keys.
    fn with(&self, keys: &[&str]) -> Program {
        self.site.with(KEY, &keys.join(","))
    }

    fn both(&self) -> Program {
        self.with(&[&self.old, &self.new])
    }

    /// A node with these keys, once it is listed.
    async fn node(&self, name: &str, keys: &[&str]) -> Resolver {
        let keys = keys.join(",");
        let settings = self.database.settings(&[("NODE_NAME", name), (KEY, keys.as_str())]);
        let resolver = Resolver::builder(settings).program("a test").start();
        let nodes = resolver.nodes().unwrap();
        eventually("it is listed", async || {
            nodes.list().await.unwrap().iter().any(|node| node.name == name)
        })
        .await;
        resolver
    }
}

fn id(key: &str) -> String {
    KeyRing::parse(key).unwrap().key_ids()[0].to_string()
}

fn phases(program: &Program) -> Vec<(String, Value, u64)> {
    let status = program.run(&["key", "status", "--json"]).json();
    let keys = status["keys"].as_array().unwrap().iter();
    let told = |key: &Value| {
        let many = key["configs"].as_u64().unwrap();
        (key["id"].as_str().unwrap().to_owned(), key["phase"].clone(), many)
    };
    keys.map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_staged_and_promoted_and_seals_whatever_stands_first() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (old, new) = (id(&turning.old), id(&turning.new));
        let both = turning.both();
        assert_eq!(
            phases(&both),
            [(old.clone(), Value::Null, 1), (new.clone(), Value::Null, 0)],
            "{kind:?}"
        );
        let look = [&["key", "stage", "--dry-run", "--json"][..], &NONE].concat();
        let told = both.run(&look).json();
        assert_eq!((&told["key"], &told["sealing"]), (&json!(new), &json!(old)), "{kind:?}");
        assert_eq!(phases(&both)[1].1, Value::Null, "nothing was done");
        let said = both.run(&[&["key", "stage"][..], &NONE].concat());
        assert!(said.err.is_empty(), "{}", said.err);
        assert!(said.ok().contains(&format!("key {new} is staged; key {old} goes on sealing")));
        let again = both.run(&["key", "stage", "--json"]).json();
        assert_eq!((&again["already"], &again["unseen_readers"]), (&json!(true), &json!("none")));
        assert_eq!(
            phases(&both),
            [(old.clone(), json!("sealing"), 1), (new.clone(), json!("staged"), 0)]
        );
        // Who has the new one first seals with the old one all the same.
        let swapped = turning.with(&[&turning.new, &turning.old]);
        let add = ["livekit", "add", "--name", "us", "--url", "wss://us.example", "--api-key", "k"];
        swapped.run_with(&add, b"canary-of-us").ok();
        assert_eq!(phases(&both)[0].2, 2, "{kind:?}");

        let promoted = both.run(&["key", "promote", "--json"]).json();
        assert_eq!((&promoted["key"], &promoted["old"]), (&json!(new), &json!(old)));
        assert_eq!(both.run(&["key", "promote", &new, "--json"]).json()["already"], true);
        let add = ["livekit", "add", "--name", "me", "--url", "wss://me.example", "--api-key", "k"];
        both.run_with(&add, b"canary-of-me").ok();
        let edit = ["livekit", "edit", "us", "--secret-stdin"];
        both.run_with(&edit, b"canary-another").ok();
        assert_eq!(
            phases(&both),
            [(old.clone(), json!("old"), 1), (new.clone(), json!("sealing"), 2)],
            "{kind:?}"
        );
        // What was sealed by hand under the old one is sealed again before it is stored.
        let by_hand = turning.with(&[&turning.old]).run_with(&["secret", "seal"], b"by hand").ok();
        both.run_with(&edit, by_hand.trim_end().as_bytes()).ok();
        assert_eq!(phases(&both)[1].2, 2);
        // Who does not have the key that seals stores nothing.
        let error = refused(
            turning.with(&[&turning.old]).run_with(&[&edit[..], &["--json"]].concat(), b"x"),
            5,
            "sealing_key_missing",
        );
        assert!(error["message"].as_str().unwrap().contains(&new), "{error}");
        let resolve = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
        assert_eq!(both.run(&resolve).json()["source"], "database");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_names_the_nodes_that_do_not_have_the_key() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, new) = (turning.both(), id(&turning.new));
        let behind = turning.node("behind", &[&turning.old]).await;
        let told = both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
        assert!(told.contains(&format!("before it is promoted: 1 node without key {new}: behind")));
        let error = refused(both.run(&["key", "promote", "--json"]), 1, "gate_closed");
        assert!(error["message"].as_str().unwrap().contains("behind"), "{error}");
        assert_eq!(phases(&both)[1].1, json!("staged"));
        // Forced, it says what will fail.
        let forced = both.run(&["key", "promote", "--force", "--dry-run"]).ok();
        assert!(forced.contains("1 secret will fail") && forced.contains("behind"), "{forced}");
        let ahead = [turning.old.as_str(), turning.new.as_str()].join(",");
        behind
            .reload(turning.database.settings(&[("NODE_NAME", "behind"), (KEY, ahead.as_str())]))
            .unwrap();
        let nodes = behind.nodes().unwrap();
        eventually("the new ring is listed", async || {
            nodes.list().await.unwrap()[0].keys.len() == 2
        })
        .await;
        assert_eq!(both.run(&["key", "promote", "--json"]).json()["promoted"], true, "{kind:?}");
        drop(behind);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_nobody_sees_are_asked_for() {
    let turning = Turning::begin(Kind::Sqlite);
    let both = turning.both();
    let staged = both.run(&["key", "stage"]);
    assert!(staged.err.contains("Python service"), "{}", staged.err);
    assert!(staged.ok().contains("say --unseen-readers none"));
    refused(both.run(&["key", "promote", "--json"]), 1, "readers_unconfirmed");
    both.run(&[&["key", "promote"][..], &NONE].concat()).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_key_has_its_own_message() {
    let turning = Turning::begin(Kind::Sqlite);
    let (both, old) = (turning.both(), id(&turning.old));
    let stage = |program: &Program, more: &[&str]| {
        program.run(&[&["key", "stage", "--json"][..], &NONE, more].concat())
    };
    refused(stage(&turning.site, &[]), 1, "nothing_to_stage");
    refused(stage(&both, &["00000000"]), 5, "key_not_in_ring");
    refused(stage(&both, &["short"]), 2, "usage");
    refused(stage(&turning.with(&[&turning.old, "short"]), &[]), 5, "key_malformed");
    let twice = turning.with(&[&turning.old, &turning.new, &turning.old]);
    refused(stage(&twice, &[]), 5, "key_duplicate");
    // The new one first: it would be the old one that is staged.
    refused(stage(&both, &[&old]), 1, "ring_swapped");
    refused(both.run(&["key", "promote", "--json"]), 1, "nothing_staged");
    let node = turning.node("eager", &[&turning.new, &turning.old]).await;
    let error = refused(stage(&both, &[]), 1, "ring_swapped");
    assert!(error["message"].as_str().unwrap().contains("eager"), "{error}");
    let third = new_key();
    let other = turning.node("other", &[&turning.old, &turning.new, &third]).await;
    let ring = turning.with(&[&turning.old, &turning.new, &third]);
    let error = refused(stage(&ring, &[]), 1, "ring_order_differs");
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("eager") && told.contains("other"), "{told}");
    drop((node, other));
    let database = turning.database.url.clone();
    eventually("they left", async || {
        let nodes = trunkline::nodes::Nodes::of(&TestDatabase::at(Kind::Sqlite, &database).open);
        nodes.list().await.unwrap().is_empty()
    })
    .await;
    stage(&both, &[]).ok();
    refused(stage(&ring, &[&id(&third)]), 1, "another_key_staged");
    both.run(&["key", "promote"]).ok();
    refused(stage(&both, &[&id(&turning.new)]), 1, "key_seals_already");
    let status = turning.with(&[&turning.old]).run(&["key", "status"]).ok();
    assert!(status.contains("is not in the ring of this process"), "{status}");
    // A database from before goes on as it did, and cannot turn keys.
    let before = Site::with_route(Kind::Sqlite).0;
    let older = TestDatabase::at(Kind::Sqlite, &before.variable("DATABASE_URL"));
    older.open.migrate(Migrations::DownTo(12)).await.unwrap();
    let ring = before.with(KEY, &format!("{},{}", before.variable(KEY), turning.new));
    refused(stage(&ring, &[]), 4, "keys_not_migrated");
    let add = ["livekit", "add", "--name", "us", "--url", "wss://us.example", "--api-key", "k"];
    ring.run_with(&add, b"canary-of-us").ok();
    assert_eq!(phases(&ring)[0].2, 2);
}

/// A role that edits need not be able to turn keys, and is told so; it edits all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_the_right_turns_no_key_and_edits_on() {
    let turning = Turning::begin(Kind::Postgres);
    let url = turning.database.url.clone();
    turning.both().run(&[&["key", "stage"][..], &NONE].concat()).ok();
    let grants = ["db", "grants", "--service", "keys_svc", "--editor", "keys_edt", "--apply"];
    turning.site.run(&grants).ok();
    psql(&url, "alter role keys_edt login");
    let editor = turning.both().with("DATABASE_URL", &url.replace("owner@", "keys_edt@"));
    refused(editor.run(&["key", "promote", "--json"]), 4, "keys_role_may_not");
    assert_eq!(phases(&turning.both())[1].1, json!("staged"));
    let edit = ["livekit", "edit", "eu", "--secret-stdin"];
    editor.run_with(&edit, b"canary-of-an-editor").ok();
    turning.both().run(&["key", "promote"]).ok();
    editor.run_with(&edit, b"canary-of-an-editor").ok();
    assert_eq!(phases(&turning.both())[1].2, 1);
    let held = psql(&url, "select trunkline_hold_key_state('public')");
    assert_eq!(held, "2");
}

/// Whoever sealed before a promotion and writes after it is told so, and nothing is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_sealed_before_a_promotion_is_not_written_after_it() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let both = turning.both();
        both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
        let ring =
            settings(&turning.database.url, &[(KEY, &format!("{},{}", turning.old, turning.new))]);
        let ring = turning.database.open.ruled(&ring.ring.unwrap()).await.unwrap();
        let store = turning.database.store();
        let config = store.config_named("eu").await.unwrap().unwrap();
        let sealed = ring.seal("late", 1).unwrap();
        // The sessions of this test are those of a program whose keys nobody knows.
        both.run(&["key", "promote", "--force"]).ok();
        let error = store.reseal(&config, &sealed).await.unwrap_err();
        assert_eq!(error.code(), "keys_moved", "{kind:?}");
        let new: KeyId = id(&turning.new).parse().unwrap();
        let ring = turning.database.open.ruled(&ring).await.unwrap();
        assert_eq!(ring.sealing_id(), Ok(new));
        assert!(store.reseal(&config, &ring.seal("in time", 1).unwrap()).await.unwrap());
    }
}

/// The steps that a run told as JSON, after it ended well.
fn steps(run: Run) -> Vec<Value> {
    run.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Makes what the database knows of a key look so many seconds older.
async fn ages(database: &TestDatabase, key: &str, seconds: u64) {
    let earlier = |column| match database.kind {
        Kind::Postgres => format!("{column} = {column} - interval '{seconds} seconds'"),
        Kind::Sqlite => {
            format!("{column} = strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-{seconds} seconds')")
        }
    };
    let (clean, since) = (earlier("clean_since"), earlier("since"));
    let sql = format!("update trunkline_known_keys set {clean}, {since} where key_id = '{key}'");
    database.sql(&sql).await;
}
