//! A few held connections, each used by one statement at a time, all of them with a deadline.
//!
//! sqlx's own pool is not used: a caller that gives up on a dead connection leaks its permit there
//! for good, and a ping before and after each use halves the throughput. Here a permit is a
//! [`Pooled`], which goes back by being dropped, and a connection goes back only after it proved
//! itself by finishing a statement. One that failed, timed out or was abandoned is closed, and so is
//! one that no statement has needed for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Instrument;

use super::StoreError;
use super::error::{is_not_let_in, typed};
use super::lendable::{Borrowed, Lendable};
use super::metrics::StoreCounted;
use super::session::Session;

/// Connections to one database.
pub(super) struct Pool<S: Session> {
    connector: S::Connector,
    shared: Arc<Shared<S>>,
    permits: Arc<Semaphore>,
    deadline: Duration,
    /// How often the connections that were there have been given up.
    given_up: watch::Sender<u64>,
    /// Notified when the server has let one in.
    let_in: Notify,
    /// A connection of another task, for upkeep.
    lendable: Mutex<Weak<Lendable<S>>>,
}

/// Where connections wait to be used again.
struct Shared<S> {
    counted: StoreCounted,
    /// The one that was used last comes last, and is used next.
    idle: Mutex<Vec<Idle<S>>>,
    /// Notified when one is returned.
    returned: Notify,
    /// How many are in use.
    out: AtomicUsize,
}

/// A connection that waits to be used again.
struct Idle<S> {
    session: S,
    used: LastUse,
}

/// When a connection was used last.
#[derive(Clone, Copy)]
struct LastUse {
    at: Instant,
    /// Whether for nothing but upkeep, which asks now and then and keeps no connection open.
    in_passing: bool,
}

impl LastUse {
    fn was_within(self, time: Duration) -> bool {
        self.at.elapsed() < if self.in_passing { time / 10 } else { time }
    }
}

/// A connection for one statement.
pub(super) struct Pooled<S: Session> {
    session: Whose<S>,
    until: Instant,
    deadline: Duration,
    statement: &'static str,
    in_passing: bool,
    given_up: watch::Receiver<u64>,
}

/// Where a connection goes back to.
enum Whose<S: Session> {
    Lent(Borrowed<S>),
    Ours(Ours<S>),
}

/// One of the pool's.
struct Ours<S: Session> {
    session: Option<S>,
    /// How it was used before. `None`: it was opened for this statement.
    used: Option<LastUse>,
    shared: Arc<Shared<S>>,
    _permit: OwnedSemaphorePermit,
}

impl<S: Session> Pool<S> {
    /// Nothing is opened before the first statement.
    pub(super) fn new(connector: S::Connector, most: u32, deadline: Duration) -> Self {
        Self {
            connector,
            shared: Arc::new(Shared {
                counted: StoreCounted::new(most),
                idle: Mutex::default(),
                returned: Notify::new(),
                out: AtomicUsize::new(0),
            }),
            permits: Arc::new(Semaphore::new(most.max(1) as usize)),
            deadline,
            given_up: watch::Sender::new(0),
            let_in: Notify::new(),
            lendable: Mutex::default(),
        }
    }

    /// Has upkeep ask over this connection whenever it is free.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn lend(&self, connection: &Arc<Lendable<S>>) {
        *self.lendable.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(connection);
    }

    /// Does what a statement is about, and records how long it took and how it failed.
    pub(super) async fn asking<T>(
        &self,
        statement: &'static str,
        asking: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let outcome = asking.instrument(tracing::debug_span!("statement", statement)).await;
        self.shared.counted.asked(statement, began.elapsed(), &outcome);
        outcome
    }

    /// What connections are opened with.
    pub(super) fn connector(&self) -> &S::Connector {
        &self.connector
    }

    /// By when a statement that is asked for now must have ended.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// How long a statement may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether nobody asks over a connection all the time, who would find out that it is dead; though
    /// somebody may.
    pub(super) fn is_left_alone(&self) -> bool {
        let lendable = self.lendable.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        lendable.is_some_and(|lendable| lendable.is_none())
    }

    /// Gives up the connections that are there, since one like them turned out to be dead without
    /// a word: idle ones are closed, and reads that wait on one are asked again on a new one.
    pub(super) fn give_up(&self) {
        let mut idle = self.shared.lock();
        self.given_up.send_modify(|times| *times += 1);
        idle.clear();
        drop(idle);
        self.shared.count();
    }

    /// Waits until the server lets in a connection of a statement.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file lets everybody in"))]
    pub(super) async fn is_let_in(&self) {
        self.let_in.notified().await;
    }

    /// Closes the connections that no statement has needed for so long.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn close_idle(&self, unused_for: Duration) {
        self.shared.lock().retain(|idle| idle.used.was_within(unused_for));
        self.shared.count();
    }

    /// Waits for a connection that is alive. A statement that must not be asked twice begins here: what
    /// died while it was idle is found out by a ping, and not by that statement. One that was opened just
    /// now, or is lent between two uses, was in use a moment ago.
    pub(super) async fn acquire_alive(
        &self,
        statement: &'static str,
        in_passing: bool,
        until: Instant,
    ) -> Result<Pooled<S>, StoreError> {
        loop {
            let mut connection = self.acquire(statement, in_passing, until).await?;
            if !connection.was_idle() {
                return Ok(connection);
            }
            match timeout_at(connection.until, connection.session().ping()).await {
                Ok(Ok(())) => return Ok(connection),
                Ok(Err(_)) => {}
                Err(_) => return Err(StoreError::Timeout { after: self.deadline }),
            }
        }
    }

    /// Waits for a free connection, or opens one, whichever is there first. A statement that is upkeep
    /// gets one that is lent, if it is free, and is no use that keeps one open.
    pub(super) async fn acquire(
        &self,
        statement: &'static str,
        in_passing: bool,
        until: Instant,
    ) -> Result<Pooled<S>, StoreError> {
        let borrowed = if in_passing { self.borrow(until).await } else { None };
        let (session, given_up) = match borrowed {
            Some(borrowed) => (Whose::Lent(borrowed), self.given_up.subscribe()),
            None => {
                let (ours, given_up) = self.acquire_ours(statement, until).await?;
                (Whose::Ours(ours), given_up)
            }
        };
        Ok(Pooled { session, until, deadline: self.deadline, statement, in_passing, given_up })
    }

    /// Whether upkeep that can wait is welcome: where nobody lends a connection, or one is lent now.
    pub(super) async fn lends(&self) -> bool {
        let lendable = self.lendable.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        match lendable {
            Some(lendable) => lendable.lends(SLOW_TO_OPEN).await,
            None => true,
        }
    }

    /// A connection that is lent, if it is free by the time that opening one would take. One that is being
    /// opened is waited for until then.
    pub(super) async fn borrow(&self, until: Instant) -> Option<Borrowed<S>> {
        let lendable = self.lendable.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        lendable?.borrow(SLOW_TO_OPEN, until).await
    }

    async fn acquire_ours(
        &self,
        statement: &'static str,
        until: Instant,
    ) -> Result<(Ours<S>, watch::Receiver<u64>), StoreError> {
        let late = |_| StoreError::Timeout { after: self.deadline };
        let permit = timeout_at(until, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(late)?
            .expect("the semaphore is never closed");
        let mut attempts = 0;
        let (session, used, given_up) = loop {
            let (idle, mut given_up) = self.idle();
            if let Some(Idle { session, used }) = idle {
                break (session, Some(used), given_up);
            }
            let opened = tokio::select! {
                biased;
                opened = timeout_at(until, S::open(&self.connector)) => opened.map_err(late)?,
                // One that was returned meanwhile, if opening takes so long.
                () = self.shared.one_after(SLOW_TO_OPEN) => continue,
                Ok(()) = given_up.changed() => continue,
            };
            attempts += 1;
            match opened {
                Ok(session) => {
                    self.let_in.notify_waiters();
                    break (session, None, given_up);
                }
                // A wrong password is as wrong the next time.
                Err(error) if is_not_let_in(&error) => return Err(typed(&error, statement)),
                // A server that is full has connections of ours that will be free in a moment.
                Err(_) if self.shared.out.load(Ordering::SeqCst) > 0 => {
                    timeout_at(until, timeout(NEXT_ATTEMPT, self.shared.one_after(Duration::ZERO)))
                        .await
                        .map_err(late)?
                        .ok();
                }
                // A network may tear one connection and let the next one live.
                Err(_) if attempts == 1 => sleep(NEXT_ATTEMPT / 10).await,
                Err(error) => return Err(typed(&error, statement)),
            }
        };
        self.shared.out.fetch_add(1, Ordering::SeqCst);
        self.shared.count();
        let shared = Arc::clone(&self.shared);
        Ok((Ours { session: Some(session), used, shared, _permit: permit }, given_up))
    }

    fn idle(&self) -> (Option<Idle<S>>, watch::Receiver<u64>) {
        let mut idle = self.shared.lock();
        (idle.pop(), self.given_up.subscribe())
    }
}

impl<S> Shared<S> {
    /// Waits so long, and then until a connection is idle.
    async fn one_after(&self, time: Duration) {
        sleep(time).await;
        loop {
            let returned = self.returned.notified();
            if !self.lock().is_empty() {
                return;
            }
            returned.await;
        }
    }

    fn count(&self) {
        let idle = self.lock().len();
        self.counted.connections(self.out.load(Ordering::SeqCst), idle);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle<S>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Session> Drop for Ours<S> {
    fn drop(&mut self) {
        self.shared.out.fetch_sub(1, Ordering::SeqCst);
        self.shared.count();
        self.shared.returned.notify_one();
    }
}

impl<S: Session> Pooled<S> {
    pub(super) fn session(&mut self) -> &mut S {
        match &mut self.session {
            Whose::Lent(borrowed) => borrowed.session(),
            Whose::Ours(ours) => ours.session.as_mut().expect("it is there until it is released"),
        }
    }

    /// By when its statement must have ended.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether a failure may only mean that a connection was held for long.
    pub(super) fn may_be_outdated(&self) -> bool {
        matches!(self.session, Whose::Lent(_)) || self.was_idle()
    }

    /// Whether it waited among those that nobody used.
    fn was_idle(&self) -> bool {
        matches!(&self.session, Whose::Ours(ours) if ours.used.is_some())
    }

    /// Ends when this connection is given up.
    pub(super) fn given_up(&self) -> impl Future<Output = ()> + Send + use<S> {
        let mut given_up = self.given_up.clone();
        async move {
            if given_up.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is said where the deadline has come.
    pub(super) fn late(&self) -> StoreError {
        StoreError::Timeout { after: self.deadline }
    }

    /// What is said where a statement failed.
    pub(super) fn failed(&self, error: &sqlx::Error, statement: &'static str) -> StoreError {
        match typed(error, statement) {
            // The server's own statement_timeout, which is the same deadline.
            StoreError::Refused { code, .. } if code == "57014" => self.late(),
            error => error,
        }
    }

    /// Takes the statement's outcome; the connection is kept only if it is sound.
    pub(super) fn release<T>(
        self,
        outcome: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T, StoreError> {
        let outcome = match outcome {
            Err(_) => return Err(self.late()),
            Ok(outcome) => outcome.map_err(|error| self.failed(&error, self.statement)),
        };
        // An error may come from the connection itself: a plan of a table that has changed since,
        // a server that has become a replica. Only one that finished its work is used again.
        let error = outcome.as_ref().err();
        let refused_whole = matches!(error, Some(StoreError::Conflict { .. }));
        let given_up = self.given_up.has_changed().unwrap_or(true);
        match self.session {
            Whose::Lent(borrowed) if error.is_none() && !given_up => borrowed.give_back(),
            Whose::Ours(ours) if (error.is_none() || refused_whole) && !given_up => {
                ours.give_back(refused_whole, self.in_passing);
            }
            Whose::Lent(_) | Whose::Ours(_) => {}
        }
        outcome
    }
}

impl<S: Session> Ours<S> {
    /// Puts it where the next statement finds it. Through a pooler nobody knows what a refusal left.
    fn give_back(mut self, refused: bool, in_passing: bool) {
        let session = self.session.take().expect("it is there until it is released");
        if refused && !session.keeps_statements() {
            return;
        }
        let now = LastUse { at: Instant::now(), in_passing };
        let used = self.used.filter(|used| now.in_passing && !used.in_passing).unwrap_or(now);
        let mut idle = self.shared.lock();
        let place = idle.partition_point(|other| other.used.at <= used.at);
        idle.insert(place, Idle { session, used });
    }
}

/// After what time of opening a connection another one's return is better.
const SLOW_TO_OPEN: Duration = Duration::from_millis(100);
/// How soon a connection is tried again while others are in use.
const NEXT_ATTEMPT: Duration = Duration::from_millis(50);

#[cfg(all(test, feature = "sqlite"))]
mod tests;
