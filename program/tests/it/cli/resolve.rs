//! What `resolve` prints: the answer, the steps, the changes; never the secret nor a whole number
//! in a log.

use std::sync::mpsc;

use serde_json::{Value, json};

use super::{
    ENVIRONMENT_SECRET, KEY, MASKED, NUMBER, OTHER_TENANT, Running, Site, TENANT, new_key, refused,
};
use crate::support::database::{BOTH, Kind};
use crate::support::program::Program;
use crate::support::secret_of;

const ASK: [&str; 5] = ["resolve", "--tenant", TENANT, "--from", NUMBER];

fn ask(program: &Program) -> Value {
    program.run(&[&ASK[..], &["--json"]].concat()).json()
}

/// The steps of `--explain`, as `step: found`.
fn steps(object: &Value) -> Vec<String> {
    let text = |step: &Value, member| step[member].as_str().unwrap().to_owned();
    let steps = object["steps"].as_array().unwrap().iter();
    steps.map(|step| format!("{}: {}", text(step, "step"), text(step, "found"))).collect()
}

#[test]
fn the_answer_is_one_object_with_exactly_these_members() {
    for kind in BOTH {
        let (site, id) = Site::with_route(kind);
        let run = site.run(&[&ASK[..], &["--json"]].concat());
        assert_eq!((run.out.lines().count(), run.err.as_str()), (1, ""));
        let answer = run.json();
        assert!(answer["age_ms"].as_u64().unwrap() < 60_000, "{answer}");
        assert_eq!(
            answer,
            json!({
                "source": "database", "reason": null, "url": "wss://eu.example",
                "api_key": "APIkey", "trunk_id": null, "trunk_origin": null,
                "agent_name": "inbound-agent", "config_id": id, "config_name": "eu",
                "tenant_id": TENANT, "number": NUMBER, "stale": false,
                "age_ms": answer["age_ms"],
            }),
            "{kind:?}"
        );
    }
}

#[test]
fn the_environment_answers_with_the_same_members() {
    let program = Site::new().with_environment().with("OUTBOUND_TRUNK_ID", "ST_env");
    let program = program.with("VOICE_AGENT_NAME", "env-agent").with("DATABASE_URL", "");
    let answer = ask(&program);
    assert_eq!(
        answer,
        json!({
            "source": "environment", "reason": "database_not_configured",
            "url": "wss://env.example", "api_key": "APIenv", "trunk_id": "ST_env",
            "trunk_origin": "environment", "agent_name": "env-agent", "config_id": null,
            "config_name": null, "tenant_id": TENANT, "number": NUMBER, "stale": false,
            "age_ms": answer["age_ms"],
        })
    );
}

#[test]
fn the_trunk_is_the_configs_else_the_rules_else_the_environments() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_config("eu");
        let program = site.with_environment().with("OUTBOUND_TRUNK_ID", "ST_env");
        let trunk = || {
            let answer = ask(&program);
            [answer["trunk_origin"].clone(), answer["trunk_id"].clone()]
        };
        site.add_number(TENANT, NUMBER, Some("eu"));
        assert_eq!(trunk(), ["environment", "ST_env"], "{kind:?}");

        let whose = &ASK[1..3];
        site.run(&[&["number", "remove", "--number", NUMBER], whose].concat()).ok();
        let rules = r#"{"outbound_trunk_id": "ST_rules"}"#;
        let add = ["number", "add", "--number", NUMBER, "--livekit", "eu", "--rules", rules];
        site.run(&[&add[..], whose].concat()).ok();
        assert_eq!(trunk(), ["rules", "ST_rules"], "{kind:?}");

        site.run(&["livekit", "edit", "eu", "--trunk", "ST_config"]).ok();
        assert_eq!(trunk(), ["config", "ST_config"], "{kind:?}");

        site.run(&[&["number", "unassign", "--number", NUMBER], whose].concat()).ok();
        assert_eq!(trunk(), ["rules", "ST_rules"], "the rules' trunk serves in a fallback, too");
    }
}

#[test]
fn people_get_a_table_and_a_log_line_with_a_masked_number() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let run = site.run(&ASK);
    assert!(run.err.contains("Using LiveKit credentials from database"), "{}", run.err);
    assert!(run.err.contains(MASKED), "{}", run.err);
    for hidden in [NUMBER, &NUMBER[1..], &NUMBER[4..]] {
        assert!(!run.err.contains(hidden), "{}", run.err);
    }
    let out = run.ok();
    for shown in ["database", "wss://eu.example", "APIkey", "inbound-agent"] {
        assert!(out.contains(shown), "{out}");
    }
    assert!(!out.contains(&secret_of("eu")), "{out}");
}

#[test]
fn a_fallback_is_logged_with_its_reason_and_a_masked_number() {
    let site = Site::new();
    let run = site.with_environment().run(&ASK);
    assert!(run.err.contains("Falling back to environment variables"), "{}", run.err);
    assert!(run.err.contains("number_unknown") && run.err.contains(MASKED), "{}", run.err);
    assert!(
        !run.err.contains(&NUMBER[1..]) && !run.err.contains(ENVIRONMENT_SECRET),
        "{}",
        run.err
    );
    let out = run.ok();
    assert!(out.contains("environment") && out.contains("number_unknown"), "{out}");
    assert!(!out.contains(ENVIRONMENT_SECRET), "{out}");
}

#[test]
fn logs_are_json_when_they_are_asked_to_be() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let run = site.with("LOG_FORMAT", "json").run(&ASK);
    let lines: Vec<Value> =
        run.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = "Using LiveKit credentials from database";
    let line = lines.iter().find(|line| line["fields"]["message"] == said).unwrap();
    assert_eq!((&line["fields"]["number"], &line["level"]), (&json!(MASKED), &json!("INFO")));
}

#[test]
fn explain_tells_each_step_to_the_database() {
    for kind in BOTH {
        let (site, id) = Site::with_route(kind);
        let object = site.run(&[&ASK[..], &["--explain", "--json"]].concat()).json();
        let told = steps(&object).join("\n");
        for part in
            [MASKED, "flag: ", "number: has a row", &id, "wss://eu.example", "secret: opens"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(object["source"], "database");
        assert!(!told.contains(&secret_of("eu")) && !told.contains(NUMBER), "{told}");
        let people = site.run(&[&ASK[..], &["--explain"]].concat()).ok();
        assert!(people.contains("has a row") && people.contains("APIkey"), "{people}");
    }
}

#[test]
fn explain_tells_each_step_to_the_environment_and_to_an_error() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let explain = [&ASK[..], &["--explain", "--json"]].concat();
    let other_key = site.with_environment().with(KEY, &new_key());
    let told = steps(&other_key.run(&explain).json()).join("\n");
    assert!(told.contains("no key of the ring fits"), "{told}");
    assert!(told.contains("secret_unopenable") && told.contains("from the environment"), "{told}");

    let denied = other_key.with("FALLBACK_DENY", "secret_unopenable");
    let run = denied.run(&explain);
    let told = steps(&serde_json::from_str(&run.out).unwrap()).join("\n");
    assert!(told.contains("denies"), "{told}");
    refused(run, 5, "fallback_denied");
}

#[test]
fn without_a_tenant_a_sole_owner_is_answered_for_and_two_are_not() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let unowned = ["resolve", "--json", "--from", NUMBER];
        let answer = site.run(&unowned).json();
        assert_eq!((&answer["source"], &answer["tenant_id"]), (&json!("database"), &Value::Null));

        site.add_number(OTHER_TENANT, NUMBER, Some("eu"));
        let error = refused(site.with_environment().run(&unowned), 1, "tenant_needed");
        assert!(!error.to_string().contains(OTHER_TENANT), "{error}");
        assert_eq!(ask(&site)["source"], "database", "{kind:?}");

        let nobody = ["resolve", "--json", "--from", "+14155550123"];
        assert_eq!(site.with_environment().run(&nobody).json()["reason"], "number_unknown");
        let bare = ["resolve", "--from", NUMBER, "--explain", "--json"];
        refused(site.run(&bare), 2, "usage");
    }
}

#[test]
fn watch_prints_a_line_when_another_process_changes_the_answer_and_ends_on_sigint() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let watch = [&ASK[..], &["--watch", "--json"]].concat();
        let watching = Running::start(site.command(&watch));
        let next = || serde_json::from_str::<Value>(&watching.line()).unwrap();
        assert_eq!(next()["url"], "wss://eu.example", "{kind:?}");

        site.run(&["livekit", "edit", "eu", "--url", "wss://moved.example"]).ok();
        assert_eq!(next()["url"], "wss://moved.example", "{kind:?}");
        site.run(&["livekit", "edit", "eu", "--trunk", "ST_new"]).ok();
        assert_eq!(next()["trunk_id"], "ST_new", "{kind:?}");
        assert_eq!(watching.end_by("-INT"), Some(0), "{kind:?}");
    }
}

#[test]
fn watch_goes_on_through_an_answer_that_is_an_error() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let watching = Running::start(site.command(&[&ASK[..], &["--watch"]].concat()));
    assert!(watching.line().contains("wss://eu.example"));
    let whose = ["--tenant", TENANT, "--number", NUMBER];
    site.run(&[&["number", "unassign"], &whose[..]].concat()).ok();
    let eu = site.configs()[0]["id"].as_str().unwrap().to_owned();
    site.run(&["livekit", "edit", &eu, "--url", "wss://moved.example"]).ok();
    site.run(&[&["number", "assign", "--livekit", "eu"], &whose[..]].concat()).ok();
    assert!(watching.line().contains("wss://moved.example"));
    assert_eq!(watching.end_by("-INT"), Some(0));
}

#[test]
fn watch_follows_the_settings_too() {
    let site = Site::new();
    let variables = |key: &str| {
        format!("LIVEKIT_URL=wss://env.example\nLIVEKIT_API_KEY={key}\nLIVEKIT_API_SECRET=s\n")
    };
    let env = site.file("settings.env", &variables("APIone"));
    let watch = [&ASK[..], &["--watch", "--json", "--env-file", &env]].concat();
    let watching = Running::start(site.command(&watch));
    let next = || serde_json::from_str::<Value>(&watching.line()).unwrap();
    assert_eq!(next()["api_key"], "APIone");
    site.file("settings.env", &variables("APIanother"));
    assert_eq!(next()["api_key"], "APIanother");
    assert_eq!(watching.end_by("-INT"), Some(0));
}

#[test]
fn watch_ends_when_its_reader_has_left() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let mut watching = Running::start(site.command(&[&ASK[..], &["--watch"]].concat()));
    assert!(watching.line().contains("wss://eu.example"));
    // The reader gives up at the first line that nobody takes from it.
    watching.lines = mpsc::channel().1;
    let ended = (0..100).any(|turn| {
        let url = format!("wss://moved-{turn}.example");
        site.run(&["livekit", "edit", "eu", "--url", &url]).ok();
        watching.child.try_wait().unwrap().is_some()
    });
    assert!(ended, "it goes on although nobody reads what it prints");
}
