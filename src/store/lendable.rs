//! A connection that one task holds, and that upkeep borrows between two uses of it.
//!
//! What a node writes and counts now and then is not worth a connection of its own: opening one takes
//! the server longer than all that is asked over it.
//!
//! **Invariant:** whoever holds it waits no longer for it than he says. What comes back after that is
//! closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// A place for one connection.
pub(super) struct Lendable<S> {
    state: Mutex<State<S>>,
    /// Notified whenever it is not in use any more.
    settled: Notify,
}

enum State<S> {
    None,
    Here {
        session: S,
        may_be_lent: bool,
    },
    /// Whoever holds it uses it.
    InUse,
    Lent,
}

/// A connection that was lent and has not come back in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdue;

/// A connection that was borrowed. Dropped before it is given back, it is closed.
pub(super) struct Borrowed<S> {
    session: Option<S>,
    from: Arc<Lendable<S>>,
}

impl<S> Default for Lendable<S> {
    fn default() -> Self {
        Self { state: Mutex::new(State::None), settled: Notify::new() }
    }
}

impl<S> Lendable<S> {
    /// Whether there is one, here or lent.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn is_there(&self) -> bool {
        matches!(*self.state(), State::Here { .. } | State::Lent)
    }

    /// Takes it to use it; one that is lent is waited for so long. For the one who holds it.
    ///
    /// # Errors
    ///
    /// [`Overdue`]: it did not come back, and may be dead.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) async fn take(&self, patience: Duration) -> Result<Option<S>, Overdue> {
        if matches!(*self.state(), State::Lent) {
            let back = self.until(|state| !matches!(state, State::Lent));
            timeout(patience, back).await.ok();
        }
        match std::mem::replace(&mut *self.state(), State::InUse) {
            State::Here { session, .. } => Ok(Some(session)),
            State::None | State::InUse => Ok(None),
            State::Lent => Err(Overdue),
        }
    }

    /// Puts it where it can be taken again; `None` where it broke. For the one who holds it, and who says
    /// whether it may be lent: where it is slow, it would be out for too long.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "an open file costs nobody"))]
    pub(super) fn put(&self, session: Option<S>, may_be_lent: bool) {
        *self.state() = session.map_or(State::None, |session| State::Here { session, may_be_lent });
        self.settled.notify_waiters();
    }

    /// Borrows it, if it is there; one that is in use is waited for so long.
    pub(super) async fn borrow(self: Arc<Self>, patience: Duration) -> Option<Borrowed<S>> {
        if matches!(*self.state(), State::InUse) {
            let free = self.until(|state| !matches!(state, State::InUse));
            timeout(patience, free).await.ok();
        }
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
        Some(Borrowed { session: Some(session), from: self })
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
            *state =
                session.map_or(State::None, |session| State::Here { session, may_be_lent: true });
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
    use tokio::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    fn with(session: u8) -> Arc<Lendable<u8>> {
        let held = Arc::new(Lendable::default());
        held.put(Some(session), true);
        held
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_borrowed_while_nobody_uses_it_and_taken_once_it_is_back() {
        let held = with(1);
        let mut borrowed = Arc::clone(&held).borrow(SHORT).await.unwrap();
        assert_eq!(*borrowed.session(), 1);
        assert!(held.is_there());
        assert!(Arc::clone(&held).borrow(SHORT).await.is_none(), "it is lent once");
        let (taken, ()) = tokio::join!(held.take(SHORT), async { borrowed.give_back() });
        assert_eq!(taken, Ok(Some(1)));
        assert!(!held.is_there());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_back_is_not_waited_for_and_closed_when_it_does() {
        let held = with(1);
        let late = Arc::clone(&held).borrow(SHORT).await.unwrap();
        let began = Instant::now();
        assert_eq!(held.take(SHORT).await, Err(Overdue));
        assert_eq!(began.elapsed(), SHORT);
        held.put(Some(2), true);
        late.give_back();
        assert_eq!(held.take(SHORT).await, Ok(Some(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_is_not_lent_and_stays_where_it_is() {
        let held = Arc::new(Lendable::default());
        held.put(Some(1), false);
        assert!(Arc::clone(&held).borrow(SHORT).await.is_none());
        assert_eq!(held.take(SHORT).await, Ok(Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_broke_while_it_was_lent_is_none() {
        let held = with(1);
        drop(Arc::clone(&held).borrow(SHORT).await.unwrap());
        assert!(!held.is_there());
        let began = Instant::now();
        assert_eq!(held.take(SHORT).await, Ok(None));
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody has it");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_in_use_is_waited_for_and_none_is_not() {
        let held = with(1);
        let session = held.take(SHORT).await.unwrap();
        let (borrowed, ()) =
            tokio::join!(Arc::clone(&held).borrow(SHORT), async { held.put(session, true) });
        assert!(borrowed.is_some());
        drop(borrowed);
        held.put(None, true);
        let began = Instant::now();
        assert!(Arc::clone(&held).borrow(SHORT).await.is_none());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
