//! Readers that are not ours, a backup from before, and a key that others may have.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{NONE, Turning, ages, id, phases, steps};
use crate::cli::{new_key, refused};
use crate::interop::python;
use crate::support::database::{BOTH, Kind};

/// A reader as the Python service is, with both keys: one line in, then what each row opens to.
const READ: &str = r#"
order = json.loads(sys.stdin.readline())
ring = MultiFernet([Fernet(key) for key in order["keys"]])
for row in order["rows"]:
    token = row[len("dev-s-t-"):].encode()
    try:
        print(json.dumps(ring.decrypt(token).decode()))
    except Exception as error:
        print(json.dumps(type(error).__name__))
"#;

/// What such a reader makes of every row.
async fn read(turning: &Turning, keys: &[&str]) -> Vec<Value> {
    let store = turning.database.store();
    let mut rows = BTreeMap::new();
    for config in store.configs().await.unwrap() {
        use trunkline::ExposeSecret;
        rows.insert(config.name.clone(), config.api_secret.expose_secret().to_owned());
    }
    let rows: Vec<_> = rows.into_values().collect();
    python(READ, &json!({"keys": keys, "rows": rows}).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_reader_with_both_keys_reads_every_row_in_every_step_and_one_with_one_does_not() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let both = turning.both();
        for name in ["me", "us"] {
            turning.site.add_config(name);
        }
        let keys = [turning.new.as_str(), turning.old.as_str()];
        let expected = ["eu", "me", "us"].map(|name| json!(crate::support::secret_of(name)));
        let promote = ["key", "promote", "--force"];
        let ages_then_rotate = async || {
            ages(&turning.database, &id(&turning.old), 90_000).await;
            both.run(&["key", "rotate"]).ok();
        };
        assert_eq!(read(&turning, &keys).await, expected, "{kind:?}");
        both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
        assert_eq!(read(&turning, &keys).await, expected, "{kind:?}");
        both.run(&promote).ok();
        // One row under the new key, two under the old one.
        let secret = crate::support::secret_of("me");
        both.run_with(&["livekit", "edit", "me", "--secret-stdin"], secret.as_bytes()).ok();
        assert_eq!(phases(&both)[0].2, 2);
        assert_eq!(read(&turning, &keys).await, expected, "{kind:?}");
        let single = read(&turning, &keys[1..]).await;
        assert_eq!(single[1], "InvalidToken", "one key does not survive it");
        both.run(&["key", "rotate"]).ok();
        assert_eq!(read(&turning, &keys).await, expected, "{kind:?}");
        ages_then_rotate().await;
        assert_eq!(phases(&both)[0].1, json!("refused"));
        assert_eq!(read(&turning, &keys).await, expected, "{kind:?}");
        ages_then_rotate().await;
        assert_eq!(phases(&both)[0].1, json!("retired"));
        assert_eq!(read(&turning, &keys[..1]).await, expected, "{kind:?}");
    }
}

/// A row that the Python service writes under the old key is found by the next pass, and sealed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_writer_that_knows_no_state_seals_is_found_by_the_next_pass() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, old) = (turning.both(), id(&turning.old));
        both.run(&[&["key", "rotate"][..], &NONE, &["--force"]].concat()).ok();
        ages(&turning.database, &old, 90_000).await;
        let seal = turning.with(&[&turning.old]).run_with(&["secret", "seal"], b"by python").ok();
        let set =
            format!("update voice_agent_livekit set livekit_api_secret = '{}'", seal.trim_end());
        turning.database.sql(&set).await;
        refused(both.run(&["key", "retire", &old, "--json"]), 1, "key_still_seals");
        let told = steps(both.run(&["key", "rotate", "--json"]));
        assert_eq!(told[0]["resealed"], 1, "{kind:?} {told:?}");
        assert_eq!(told[2]["waits_for"], "key_too_early", "a day begins anew: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_before_a_rotation_names_the_key_that_it_needs() {
    let turning = Turning::begin(Kind::Sqlite);
    let both = turning.both();
    both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
    let file = turning.database.url.strip_prefix("sqlite:").unwrap().to_owned();
    turning.database.sql(&format!("vacuum into '{file}.backup'")).await;
    both.run(&["key", "rotate"]).ok();
    let alone = turning.with(&[&turning.new]);
    assert_eq!(alone.run(&["key", "verify", "--json"]).json()["left"], json!([]));
    let restored = alone.with("DATABASE_URL", &format!("sqlite:{file}.backup"));
    let old = id(&turning.old);
    let status = restored.run(&["key", "status"]).ok();
    assert!(status.contains(&format!("key {old} seals, and is not in the ring")), "{status}");
    let doctor = restored.run(&["doctor"]).out;
    assert!(doctor.contains(&format!("key {old} seals, and it is not in the ring")), "{doctor}");
    // With the old key beside it everything is as it was, and a rotation goes on from there.
    let with_both = both.with("DATABASE_URL", &format!("sqlite:{file}.backup"));
    with_both.run(&["key", "rotate"]).ok();
    assert_eq!(restored.run(&["key", "verify", "--json"]).json()["left"], json!([]));
}

/// The shortest safe order, and what stays exposed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_may_have_is_replaced_at_once_and_what_stays_exposed_is_told() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, old, new) = (turning.both(), id(&turning.old), id(&turning.new));
        refused(turning.site.run(&["key", "compromise", &old, "--json"]), 1, "nothing_to_stage");
        refused(both.run(&["key", "compromise", "0badcafe", "--json"]), 5, "key_not_in_ring");
        let behind = turning.node("behind", &[&turning.old]).await;
        let dry = both.run(&["key", "compromise", &old, "--dry-run", "--json"]).json();
        assert_eq!(dry["exposure"]["configs"], json!(["eu"]), "{kind:?}");
        assert_eq!(phases(&both)[0].1, Value::Null, "nothing was done");
        let told = both.run(&["key", "compromise", &old]).ok();
        for part in [
            &format!("key {new} seals"),
            "open nothing new: 1 node without key",
            "1 secret was sealed again",
            &format!("key {old} is refused"),
            "1 secret that he may have read",
            "backups, replicas",
            "tokens that were signed",
            "remove it from the ring of behind",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(
            phases(&both),
            [(old.clone(), json!("refused"), 0), (new.clone(), json!("sealing"), 1)],
            "{kind:?}"
        );
        let status = both.run(&["key", "status"]).ok();
        assert!(status.contains("refused, compromised"), "{status}");
        refused(both.run(&["key", "stage", &old, "--json"]), 5, "key_used_before");
        // A staged one goes at once, and is not used.
        let third = new_key();
        let ring = turning.with(&[&turning.new, &third]);
        drop(behind);
        ring.run(&[&["key", "stage"][..], &NONE].concat()).ok();
        ring.run(&["key", "compromise", &id(&third)]).ok();
        refused(ring.run(&["key", "promote", "--json"]), 1, "nothing_staged");
    }
}
