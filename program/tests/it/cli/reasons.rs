//! Every reason for which the environment answers, each reached from the command line, and what
//! happens when the environment may not or cannot answer.

use std::net::TcpListener;

use serde_json::Value;

use super::{KEY, NUMBER, Site, TENANT, new_key, refused, with_environment};
use crate::support::database::{BOTH, Kind};
use crate::support::postgres::psql;
use crate::support::program::{Program, Run};

fn resolve(program: &Program) -> Run {
    program.run(&["resolve", "--json", "--tenant", TENANT, "--from", NUMBER])
}

/// Checks that the environment answers for this reason, and that `FALLBACK_DENY` makes it an error.
#[track_caller]
fn falls_back(program: &Program, reason: &str, exit: i32) {
    let program = with_environment(program.clone());
    let answer: Value = resolve(&program).json();
    assert_eq!((&answer["source"], &answer["reason"]), (&"environment".into(), &reason.into()));
    assert_eq!(
        (&answer["url"], &answer["api_key"]),
        (&"wss://env.example".into(), &"APIenv".into())
    );

    let denied = program.clone().with("FALLBACK_DENY", &format!("load_panicked, {reason}"));
    let error = refused(resolve(&denied), exit, "fallback_denied");
    assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
    let others = program.with("FALLBACK_DENY", "load_panicked");
    assert_eq!(resolve(&others).json()["reason"], reason);
}

#[test]
fn flag_off() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    for off in ["false", "0", "off", "no", "False"] {
        falls_back(&site.with("USE_SELFHOST_ROUTING_TABLE", off), "flag_off", 1);
    }
    let away =
        site.with("USE_SELFHOST_ROUTING_TABLE", "false").with("DATABASE_URL", "sqlite:/nowhere/x");
    falls_back(&away, "flag_off", 1);
}

#[test]
fn database_not_configured() {
    falls_back(&Program::new(), "database_not_configured", 1);
}

#[test]
fn number_unknown() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_number(TENANT, "+971501234568", None);
        falls_back(&site, "number_unknown", 1);
    }
}

#[test]
fn config_unassigned() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_number(TENANT, NUMBER, None);
        falls_back(&site, "config_unassigned", 1);
    }
}

#[test]
fn config_missing_after_a_forced_removal() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        site.run(&["livekit", "remove", "eu", "--force"]).ok();
        falls_back(&site, "config_missing", 1);
    }
}

#[test]
fn config_disabled_until_it_is_enabled() {
    for kind in BOTH {
        let (site, id) = Site::with_route(kind);
        let shown: Value = site.run(&["livekit", "disable", "eu", "--json"]).json();
        assert!(shown["disabled_at"].is_string(), "{shown}");
        falls_back(&site, "config_disabled", 1);
        let list = site.run(&["livekit", "list"]).ok();
        assert!(list.contains("disabled"), "{list}");
        assert!(site.run(&["livekit", "show", "eu"]).ok().contains("disabled since 20"));
        let explained = with_environment(site.program.clone());
        let ask = ["resolve", "--explain", "--tenant", TENANT, "--from", NUMBER];
        let explained = explained.run(&ask).ok();
        assert!(
            explained.contains("the LiveKit config \"eu\" is disabled since 20"),
            "{explained}"
        );
        let edited: Value = site.run(&["livekit", "edit", "eu", "--agent", "a", "--json"]).json();
        assert_eq!(edited["disabled_at"], shown["disabled_at"], "an edit enables nothing");
        site.run(&["livekit", "enable", &id]).ok();
        assert_eq!(resolve(&site).json()["source"], "database");
        refused(site.run(&["livekit", "disable", "us", "--json"]), 1, "config_not_found");
    }
}

#[test]
fn secret_unopenable_with_another_key_or_none() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        falls_back(&site.with(KEY, &new_key()), "secret_unopenable", 5);
        falls_back(&site.with(KEY, ""), "secret_unopenable", 5);
    }
}

#[test]
fn rules_malformed_and_config_invalid_after_somebody_edited_rows_by_hand() {
    let (site, _) = Site::with_route(Kind::Postgres);
    let command = site.command(&[]);
    let (_, url) = command.get_envs().find(|(name, _)| *name == "DATABASE_URL").unwrap();
    let url = url.unwrap().to_str().unwrap();
    for url_there in ["''", "'wss://key:canary@eu.example'"] {
        psql(url, &format!("update voice_agent_livekit set livekit_url = {url_there}"));
        falls_back(&site, "config_invalid", 1);
    }
    for rules in ["[1]", "\"text\"", "{\"livekit_config\": \"eu\"}"] {
        psql(url, &format!("update voice_agent_numbers set rules = '{rules}'"));
        falls_back(&site, "rules_malformed", 1);
    }
}

#[test]
fn host_not_allowed_where_a_config_is_elsewhere() {
    for kind in BOTH {
        let (site, _) = Site::with_route(kind);
        let elsewhere = site.with("LIVEKIT_HOSTS", "env.example, *.livekit.cloud, 10.0.0.0/8");
        falls_back(&elsewhere, "host_not_allowed", 1);
        let there = site.with("LIVEKIT_HOSTS", "env.example,*.example");
        assert_eq!(resolve(&there).json()["source"], "database");
        // What names it: the doctor, a look at the config, and a reason that is one word everywhere.
        let doctor = elsewhere.run(&["doctor"]);
        assert!(
            doctor.out.contains("\"eu\" is at a host that is not in LIVEKIT_HOSTS"),
            "{doctor:?}"
        );
        let check = elsewhere.run(&["livekit", "check", "eu", "--json"]);
        let found: Value = serde_json::from_str(check.out.lines().next().unwrap()).unwrap();
        assert_eq!(found["checks"][0]["code"], "host_not_allowed", "{check:?}");
        let add = ["livekit", "add", "--json", "--name", "x", "--url", "wss://x.example"];
        let add = elsewhere.run_with(&[&add[..], &["--api-key", "APIx"]].concat(), b"s3cret");
        refused(add, 2, "host_not_allowed");
        let edit = ["livekit", "edit", "eu", "--json", "--url", "wss://x.example"];
        refused(elsewhere.run(&edit), 2, "host_not_allowed");
    }
}

#[test]
fn an_environment_elsewhere_answers_nobody_and_the_settings_say_so() {
    let site = Site::new();
    let elsewhere = site.with_environment().with("LIVEKIT_HOSTS", "*.livekit.cloud");
    let error = refused(resolve(&elsewhere), 1, "host_not_allowed");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("number_unknown") && message.contains("LIVEKIT_HOSTS"), "{message}");
    let off = elsewhere.clone().with("USE_SELFHOST_ROUTING_TABLE", "false");
    refused(resolve(&off), 1, "host_not_allowed");
    for command in [&["settings", "check"][..], &["doctor"]] {
        let run = elsewhere.run(command);
        let told = format!("{}{}", run.out, run.err);
        assert!(told.contains("LIVEKIT_URL: its host is not in LIVEKIT_HOSTS"), "{told}");
    }
    let malformed = site.with("LIVEKIT_HOSTS", "wss://canary.example");
    let error = refused(resolve(&malformed), 3, "settings_invalid");
    assert!(error.to_string().contains("LIVEKIT_HOSTS") && !error.to_string().contains("canary"));
}

#[test]
fn database_unreachable() {
    let site = Site::new();
    for url in ["sqlite:/nowhere/at/all.db", "postgres://nobody@127.0.0.1:1/x"] {
        falls_back(&site.with("DATABASE_URL", url), "database_unreachable", 4);
    }
}

#[test]
fn database_timeout() {
    // It takes connections and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/x", mute.local_addr().unwrap());
    let site = Site::new();
    falls_back(&site.with("DATABASE_URL", &url), "database_timeout", 4);
}

#[test]
fn database_error_where_the_tables_are_not() {
    let site = Site::empty(Kind::Sqlite);
    site.file("x.db", "");
    falls_back(&site, "database_error", 4);
}

#[test]
fn an_incomplete_environment_is_an_error_that_names_all_three() {
    let site = Site::new();
    let all = ["LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"];
    let without = all.map(|name| site.with_environment().with(name, ""));
    for program in without.iter().chain([&site.program]) {
        let error = refused(resolve(program), 1, "environment_incomplete");
        let message = error["message"].as_str().unwrap();
        for name in all {
            assert!(message.contains(name), "{message}");
        }
        assert!(!message.contains("canary"), "{message}");
    }
    let run = site.run(&["resolve", "--tenant", TENANT, "--from", NUMBER]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("LIVEKIT_API_SECRET"), "{}", run.err);
}

#[test]
fn an_answer_of_the_database_needs_no_environment() {
    let (site, _) = Site::with_route(Kind::Sqlite);
    let deny = "number_unknown,config_unassigned,secret_unopenable,database_unreachable";
    assert_eq!(resolve(&site.with("FALLBACK_DENY", deny)).json()["source"], "database");
    let unknown = site.with("FALLBACK_DENY", "bad_weather");
    refused(resolve(&unknown), 3, "settings_invalid");
}
