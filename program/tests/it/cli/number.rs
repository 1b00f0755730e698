//! The numbers of tenants, one at a time.

use std::fs;

use serde_json::{Value, json};

use super::{NUMBER, OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind};
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

/// A database with two configs and many numbers of two tenants, some of which have a config.
fn many() -> (Site, usize) {
    let site = Site::migrated(Kind::Sqlite);
    for name in ["eu", "us"] {
        site.add_config(name);
    }
    let of = |tenant: &str, at: usize| {
        let config = if at.is_multiple_of(10) { "us" } else { "" };
        format!("{tenant},+97150123{at:04},{config}\n")
    };
    let rows: String = (0..200).map(|at| of([TENANT, OTHER_TENANT][at % 2], at)).collect();
    let file = site.folder.path().join("numbers.csv");
    fs::write(&file, format!("tenant,number,livekit\n{rows}")).unwrap();
    site.run(&["number", "import", file.to_str().unwrap()]).ok();
    (site, 200)
}

fn configs(site: &Site) -> Vec<(String, Value)> {
    let numbers = site.run(&["number", "list", "--json"]).json();
    let numbers = numbers.as_array().unwrap().iter();
    let config = |number: &Value| number["rules"]["livekit_config"].clone();
    numbers.map(|number| (number["number"].to_string(), config(number))).collect()
}

#[test]
fn a_share_of_the_numbers_gets_a_config_grows_and_is_taken_back() {
    let (site, all) = many();
    let eu = site.run(&["livekit", "show", "eu", "--json"]).json()["id"].clone();
    let journal = site.folder.path().join("journal").display().to_string();
    let assign = |more: &[&str]| {
        let command = ["number", "assign", "--livekit", "eu", "--journal", &journal, "--json"];
        site.run(&[&command[..], more].concat())
    };
    let with_eu = || configs(&site).iter().filter(|(_, config)| *config == eu).count();
    let before = configs(&site);
    let plan = assign(&["--percent", "20", "--dry-run"]).json();
    assert!((20..=60).contains(&plan["would_assign"].as_u64().unwrap()), "{plan}");
    assert_eq!((configs(&site), fs::exists(&journal).unwrap()), (before.clone(), false));

    let fifth = assign(&["--percent", "20"]).json()["assigned"].clone();
    assert_eq!(
        (fifth, json!(with_eu())),
        (plan["would_assign"].clone(), plan["would_assign"].clone())
    );
    let first = configs(&site);
    assert_eq!(assign(&["--percent", "20"]).json()["assigned"], 0, "it is done");
    assign(&["--percent", "60"]).json();
    for ((number, earlier), (_, later)) in first.iter().zip(configs(&site)) {
        assert!(*earlier != eu || later == eu, "{number} was taken out by a greater share");
    }
    // What a process that was killed had begun to write.
    let mut torn = fs::read_to_string(&journal).unwrap();
    torn.push_str("{\"tenant\":\"");
    fs::write(&journal, torn).unwrap();
    assert_eq!(assign(&["--percent", "100"]).json()["of"], all);
    assert_eq!(with_eu(), all);

    // Somebody wants one of them elsewhere.
    site.run(&[
        "number",
        "assign",
        "--tenant",
        OTHER_TENANT,
        "--number",
        "+971501230001",
        "--livekit",
        "us",
    ])
    .ok();
    let undo = ["number", "undo-assign", &journal, "--json"];
    assert_eq!(site.run(&[&undo[..], &["--dry-run"]].concat()).json()["would_undo"], all - 1);
    assert_eq!(site.run(&undo).json()["undone"], all - 1);
    for ((number, was), (_, is)) in before.iter().zip(configs(&site)) {
        assert!(*was == is || number.contains("30001"), "{number}: {was} and {is}");
    }
}

#[test]
fn a_share_leaves_others_alone_and_a_file_that_is_no_journal() {
    let (site, _) = many();
    let journal = site.folder.path().join("journal").display().to_string();
    let share = ["number", "assign", "--livekit", "eu", "--percent", "100", "--json"];
    let assign = |more: &[&str]| site.run(&[&share[..], more].concat());
    assert_eq!(assign(&[]).code, 2, "what was before must be kept");
    let one = assign(&["--journal", &journal, "--tenant", TENANT, "--where-unassigned"]).json();
    assert_eq!((&one["assigned"], &one["of"]), (&json!(80), &json!(100)));
    let numbers = site.folder.path().join("numbers.csv").display().to_string();
    let before = fs::read(&numbers).unwrap();
    refused(assign(&["--journal", &numbers]), 1, "journal_malformed");
    assert_eq!(fs::read(&numbers).unwrap(), before);
    refused(site.run(&["number", "undo-assign", "/nowhere/x", "--json"]), 1, "journal_failed");
}
