//! Keys and secrets: what goes in through stdin comes out sealed or opened, or a typed error does.

use std::process::Command;
use std::time::Duration;

use trunkline::{ExposeSecret, KeyRing, PREFIX};

use super::{KEY, new_key, refused, within, write_file};
use crate::support::program::{Program, Run};
use crate::support::{NOW, ring};

const SECRET: &str = "canary-s3cret-ä-字";

fn keyed(keys: &str) -> Program {
    Program::new().with(KEY, keys)
}

fn seal(program: &Program, stdin: &str) -> String {
    program.run_with(&["secret", "seal"], stdin.as_bytes()).ok().trim_end().to_owned()
}

fn open(program: &Program, stdin: &str) -> String {
    program.run_with(&["secret", "open"], stdin.as_bytes()).ok()
}

/// Runs a verb of `secret` with `--json`.
fn secret(program: &Program, verb: &str, stdin: impl AsRef<[u8]>) -> Run {
    program.run_with(&["secret", verb, "--json"], stdin.as_ref())
}

#[test]
fn key_generate_prints_a_key_that_seals_and_opens() {
    let out = Program::new().run(&["key", "generate"]).ok();
    let key = out.strip_suffix('\n').unwrap();
    assert_eq!(key.len(), 44);
    assert_eq!(open(&keyed(key), &seal(&keyed(key), SECRET)), format!("{SECRET}\n"));
    assert_ne!(Program::new().run(&["key", "generate"]).ok(), out);
}

#[test]
fn key_generate_as_json_names_the_id_of_the_key() {
    let object = Program::new().run(&["key", "generate", "--json"]).json();
    let ring = KeyRing::parse(object["key"].as_str().unwrap()).unwrap();
    assert_eq!(object["id"], ring.key_ids()[0].to_string());
}

#[test]
fn a_sealed_secret_carries_the_prefix_and_opens_to_what_it_was() {
    let program = keyed(&new_key());
    let sealed = seal(&program, SECRET);
    assert!(sealed.starts_with("dev-s-t-") && !sealed.contains(SECRET), "{sealed}");
    assert_eq!(open(&program, &sealed), format!("{SECRET}\n"));
    assert_ne!(seal(&program, SECRET), sealed, "each sealing has a vector of its own");
}

#[test]
fn json_names_the_key_that_sealed_and_the_key_that_opened() {
    let key = new_key();
    let id = KeyRing::parse(&key).unwrap().key_ids()[0].to_string();
    let sealed = secret(&keyed(&key), "seal", SECRET).json();
    assert_eq!(sealed["key"], id);
    let opened = secret(&keyed(&key), "open", sealed["sealed"].as_str().unwrap()).json();
    assert_eq!((&opened["secret"], &opened["key"]), (&SECRET.into(), &id.into()));
}

#[test]
fn exactly_one_trailing_newline_of_the_input_is_dropped() {
    let key = new_key();
    let (program, ring) = (keyed(&key), KeyRing::parse(&key).unwrap());
    for (input, kept) in [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("s3cret\n\n", "s3cret\n"),
        ("s3cret\r\n\r\n", "s3cret\r\n"),
        ("s3cret\n\r\n", "s3cret\n"),
        ("s3cret\r", "s3cret\r"),
        (" s3\ncret \n", " s3\ncret "),
    ] {
        let sealed = seal(&program, input);
        assert_eq!(ring.open(&sealed).unwrap().secret.expose_secret(), kept, "{input:?}");
        assert_eq!(open(&program, &format!("{sealed}\r\n")), format!("{kept}\n"), "{input:?}");
    }
}

#[test]
fn convert_lets_the_prefix_decide() {
    let program = keyed(&new_key());
    let convert = |stdin: &str| program.run_with(&["secret", "convert"], stdin.as_bytes()).ok();
    let sealed = convert(&format!("{SECRET}\n"));
    assert!(sealed.starts_with(PREFIX));
    assert_eq!(convert(&sealed), format!("{SECRET}\n"));
    refused(secret(&program, "convert", format!("{PREFIX}nonsense")), 5, "token_malformed");
}

#[test]
fn sealing_what_is_sealed_and_opening_what_is_plain_are_refused() {
    let program = keyed(&new_key());
    let sealed = seal(&program, SECRET);
    refused(secret(&program, "seal", &sealed), 5, "already_sealed");
    let error = refused(secret(&program, "open", SECRET), 5, "prefix_missing");
    assert!(!error.to_string().contains(SECRET), "{error}");
}

#[test]
fn nothing_but_white_space_is_refused() {
    let program = keyed(&new_key());
    for verb in ["seal", "open", "convert"] {
        for input in ["", "\n", "\r\n", " \t\n\n"] {
            refused(secret(&program, verb, input), 5, "empty_input");
        }
    }
}

#[test]
fn of_two_keys_the_first_seals_and_both_open() {
    let (old, new) = (new_key(), new_key());
    let both = keyed(&format!("{new},{old}"));
    let (resting, fresh) = (seal(&keyed(&old), "resting"), seal(&both, "fresh"));
    assert_eq!(
        (open(&both, &resting), open(&both, &fresh)),
        ("resting\n".into(), "fresh\n".into())
    );
    assert_eq!(open(&keyed(&new), &fresh), "fresh\n");
    refused(secret(&keyed(&old), "open", &fresh), 5, "no_key_fits");
}

#[test]
fn the_keys_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (new_key(), new_key());
    let path = write_file(folder.path(), "key", &format!("{new},{old}\n"));
    let program = Program::new().with(&format!("{KEY}_FILE"), &path);
    assert_eq!(open(&program, &seal(&keyed(&old), "resting")), "resting\n");
    assert_eq!(open(&keyed(&new), &seal(&program, "fresh")), "fresh\n");

    let both = program.clone().with(KEY, &new);
    let error = refused(secret(&both, "seal", "x"), 3, "settings_invalid");
    assert!(error["message"].as_str().unwrap().contains("keep one"), "{error}");
    std::fs::remove_file(path).unwrap();
    refused(secret(&program, "seal", "x"), 3, "settings_invalid");
}

#[test]
fn a_missing_key_is_told_with_the_command_that_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let blank = write_file(folder.path(), "key", "\n");
    for program in
        [Program::new(), keyed(""), keyed(" "), Program::new().with(&format!("{KEY}_FILE"), &blank)]
    {
        for verb in ["seal", "open", "convert"] {
            let error = refused(secret(&program, verb, SECRET), 5, "key_missing");
            assert!(error["hint"].as_str().unwrap().contains("trunkline key generate"), "{error}");
        }
    }
    let run = Program::new().run_with(&["secret", "seal"], SECRET.as_bytes());
    assert_eq!((run.code, run.out.as_str()), (5, ""));
    assert!(run.err.starts_with("error: ") && run.err.contains("\nhint: "), "{}", run.err);
}

#[test]
fn a_malformed_key_is_named_by_its_place_and_never_shown() {
    let canary = "canary-of-a-key-that-is-no-base64url-really!";
    let program = keyed(&format!("{},{canary}", new_key()));
    let error = refused(secret(&program, "seal", SECRET), 5, "key_malformed");
    assert!(error["message"].as_str().unwrap().contains("key 2"), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn a_token_that_was_cut_or_made_by_another_key_is_told_apart() {
    let (program, elsewhere) = (keyed(&new_key()), ring().seal(SECRET, NOW).unwrap());
    refused(secret(&program, "open", elsewhere.as_str()), 5, "no_key_fits");
    let sealed = seal(&program, SECRET);
    for broken in [PREFIX, &sealed[..sealed.len() - 8], &sealed[..30], "dev-s-t-ä", "dev-s-t- x"] {
        refused(secret(&program, "open", broken), 5, "token_malformed");
    }
}

#[test]
fn fifty_megabytes_on_stdin_are_refused_quickly() {
    let program = keyed(&new_key());
    let huge = format!("{PREFIX}{}", "A".repeat(50 << 20));
    within(Duration::from_secs(20), move || {
        refused(secret(&program, "open", &huge), 5, "token_malformed");
        refused(secret(&program, "convert", &huge), 5, "token_malformed");
        refused(secret(&program, "seal", &huge[PREFIX.len()..]), 5, "secret_too_long");
    });
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let program = keyed(&new_key());
    for verb in ["seal", "open", "convert"] {
        for bytes in [&b"nul\0inside"[..], b"\0", b"dev-s-t-gAAA\0AAA", b"\xff\xfe", b"caf\xe9\n"] {
            refused(secret(&program, verb, bytes), 1, "input_not_text");
        }
    }
}

#[test]
fn a_secret_is_shown_on_a_terminal_only_when_it_is_asked_for() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED, since there is no `script` (util-linux) to make a terminal with");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = new_key();
    let token = write_file(folder.path(), "token", &seal(&keyed(&key), SECRET));
    let at_a_terminal = |arguments: &str| {
        let line = format!("'{}' {arguments} < '{token}'", env!("CARGO_BIN_EXE_trunkline"));
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env(KEY, &key)
            .current_dir("/")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for verb in ["open", "convert"] {
        let (code, shown) = at_a_terminal(&format!("secret {verb}"));
        assert_eq!(code, Some(2), "{shown}");
        assert!(shown.contains("--reveal") && !shown.contains(SECRET), "{shown}");
        let (code, shown) = at_a_terminal(&format!("secret {verb} --reveal"));
        assert_eq!((code, shown.trim_end()), (Some(0), SECRET));
    }
}
