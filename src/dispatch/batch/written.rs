//! What a batch has come to, read from its file and its journal beside its run.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::columns::is_result_column;
use super::journal::{EarlierEntries, Journal, JournalState, LookedAt, Results};
use super::result_rows::{ResultRows, no_result};
use super::{BatchError, Defaults, Entries, RowResult};

/// Which entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those that have a result.
    Done,
    /// Those that have none.
    Left,
    /// All of them.
    All,
}

/// The entries of a batch with their results, one after the other.
pub(crate) struct WrittenResults {
    entries: Entries,
    known: EarlierEntries,
    results: Option<Results>,
    wanted: Wanted,
    rows: ResultRows,
}

/// One of them: as JSON, and as a row.
pub(crate) struct WrittenResult {
    pub(crate) result: Value,
    pub(crate) row: String,
}

impl WrittenResults {
    /// Reads what stands there at this moment. Without a journal nothing has a result.
    ///
    /// # Errors
    ///
    /// [`BatchError`]
    pub(crate) fn read(
        file: &Path,
        journal: &Path,
        defaults: &Defaults,
        wanted: Wanted,
    ) -> Result<Self, BatchError> {
        let entries = Entries::open(file, defaults.clone())?;
        let (layout, encoding) = (entries.layout(), entries.encoding());
        let mut columns = entries.columns()?;
        // A column of that name stands there already, and what it says is of before.
        columns.retain(|heading| !is_result_column(heading));
        let kept: Arc<[String]> = columns.as_slice().into();
        let rows = ResultRows::like(&layout, encoding, columns);
        let (version, known, results) = match Journal::look(journal) {
            Ok(LookedAt { version, known, results }) => (version, known, Some(results)),
            Err(BatchError::NoJournal) => (<_>::default(), EarlierEntries::new(), None),
            Err(error) => return Err(error),
        };
        let entries = Entries::open(file, defaults.clone())?.keeping(kept).numbered_as(version);
        Ok(Self { entries, known, results, wanted, rows })
    }

    /// How they are written as rows.
    pub(crate) fn rows(&self) -> &ResultRows {
        &self.rows
    }

    fn next_one(&mut self) -> Result<Option<WrittenResult>, BatchError> {
        for entry in self.entries.by_ref() {
            let entry = entry?;
            let state = self.known.remove(&entry.line).map(|seen| seen.state);
            let (result, is_done) = match (state, &self.results) {
                (Some(JournalState::Done(span)), Some(results)) => {
                    (results.read(span).map_err(BatchError::Journal)?, true)
                }
                _ => (no_result(entry.line, entry.request.as_ref().err()), false),
            };
            let is_wanted = match self.wanted {
                Wanted::Done => is_done,
                Wanted::Left => !is_done,
                Wanted::All => true,
            };
            if is_wanted {
                let attempts = result["attempts"].as_u64().unwrap_or(entry.attempts);
                let told = RowResult { result: &result, row: &entry.row, attempts };
                let row = self.rows.row(told);
                return Ok(Some(WrittenResult { result, row }));
            }
        }
        Ok(None)
    }
}

impl Iterator for WrittenResults {
    type Item = Result<WrittenResult, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_one().transpose()
    }
}
