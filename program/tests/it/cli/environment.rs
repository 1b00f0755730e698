//! Settings files as people and programs write them, from `tests/cases/env`: what is in them is
//! taken whole, or its line is named. Rows of `expected.tsv` that cannot be files are made here.

mod files;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{KEY, Running, new_key, refused, within, write_file};
use crate::support::program::{Program, Run};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/env/");
const SOON: Duration = Duration::from_secs(20);

/// Runs the program with the settings of one case.
fn with_case(arguments: &[&str], case: &str) -> Run {
    let file = format!("{CASES}{case}");
    Program::new().run(&[arguments, &["--env-file", &file]].concat())
}

/// What `settings show` says of a variable.
fn shown(run: Run, name: &str) -> String {
    let rows: Value = run.json();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    row["value"].as_str().unwrap_or("-").to_owned()
}

/// The warnings of `settings check`, as `variable: message`.
fn warnings(run: Run) -> Vec<String> {
    let object = run.json();
    let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
    let rows = object["warnings"].as_array().unwrap().iter();
    rows.map(|row| format!("{}: {}", text(row, "variable"), text(row, "message"))).collect()
}

/// What `doctor` says, the lines that are no praise.
fn doctor(program: &Program, more: &[&str]) -> String {
    let run = program.run(&[&["doctor"], more].concat());
    run.out.lines().filter(|line| !line.starts_with("ok ")).collect::<Vec<_>>().join("\n")
}

/// What a daemon says on stderr from its start to its end.
fn said_by_a_daemon(program: &Program, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let program = program.clone().with("HOME", folder.path().to_str().unwrap());
    let mut command = program.command(&[&["serve", "--listen", "127.0.0.1:0"], more].concat());
    let log = folder.path().join("log");
    command.stderr(fs::File::create(&log).unwrap());
    let daemon = Running::start(command);
    assert!(daemon.line().starts_with("listening on "));
    assert_eq!(daemon.end_by("-TERM"), Some(0));
    fs::read_to_string(log).unwrap()
}

#[test]
fn every_case_from_the_field_has_its_test_here() {
    let (expected, tests) =
        (include_str!("../../../../tests/cases/env/expected.tsv"), include_str!("environment.rs"));
    let rows: Vec<_> = expected.lines().skip(1).filter_map(|row| row.split_once('\t')).collect();
    assert_eq!(rows.len(), 13);
    for file in
        rows.iter().filter_map(|(case, _)| case.split(' ').find(|word| word.contains(".env")))
    {
        assert!(tests.contains(file), "{file}");
    }
}

#[test]
fn a_dollar_is_text() {
    with_case(&["settings", "check"], "dollar.env").ok();
    let values =
        trunkline::settings::Values::of([], Some(Path::new(&format!("{CASES}dollar.env"))));
    let whole = "tq7$Kq2Zp9xxxxxxxxxxxxxxxxxxxxxxxxxx";
    assert_eq!(values.get("LIVEKIT_API_SECRET"), Some(whole));
    for (name, value) in [("VOICE_AGENT_NAME", "pa$word9"), ("OUTBOUND_TRUNK_ID", "a$$b")] {
        let run = with_case(&["settings", "show", "--json"], "dollar-quoted.env");
        assert_eq!(shown(run, name), value);
    }
}

#[test]
fn a_dollar_that_was_replaced_before_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = write_file(folder.path(), "x.env", text);
        Program::new().with("PLACE", "eu").run(&[
            "settings",
            "check",
            "--json",
            "--env-file",
            &file,
        ])
    };
    let said = warnings(check("A=1\nVOICE_AGENT_NAME=agent-$PLACE\n"));
    assert!(said[0].starts_with("VOICE_AGENT_NAME: ") && said[0].contains("line 2"), "{said:?}");
    assert_eq!(warnings(check("VOICE_AGENT_NAME='agent-$PLACE'\n")), [""; 0]);
    let error = refused(check("\n\nVOICE_AGENT_NAME=agent-${PLACE}\n"), 3, "settings_invalid");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("line 3") && message.contains("single quotes"), "{message}");
}

#[test]
fn a_backslash_is_text_or_its_line_is_named() {
    let run = with_case(&["settings", "show", "--json"], "backslash.env");
    assert_eq!(shown(run, "VOICE_AGENT_NAME"), "a\\b");
    let folder = tempfile::tempdir().unwrap();
    let file = write_file(folder.path(), "x.env", "LEASE=1s\nVOICE_AGENT_NAME=a\\\\canary\n");
    let run = Program::new().run(&["settings", "check", "--json", "--env-file", &file]);
    let error = refused(run, 3, "settings_invalid");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("line 2") && message.contains("single quotes"), "{message}");
    assert!(!message.contains("canary"), "{message}");
}

#[test]
fn a_mark_of_the_encoding_is_no_part_of_a_name() {
    let run = with_case(&["settings", "show", "--json"], "bom.env");
    assert_eq!(shown(run, "VOICE_AGENT_NAME"), "agent");
}

#[test]
fn a_line_of_another_program_does_not_spoil_ours() {
    let show = || with_case(&["settings", "show", "--json"], "foreign-line.env");
    assert_eq!(shown(show(), "VOICE_AGENT_NAME"), "agent");
    assert_eq!(shown(show(), "OUTBOUND_TRUNK_ID"), "ST_1");
    let said = warnings(with_case(&["settings", "check", "--json"], "foreign-line.env"));
    assert!(said[0].contains("line 2"), "{said:?}");
}

#[test]
fn a_problem_names_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_file(folder.path(), "x.env", "LEASE=1s\nCACHE_TTL=soon\nWARM\n");
    let run = Program::new().run(&["settings", "check", "--json", "--env-file", &file]);
    let error = refused(run, 3, "settings_invalid");
    let message = error["message"].as_str().unwrap();
    for (name, line) in [("CACHE_TTL", 2), ("WARM", 3)] {
        let said = message.lines().find(|said| said.starts_with(&format!("  {name}: "))).unwrap();
        assert!(said.ends_with(&format!("(line {line} of {file})")), "{message}");
    }
}

#[test]
fn a_name_near_one_of_ours_is_told_by_check_doctor_and_at_the_start() {
    let file = format!("{CASES}misspelt.env");
    let named = ["--env-file", &file];
    let check = warnings(with_case(&["settings", "check", "--json"], "misspelt.env")).join("\n");
    let doctor = doctor(&Program::new(), &named);
    let daemon = said_by_a_daemon(&Program::new(), &named);
    for said in [check, doctor, daemon] {
        for (name, meant) in [
            ("USE_SELFHOST_ROUTING", "USE_SELFHOST_ROUTING_TABLE"),
            ("DATABASE_ULR", "DATABASE_URL"),
        ] {
            let line = said.lines().find(|line| line.contains(&format!("{name}: ")));
            assert!(line.is_some_and(|line| line.contains(meant)), "{name}: {said}");
        }
    }
    let process = Program::new().with("LIVEKIT_URI", "wss://a.example");
    let said = warnings(process.run(&["settings", "check", "--json"]));
    assert!(said[0].starts_with("LIVEKIT_URI: ") && said[0].contains("LIVEKIT_URL"), "{said:?}");
}

#[test]
fn two_of_three_are_told_with_what_is_missing() {
    let check =
        warnings(with_case(&["settings", "check", "--json"], "two-of-three.env")).join("\n");
    let doctor = doctor(&Program::new(), &["--env-file", &format!("{CASES}two-of-three.env")]);
    for said in [check, doctor] {
        assert!(said.contains("LIVEKIT_API_SECRET: is missing"), "{said}");
        assert!(said.contains("nothing to fall back to"), "{said}");
    }
}

#[test]
fn quotes_that_docker_keeps_are_told() {
    let text = fs::read_to_string(format!("{CASES}quoted-by-docker.env")).unwrap();
    let (name, value) = text.trim_end().split_once('=').unwrap();
    let said = warnings(Program::new().with(name, value).run(&["settings", "check", "--json"]));
    assert!(
        said.iter().any(|said| said.starts_with("LIVEKIT_API_KEY: stands in quotes")),
        "{said:?}"
    );
    // In a file they are syntax.
    let said = warnings(with_case(&["settings", "check", "--json"], "quoted-by-docker.env"));
    assert!(!said.iter().any(|said| said.contains("quotes")), "{said:?}");
}

#[test]
fn white_space_around_a_secret_is_told() {
    let program = Program::new().with("LIVEKIT_API_SECRET", "canary ");
    let said = warnings(program.run(&["settings", "check", "--json"]));
    let told = said.iter().find(|said| said.contains("white space")).unwrap();
    assert!(told.starts_with("LIVEKIT_API_SECRET: ") && !told.contains("canary"), "{told}");
}

#[test]
fn a_key_of_the_other_alphabet_and_with_blanks_is_taken_and_one_without_its_padding_is_told() {
    let key = "AAECAwQFBgcICQoLDA0OD_-REhMUFRYXGBkaGxwdHh8=";
    let check = |key: &str| Program::new().with(KEY, key).run(&["settings", "check", "--json"]);
    for taken in [key.to_owned(), key.replace('_', "/").replace('-', "+"), format!("  {key}\t")] {
        assert_eq!(warnings(check(&taken)), [""; 0], "{taken}");
    }
    let said = warnings(check(key.trim_end_matches('=')));
    assert!(said.len() == 1 && said[0].contains("without the ="), "{said:?}");
    for junk in [format!("{key}{key}"), key.replace('A', "*"), format!("\"{key}\"")] {
        refused(check(&junk), 5, "key_malformed");
    }
}

/// A server that speaks no TLS is asked for it, and then spoken to no more.
#[test]
fn tls_that_is_asked_for_in_a_file_is_demanded() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let text = fs::read_to_string(format!("{CASES}pgsslmode.env")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write_file(folder.path(), "x.env", &format!("{text}PGPORT={port}\n"));
    let heard = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut heard = [0; 8];
        std::io::Read::read_exact(&mut client, &mut heard).unwrap();
        std::io::Write::write_all(&mut client, b"N").unwrap();
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut client, &mut rest);
        (heard, rest)
    });
    let run = Program::new().run(&["livekit", "list", "--json", "--env-file", &file]);
    assert_eq!(run.code, 4, "{run:?}");
    let (heard, rest) = heard.join().unwrap();
    assert_eq!(heard, [0, 0, 0, 8, 4, 210, 22, 47], "a request for TLS comes first");
    assert!(rest.is_empty(), "nothing is said in the clear");
}

#[test]
fn a_parameter_that_is_not_known_is_named_without_its_value() {
    let check = with_case(&["settings", "check"], "sslpassword.env");
    assert!(check.out.contains("sslpassword"), "{check:?}");
    let file = format!("{CASES}sslpassword.env");
    let program = Program::new().with("RUST_LOG", "trace").with("STORE_DEADLINE", "100ms");
    for arguments in [
        &["settings", "show"][..],
        &["doctor"],
        &["livekit", "list"],
        &["resolve", "--from", "+971501234567"],
    ] {
        let run = program.run(&[arguments, &["--env-file", &file]].concat());
        assert!(!format!("{run:?}").contains("HUNTER2"), "{run:?}");
    }
    assert!(!format!("{check:?}").contains("HUNTER2"), "{check:?}");
}

#[test]
fn a_connection_off_this_machine_that_asks_for_no_tls_fails_the_doctor() {
    let program = Program::new().with("STORE_DEADLINE", "100ms").with(KEY, &new_key());
    let far = program.clone().with("DATABASE_URL", "postgres://u:canary@192.0.2.1/d");
    let said = doctor(&far, &[]);
    let fails = said.lines().find(|line| line.starts_with("FAIL") && line.contains("sslmode"));
    assert!(fails.is_some() && !said.contains("canary"), "{said}");
    let near = program.with("DATABASE_URL", "postgres://u:canary@127.0.0.1:1/d");
    assert!(!doctor(&near, &[]).contains("sslmode"));
}

#[test]
fn a_secret_file_with_nothing_in_it_counts_as_not_set() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["", "  \t ", "\u{feff}", "\n", "\r\n\r\n"] {
        let file = write_file(folder.path(), "secret", text);
        let program = Program::new()
            .with("LIVEKIT_URL", "wss://env.example")
            .with("LIVEKIT_API_KEY", "APIenv")
            .with("LIVEKIT_API_SECRET_FILE", &file);
        let doctor = doctor(&program, &[]);
        assert!(doctor.contains(&format!("{file} is empty")), "{text:?}: {doctor}");
        assert!(doctor.contains("lacks LIVEKIT_API_SECRET"), "{text:?}: {doctor}");
        // A program without its key would go on as another one.
        let keyless = Program::new().with(&format!("{KEY}_FILE"), &file);
        refused(keyless.run(&["settings", "check", "--json"]), 5, "key_missing");
        let homeless = Program::new().with("DATABASE_URL_FILE", &file);
        refused(homeless.run(&["settings", "check", "--json"]), 3, "settings_invalid");
    }
}

#[test]
fn the_database_is_shown_without_its_password() {
    for (url, expected) in [
        ("postgres://app:canary@host/db", "postgres://app:***@host/db"),
        ("postgres://host/db?password=canary&sslmode=require", "postgres://host/db"),
        ("sqlite:/var/lib/x.db", "sqlite:/var/lib/x.db"),
    ] {
        let run = Program::new().with("DATABASE_URL", url).run(&["settings", "show", "--json"]);
        assert_eq!(shown(run, "DATABASE_URL"), expected);
    }
    let program =
        Program::new().with("PGHOST", "h").with("PGUSER", "u").with("PGPASSWORD", "canary");
    let run = program.run(&["settings", "show", "--json"]);
    assert_eq!(shown(run, "DATABASE_URL"), "postgres://u@h:5432/u");
    let collector = Program::new().with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:canary@h:4318");
    let run = collector.run(&["settings", "show", "--json"]);
    assert_eq!(shown(run, "OTEL_EXPORTER_OTLP_ENDPOINT"), "http://u:***@h:4318/");
}
