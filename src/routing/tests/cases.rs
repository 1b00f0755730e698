//! What people met in the field, with the right answers. The guide's tables are made of the same
//! files.

use std::fmt::Write as _;

use super::*;

/// A row of `destinations.tsv`.
struct Case<'a> {
    from: &'a str,
    routing: &'a str,
    rules: &'a str,
    /// With `\n` for a line break.
    written: &'a str,
    /// What is dialled, or the code of the refusal.
    expected: &'a str,
    in_the_guide: bool,
    why: &'a str,
}

fn cases() -> impl Iterator<Item = Case<'static>> {
    include_str!("../../../tests/cases/destinations.tsv").lines().skip(1).map(|row| {
        let columns: Vec<_> = row.split('\t').collect();
        let [from, routing, rules, written, expected, guide, why] = columns[..] else {
            panic!("{row}")
        };
        Case { from, routing, rules, written, expected, in_the_guide: guide == "yes", why }
    })
}

/// `readings.tsv`: the forms of a destination, and what each caller dials for them.
fn readings() -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
    let mut rows = include_str!("../../../tests/cases/readings.tsv")
        .lines()
        .map(|row| row.split('\t').collect::<Vec<_>>());
    let callers = rows.next().unwrap()[3..].to_vec();
    (callers, rows.collect())
}

/// `region`, `region AE,IN` with countries that are named, or `heuristic`.
fn reading(text: &str) -> Reading {
    match text.split_once(' ') {
        _ if text == "heuristic" => Reading::Heuristic,
        Some(("region", named)) => {
            Reading::Region { named: named.split(',').map(|code| code.parse().unwrap()).collect() }
        }
        _ => Reading::default(),
    }
}

#[test]
fn every_case_of_the_field_is_read_right() {
    let mut wrong = String::new();
    for Case { from, routing, rules, written, expected, why, .. } in cases() {
        let rules = if rules == "-" { json!({}) } else { serde_json::from_str(rules).unwrap() };
        let rules = Rules::read(None, &rules);
        let (caller, reading) = (from.parse().unwrap(), reading(routing));
        let text = written.replace("\\n", "\n");
        let decided =
            CallRouting::decide(caller, &text, Some(&rules), RulesStatus::Rules, &reading);
        if verdict(&decided) != expected {
            let _ = writeln!(wrong, "{from} {written}: {why}: {:?}", decided.verdict);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_form_is_read_as_each_caller_dials_it() {
    let (callers, rows) = readings();
    for row in rows {
        let [_, written, heuristic, regions @ ..] = row.as_slice() else { panic!("{row:?}") };
        for (caller, expected) in callers.iter().zip(regions) {
            let from = caller.parse().unwrap();
            let decide =
                |reading| CallRouting::decide(from, written, None, RulesStatus::Unknown, &reading);
            assert_eq!(verdict(&decide(Reading::default())), *expected, "{caller} {written}");
            assert_eq!(verdict(&decide(Reading::Heuristic)), *heuristic, "{caller} {written}");
        }
    }
}

#[test]
fn the_tables_of_the_guide_are_made_of_these_cases() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    for (name, table) in [("readings", table_of_readings()), ("destinations", table_of_cases())] {
        let expected = format!("<!-- {name} -->\n\n{table}\n<!-- /{name} -->");
        assert!(guide.contains(&expected), "docs/guide.md should have\n{expected}");
    }
}

fn table_of_readings() -> String {
    let (callers, rows) = readings();
    let mut table = String::from("| written | `heuristic`, any caller |");
    for caller in &callers {
        let _ = write!(table, " `region`, from `{caller}` |");
    }
    let _ = write!(table, "\n|{}\n", " --- |".repeat(callers.len() + 2));
    for row in rows {
        let _ = write!(table, "| {}: `{}` |", row[0], row[1]);
        for expected in &row[2..] {
            let _ = write!(table, " {} |", shown(expected));
        }
        table.push('\n');
    }
    table
}

fn table_of_cases() -> String {
    let mut table = String::from("| from | written | dialled | why |\n| --- | --- | --- | --- |\n");
    for Case { from, routing, rules, written, expected, why, .. } in
        cases().filter(|case| case.in_the_guide)
    {
        let mut settings = String::new();
        if rules != "-" {
            let _ = write!(settings, ", rules `{rules}`");
        }
        if let Some((_, named)) = routing.split_once(' ') {
            let _ = write!(settings, ", `ROUTING_COUNTRIES={named}`");
        }
        let expected = shown(expected);
        let _ = writeln!(table, "| `{from}`{settings} | `{written}` | {expected} | {why} |");
    }
    table
}

/// What is dialled, as code; `–` for what is no number there, and other refusals by their codes.
fn shown(expected: &str) -> String {
    if expected == "not_a_number" { "–".to_owned() } else { format!("`{expected}`") }
}
