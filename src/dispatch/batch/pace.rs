//! The limits of a batch: calls a second over each trunk, calls placed at once on each server,
//! calls that are up at once, and a pause where one call after the other fails.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::super::livekit::LiveKit;
use super::super::trunk_key::{AccountKey, TrunkKey};
use super::super::{Again, Outcome, Report};
use super::breaker::{Breaker, Gate};
use super::live_calls::{LiveCalls, LiveSlot};
use super::rate::{Rate, Throttle};
use crate::answer::ResolveError;
use crate::cache::Resolution;

/// The limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How many calls are placed at once on one server, from 1, whatever key it is asked with.
    pub concurrency: usize,
    /// How many calls go over one trunk in any one second; 0 is as many as come. A fraction counts
    /// from one second to the next: 0.5 is one in two seconds.
    pub calls_per_second: f64,
    /// How many calls of this run are up at the same time over one trunk, from 1, or on the server
    /// where no trunk is named; as many as come without it. A call is up until its room closes.
    pub live: Option<usize>,
    /// How often an entry is tried again after nothing was dialled for it and trying may help.
    pub retries: u32,
    /// How long a trunk or a server is left alone after five failures in a row. Twice as long after
    /// a trial that fails as well, and so on; after four of them the batch goes on without it. Also
    /// how long a trunk is left alone that is at its limit; then twice as long, up to a minute.
    pub pause: Duration,
    /// Whether a person may be called more than once: the same number by the same caller.
    pub allow_duplicates: bool,
}

impl Limits {
    /// How many calls are placed at once on one server at the most.
    pub const MOST_CONCURRENCY: usize = 1024;
    /// The least rate of calls over one trunk, and the highest, beside 0.
    pub const CALLS_PER_SECOND: std::ops::RangeInclusive<f64> = 0.001..=10_000.0;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 16,
            calls_per_second: 10.0,
            live: None,
            retries: 2,
            pause: Duration::from_secs(2),
            allow_duplicates: false,
        }
    }
}

/// The servers, accounts and trunks of a batch.
pub(super) struct Pace {
    limits: Limits,
    /// Of the database that credentials come from.
    database: Arc<SharedBreaker>,
    servers: PerKey<Box<str>, ServerLimits>,
    accounts: PerKey<AccountKey, SharedBreaker>,
    trunks: PerKey<TrunkKey, TrunkLimits>,
}

/// What is kept of each place.
struct PerKey<K, T>(Mutex<HashMap<K, Arc<T>>>);

struct ServerLimits {
    breaker: Arc<SharedBreaker>,
    at_once: Arc<Semaphore>,
}

struct TrunkLimits {
    breaker: Arc<SharedBreaker>,
    /// Whose turn it is holds this.
    turn: tokio::sync::Mutex<Rate>,
    /// The same bound for the moment in which the carrier is asked, since steps take their time.
    last_turn: tokio::sync::Mutex<Rate>,
    throttle: Mutex<Throttle>,
    live: Arc<LiveCalls>,
}

/// A breaker that several calls look at.
#[derive(Default)]
struct SharedBreaker(Mutex<Breaker>);

/// What one call may find out of a place; leaves a trial that told nothing to the next one.
struct BreakerTrial {
    of: Arc<SharedBreaker>,
    /// Whether it is to find out if the place works again.
    is_one: bool,
    pause: Duration,
}

/// A permit to place one call, and who is told what became of it.
pub(super) struct CallPermit {
    trunk: Arc<TrunkLimits>,
    trials: BreakerTrials,
    went: Instant,
    slot: Option<LiveSlot>,
    _permit: OwnedSemaphorePermit,
}

struct BreakerTrials {
    server: BreakerTrial,
    account: BreakerTrial,
    trunk: BreakerTrial,
}

/// A place has failed for so long that the batch goes on without it: which one.
pub(super) struct GivenUp(pub(super) &'static str);

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            database: Arc::default(),
            servers: PerKey::default(),
            accounts: PerKey::default(),
            trunks: PerKey::default(),
        }
    }

    /// Waits until a call may be placed with these credentials.
    ///
    /// Calls over one trunk take turns: the first of them waits for its second, the breakers, a call
    /// that ends, and a place on the server, the others for it. So a trunk that is slow holds up no
    /// other.
    pub(super) async fn permit(
        &self,
        livekit: &LiveKit,
        answer: &Resolution,
    ) -> Result<CallPermit, GivenUp> {
        let key = TrunkKey::of(answer);
        let server = self.servers.of(&key.server().into(), || ServerLimits::new(&self.limits));
        let account = self.accounts.of(&AccountKey::of(answer), SharedBreaker::default);
        let trunk = self.trunks.of(&key, || TrunkLimits::new(&self.limits));
        let gate = || {
            let gates = [
                (trunk.breaker.gate().and(trunk.throttle().gate()), "its trunk"),
                (server.breaker.gate(), "its server"),
                (account.gate(), "its API key"),
            ];
            match gates.iter().find(|(gate, _)| *gate == Gate::GivenUp) {
                Some(&(_, what)) => Err(GivenUp(what)),
                None => Ok(gates.into_iter().fold(Gate::Open, |worst, (gate, _)| worst.and(gate))),
            }
        };
        // First come, first served: else the runtime, which lets a task do only so much at once, would
        // send some back to the end of the line.
        let mut turn = unconstrained(trunk.turn.lock()).await;
        let (permit, slot) = loop {
            let slower = trunk.throttle().apart;
            sleep_until(turn.next(slower)).await;
            if let Gate::ClosedUntil(until) = gate()? {
                sleep_until(until).await;
                continue;
            }
            let slot = match self.limits.live {
                Some(most) => Some(trunk.live.slot(most, livekit, answer).await),
                None => None,
            };
            let permit = Arc::clone(&server.at_once).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            // It may have been a long wait.
            if gate()? == Gate::Open {
                break (permit, slot);
            }
        };
        turn.goes();
        let trial = |of: &Arc<SharedBreaker>| BreakerTrial::begin(of, self.limits.pause);
        let trials = BreakerTrials {
            server: trial(&server.breaker),
            account: trial(&account),
            trunk: trial(&trunk.breaker),
        };
        drop(turn);
        Ok(CallPermit { trunk, trials, went: Instant::now(), slot, _permit: permit })
    }

    /// Waits until the database may be asked, and asks.
    pub(super) async fn ask<T>(
        &self,
        asking: impl Future<Output = Result<T, ResolveError>>,
    ) -> Result<Result<T, ResolveError>, GivenUp> {
        let trial = loop {
            match self.database.gate() {
                Gate::GivenUp => return Err(GivenUp("the database")),
                Gate::ClosedUntil(until) => sleep_until(until).await,
                Gate::Open => break BreakerTrial::begin(&self.database, self.limits.pause),
            }
        };
        let answer = asking.await;
        match &answer {
            Err(error) if error.is_temporary() => trial.failed(),
            _ => trial.worked(),
        }
        Ok(answer)
    }
}

impl CallPermit {
    /// Waits until the carrier may be asked: the rate of the trunk, at the last moment.
    pub(super) async fn turn(&self) {
        let mut turn = unconstrained(self.trunk.last_turn.lock()).await;
        sleep_until(turn.next(Duration::ZERO)).await;
        turn.goes();
    }

    /// Tells what became of the call. How long the trunk is left alone now, if it is at its limit and
    /// that is news.
    ///
    /// A dial in doubt counts against the server: it can never be repeated, so no more are to come to
    /// that.
    pub(super) fn ended(self, report: &Report) -> Option<Duration> {
        let Self {
            trunk,
            trials: BreakerTrials { server, account, trunk: on_trunk },
            went,
            slot,
            ..
        } = self;
        let call = report.call.as_ref();
        if let (Some(slot), Some(call), Outcome::Placed | Outcome::InDoubt) =
            (slot, call, report.outcome)
        {
            slot.up(&call.room);
        }
        if report.again == Again::AtLimit {
            return trunk.throttle().refused(went, server.pause);
        }
        match report.outcome {
            Outcome::CarrierTrouble | Outcome::TrunkUnknown => {
                on_trunk.failed();
                account.worked();
                server.worked();
            }
            Outcome::CredentialsRefused | Outcome::NoAgent => {
                account.failed();
                server.worked();
            }
            Outcome::Unreachable | Outcome::NoSipService | Outcome::Rejected | Outcome::InDoubt => {
                server.failed();
            }
            Outcome::Placed
            | Outcome::Busy
            | Outcome::Declined
            | Outcome::NoAnswer
            | Outcome::NumberUnknown => {
                trunk.throttle().worked(went);
                on_trunk.worked();
                account.worked();
                server.worked();
            }
            // These say nothing of any.
            _ => {}
        }
        None
    }
}

impl ServerLimits {
    fn new(limits: &Limits) -> Self {
        let at_once = Arc::new(Semaphore::new(limits.concurrency.max(1)));
        Self { breaker: Arc::default(), at_once }
    }
}

impl TrunkLimits {
    fn new(limits: &Limits) -> Self {
        let rate = limits.calls_per_second;
        Self {
            breaker: Arc::default(),
            turn: tokio::sync::Mutex::new(Rate::per_second(rate)),
            last_turn: tokio::sync::Mutex::new(Rate::at_most(rate)),
            throttle: Mutex::default(),
            live: Arc::default(),
        }
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedBreaker {
    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> Gate {
        self.lock().gate()
    }
}

impl BreakerTrial {
    fn begin(of: &Arc<SharedBreaker>, pause: Duration) -> Self {
        let is_one = of.lock().try_now();
        Self { of: Arc::clone(of), is_one, pause }
    }

    fn worked(self) {
        self.of.lock().worked();
    }

    fn failed(mut self) {
        let trial = std::mem::take(&mut self.is_one);
        self.of.lock().failed(self.pause, trial);
    }
}

impl Drop for BreakerTrial {
    fn drop(&mut self) {
        self.of.lock().undecided(self.is_one);
    }
}

impl<K: Clone + Eq + Hash, T> PerKey<K, T> {
    fn of(&self, key: &K, new: impl FnOnce() -> T) -> Arc<T> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(key.clone()).or_insert_with(|| Arc::new(new())))
    }
}

impl<K, T> Default for PerKey<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
