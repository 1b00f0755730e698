//! The settings of the program: shown without secrets, checked as a whole, read from where they
//! are said to be.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline::settings::VARIABLES;

use super::{ENVIRONMENT_SECRET, KEY, new_key, refused, with_environment, write_file};
use crate::support::program::Program;

/// `settings show --json`, by name.
fn shown(program: &Program, more: &[&str]) -> BTreeMap<String, Value> {
    let rows = program.run(&[&["settings", "show", "--json"], more].concat()).json();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (row["name"].as_str().unwrap().to_owned(), row.clone())).collect()
}

#[test]
fn show_lists_every_setting_with_its_value_and_where_it_comes_from() {
    let program = Program::new().with("CACHE_TTL", "7s");
    let rows = shown(&program, &[]);
    assert_eq!(rows.len(), VARIABLES.len());
    for variable in VARIABLES {
        let row = &rows[variable.name];
        let set = variable.name == "CACHE_TTL";
        let value = if set { "7s" } else { variable.default };
        assert_eq!(row["value"].as_str().unwrap_or(""), value, "{row}");
        assert_eq!(row["origin"], if set { "environment" } else { "default" }, "{row}");
        assert_eq!(row["hot"], variable.hot, "{row}");
    }
}

#[test]
fn show_hides_secrets_and_says_that_they_are_set() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key();
    let file = write_file(folder.path(), "key", &key);
    let program = with_environment(Program::new())
        .with("DATABASE_URL", "postgres://me:canary-of-the-url@127.0.0.1/x")
        .with("PGPASSWORD", "canary-of-libpq")
        .with(&format!("{KEY}_FILE"), &file);
    let rows = shown(&program, &[]);
    for name in [KEY, "LIVEKIT_API_SECRET"] {
        assert_eq!(rows[name]["value"], "(set)");
    }
    assert_eq!(rows["DATABASE_URL"]["value"], "postgres://me:***@127.0.0.1/x");
    assert_eq!(rows[KEY]["origin"], file);
    let people = program.run(&["settings", "show"]).ok();
    assert!(people.contains(&file), "{people}");
    for text in [people, format!("{rows:?}")] {
        assert!(!text.contains("canary") && !text.contains(&key), "{text}");
    }
}

#[test]
fn show_hides_a_password_that_stands_where_none_belongs() {
    let program = Program::new().with("LIVEKIT_URL", "wss://key:canary@eu.example");
    for format in [&[][..], &["--json"]] {
        let run = program.run(&[&["settings", "show"], format].concat());
        assert!(!format!("{run:?}").contains("canary"), "{run:?}");
    }
}

#[test]
fn check_says_that_valid_settings_are() {
    for program in [Program::new(), with_environment(Program::new()).with(KEY, &new_key())] {
        assert!(program.run(&["settings", "check"]).ok().contains("valid"));
        assert_eq!(program.run(&["settings", "check", "--json"]).json()["valid"], true);
    }
}

#[test]
fn check_names_every_problem_at_once_and_no_value() {
    let program = Program::new()
        .with("DATABASE_URL", "mysql://me:canary@host/x")
        .with(KEY, "canary")
        .with("LIVEKIT_URL", "wss://key:canary@eu.example")
        .with("CACHE_TTL", "canary")
        .with("CACHE_CAPACITY", "0")
        .with("USE_SELFHOST_ROUTING_TABLE", "canary")
        .with("FALLBACK_DENY", "canary")
        .with("ROUTING_COUNTRIES", "AE,canary")
        .with("LIVEKIT_API_SECRET_FILE", "/nowhere/at/all");
    let error = refused(program.run(&["settings", "check", "--json"]), 3, "settings_invalid");
    let run = program.run(&["settings", "check"]);
    assert_eq!((run.code, run.out.as_str()), (3, ""));
    for text in [error["message"].as_str().unwrap(), &run.err] {
        for name in [
            "DATABASE_URL",
            KEY,
            "LIVEKIT_URL",
            "CACHE_TTL",
            "CACHE_CAPACITY",
            "USE_SELFHOST_ROUTING_TABLE",
            "FALLBACK_DENY",
            "ROUTING_COUNTRIES",
            "LIVEKIT_API_SECRET",
        ] {
            assert!(text.contains(&format!("\n  {name}: ")), "{name}: {text}");
        }
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn settings_that_are_not_valid_stop_every_command_that_reads_them() {
    let program = Program::new().with("LEASE", "soon");
    for arguments in [
        &["livekit", "list", "--json"][..],
        &["db", "status", "--json"],
        &["resolve", "--json", "--from", "+971501234567"],
        &["secret", "seal", "--json"],
    ] {
        refused(program.run(arguments), 3, "settings_invalid");
    }
    program.run(&["key", "generate"]).ok();
    program.run(&["settings", "show"]).ok();
}

#[test]
fn the_example_documents_every_variable_and_is_valid_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let example = Program::new().with("LIVEKIT_API_SECRET", ENVIRONMENT_SECRET);
    let example = example.run(&["settings", "example"]).ok();
    assert!(!example.contains(ENVIRONMENT_SECRET));
    for variable in VARIABLES {
        assert!(example.contains(&format!("{}={}\n", variable.name, variable.default)));
        assert_eq!(example.contains(&format!("{}_FILE=", variable.name)), variable.file);
    }
    let file = write_file(folder.path(), "example.env", &example);
    Program::new().run(&["settings", "check", "--env-file", &file]).ok();
}

#[test]
fn a_file_of_settings_is_read_and_the_process_environment_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_file(folder.path(), "x.env", "CACHE_TTL=7s\nLEASE='2s'\n# a comment\n");
    let program = Program::new().with("CACHE_TTL", "9s");
    let rows = shown(&program, &["--env-file", &file]);
    assert_eq!(
        (&rows["CACHE_TTL"]["value"], &rows["LEASE"]["value"]),
        (&"9s".into(), &"2s".into())
    );
    assert_eq!(rows["CACHE_TTL"]["origin"], "environment");
    assert_eq!(rows["LEASE"]["origin"], file);

    let rows = shown(&Program::new(), &["--env-file", &file]);
    assert_eq!(rows["CACHE_TTL"]["value"], "7s");
}

#[test]
fn the_env_file_of_the_folder_is_read_unless_it_is_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), ".env", "CACHE_TTL=7s\n");
    let ttl = |arguments: &[&str]| {
        let mut command = Program::new().command(arguments);
        let output = command.current_dir(folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains("7s")
    };
    assert!(ttl(&["settings", "show"]));
    assert!(!ttl(&["settings", "show", "--no-env-file"]));
}

#[test]
fn a_file_of_settings_that_is_missing_or_broken_is_an_error_without_its_lines() {
    let missing = ["settings", "check", "--json", "--env-file", "/nowhere/at/all.env"];
    refused(Program::new().run(&missing), 2, "env_file_missing");

    let folder = tempfile::tempdir().unwrap();
    let broken = "CACHE_TTL=7s\nLIVEKIT_API_SECRET=\"canary and no end\nLEASE=2s\n";
    let file = write_file(folder.path(), "x.env", broken);
    let check = ["settings", "check", "--json", "--env-file", &file];
    let error = refused(Program::new().run(&check), 3, "settings_invalid");
    assert!(!error.to_string().contains("canary"), "{error}");
}
