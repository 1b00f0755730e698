//! Single-flight: one load per key (a number, a config, or a list). The first caller starts it,
//! the others wait for its result.
//!
//! A load is a task of its own. Each caller waits with its own deadline and can neither cancel the
//! load nor restart it. A load that panics is an outcome like any other. (moka's loader does the
//! opposite on all three counts: it restarts when its caller leaves and panics the others after 200
//! restarts.)
//!
//! **Invariant:** no caller gets a result that is older than its question. A load that started before
//! a change of its number is not joined after that change. Which config a load depends on is known
//! only when it ends, so whoever joined it then checks the stamp of the result.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::fence::{Fence, Generation, List, Stamp};
use crate::lifecycle::Lifecycle;
use crate::number::{Caller, ConfigId, E164};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The loads that are running, by key.
pub(crate) struct SingleFlight<K, T> {
    in_flight: Arc<Mutex<HashMap<K, Flight<T>, foldhash::fast::RandomState>>>,
    /// How many more loads may start. A caller without a permit waits, and starts no task meanwhile.
    permits: Arc<Semaphore>,
}

/// What is loaded: at most one load runs per key and generation.
pub(crate) trait LoadKey: Copy + Eq + Hash + Send + 'static {
    /// Whether a load that started in this generation is new enough for a question asked now.
    fn admits(self, fence: &Fence, born: Generation) -> bool;
}

impl LoadKey for Caller {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits(Stamp::new(born, self, None))
    }
}

impl LoadKey for E164 {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits(Stamp::of_number(born, self))
    }
}

impl LoadKey for ConfigId {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits_config(self, born)
    }
}

impl LoadKey for List {
    fn admits(self, fence: &Fence, born: Generation) -> bool {
        fence.admits_list(self, born)
    }
}

struct Flight<T> {
    born: Generation,
    receiver: watch::Receiver<Option<T>>,
}

/// A load ended without a result: it panicked, or the runtime is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crashed;

impl<K: LoadKey, T: Clone + Send + Sync + 'static> SingleFlight<K, T> {
    pub(crate) fn new() -> Self {
        Self { in_flight: Arc::default(), permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) }
    }

    /// Joins the running load of a key, or starts one, and waits for its result.
    ///
    /// `load` gets the generation that it must stamp its result with. That is read here, before the
    /// load begins. Cancelling this future does not cancel the load.
    pub(crate) async fn join_or_start<F>(
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
        let mut permit = Arc::clone(&self.permits).try_acquire_owned().ok();
        let mut receiver = loop {
            let joined = self.try_join_or_start(to, fence, lifecycle, &mut load, permit.take());
            match joined {
                Some(receiver) => break receiver,
                None => permit = Arc::clone(&self.permits).acquire_owned().await.ok(),
            }
        };
        let loaded = receiver.wait_for(Option::is_some).await.map_err(|_| Crashed)?;
        loaded.clone().ok_or(Crashed)
    }

    /// `None`: there is no load to join and no permit to start one.
    fn try_join_or_start<F>(
        &self,
        to: K,
        fence: &Fence,
        lifecycle: &Lifecycle,
        load: &mut Option<impl FnOnce(Generation) -> F>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<watch::Receiver<Option<T>>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut in_flight = lock(&self.in_flight);
        if let Some(flight) = in_flight.get(&to)
            && to.admits(fence, flight.born)
        {
            return Some(flight.receiver.clone());
        }
        let (permit, load) = (permit?, load.take()?);
        let born = fence.generation();
        let (sender, receiver) = watch::channel(None);
        in_flight.insert(to, Flight { born, receiver: receiver.clone() });
        drop(in_flight);
        let mut load = Box::pin(AssertUnwindSafe(load(born)).catch_unwind());
        // Polled once here, so that the database is at work while the task starts. The task polls
        // again at once, so no wake-up of this first poll can be lost.
        let first = load.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let in_flight = Arc::clone(&self.in_flight);
        lifecycle.spawn("load", async move {
            let result = match first {
                Poll::Ready(result) => result,
                Poll::Pending => load.await,
            };
            drop(permit);
            // Removed before the result is announced: whoever asks from here on starts a new load.
            let mut in_flight = lock(&in_flight);
            if in_flight.get(&to).is_some_and(|flight| flight.born == born) {
                in_flight.remove(&to);
            }
            drop(in_flight);
            // A panic drops the sender without a result, which is what `Crashed` is.
            if let Ok(result) = result {
                sender.send_replace(Some(result));
            }
        });
        Some(receiver)
    }
}

fn lock<A>(in_flight: &Mutex<A>) -> MutexGuard<'_, A> {
    // Nothing that runs under this lock can leave the map half changed.
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store has a few connections; more loads than this at once only wait for them.
const MAX_IN_FLIGHT: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;
    use crate::change::Change;
    use crate::number::TenantId;

    struct Lab {
        single_flight: SingleFlight<Caller, usize>,
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
                single_flight: SingleFlight::new(),
                fence: Fence::new(),
                lifecycle: Lifecycle::new(),
                loads: Arc::default(),
                gate: Arc::default(),
            }
        }

        /// A load that takes a ticket and then waits at the gate.
        async fn load(&self) -> Result<usize, Crashed> {
            let (loads, gate) = (Arc::clone(&self.loads), Arc::clone(&self.gate));
            self.single_flight
                .join_or_start(caller(), &self.fence, &self.lifecycle, move |_| async move {
                    let ticket = loads.fetch_add(1, Ordering::SeqCst) + 1;
                    gate.notified().await;
                    ticket
                })
                .await
        }

        async fn until_started(&self, loads: usize) {
            for _ in 0..10_000 {
                if self.loads.load(Ordering::SeqCst) >= loads {
                    return;
                }
                tokio::task::yield_now().await;
            }
            panic!("{loads} loads never started");
        }
    }

    #[tokio::test]
    async fn callers_that_leave_neither_cancel_nor_restart_the_load() {
        let lab = Lab::new();
        for _ in 0..500 {
            let load = lab.load();
            tokio::pin!(load);
            assert!(futures_util::poll!(&mut load).is_pending());
        }
        lab.until_started(1).await;
        let last = lab.load();
        lab.gate.notify_one();
        assert_eq!(last.await, Ok(1));
        assert_eq!(lab.loads.load(Ordering::SeqCst), 1);
        assert_eq!(lock(&lab.single_flight.in_flight).len(), 0);
    }

    #[tokio::test]
    async fn a_load_that_started_before_a_change_is_not_joined_after_it() {
        let lab = Lab::new();
        let (early, late) = (lab.load(), lab.load());
        tokio::pin!(early, late);
        assert!(futures_util::poll!(&mut early).is_pending());
        lab.until_started(1).await;
        lab.fence.bump(Change::Number(caller()));
        assert!(futures_util::poll!(&mut late).is_pending());
        lab.until_started(2).await;
        lab.gate.notify_waiters();
        assert_eq!((early.await, late.await), (Ok(1), Ok(2)));
    }

    #[test]
    fn a_load_is_joined_until_its_key_changes() {
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
        let (loads, fence, lifecycle) =
            (SingleFlight::<Caller, ()>::new(), Fence::new(), Lifecycle::new());
        let load = || {
            loads.join_or_start(caller(), &fence, &lifecycle, |_| async {
                panic!("a bug in a load")
            })
        };
        let (first, second) = tokio::join!(load(), load());
        assert_eq!((first, second), (Err(Crashed), Err(Crashed)));
        let third = loads.join_or_start(caller(), &fence, &lifecycle, |_| async {}).await;
        assert_eq!(third, Ok(()));
    }
}
