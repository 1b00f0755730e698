//! The numbers of tenants, one at a time.

use serde_json::json;

use super::{NUMBER, OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::BOTH;
use crate::support::program::Run;

const WHOSE: [&str; 4] = ["--tenant", TENANT, "--number", NUMBER];

/// `number VERB --json` for the number of the tenant.
fn number(site: &Site, verb: &str, more: &[&str]) -> Run {
    site.run(&[&["number", verb, "--json"], &WHOSE[..], more].concat())
}

#[test]
fn a_number_that_was_added_is_listed_with_all_it_was_given() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let id = site.add_config("eu");
        let rules = r#"{"outbound": true, "outbound_trunk_id": "ST_rules"}"#;
        let more = ["--provider", "du", "--rules", rules, "--livekit", "eu"];
        let added = number(&site, "add", &more).json();
        assert_eq!(
            site.numbers(),
            json!([{
                "id": added["id"], "tenant_id": TENANT, "number": NUMBER, "provider": "du",
                "rules": {"outbound": true, "outbound_trunk_id": "ST_rules", "livekit_config": id},
            }]),
            "{kind:?}"
        );
        let table = site.run(&["number", "list"]).ok();
        assert!(table.contains(NUMBER) && table.contains(&id) && table.contains("ST_rules"));
    }
}

#[test]
fn add_prints_the_id_of_the_number() {
    let site = Site::new();
    let out = site.run(&[&["number", "add"], &WHOSE[..]].concat()).ok();
    assert_eq!(site.numbers()[0]["id"], out.trim_end());
}

#[test]
fn a_list_can_be_of_one_tenant() {
    let site = Site::new();
    site.add_number(TENANT, NUMBER, None);
    site.add_number(OTHER_TENANT, "+14155550123", None);
    let of = |tenant| site.run(&["number", "list", "--json", "--tenant", tenant]).json();
    assert_eq!(site.numbers().as_array().unwrap().len(), 2);
    assert_eq!(of(TENANT)[0]["number"], NUMBER);
    assert_eq!(of(OTHER_TENANT)[0]["number"], "+14155550123");
    assert_eq!(of("00000000-0000-4000-8000-000000000000"), json!([]));
    refused(site.run(&["number", "list", "--json", "--tenant", "x"]), 2, "tenant_malformed");
}

#[test]
fn every_shape_of_number_comes_out_as_it_went_in() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        for from in
            ["+1234567", "+14155550123", "+390612345678", "+442079460000", "+999999999999999"]
        {
            site.add_number(TENANT, from, None);
            site.run(&["number", "remove", "--tenant", TENANT, "--number", from]).ok();
            site.add_number(TENANT, from, None);
        }
        let numbers = site.numbers();
        let mut listed: Vec<_> =
            numbers.as_array().unwrap().iter().map(|row| row["number"].as_str().unwrap()).collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            ["+1234567", "+14155550123", "+390612345678", "+442079460000", "+999999999999999"],
            "{kind:?}"
        );
    }
}

#[test]
fn assign_and_unassign_touch_one_member_of_the_rules() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let (eu, us) = (site.add_config("eu"), site.add_config("us"));
        number(&site, "add", &["--rules", r#"{"outbound": true}"#]).json();
        for (config, id) in [("eu", &eu), (us.as_str(), &us)] {
            number(&site, "assign", &["--livekit", config]).json();
            let expected = json!({"outbound": true, "livekit_config": id});
            assert_eq!(site.numbers()[0]["rules"], expected, "{kind:?}");
        }
        number(&site, "unassign", &[]).json();
        number(&site, "unassign", &[]).json();
        assert_eq!(site.numbers()[0]["rules"], json!({"outbound": true}), "{kind:?}");
        refused(number(&site, "assign", &["--livekit", "nobody"]), 1, "config_not_found");
    }
}

#[test]
fn a_number_that_was_removed_is_gone() {
    let site = Site::new();
    number(&site, "add", &[]).json();
    site.add_config("eu");
    let removed = number(&site, "remove", &[]).json();
    assert_eq!(removed, json!({"removed": {"tenant_id": TENANT, "number": NUMBER}}));
    assert_eq!(site.numbers(), json!([]));
    refused(number(&site, "remove", &[]), 1, "number_not_found");
    refused(number(&site, "assign", &["--livekit", "eu"]), 1, "number_not_found");
    refused(number(&site, "unassign", &[]), 1, "number_not_found");
}

#[test]
fn a_tenant_has_a_number_once_and_two_tenants_may_share_it() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        number(&site, "add", &[]).json();
        refused(number(&site, "add", &["--provider", "du"]), 6, "number_taken");
        site.add_number(OTHER_TENANT, NUMBER, None);
        assert_eq!(site.numbers().as_array().unwrap().len(), 2, "{kind:?}");
    }
}

#[test]
fn a_number_that_is_not_e164_is_refused_with_nothing_written() {
    let site = Site::new();
    for from in [
        "",
        "971501234567",
        "+0501234567",
        "+97150123456x",
        "+971 50 123",
        "+123456",
        "+1234567890123456",
        "+971501234567\n",
        "+٩٧١٥٠١٢٣٤٥٦٧",
    ] {
        let add = ["number", "add", "--json", "--tenant", TENANT, "--number", from];
        refused(site.run(&add), 2, "number_malformed");
        let resolve = ["resolve", "--json", "--tenant", TENANT, "--from", from];
        refused(site.run(&resolve), 2, "number_malformed");
    }
    for tenant in ["", "x", "0c7f1e5e", "0c7f1e5e-6a51-4d0e-9b51-2f8b3f1f7a0g"] {
        let add = ["number", "add", "--json", "--tenant", tenant, "--number", NUMBER];
        refused(site.run(&add), 2, "tenant_malformed");
        let resolve = ["resolve", "--json", "--tenant", tenant, "--from", NUMBER];
        refused(site.run(&resolve), 2, "tenant_malformed");
    }
    assert_eq!(site.numbers(), json!([]));
}

#[test]
fn rules_that_cannot_be_followed_are_refused_with_nothing_written() {
    let site = Site::new();
    for rules in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "\"text\"",
        r#"{"livekit_config": "eu"}"#,
        r#"{"livekit_config": 7}"#,
        r#"{"outbound_trunk_id": ["ST_1"]}"#,
        r#"{"a": "\u0000"}"#,
    ] {
        refused(number(&site, "add", &["--rules", rules]), 2, "rules_malformed");
    }
    refused(number(&site, "add", &["--livekit", "nobody"]), 1, "config_not_found");
    assert_eq!(site.numbers(), json!([]));
}
