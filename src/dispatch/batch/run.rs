//! One run of a batch: which entries go when, and what becomes of each.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::entry::hash;
use super::journal::{Key, Pen, State};
use super::note::{Note, Noted};
use super::pace::{GivenUp, Leave, Pace};
use super::queue::{Next, Place, Queue};
use super::{Batch, BatchError, Course, Ended, Entry, Step};
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::dispatch::trunk_key::{AccountKey, TrunkKey};
use crate::dispatch::{Again, CallRequest, Outcome, Report};
use crate::number::Caller;

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
        let Batch { stop, limits, .. } = self.batch;
        let window = WINDOW.max(limits.concurrency.saturating_mul(2));
        let (queue, under_way) = (Queue::new(limits.concurrency), FuturesUnordered::new());
        let mut flow = Flow { queue, under_way, window, all_read: false };
        let mut stopped = false;
        loop {
            let reads = !stopped && flow.may_read();
            if !reads && flow.under_way.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                // Those that are being dialled are brought to their end.
                () = stop.cancelled(), if !stopped => stopped = true,
                Some((place, came)) = flow.under_way.next() => match came {
                    Came::Known(next) => {
                        for next in std::iter::once(*next).chain(flow.queue.known(&place)) {
                            let place = self.trunk_of(&next.0).unwrap_or(Place::Nowhere);
                            let goes = flow.queue.admit(&place, next);
                            flow.under_way.extend(goes.map(|next| self.step(place, next)));
                        }
                    }
                    Came::Ended(ended) => {
                        course.ended(ended)?;
                        if !stopped {
                            let goes = flow.queue.ended(&place);
                            flow.under_way.extend(goes.map(|next| self.step(place, next)));
                        }
                    }
                },
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
            Place::Trunk(_) | Place::Nowhere => Came::Ended(self.entry(entry, earlier).await),
        };
        (place, came)
    }

    /// Whose turns an entry waits for.
    fn place_of(&self, entry: &Entry) -> Place {
        let known = || entry.request.as_ref().map(|request| Place::Caller(request.caller));
        self.trunk_of(entry).or_else(|| known().ok()).unwrap_or(Place::Nowhere)
    }

    /// The trunk of an entry, if it is in memory for whom it is.
    fn trunk_of(&self, entry: &Entry) -> Option<Place> {
        let caller = entry.request.as_ref().ok()?.caller;
        let answer = self.batch.dispatcher.resolver.peek(caller)?;
        Some(Place::Trunk(TrunkKey::of(&answer)))
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
        request.confirm_agent = self.batch.confirm_agent;
        request.phone = self.batch.phone.clone();
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

    /// Places a call, again if nothing was dialled and that may help. `noted`: the journal says that
    /// it is about to be dialled.
    async fn place(&self, key: Key, mut request: CallRequest, mut noted: bool) -> Ended {
        let Batch { dispatcher, limits, stop, .. } = self.batch;
        let (mut attempts, mut tries) = (0, 0);
        loop {
            attempts += 1;
            let ready = self.ready(&request);
            let (answer, leave) = tokio::select! {
                biased;
                () = stop.cancelled() => return self.left(key, noted, None).await,
                ready = ready => match ready {
                    Ok(ready) => ready,
                    Err(GivenUp(what)) => {
                        let held_back = self.held_back(key, &request, what);
                        return self.left(key, noted, Some(held_back)).await;
                    }
                },
            };
            let note = Note::new(self.batch, self.pen, key, noted, leave.as_ref());
            let report = self.placed(&request, answer, &note).await;
            match note.into_noted() {
                Noted::No => {}
                Noted::Yes => noted = true,
                Noted::Stopped { before } => return self.left(key, before, None).await,
                Noted::Failed(error) => return Ended::Failed(error),
            }
            let Some(report) = report else { return Ended::Left(None) };
            if let Some(wait) = leave.and_then(|leave| leave.ended(&report)) {
                let why = report.message.as_deref().unwrap_or_default();
                tracing::warn!(wait_s = wait.as_secs(), why, "a trunk is at its limit: it waits");
            }
            let wait = match report.again {
                // Its turn comes when there is room again.
                Again::AtLimit => Duration::ZERO,
                Again::Soon if tries < limits.retries => {
                    tries += 1;
                    BEFORE_RETRY * tries
                }
                _ => {
                    dispatcher.counted.ended(&report);
                    let result = result(key, &request, &report, attempts);
                    return match report.again {
                        Again::Never => self.end(key, result).await,
                        // No phone rang: a later run tries it again.
                        _ => self.left(key, noted, Some(result)).await,
                    };
                }
            };
            request.again = noted;
            tokio::select! {
                () = stop.cancelled() => {
                    dispatcher.counted.ended(&report);
                    let result = result(key, &request, &report, attempts);
                    return self.left(key, noted, Some(result)).await;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Places a call once. If it is to end while it rings, its room is closed. `None`: nobody can say
    /// what became of it then; the journal knows that it was about to be dialled.
    async fn placed(
        &self,
        request: &CallRequest,
        answer: Option<Resolution>,
        note: &Note<'_>,
    ) -> Option<Report> {
        let Batch { dispatcher, end, .. } = self.batch;
        let mut placing = std::pin::pin!(dispatcher.call_noted(request, answer, note));
        tokio::select! {
            biased;
            report = &mut placing => return Some(report),
            () = end.cancelled() => {}
        }
        let ending = async {
            if let Some(call) = note.dialled() {
                // That it is not there is as well.
                let _ = dispatcher.hang_up(&call).await;
            }
            std::future::pending().await
        };
        let ended = async {
            tokio::select! {
                report = placing => report,
                never = ending => never,
            }
        };
        tokio::time::timeout(GRACE, ended).await.ok()
    }

    /// What is told of an entry that was not tried, since its place was given up.
    fn held_back(&self, key: Key, request: &CallRequest, what: &str) -> Value {
        self.batch.dispatcher.counted.outcome(Outcome::HeldBack);
        let mut result = whose(key.0, request);
        result["outcome"] = json!(Outcome::HeldBack);
        result["message"] = json!(format!("{what} failed for too long"));
        result
    }

    /// Waits until a call may be placed, with what its caller is answered by then: the number may have
    /// moved, or been forbidden to call, while it waited. No leave: it would not be tried.
    async fn ready(
        &self,
        request: &CallRequest,
    ) -> Result<(Option<Resolution>, Option<Leave>), GivenUp> {
        let dispatcher = self.batch.dispatcher;
        let place = |answer: &Resolution| (AccountKey::of(answer), TrunkKey::of(answer));
        loop {
            let Ok(answer) = self.answer(request.caller).await? else { return Ok((None, None)) };
            // What is not dialled takes nobody's turn.
            if !dispatcher.would_try(request, &answer) {
                return Ok((Some(answer), None));
            }
            let leave = self.pace.leave(&dispatcher.livekit, &answer).await?;
            let Ok(newer) = self.answer(request.caller).await? else { return Ok((None, None)) };
            if place(&newer) == place(&answer) {
                return Ok((Some(newer), Some(leave)));
            }
        }
    }

    /// Leaves an entry that was not dialled to a later run.
    pub(super) async fn left(&self, key: Key, noted: bool, result: Option<Value>) -> Ended {
        if noted && let Err(error) = self.pen.undone(key).await {
            return Ended::Failed(error);
        }
        Ended::Left(result)
    }

    pub(super) async fn end(&self, key: Key, result: Value) -> Ended {
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

/// What is told of a call that was tried.
fn result(key: Key, request: &CallRequest, report: &Report, attempts: u32) -> Value {
    let mut result = whose(key.0, request);
    if let (Value::Object(result), Ok(Value::Object(report))) =
        (&mut result, serde_json::to_value(report))
    {
        result.extend(report);
    }
    result["attempts"] = json!(attempts);
    result
}

/// The members that say whose result it is.
pub(super) fn whose(line: u64, request: &CallRequest) -> Value {
    json!({
        "line": line,
        "job_id": request.job,
        "tenant_id": request.caller.tenant,
        "from": request.caller.number,
        "to": request.to,
    })
}

/// How many entries are under way at the most, waiting for their trunk's turn included.
const WINDOW: usize = 1024;
/// How many entries are read before those that are under way are looked at again.
const AT_ONCE: usize = 16;
/// How long a call that is ended while it rings may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait before the second try; then twice, three times as long.
const BEFORE_RETRY: Duration = Duration::from_millis(500);
