//! Data keys: one is made in the database, opens on every node whose root key is there, and turns as any other.

use serde_json::json;
use trunkline::{Caller, Resolver};

use super::{NONE, Turning, ages, id, phases, steps};
use crate::cli::{KEY, NUMBER, TENANT, new_key, refused};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::eventually;
use crate::support::postgres::psql;
use crate::support::program::Program;

/// Makes a data key and stages it, and tells its id.
pub(super) fn stage_wrapped(program: &Program) -> String {
    let staged = program.run(&[&["key", "stage", "--wrapped", "--json"][..], &NONE].concat());
    let staged = staged.json();
    assert_eq!((&staged["wrapped"], &staged["staged"]), (&json!(true), &json!(true)));
    staged["key"].as_str().unwrap().to_owned()
}

/// Waits until a node has told that it has a key.
pub(super) async fn told(node: &Resolver, key: &str) {
    let nodes = node.nodes().unwrap();
    eventually("the key is in the ring of every node", async || {
        let nodes = nodes.list().await.unwrap();
        nodes.iter().all(|node| node.keys.iter().any(|known| known == key))
    })
    .await;
}

fn caller() -> Caller {
    Caller::parse(TENANT, NUMBER).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_key_goes_through_every_step_and_no_machine_is_touched() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (site, root) = (turning.with(&[&turning.old]), id(&turning.old));
        let node = turning.node("n", &[&turning.old]).await;
        assert!(node.resolve(caller()).await.unwrap().reason().is_none());
        // Nothing is made by looking.
        let look = site.run(&[&["key", "stage", "--wrapped", "--dry-run"][..], &NONE].concat());
        assert!(look.ok().contains("a data key would be staged"), "{kind:?}");
        assert_eq!(turning.database.value("select count(*) from trunkline_keys").await, "0");
        let key = stage_wrapped(&site);
        assert_eq!(stage_again(&site), key, "{kind:?}: one is staged at a time");
        told(&node, &key).await;
        let status = site.run(&["key", "status"]).ok();
        assert!(status.contains(&format!("database, by {root}")), "{status}");
        let taken = steps(site.run(&["key", "rotate", "--force", "--json"]));
        assert_eq!(taken[1]["step"], "promote", "{taken:?}");
        assert_eq!(phases(&site)[1], (key.clone(), json!("sealing"), 1), "{kind:?}");
        eventually("the node opens it", async || {
            let explained = format!("{:?}", node.explain(caller()).await);
            node.resolve(caller()).await.unwrap().reason().is_none() && explained.contains(&key)
        })
        .await;
        // Whatever writes a secret seals by it, and whatever opens one finds it.
        site.run_with(&["livekit", "edit", "eu", "--secret-stdin"], b"canary-by-data-key").ok();
        let text = "select livekit_api_secret from voice_agent_livekit";
        let sealed = turning.database.value(text).await;
        let opened = site.run_with(&["secret", "open"], sealed.as_bytes()).ok();
        assert_eq!(opened.trim_end(), "canary-by-data-key");
        let alone = new_key();
        let other = turning.with(&[&alone]);
        refused(
            other.run_with(&["secret", "open", "--json"], sealed.as_bytes()),
            5,
            "data_key_unopened",
        );
        // The key of the settings goes out of use for secrets, and stays, since it seals the data key.
        ages(&turning.database, &root, 90_000).await;
        steps(site.run(&["key", "rotate", "--json"]));
        ages(&turning.database, &root, 90_000).await;
        let retired = site.run(&["key", "rotate"]).ok();
        assert!(retired.contains(&format!("key {root} is retired")), "{retired}");
        assert!(retired.contains("stays in the rings") && retired.contains(&key), "{retired}");
        assert!(node.resolve(caller()).await.unwrap().reason().is_none());
        // Another data key takes over, and of the one before it nothing is left.
        let next = stage_wrapped(&site);
        told(&node, &next).await;
        site.run(&["key", "rotate", "--force"]).ok();
        for _ in 0..2 {
            ages(&turning.database, &key, 90_000).await;
            site.run(&["key", "rotate"]).ok();
        }
        let left = turning.database.value("select key_id from trunkline_keys").await;
        assert_eq!(left, next, "{kind:?}");
        eventually("the node forgets it", async || {
            let nodes = node.nodes().unwrap().list().await.unwrap();
            !nodes[0].keys.contains(&key) && nodes[0].keys.contains(&next)
        })
        .await;
        assert!(node.resolve(caller()).await.unwrap().reason().is_none());
        // Back to a key of the settings, by its name.
        refused(site.run(&["key", "stage", &root, "--json"]), 5, "key_used_before");
        let both = turning.both();
        let new = id(&turning.new);
        assert_eq!(both.run(&["key", "rotate", "--json"]).ok().matches("stage").count(), 0);
        both.run(&[&["key", "stage", &new][..], &NONE].concat()).ok();
        both.run(&["key", "promote", "--force"]).ok();
        both.run(&["key", "rotate"]).ok();
        assert_eq!(both.run(&["key", "verify", "--json"]).json()["keys"][0]["id"], new);
    }
}

fn stage_again(program: &Program) -> String {
    let staged = program.run(&["key", "stage", "--wrapped", "--json"]).json();
    assert_eq!(staged["already"], true, "{staged}");
    staged["key"].as_str().unwrap().to_owned()
}

/// Readers that know the settings only are asked for, and a key of the settings is no answer to that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_know_the_settings_only_are_asked_for() {
    let turning = Turning::begin(Kind::Sqlite);
    let site = turning.with(&[&turning.old]);
    let staged = site.run(&["key", "stage", "--wrapped"]);
    assert!(staged.err.contains("know the keys of the settings alone"), "{}", staged.err);
    assert!(staged.ok().contains("say --unseen-readers none"));
    refused(site.run(&["key", "promote", "--json"]), 1, "readers_unconfirmed");
    let key = new_key();
    let wrong = ["key", "stage", "--wrapped", "--root", "00000000", "--json"];
    let before = Turning::begin(Kind::Sqlite);
    refused(before.with(&[&before.old]).run(&wrong), 5, "root_key_missing");
    // A key of the settings that is staged goes first.
    let both = before.with(&[&before.old, &key]);
    both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
    refused(both.run(&["key", "stage", "--wrapped", "--json"]), 1, "another_key_staged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_root_key_is_named_and_says_so_itself() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let site = turning.with(&[&turning.old]);
        // It opens what there is, by a ring that begins with the same key for programs that know no state.
        let stranger = turning.node("stranger", &[&turning.new]).await;
        let key = stage_wrapped(&site);
        let error = refused(site.run(&["key", "promote", "--json"]), 1, "gate_closed");
        assert!(error["message"].as_str().unwrap().contains("stranger"), "{kind:?} {error}");
        eventually("it says so", async || {
            stranger.health().data_keys.is_some_and(|why| why.contains(&key))
        })
        .await;
        site.run(&["key", "rotate", "--force"]).ok();
        eventually("and what it seals does not open there", async || {
            format!("{:?}", stranger.explain(caller()).await).contains("data keys of the database")
        })
        .await;
        let answer = stranger.resolve(caller()).await;
        assert!(!format!("{answer:?}").contains("panicked"), "{answer:?}");
        let doctor = turning.with(&[&turning.new]).run(&["doctor"]);
        assert!(doctor.out.contains("its root key") && doctor.out.contains(&key), "{}", doctor.out);
    }
}

/// A row that is damaged, or put in the place of another, is no key: that is told, and nothing else fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_data_key_is_told_and_nothing_crashes() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let site = turning.with(&[&turning.old]);
        let key = stage_wrapped(&site);
        let node = turning.node("n", &[&turning.old]).await;
        told(&node, &key).await;
        turning.database.sql("update trunkline_keys set sealed = 'gAAAAnonsense'").await;
        // It has it in memory, and keeps it; whoever begins anew does not get it.
        let late = turning.node("late", &[&turning.old]).await;
        eventually("it says so", async || {
            late.health().data_keys.is_some_and(|why| why.contains("is damaged"))
        })
        .await;
        let status = site.run(&["key", "status"]).ok();
        assert!(status.contains("its row in trunkline_keys is damaged"), "{status}");
        let error = refused(site.run(&["key", "promote", "--json"]), 5, "key_not_in_ring");
        assert!(error["message"].as_str().unwrap().contains(&key), "{error}");
        assert_eq!(site.run(&["key", "rewrap", "--json"]).json()["data_keys"], json!([]));
        assert!(node.resolve(caller()).await.unwrap().reason().is_none(), "{kind:?}");
        let doctor = site.run(&["doctor"]);
        assert!(doctor.out.contains("is damaged"), "{}", doctor.out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_root_key_seals_the_data_keys_and_no_row_is_touched() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (site, both) = (turning.with(&[&turning.old]), turning.both());
        let key = stage_wrapped(&site);
        site.run(&["key", "rotate", "--force"]).ok();
        let text = "select livekit_api_secret from voice_agent_livekit";
        let before = turning.database.value(text).await;
        let behind = turning.node("behind", &[&turning.old]).await;
        let error = refused(both.run(&["key", "rewrap", "--json"]), 1, "gate_closed");
        assert!(error["message"].as_str().unwrap().contains("behind"), "{error}");
        let ring = [turning.old.as_str(), turning.new.as_str()].join(",");
        let ring = [("NODE_NAME", "behind"), (KEY, ring.as_str())];
        behind.reload(turning.database.settings(&ring)).unwrap();
        told(&behind, &id(&turning.new)).await;
        let dry = both.run(&["key", "rewrap", "--force", "--dry-run", "--json"]).json();
        assert_eq!(dry["data_keys"], json!([key]), "{kind:?}");
        // The sessions of this test are those of a program whose keys nobody knows.
        let done = both.run(&["key", "rewrap", "--force", "--json"]).json();
        assert_eq!((&done["root"], &done["data_keys"]), (&json!(id(&turning.new)), &json!([key])));
        let again = both.run(&["key", "rewrap"]).ok();
        assert!(again.contains("no data key is sealed by another key"), "{again}");
        assert_eq!(turning.database.value(text).await, before, "{kind:?}: no row was touched");
        // The old root key can go: from a node that runs, and from one that begins.
        let ring = [("NODE_NAME", "behind"), (KEY, turning.new.as_str())];
        behind.reload(turning.database.settings(&ring)).unwrap();
        let fresh = turning.node("fresh", &[&turning.new]).await;
        for node in [&behind, &fresh] {
            let answer = node.resolve(caller()).await.unwrap();
            assert_eq!(answer.reason(), None, "{kind:?}");
        }
        let status = site.run(&["key", "status"]).ok();
        assert!(status.contains(&format!("data key {key} does not open")), "{status}");
    }
}

/// Whoever may turn keys may make them; whoever edits may read them; and nobody else is told more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_the_right_makes_no_data_key_and_seals_by_those_there_are() {
    let turning = Turning::begin(Kind::Postgres);
    let (site, url) = (turning.with(&[&turning.old]), turning.database.url.clone());
    let grants = ["db", "grants", "--service", "wrap_svc", "--editor", "wrap_edt", "--apply"];
    site.run(&grants).ok();
    psql(&url, "alter role wrap_svc login; alter role wrap_edt login");
    let role = |name: &str| {
        let place = url.replace("owner@", &format!("{name}@"));
        turning.with(&[&turning.old]).with("DATABASE_URL", &place)
    };
    let editor = role("wrap_edt");
    let stage = [&["key", "stage", "--wrapped", "--json"][..], &NONE].concat();
    refused(editor.run(&stage), 4, "keys_role_may_not");
    assert_eq!(psql(&url, "select count(*) from trunkline_keys"), "0");
    let key = stage_wrapped(&site);
    site.run(&["key", "rotate", "--force"]).ok();
    editor.run_with(&["livekit", "edit", "eu", "--secret-stdin"], b"canary-of-an-editor").ok();
    assert_eq!(phases(&site)[1], (key.clone(), json!("sealing"), 1));
    // A service that may not read them says so, and answers what it can.
    psql(&url, "revoke select on trunkline_keys from wrap_svc");
    let service = role("wrap_svc");
    let status = service.run(&["key", "status"]).ok();
    assert!(status.contains("this role may not read trunkline_keys"), "{status}");
    let doctor = service.run(&["doctor"]);
    assert!(doctor.out.contains("lacks select on"), "{}", doctor.out);
    refused(service.run(&stage), 4, "data_keys_hidden");
    psql(&url, "grant select on trunkline_keys to wrap_svc");
    let resolve = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
    assert_eq!(service.run(&resolve).json()["source"], "database");
}

/// Steps are audited in the transaction of the change, with who asked, and without any key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_is_audited_and_no_key_is_in_it() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, old) = (turning.both(), id(&turning.old));
        let key = stage_wrapped(&both);
        both.run(&["key", "rotate", "--force"]).ok();
        both.run(&["key", "rewrap", "--force"]).ok();
        ages(&turning.database, &old, 90_000).await;
        both.run(&["key", "rotate"]).ok();
        both.run(&["key", "retire", &old, "--now"]).ok();
        let listed = both.run(&["audit", "list", "--entity", "key", "--json"]).ok();
        let rows: Vec<serde_json::Value> =
            listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let became = |of: &str| -> Vec<_> {
            let rows = rows.iter().rev().filter(|row| row["row_id"] == of);
            rows.filter_map(|row| row["after"]["state"].as_str()).collect()
        };
        assert_eq!(became(&key), ["staged", "sealing"], "{kind:?} {listed}");
        assert_eq!(became(&old), ["sealing", "old", "refused", "retired"], "{kind:?} {listed}");
        let roots: Vec<_> = rows.iter().filter_map(|row| row["after"]["root"].as_str()).collect();
        assert_eq!(roots, [id(&turning.new), old.clone()], "{kind:?} {listed}");
        let sealed = turning.database.value("select sealed from trunkline_keys").await;
        for secret in [&turning.old, &turning.new, &sealed] {
            assert!(!listed.contains(secret.as_str()), "{listed}");
        }
        both.run(&["audit", "verify"]).ok();
    }
}

/// A data key that only the database has is not taken away with its table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_step_is_not_undone_while_there_are_data_keys() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let site = turning.with(&[&turning.old]);
        let key = stage_wrapped(&site);
        let down = trunkline::store::Migrations::DownTo(17);
        let error = turning.database.open.migrate(down).await.unwrap_err().to_string();
        assert!(error.contains("there are data keys"), "{kind:?} {error}");
        assert_eq!(phases(&site)[1].1, json!("staged"), "{kind:?}");
        site.run(&["key", "retire", &key]).ok();
        turning.database.open.migrate(down).await.unwrap();
        let older = TestDatabase::at(kind, &turning.database.url);
        assert_eq!(phases(&site).len(), 2, "{kind:?}: what becomes of keys is known on");
        refused(site.run(&["key", "stage", "--wrapped", "--json"]), 4, "data_keys_not_migrated");
        older.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    }
}

/// A backup has the data keys of its time, and opens with the root key of that time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_has_its_data_keys_and_needs_the_root_key_alone() {
    let turning = Turning::begin(Kind::Sqlite);
    let site = turning.with(&[&turning.old]);
    let first = stage_wrapped(&site);
    site.run(&["key", "rotate"]).ok();
    let backup = turning.site.folder.path().join("backup.db");
    turning.database.sql(&format!("vacuum into '{}'", backup.display())).await;
    let next = stage_wrapped(&site);
    site.run(&["key", "rotate"]).ok();
    for _ in 0..2 {
        site.run(&["key", "retire", &first, "--now"]).ok();
    }
    assert_eq!(turning.database.value("select key_id from trunkline_keys").await, next);
    let url = format!("sqlite:{}", backup.display());
    let restored = turning.with(&[&turning.old]).with("DATABASE_URL", &url);
    assert_eq!(phases(&restored)[1], (first.clone(), json!("sealing"), 1));
    let resolve = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
    assert_eq!(restored.run(&resolve).json()["source"], "database");
    // The secrets alone, beside the keys of today: what is missing is told.
    let old = TestDatabase::at(Kind::Sqlite, &url);
    let sealed = old.value("select livekit_api_secret from voice_agent_livekit").await;
    let put = format!("update voice_agent_livekit set livekit_api_secret = '{sealed}'");
    turning.database.sql(&put).await;
    let verified = site.run(&["key", "verify", "--json"]);
    assert!(verified.out.contains("no_key_fits"), "{}", verified.out);
    // With its row of that backup it opens for whoever seals again.
    let row =
        old.value("select key_id || ',' || root_id || ',' || sealed from trunkline_keys").await;
    let row = row.replace(',', "', '");
    let add = format!("insert into trunkline_keys (key_id, root_id, sealed) values ('{row}')");
    turning.database.sql(&add).await;
    let node = turning.node("n", &[&turning.old]).await;
    eventually("what was retired opens nothing on a node", async || {
        format!("{:?}", node.explain(caller()).await).contains("which is refused")
    })
    .await;
    site.run(&["key", "rotate"]).ok();
    eventually("sealed again it does", async || {
        node.resolve(caller()).await.is_ok_and(|answer| answer.reason().is_none())
    })
    .await;
}

const GUIDE: &str = include_str!("../../../../../docs/operations.md");

/// The lines of the guide make a data key and have it seal, each as it stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_of_the_guide_make_a_data_key() {
    let block = GUIDE.split("<!-- data keys -->\n```sh\n").nth(1).unwrap();
    let lines: Vec<_> = block.split("```").next().unwrap().lines().collect();
    assert_eq!(lines.len(), 6);
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let site = turning.with(&[&turning.old]);
        for line in &lines {
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            site.run(&words).ok();
        }
        assert_eq!((phases(&site)[1].1.clone(), phases(&site)[1].2), (json!("sealing"), 1));
    }
}
