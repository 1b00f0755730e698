//! Users, as who administers them makes and ends them.

use serde_json::json;

use super::{Site, refused};
use crate::support::database::BOTH;

#[test]
fn a_user_is_added_shown_changed_and_removed() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let run = site.run(&["user", "add", "Alice", "--role", "admin", "--generate"]);
        assert!(run.err.contains("not shown again"), "{run:?}");
        let password = run.ok().trim().to_owned();
        assert_eq!(password.len(), 24, "the password alone on stdout");
        let given = b"a password from a file\n";
        site.run_with(&["user", "add", "bob", "--role", "viewer"], given).ok();
        let again = site.run_with(&["user", "add", "BOB", "--role", "viewer", "--json"], given);
        refused(again, 6, "name_taken");
        let shown = site.run(&["user", "show", "alice", "--json"]).json();
        assert_eq!(
            (&shown["role"], &shown["state"], &shown["has_password"], &shown["sessions"]),
            (&json!("admin"), &json!("active"), &json!(true), &json!([]))
        );
        let listed = site.run(&["user", "list"]).ok();
        assert!(listed.contains("alice") && listed.contains("bob"), "{listed}");
        site.run(&["user", "role", "bob", "editor"]).ok();
        site.run(&["user", "disable", "bob"]).ok();
        let shown = site.run(&["user", "show", "bob", "--json"]).json();
        assert_eq!((&shown["role"], &shown["state"]), (&json!("editor"), &json!("disabled")));
        site.run(&["user", "enable", "bob"]).ok();
        let generated = site.run(&["user", "password", "bob", "--generate", "--json"]).json();
        assert_eq!(generated["password"].as_str().unwrap().len(), 24);
        let link = site.run(&["user", "link", "bob"]).ok();
        assert!(link.starts_with("http://127.0.0.1:9465/sign-in?link=tll_"), "{link}");
        for what in ["unlock", "sign-out", "remove"] {
            site.run(&["user", what, "bob"]).ok();
        }
        refused(site.run(&["user", "show", "bob", "--json"]), 1, "user_not_found");
    }
}

#[test]
fn the_last_admin_stays_one_unless_it_is_meant() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        for name in ["one", "two"] {
            site.run(&["user", "add", name, "--role", "admin", "--link-only"]).ok();
        }
        site.run(&["user", "disable", "two"]).ok();
        for edit in [&["role", "one", "viewer"][..], &["disable", "one"], &["remove", "one"]] {
            let edit = [&["user"], edit, &["--json"]].concat();
            refused(site.run(&edit), 6, "last_admin");
        }
        site.run(&["user", "enable", "two"]).ok();
        site.run(&["user", "role", "one", "viewer"]).ok();
        site.run(&["user", "remove", "two", "--force"]).ok();
    }
}

#[test]
fn what_is_wrong_is_told_before_a_password_is_stored() {
    let site = Site::migrated(BOTH[1]);
    for (arguments, given, code) in [
        (
            ["user", "add", "a b", "--role", "viewer", "--json"],
            "a long password",
            "field_malformed",
        ),
        (
            ["user", "add", "alice", "--role", "root", "--json"],
            "a long password",
            "field_malformed",
        ),
        (["user", "add", "alice", "--role", "viewer", "--json"], "short", "password_malformed"),
        (["user", "add", "alice", "--role", "viewer", "--json"], "", "password_malformed"),
    ] {
        let run = site.run_with(&arguments, given.as_bytes());
        assert!(given.is_empty() || !run.err.contains(given), "{run:?}");
        refused(run, 2, code);
    }
    assert_eq!(site.run(&["user", "list", "--json"]).json(), json!([]));
}
