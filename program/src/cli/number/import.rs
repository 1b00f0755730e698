//! `number import`: many numbers from a file, all of them or none.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline::draft::NumberDraft;
use trunkline::store::{AdminStore, NewNumber};
use trunkline::{Caller, ConfigId, E164};

use super::super::failure::{Done, Exit, Failure};
use super::super::output::{json_line, line};
use super::super::{Context, input};

/// A line of an import.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    tenant: String,
    number: String,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    rules: Option<Value>,
    #[serde(default)]
    livekit: Option<String>,
}

pub(super) async fn import(context: &Context, file: &Path) -> Done {
    let text = input::text(file)?;
    let rows = if text.trim_start().starts_with('{') { json_rows(&text) } else { csv_rows(&text) }?;
    let store = context.store()?;
    let configs: HashMap<String, ConfigId> = store
        .configs()
        .await?
        .into_iter()
        .flat_map(|config| [(config.id.to_string(), config.id), (config.name, config.id)])
        .collect();
    let mut lines = HashMap::new();
    let mut numbers = Vec::with_capacity(rows.len());
    for (at, row) in rows {
        let number = row.check(&configs).map_err(|wrong| bad_line(at, wrong))?;
        if let Some(earlier) = lines.insert(number.caller, at) {
            return Err(bad_line(at, format!("the same number stands in line {earlier} already")));
        }
        numbers.push(number);
    }
    if let Some(failure) = taken(&*store, &numbers, &lines).await? {
        return Err(failure);
    }
    match store.import(&numbers).await {
        Ok(count) if context.json => json_line(&json!({"imported": count})),
        Ok(count) => line(format!("imported {count} numbers")),
        Err(error) => Err(error.into()),
    }
}

impl Row {
    fn check(self, configs: &HashMap<String, ConfigId>) -> Result<NewNumber, String> {
        let config =
            self.livekit.filter(|config| !config.is_empty()).map(|config| {
                let by_id = || configs.get(&config.parse::<ConfigId>().ok()?.to_string());
                configs.get(&config).or_else(by_id).copied().ok_or_else(|| {
                    format!("there is no LiveKit config with the id or name {config:?}")
                })
            });
        let draft = NumberDraft {
            tenant: self.tenant,
            number: self.number,
            provider: self.provider.filter(|text| !text.is_empty()),
            rules: self.rules,
            livekit_config: config.transpose()?,
        };
        draft.check().map_err(|errors| errors.to_string())
    }
}

fn json_rows(text: &str) -> Result<Vec<(usize, Row)>, Failure> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| match serde_json::from_str(line) {
            Ok(row) => Ok((index + 1, row)),
            Err(error) => Err(bad_line(index + 1, error.to_string())),
        })
        .collect()
}

fn csv_rows(text: &str) -> Result<Vec<(usize, Row)>, Failure> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|error| bad_line(1, error.to_string()))?.clone();
    for needed in ["tenant", "number"] {
        if !headings.iter().any(|heading| heading == needed) {
            return Err(bad_line(1, format!("there is no column {needed:?}")));
        }
    }
    let mut rows = Vec::new();
    let mut lines = Lines { text, byte: 0, line: 1 };
    for record in reader.records() {
        let record = record.map_err(|error| {
            let at = lines.of(error.position());
            bad_line(at, "not as many fields as there are columns")
        })?;
        let at = lines.of(record.position());
        let mut row = json!({});
        for (heading, value) in headings.iter().zip(&record).filter(|(_, value)| !value.is_empty())
        {
            row[heading] = match heading {
                "rules" => {
                    serde_json::from_str(value).map_err(|_| bad_line(at, "rules are not JSON"))?
                }
                _ => json!(value),
            };
        }
        let row = serde_json::from_value(row).map_err(|error| bad_line(at, error.to_string()))?;
        rows.push((at, row));
    }
    Ok(rows)
}

/// Counts lines as an editor does. The reader counts a record from where the one before it ended,
/// blank lines included.
struct Lines<'a> {
    text: &'a str,
    byte: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line that a later position is in.
    fn of(&mut self, position: Option<&csv::Position>) -> usize {
        let start = position.and_then(|position| usize::try_from(position.byte()).ok());
        let start = start.unwrap_or(self.byte).min(self.text.len());
        let bytes = self.text.as_bytes();
        let blank = bytes[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = start + blank;
        self.line += self.text[self.byte..start].matches('\n').count();
        self.byte = start;
        self.line
    }
}

/// Finds the first line whose number is there already. Asked before anything is added, since an
/// adopted table would take it twice.
async fn taken(
    store: &dyn AdminStore,
    numbers: &[NewNumber],
    lines: &HashMap<Caller, usize>,
) -> Result<Option<Failure>, Failure> {
    let tenants: HashSet<_> = numbers.iter().map(|number| number.caller.tenant).collect();
    let mut there = HashSet::new();
    for tenant in tenants {
        let known = store.numbers(Some(tenant)).await?;
        let known = known.iter().filter_map(|number| E164::from_digits(&number.digits).ok());
        there.extend(known.map(|number| Caller::new(tenant, number)));
    }
    let first = numbers.iter().find(|number| there.contains(&number.caller));
    Ok(first.map(|number| {
        let at = lines.get(&number.caller).copied().unwrap_or(0);
        let message = format!("line {at}: the tenant has this number already; nothing was added");
        Failure::new("number_taken", message, Exit::Conflict)
    }))
}

fn bad_line(at: usize, wrong: impl std::fmt::Display) -> Failure {
    let message = format!("line {at}: {wrong}; nothing was added");
    Failure::new("line_malformed", message, Exit::Failed)
}
