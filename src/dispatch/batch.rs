//! Many calls: a file of entries, placed as fast as the limits allow, each of them once.
//!
//! Entries are read as they are needed. Each waits for its trunk's turn, is written to the journal
//! right before it is dialled, and has one result. Everything runs inside one future: dropping it
//! stops the batch where it is, and the journal knows where that was.
//!
//! **Invariant:** an entry that an earlier run was about to dial is dialled again only if the server
//! shows that it was not. Where that cannot be told, it is in doubt and stays undialled.

mod breaker;
mod earlier;
mod entry;
mod journal;
mod live;
mod note;
mod pace;
mod queue;
mod rate;
mod run;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::Value;
pub use tokio_util::sync::CancellationToken;

pub use self::entry::{Defaults, Entries, Entry, NoBatch};
pub use self::journal::Journal;
use self::journal::{Known, Results, Seen, State};
pub use self::pace::Limits;
use self::pace::Pace;
use self::queue::Next;
use self::run::Run;
use super::metrics::BatchGauges;
use super::{Dial, Dispatcher, Outcome};
use crate::rules::Phone;

/// A batch to be run.
pub struct Batch<'a> {
    dispatcher: &'a Dispatcher,
    dial: Dial,
    limits: Limits,
    confirm_agent: Option<Duration>,
    phone: Phone,
    stop: CancellationToken,
    end: CancellationToken,
}

/// How a batch went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many entries there are.
    pub entries: u64,
    /// How many had their result from an earlier run.
    pub earlier: u64,
    /// How many have one now, by outcome. Of earlier runs, too.
    pub outcomes: BTreeMap<String, u64>,
    /// How many have none: the batch was cancelled, or their trunk or server was given up. Resuming
    /// goes on with them.
    pub left: u64,
    /// What was met by those of them that were tried or given up, by outcome.
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
    /// What is there is no journal.
    #[error("line {line} of the journal is not what a batch writes there")]
    JournalMalformed {
        /// Which line.
        line: u64,
    },
    /// Another process runs this batch.
    #[error("another process runs this batch")]
    Running,
    /// The file is not the one that the journal is about.
    #[error("line {line} is not what it was when the batch was begun")]
    Changed {
        /// Which line.
        line: u64,
    },
    /// The journal cannot be written. Nothing is dialled without it.
    #[error("the journal cannot be written: {0}")]
    Journal(#[source] io::Error),
}

/// How an entry ended.
enum Ended {
    /// With this result.
    Done(Value),
    /// Without one that lasts: the batch was cancelled, or its place was given up.
    Left(Option<Value>),
    /// The journal failed.
    Failed(io::Error),
}

impl<'a> Batch<'a> {
    /// A batch that is placed by a dispatcher, until it is done or told to stop: then nobody else is
    /// dialled, and those that ring are waited for.
    #[must_use]
    pub fn new(
        dispatcher: &'a Dispatcher,
        dial: Dial,
        limits: Limits,
        stop: CancellationToken,
    ) -> Self {
        let (confirm_agent, phone) = (None, Phone::default());
        Self { dispatcher, dial, limits, confirm_agent, phone, stop, end: CancellationToken::new() }
    }

    /// The same that waits so long for a worker to take each agent's job, see
    /// [`CallRequest::confirm_agent`](super::CallRequest::confirm_agent).
    #[must_use]
    pub fn confirming(self, agent: Option<Duration>) -> Self {
        Self { confirm_agent: agent, ..self }
    }

    /// The same whose phones are dialled and join their rooms like this.
    #[must_use]
    pub fn dialling(self, phone: Phone) -> Self {
        Self { phone, ..self }
    }

    /// The same that ends those that ring once this is cancelled: their rooms are closed, and their
    /// outcome is [`Outcome::Cancelled`]. For after it was told to stop.
    #[must_use]
    pub fn ended_by(self, end: CancellationToken) -> Self {
        Self { end, ..self }
    }

    /// Places the entries of a file, which is opened twice: to look through it, and to go through
    /// it. `tell` gets each result once, those of earlier runs included, and how it stands by then.
    ///
    /// # Errors
    ///
    /// [`BatchError`]. What was placed by then is in the journal.
    pub async fn run(
        &self,
        open: impl Fn() -> Result<Entries, NoBatch>,
        journal: Journal,
        mut tell: impl FnMut(Option<&Value>, &Summary),
    ) -> Result<Summary, BatchError> {
        let (name, known, results, file) = journal.take().map_err(BatchError::Journal)?;
        let entries = self.look_through(open()?, &known).await?;
        let mut course = Course {
            entries: open()?,
            known,
            results,
            summary: Summary { entries, ..Summary::default() },
            gauges: BatchGauges::new(),
            tell: &mut tell,
        };
        course.tell(None);
        let (pen, writing) = Journal::writer(file);
        let pace = Pace::new(self.limits);
        let going = async {
            // Taken along, so that the writer ends with it.
            let pen = pen;
            let run = Run { batch: self, name: &name, pen: &pen, pace: &pace };
            run.go(&mut course).await?;
            course.count_what_is_left();
            Ok(course.summary)
        };
        let (summary, ()) = tokio::join!(going, writing);
        summary
    }

    /// Counts the entries, and compares them with what an earlier run has noted of them.
    async fn look_through(&self, entries: Entries, known: &Known) -> Result<u64, BatchError> {
        let mut many = 0;
        for entry in entries {
            let Entry { line, digest, .. } = entry.map_err(NoBatch::Unreadable)?;
            if known.get(&line).is_some_and(|seen| seen.digest != digest) {
                return Err(BatchError::Changed { line });
            }
            many += 1;
            breathe(many).await;
            if self.stop.is_cancelled() {
                break;
            }
        }
        Ok(many)
    }
}

/// Lets others run now and then in the midst of work that waits for nothing.
async fn breathe(done: u64) {
    if done.is_multiple_of(256) {
        tokio::task::yield_now().await;
    }
}

/// How far a run has come.
struct Course<'a> {
    entries: Entries,
    known: Known,
    results: Results,
    summary: Summary,
    gauges: BatchGauges,
    tell: &'a mut dyn FnMut(Option<&Value>, &Summary),
}

/// What reading on came to.
enum Step {
    Next(Box<Next>),
    Earlier,
    End,
}

impl Course<'_> {
    fn tell(&mut self, result: Option<&Value>) {
        let summary = &self.summary;
        let (placed, left) = (summary.of(Outcome::Placed), summary.left);
        let failed = summary.done() - placed;
        let waiting = summary.entries.saturating_sub(placed + failed + left);
        self.gauges.say([waiting, placed, failed, left]);
        (self.tell)(result, summary);
    }

    /// Reads one entry. One that has its result by an earlier run is told of, and done with.
    fn next(&mut self) -> Result<Step, BatchError> {
        let Some(entry) = self.entries.next() else { return Ok(Step::End) };
        let entry = entry.map_err(NoBatch::Unreadable)?;
        match self.known.remove(&entry.line).map(|seen| seen.state) {
            Some(State::Done(span)) => {
                let result = self.results.read(span).map_err(BatchError::Journal)?;
                self.summary.earlier += 1;
                self.summary.count(&result);
                self.tell(Some(&result));
                Ok(Step::Earlier)
            }
            earlier => Ok(Step::Next(Box::new((entry, earlier)))),
        }
    }

    fn ended(&mut self, ended: Ended) -> Result<(), BatchError> {
        match ended {
            Ended::Done(result) => {
                self.summary.count(&result);
                self.tell(Some(&result));
            }
            Ended::Left(result) => {
                self.summary.left += 1;
                let outcome = result.as_ref().and_then(|result| result["outcome"].as_str());
                if let Some(outcome) = outcome {
                    *self.summary.left_with.entry(outcome.to_owned()).or_default() += 1;
                }
                self.tell(result.as_ref());
            }
            Ended::Failed(error) => return Err(BatchError::Journal(error)),
        }
        Ok(())
    }

    /// What has no result is left. Those that were not read again may have one by an earlier run.
    fn count_what_is_left(&mut self) {
        let done = |seen: &&Seen| matches!(seen.state, State::Done(_));
        let unread = self.known.values().filter(done).count() as u64;
        self.summary.left = self.summary.entries.saturating_sub(self.summary.done() + unread);
        self.tell(None);
    }
}

impl Summary {
    fn count(&mut self, result: &Value) {
        let outcome = result["outcome"].as_str().unwrap_or_default().to_owned();
        *self.outcomes.entry(outcome).or_default() += 1;
    }

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
