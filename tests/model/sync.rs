//! What `src/sync.rs` names, for models: every use is a step at which another thread may go on.

use std::collections::HashMap;
use std::hash::{Hash, RandomState};
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use shuttle::rand::Rng;
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::Ordering;

/// Every operation here is sequentially consistent anyway.
pub(crate) fn fence(_: Ordering) {
    step();
}

pub(crate) fn compiler_fence(_: Ordering) {}

/// Lets another thread go on.
fn step() {
    // shuttle has no time: a sleep is a choice of who is next.
    shuttle::thread::sleep(Duration::ZERO);
}

/// shuttle's own atomics take microseconds to make, and a fence has two thousand.
macro_rules! atomics {
    ($($atomic:ident of $value:ty: $($store:ident)? | $($change:ident)*;)*) => {$(
        #[derive(Default)]
        pub(crate) struct $atomic(std::sync::atomic::$atomic);

        impl $atomic {
            pub(crate) fn new(value: $value) -> Self {
                Self(value.into())
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            $(pub(crate) fn $store(&self, value: $value, order: Ordering) {
                step();
                self.0.$store(value, order);
            })?

            $(pub(crate) fn $change(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.$change(value, order)
            })*
        }
    )*};
}
atomics! {
    AtomicBool of bool: store | swap fetch_or;
    AtomicU16 of u16: | fetch_add fetch_sub;
    AtomicU32 of u32: store |;
    AtomicU64 of u64: store | fetch_add fetch_max;
    AtomicUsize of usize: store | fetch_add fetch_sub;
}

/// A place for one shared thing, each use of it one step.
pub(crate) struct Slot<T>(std::sync::Mutex<Option<Arc<T>>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(std::sync::Mutex::default())
    }
}

impl<T> Slot<T> {
    pub(crate) fn load(&self) -> Guard<Option<Arc<T>>> {
        Guard(self.load_full())
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        step();
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn swap(&self, new: Option<Arc<T>>) -> Option<Arc<T>> {
        step();
        std::mem::replace(&mut *self.0.lock().unwrap(), new)
    }

    pub(crate) fn store(&self, new: Option<Arc<T>>) {
        drop(self.swap(new));
    }
}

/// What was found in a [`Slot`].
pub(crate) struct Guard<T>(T);

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A stand-in for moka that keeps as many as it may and tells of what has gone late and from another thread, as moka may.
pub(crate) struct EvictionCache<K, V, S = RandomState> {
    kept: Mutex<HashMap<K, V>>,
    /// What has gone and nobody was told of yet.
    gone: Mutex<Vec<(K, V)>>,
    listener: Box<Listener<K, V>>,
    capacity: usize,
    hasher: PhantomData<S>,
}

type Listener<K, V> = dyn Fn(Arc<K>, V, RemovalCause) + Send + Sync;

/// Why. Only how many there were of each is counted.
#[expect(dead_code, reason = "nothing grows old here")]
pub(crate) enum RemovalCause {
    Size,
    Expired,
    Explicit,
    Replaced,
}

impl<K: Hash + Eq + Copy, V> EvictionCache<K, V> {
    pub(crate) fn builder() -> Builder<K, V> {
        Builder { capacity: usize::MAX, listener: Box::new(|_, _, _| {}) }
    }
}

impl<K: Hash + Eq + Copy, V, S> EvictionCache<K, V, S> {
    pub(crate) fn get(&self, key: &K) -> bool {
        self.lock().contains_key(key)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let replaced = self.lock().insert(key, value);
        self.went(replaced.map(|value| (key, value)));
        if chance() {
            self.run_pending_tasks();
        }
    }

    pub(crate) fn invalidate(&self, key: &K) {
        let gone = self.lock().remove(key);
        self.went(gone.map(|value| (*key, value)));
    }

    pub(crate) fn invalidate_all(&self) {
        let all: Vec<_> = self.lock().drain().collect();
        self.went(all);
    }

    pub(crate) fn run_pending_tasks(&self) {
        let mut kept = self.lock();
        let many = kept.len().saturating_sub(self.capacity);
        let evicted: Vec<_> = kept.keys().copied().take(many).collect();
        let evicted: Vec<_> =
            evicted.into_iter().filter_map(|key| Some((key, kept.remove(&key)?))).collect();
        drop(kept);
        self.went(evicted);
        let logged: Vec<_> = self.gone.lock().unwrap().drain(..).collect();
        for (key, value) in logged {
            (self.listener)(Arc::new(key), value, RemovalCause::Explicit);
        }
    }

    fn went(&self, gone: impl IntoIterator<Item = (K, V)>) {
        self.gone.lock().unwrap().extend(gone);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.kept.lock().unwrap()
    }
}

/// As moka's.
pub(crate) struct Builder<K, V> {
    capacity: usize,
    listener: Box<Listener<K, V>>,
}

impl<K: Hash + Eq + Copy, V> Builder<K, V> {
    pub(crate) fn max_capacity(self, capacity: u64) -> Self {
        Self { capacity: usize::try_from(capacity).unwrap_or(usize::MAX), ..self }
    }

    pub(crate) fn time_to_live(self, _: Duration) -> Self {
        self
    }

    pub(crate) fn eviction_listener(
        self,
        listener: impl Fn(Arc<K>, V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        Self { listener: Box::new(listener), ..self }
    }

    pub(crate) fn build_with_hasher<S>(self, _: S) -> EvictionCache<K, V, S> {
        EvictionCache {
            kept: Mutex::default(),
            gone: Mutex::default(),
            listener: self.listener,
            capacity: self.capacity,
            hasher: PhantomData,
        }
    }
}

fn chance() -> bool {
    shuttle::rand::thread_rng().gen_bool(0.5)
}
