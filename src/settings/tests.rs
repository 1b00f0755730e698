//! Which settings are valid, and what is said of those that are not.

use super::*;

fn values(pairs: &[(&str, &str)]) -> Values {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    Values::of(pairs.iter().map(owned), None)
}

fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
    let error = Settings::read(&values(pairs)).unwrap_err();
    error.problems.into_iter().map(|problem| problem.variable).collect()
}

#[test]
fn the_documented_defaults_are_what_holds() {
    let settings = Settings::default();
    assert!(settings.enabled && settings.database.is_none() && settings.ring.is_none());
    assert_eq!(settings.tuning.ttl, Duration::from_secs(300));
    assert_eq!(settings.environment.agent.as_deref(), Some("inbound-agent"));
}

#[test]
fn every_problem_is_named_and_no_value_is_repeated() {
    let pairs = [
        ("USE_SELFHOST_ROUTING_TABLE", "maybe"),
        ("LIVEKIT_SECRET_ENCRYPTION_KEY", "canary-key"),
        ("LIVEKIT_URL", "wss://key:canary@a.example"),
        ("FALLBACK_DENY", "flag_off,canary"),
        ("DATABASE_URL", "mysql://root:canary@host/db"),
        ("CACHE_TTL", "5 minutes"),
        ("DATABASE_CONNECTIONS", "0"),
        ("LOG_POLL_INTERVAL", "1s"),
    ];
    let named = problems(&pairs);
    for (name, _) in pairs {
        assert!(named.iter().any(|variable| variable == name), "{name} in {named:?}");
    }
    let error = Settings::read(&values(&pairs)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[test]
fn a_database_is_named_by_a_url_or_by_the_variables_of_libpq() {
    let kind =
        |pairs: &[(&str, &str)]| format!("{:?}", Settings::read(&values(pairs)).unwrap().database);
    assert_eq!(kind(&[]), "None");
    if cfg!(feature = "sqlite") {
        assert_eq!(kind(&[("DATABASE_URL", "sqlite:a/b.db")]), "Some(Sqlite(a/b.db))");
    }
    if cfg!(feature = "postgres") {
        let url = ("DATABASE_URL", "postgres://u:p@h/d");
        assert_eq!(kind(&[url, ("DB_SCHEMA", "lad_dev")]), "Some(Postgres(lad_dev))");
        assert_eq!(kind(&[("PGHOST", "h")]), "Some(Postgres(public))");
    }
    for bad in ["sqlite::memory:", "sqlite:", "postgres://[", "/a/b.db"] {
        assert_eq!(problems(&[("DATABASE_URL", bad)]), ["DATABASE_URL"], "{bad}");
    }
    assert_eq!(problems(&[("DB_SCHEMA", "a\"; drop")]), ["DB_SCHEMA"]);
}

#[test]
fn a_variable_of_the_process_wins_over_the_env_file_and_both_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "CACHE_TTL=7m\nVOICE_AGENT_NAME='file agent'\n").unwrap();
    let process = [("CACHE_TTL".to_owned(), "9m".to_owned())];
    let values = Values::of(process, Some(&file));
    assert_eq!(values.get("CACHE_TTL"), Some("9m"));
    assert_eq!(values.get("VOICE_AGENT_NAME"), Some("file agent"));
    assert_eq!(values.get("LEASE"), Some("1s"));
    assert_eq!(values.origin("VOICE_AGENT_NAME"), ValueOrigin::DotEnv(file));
}

#[test]
fn a_key_may_come_from_a_file_but_not_from_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("{}\n", *KeyRing::generate().unwrap())).unwrap();
    let name = "LIVEKIT_SECRET_ENCRYPTION_KEY_FILE";
    let path = file.to_str().unwrap();
    assert!(Settings::read(&values(&[(name, path)])).unwrap().ring.is_some());
    let both = [(name, path), ("LIVEKIT_SECRET_ENCRYPTION_KEY", "x")];
    assert!(problems(&both).contains(&"LIVEKIT_SECRET_ENCRYPTION_KEY".to_owned()));
    assert_eq!(problems(&[(name, "/no/such/file")]), ["LIVEKIT_SECRET_ENCRYPTION_KEY"]);
}

#[test]
fn a_broken_env_file_is_a_problem_that_does_not_repeat_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "LIVEKIT_API_SECRET=two canary words\n").unwrap();
    let error = Settings::read(&Values::of([], Some(&file))).unwrap_err();
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn the_example_file_is_what_the_variables_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, env::example(), "run `trunkline settings example > .env.example`");
}

#[test]
fn a_schedule_for_keys_is_off_and_takes_at_least_twice_what_a_rotation_waits() {
    let read = |pairs: &[(&str, &str)]| Settings::read(&values(pairs));
    assert_eq!(read(&[]).unwrap().tuning.key_rotation, None);
    assert_eq!(read(&[("KEY_ROTATION", "0s")]).unwrap().tuning.key_rotation, None);
    let settings = read(&[("KEY_ROTATION", "90d")]).unwrap();
    assert_eq!(settings.tuning.key_rotation, Some(Duration::from_secs(90 * 86_400)));
    assert!(settings.warnings.iter().any(|warning| warning.to_string().contains("KEY_ROTATION")));
    // With MAX_STALE of an hour a rotation waits for 25.
    for wrong in ["1d", "49h", "soon", "-90d", "4000d"] {
        let error = read(&[("KEY_ROTATION", wrong)]).unwrap_err().to_string();
        assert!(error.contains("KEY_ROTATION"), "{wrong}: {error}");
    }
    assert!(read(&[("KEY_ROTATION", "50h")]).is_ok());
    assert!(read(&[("KEY_ROTATION", "50h"), ("MAX_STALE", "2d")]).is_err());
}
