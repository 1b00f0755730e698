//! One run of a batch: which entries go when, and what becomes of each.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::entry::hash;
use super::journal::{Key, Pen, State};
use super::pace::{GivenUp, Pace};
use super::queue::{Next, Place, Queue};
use super::{Batch, BatchError, Course, Ended, Entry, Step, breathe};
use crate::dispatch::placed::Trace;
use crate::dispatch::{Call, CallRequest, Dial, Ledger, Outcome};
use crate::number::ConfigId;

/// What the entries of a run share.
pub(super) struct Run<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) name: &'a str,
    pub(super) pen: &'a Pen,
    pub(super) pace: &'a Pace,
}

impl Run<'_> {
    /// Reads entries and brings them to their end, until there are no more or it is to stop.
    pub(super) async fn go(&self, course: &mut Course<'_>) -> Result<(), BatchError> {
        let cancel = &self.batch.cancel;
        let mut under_way = FuturesUnordered::new();
        let (mut queue, mut read, mut all_read) = (Queue::default(), 0, false);
        let mut stop_at = None;
        let going = |place: Place, (entry, earlier): Next| async move {
            (place, self.entry(entry, earlier).await)
        };
        loop {
            while stop_at.is_none() && !all_read && under_way.len() < WINDOW && queue.has_room() {
                read += 1;
                breathe(read).await;
                if cancel.is_cancelled() {
                    break;
                }
                match course.next()? {
                    Step::Next(next) => {
                        let place = self.place_of(&next.0);
                        if let Some(next) = queue.admit(&place, *next) {
                            under_way.push(going(place, next));
                        }
                    }
                    Step::Earlier => {}
                    Step::End => all_read = true,
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
                Some((place, ended)) = under_way.next() => {
                    course.ended(ended)?;
                    if stop_at.is_none() && let Some(next) = queue.ended(&place) {
                        under_way.push(going(place, next));
                    }
                }
                () = cancel.cancelled(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + GRACE);
                }
                () = grace => break,
            }
        }
        // What is cut off in the midst of it, and what was parked.
        course.summary.left += (under_way.len() + queue.parked()) as u64;
        Ok(())
    }

    /// Whose turns an entry waits for: its trunk's, or before its caller was resolved once, its
    /// caller's.
    fn place_of(&self, entry: &Entry) -> Place {
        let Ok(request) = &entry.request else { return "".into() };
        let caller = request.caller;
        match self.batch.dispatcher.resolver.peek(caller) {
            Some(answer) => {
                let trunk = answer.trunk_id().unwrap_or_default();
                format!("{} {} {trunk}", answer.url(), answer.api_key()).into()
            }
            None => format!("{} {}", caller.tenant, caller.number).into(),
        }
    }

    /// Brings one entry to its end.
    async fn entry(&self, entry: Entry, earlier: Option<State>) -> Ended {
        let Entry { line, request, digest } = entry;
        let key = (line, digest);
        let mut request = match request {
            Ok(request) => request,
            Err(wrong) => {
                self.batch.dispatcher.counted.outcome(Outcome::Invalid);
                let result = json!({"line": line, "outcome": Outcome::Invalid, "message": wrong});
                return self.end(key, result).await;
            }
        };
        request.dial = self.batch.dial;
        if request.job.is_empty() {
            request.job = format!("{}-{line}", self.name);
        }
        // The same in every run of this batch, so that none leaves a room behind for another one.
        let chance = hash(&format!("{} {line} {digest:016x}", self.name));
        request.room = Some(request.room_with(&format!("{chance:016x}")));
        if let Some(State::AboutToDial { room, config, engine }) = earlier {
            match self.look_into(key, &request, (&room, config, engine)).await {
                Some(ended) => return ended,
                None => (request.room, request.again) = (Some(room), true),
            }
        }
        self.place(key, request).await
    }

    /// What became of an entry that an earlier run was about to dial. `None`: it was not dialled.
    async fn look_into(
        &self,
        key: Key,
        request: &CallRequest,
        (room, config, engine): (&str, Option<ConfigId>, bool),
    ) -> Option<Ended> {
        let result = |outcome: Outcome, message: &str, id: Option<String>| {
            self.batch.dispatcher.counted.outcome(outcome);
            let mut result = whose(key.0, request);
            result["outcome"] = json!(outcome);
            result["message"] = json!(message);
            result["room"] = json!(room);
            result["config_id"] = json!(config);
            result["dispatch_id"] = json!(id);
            result
        };
        let call = Call::new(room, config);
        let result = match self.batch.dispatcher.look_into(&call).await {
            Err(why) => {
                let why = format!("an earlier run may have dialled; its server: {why}");
                return Some(Ended::Left(Some(result(Outcome::HeldBack, &why, None))));
            }
            Ok(Trace::NoAgent) => return None,
            Ok(Trace::NoRoom) => {
                let why = "an earlier run may have dialled, and the room or its config is gone";
                result(Outcome::InDoubt, why, None)
            }
            Ok(Trace::Agent { .. }) if engine => {
                let why = "an earlier run sent the agent, and may have dialled";
                result(Outcome::InDoubt, why, None)
            }
            Ok(Trace::Agent { id }) => {
                result(Outcome::Placed, "placed by an earlier run", Some(id))
            }
        };
        Some(self.end(key, result).await)
    }

    /// Places a call, again if nothing was dialled and that may help.
    async fn place(&self, key: Key, mut request: CallRequest) -> Ended {
        let Batch { dispatcher, limits, cancel, dial } = self.batch;
        let mut tries = 0;
        // Whether the journal says that it is about to be dialled.
        let mut noted = request.again;
        loop {
            tries += 1;
            let held_back = |why: &str| {
                dispatcher.counted.outcome(Outcome::HeldBack);
                let mut result = whose(key.0, &request);
                result["outcome"] = json!(Outcome::HeldBack);
                result["message"] = json!(why);
                Some(result)
            };
            let ready = async {
                let asking = dispatcher.resolver.resolve(request.caller);
                let Ok(answer) = self.pace.ask(asking).await? else { return Ok((None, None)) };
                // What is not dialled takes nobody's turn.
                if !dispatcher.would_try(&request, &answer) {
                    return Ok((Some(answer), None));
                }
                let leave = self.pace.leave(&answer).await?;
                Ok((Some(answer), Some(leave)))
            };
            let (answer, leave) = tokio::select! {
                biased;
                () = cancel.cancelled() => return self.left(key, noted, None).await,
                ready = ready => match ready {
                    Ok(ready) => ready,
                    Err(GivenUp) => {
                        let why = "its trunk, its server or the database failed for too long";
                        return self.left(key, noted, held_back(why)).await;
                    }
                },
            };
            let note = Note {
                pen: self.pen,
                key,
                engine: *dial != Dial::Agent,
                cancel,
                written: AtomicBool::new(noted),
                stopped: AtomicBool::new(false),
                failed: std::sync::Mutex::new(None),
            };
            let report = dispatcher.call_noted(&request, answer, &note).await;
            noted = note.written.load(Ordering::Acquire);
            if note.stopped.load(Ordering::Acquire) {
                return self.left(key, noted, None).await;
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
                    () = cancel.cancelled() => return self.left(key, noted, None).await,
                    () = tokio::time::sleep(BEFORE_RETRY * tries) => {}
                }
                continue;
            }
            dispatcher.counted.ended(&report);
            let mut result = whose(key.0, &request);
            if let (Value::Object(result), Ok(Value::Object(report))) =
                (&mut result, serde_json::to_value(&report))
            {
                result.extend(report);
            }
            result["attempts"] = json!(tries);
            // What was not dialled and may go better later is not done: a later run tries it again.
            if report.may_retry {
                return self.left(key, noted, Some(result)).await;
            }
            return self.end(key, result).await;
        }
    }

    /// Leaves an entry that was not dialled to a later run.
    async fn left(&self, key: Key, noted: bool, result: Option<Value>) -> Ended {
        if noted && let Err(error) = self.pen.undone(key).await {
            return Ended::Failed(error);
        }
        Ended::Left(result)
    }

    async fn end(&self, key: Key, result: Value) -> Ended {
        match self.pen.done(key, &result).await {
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
    key: Key,
    engine: bool,
    cancel: &'a CancellationToken,
    written: AtomicBool,
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
        let noted = self.pen.about_to_dial(self.key, room, config, self.engine).await;
        self.written.store(true, Ordering::Release);
        noted.map_err(|error| {
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
