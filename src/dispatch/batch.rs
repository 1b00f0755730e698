//! Many calls: a file of entries, placed as fast as the limits allow, each of them once.
//!
//! The whole file is read before anybody is called, and read again as its entries are needed. An
//! entry waits for its trunk's turn, is written to the journal right before it is dialled, and gets
//! one result. Everything runs inside one future: dropping it stops the batch where it is, and the
//! journal knows where that was.
//!
//! **Invariant:** an entry that an earlier run was about to dial is dialled again only if the
//! server shows that it was not. Where that cannot be told, it is in doubt and stays undialled.
//!
//! **Invariant:** an entry that was not dialled and may succeed later is not done: the next run
//! tries it again. The journal takes back that it was about to be dialled, or an outage would leave
//! entries in doubt that nobody dialled.

mod breaker;
mod column;
mod columns;
mod csv;
mod defaults;
mod dial_recorder;
mod digest;
mod earlier;
mod entry;
mod first_version;
mod jobs;
mod journal;
mod json_lines;
mod live_calls;
mod no_batch;
mod pace;
mod persons;
mod queue;
mod rate;
mod record;
mod rehearsal;
mod result;
mod result_rows;
mod row_extras;
mod run;
mod separator;
mod survey;
mod text;
mod told;
#[cfg(feature = "server")]
mod written;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::Value;
pub use tokio_util::sync::CancellationToken;

pub use self::column::{Column, NoSuchColumn};
pub use self::columns::{RESULTS, is_result_column};
pub use self::defaults::Defaults;
pub use self::entry::{Entries, Entry, Layout};
pub use self::journal::Journal;
use self::journal::{EarlierEntries, EarlierEntry, JournalState, Parts, Results};
pub use self::no_batch::{FoundColumns, NoBatch};
pub use self::pace::Limits;
use self::pace::Pace;
use self::queue::Next;
pub use self::rehearsal::{Lack, Lacking, Refused, Rehearsal, Tally, Trunk, Why};
pub use self::result_rows::ResultRows;
use self::run::Run;
pub use self::separator::{NoSeparator, Separator};
pub use self::text::Encoding;
#[cfg(feature = "server")]
pub(crate) use self::written::{Wanted, WrittenResults};
use super::metrics::BatchGauges;
use super::{Dial, Dispatcher, Outcome};
use crate::rules::Phone;

/// A batch to be run.
///
/// ```no_run
/// use std::path::Path;
/// use trunkline::dispatch::batch::{Batch, CancellationToken, Defaults, Entries, Journal, Limits};
/// use trunkline::dispatch::{Dial, Dispatcher};
///
/// # async fn run(dispatcher: Dispatcher) -> Result<(), Box<dyn std::error::Error>> {
/// let open = || Entries::open(Path::new("calls.csv"), Defaults::default());
/// let journal = Journal::begin(Path::new("calls.journal"))?;
/// let batch = Batch::new(&dispatcher, Dial::Agent, Limits::default(), CancellationToken::new());
/// let summary = batch.run(open, journal, |told, _| println!("{told:?}")).await?;
/// println!("{} entries are done", summary.done());
/// # Ok(()) }
/// ```
pub struct Batch<'a> {
    dispatcher: &'a Dispatcher,
    dial: Dial,
    limits: Limits,
    confirm_agent: Option<Duration>,
    phone: Phone,
    keep_headers: bool,
    stop: CancellationToken,
    end: CancellationToken,
}

/// How a batch went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many entries there are.
    pub entries: u64,
    /// How many already had a result from an earlier run.
    pub earlier: u64,
    /// How many have a result now, by outcome, earlier runs included.
    pub outcomes: BTreeMap<String, u64>,
    /// How many have no result: the batch was cancelled, their trunk or server was given up, or you must
    /// correct them. Resume the batch to go on with them.
    pub left: u64,
    /// Why, by outcome, where they were looked at.
    pub left_with: BTreeMap<String, u64>,
}

/// Why a batch did not begin or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The file is no batch.
    #[error(transparent)]
    NoBatch(#[from] NoBatch),
    /// There is a journal of an earlier run.
    #[error("there is a journal of an earlier run of this batch")]
    JournalThere,
    /// There is no journal to resume from.
    #[error("there is no journal of an earlier run of this batch")]
    NoJournal,
    /// The file is not a journal.
    #[error("line {line} of the journal is malformed")]
    JournalMalformed {
        /// Which line.
        line: u64,
    },
    /// Another process runs this batch.
    #[error("another process runs this batch")]
    Running,
    /// The file is not the one that the journal is about.
    #[error("line {line} has changed since the batch was begun")]
    Changed {
        /// Which line.
        line: u64,
    },
    /// The journal cannot be written. Nothing is dialled without it.
    #[error("the journal cannot be written: {0}")]
    Journal(#[source] io::Error),
}

/// A result, and the row that it is of.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RowResult<'a> {
    /// The result.
    pub result: &'a Value,
    /// The values of the row, as [`Entry::row`] has them.
    pub row: &'a [String],
    /// How often it was tried, by the runs before this one too.
    pub attempts: u64,
}

/// What is kept of an entry until it is told of.
#[derive(Default)]
struct PendingRow {
    values: Vec<String>,
    attempts: u64,
}

impl PendingRow {
    /// Takes it from an entry.
    fn of(entry: &mut Entry) -> Self {
        Self { values: std::mem::take(&mut entry.row), attempts: entry.attempts }
    }
}

/// How an entry ended.
enum EntryEnd {
    /// With this result.
    Done(Value),
    /// Without one that lasts: the batch was cancelled, or its place was given up.
    Left(Option<Value>),
    /// The journal failed.
    Failed(io::Error),
}

impl<'a> Batch<'a> {
    /// A batch that this dispatcher places. Cancel `stop` to dial nobody else; calls that ring are still
    /// waited for.
    #[must_use]
    pub fn new(
        dispatcher: &'a Dispatcher,
        dial: Dial,
        limits: Limits,
        stop: CancellationToken,
    ) -> Self {
        Self {
            dispatcher,
            dial,
            limits,
            confirm_agent: None,
            phone: Phone::default(),
            keep_headers: false,
            stop,
            end: CancellationToken::new(),
        }
    }

    /// Waits so long for a worker to take each agent's job; see
    /// [`CallRequest::confirm_agent`](super::CallRequest::confirm_agent).
    #[must_use]
    pub fn confirming(self, agent: Option<Duration>) -> Self {
        Self { confirm_agent: agent, ..self }
    }

    /// Dials phones, and has them join their rooms, like this.
    #[must_use]
    pub fn dialling(self, phone: Phone) -> Self {
        Self { phone, ..self }
    }

    /// Leaves headers as the rules of a number set them; see
    /// [`CallRequest::keep_headers`](super::CallRequest::keep_headers).
    #[must_use]
    pub fn keeping_headers(self) -> Self {
        Self { keep_headers: true, ..self }
    }

    /// Cancel `end` after `stop` to end the calls that still ring, too: their rooms are closed, and their
    /// outcome is [`Outcome::Cancelled`].
    #[must_use]
    pub fn ended_by(self, end: CancellationToken) -> Self {
        Self { end, ..self }
    }

    /// Places the entries of a file. It is opened twice: to check all of it, and to place its entries.
    /// `report` gets each result once, those of earlier runs included, with the summary so far.
    ///
    /// # Errors
    ///
    /// [`BatchError`]. The journal has what was placed until then.
    pub async fn run(
        &self,
        open: impl Fn() -> Result<Entries, NoBatch>,
        journal: Journal,
        mut report: impl FnMut(Option<&Value>, &Summary) + Send,
    ) -> Result<Summary, BatchError> {
        let report = |row_result: Option<RowResult<'_>>, so_far: &Summary| {
            report(row_result.map(|row_result| row_result.result), so_far);
        };
        self.run_with_rows(open, journal, report).await
    }

    /// Runs like [`run`](Self::run), and also reports the row of each result.
    ///
    /// # Errors
    ///
    /// [`BatchError`]. The journal has what was placed until then.
    pub async fn run_with_rows(
        &self,
        open: impl Fn() -> Result<Entries, NoBatch>,
        journal: Journal,
        mut report: impl FnMut(Option<RowResult<'_>>, &Summary) + Send,
    ) -> Result<Summary, BatchError> {
        let Parts { batch, version, known, results, file } =
            journal.take().map_err(BatchError::Journal)?;
        let open = || open().map(|entries| entries.numbered_as(version));
        let (Rehearsal { entries, .. }, persons) =
            self.look_through(open()?, version, &known).await?;
        let mut progress = Progress {
            entries: open()?,
            known,
            results,
            summary: Summary { entries, ..Summary::default() },
            gauges: BatchGauges::new(),
            report: &mut report,
        };
        progress.report(None);
        let (journal, writing) = Journal::writer(file);
        let pace = Pace::new(self.limits);
        let going = async {
            // Taken along, so that the writer ends with it.
            let journal = journal;
            let run = Run {
                batch: self,
                name: &batch,
                journal: &journal,
                pace: &pace,
                persons: &persons,
            };
            run.go(&mut progress).await?;
            progress.count_what_is_left();
            Ok(progress.summary)
        };
        let (summary, ()) = tokio::join!(going, writing);
        summary
    }
}

/// How far a run has come.
struct Progress<'a> {
    entries: Entries,
    known: EarlierEntries,
    results: Results,
    summary: Summary,
    gauges: BatchGauges,
    report: &'a mut (dyn FnMut(Option<RowResult<'_>>, &Summary) + Send),
}

/// What reading on came to.
enum ReadAhead {
    Next(Box<Next>),
    Earlier,
    End,
}

impl Progress<'_> {
    /// Tells of a result, if there is one, and how it stands.
    fn report(&mut self, result: Option<(&Value, &PendingRow)>) {
        let summary = &self.summary;
        let (placed, left) = (summary.of(Outcome::Placed), summary.left);
        let failed = summary.done() - placed;
        let waiting = summary.entries.saturating_sub(placed + failed + left);
        self.gauges.say([waiting, placed, failed, left]);
        let row_result = result.map(|(result, PendingRow { values, attempts })| {
            let attempts = result["attempts"].as_u64().unwrap_or(*attempts);
            RowResult { result, row: values, attempts }
        });
        (self.report)(row_result, summary);
    }

    /// Reads one entry. One that has its result by an earlier run is told of, and done with.
    fn next(&mut self) -> Result<ReadAhead, BatchError> {
        let Some(entry) = self.entries.next() else { return Ok(ReadAhead::End) };
        let mut entry = entry?;
        match self.known.remove(&entry.line).map(|seen| seen.state) {
            Some(JournalState::Done(span)) => {
                let result = self.results.read(span).map_err(BatchError::Journal)?;
                self.summary.earlier += 1;
                count(&mut self.summary.outcomes, &result);
                self.report(Some((&result, &PendingRow::of(&mut entry))));
                Ok(ReadAhead::Earlier)
            }
            earlier => Ok(ReadAhead::Next(Box::new((entry, earlier)))),
        }
    }

    fn ended(&mut self, row: &PendingRow, ended: EntryEnd) -> Result<(), BatchError> {
        match ended {
            EntryEnd::Done(result) => {
                count(&mut self.summary.outcomes, &result);
                self.report(Some((&result, row)));
            }
            EntryEnd::Left(result) => {
                self.summary.left += 1;
                if let Some(result) = &result {
                    count(&mut self.summary.left_with, result);
                }
                self.report(result.as_ref().map(|result| (result, row)));
            }
            EntryEnd::Failed(error) => return Err(BatchError::Journal(error)),
        }
        Ok(())
    }

    /// What has no result is left. Those that were not read again may have one by an earlier run.
    fn count_what_is_left(&mut self) {
        let done = |seen: &&EarlierEntry| matches!(seen.state, JournalState::Done(_));
        let unread = self.known.values().filter(done).count() as u64;
        self.summary.left = self.summary.entries.saturating_sub(self.summary.done() + unread);
        self.report(None);
    }
}

fn count(outcomes: &mut BTreeMap<String, u64>, result: &Value) {
    let outcome = result["outcome"].as_str().unwrap_or_default().to_owned();
    *outcomes.entry(outcome).or_default() += 1;
}

impl Summary {
    /// How many entries have an outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.as_str()).copied().unwrap_or(0)
    }

    /// How many entries have a result.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.outcomes.values().sum()
    }
}
