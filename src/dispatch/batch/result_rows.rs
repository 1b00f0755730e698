//! Results as rows: those of the batch, each with what became of it, so that the program that wrote the
//! batch reads them.

use serde_json::Value;

use super::columns::RESULTS;
use super::entry::Layout;
use super::separator::Separator;
use super::text::Encoding;
use super::{Outcome, RowResult};

/// How results are written as rows.
#[derive(Debug, Clone)]
pub struct ResultRows {
    separator: Separator,
    /// Whether spreadsheets are told that it is UTF-8.
    mark: bool,
    columns: Vec<String>,
}

impl ResultRows {
    /// As the rows of the batch are written; with commas, if it is JSON. `columns` are its own, as
    /// [`Entries::columns`](super::Entries::columns) returns them.
    #[must_use]
    pub fn like(layout: &Layout, encoding: Encoding, columns: Vec<String>) -> Self {
        let separator = match layout {
            Layout::Csv { separator, .. } => *separator,
            Layout::JsonLines => Separator::COMMA,
        };
        Self { separator, mark: encoding != Encoding::Utf8, columns }
    }

    /// The first line, without its end.
    #[must_use]
    pub fn headings(&self) -> String {
        let mark = if self.mark { "\u{feff}" } else { "" };
        let columns = self.columns.iter().map(String::as_str);
        format!("{mark}{}", self.separator.row(columns.chain(RESULTS)))
    }

    /// The line of a result, without its end.
    #[must_use]
    pub fn row(&self, RowResult { result, row, attempts }: RowResult<'_>) -> String {
        let text = |member: &str| result[member].as_str().unwrap_or_default();
        let outcome = Outcome::ALL.into_iter().find(|known| known.as_str() == text("outcome"));
        let rang = outcome.is_some_and(Outcome::may_have_rung);
        let dialled = if rang { text("phone_number") } else { "" };
        let (line, attempts) = (result["line"].to_string(), attempts.to_string());
        let results = [text("outcome"), text("message"), dialled, text("room"), &line, &attempts];
        self.separator.row(row.iter().map(String::as_str).chain(results))
    }
}

/// What stands for the result of an entry that has none.
pub(super) fn no_result(line: u64, wrong: Option<&String>) -> Value {
    let outcome = wrong.map(|_| Outcome::Invalid.as_str());
    serde_json::json!({"line": line, "outcome": outcome, "message": wrong})
}
