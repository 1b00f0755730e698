//! Every row of the routing table: how destinations are read, and what the rules make of them.

mod cases;
mod forms;
mod typos;

use serde_json::{Value, json};

use super::*;

fn route(from: &str, to: &str, rules: &Value) -> CallRouting {
    let rules = Rules::read(Some("etisalat"), rules);
    CallRouting::decide(
        from.parse().unwrap(),
        to,
        Some(&rules),
        RulesStatus::Rules,
        &Reading::default(),
    )
}

/// What is dialled, or the code of the refusal.
fn verdict(routing: &CallRouting) -> &str {
    match &routing.verdict {
        Ok(dialled) => &dialled.formatted,
        Err(refusal) => refusal.code(),
    }
}

const UAE: &str = "+971501234567";
const INDIA: &str = "+919876543210";
const USA: &str = "+14155550123";

#[test]
fn a_destination_is_read_as_people_write_it() {
    for (from, to, dialled, country) in [
        (UAE, "+91 98765 43210", "+919876543210", "IN"),
        (UAE, "+91-98765-43210", "+919876543210", "IN"),
        (UAE, "+91.98765.43210", "+919876543210", "IN"),
        (UAE, "tel:+91 (98765) 43210", "+919876543210", "IN"),
        (UAE, "00919876543210", "+919876543210", "IN"),
        (USA, "011 91 98765 43210", "+919876543210", "IN"),
        (UAE, "\u{200e}+91\u{a0}98765\u{202c}43210\u{200b}", "+919876543210", "IN"),
        (UAE, "٠٥٠١٢٣٤٥٦٧", "+971501234567", "AE"),
        (UAE, "+९१ ९८७६५ ४३२१०", "+919876543210", "IN"),
        (UAE, "050 123 4567", "+971501234567", "AE"),
        (UAE, "50 123 4567", "+971501234567", "AE"),
        (UAE, "971501234567", "+971501234567", "AE"),
        (UAE, "+971 (0)50 123 4567", "+971501234567", "AE"),
        (INDIA, "098765 43210", "+919876543210", "IN"),
        (INDIA, "98765 43210", "+919876543210", "IN"),
        (INDIA, "011 2345 6789", "+911123456789", "IN"),
        (USA, "(415) 555-2671", "+14155552671", "US"),
        (USA, "1 415 555 2671", "+14155552671", "US"),
        (USA, "416 555 2671", "+14165552671", "CA"),
        ("+442079460958", "020 7946 0018", "+442079460018", "GB"),
        ("+61291234567", "0412 345 678", "+61412345678", "AU"),
        (UAE, "+39 06 1234 5678", "+390612345678", "IT"),
        (UAE, "+383 44 123 456", "+38344123456", "XK"),
    ] {
        let routing = route(from, to, &json!({}));
        assert_eq!(verdict(&routing), dialled, "{from} {to}");
        assert_eq!(routing.country.unwrap().code(), country, "{from} {to}");
        let e164 = routing.verdict.unwrap().e164;
        assert_eq!(e164.to_string(), dialled, "{from} {to}");
    }
}

#[test]
fn what_is_no_number_is_refused_and_so_is_a_number_of_no_country() {
    for (to, refusal) in [
        ("", "not_a_number"),
        ("+", "not_a_number"),
        ("hello", "not_a_number"),
        ("1-800-FLOWERS", "not_a_number"),
        ("+9715012", "not_a_number"),
        ("12", "not_a_number"),
        ("+971501234567;ext=9", "not_a_number"),
        ("+971501234567 or +971501234568", "not_a_number"),
        ("+9715+01234567", "not_a_number"),
        ("+97150123456700000000", "not_a_number"),
        ("9999999999999999999999999999", "not_a_number"),
        ("+999 1234567", "country_unknown"),
        ("+0501234567", "country_unknown"),
        ("+881 6 1234 5678", "country_unknown"),
        ("98765 43210", "not_a_number"),
        ("501234567.0", "not_a_number"),
        ("501234567.", "not_a_number"),
        ("+1 555 2671", "not_a_number"),
    ] {
        let routing = route(UAE, to, &json!({}));
        assert_eq!(verdict(&routing), refusal, "{to}");
        assert_eq!(routing.country, None, "{to}");
    }
}

/// `VALID_PUNCTUATION` of libphonenumber.
#[test]
fn the_punctuation_of_libphonenumber_is_read_except_for_x_and_tildes() {
    let dashes = ('\u{2010}'..='\u{2015}').chain(['-', '\u{2212}', '\u{30fc}']);
    let full_width = '\u{ff0d}'..='\u{ff0f}';
    let blanks = [' ', '\u{a0}', '\u{ad}', '\u{200b}', '\u{2060}', '\u{3000}'];
    let others = "()（）［］.[]/".chars();
    for mark in dashes.chain(full_width).chain(blanks).chain(others) {
        let written = format!("+1 415{mark}555{mark}2671");
        assert_eq!(verdict(&route(UAE, &written, &json!({}))), "+14155552671", "{mark:?}");
    }
    for mark in ['x', '~', '\u{2053}', '\u{223c}', '\u{ff5e}'] {
        let written = format!("+1 415{mark}555{mark}2671");
        assert_eq!(verdict(&route(UAE, &written, &json!({}))), "not_a_number", "{mark:?}");
    }
}

/// With its zero it would be a number of Switzerland.
#[test]
fn what_a_spreadsheet_made_of_a_number_is_not_read_as_one_digit_more() {
    for to in ["4155552671.0", "4155552671.", "4155552671.5"] {
        assert_eq!(verdict(&route(USA, to, &json!({}))), "not_a_number", "{to}");
    }
    let dots = route(USA, "415.555.2671", &json!({}));
    assert_eq!(verdict(&dots), "+14155552671", "people write points as well");
}

#[test]
fn the_rules_say_where_to_and_one_country_is_where_bare_numbers_are_read() {
    for (allowed, from, to, expected) in [
        (json!("global"), UAE, "+14155552671", "+14155552671"),
        (json!("india"), UAE, "+919876543210", "+919876543210"),
        (json!("india"), UAE, "9876543210", "+919876543210"),
        (json!("india"), UAE, "09876543210", "+919876543210"),
        (json!("India"), UAE, "+971501234567", "country_not_allowed"),
        (json!("india"), UAE, "0501234567", "not_a_number"),
        (json!("uae"), INDIA, "0501234567", "+971501234567"),
        (json!("uae"), INDIA, "501234567", "+971501234567"),
        (json!("uae"), INDIA, "9876543210", "not_a_number"),
        (json!("usa"), UAE, "4155552671", "+14155552671"),
        (json!("usa"), UAE, "+1 416 555 2671", "country_not_allowed"),
        (json!("uk"), UAE, "020 7946 0958", "+442079460958"),
        (json!("australia"), UAE, "0412345678", "+61412345678"),
        (json!("DE"), UAE, "030 123456", "+4930123456"),
        (json!(["IN", "AE"]), UAE, "0501234567", "+971501234567"),
        (json!(["IN", "AE"]), UAE, "+4930123456", "country_not_allowed"),
        (json!("elsewhere"), UAE, "+971501234567", "rules_malformed"),
    ] {
        let routing = route(from, to, &json!({"allowed_outbound": allowed}));
        assert_eq!(verdict(&routing), expected, "{allowed} {from} {to}");
        assert_eq!(routing.known, RulesStatus::Rules);
    }
}

#[test]
fn a_refusal_says_why_and_keeps_what_is_known() {
    let uae = route(UAE, "+971501234567", &json!({"allowed_outbound": "india"}));
    assert_eq!(
        uae.verdict.as_ref().unwrap_err().to_string(),
        "only India (IN) may be called from this number, and the destination is in the United Arab \
         Emirates (AE)"
    );
    assert_eq!((uae.country.unwrap().code(), uae.carrier.as_deref()), ("AE", Some("etisalat")));
    let off = route(UAE, INDIA, &json!({"outbound": false, "outbound_trunk_id": "ST_1"}));
    assert_eq!((verdict(&off), off.trunk_id.as_deref()), ("outbound_not_allowed", Some("ST_1")));
    let shapeless = route(UAE, INDIA, &json!(["not an object"]));
    assert_eq!(verdict(&shapeless), "rules_malformed");
}

#[test]
fn the_required_format_is_built_of_its_pieces() {
    for (format, dialled) in [
        (json!(null), "+919876543210"),
        (json!(["country_code", "base_number"]), "+919876543210"),
        (json!(["0", "base_number"]), "09876543210"),
        (json!(["base_number"]), "9876543210"),
        (json!(["9", "0", "base_number"]), "909876543210"),
        (json!(["00", "country_code", "base_number"]), "00919876543210"),
    ] {
        let routing = route(UAE, INDIA, &json!({"required_lead_format": format}));
        assert_eq!(verdict(&routing), dialled, "{format}");
    }
    let italy = route(UAE, "+390612345678", &json!({"required_lead_format": ["base_number"]}));
    assert_eq!(verdict(&italy), "0612345678", "an Italian zero is part of the number");
}

#[test]
fn the_result_carries_config_and_trunk_of_the_rules_where_they_name_them() {
    let id: ConfigId = "6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10".parse().unwrap();
    let with = route(UAE, INDIA, &json!({"livekit_config": id, "outbound_trunk_id": "ST_1"}));
    assert_eq!((with.config_id, with.trunk_id.as_deref()), (Some(id), Some("ST_1")));
    let without = route(UAE, INDIA, &json!({"outbound": true, "allowed_outbound": "global"}));
    assert_eq!((without.config_id, without.trunk_id.as_deref()), (None, None));
    assert!(without.allowed() && with.allowed());
}

#[test]
fn a_caller_without_a_row_calls_in_e164_where_the_country_is_known() {
    let decide =
        |to, known| CallRouting::decide(UAE.parse().unwrap(), to, None, known, &Reading::default());
    let known = decide("050 123 4567", RulesStatus::NoRow);
    assert_eq!((verdict(&known), known.known), ("+971501234567", RulesStatus::NoRow));
    assert_eq!(verdict(&decide("+999123456", RulesStatus::NoRow)), "country_unknown");
    assert_eq!(decide("0501234567", RulesStatus::Unknown).known, RulesStatus::Unknown);
}

#[test]
fn by_heuristic_the_length_decides() {
    for (allowed, to, expected, country) in [
        ("global", "09876543210", "+919876543210", Some("IN")),
        ("global", "01123456789", "+911123456789", Some("IN")),
        ("global", "0501234567", "+971501234567", Some("AE")),
        ("global", "501234567", "+971501234567", Some("AE")),
        ("global", "9876543210", "+919876543210", Some("IN")),
        ("global", "4155552671", "+14155552671", Some("US")),
        ("global", "971501234567", "+971501234567", Some("AE")),
        ("global", "919876543210", "+919876543210", Some("IN")),
        ("global", "0044 20 7946 0958", "+442079460958", Some("GB")),
        ("global", "011442079460958", "+442079460958", Some("GB")),
        ("global", "12345", "country_unknown", None),
        ("india", "501234567", "country_not_allowed", Some("AE")),
        ("india", "4155552671", "country_not_allowed", Some("US")),
        ("uk", "020 7946 0958", "country_not_allowed", Some("IN")),
    ] {
        let rules = Rules::read(None, &json!({"allowed_outbound": allowed}));
        let from = USA.parse().unwrap();
        let routing =
            CallRouting::decide(from, to, Some(&rules), RulesStatus::Rules, &Reading::Heuristic);
        assert_eq!(verdict(&routing), expected, "{allowed} {to}");
        assert_eq!(routing.country.as_ref().map(Country::code), country, "{allowed} {to}");
    }
}

#[test]
fn a_caller_of_no_country_needs_the_plus() {
    let satellite = "+881612345678";
    for to in ["9876543210", "0501234567", "12345"] {
        assert_eq!(verdict(&route(satellite, to, &json!({}))), "country_unknown", "{to}");
    }
}

#[test]
fn readings_that_differ_call_nobody_and_are_shown() {
    let routing = route("+85223456789", "0016565551234", &json!({}));
    let refusal = routing.verdict.unwrap_err();
    assert_eq!(refusal.code(), "ambiguous");
    let shown = refusal.to_string();
    assert!(shown.contains("+16565551234") && shown.contains("+6565551234"), "{shown}");
}

#[test]
fn premium_rate_is_dialled_only_where_the_rules_say_so() {
    let plain = route(USA, "+1 900 555 2671", &json!({}));
    assert_eq!(verdict(&plain), "premium_rate");
    let named = route(USA, "+1 900 555 2671", &json!({"allow_premium": true}));
    assert_eq!(verdict(&named), "+19005552671");
}
