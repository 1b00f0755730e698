//! One run of a batch: which entries go when, and what becomes of each.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::dial_recorder::{DialRecorder, Recorded};
use super::digest::hash;
use super::journal::{JournalState, JournalWriter};
use super::pace::{CallPermit, GivenUp, Pace};
use super::persons::{self, Persons};
use super::queue::{Next, Queue, QueueKey};
use super::record::EntryKey;
use super::result::{duplicate, held_back, result};
use super::{Batch, BatchError, Entry, EntryEnd, PendingRow, Progress, ReadAhead};
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::dispatch::trunk_key::{AccountKey, TrunkKey};
use crate::dispatch::{Again, CallRequest, Outcome, Report};
use crate::number::{Caller, E164};

/// What the entries of a run share.
pub(super) struct Run<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) name: &'a str,
    pub(super) journal: &'a JournalWriter,
    pub(super) pace: &'a Pace,
    pub(super) persons: &'a Persons,
}

/// Whether an entry goes, and by which credentials.
enum Ready {
    /// It may call this person.
    Goes { answer: Resolution, permit: CallPermit, to: E164 },
    /// It is refused, for what its answer says or for want of one. That takes nobody's turn.
    Refused(Option<Resolution>),
    /// The entry of this line calls the same person, and may be left.
    Twice { first: u64, left: bool },
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
    pub(super) async fn go(&self, progress: &mut Progress<'_>) -> Result<(), BatchError> {
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
                Some((place, end)) = flow.under_way.next() => match end {
                    Stepped::Known(next) => {
                        for next in std::iter::once(*next).chain(flow.queue.known(&place)) {
                            let place = self.trunk_of(&next.0).unwrap_or(QueueKey::Untried);
                            let goes = flow.queue.admit(&place, next);
                            flow.under_way.extend(goes.map(|next| self.step(place, next)));
                        }
                    }
                    Stepped::Ended(row, ended) => {
                        progress.ended(&row, ended)?;
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
                        match progress.next()? {
                            ReadAhead::Next(next) => {
                                let place = self.place_of(&next.0);
                                let goes = flow.queue.admit(&place, *next);
                                flow.under_way.extend(goes.map(|next| self.step(place, next)));
                            }
                            ReadAhead::Earlier => {}
                            ReadAhead::End => flow.all_read = true,
                        }
                    }
                }
            }
        }
    }

    /// Finds out what a caller's entries wait for, or brings an entry to its end.
    async fn step(&self, place: QueueKey, (mut entry, earlier): Next) -> (QueueKey, Stepped) {
        let stepped = match &place {
            QueueKey::Caller(caller) => {
                // What there is to say of it, its own end will say.
                let _ = self.answer(*caller).await;
                Stepped::Known(Box::new((entry, earlier)))
            }
            QueueKey::Trunk(_) | QueueKey::Untried => {
                let (line, row) = (entry.line, PendingRow::of(&mut entry));
                let ended = self.entry(entry, earlier).await;
                self.persons.ended(line, matches!(ended, EntryEnd::Left(_)));
                Stepped::Ended(row, ended)
            }
        };
        (place, stepped)
    }

    /// Whose turns an entry waits for.
    fn place_of(&self, entry: &Entry) -> QueueKey {
        let known = || entry.request.as_ref().map(|request| QueueKey::Caller(request.caller));
        self.trunk_of(entry).or_else(|| known().ok()).unwrap_or(QueueKey::Untried)
    }

    /// The trunk of an entry, if it is in memory for whom it is.
    fn trunk_of(&self, entry: &Entry) -> Option<QueueKey> {
        let caller = entry.request.as_ref().ok()?.caller;
        let answer = self.batch.dispatcher.resolver.peek(caller)?;
        Some(QueueKey::Trunk(TrunkKey::of(&answer)))
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
    async fn entry(&self, entry: Entry, earlier: Option<JournalState>) -> EntryEnd {
        let Entry { line, request, attempts, digest, .. } = entry;
        let key = (line, digest);
        let mut request = match request {
            Ok(request) => request,
            Err(wrong) => {
                self.batch.dispatcher.metrics.outcome(Outcome::Invalid);
                let result = json!({"line": line, "outcome": Outcome::Invalid, "message": wrong});
                return EntryEnd::Left(Some(result));
            }
        };
        request.dial = self.batch.dial;
        request.confirm_agent = self.batch.confirm_agent;
        request.phone = self.batch.phone.clone();
        request.keep_headers = self.batch.keep_headers;
        if request.job.is_empty() {
            request.job = format!("{}-{line}", self.name);
        }
        // The same in every run of this batch, so that none leaves a room behind for another one.
        let chance = hash(&format!("{} {line} {digest:016x}", self.name));
        request.room = Some(request.room_with(&format!("{chance:016x}")));
        let recorded = matches!(earlier, Some(JournalState::AboutToDial(_)));
        if let Some(JournalState::AboutToDial(begun) | JournalState::Undone(begun)) = earlier {
            if let Some(ended) = self.look_into(key, &request, &begun, recorded).await {
                return ended;
            }
            (request.room, request.again) = (Some(begun.room), true);
        }
        self.place(key, request, attempts, recorded).await
    }

    /// Places a call, again if nothing was dialled and that may help. `attempts`: how often it was
    /// tried before. `recorded`: the journal says that it is about to be dialled.
    async fn place(
        &self,
        key: EntryKey,
        mut request: CallRequest,
        mut attempts: u64,
        mut recorded: bool,
    ) -> EntryEnd {
        let Batch { dispatcher, limits, stop, .. } = self.batch;
        let mut tries = 0;
        loop {
            attempts += 1;
            let ready = self.ready(&request, key.0);
            let ready = tokio::select! {
                biased;
                () = stop.cancelled() => return self.left(key, recorded, None).await,
                ready = ready => match ready {
                    Ok(ready) => ready,
                    Err(GivenUp(what)) => {
                        dispatcher.metrics.outcome(Outcome::HeldBack);
                        let result = held_back(key.0, &request, what);
                        return self.left(key, recorded, Some(result)).await;
                    }
                },
            };
            let (answer, permit, to) = match ready {
                Ready::Goes { answer, permit, to } => (Some(answer), Some(permit), Some(to)),
                Ready::Refused(answer) => (answer, None, None),
                Ready::Twice { first, left } => {
                    dispatcher.metrics.outcome(Outcome::Duplicate);
                    let result = duplicate(key.0, &request, first, left);
                    return if left {
                        self.left(key, recorded, Some(result)).await
                    } else {
                        self.end(key, result).await
                    };
                }
            };
            let whom = (request.caller, to);
            let with = (self.journal, self.persons);
            let note = DialRecorder::new(self.batch, with, key, whom, recorded, permit.as_ref());
            let report = self.placed(&request, answer, &note).await;
            match note.into_recorded() {
                Recorded::No => {}
                Recorded::Yes => recorded = true,
                Recorded::Stopped { before } => return self.left(key, before, None).await,
                Recorded::Moved { before } => {
                    (recorded, request.again) = (before, before);
                    attempts -= 1;
                    continue;
                }
                Recorded::Failed(error) => return EntryEnd::Failed(error),
            }
            let Some(report) = report else { return EntryEnd::Left(None) };
            if let Some(wait) = permit.and_then(|permit| permit.ended(&report)) {
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
                    dispatcher.metrics.ended(&report);
                    let result = result(key, &request, &report, attempts);
                    // No phone rang: a later run tries it again.
                    return if report.again != Again::Never || report.must_be_corrected() {
                        self.left(key, recorded, Some(result)).await
                    } else {
                        self.end(key, result).await
                    };
                }
            };
            request.again = recorded;
            tokio::select! {
                () = stop.cancelled() => {
                    dispatcher.metrics.ended(&report);
                    let result = result(key, &request, &report, attempts);
                    return self.left(key, recorded, Some(result)).await;
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
        note: &DialRecorder<'_>,
    ) -> Option<Report> {
        let Batch { dispatcher, end, .. } = self.batch;
        let mut placing = std::pin::pin!(dispatcher.call_with_gate(request, answer, note));
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

    /// Waits until a call may be placed, with what its caller is answered by then: the number may have
    /// moved, or been forbidden to call, while it waited.
    async fn ready(&self, request: &CallRequest, line: u64) -> Result<Ready, GivenUp> {
        let Batch { dispatcher, limits, .. } = self.batch;
        let place = |answer: &Resolution| (AccountKey::of(answer), TrunkKey::of(answer));
        loop {
            let Ok(answer) = self.answer(request.caller).await? else {
                return Ok(Ready::Refused(None));
            };
            let Some(to) = dispatcher.would_call(request, &answer) else {
                return Ok(Ready::Refused(Some(answer)));
            };
            if !limits.allow_duplicates
                && let Some(twice) = self.twice(request.caller, to, line).await
            {
                return Ok(twice);
            }
            let permit = self.pace.permit(&dispatcher.livekit, &answer).await?;
            let Ok(newer) = self.answer(request.caller).await? else {
                return Ok(Ready::Refused(None));
            };
            let still = dispatcher.would_call(request, &newer) == Some(to);
            if still && place(&newer) == place(&answer) {
                return Ok(Ready::Goes { answer: newer, permit, to });
            }
        }
    }

    /// Waits until it is known whether another entry has called a person; none: this one may.
    async fn twice(&self, caller: Caller, to: E164, line: u64) -> Option<Ready> {
        loop {
            let (first, left) = match self.persons.ask(caller, to, line) {
                persons::Permission::Granted => return None,
                persons::Permission::Called(first) => (first, false),
                persons::Permission::Left(first) => (first, true),
                persons::Permission::Waits(first) => {
                    self.persons.end_of(first).await;
                    continue;
                }
            };
            return Some(Ready::Twice { first, left });
        }
    }

    /// Leaves an entry that was not dialled to a later run.
    pub(super) async fn left(
        &self,
        key: EntryKey,
        recorded: bool,
        result: Option<Value>,
    ) -> EntryEnd {
        if recorded && let Err(error) = self.journal.undone(key).await {
            return EntryEnd::Failed(error);
        }
        EntryEnd::Left(result)
    }

    pub(super) async fn end(&self, key: EntryKey, result: Value) -> EntryEnd {
        match self.journal.done(key, &result).await {
            Ok(()) => EntryEnd::Done(result),
            Err(error) => EntryEnd::Failed(error),
        }
    }
}

/// What a step came to.
enum Stepped {
    /// It is known what the entries of its caller wait for.
    Known(Box<Next>),
    /// The entry has ended.
    Ended(PendingRow, EntryEnd),
}

/// How many entries are under way at the most, waiting for their trunk's turn included.
const WINDOW: usize = 1024;
/// How many entries are read before those that are under way are looked at again.
const AT_ONCE: usize = 16;
/// How long a call that is ended while it rings may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait before the second try; then twice, three times as long.
const BEFORE_RETRY: Duration = Duration::from_millis(500);
