//! The columns of a row that are not ours, kept for its result: none, chosen ones, or only the
//! names.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

/// What is kept of each row.
#[derive(Default)]
pub(super) enum RowExtras {
    #[default]
    Nothing,
    /// The values of these columns.
    Values(Arc<[String]>),
    /// No values, but the names of all rows together, in the order in which they are met.
    Names { names: Vec<String>, met: HashSet<String> },
}

impl RowExtras {
    /// The values of a row of CSV, by its headings.
    pub(super) fn of_csv(&self, headings: &[String], fields: &[String]) -> Vec<String> {
        let Self::Values(columns) = self else { return Vec::new() };
        let place = |column: &String| headings.iter().position(|heading| heading == column);
        let value = |column| place(column).and_then(|place| fields.get(place));
        columns.iter().map(|column| value(column).cloned().unwrap_or_default()).collect()
    }

    /// The values of an object, by its members; where one is no text, as JSON.
    pub(super) fn of_json(&mut self, members: &[(String, Value)]) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Values(columns) => {
                let value = |column: &String| {
                    let found = members.iter().find(|(name, _)| name == column);
                    match found.map(|(_, value)| value) {
                        None | Some(Value::Null) => String::new(),
                        Some(Value::String(text)) => text.clone(),
                        Some(value) => value.to_string(),
                    }
                };
                columns.iter().map(value).collect()
            }
            Self::Names { names, met } => {
                for (name, _) in members {
                    if met.insert(name.clone()) {
                        names.push(name.clone());
                    }
                }
                Vec::new()
            }
        }
    }
}
