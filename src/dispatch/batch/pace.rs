//! How fast a batch goes: calls a second over each trunk, calls at once on each server, and no calls
//! at all for a while where one after the other fails.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::super::Outcome;
use crate::answer::ResolveError;
use crate::cache::Resolution;

/// The limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How many calls are placed at once on one server, from 1.
    pub concurrency: usize,
    /// How many calls a second go over one trunk; 0 is as many as come.
    pub calls_per_second: f64,
    /// How often an entry is tried again after nothing was dialled for it and trying may help.
    pub retries: u32,
    /// How long a trunk or a server is left alone after five failures in a row. Twice as long after
    /// a trial that fails as well, and so on; after four of them the batch goes on without it.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 16, calls_per_second: 10.0, retries: 2, pause: Duration::from_secs(2) }
    }
}

/// The servers and trunks of a batch.
pub(super) struct Pace {
    limits: Limits,
    /// Of the database that credentials come from.
    database: Mutex<Breaker>,
    servers: Places<Server, Arc<Semaphore>>,
    trunks: Places<Trunk, ()>,
}

type Server = (Box<str>, Box<str>);
type Trunk = (Server, Option<Box<str>>);

/// What is kept of each place.
struct Places<K, T>(Mutex<HashMap<K, Arc<Place<T>>>>);

struct Place<T> {
    /// From when on the next call may go. Held by the one whose turn it is.
    turn: tokio::sync::Mutex<Instant>,
    breaker: Mutex<Breaker>,
    more: T,
}

/// Leave to place one call, and who is told what became of it.
pub(super) struct Leave {
    server: Arc<Place<Arc<Semaphore>>>,
    trunk: Arc<Place<()>>,
    pause: Duration,
    /// Whether it is to find out if the server, and the trunk, work again.
    server_trial: bool,
    trunk_trial: bool,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Leave {
    /// A call that told nothing of a place leaves its trial to the next one.
    fn drop(&mut self) {
        self.trunk.lock().undecided(self.trunk_trial);
        self.server.lock().undecided(self.server_trial);
    }
}

/// A place has failed for so long that the batch goes on without it: which one.
pub(super) struct GivenUp(pub(super) &'static str);

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            database: Mutex::default(),
            servers: Places::default(),
            trunks: Places::default(),
        }
    }

    /// Waits until a call may be placed with these credentials.
    ///
    /// Calls over one trunk take turns: the first of them waits for its second, its server's breaker
    /// and a place on the server, the others for it. So a trunk that is slow holds up no other.
    pub(super) async fn leave(&self, answer: &Resolution) -> Result<Leave, GivenUp> {
        let server = (answer.url().as_str().into(), answer.api_key().into());
        let trunk = (server, answer.trunk_id().map(Into::into));
        let concurrency = self.limits.concurrency.max(1);
        let server = self.servers.of(&trunk.0, || Arc::new(Semaphore::new(concurrency)));
        let trunk = self.trunks.of(&trunk, || ());
        let closed = || {
            let trunk = trunk.lock().closed_until().ok_or(GivenUp("its trunk"))?;
            let server = server.lock().closed_until().ok_or(GivenUp("its server"))?;
            Ok(trunk.max(server))
        };
        let mut next = trunk.turn.lock().await;
        let permit = loop {
            tokio::time::sleep_until(*next).await;
            if let Some(until) = closed()? {
                tokio::time::sleep_until(until).await;
                continue;
            }
            let permit = Arc::clone(&server.more).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            // It may have been a long wait.
            if closed()?.is_none() {
                break permit;
            }
        };
        if self.limits.calls_per_second > 0.0 {
            let apart = Duration::try_from_secs_f64(1.0 / self.limits.calls_per_second);
            let apart = apart.unwrap_or(A_YEAR).min(A_YEAR);
            let now = Instant::now();
            // A timer that was late is made up for; a pause is not.
            *next = (*next).max(now - LATE.min(now.duration_since(*next))) + apart;
        }
        let (trunk_trial, server_trial) = (trunk.lock().try_now(), server.lock().try_now());
        drop(next);
        let pause = self.limits.pause;
        Ok(Leave { server, trunk, pause, server_trial, trunk_trial, _permit: permit })
    }

    /// Waits until the database may be asked, and asks.
    pub(super) async fn ask<T>(
        &self,
        asking: impl Future<Output = Result<T, ResolveError>>,
    ) -> Result<Result<T, ResolveError>, GivenUp> {
        let lock = || self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = loop {
            let until = {
                let mut database = lock();
                match database.closed_until().ok_or(GivenUp("the database"))? {
                    None => break database.try_now(),
                    Some(until) => until,
                }
            };
            tokio::time::sleep_until(until).await;
        };
        let answer = asking.await;
        match &answer {
            Err(error) if error.is_temporary() => lock().failed(self.limits.pause, trial),
            _ => lock().worked(),
        }
        Ok(answer)
    }
}

impl Leave {
    /// Tells the breakers what became of the call. A dial in doubt counts against the server: it can
    /// never be repeated, so no more are to come to that.
    pub(super) fn ended(self, outcome: Outcome) {
        match outcome {
            Outcome::CarrierTrouble | Outcome::TrunkUnknown => {
                self.trunk.lock().failed(self.pause, self.trunk_trial);
                self.server.lock().worked();
            }
            Outcome::Unreachable
            | Outcome::CredentialsRefused
            | Outcome::NoSipService
            | Outcome::Rejected
            | Outcome::InDoubt => self.server.lock().failed(self.pause, self.server_trial),
            Outcome::Placed
            | Outcome::Busy
            | Outcome::Declined
            | Outcome::NoAnswer
            | Outcome::NumberUnknown => {
                self.trunk.lock().worked();
                self.server.lock().worked();
            }
            // These say nothing of either.
            _ => {}
        }
    }
}

impl<K: Clone + Eq + Hash, T> Places<K, T> {
    fn of(&self, key: &K, new: impl FnOnce() -> T) -> Arc<Place<T>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(key.clone()).or_insert_with(|| {
            let turn = tokio::sync::Mutex::new(Instant::now());
            Arc::new(Place { turn, breaker: Mutex::default(), more: new() })
        });
        Arc::clone(place)
    }
}

impl<K, T> Default for Places<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Place<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops calls to a place where [`FAILURES`] in a row have failed. After a while one call may try;
/// if that fails as well, the while is twice as long, and after [`TRIALS`] of them it is given up.
#[derive(Default)]
struct Breaker {
    failures: u32,
    trials: u32,
    /// Set while it is open.
    open_until: Option<Instant>,
    /// Whether a call is out that is to find out.
    trying: bool,
}

impl Breaker {
    /// Until when no call may go; an inner `None`: one may, an outer one: none will any more.
    #[expect(clippy::option_option, reason = "two questions, asked at once")]
    fn closed_until(&self) -> Option<Option<Instant>> {
        if self.trials >= TRIALS {
            return None;
        }
        let Some(until) = self.open_until else { return Some(None) };
        let now = Instant::now();
        // While one tries, the others look again in a moment.
        let until = if self.trying { until.max(now + LOOK_AGAIN) } else { until };
        Some((until > now).then_some(until))
    }

    /// One goes. Whether it is a trial.
    fn try_now(&mut self) -> bool {
        self.trying = self.open_until.is_some();
        self.trying
    }

    fn worked(&mut self) {
        *self = Self::default();
    }

    /// A trial has said nothing: the next one may try.
    fn undecided(&mut self, trial: bool) {
        self.trying &= !trial;
    }

    fn failed(&mut self, pause: Duration, trial: bool) {
        self.undecided(trial);
        self.failures += 1;
        if self.failures < FAILURES {
            return;
        }
        // Those that were under way when it opened say nothing new.
        if self.open_until.is_none() || trial {
            self.trials += u32::from(trial);
            self.open_until = Some(Instant::now() + pause * 2_u32.pow(self.trials));
        }
    }
}

/// How many failures in a row open a breaker.
const FAILURES: u32 = 5;
/// How many trials may fail before a place is given up: by default after half a minute in all.
const TRIALS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How much of a delay is made up for.
const LATE: Duration = Duration::from_millis(20);
/// The longest time between two calls.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_tries_and_gives_up() {
        let mut breaker = Breaker::default();
        let wait =
            |breaker: &Breaker| breaker.closed_until().unwrap().map(|until| until - Instant::now());
        for _ in 0..FAILURES - 1 {
            breaker.failed(OPEN, false);
        }
        assert_eq!(wait(&breaker), None, "not yet");
        breaker.failed(OPEN, false);
        assert_eq!(wait(&breaker), Some(OPEN));
        breaker.failed(OPEN, false);
        assert_eq!(wait(&breaker), Some(OPEN), "one that was under way");
        for trial in 1..TRIALS {
            tokio::time::advance(wait(&breaker).unwrap()).await;
            assert_eq!(wait(&breaker), None);
            assert!(breaker.try_now());
            assert_eq!(wait(&breaker), Some(LOOK_AGAIN), "one tries, the others wait");
            breaker.undecided(false);
            assert_eq!(wait(&breaker), Some(LOOK_AGAIN), "another one that ends is no trial");
            breaker.undecided(true);
            assert_eq!(wait(&breaker), None, "a trial that said nothing is left to the next");
            assert!(breaker.try_now());
            breaker.failed(OPEN, true);
            assert_eq!(wait(&breaker), Some(OPEN * 2_u32.pow(trial)));
        }
        tokio::time::advance(wait(&breaker).unwrap()).await;
        breaker.try_now();
        breaker.failed(OPEN, true);
        assert!(breaker.closed_until().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_works_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(OPEN, false);
        }
        tokio::time::advance(OPEN).await;
        breaker.try_now();
        breaker.worked();
        assert_eq!(breaker.closed_until(), Some(None));
        breaker.failed(OPEN, false);
        assert_eq!(breaker.closed_until(), Some(None), "it counts from the beginning");
    }
}
