//! Many numbers from a file: all of them, or none and the line that is wrong.

use serde_json::{Value, json};

use super::{NUMBER, OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::BOTH;
use crate::support::program::Run;

fn import(site: &Site, text: &str) -> Run {
    site.run_with(&["number", "import", "--json", "-"], text.as_bytes())
}

/// A line of CSV with the two columns that must be there.
fn row(number: u64) -> String {
    format!("{TENANT},+{}\n", 971_500_000_000 + number)
}

/// Checks that an import ended so, named this line and added nothing.
#[track_caller]
fn stops_at(site: &Site, text: &str, line: usize, error: &str) {
    let before = site.numbers();
    let exit = if error == "number_taken" { 6 } else { 1 };
    let object = refused(import(site, text), exit, error);
    let message = object["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("line {line}:")), "{message}\n{text}");
    assert_eq!(site.numbers(), before, "{text}");
}

#[test]
fn csv_is_imported_with_every_column() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let id = site.add_config("eu");
        let text = format!(
            "number,tenant,provider,livekit,rules\r\n\
             {NUMBER},{TENANT},du,eu,\"{{\"\"outbound\"\": true}}\"\r\n\
             {NUMBER},{OTHER_TENANT},,{},\r\n\
             +14155550123,{TENANT},,,\r\n",
            id.to_uppercase()
        );
        let file = site.file("numbers.csv", &text);
        let out = site.run(&["number", "import", &file]).ok();
        assert!(out.contains('3'), "{out}");
        let numbers = site.numbers();
        let of = |tenant: &str, number: &str| {
            let mut rows = numbers.as_array().unwrap().iter();
            rows.find(|row| row["tenant_id"] == tenant && row["number"] == number).unwrap()
        };
        let first = of(TENANT, NUMBER);
        assert_eq!(
            (&first["provider"], &first["rules"]),
            (&json!("du"), &json!({"outbound": true, "livekit_config": id}),)
        );
        assert_eq!(of(OTHER_TENANT, NUMBER)["rules"], json!({"livekit_config": id}));
        let bare = of(TENANT, "+14155550123");
        assert_eq!((&bare["provider"], &bare["rules"]), (&Value::Null, &json!({})), "{kind:?}");
    }
}

#[test]
fn json_lines_are_imported_with_every_member() {
    let site = Site::new();
    let id = site.add_config("eu");
    let text = format!(
        "{{\"tenant\":\"{TENANT}\",\"number\":\"{NUMBER}\",\"livekit\":\"eu\",\
         \"rules\":{{\"outbound_trunk_id\":\"ST_1\"}},\"provider\":\"du\"}}\n\n\
         {{\"tenant\":\"{OTHER_TENANT}\",\"number\":\"{NUMBER}\",\"rules\":null}}\n"
    );
    assert_eq!(import(&site, &text).json(), json!({"imported": 2}));
    let numbers = site.numbers();
    assert_eq!(numbers[0]["rules"], json!({"outbound_trunk_id": "ST_1", "livekit_config": id}));
    assert_eq!((&numbers[0]["provider"], &numbers[1]["rules"]), (&json!("du"), &json!({})));
}

#[test]
fn thousands_of_lines_are_one_import() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let rows: String = (0..3000).map(row).collect();
        stops_at(&site, &format!("tenant,number\n{rows}{}", row(0)), 3002, "line_malformed");
        assert_eq!(
            import(&site, &format!("tenant,number\n{rows}")).json(),
            json!({"imported": 3000})
        );
        let late = format!("tenant,number\n{}{}", row(4000), row(2999));
        stops_at(&site, &late, 3, "number_taken");
        assert_eq!(site.numbers().as_array().unwrap().len(), 3000, "{kind:?}");
    }
}

#[test]
fn a_bad_line_of_csv_adds_nothing_and_is_named() {
    let site = Site::new();
    let good = row(1);
    for bad in [
        format!("{TENANT},0501234567,,,\n"),
        format!("nobody,{NUMBER},,,\n"),
        format!("{TENANT},,,,\n"),
        format!("{TENANT},{NUMBER},,nobody,\n"),
        format!("{TENANT},{NUMBER},,,[1]\n"),
        format!("{TENANT},{NUMBER},,,{{\n"),
        format!("{TENANT},{NUMBER}\n"),
        format!("{TENANT},{NUMBER},,,,,\n"),
    ] {
        let text =
            format!("tenant,number,provider,livekit,rules\n{}{bad}", good.replace('\n', ",,,\n"));
        stops_at(&site, &text, 3, "line_malformed");
    }
    for headings in ["tenant", "number", "tenant;number", "tenant,number,colour"] {
        let run = import(&site, &format!("{headings}\n{good}"));
        assert_eq!(run.code, 1, "{headings}: {}{}", run.out, run.err);
    }
    assert_eq!(site.numbers(), json!([]));
}

#[test]
fn a_bad_json_line_adds_nothing_and_is_named() {
    let site = Site::new();
    let good = json!({"tenant": TENANT, "number": "+971500000001"});
    for bad in [
        "{".to_owned(),
        "tenant,number".to_owned(),
        json!({"tenant": TENANT}).to_string(),
        json!({"tenant": TENANT, "number": 971_501_234_567_u64}).to_string(),
        json!({"tenant": TENANT, "number": NUMBER, "colour": "red"}).to_string(),
        json!({"tenant": TENANT, "number": NUMBER, "livekit": "nobody"}).to_string(),
        json!({"tenant": TENANT, "number": NUMBER, "rules": []}).to_string(),
        json!({"tenant": "x", "number": NUMBER}).to_string(),
    ] {
        stops_at(&site, &format!("{good}\n\n{bad}\n"), 3, "line_malformed");
    }
}

#[test]
fn text_that_a_database_cannot_hold_names_its_line() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let good = json!({"tenant": TENANT, "number": "+971500000001"});
        let bad = json!({"tenant": TENANT, "number": NUMBER, "provider": "du\0"});
        stops_at(&site, &format!("{good}\n{bad}\n"), 2, "line_malformed");
    }
}

#[test]
fn a_number_that_stands_twice_in_a_file_adds_nothing_and_names_both_lines() {
    let site = Site::new();
    let text = format!("tenant,number\n{}{}{}", row(1), row(2), row(1));
    stops_at(&site, &text, 4, "line_malformed");
    let error = refused(import(&site, &text), 1, "line_malformed");
    assert!(error["message"].as_str().unwrap().contains("line 2"), "{error}");
}

#[test]
fn a_number_that_exists_adds_nothing_and_names_its_line() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        site.add_number(TENANT, NUMBER, None);
        let text = format!("tenant,number\n{}{TENANT},{NUMBER}\n{}", row(1), row(2));
        stops_at(&site, &text, 3, "number_taken");
    }
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let site = Site::new();
    let folded = format!("{TENANT},+971500000009,\"{{\n\"\"a\"\": 1}}\"\n");
    let bad = format!("{TENANT},bad,\n");
    stops_at(&site, &format!("tenant,number,rules\n\n\n{bad}"), 4, "line_malformed");
    stops_at(&site, &format!("tenant,number,rules\n{folded}{bad}"), 4, "line_malformed");
    stops_at(&site, &format!("tenant,number,rules\r\n\r\n{bad}"), 3, "line_malformed");
}

#[test]
fn a_config_is_found_by_just_the_name_that_was_written() {
    let site = Site::new();
    let (upper, lower) = (site.add_config("EU"), site.add_config("eu"));
    let text =
        format!("tenant,number,livekit\n{TENANT},+971500000001,EU\n{TENANT},+971500000002,eu\n");
    import(&site, &text).json();
    let numbers = site.numbers();
    assert_eq!(numbers[0]["rules"]["livekit_config"], upper, "EU is {upper}, eu is {lower}");
    assert_eq!(numbers[1]["rules"]["livekit_config"], lower);
}

#[test]
fn a_file_that_a_spreadsheet_wrote_is_read() {
    let site = Site::new();
    let text = format!("\u{feff}tenant,number\r\n{}", row(1).replace('\n', "\r\n"));
    assert_eq!(import(&site, &text).json(), json!({"imported": 1}));
}

#[test]
fn files_that_cannot_be_read_as_text_are_typed_errors() {
    let site = Site::new();
    let run = site.run(&["number", "import", "--json", "/nowhere/at/all.csv"]);
    refused(run, 1, "input_unreadable");
    let bytes = site.run_with(&["number", "import", "--json", "-"], b"tenant,number\n\xff\n");
    refused(bytes, 1, "input_not_text");
    let nul = site.run_with(&["number", "import", "--json", "-"], b"tenant,number\n\0\n");
    refused(nul, 1, "input_not_text");
    refused(import(&site, ""), 1, "line_malformed");
    assert_eq!(site.numbers(), json!([]));
}
