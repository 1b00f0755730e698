//! One run of a batch: which entries go when, and what becomes of each.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::entry::hash;
use super::journal::{Begun, Key, Pen, State};
use super::pace::{GivenUp, Leave, Pace};
use super::queue::{Next, Place, Queue};
use super::{Batch, BatchError, Course, Ended, Entry, Step};
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::dispatch::placed::Trace;
use crate::dispatch::{Call, CallRequest, Dial, Ledger, Outcome};
use crate::number::{Caller, ConfigId};

/// What the entries of a run share.
pub(super) struct Run<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) name: &'a str,
    pub(super) pen: &'a Pen,
    pub(super) pace: &'a Pace,
}

/// What a run has read and not ended yet.
struct Flow<F> {
    queue: Queue,
    under_way: FuturesUnordered<F>,
    /// How many may be under way.
    window: usize,
    all_read: bool,
}

impl<F> Flow<F> {
    fn may_read(&self) -> bool {
        !self.all_read && self.under_way.len() < self.window && self.queue.has_room()
    }
}

impl Run<'_> {
    /// Reads entries and brings them to their end, until there are no more or it is to stop. It
    /// reads on only while nothing that is under way can go on, so that reading delays no call.
    pub(super) async fn go(&self, course: &mut Course<'_>) -> Result<(), BatchError> {
        let Batch { cancel, limits, .. } = self.batch;
        let window = WINDOW.max(limits.concurrency.saturating_mul(2));
        let (queue, under_way) = (Queue::new(limits.concurrency), FuturesUnordered::new());
        let mut flow = Flow { queue, under_way, window, all_read: false };
        let mut stop_at = None;
        loop {
            let reads = stop_at.is_none() && flow.may_read();
            if !reads && flow.under_way.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = cancel.cancelled(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + GRACE);
                }
                Some((place, came)) = flow.under_way.next() => match came {
                    Came::Known(next) => {
                        for next in std::iter::once(*next).chain(flow.queue.known(&place)) {
                            let place = self.trunk_of(&next.0).unwrap_or_else(nowhere);
                            let goes = flow.queue.admit(&place, next);
                            flow.under_way.extend(goes.map(|next| self.step(place, next)));
                        }
                    }
                    Came::Ended(ended) => {
                        course.ended(ended)?;
                        if stop_at.is_none() {
                            let goes = flow.queue.ended(&place);
                            flow.under_way.extend(goes.map(|next| self.step(place, next)));
                        }
                    }
                },
                () = passed(stop_at) => return Ok(()),
                () = tokio::task::yield_now(), if reads => {
                    for _ in 0..AT_ONCE {
                        if !flow.may_read() {
                            break;
                        }
                        match course.next()? {
                            Step::Next(next) => {
                                let place = self.place_of(&next.0);
                                let goes = flow.queue.admit(&place, *next);
                                flow.under_way.extend(goes.map(|next| self.step(place, next)));
                            }
                            Step::Earlier => {}
                            Step::End => flow.all_read = true,
                        }
                    }
                }
            }
        }
    }

    /// Finds out what a caller's entries wait for, or brings an entry to its end.
    async fn step(&self, place: Place, (entry, earlier): Next) -> (Place, Came) {
        let came = match &place {
            Place::Caller(caller) => {
                // What there is to say of it, its own end will say.
                let _ = self.answer(*caller).await;
                Came::Known(Box::new((entry, earlier)))
            }
            Place::Trunk(_) => Came::Ended(self.entry(entry, earlier).await),
        };
        (place, came)
    }

    /// Whose turns an entry waits for.
    fn place_of(&self, entry: &Entry) -> Place {
        let known = || entry.request.as_ref().map(|request| Place::Caller(request.caller));
        self.trunk_of(entry).or_else(|| known().ok()).unwrap_or_else(nowhere)
    }

    /// The trunk of an entry, if it is in memory for whom it is.
    fn trunk_of(&self, entry: &Entry) -> Option<Place> {
        let caller = entry.request.as_ref().ok()?.caller;
        let answer = self.batch.dispatcher.resolver.peek(caller)?;
        let trunk = answer.trunk_id().unwrap_or_default();
        Some(Place::Trunk(format!("{} {} {trunk}", answer.url(), answer.api_key()).into()))
    }

    /// The credentials of a caller: from memory, whatever the database does, else when it may be
    /// asked.
    async fn answer(&self, caller: Caller) -> Result<Result<Resolution, ResolveError>, GivenUp> {
        let resolver = &self.batch.dispatcher.resolver;
        match resolver.try_resolve(caller) {
            Some(answer) => Ok(answer),
            None => self.pace.ask(resolver.resolve(caller)).await,
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
        let noted = matches!(earlier, Some(State::AboutToDial(_)));
        if let Some(State::AboutToDial(begun) | State::Undone(begun)) = earlier {
            if let Some(ended) = self.look_into(key, &request, &begun, noted).await {
                return ended;
            }
            (request.room, request.again) = (Some(begun.room), true);
        }
        self.place(key, request, noted).await
    }

    /// What became of an entry that was about to be dialled. `None`: it was not. `noted`: else that
    /// there is no room any more leaves it in doubt.
    async fn look_into(
        &self,
        key: Key,
        request: &CallRequest,
        Begun { room, config, engine }: &Begun,
        noted: bool,
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
        let call = Call::new(room, *config);
        let result = match self.batch.dispatcher.look_into(&call).await {
            // What the journal says of it stays as it is, for a later run to look again.
            Err(why) => {
                let why = format!("it may have been dialled; its server: {why}");
                return Some(Ended::Left(Some(result(Outcome::HeldBack, &why, None))));
            }
            Ok(Trace::NoAgent) => return None,
            Ok(Trace::NoRoom) if !noted => return None,
            Ok(Trace::NoRoom) => {
                let why = "it may have been dialled, and the room or its config is gone";
                result(Outcome::InDoubt, why, None)
            }
            Ok(Trace::Agent { .. }) if *engine => {
                let why = "the agent was sent, and it may have been dialled";
                result(Outcome::InDoubt, why, None)
            }
            Ok(Trace::Agent { id }) => result(Outcome::Placed, "the agent had been sent", Some(id)),
        };
        Some(self.end(key, result).await)
    }

    /// Places a call, again if nothing was dialled and that may help. `noted`: the journal says that
    /// it is about to be dialled.
    async fn place(&self, key: Key, mut request: CallRequest, mut noted: bool) -> Ended {
        let Batch { dispatcher, limits, cancel, .. } = self.batch;
        let mut tries = 0;
        loop {
            tries += 1;
            let held_back = |why: &str| {
                dispatcher.counted.outcome(Outcome::HeldBack);
                let mut result = whose(key.0, &request);
                result["outcome"] = json!(Outcome::HeldBack);
                result["message"] = json!(why);
                Some(result)
            };
            let ready = self.ready(&request);
            let (answer, leave) = tokio::select! {
                biased;
                () = cancel.cancelled() => return self.left(key, noted, None).await,
                ready = ready => match ready {
                    Ok(ready) => ready,
                    Err(GivenUp(what)) => {
                        let why = format!("{what} failed for too long");
                        return self.left(key, noted, held_back(&why)).await;
                    }
                },
            };
            let note = Note::new(self, key, noted);
            let report = dispatcher.call_noted(&request, answer, &note).await;
            match note.into_noted() {
                Noted::No => {}
                Noted::Yes => noted = true,
                Noted::Stopped { before } => return self.left(key, before, None).await,
                Noted::Failed(error) => return Ended::Failed(error),
            }
            if let Some(leave) = leave {
                leave.ended(report.outcome);
            }
            if report.may_retry && tries <= limits.retries {
                request.again = noted;
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

    /// Waits until a call may be placed, with what its caller is answered by then: the number may have
    /// moved, or been forbidden to call, while it waited. No leave: it would not be tried.
    async fn ready(
        &self,
        request: &CallRequest,
    ) -> Result<(Option<Resolution>, Option<Leave>), GivenUp> {
        let dispatcher = self.batch.dispatcher;
        let place = |answer: &Resolution| {
            let texts =
                [answer.url().as_str(), answer.api_key(), answer.trunk_id().unwrap_or_default()];
            texts.map(ToOwned::to_owned)
        };
        loop {
            let Ok(answer) = self.answer(request.caller).await? else { return Ok((None, None)) };
            // What is not dialled takes nobody's turn.
            if !dispatcher.would_try(request, &answer) {
                return Ok((Some(answer), None));
            }
            let leave = self.pace.leave(&answer).await?;
            let Ok(newer) = self.answer(request.caller).await? else { return Ok((None, None)) };
            if place(&newer) == place(&answer) {
                return Ok((Some(newer), Some(leave)));
            }
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

/// What a step came to.
enum Came {
    /// It is known what the entries of its caller wait for.
    Known(Box<Next>),
    /// The entry has ended.
    Ended(Ended),
}

/// Where entries wait that wait for nobody.
fn nowhere() -> Place {
    Place::Trunk("".into())
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
    noted: Mutex<Noted>,
}

/// What became of writing an entry down.
enum Noted {
    /// The journal does not say that it is about to be dialled.
    No,
    /// The journal says so.
    Yes,
    /// The batch is to stop, so it was not dialled. Whether the journal says otherwise.
    Stopped { before: bool },
    /// The journal failed.
    Failed(io::Error),
}

impl<'a> Note<'a> {
    /// `before`: whether the journal says by now that it is about to be dialled.
    fn new(run: &Run<'a>, key: Key, before: bool) -> Self {
        let Batch { dial, cancel, .. } = run.batch;
        let noted = Mutex::new(if before { Noted::Yes } else { Noted::No });
        Self { pen: run.pen, key, engine: *dial != Dial::Agent, cancel, noted }
    }

    fn set(&self, now: Noted) -> Noted {
        std::mem::replace(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    fn into_noted(self) -> Noted {
        self.noted.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Note<'_> {
    async fn about_to_dial(&self, room: &str, config: Option<ConfigId>) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            let before = matches!(self.set(Noted::No), Noted::Yes);
            self.set(Noted::Stopped { before });
            return Err(io::Error::other("the batch is cancelled"));
        }
        match self.pen.about_to_dial(self.key, room, config, self.engine).await {
            Ok(()) => {
                self.set(Noted::Yes);
                Ok(())
            }
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.set(Noted::Failed(error));
                Err(told)
            }
        }
    }
}

/// Ends at this time, if there is one.
async fn passed(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How many entries are under way at the most, waiting for their trunk's turn included.
const WINDOW: usize = 1024;
/// How many entries are read before those that are under way are looked at again.
const AT_ONCE: usize = 16;
/// How long those that are being dialled may take to end once the batch is cancelled.
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait before the second try; then twice, three times as long.
const BEFORE_RETRY: Duration = Duration::from_millis(500);
