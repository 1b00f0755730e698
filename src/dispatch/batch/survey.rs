//! Reads the entries of a batch ahead of its calls, and finds out what each would do by the
//! settings and the database as they are now.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;

use super::{Batch, BatchError, Entries, Entry};
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::dispatch::{Outcome, Report};
use crate::number::{Caller, E164};
use crate::reason::Reason;

/// What an entry would come to.
pub(super) struct Outlook {
    pub(super) answer: CallerAnswer,
    /// As [`Dispatcher::rehearse`](crate::dispatch::Dispatcher::rehearse) tells it.
    pub(super) report: Report,
}

/// The credentials of a caller, or why there are none.
pub(super) type CallerAnswer = Result<Resolution, ResolveError>;

impl Outlook {
    /// Whom it would call.
    pub(super) fn person(&self) -> Option<E164> {
        let routing = self.report.routing.as_ref()?;
        let called = self.report.outcome == Outcome::Placed;
        routing.verdict.as_ref().ok().filter(|_| called).map(|dialled| dialled.e164)
    }

    /// Why the database did not answer, where it did not.
    pub(super) fn reason(&self) -> Option<Reason> {
        reason(&self.answer)
    }
}

impl Batch<'_> {
    /// Reads entries to their end, or until the batch is cancelled, and tells of each what it would
    /// come to; of those that cannot be read, nothing.
    pub(super) async fn survey(
        &self,
        mut entries: Entries,
        mut see: impl FnMut(&Entry, Option<Outlook>) -> Result<(), BatchError>,
    ) -> Result<(), BatchError> {
        let mut away = None;
        while !self.stop.is_cancelled() {
            let some: Vec<_> = entries.by_ref().take(AT_ONCE).collect::<Result<_, _>>()?;
            if some.is_empty() {
                break;
            }
            let answers = self.answers(&some, &mut away).await;
            for entry in &some {
                let outlook = entry.request.as_ref().ok().and_then(|request| {
                    let answer = answers.get(&request.caller)?.clone();
                    let mut request = request.clone();
                    request.dial = self.dial;
                    request.phone = self.phone.clone();
                    if request.job.is_empty() {
                        "later".clone_into(&mut request.job);
                    }
                    let report = self.dispatcher.rehearse_with(&request, answer.clone()).0;
                    Some(Outlook { answer, report })
                });
                see(entry, outlook)?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The credentials of the callers of some entries. A database that is away is asked once: who is
    /// not in memory is told the same as the first one then.
    async fn answers(
        &self,
        entries: &[Entry],
        away: &mut Option<CallerAnswer>,
    ) -> HashMap<Caller, CallerAnswer> {
        let resolver = &self.dispatcher.resolver;
        let callers = entries.iter().filter_map(|entry| Some(entry.request.as_ref().ok()?.caller));
        let callers: HashSet<_> = callers.collect();
        let mut answers = HashMap::with_capacity(callers.len());
        let mut cold = Vec::new();
        for caller in callers {
            match (resolver.try_resolve(caller), &away) {
                (Some(answer), _) => drop(answers.insert(caller, answer)),
                (None, Some(away)) => drop(answers.insert(caller, away.clone())),
                (None, None) => cold.push(caller),
            }
        }
        let asked = cold.iter().map(async |caller| (*caller, resolver.resolve(*caller).await));
        for (caller, answer) in join_all(asked).await {
            if reason(&answer).is_some_and(Reason::is_recoverable) {
                *away = Some(answer.clone());
            }
            answers.insert(caller, answer);
        }
        answers
    }
}

fn reason(answer: &CallerAnswer) -> Option<Reason> {
    match answer {
        Ok(answer) => answer.reason(),
        Err(error) => error.reason(),
    }
}

/// How many entries are looked at together: their callers are asked for in one go.
const AT_ONCE: usize = 256;
