//! Metrics in the code, the documents, the dashboards and the alerts are the same ones, both ways.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use trunkline::telemetry::{Kind, METRICS, Metric};

use crate::support::ROOT;

fn read(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboards() -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(ROOT).join("dashboards")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect()
}

/// Every expression of the panels of a dashboard.
fn panel_expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "expr" || name == "query" => {
                        found.push(text.clone());
                    }
                    other => panel_expressions(other, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| panel_expressions(value, found)),
        _ => {}
    }
}

/// The names of series in an expression or a file of rules: of ours, and recorded ones.
fn names(text: &str) -> BTreeSet<String> {
    let part = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    let words = text.split(|character| !part(character));
    let ours = |word: &&str| word.starts_with("trunkline_") || word.contains(":trunkline_");
    words.filter(ours).map(ToOwned::to_owned).collect()
}

/// What is recorded under a name with what histograms add to it taken off.
fn metric(name: &str) -> Option<&'static Metric> {
    let exact = METRICS.iter().find(|metric| metric.name == name);
    exact.or_else(|| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
        let of_histogram =
            |metric: &&Metric| metric.name == base && matches!(metric.kind, Kind::Histogram(_));
        METRICS.iter().find(of_histogram)
    })
}

fn rules() -> String {
    let text = read("dashboards/alerts/recording.yml") + &read("dashboards/alerts/alerts.yml");
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.collect::<Vec<_>>().join("\n")
}

/// The values of a member in YAML of one member a line.
fn members<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let value = |line: &'a str| {
        let line = line.trim_start().trim_start_matches("- ");
        line.strip_prefix(name)?.strip_prefix(": ").map(str::trim)
    };
    text.lines().filter_map(value).collect()
}

#[test]
fn dashboards_and_rules_name_what_there_is_and_leave_nothing_out() {
    let rules = rules();
    let recorded: BTreeSet<_> = members(&rules, "record").into_iter().collect();
    let mut used = names(&rules);
    for path in dashboards() {
        let dashboard = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut expressions = Vec::new();
        panel_expressions(&dashboard, &mut expressions);
        assert!(expressions.len() > 5, "{}", path.display());
        used.extend(expressions.iter().flat_map(|expression| names(expression)));
    }
    for name in &used {
        let known = recorded.contains(name.as_str()) || metric(name).is_some();
        assert!(known, "{name} is used, and nothing records it");
    }
    let shown: BTreeSet<_> =
        used.iter().filter_map(|name| metric(name)).map(|metric| metric.name).collect();
    for Metric { name, .. } in METRICS {
        assert!(shown.contains(name), "{name} is on no dashboard and in no rule");
    }
    for name in recorded {
        let in_rules = rules.matches(name).count() > 1;
        let panels =
            dashboards().iter().any(|path| fs::read_to_string(path).unwrap().contains(name));
        assert!(in_rules || panels, "{name} is recorded for nobody");
    }
}

#[test]
fn the_table_in_the_documents_is_what_the_code_says() {
    let row = |&Metric { name, kind, labels, help, .. }: &Metric| {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { String::new() } else { labels.join(", ") + " " };
        format!("| `{name}` | {kind} | {labels}| {help} |")
    };
    let rows: Vec<_> = METRICS.iter().map(row).collect();
    let head = "| metric | kind | labels | what it tells |\n| --- | --- | --- | --- |";
    let expected = format!("<!-- metrics -->\n{head}\n{}\n<!-- /metrics -->", rows.join("\n"));
    let page = read("docs/operations.md").replace("<!-- metrics -->\n\n", "<!-- metrics -->\n");
    let page = page.replace("\n\n<!-- /metrics -->", "\n<!-- /metrics -->");
    assert!(page.contains(&expected), "docs/operations.md should have\n{expected}");
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let rules = rules();
    let page = read("docs/runbooks.md");
    let anchor = |heading: &str| heading.trim().to_lowercase().replace(' ', "-");
    let sections: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
    let alerts: BTreeSet<_> = members(&rules, "alert").into_iter().collect();
    let links: BTreeSet<_> = members(&rules, "runbook_url")
        .into_iter()
        .map(|link| {
            link.rsplit_once("docs/runbooks.md#").expect("a link to a section").1.to_owned()
        })
        .collect();
    assert_eq!(links, sections);
    assert_eq!(links.len(), alerts.len(), "one section an alert: {alerts:?}");
    for name in ["severity", "summary", "description", "dashboard_url", "runbook_url"] {
        let many = members(&rules, name).len();
        assert_eq!(many, members(&rules, "alert").len(), "each alert has {name}");
    }
    let dashboards: String =
        dashboards().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for link in members(&rules, "dashboard_url") {
        let uid = link.rsplit('/').next().unwrap();
        assert!(dashboards.contains(&format!("\"uid\": \"{uid}\"")), "{link}");
    }
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let mut text = String::new();
    for file in fs::read_dir(Path::new(ROOT).join("dashboards/alerts/tests")).unwrap() {
        text += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("alertname: ") {
            let expected = lines.next().unwrap();
            assert!(expected.starts_with("exp_alerts:"), "{name}: {expected}");
            if expected.ends_with("[]") { &mut silent } else { &mut firing }
                .insert(name.to_owned());
        }
    }
    let rules = rules();
    let alerts: BTreeSet<_> = members(&rules, "alert").into_iter().map(ToOwned::to_owned).collect();
    assert_eq!((&firing, &silent), (&alerts, &alerts));
}
