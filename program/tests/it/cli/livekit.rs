//! LiveKit configs: what is written is what was meant, and a secret never comes out again.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use trunkline::{ConfigId, KeyRing, PREFIX};

use super::{KEY, NUMBER, Site, TENANT, new_key, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::postgres::psql;
use crate::support::program::Run;
use crate::support::{NOW, ring, secret_of};

/// `livekit add --json` with these fields.
fn add(site: &Site, name: &str, url: &str, key: &str, secret: &str) -> Run {
    let arguments = ["livekit", "add", "--json", "--name", name, "--url", url, "--api-key", key];
    site.run_with(&arguments, secret.as_bytes())
}

fn show(site: &Site, config: &str) -> Value {
    site.run(&["livekit", "show", "--json", config]).json()
}

/// When a config was last updated. As a moment: texts of whole seconds sort after those with parts.
fn updated_at(config: &Value) -> DateTime<Utc> {
    config["updated_at"].as_str().unwrap().parse().unwrap()
}

/// The ids of the keys that open the secrets, as the doctor finds them.
fn keys_in_use(site: &Site, keys: &str) -> String {
    site.with(KEY, keys).run(&["doctor"]).ok()
}

#[test]
fn add_prints_the_id_of_what_it_added() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let id = site.add_config("eu");
        assert!(id.parse::<ConfigId>().is_ok(), "{id}");
        let other = add(&site, "us", "wss://us.example", "APIus", "s3cret\n").json();
        assert_eq!(show(&site, "us")["id"], other["id"]);
        assert_eq!(
            (&show(&site, &id)["name"], &show(&site, "eu")["id"]),
            (&json!("eu"), &json!(id))
        );
    }
}

#[test]
fn every_field_is_kept_as_it_was_given() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let secret = site.file("secret", "from a file\n");
        let fields = ["--name", "Büro 1", "--url", "ws://10.0.0.1:7880/x", "--api-key", "APIx"];
        let more = ["--trunk", "ST_1", "--agent", "night agent", "--description", "keep"];
        let arguments =
            [&["livekit", "add", "--secret-file", &secret][..], &fields, &more].concat();
        site.run(&arguments).ok();
        let config = show(&site, "Büro 1");
        for (field, value) in [
            ("name", "Büro 1"),
            ("url", "ws://10.0.0.1:7880/x"),
            ("api_key", "APIx"),
            ("trunk_id", "ST_1"),
            ("agent_name", "night agent"),
            ("description", "keep"),
        ] {
            assert_eq!(config[field], value, "{kind:?}");
        }
    }
}

#[test]
fn neither_the_secret_nor_its_token_is_ever_shown() {
    let site = Site::new();
    site.add_config("eu");
    site.add_number(TENANT, NUMBER, Some("eu"));
    for arguments in [
        &["livekit", "list"][..],
        &["livekit", "show", "eu"],
        &["livekit", "edit", "eu", "--trunk", "ST_1"],
        &["number", "list"],
        &["resolve", "--tenant", TENANT, "--from", NUMBER],
        &["resolve", "--tenant", TENANT, "--from", NUMBER, "--explain"],
        &["doctor"],
    ] {
        for format in [&[][..], &["--json"]] {
            let run = site.with("RUST_LOG", "trace").run(&[arguments, format].concat());
            let shown = format!("{}{}", run.out, run.err);
            assert_eq!(run.code, 0, "{shown}");
            for hidden in [secret_of("eu").as_str(), PREFIX] {
                assert!(!shown.contains(hidden), "{arguments:?}: {shown}");
            }
        }
    }
}

#[test]
fn a_secret_that_is_sealed_already_is_kept_if_it_opens() {
    let site = Site::new();
    let key = new_key();
    let sealed = KeyRing::parse(&key).unwrap().seal("s3cret", NOW).unwrap();
    let elsewhere = add(&site, "a", "wss://a.example", "APIa", sealed.as_str());
    refused(elsewhere, 5, "no_key_fits");
    refused(add(&site, "a", "wss://a.example", "APIa", "dev-s-t-gAAA"), 5, "token_malformed");
    assert_eq!(site.configs(), json!([]));

    let arguments = ["livekit", "add", "--name", "a", "--url", "wss://a.example", "--api-key", "A"];
    site.with(KEY, &key).run_with(&arguments, sealed.as_str().as_bytes()).ok();
    assert!(keys_in_use(&site, &key).contains("1 open with key"));
}

#[test]
fn edit_changes_one_field_and_leaves_the_others() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_config("eu");
        for (flag, field, value) in [
            ("--url", "url", "wss://moved.example"),
            ("--api-key", "api_key", "APImoved"),
            ("--trunk", "trunk_id", "ST_moved"),
            ("--agent", "agent_name", "moved-agent"),
            ("--description", "description", "moved"),
            ("--name", "name", "moved"),
        ] {
            let id = site.configs()[0]["id"].as_str().unwrap().to_owned();
            let before = show(&site, &id);
            let after = site.run(&["livekit", "edit", &id, flag, value, "--json"]).json();
            let mut expected = before.clone();
            expected[field] = json!(value);
            expected["updated_at"] = after["updated_at"].clone();
            assert_eq!(after, expected, "{kind:?}");
            assert_eq!(after, show(&site, &id), "{kind:?}");
            let [was, is] = [&before, &after].map(updated_at);
            assert!(is > was, "{kind:?}: {was} to {is}");
        }
        let bare =
            ["livekit", "edit", "moved", "--no-trunk", "--no-agent", "--no-description", "--json"];
        let config = site.run(&bare).json();
        for field in ["trunk_id", "agent_name", "description"] {
            assert_eq!(config[field], Value::Null, "{kind:?}");
        }
        assert_eq!(config["url"], "wss://moved.example");
    }
}

#[test]
fn a_new_secret_is_sealed_under_the_first_key_and_other_edits_leave_it() {
    let site = Site::new();
    site.add_config("eu");
    let new = new_key();
    let ring = format!("{new},{}", old_key(&site));
    let ids: Vec<_> =
        KeyRing::parse(&ring).unwrap().key_ids().iter().map(ToString::to_string).collect();
    let opens_with = |id: &str| {
        let found = keys_in_use(&site, &ring);
        found.contains("1 open with") && found.contains(&format!("key {id}"))
    };

    let rotated = site.with(KEY, &ring);
    rotated.run(&["livekit", "edit", "eu", "--trunk", "ST_1"]).ok();
    assert!(opens_with(&ids[1]));
    rotated.run_with(&["livekit", "edit", "eu", "--secret-stdin"], b"new secret\n").ok();
    assert!(opens_with(&ids[0]));
    assert_eq!(show(&site, "eu")["trunk_id"], "ST_1");

    let file = site.file("secret", "newer secret\n");
    site.run(&["livekit", "edit", "eu", "--secret-file", &file]).ok();
    assert!(opens_with(&ids[1]));
}

/// The key that a site was made with, read from the settings of its command.
fn old_key(site: &Site) -> String {
    let command = site.command(&[]);
    let (_, key) = command.get_envs().find(|(name, _)| *name == KEY).unwrap();
    key.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_name_is_taken_once() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_config("eu");
        let us = site.add_config("us");
        refused(add(&site, "eu", "wss://b.example", "APIb", "s"), 6, "name_taken");
        refused(site.run(&["livekit", "edit", &us, "--name", "eu", "--json"]), 6, "name_taken");
        assert_eq!(site.configs().as_array().unwrap().len(), 2, "{kind:?}");
        assert_eq!(show(&site, "eu")["url"], "wss://eu.example");
    }
}

#[test]
fn a_bad_url_is_refused_with_nothing_written_and_no_password_repeated() {
    let site = Site::new();
    let eu = site.add_config("eu");
    let before = site.configs();
    for url in [
        "",
        "a.example",
        "ftp://a.example",
        "javascript:alert(1)",
        "wss://",
        "wss://key:canary@a.example",
        "wss://key@a.example",
        "wss://a.example?token=canary",
        "wss://a.example#canary",
        "wss://a.example\n",
        " wss://a.example",
        "wss://a.exa\u{7}mple",
        &format!("wss://{}.example", "a".repeat(500)),
    ] {
        let added = refused(add(&site, "new", url, "API", "s"), 2, "url_malformed");
        let edited = site.run(&["livekit", "edit", &eu, "--json", "--url", url]);
        let edited = refused(edited, 2, "url_malformed");
        assert!(!format!("{added}{edited}").contains("canary"), "{added}{edited}");
    }
    assert_eq!(site.configs(), before);
}

#[test]
fn empty_fields_and_control_characters_are_refused_with_nothing_written() {
    let site = Site::new();
    let eu = site.add_config("eu");
    let before = site.configs();
    let long = "x".repeat(256);
    for bad in ["", " ", "two\nlines", "bell\u{7}", &long] {
        refused(add(&site, bad, "wss://a.example", "API", "s"), 2, "field_malformed");
        refused(add(&site, "new", "wss://a.example", bad, "s"), 2, "field_malformed");
        for flag in ["--name", "--api-key", "--trunk", "--agent"] {
            let edit = site.run(&["livekit", "edit", &eu, "--json", flag, bad]);
            refused(edit, 2, "field_malformed");
        }
    }
    assert_eq!(site.configs(), before);
}

#[test]
fn what_add_refuses_as_a_field_edit_refuses_too() {
    let site = Site::new();
    site.add_config("eu");
    for flag in ["--api-key", "--trunk"] {
        let base = ["--name", "new", "--url", "wss://a.example", "--api-key", "API"];
        let fields = if flag == "--api-key" { &base[..4] } else { &base[..] };
        let added = [&["livekit", "add", "--json", flag, "white space"][..], fields].concat();
        refused(site.run_with(&added, b"s"), 2, "field_malformed");
        let edit = site.run(&["livekit", "edit", "eu", "--json", flag, "white space"]);
        refused(edit, 2, "field_malformed");
    }
}

#[test]
fn a_bad_secret_is_refused_with_nothing_written() {
    let site = Site::new();
    for (secret, exit, error) in [
        ("", 5, "empty_input"),
        (" \n", 5, "empty_input"),
        ("s3cret\n\n", 1, "secret_malformed"),
        (" s3cret", 1, "secret_malformed"),
        ("s3\0cret", 1, "input_not_text"),
    ] {
        refused(add(&site, "eu", "wss://eu.example", "API", secret), exit, error);
    }
    assert_eq!(site.configs(), json!([]));
    let arguments =
        ["livekit", "add", "--json", "--name", "x", "--url", "wss://x", "--api-key", "A"];
    refused(site.with(KEY, "").run_with(&arguments, b"s3cret"), 5, "key_missing");
    assert_eq!(site.configs(), json!([]));
}

#[test]
fn a_new_secret_that_is_bad_leaves_the_old_one() {
    let site = Site::new();
    site.add_config("eu");
    let before = show(&site, "eu");
    let edit = ["livekit", "edit", "eu", "--json", "--trunk", "ST_1", "--secret-stdin"];
    refused(site.run_with(&edit, b" \n"), 5, "empty_input");
    let elsewhere = ring().seal("s3cret", NOW).unwrap();
    refused(site.run_with(&edit, elsewhere.as_str().as_bytes()), 5, "no_key_fits");
    assert_eq!(show(&site, "eu"), before);
    site.run(&["doctor"]).ok();
}

#[test]
fn a_config_that_is_not_there_is_not_found_whatever_its_name_looks_like() {
    let site = Site::new();
    for config in ["nobody", "not-a-uuid", "00000000-0000-4000-8000-000000000000", "", "1e5"] {
        for arguments in [
            &["livekit", "show", "--json", config][..],
            &["livekit", "edit", "--json", config, "--trunk", "ST_1"],
            &["livekit", "remove", "--json", config],
            &["livekit", "remove", "--json", config, "--force"],
        ] {
            refused(site.run(arguments), 1, "config_not_found");
        }
    }
}

#[test]
fn a_config_in_use_goes_only_by_force() {
    for kind in BOTH {
        let (site, id) = Site::with_route(kind);
        let error = refused(site.run(&["livekit", "remove", "eu", "--json"]), 6, "config_in_use");
        assert!(error["hint"].as_str().unwrap().contains("--force"), "{error}");
        assert_eq!(show(&site, "eu")["id"], id, "{kind:?}");
        let removed = site.run(&["livekit", "remove", "eu", "--force", "--json"]).json();
        assert_eq!(removed["removed"], id);
        assert_eq!(site.configs(), json!([]), "{kind:?}");
    }
}

#[test]
fn a_config_is_in_use_however_the_rules_spell_its_id() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let id = site.add_config("eu");
        for spelling in [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}")] {
            let rules = json!({"livekit_config": spelling}).to_string();
            let whose = ["--tenant", TENANT, "--number", NUMBER];
            site.run(&[&["number", "add", "--rules", &rules][..], &whose].concat()).ok();
            let ask = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
            assert_eq!(site.run(&ask).json()["config_id"], id, "{kind:?} {spelling}");
            let run = site.run(&["livekit", "remove", "eu", "--json"]);
            assert_eq!(run.code, 6, "{kind:?} {spelling}: {}", run.out);
            site.run(&[&["number", "remove"][..], &whose].concat()).ok();
        }
    }
}

#[test]
fn an_edit_of_nothing_is_a_usage_error() {
    let site = Site::new();
    site.add_config("eu");
    refused(site.run(&["livekit", "edit", "eu", "--json"]), 2, "usage");
    let both = ["livekit", "edit", "eu", "--json", "--trunk", "x", "--no-trunk"];
    refused(site.run(&both), 2, "usage");
}

#[test]
fn no_argument_takes_a_secret() {
    let site = Site::new();
    let fields = ["--name", "eu", "--url", "wss://eu.example", "--api-key", "APIeu"];
    for flag in ["--secret", "--api-secret"] {
        for value in [&[flag, "canary-in-argv"][..], &[&format!("{flag}=canary-in-argv")]] {
            let arguments = [&["livekit", "add", "--json"][..], &fields, value].concat();
            let error = refused(site.run(&arguments), 2, "usage");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
    assert_eq!(site.configs(), json!([]));
}

/// Dates that no calendar of ours reaches belong to nobody's decision here.
#[test]
fn a_date_out_of_reach_is_none() {
    let site = Site::migrated(Kind::Postgres);
    site.add_config("eu");
    let url = site.variable("DATABASE_URL");
    for date in ["290000-01-01", "infinity", "-infinity", "4000-01-01 BC"] {
        psql(
            &url,
            &format!("update voice_agent_livekit set created_at = '{date}', updated_at = '{date}'"),
        );
        let configs = site.configs();
        assert_eq!(configs[0]["created_at"], Value::Null, "{date}");
        site.run(&["livekit", "show", "eu"]).ok();
    }
}

#[test]
fn addresses_where_no_server_is_are_not_entered_and_warn_where_they_stand() {
    let (site, _) = Site::with_route(Kind::Postgres);
    for url in
        ["ws://169.254.169.254", "ws://[::ffff:a9fe:a9fe]", "http://metadata.google.internal"]
    {
        refused(add(&site, "x", url, "APIx", "s3cret"), 2, "off_limits");
        refused(site.run(&["livekit", "edit", "eu", "--json", "--url", url]), 2, "off_limits");
    }
    // One that somebody wrote by hand goes on to work.
    let command = site.command(&[]);
    let (_, database) = command.get_envs().find(|(name, _)| *name == "DATABASE_URL").unwrap();
    let there = "update voice_agent_livekit set livekit_url = 'ws://169.254.1.1'";
    psql(database.unwrap().to_str().unwrap(), there);
    let resolve = site.run(&["resolve", "--tenant", TENANT, "--from", NUMBER]);
    assert!(resolve.out.contains("169.254.1.1"), "{resolve:?}");
    assert!(resolve.err.contains("link-local or metadata address"), "{resolve:?}");
    let doctor = site.run(&["doctor"]);
    assert!(doctor.out.contains("\"eu\" is at a link-local or metadata address"), "{doctor:?}");
    let check = site.run(&["livekit", "check", "eu", "--json"]);
    assert!(check.out.contains("\"off_limits\""), "{check:?}");
    let environment = site.with("LIVEKIT_URL", "ws://169.254.169.254").run(&["settings", "check"]);
    let told = format!("{}{}", environment.out, environment.err);
    assert!(told.contains("LIVEKIT_URL: its host is a link-local address"), "{told}");
}
