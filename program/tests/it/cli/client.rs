//! Clients, as who administers them makes and ends them.

use serde_json::json;

use super::{OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::BOTH;

const ADD: [&str; 8] =
    ["client", "add", "--name", "dialler", "--tenant", TENANT, "--may", "tokens,resolve"];

#[test]
fn a_client_shows_all_that_it_may_ask_and_its_token_once() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let limits = [
            "--tenant",
            OTHER_TENANT,
            "--number",
            "+97150",
            "--room",
            "call-*",
            "--sip-call",
            "--agent",
            "--longest",
            "10m",
            "--expires",
            "90d",
            "--json",
        ];
        let added = site.run(&[&ADD[..], &limits].concat()).json();
        let token = added["token"].as_str().unwrap();
        assert!(token.starts_with("tlc_") && token.len() == 47, "{kind:?}");

        let shown = site.run(&["client", "show", "dialler", "--json"]).json();
        assert_eq!((&shown["id"], &shown["state"]), (&added["id"], &json!("active")));
        assert_eq!(shown["scopes"], json!(["tokens", "resolve"]));
        assert_eq!(
            shown["grants"],
            json!({
                "tenants": [TENANT, OTHER_TENANT], "numbers": ["+97150"], "room": "call-*",
                "sip_call": true, "agent": true, "admin": false, "longest": 600,
            })
        );
        assert!(shown["created_at"].is_string() && shown["expires_at"].is_string(), "{shown}");
        let listed = site.run(&["client", "list", "--json"]).json();
        assert_eq!(listed, json!([shown]));
        let tables =
            site.run(&["client", "list"]).ok() + &site.run(&["client", "show", "dialler"]).ok();
        for text in [&shown.to_string(), &tables] {
            assert!(!text.contains(token) && !text.contains("tlc_"), "{text}");
        }
        assert!(tables.contains("call-*") && tables.contains("10m") || tables.contains("600s"));
    }
}

#[test]
fn add_prints_the_token_alone_to_stdout() {
    let site = Site::new();
    let run = site.run(&ADD);
    assert!(run.err.contains("not shown again"), "{run:?}");
    let out = run.ok();
    assert!(out.starts_with("tlc_") && out.trim_end().len() == 47, "{out}");
}

#[test]
fn every_field_that_is_wrong_is_told_at_once() {
    let site = Site::new();
    let arguments = [
        "client",
        "add",
        "--json",
        "--name",
        " ",
        "--tenant",
        "x",
        "--may",
        "fly",
        "--room",
        "a*b",
        "--number",
        "97150",
        "--longest",
        "2d",
        "--expires",
        "soon",
    ];
    let error = refused(site.run(&arguments), 2, "field_malformed");
    let message = error["message"].as_str().unwrap();
    for argument in ["--name", "--tenant", "--number", "--may", "--room", "--longest", "--expires"]
    {
        assert!(message.contains(argument), "{argument}: {message}");
    }
    let nobody = ["client", "add", "--json", "--name", "a", "--may", "tokens"];
    let error = refused(site.run(&nobody), 2, "field_malformed");
    assert!(error["message"].as_str().unwrap().contains("--all-tenants"), "{error}");
}

#[test]
fn a_name_is_of_one_client() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.run(&ADD).ok();
        let error = refused(site.run(&[&ADD[..], &["--json"]].concat()), 6, "name_taken");
        assert!(error["hint"].as_str().unwrap().contains("client list"), "{error}");
    }
}

#[test]
fn a_client_is_revoked_for_good_and_removed_only_then() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let first = site.run(&ADD).ok();
        let rotated = site.run(&["client", "rotate", "dialler"]).ok();
        assert!(rotated.starts_with("tlc_") && rotated != first, "{kind:?}");
        refused(site.run(&["client", "remove", "dialler", "--json"]), 6, "client_active");
        site.run(&["client", "revoke", "dialler"]).ok();
        let shown = || site.run(&["client", "show", "dialler", "--json"]).json();
        let revoked = shown();
        assert_eq!(revoked["state"], "revoked");
        site.run(&["client", "revoke", "dialler"]).ok();
        assert_eq!(shown(), revoked, "the time stays");
        refused(site.run(&["client", "rotate", "dialler", "--json"]), 1, "client_revoked");
        site.run(&["client", "remove", "dialler"]).ok();
        assert_eq!(site.run(&["client", "list", "--json"]).json(), json!([]), "{kind:?}");
    }
}

#[test]
fn what_is_not_there_is_told() {
    let site = Site::new();
    for verb in ["show", "revoke", "rotate", "remove"] {
        let error = refused(site.run(&["client", verb, "nobody", "--json"]), 1, "client_not_found");
        assert!(error["hint"].as_str().unwrap().contains("client list"), "{error}");
    }
    assert!(site.run(&["client", "list"]).err.contains("client add"));
}
