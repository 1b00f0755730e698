//! Secrets of pairs that are pending or previous are sealed again with those of configs.

use serde_json::{Value, json};

use super::{NONE, Turning, ages, id, phases};
use crate::support::database::BOTH;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pairs_of_configs_are_sealed_again_with_them() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, old) = (turning.both(), id(&turning.old));
        let stage = ["livekit", "stage", "eu", "--json"];
        turning.site.run_with(&stage, b"APInew: canary-of-the-new-pair").ok();
        both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
        assert_eq!(phases(&both)[0].2, 2, "{kind:?}: a config and a pair");
        both.run(&["key", "promote", "--force"]).ok();
        let exposed = both.run(&["key", "compromise", &old, "--dry-run", "--json"]).json();
        assert_eq!(exposed["exposure"]["configs"], json!(["eu", "eu (pending pair)"]), "{exposed}");
        let told: Vec<Value> = both
            .run(&["key", "rotate", "--json"])
            .ok()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(told.iter().any(|step| step["resealed"] == 2), "{told:?}");
        assert_eq!(phases(&both)[0].2, 0, "{kind:?}");
        assert_eq!(phases(&both)[1].2, 2, "{kind:?}");
        // Without the old key the pair opens: it is the same one.
        ages(&turning.database, &old, 90_000).await;
        let alone = turning.with(&[&turning.new]);
        assert_eq!(
            alone.run_with(&stage, b"APInew: canary-of-the-new-pair").json()["pairs"]["already"],
            true
        );
        // One that is under the old key keeps it from being refused.
        let sealed = turning.with(&[&turning.old]).run_with(&["secret", "seal"], b"x").ok();
        let set = format!(
            "update trunkline_pairs set api_secret = '{}' where phase = 'pending'",
            sealed.trim_end()
        );
        turning.database.sql(&set).await;
        let refused =
            crate::cli::refused(both.run(&["key", "retire", &old, "--json"]), 1, "key_still_seals");
        assert!(refused["message"].as_str().unwrap().contains('1'), "{refused}");
    }
}

/// A pair that is pending or previous is bound with its config, and the doctor opens it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pairs_of_configs_are_bound_with_them_and_opened_by_the_doctor() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let site = turning.with(&[&turning.old]);
        let stage = ["livekit", "stage", "eu", "--json"];
        site.run_with(&stage, b"APInew: canary-of-the-new-pair").ok();
        let outcomes = |arguments: &[&str]| -> Vec<_> {
            let run = site.run(&[arguments, &["--json"]].concat());
            let lines = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.map(|line| (line["name"].clone(), line["outcome"].clone())).collect()
        };
        let both = |outcome: &str| {
            [(json!("eu"), json!(outcome)), (json!("eu (pending pair)"), json!(outcome))]
        };
        assert_eq!(outcomes(&["key", "bind", "eu", "--dry-run"]), both("bound"), "{kind:?}");
        assert_eq!(outcomes(&["key", "bind", "eu"]), both("bound"), "{kind:?}");
        assert_eq!(outcomes(&["key", "bind", "--all"]), both("unchanged"), "{kind:?}");
        assert_eq!(outcomes(&["key", "unbind", "eu"]), both("unbound"), "{kind:?}");
        assert_eq!(outcomes(&["key", "bind", "eu"]), both("bound"), "{kind:?}");
        let counted = site.run(&["doctor"]).out;
        assert!(counted.contains("2 open with key"), "{kind:?} {counted}");
        // Somebody without the key puts it where it does not belong.
        let swap = "update trunkline_pairs set api_key = 'APIother' where phase = 'pending'";
        turning.database.sql(swap).await;
        let told = site.run(&["doctor"]).out;
        assert!(told.contains("of \"eu\" (pending pair)"), "{kind:?} {told}");
        let left = outcomes(&["key", "unbind", "eu"]);
        assert_eq!(left[1].1, json!("unopenable"), "{kind:?} {left:?}");
    }
}
