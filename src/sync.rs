//! Where threads meet: the locks, counters and maps of the cache, named in one place.
//!
//! The files of the cache, the credentials and their tokens take these from here and not from where
//! they are made, because `tests/model` compiles those very files once more, against primitives that
//! try another order of steps each time. Nothing but names may stand here: the models would not see
//! it.

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// A place for one shared thing, read without a lock, and the thing in the hands of a reader.
pub(crate) use arc_swap::{ArcSwapOption as Slot, Guard};
/// Why something is not kept any more.
pub(crate) use moka::notification::RemovalCause;
/// What keeps: capacity, age, and who has to go.
pub(crate) use moka::sync::Cache as EvictionCache;
