//! `trunkline rollout run` as people meet it: with a daemon beside it.

use serde_json::{Value, json};

use super::super::{Site, refused};
use crate::support::database::BOTH;
use crate::support::process::Process;

/// A daemon that is listed.
fn daemon(site: &Site) -> Process {
    let mut process = Process::start(site.command(&["serve", "--listen", "127.0.0.1:0"]));
    process.line(|line| (!line.is_empty()).then_some(()));
    let is_listed = |_| !site.run(&["nodes", "list", "--json"]).ok().trim().is_empty();
    assert!((0..500).any(is_listed), "it is never listed");
    process
}

#[test]
fn a_run_is_shown_before_it_begins_then_begun_paused_resumed_ended_and_reported() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let run = |arguments: &[&str]| site.run(&[&["rollout"], arguments].concat());
        refused(run(&["report", "--json"]), 6, "rollout_run_missing");
        refused(run(&["pause", "--json"]), 6, "rollout_run_missing");
        run(&["set", "off"]).ok();
        refused(run(&["run", "--json"]), 6, "rollout_run_nobody");
        let _daemon = daemon(&site);
        let shown = run(&["run", "--dry-run"]).ok();
        assert!(shown.contains("10 % for 1d, 50 % for 2d, 100 %"), "{kind:?}: {shown}");
        assert!(shown.contains("carried out by"), "{shown}");
        let status = || run(&["status", "--json"]).json();
        assert_eq!((&status()["stage"], &status()["run"]), (&json!("off"), &Value::Null));

        let begun = run(&["run", "--json"]).json();
        assert_eq!((&begun["id"], &begun["is_led"]), (&json!(1), &json!(true)), "{begun}");
        let now = status();
        assert_eq!((&now["percent"], &now["run"]["state"]), (&json!(10.0), &json!("running")));
        let words = run(&["status"]).ok();
        assert!(words.contains("1, running at step 1 of 3 since"), "{words}");
        refused(run(&["run", "--json"]), 6, "rollout_run_open");
        assert!(run(&["pause"]).ok().contains("paused at step 1 of 3"));
        refused(run(&["pause", "--json"]), 6, "rollout_run_state");
        assert_eq!(run(&["resume", "--json"]).json()["state"], "running");
        let by_hand = run(&["set", "5"]);
        assert!(by_hand.err.contains("run 1 of the rollout has paused"), "{}", by_hand.err);
        refused(run(&["resume", "--json"]), 6, "rollout_moved");
        assert_eq!(run(&["stop", "--json"]).json()["state"], "stopped");
        assert_eq!(status()["percent"], 5.0, "it stays there");
        let report = run(&["report", "1"]).ok();
        assert!(report.contains("changed by hand") && report.contains("paused"), "{report}");
        assert_eq!(run(&["report", "--json"]).json()["results"].as_array().unwrap().len(), 2);
        refused(run(&["report", "2", "--json"]), 6, "rollout_run_missing");
    }
}

#[test]
fn what_cannot_be_a_run_is_refused_each_in_its_own_words_and_changes_nothing() {
    let site = Site::new();
    site.run(&["rollout", "set", "off"]).ok();
    for (arguments, words) in [
        (&["--steps", "50,10"][..], "10 takes in nobody more"),
        (&["--steps", "10,10"], "10 takes in nobody more"),
        (&["--steps", "10,50", "--soak", "1h,1h,1h"], "3 soaks are more than the 2 steps"),
        (&["--steps", "1,2,3,4", "--soak", "1h,1h"], "2 soaks for 4 steps"),
        (&["--soak", "0s,1h"], "must not be zero"),
        (&["--soak", "1m,1h"], "shorter than a window"),
        (&["--least", "0"], "must be at least 1"),
        (&["--bad", "100"], "must be less than 100"),
        (&["--window", "0"], "must be at least a second"),
    ] {
        let run = site.run(&[&["rollout", "run", "--json"], arguments].concat());
        let error = refused(run, 2, "rollout_run_malformed");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    for (arguments, words) in [
        (["--steps", "101"], "must be a number from 0 to 100"),
        (["--steps", "ten"], "must be a number from 0 to 100"),
        (["--soak", "a day"], "must be a time such as 30m, 24h or 2d"),
    ] {
        let run = site.run(&[&["rollout", "run"], &arguments[..]].concat());
        assert!(run.code == 2 && run.err.contains(words), "{run:?}");
    }
    site.run(&["rollout", "set", "live"]).ok();
    let error = refused(site.run(&["rollout", "run", "--json"]), 2, "rollout_run_malformed");
    assert!(error["message"].as_str().unwrap().contains("the rollout is at live"), "{error}");
    assert_eq!(site.run(&["rollout", "status", "--json"]).json()["run"], Value::Null);
}
