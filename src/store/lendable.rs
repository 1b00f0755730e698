//! A connection that one task holds, and that upkeep borrows between two uses of it.
//!
//! What a node writes and counts now and then is not worth a connection of its own: opening one takes
//! the server longer than all that is asked over it.
//!
//! **Invariant:** it is lent only where the last use of it was quick, so that whoever holds it waits for
//! moments. He need not wait: what comes back after he has put another one in its place is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// A place for one connection.
pub(super) struct Lendable<S> {
    state: Mutex<State<S>>,
    /// What takes as long is slow: it would be out for too long.
    slow: Duration,
    /// Notified whenever it is not in use any more.
    settled: Notify,
}

enum State<S> {
    None,
    /// Whoever holds it opens it, or will again in a moment: the server was too busy.
    Awaited,
    Here {
        session: S,
        may_be_lent: bool,
    },
    /// Whoever holds it uses it.
    InUse,
    Lent,
}

/// A connection that was borrowed. Dropped before it is given back, it is closed.
pub(super) struct Borrowed<S> {
    session: Option<S>,
    from: Arc<Lendable<S>>,
    since: Instant,
}

impl<S> Lendable<S> {
    /// None yet. One that takes as long as `slow` is not lent.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn new(slow: Duration) -> Self {
        Self { state: Mutex::new(State::None), slow, settled: Notify::new() }
    }

    /// Whether there is one, here or lent.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn is_there(&self) -> bool {
        matches!(*self.state(), State::Here { .. } | State::Lent)
    }

    /// Whether there is none, and none is coming.
    pub(super) fn is_none(&self) -> bool {
        matches!(*self.state(), State::None)
    }

    /// Takes it to use it, once it is not lent. `None`: there is none, or it broke while it was out. For
    /// the one who holds it.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) async fn take(&self) -> Option<S> {
        self.until(|state| !matches!(state, State::Lent)).await;
        match std::mem::replace(&mut *self.state(), State::InUse) {
            State::Here { session, .. } => Some(session),
            State::None | State::Awaited | State::InUse | State::Lent => None,
        }
    }

    /// Puts it where it can be taken again, after a use of so long; `None` where it broke. For the one who
    /// holds it.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn put(&self, session: Option<S>, took: Duration) {
        let may_be_lent = took < self.slow;
        *self.state() = session.map_or(State::None, |session| State::Here { session, may_be_lent });
        self.settled.notify_waiters();
    }

    /// It is being opened. Until it is there or could not be opened, those who can wait do.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn is_coming(&self) {
        *self.state() = State::Awaited;
        self.settled.notify_waiters();
    }

    /// Whether it would be lent now; one that is in use is waited for so long.
    pub(super) async fn lends(&self, patience: Duration) -> bool {
        self.until_free(patience).await;
        matches!(*self.state(), State::Here { may_be_lent: true, .. })
    }

    /// Borrows it, if it is there; one that is in use is waited for so long, and one that is being opened
    /// until then: a server that is busy with those who come to it is not to get more of them.
    pub(super) async fn borrow(
        self: Arc<Self>,
        patience: Duration,
        until: Instant,
    ) -> Option<Borrowed<S>> {
        timeout_at(until, self.until(|state| !matches!(state, State::Awaited))).await.ok();
        self.until_free(patience).await;
        let session = {
            let mut state = self.state();
            match std::mem::replace(&mut *state, State::Lent) {
                State::Here { session, may_be_lent: true } => session,
                other => {
                    *state = other;
                    return None;
                }
            }
        };
        Some(Borrowed { session: Some(session), from: self, since: Instant::now() })
    }

    async fn until_free(&self, patience: Duration) {
        let free = self.until(|state| !matches!(state, State::Awaited | State::InUse));
        timeout(patience, free).await.ok();
    }

    async fn until(&self, is_so: impl Fn(&State<S>) -> bool) {
        loop {
            let settled = self.settled.notified();
            if is_so(&self.state()) {
                return;
            }
            settled.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Borrowed<S> {
    pub(super) fn session(&mut self) -> &mut S {
        self.session.as_mut().expect("it is there until it is given back")
    }

    /// Gives it back, since it is sound.
    pub(super) fn give_back(mut self) {
        let session = self.session.take();
        self.end(session);
    }

    /// Another one may be there by now, if this one was not waited for.
    fn end(&self, session: Option<S>) {
        let mut state = self.from.state();
        if matches!(*state, State::Lent) {
            let may_be_lent = self.since.elapsed() < self.from.slow;
            *state = session.map_or(State::None, |session| State::Here { session, may_be_lent });
            drop(state);
            self.from.settled.notify_waiters();
        }
    }
}

impl<S> Drop for Borrowed<S> {
    fn drop(&mut self) {
        if self.session.is_some() {
            self.end(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// By when those who can wait must have it.
    fn soon() -> Instant {
        Instant::now() + 10 * SHORT
    }

    fn with(session: u8) -> Arc<Lendable<u8>> {
        let held = Arc::new(Lendable::new(SHORT));
        held.put(Some(session), Duration::ZERO);
        held
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_borrowed_while_nobody_uses_it_and_taken_once_it_is_back() {
        let held = with(1);
        assert!(held.lends(SHORT).await);
        let mut borrowed = Arc::clone(&held).borrow(SHORT, soon()).await.unwrap();
        assert_eq!(*borrowed.session(), 1);
        assert!(held.is_there() && !held.lends(SHORT).await);
        assert!(Arc::clone(&held).borrow(SHORT, soon()).await.is_none(), "it is lent once");
        let (taken, ()) = tokio::join!(held.take(), async { borrowed.give_back() });
        assert_eq!(taken, Some(1));
        assert!(!held.is_there());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_after_another_was_put_there_is_closed() {
        let held = with(1);
        let late = Arc::clone(&held).borrow(SHORT, soon()).await.unwrap();
        assert!(timeout(SHORT, held.take()).await.is_err(), "it is out");
        held.put(Some(2), Duration::ZERO);
        late.give_back();
        assert_eq!(held.take().await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_is_not_lent_and_stays_where_it_is() {
        let held = with(1);
        held.put(Some(1), SHORT);
        assert!(!held.lends(SHORT).await);
        assert!(Arc::clone(&held).borrow(SHORT, soon()).await.is_none());
        assert_eq!(held.take().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_became_slow_while_it_was_lent_is_not_lent_again() {
        let held = with(1);
        let borrowed = Arc::clone(&held).borrow(SHORT, soon()).await.unwrap();
        sleep(SHORT).await;
        borrowed.give_back();
        assert!(Arc::clone(&held).borrow(SHORT, soon()).await.is_none());
        assert_eq!(held.take().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_broke_while_it_was_lent_is_none() {
        let held = with(1);
        drop(Arc::clone(&held).borrow(SHORT, soon()).await.unwrap());
        assert!(!held.is_there());
        assert_eq!(timeout(Duration::ZERO, held.take()).await, Ok(None), "nobody has it");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_in_use_is_waited_for_and_none_is_not() {
        let held = with(1);
        let session = held.take().await;
        let put = async { held.put(session, Duration::ZERO) };
        let (borrowed, ()) = tokio::join!(Arc::clone(&held).borrow(SHORT, soon()), put);
        assert!(borrowed.is_some());
        drop(borrowed);
        held.put(None, Duration::ZERO);
        let began = Instant::now();
        assert!(Arc::clone(&held).borrow(SHORT, soon()).await.is_none());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    #[tokio::test(start_paused = true)]
    async fn one_that_is_being_opened_is_waited_for_until_it_is_there_or_cannot_be() {
        let (held, began) = (Arc::new(Lendable::new(SHORT)), Instant::now());
        held.is_coming();
        assert!(!held.is_there() && !held.lends(SHORT).await);
        let opens = async |opened| {
            sleep(5 * SHORT).await;
            held.put(opened, Duration::ZERO);
        };
        let (borrowed, ()) = tokio::join!(Arc::clone(&held).borrow(SHORT, soon()), opens(Some(1)));
        assert_eq!((borrowed.is_some(), began.elapsed()), (true, 6 * SHORT));
        held.is_coming();
        let (borrowed, ()) = tokio::join!(Arc::clone(&held).borrow(SHORT, soon()), opens(None));
        assert_eq!((borrowed.is_some(), began.elapsed()), (false, 11 * SHORT));
        held.is_coming();
        assert!(Arc::clone(&held).borrow(SHORT, soon()).await.is_none());
        assert_eq!(began.elapsed(), 22 * SHORT, "it did not come in time");
    }
}
