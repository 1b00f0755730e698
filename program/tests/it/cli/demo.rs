//! The demo: a newcomer sees what the program does, and finds nothing of it afterwards.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::within;
use crate::support::program::Program;

/// Long enough for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn the_demo_shows_its_story_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new().with("TMPDIR", folder.path().to_str().unwrap());
    let run = within(PATIENCE, move || program.run(&["demo", "--exit"]));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    let err = run.err.clone();
    let out = run.ok();
    let told = out.to_lowercase();
    for word in ["warm", "cold", "fallback"] {
        assert!(told.contains(word), "no word of {word}:\n{out}\n{err}");
    }
    for text in [&out, &err] {
        assert!(!text.contains("dev-s-t-"), "{text}");
        let long =
            |word: &&str| word.trim_matches(|sign: char| !sign.is_alphanumeric()).len() >= 43;
        let keys: Vec<_> =
            text.split_whitespace().filter(long).filter(|word| is_key(word)).collect();
        assert!(keys.is_empty(), "{keys:?} look like keys");
    }
}

#[test]
fn the_demo_needs_no_settings_and_minds_none() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new()
        .with("TMPDIR", folder.path().to_str().unwrap())
        .with("DATABASE_URL", "postgres://me:canary@127.0.0.1:1/x")
        .with("LIVEKIT_API_SECRET", "canary");
    let run = within(PATIENCE, move || program.run(&["demo", "--exit"]));
    assert!(!format!("{run:?}").contains("canary"), "{run:?}");
    run.ok();
}

#[test]
fn a_demo_that_is_told_to_end_in_the_middle_leaves_nothing_behind() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new().with("TMPDIR", folder.path().to_str().unwrap());
        let demo = program.command(&["demo"]).stdout(Stdio::null()).spawn().unwrap();
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        let begun = within_folder(folder.path(), "demo.db");
        assert!(begun, "the demo never began");
        let pid = demo.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let ended = demo.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{signal} {ended:?}");
        assert_eq!(left(), 0, "{signal}");
    }
}

/// Waits until a file of this name is somewhere in a folder of the folder.
fn within_folder(folder: &Path, name: &str) -> bool {
    (0..PATIENCE.as_millis() / 5).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        let inner = std::fs::read_dir(folder).unwrap().flatten();
        inner.into_iter().any(|inner| inner.path().join(name).exists())
    })
}

/// Whether a word reads as a Fernet key, which is also how the demo's sample secrets are made.
fn is_key(word: &str) -> bool {
    trunkline::KeyRing::parse(word).is_ok()
}
