//! The locks, atomics and maps of the cache, named in one place.
//!
//! The files of the cache, the credentials and their tokens import them from here, because
//! `tests/model` compiles those files once more with other primitives, which try another order of
//! steps each time. Only names may be here: the models would not see anything else.

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
