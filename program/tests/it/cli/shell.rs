//! The shape of the command line itself: help, usage errors, completions, manual pages, readers
//! that leave.

use std::io::{BufRead, BufReader};

use trunkline::settings::VARIABLES;

use super::{Site, refused};
use crate::support::program::Program;

/// Every subcommand there is, found by reading `--help` from the top down.
fn subcommands() -> Vec<Vec<String>> {
    let mut all = vec![vec![]];
    let mut next = 0;
    while let Some(command) = all.get(next).cloned() {
        let help = help(&Program::new(), &command, "--help");
        let nouns = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let nouns = nouns.take_while(|line| !line.is_empty());
        let nouns = nouns.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        for noun in nouns.filter(|noun| !noun.is_empty() && *noun != "help") {
            all.push([&command[..], &[noun.to_owned()]].concat());
        }
        next += 1;
    }
    all
}

fn help(program: &Program, command: &[String], flag: &str) -> String {
    let arguments: Vec<_> = command.iter().map(String::as_str).chain([flag]).collect();
    program.run(&arguments).ok()
}

#[test]
fn every_noun_and_verb_is_found_by_reading_help() {
    let all: Vec<_> = subcommands().iter().map(|command| command.join(" ")).collect();
    for expected in [
        "demo",
        "key generate",
        "secret seal",
        "secret open",
        "secret convert",
        "db migrate",
        "db rollback",
        "db status",
        "db seed",
        "db unseed",
        "livekit add",
        "livekit list",
        "livekit show",
        "livekit edit",
        "livekit remove",
        "number add",
        "number list",
        "number assign",
        "number unassign",
        "number remove",
        "number import",
        "resolve",
        "settings show",
        "settings check",
        "settings example",
        "doctor",
        "completions",
        "man",
    ] {
        assert!(all.iter().any(|command| command == expected), "{expected} is not among {all:?}");
    }
}

#[test]
fn nothing_that_describes_the_program_shows_a_value_of_the_environment() {
    let names = VARIABLES.iter().map(|variable| variable.name);
    let names = names.chain(["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "HOME"]);
    let program = names.fold(Program::new(), |program, name| {
        program.with(name, "canary-value").with(&format!("{name}_FILE"), "canary-path")
    });
    for command in subcommands() {
        for flag in ["--help", "-h"] {
            assert!(!help(&program, &command, flag).contains("canary"), "{command:?} {flag}");
        }
    }
    for arguments in [
        &["--version"][..],
        &["man"],
        &["settings", "example"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
    ] {
        let run = program.run(arguments);
        assert!(!format!("{run:?}").contains("canary"), "{arguments:?}: {run:?}");
    }
}

#[test]
fn no_subcommand_takes_a_secret_as_an_argument() {
    for command in subcommands() {
        let help = help(&Program::new(), &command, "--help");
        let flags = help.split_whitespace().filter(|word| word.starts_with("--"));
        for flag in flags.map(|flag| flag.trim_end_matches([',', '.'])) {
            let sounds_secret =
                ["secret", "password", "token"].iter().any(|word| flag.contains(word));
            let harmless = ["--secret-file", "--secret-stdin"].contains(&flag);
            assert!(!sounds_secret || harmless, "{command:?} has {flag}");
        }
    }
}

#[test]
fn help_documents_every_exit_code() {
    let help = Program::new().run(&["--help"]).ok();
    let codes = help.split("Exit codes:").nth(1).unwrap();
    for code in 0..=6 {
        assert!(codes.contains(&format!("{code} ")), "{code}: {codes}");
    }
}

#[test]
fn usage_errors_end_with_2_and_are_one_object_when_json_is_asked_for() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["key"],
        &["livekit"],
        &["livekit", "add"],
        &["livekit", "add", "--colour", "red"],
        &["resolve"],
        &["db", "seed", "--numbers", "0"],
        &["db", "seed", "--numbers", "many"],
        &["db", "rollback", "--all", "--steps", "1"],
        &["completions", "nonsense"],
    ] {
        let run = Program::new().run(arguments);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{arguments:?}: {}", run.err);
        refused(Program::new().run(&[arguments, &["--json"]].concat()), 2, "usage");
        refused(Program::new().run(&[&["--json"], arguments].concat()), 2, "usage");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for (shell, sign) in [
        ("bash", "complete -F _trunkline"),
        ("zsh", "#compdef trunkline"),
        ("fish", "complete -c trunkline"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = Program::new().run(&["completions", shell]).ok();
        assert!(script.contains(sign) && script.contains("unassign"), "{shell}");
    }
}

#[test]
fn the_manual_has_a_page_and_a_folder_of_pages() {
    let page = Program::new().run(&["man"]).ok();
    assert!(page.contains(".TH trunkline") && page.contains(".SH SYNOPSIS"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    Program::new().run(&["man", "--dir", folder.path().to_str().unwrap()]).ok();
    for name in ["trunkline.1", "trunkline-livekit-add.1", "trunkline-resolve.1"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let site = Site::new();
    site.run(&["db", "seed", "--numbers", "3000"]).ok();
    for format in [&[][..], &["--json"]] {
        let mut child = site.command(&[&["number", "list"], format].concat()).spawn().unwrap();
        // Much more than a pipe holds is on its way when the reader goes.
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        assert!(out.fill_buf().is_ok_and(|start| !start.is_empty()));
        drop(out);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{format:?}");
    }
}
