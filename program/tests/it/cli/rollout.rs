//! The rollout from the command line.

mod run;

use serde_json::{Value, json};

use super::{NUMBER, OTHER_TENANT, Site, TENANT, refused, with_environment};
use crate::support::database::BOTH;

/// Its reason, or `database`.
fn answered(site: &Site, tenant: &str) -> String {
    let program = with_environment(site.program.clone());
    let ask = ["resolve", "--json", "--tenant", tenant, "--from", NUMBER];
    let answer: Value = program.run(&ask).json();
    match answer["reason"].as_str() {
        Some(reason) => reason.to_owned(),
        None => answer["source"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn a_rollout_from_nobody_to_everybody_and_back() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let run = |arguments: &[&str]| site.run(&[&["rollout"], arguments].concat());
        let status = || run(&["status", "--json"]).json();
        assert_eq!((&status()["stage"], &status()["version"]), (&json!("live"), &json!(0)));
        assert!(run(&["status"]).ok().contains("live: the database answers everybody"));

        assert!(run(&["set", "off"]).ok().contains("the environment answers everybody"));
        assert_eq!(answered(&site, TENANT), "outside_rollout", "{kind:?}");
        run(&["set", "shadow"]).ok();
        assert_eq!(answered(&site, TENANT), "shadow");
        run(&["set", "0", "--allow", TENANT]).ok();
        assert_eq!(answered(&site, TENANT), "database");
        run(&["set", "100", "--deny", TENANT]).ok();
        assert_eq!(answered(&site, TENANT), "outside_rollout", "deny wins");
        let (salt, listed) = (status()["salt"].clone(), status());
        assert_eq!((&listed["allow"], &listed["deny"]), (&json!([]), &json!([TENANT])));
        assert_eq!((&listed["percent"], &listed["unit"]), (&json!(100.0), &json!("tenant")));

        let explained = with_environment(site.program.clone());
        let ask = ["resolve", "--explain", "--tenant", TENANT, "--from", NUMBER];
        let explained = explained.run(&ask).ok();
        assert!(explained.contains("stage percent; the tenant is denied"), "{explained}");
        run(&["set", "--unlist", TENANT]).ok();
        assert_eq!(answered(&site, TENANT), "database");
        let plan = run(&["plan", "off", "--json"]).json();
        assert_eq!(plan["survey"]["moving_out"], json!({"numbers": 1, "tenants": 1}));
        assert_eq!(
            (&plan["now"]["stage"], &plan["then"]["stage"]),
            (&json!("percent"), &json!("off"))
        );
        assert_eq!(status()["stage"], "percent", "a plan changes nothing");
        assert!(run(&["plan", "off"]).ok().contains("1 numbers of 1 tenants"));
        assert_eq!(status()["salt"], salt, "it stays until a reset");

        run(&["reset", "--by", "number"]).ok();
        let reset = status();
        assert_eq!((&reset["stage"], &reset["unit"]), (&json!("off"), &json!("number")));
        assert_ne!(reset["salt"], salt);
    }
}

#[test]
fn it_is_completed_only_where_the_database_has_an_answer_for_each_number() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        site.add_number(OTHER_TENANT, NUMBER, None);
        let error =
            refused(site.run(&["rollout", "set", "complete", "--json"]), 6, "rollout_unanswered");
        assert!(error["message"].as_str().unwrap().contains("1 of 2 numbers"), "{error}");
        assert_eq!(answered(&site, OTHER_TENANT), "config_unassigned");
        let listed = site.run(&["rollout", "plan", "complete", "--list"]).ok();
        let line = format!("{OTHER_TENANT}  {NUMBER}  config_unassigned");
        assert!(listed.contains(&line), "{listed}");
        let compared: Value = site.run(&["rollout", "compare", "--json"]).json();
        assert_eq!((&compared["answered"], &compared["numbers"]), (&json!(1), &json!(2)));
        assert!(site.run(&["rollout", "compare"]).ok().contains("api_secret"));

        site.run(&["rollout", "set", "complete", "--force"]).ok();
        let ask = ["resolve", "--json", "--tenant", OTHER_TENANT, "--from", NUMBER];
        let program = with_environment(site.program.clone());
        refused(program.run(&ask), 1, "rollout_complete");
        assert_eq!(answered(&site, TENANT), "database");
    }
}

#[test]
fn what_is_no_stage_no_share_and_no_tenant_is_refused_and_changes_nothing() {
    let site = Site::with_route(crate::support::database::Kind::Sqlite).0;
    for wrong in [
        &["set"][..],
        &["set", "half"],
        &["set", "101"],
        &["set", "0.0001"],
        &["set", "-5"],
        &["set", "10", "--allow", "acme"],
        &["reset", "--by", "country"],
    ] {
        let run = site.run(&[&["rollout"], wrong].concat());
        assert_eq!(run.code, 2, "{wrong:?}: {run:?}");
    }
    assert_eq!(site.run(&["rollout", "status", "--json"]).json()["version"], 0);
}

#[test]
fn a_database_without_the_table_is_told_to_migrate() {
    for kind in BOTH {
        let site = Site::empty(kind);
        site.run(&["db", "migrate"]).ok();
        // To the step before it, which is the fourteenth.
        let status = site.run(&["db", "status", "--json"]).json();
        let applied = status["migrations"].as_array().unwrap();
        let since = applied.iter().filter(|step| step["version"].as_i64() >= Some(14)).count();
        site.run(&["db", "rollback", "--steps", &since.to_string(), "--yes"]).ok();
        assert_eq!(site.run(&["rollout", "status", "--json"]).json()["stage"], "live");
        refused(site.run(&["rollout", "set", "off", "--json"]), 4, "not_migrated");
    }
}

#[test]
fn each_step_is_audited_with_what_was_before_and_after() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.run(&["rollout", "set", "10"]).ok();
        site.run(&["rollout", "set", "live"]).ok();
        let rows = site.run(&["audit", "list", "--entity", "rollout", "--json"]).ok();
        let steps = rows.lines().map(|line| serde_json::from_str(line).unwrap());
        let steps: Vec<Value> = steps.collect();
        assert_eq!(steps.len(), 2, "{kind:?}: {rows}");
        let newest = steps.iter().find(|row| row["operation"] == "update").unwrap();
        let stage = |side: &str| newest[side]["stage"].as_str().unwrap().to_owned();
        assert_eq!((stage("before"), stage("after")), ("percent".into(), "live".into()));
        site.run(&["audit", "seal"]).ok();
        site.run(&["audit", "verify"]).ok();
    }
}
