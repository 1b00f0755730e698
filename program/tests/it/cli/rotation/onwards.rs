//! A rotation goes on: secrets are sealed again, and the old key is refused before it is retired.

use serde_json::json;

use super::{NONE, Turning, ages, id, phases, steps};
use crate::cli::{NUMBER, TENANT, new_key, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_goes_as_far_as_it_can_and_on_from_there() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, old, new) = (turning.both(), id(&turning.old), id(&turning.new));
        for name in ["us", "me"] {
            turning.site.add_config(name);
        }
        both.run(&["key", "bind", "us"]).ok();
        let updated = match kind {
            Kind::Postgres => {
                "select string_agg(cast(updated_at as text), ',' order by id) from voice_agent_livekit"
            }
            Kind::Sqlite => {
                "select group_concat(updated_at, ',') from (select * from voice_agent_livekit order by id)"
            }
        };
        let before = turning.database.value(updated).await;
        let dry = steps(both.run(&["key", "rotate", "--dry-run", "--json"]));
        assert_eq!(dry.last().unwrap()["resealed"], 0, "nothing is promoted yet: {dry:?}");
        let rotate = [&["key", "rotate", "--json"][..], &NONE].concat();
        let told = steps(both.run(&rotate));
        let names: Vec<_> = told.iter().map(|step| step["step"].as_str().unwrap()).collect();
        assert_eq!(names, ["stage", "promote", "reseal", "verify", "retire"], "{kind:?} {told:?}");
        assert_eq!(told[2]["resealed"], 3, "{told:?}");
        assert_eq!(told[3]["keys"], json!([{"id": new, "configs": 3}]));
        assert_eq!(told[4]["waits_for"], "key_too_early");
        assert_eq!(turning.database.value(updated).await, before, "{kind:?}: nobody edited them");
        let bound = both.run(&["key", "bind", "us", "--json"]).json();
        assert_eq!(bound["outcome"], "unchanged", "it is bound still");

        // Only the old key is left to be seen to.
        let told = steps(both.run(&["key", "rotate", "--json"]));
        let names: Vec<_> = told.iter().map(|step| step["step"].as_str().unwrap()).collect();
        assert_eq!(names, ["reseal", "verify", "retire"], "{told:?}");
        ages(&turning.database, &old, 86_500).await;
        let told = both.run(&["key", "rotate"]).ok();
        assert!(told.contains(&format!("key {old} is refused")), "{told}");
        assert!(told.contains("answers in memory may need it"), "{told}");
        ages(&turning.database, &old, 3_700).await;
        let told = both.run(&["key", "rotate"]).ok();
        assert!(told.contains(&format!("key {old} is retired")), "{told}");
        assert!(told.contains("keep a copy in your secret store: backups to"), "{told}");
        assert_eq!(phases(&both)[0].1, json!("retired"), "{kind:?}");
        let stage = [&["key", "stage", old.as_str(), "--json"][..], &NONE].concat();
        refused(both.run(&stage), 5, "key_used_before");
        // Without the old key everything opens.
        let alone = turning.with(&[&turning.new]);
        let verified = alone.run(&["key", "verify", "--json"]).json();
        assert_eq!((&verified["keys"][0]["configs"], &verified["left"]), (&json!(3), &json!([])));
        refused(alone.run(&["key", "stage", "--json"]), 1, "nothing_to_stage");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_refused_before_it_goes_and_opens_again_if_something_needs_it() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let (both, old) = (turning.both(), id(&turning.old));
        let node = turning.node("n", &[&turning.old, &turning.new]).await;
        both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
        both.run(&["key", "promote", "--force"]).ok();
        let retire =
            |more: &[&str]| both.run(&[&["key", "retire", &old, "--json"][..], more].concat());
        refused(retire(&[]), 1, "key_still_seals");
        refused(retire(&["--now"]), 1, "key_still_seals");
        refused(retire(&["--back"]), 1, "key_phase");
        both.run(&["key", "rotate"]).ok();
        refused(retire(&[]), 1, "key_too_early");
        refused(both.run(&["key", "retire", &id(&turning.new), "--json"]), 1, "key_seals_already");
        refused(both.run(&["key", "retire", "0badcafe", "--json"]), 5, "key_unknown");
        assert_eq!(retire(&["--now", "--dry-run"]).json()["phase"], "refused");
        assert_eq!(retire(&["--now"]).json()["phase"], "refused", "{kind:?}");

        // A row that comes back under it, from a backup for instance, opens nowhere.
        let sealed =
            turning.with(&[&turning.old]).run_with(&["secret", "seal"], b"from a backup").ok();
        let sql =
            format!("update voice_agent_livekit set livekit_api_secret = '{}'", sealed.trim_end());
        turning.database.sql(&sql).await;
        let caller = trunkline::Caller::parse(TENANT, NUMBER).unwrap();
        eventually("the node refuses it", async || {
            let explained = node.explain(caller).await;
            format!("{explained:?}").contains("which is refused")
        })
        .await;
        refused(retire(&[]), 1, "key_still_seals");
        assert_eq!(retire(&["--back"]).json()["phase"], "old");
        eventually("the node opens it", async || {
            node.resolve(caller).await.is_ok_and(|answer| answer.reason().is_none())
        })
        .await;
        both.run(&["key", "rotate"]).ok();
        retire(&["--now"]).ok();
        // Answers in memory may hold what was sealed under it, for as long as the node may serve them.
        let error = refused(retire(&[]), 1, "key_too_early");
        assert!(error["message"].as_str().unwrap().contains("answers in memory"), "{error}");
        ages(&turning.database, &old, 3_700).await;
        let needs = retire(&["--backups-from", "2020-01-01"]).json();
        assert_eq!(needs["phase"], "retired", "{kind:?} {needs}");
        assert_eq!(needs["backups"]["from"], "2020-01-01T00:00:00Z");
        assert_eq!(needs["nodes"], json!(["n"]));
        assert!(node.resolve(caller).await.unwrap().reason().is_none());
    }
}

/// A node that has only the old key would be left without any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_node_cannot_do_without_is_not_taken_from_it() {
    let turning = Turning::begin(Kind::Sqlite);
    let (both, old) = (turning.both(), id(&turning.old));
    let behind = turning.node("behind", &[&turning.old]).await;
    both.run(&[&["key", "stage"][..], &NONE].concat()).ok();
    both.run(&["key", "promote", "--force"]).ok();
    both.run(&["key", "rotate"]).ok();
    ages(&turning.database, &old, 86_500).await;
    let error = refused(both.run(&["key", "retire", &old, "--json"]), 1, "nodes_need_key");
    assert!(error["message"].as_str().unwrap().contains("behind"), "{error}");
    drop(behind);
}

/// What no key opens, and what was never sealed, is told and left as it is; the rest is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_open_is_told_and_never_touched() {
    for kind in BOTH {
        let turning = Turning::begin(kind);
        for name in ["plain", "foreign"] {
            turning.site.add_config(name);
        }
        let foreign = turning.with(&[&new_key()]).run_with(&["secret", "seal"], b"another").ok();
        for (name, secret) in [("plain", "never-sealed"), ("foreign", foreign.trim_end())] {
            let set = format!("livekit_api_secret = '{secret}' where name = '{name}'");
            turning.database.sql(&format!("update voice_agent_livekit set {set}")).await;
        }
        let text = "select livekit_api_secret from voice_agent_livekit where name = ";
        let run = turning.both().run(&[&["key", "rotate", "--json"][..], &NONE].concat());
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(run.err.contains("secrets_left"), "{}", run.err);
        assert!(
            run.out.contains("prefix_missing") && run.out.contains("no_key_fits"),
            "{}",
            run.out
        );
        assert!(!run.out.contains("never-sealed"), "{}", run.out);
        assert_eq!(turning.database.value(&format!("{text}'plain'")).await, "never-sealed");
        assert_eq!(turning.database.value(&format!("{text}'foreign'")).await, foreign.trim_end());
        assert_eq!(phases(&turning.both())[1].2, 1, "{kind:?}: the one that opens is done");
        let verified = turning.both().run(&["key", "verify", "--json"]);
        assert!(verified.err.contains("secrets_left"), "{}", verified.err);
    }
}

const GUIDE: &str = include_str!("../../../../../docs/operations.md");

/// The ten lines of the guide turn the keys, each run as it stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_of_the_guide_turn_the_keys() {
    let block = GUIDE.split("<!-- keys -->\n```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let lines: Vec<_> = block.lines().collect();
    assert_eq!(lines.len(), 10);
    for kind in BOTH {
        let turning = Turning::begin(kind);
        let folder = turning.site.folder.path();
        std::fs::write(folder.join("key"), &turning.old).unwrap();
        let bin = folder.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_trunkline"), bin.join("trunkline")).unwrap();
        for line in &lines {
            if line.contains("--backups-from") {
                ages(&turning.database, &id(&turning.old), 90_000).await;
            }
            let run = std::process::Command::new("sh")
                .args(["-ec", line])
                .current_dir(folder)
                .env_clear()
                .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
                .env("DATABASE_URL", &turning.database.url)
                .env("STORE_DEADLINE", "20s")
                .env("LIVEKIT_SECRET_ENCRYPTION_KEY_FILE", folder.join("key"))
                .output()
                .unwrap();
            assert!(run.status.success(), "{kind:?} {line}: {run:?}");
        }
        let left = std::fs::read_to_string(folder.join("key")).unwrap();
        let new = left.trim();
        assert_eq!(phases(&turning.with(&[new]))[0], (id(new), json!("sealing"), 1), "{kind:?}");
        let status = turning.with(&[new]).run(&["key", "status"]).ok();
        assert!(status.contains("refused"), "{status}");
    }
}
