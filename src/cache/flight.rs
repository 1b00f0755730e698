//! One load a key, be it a number or a config: the first caller starts it, the others wait for it.
//!
//! A load is a task of its own. Callers wait with their own deadline and can neither cancel it nor
//! make it start again, and a load that panics is an outcome like any other. (The loader of moka
//! does the opposite on all three counts: it restarts when its caller leaves and panics the others
//! after 200 restarts.)
//!
//! **Invariant:** nobody is handed a result that is older than their question. A flight that took
//! off before a change of its number is not joined after it; what it depends on besides is only
//! known when it lands, so a joiner then judges the result by its stamp.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::fence::{Fence, Generation, Stamp};
use crate::lifecycle::Lifecycle;
use crate::number::{Caller, ConfigId, E164};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The loads in the air.
pub(crate) struct Flights<K, T> {
    air: Arc<Mutex<HashMap<K, Flight<T>, foldhash::fast::RandomState>>>,
    /// How many more may take off. Who finds no room waits on the ground, where waiting costs
    /// nothing but the waiting.
    room: Arc<Semaphore>,
}

/// What a flight is for.
pub(crate) trait Destination: Copy + Eq + Hash + Send + 'static {
    /// Whether a flight that took off in this generation is as new as a question that comes now.
    fn admits(self, fence: &Fence, born: Generation) -> bool;
}

impl Destination for Caller {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits(Stamp::new(born, self, None))
    }
}

impl Destination for E164 {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits(Stamp::of_number(born, self))
    }
}

impl Destination for ConfigId {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits_config(self, born)
    }
}

struct Flight<T> {
    born: Generation,
    landing: watch::Receiver<Option<T>>,
}

/// A load ended without a result: it panicked, or the runtime is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crashed;

impl<K: Destination, T: Clone + Send + Sync + 'static> Flights<K, T> {
    pub(crate) fn new() -> Self {
        Self { air: Arc::default(), room: Arc::new(Semaphore::new(MOST_IN_THE_AIR)) }
    }

    /// Joins the flight to a destination, or lets one take off.
    ///
    /// `load` is given the generation that it must stamp its result with; it is read here, before
    /// the load begins. Cancelling this future leaves the flight in the air.
    pub(crate) async fn board<F>(
        &self,
        to: K,
        fence: &Fence,
        lifecycle: &Lifecycle,
        load: impl FnOnce(Generation) -> F,
    ) -> Result<T, Crashed>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut load = Some(load);
        let mut room = Arc::clone(&self.room).try_acquire_owned().ok();
        let mut landing = loop {
            let boarded = self.join_or_launch(to, fence, lifecycle, &mut load, room.take());
            match boarded {
                Some(landing) => break landing,
                None => room = Arc::clone(&self.room).acquire_owned().await.ok(),
            }
        };
        let landed = landing.wait_for(Option::is_some).await.map_err(|_| Crashed)?;
        landed.clone().ok_or(Crashed)
    }

    /// `None`: there is nothing to join and no room to launch.
    fn join_or_launch<F>(
        &self,
        to: K,
        fence: &Fence,
        lifecycle: &Lifecycle,
        load: &mut Option<impl FnOnce(Generation) -> F>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<watch::Receiver<Option<T>>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut air = lock(&self.air);
        if let Some(flight) = air.get(&to)
            && to.admits(fence, flight.born)
        {
            return Some(flight.landing.clone());
        }
        let (room, load) = (room?, load.take()?);
        let born = fence.generation();
        let (land, landing) = watch::channel(None);
        air.insert(to, Flight { born, landing: landing.clone() });
        drop(air);
        let mut load = Box::pin(AssertUnwindSafe(load(born)).catch_unwind());
        // The first step is taken here, so that the database is at work while a task is started; that
        // takes the second one, whether there is something to wake it or not.
        let first = load.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let air = Arc::clone(&self.air);
        lifecycle.spawn("load", async move {
            let result = match first {
                Poll::Ready(result) => result,
                Poll::Pending => load.await,
            };
            drop(room);
            // Out of the air before it is announced: who comes from here on takes the next one.
            let mut air = lock(&air);
            if air.get(&to).is_some_and(|flight| flight.born == born) {
                air.remove(&to);
            }
            drop(air);
            // A panic drops the sender without a result, which is what `Crashed` is.
            if let Ok(result) = result {
                land.send_replace(Some(result));
            }
        });
        Some(landing)
    }
}

fn lock<A>(air: &Mutex<A>) -> MutexGuard<'_, A> {
    // Nothing that runs under this lock can leave the map half changed.
    air.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store has a few connections; more loads than this at once only wait for them.
const MOST_IN_THE_AIR: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;
    use crate::change::Change;
    use crate::number::TenantId;

    struct Lab {
        flights: Flights<Caller, usize>,
        fence: Fence,
        lifecycle: Lifecycle,
        loads: Arc<AtomicUsize>,
        gate: Arc<Notify>,
    }

    fn caller() -> Caller {
        let number = E164::from_digits("971501234567").unwrap();
        Caller::new(TenantId(Uuid::from_u128(1)), number)
    }

    impl Lab {
        fn new() -> Self {
            Self {
                flights: Flights::new(),
                fence: Fence::new(),
                lifecycle: Lifecycle::new(),
                loads: Arc::default(),
                gate: Arc::default(),
            }
        }

        /// A load that takes a ticket and then waits at the gate.
        async fn board(&self) -> Result<usize, Crashed> {
            let (loads, gate) = (Arc::clone(&self.loads), Arc::clone(&self.gate));
            self.flights
                .board(caller(), &self.fence, &self.lifecycle, move |_| async move {
                    let ticket = loads.fetch_add(1, Ordering::SeqCst) + 1;
                    gate.notified().await;
                    ticket
                })
                .await
        }

        async fn in_the_air(&self, loads: usize) {
            for _ in 0..10_000 {
                if self.loads.load(Ordering::SeqCst) >= loads {
                    return;
                }
                tokio::task::yield_now().await;
            }
            panic!("{loads} loads never took off");
        }
    }

    #[tokio::test]
    async fn callers_that_leave_neither_cancel_nor_restart_the_load() {
        let lab = Lab::new();
        for _ in 0..500 {
            let board = lab.board();
            tokio::pin!(board);
            assert!(futures_util::poll!(&mut board).is_pending());
        }
        lab.in_the_air(1).await;
        let last = lab.board();
        lab.gate.notify_one();
        assert_eq!(last.await, Ok(1));
        assert_eq!(lab.loads.load(Ordering::SeqCst), 1);
        assert_eq!(lock(&lab.flights.air).len(), 0);
    }

    #[tokio::test]
    async fn a_flight_that_took_off_before_a_change_is_not_joined_after_it() {
        let lab = Lab::new();
        let (early, late) = (lab.board(), lab.board());
        tokio::pin!(early, late);
        assert!(futures_util::poll!(&mut early).is_pending());
        lab.in_the_air(1).await;
        lab.fence.bump(Change::Number(caller()));
        assert!(futures_util::poll!(&mut late).is_pending());
        lab.in_the_air(2).await;
        lab.gate.notify_waiters();
        assert_eq!((early.await, late.await), (Ok(1), Ok(2)));
    }

    #[test]
    fn a_flight_is_joined_until_a_change_of_where_it_goes() {
        let (id, other) = (ConfigId(Uuid::from_u128(1)), ConfigId(Uuid::from_u128(2)));
        let number = E164::from_digits("15550001").unwrap();
        let others = [Change::Number(Caller { number, ..caller() }), Change::Config(other)];
        let admits = |change: Change, to: &dyn Fn(&Fence, Generation) -> bool| {
            let fence = Fence::new();
            let born = fence.generation();
            assert!(to(&fence, born));
            fence.bump(change);
            assert!(to(&fence, fence.generation()));
            to(&fence, born)
        };
        let to_number = |fence: &Fence, born| caller().number.admits(fence, born);
        let to_caller = |fence: &Fence, born| caller().admits(fence, born);
        let to_config = |fence: &Fence, born| id.admits(fence, born);
        for other in others {
            assert!(admits(other, &to_number) && admits(other, &to_caller));
            assert!(admits(other, &to_config));
        }
        let own = Change::Number(caller());
        assert!(!admits(own, &to_number) && !admits(own, &to_caller) && admits(own, &to_config));
        assert!(!admits(Change::Config(id), &to_config));
    }

    #[tokio::test]
    async fn a_load_that_panics_is_an_error_for_all_who_wait_and_the_next_may_try() {
        let (flights, fence, lifecycle) =
            (Flights::<Caller, ()>::new(), Fence::new(), Lifecycle::new());
        let board =
            || flights.board(caller(), &fence, &lifecycle, |_| async { panic!("a bug in a load") });
        let (first, second) = tokio::join!(board(), board());
        assert_eq!((first, second), (Err(Crashed), Err(Crashed)));
        let third = flights.board(caller(), &fence, &lifecycle, |_| async {}).await;
        assert_eq!(third, Ok(()));
    }
}
