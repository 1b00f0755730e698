//! Many calls: a file of entries, placed as fast as the limits allow, each of them once.
//!
//! Entries are read as they are needed. Each waits for its trunk's turn, is written to the journal
//! right before it is dialled, and has one result. Everything runs inside one future: dropping it
//! stops the batch where it is, and the journal knows where that was.
//!
//! **Invariant:** an entry that an earlier run was about to dial is dialled again only if the server
//! shows that it was not. Where that cannot be told, it is in doubt and stays undialled.

mod entry;
mod journal;
mod pace;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;
pub use tokio_util::sync::CancellationToken;

use self::entry::hash;
pub use self::entry::{Defaults, Entries, Entry, NoBatch};
pub use self::journal::Journal;
use self::journal::{Pen, State};
pub use self::pace::Limits;
use self::pace::{GivenUp, Pace};
use super::placed::Trace;
use super::{Call, CallRequest, Dial, Dispatcher, Ledger, Outcome};
use crate::number::ConfigId;
use crate::telemetry::BatchGauges;

/// A batch to be run.
pub struct Batch<'a> {
    dispatcher: &'a Dispatcher,
    dial: Dial,
    limits: Limits,
    cancel: CancellationToken,
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
    /// A batch that is placed by a dispatcher, until it is done or cancelled.
    #[must_use]
    pub fn new(
        dispatcher: &'a Dispatcher,
        dial: Dial,
        limits: Limits,
        cancel: CancellationToken,
    ) -> Self {
        Self { dispatcher, dial, limits, cancel }
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
        let (name, mut known, file) = journal.take();
        let mut summary = Summary::default();
        for entry in open()? {
            summary.entries += 1;
            if known.get(&entry.line).is_some_and(|seen| seen.digest != entry.digest) {
                return Err(BatchError::Changed { line: entry.line });
            }
        }
        tell(None, &summary);
        let gauges = BatchGauges::new();
        gauges.begun(summary.entries);
        let (pen, writing) = Journal::writer(file);
        let pace = Pace::new(self.limits);
        let going = async {
            // Taken along, so that the writer ends with it.
            let pen = pen;
            let run = Run { batch: self, name: &name, pen: &pen, pace: &pace };
            let mut entries = open()?.fuse();
            let mut under_way = FuturesUnordered::new();
            let mut stop_at = None;
            loop {
                while under_way.len() < WINDOW && stop_at.is_none() {
                    let Some(entry) = entries.next() else { break };
                    match known.remove(&entry.line).map(|seen| seen.state) {
                        Some(State::Done(result)) => {
                            summary.earlier += 1;
                            gauges.done(summary.count(&result));
                            tell(Some(&result), &summary);
                        }
                        earlier => under_way.push(run.entry(entry, earlier)),
                    }
                }
                if under_way.is_empty() {
                    break;
                }
                let grace = async {
                    match stop_at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    Some(ended) = under_way.next() => match ended {
                        Ended::Done(result) => {
                            gauges.done(summary.count(&result));
                            tell(Some(&result), &summary);
                        }
                        Ended::Left(result) => {
                            summary.left += 1;
                            if let Some(result) = &result {
                                tell(Some(result), &summary);
                            }
                        }
                        Ended::Failed(error) => return Err(BatchError::Journal(error)),
                    },
                    () = self.cancel.cancelled(), if stop_at.is_none() => {
                        stop_at = Some(Instant::now() + GRACE);
                    }
                    () = grace => break,
                }
            }
            summary.left += under_way.len() as u64;
            for entry in entries {
                let done = known.get(&entry.line).map(|seen| &seen.state);
                summary.left += u64::from(!matches!(done, Some(State::Done(_))));
            }
            Ok(summary)
        };
        let (summary, ()) = tokio::join!(going, writing);
        if let Ok(summary) = &summary {
            gauges.ended(summary.left);
        }
        summary
    }
}

impl Summary {
    /// Counts a result; whether it is that of a call that was placed.
    fn count(&mut self, result: &Value) -> bool {
        let outcome = result["outcome"].as_str().unwrap_or_default().to_owned();
        let placed = outcome == Outcome::Placed.as_str();
        *self.outcomes.entry(outcome).or_default() += 1;
        placed
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

/// What the entries of a run share.
struct Run<'a> {
    batch: &'a Batch<'a>,
    name: &'a str,
    pen: &'a Pen,
    pace: &'a Pace,
}

impl Run<'_> {
    /// Brings one entry to its end.
    async fn entry(&self, entry: Entry, earlier: Option<State>) -> Ended {
        let Entry { line, request, digest } = entry;
        let mut request = match request {
            Ok(request) => request,
            Err(wrong) => {
                let result = json!({"line": line, "outcome": Outcome::Invalid, "message": wrong});
                return self.end((line, &digest), result).await;
            }
        };
        request.dial = self.batch.dial;
        if request.job.is_empty() {
            request.job = format!("{}-{line}", self.name);
        }
        // The same in every run of this batch, so that none leaves a room behind for another one.
        request.room = Some(request.room_with(&hash(&format!("{} {line} {digest}", self.name))));
        if let Some(State::AboutToDial { room, config, engine }) = earlier {
            let result = |outcome, message: &str, id: Option<String>| {
                let mut result = whose(line, &request);
                result["outcome"] = json!(outcome);
                result["message"] = json!(message);
                result["room"] = json!(room);
                result["config_id"] = json!(config);
                result["dispatch_id"] = json!(id);
                result
            };
            let doubt = |why| result(Outcome::InDoubt, why, None);
            let call = Call::new(&room, config);
            match self.batch.dispatcher.look_into(&call).await {
                Err(why) => {
                    let why = format!("an earlier run may have dialled; its server: {why}");
                    return Ended::Left(Some(result(Outcome::HeldBack, &why, None)));
                }
                Ok(Trace::NoAgent) => (request.room, request.again) = (Some(room), true),
                Ok(Trace::NoRoom) => {
                    let why = "an earlier run may have dialled, and the room or its config is gone";
                    return self.end((line, &digest), doubt(why)).await;
                }
                Ok(Trace::Agent { .. }) if engine => {
                    let why = "an earlier run sent the agent, and may have dialled";
                    return self.end((line, &digest), doubt(why)).await;
                }
                Ok(Trace::Agent { id }) => {
                    let found = "placed by an earlier run";
                    let result = result(Outcome::Placed, found, Some(id));
                    return self.end((line, &digest), result).await;
                }
            }
        }
        self.place(line, &digest, request).await
    }

    /// Places a call, again if nothing was dialled and that may help.
    async fn place(&self, line: u64, digest: &str, mut request: CallRequest) -> Ended {
        let Batch { dispatcher, limits, cancel, dial } = self.batch;
        let mut tries = 0;
        loop {
            tries += 1;
            // Warm after the first entry of a caller; what there is not, the call itself will say.
            let answer = dispatcher.resolver.resolve(request.caller).await;
            let leave = match &answer {
                Err(_) => None,
                Ok(answer) => tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ended::Left(None),
                    leave = self.pace.leave(answer) => match leave {
                        Ok(leave) => Some(leave),
                        Err(GivenUp) => {
                            let mut result = whose(line, &request);
                            result["outcome"] = json!(Outcome::HeldBack);
                            result["message"] = json!("its trunk or server failed for too long");
                            return Ended::Left(Some(result));
                        }
                    },
                },
            };
            let note = Note {
                pen: self.pen,
                entry: (line, digest),
                engine: *dial != Dial::Agent,
                cancel,
                stopped: AtomicBool::new(false),
                failed: std::sync::Mutex::new(None),
            };
            let report = dispatcher.call_noted(&request, &note).await;
            if note.stopped.load(Ordering::Acquire) {
                return Ended::Left(None);
            }
            if let Some(error) = note.failure() {
                return Ended::Failed(error);
            }
            if let Some(leave) = leave {
                leave.ended(report.outcome);
            }
            if report.may_retry && tries <= limits.retries {
                request.again = true;
                tokio::select! {
                    () = cancel.cancelled() => return Ended::Left(None),
                    () = tokio::time::sleep(BEFORE_RETRY * tries) => {}
                }
                continue;
            }
            let mut result = whose(line, &request);
            if let (Value::Object(result), Ok(Value::Object(report))) =
                (&mut result, serde_json::to_value(&report))
            {
                result.extend(report);
            }
            result["attempts"] = json!(tries);
            return self.end((line, digest), result).await;
        }
    }

    async fn end(&self, entry: (u64, &str), result: Value) -> Ended {
        match self.pen.done(entry, &result).await {
            Ok(()) => Ended::Done(result),
            Err(error) => Ended::Failed(error),
        }
    }
}

/// The members that say whose result it is.
fn whose(line: u64, request: &CallRequest) -> Value {
    json!({
        "line": line,
        "job_id": request.job,
        "tenant_id": request.caller.tenant,
        "from": request.caller.number,
        "to": request.to,
    })
}

/// Writes an entry down before it is dialled, unless the batch is to stop.
struct Note<'a> {
    pen: &'a Pen,
    entry: (u64, &'a str),
    engine: bool,
    cancel: &'a CancellationToken,
    stopped: AtomicBool,
    failed: std::sync::Mutex<Option<io::Error>>,
}

impl Note<'_> {
    fn failure(&self) -> Option<io::Error> {
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl Ledger for Note<'_> {
    async fn about_to_dial(&self, room: &str, config: Option<ConfigId>) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            self.stopped.store(true, Ordering::Release);
            return Err(io::Error::other("the batch is cancelled"));
        }
        let written = self.pen.about_to_dial(self.entry, room, config, self.engine).await;
        written.map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            *self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
            told
        })
    }
}

/// How many entries are under way at the most, waiting for their trunk's turn included.
const WINDOW: usize = 1024;
/// How long those that are being dialled may take to end once the batch is cancelled.
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait before the second try; then twice, three times as long.
const BEFORE_RETRY: Duration = Duration::from_millis(500);
