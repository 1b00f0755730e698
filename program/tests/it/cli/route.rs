//! What `route` prints: whether a call may go out, and what is dialled.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{NUMBER, Site, TENANT, new_key, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::program::Program;

fn route(program: &Program, to: &str) -> Value {
    let ask = ["route", "--json", "--tenant", TENANT, "--from", NUMBER, "--to", to];
    program.run(&ask).json()
}

#[test]
fn the_result_is_one_object_of_what_the_rules_say() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let id = site.add_config("eu");
        let rules = r#"{"allowed_outbound": "india", "required_lead_format": ["0", "base_number"],
            "caller_format": ["base_number"], "outbound_trunk_id": "ST_rules"}"#;
        let whose = ["--tenant", TENANT, "--number", NUMBER];
        let what = ["--livekit", "eu", "--provider", "etisalat", "--rules", rules];
        site.run(&[&["number", "add"], &whose[..], &what].concat()).ok();
        let mut expected = json!({
            "allowed": true, "reason": null, "message": null, "carrier": "etisalat",
            "country": "IN", "formatted": "09876543210", "e164": "+919876543210", "caller": "501234567",
            "trunk_id": "ST_rules", "config_id": id, "rules": "rules",
        });
        assert_eq!(route(&site, "98765 43210"), expected, "{kind:?}");

        let refusal = route(&site, "+971 50 123 4567");
        expected["allowed"] = json!(false);
        expected["reason"] = json!("country_not_allowed");
        expected["message"] = json!(
            "only India (IN) may be called from this number, and the destination is in the United \
             Arab Emirates (AE)"
        );
        expected["country"] = json!("AE");
        for member in ["formatted", "e164", "caller"] {
            expected[member] = Value::Null;
        }
        assert_eq!(refusal, expected, "{kind:?}");
    }
}

/// Neither a config nor credentials of the environment are needed to know what the rules allow.
#[test]
fn rules_count_where_nobody_has_credentials() {
    let site = Site::migrated(Kind::Sqlite);
    let whose = ["--tenant", TENANT, "--number", NUMBER];
    let what = ["--rules", r#"{"outbound": false}"#, "--provider", "du"];
    site.run(&[&["number", "add"], &whose[..], &what].concat()).ok();
    let refused = route(&site, "+919876543210");
    assert_eq!(
        (&refused["reason"], &refused["carrier"]),
        (&json!("outbound_not_allowed"), &json!("du"))
    );
    assert_eq!(refused["config_id"], Value::Null);
}

#[test]
fn a_number_without_a_row_calls_in_e164_and_says_so() {
    let site = Site::migrated(Kind::Sqlite);
    let answer = route(&site, "050 123 4567");
    assert_eq!(
        (&answer["rules"], &answer["formatted"]),
        (&json!("no_row"), &json!("+971501234567"))
    );
    let away = site.with("DATABASE_URL", "sqlite:/nowhere/at/all.db");
    assert_eq!(route(&away, "050 123 4567")["rules"], "unknown");
}

#[test]
fn routing_by_heuristic_is_a_setting() {
    let site = Site::migrated(Kind::Sqlite);
    assert_eq!(route(&site, "9876543210")["reason"], "not_a_number");
    let heuristic = site.with("ROUTING", "heuristic");
    assert_eq!(route(&heuristic, "9876543210")["e164"], "+919876543210");
    let wrong = site.with("ROUTING", "guess");
    let run = wrong.run(&["route", "--tenant", TENANT, "--from", NUMBER, "--to", "1", "--json"]);
    let object = refused(run, 3, "settings_invalid");
    assert!(object["message"].as_str().unwrap().contains("ROUTING"), "{object}");
}

#[test]
fn a_warm_key_is_not_needed_to_route() {
    let (site, id) = Site::with_route(Kind::Sqlite);
    let other = site.with(super::KEY, &new_key());
    assert_eq!(route(&other, "+919876543210")["config_id"], json!(id));
}

/// A process each. The same rows are decided in one process by the tests of `routing`.
#[test]
fn every_case_of_the_field_is_routed_as_it_should_be() {
    let site = Site::migrated(Kind::Sqlite);
    let rows = include_str!("../../../../tests/cases/destinations.tsv").lines().skip(1);
    let cases: Vec<Vec<_>> = rows.map(|row| row.split('\t').collect()).collect();
    // The same caller has other rules with each tenant.
    let tenant = |at| Uuid::from_u128(at as u128 + 1).to_string();
    let numbers = cases.iter().enumerate().map(|(at, case)| {
        let rules = if case[2] == "-" { "{}" } else { case[2] };
        format!("{},{},\"{}\"\n", case[0], tenant(at), rules.replace('"', "\"\""))
    });
    let file =
        site.file("numbers.csv", &format!("number,tenant,rules\n{}", numbers.collect::<String>()));
    site.run(&["number", "import", &file]).ok();

    let judge = |(at, case): (usize, &Vec<&str>)| {
        let [from, routing, _, to, expected, ..] = case[..] else { panic!("{case:?}") };
        let (reading, named) = routing.split_once(' ').unwrap_or((routing, ""));
        let program = site.with("ROUTING", reading).with("ROUTING_COUNTRIES", named);
        let to = to.replace("\\n", "\n");
        // In one argument: it may begin with a dash.
        let to = format!("--to={to}");
        let ask = ["route", "--json", "--tenant", &tenant(at), "--from", from, &to];
        let answer = program.run(&ask).json();
        let said = if answer["allowed"] == true { &answer["formatted"] } else { &answer["reason"] };
        assert_eq!(
            (said, &answer["rules"]),
            (&json!(expected), &json!("rules")),
            "{case:?} {answer}"
        );
    };
    std::thread::scope(|threads| {
        for first in 0..4 {
            let (cases, judge) = (&cases, &judge);
            threads.spawn(move || cases.iter().enumerate().skip(first).step_by(4).for_each(judge));
        }
    });
}
