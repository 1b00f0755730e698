//! What is printed: data on stdout, as a table for people or as JSON for scripts.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};
use trunkline::Resolution;
use trunkline::store::{Config, Number};

use super::failure::{Done, Exit, Failure};
use super::plain::{Form, lines, plain};

/// The code of the failure that is none: whoever read stdout has left, as `head -1` does.
pub(crate) const READER_LEFT: &str = "reader_left";

/// Writes a line to stdout. It is one line, whatever rows and files put into it.
pub(crate) fn line(text: impl AsRef<str>) -> Done {
    raw(plain(text.as_ref()))
}

/// Writes data to stdout as it is: a secret, a key, a page.
pub(crate) fn raw(text: impl AsRef<str>) -> Done {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::BrokenPipe => READER_LEFT,
            _ => "output_failed",
        };
        Failure::new(code, format!("stdout: {error}"), Exit::Failed)
    })
}

/// Writes one JSON value to stdout.
pub(crate) fn json_line(value: &Value) -> Done {
    raw(lines(&value.to_string(), Form::Json))
}

/// Writes rows under headings to stdout.
pub(crate) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Done {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings);
    let cells = |row: Vec<String>| -> Vec<String> {
        row.iter().map(|cell| plain(cell).into_owned()).collect()
    };
    table.add_rows(rows.into_iter().map(cells));
    // Without headings it would begin with an empty line.
    raw(table.trim_fmt().trim_start_matches('\n'))
}

pub(crate) fn config_json(config: &Config) -> Value {
    json!({
        "id": config.id,
        "name": config.name,
        "description": config.description,
        "url": config.url,
        "api_key": config.api_key,
        "trunk_id": config.trunk_id,
        "agent_name": config.agent,
        "created_at": config.created_at,
        "updated_at": config.updated_at,
        "disabled_at": config.disabled_at,
    })
}

pub(crate) fn number_json(number: &Number) -> Value {
    json!({
        "id": number.id,
        "tenant_id": number.tenant,
        "number": format!("+{}", number.digits),
        "provider": number.provider,
        "rules": number.rules,
    })
}

pub(crate) fn resolution_json(
    answer: &Resolution,
    tenant: Option<&str>,
    number: &str,
    age_ms: u128,
) -> Value {
    json!({
        "source": answer.source(),
        "reason": answer.reason(),
        "url": answer.url().as_str(),
        "api_key": answer.api_key(),
        "trunk_id": answer.trunk_id(),
        "trunk_origin": answer.trunk_origin(),
        "agent_name": answer.agent_name(),
        "config_id": answer.config_id(),
        "config_name": answer.config_name(),
        "tenant_id": tenant,
        "number": number,
        "stale": answer.stale(),
        "age_ms": u64::try_from(age_ms).unwrap_or(u64::MAX),
    })
}

/// A value that may be absent, for a table.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// A time with the three digits that matter.
pub(super) fn short(time: Duration) -> String {
    let nanos = time.as_secs_f64() * 1e9;
    let (value, unit) = match nanos {
        ..1e3 => (nanos, "ns"),
        ..1e6 => (nanos / 1e3, "µs"),
        ..1e9 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}
