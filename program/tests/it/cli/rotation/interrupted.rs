//! A rotation that is killed at any point, beside edits under both keys, or run twice at once, loses nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Child;

use serde_json::Value;
use trunkline::store::{ConfigEdit, NewConfig};
use trunkline::{ConfigId, ExposeSecret, KeyRing};

use super::{NONE, Turning, id, phases};
use crate::support::NOW;
use crate::support::database::{BOTH, TestDatabase};

/// How often a rotation is killed. `scripts/rotation kill` does it a hundred times.
#[expect(clippy::disallowed_methods, reason = "how long a run may take is the machine's business")]
fn kills() -> usize {
    std::env::var("TRUNKLINE_TEST_KILLS").ok().and_then(|many| many.parse().ok()).unwrap_or(10)
}

const CONFIGS: usize = 150;

/// A site with many configs under the old key, the new one promoted, and what each secret is.
async fn promoted(turning: &Turning) -> BTreeMap<ConfigId, String> {
    let (store, ring) = (turning.database.store(), KeyRing::parse(&turning.old).unwrap());
    let mut secrets = BTreeMap::new();
    for config in store.configs().await.unwrap() {
        let opened = config.open(&ring).unwrap();
        secrets.insert(config.id, opened.secret.expose_secret().clone());
    }
    for at in 0..CONFIGS {
        let secret = format!("secret-{at}");
        let config = NewConfig {
            name: format!("c{at}"),
            description: None,
            url: "wss://c.example".parse().unwrap(),
            api_key: "APIc".into(),
            api_secret: ring.seal(&secret, NOW).unwrap(),
            trunk_id: None,
            agent: None,
        };
        secrets.insert(store.create_config(&config).await.unwrap(), secret);
    }
    let both = turning.both();
    both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
    both.run(&["key", "promote", "--force"]).ok();
    secrets
}

/// Begins a rotation.
fn begin(turning: &Turning) -> Child {
    turning.both().command(&["key", "rotate", "--json", "--batch", "4"]).spawn().unwrap()
}

/// How many changes were logged.
async fn changes(database: &TestDatabase) -> usize {
    database.value("select count(*) from voice_agent_changes").await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_beside_edits_under_both_keys_it_loses_nothing() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let mut secrets = promoted(&turning).await;
        let rings = [&turning.old, &turning.new].map(|key| KeyRing::parse(key).unwrap());
        let both = KeyRing::parse(&format!("{},{}", turning.old, turning.new)).unwrap();
        let store = turning.database.store();
        let (mut edited, mut killed) = (0, 0);
        for round in 0..kills() {
            let mut child = begin(&turning);
            // Killed after so many more rows, or when it is through before that.
            let goal = changes(&turning.database).await + 1 + random_below(CONFIGS / 4);
            let dies = loop {
                // An edit beside it, as a program that knows no state makes it.
                let at = random_below(secrets.len());
                let (id, secret) = secrets.iter_mut().nth(at).unwrap();
                let new = format!("edit-{round}-{edited}");
                let sealed = rings[edited % 2].seal(&new, NOW).unwrap();
                let edit = ConfigEdit { api_secret: Some(sealed), ..ConfigEdit::default() };
                assert!(store.update_config(*id, &edit).await.unwrap());
                *secret = new;
                edited += 1;
                if child.try_wait().unwrap().is_some() {
                    break false;
                }
                if changes(&turning.database).await >= goal {
                    break true;
                }
            };
            child.kill().unwrap();
            child.wait().unwrap();
            killed += usize::from(dies);
            for config in store.configs().await.unwrap() {
                let opened = config.open(&both).unwrap();
                assert_eq!(opened.secret.expose_secret(), &secrets[&config.id], "{kind:?} {round}");
            }
        }
        turning.both().run(&["key", "rotate"]).ok();
        assert_eq!(phases(&turning.both())[0].2, 0, "{kind:?}");
        for config in store.configs().await.unwrap() {
            let opened = config.open(&rings[1]).unwrap();
            assert_eq!(opened.secret.expose_secret(), &secrets[&config.id], "{kind:?}");
        }
        println!("{kind:?}: {killed} of {} runs killed under way, {edited} edits", kills());
        assert!(killed > 0 && edited > killed, "{kind:?}: {killed} killed, {edited} edits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_seal_each_secret_once() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let secrets = promoted(&turning).await;
        let children = [begin(&turning), begin(&turning)];
        let mut resealed = 0;
        for mut child in children {
            let out = BufReader::new(child.stdout.take().unwrap());
            for line in out.lines() {
                let step: Value = serde_json::from_str(&line.unwrap()).unwrap();
                if step["step"] == "reseal" && step["done"] == true {
                    resealed += step["resealed"].as_u64().unwrap();
                }
            }
            assert!(child.wait().unwrap().success(), "{kind:?}");
        }
        assert_eq!(resealed, secrets.len() as u64, "{kind:?}");
        let ring = KeyRing::parse(&turning.new).unwrap();
        for config in turning.database.store().configs().await.unwrap() {
            let opened = config.open(&ring).unwrap();
            assert_eq!(opened.secret.expose_secret(), &secrets[&config.id], "{kind:?}");
        }
        assert_eq!(phases(&turning.both())[0], (id(&turning.old), serde_json::json!("old"), 0));
    }
}

/// A number below that.
fn random_below(most: usize) -> usize {
    let dice = uuid::Uuid::new_v4().as_u64_pair().1;
    usize::try_from(dice % most as u64).unwrap()
}
