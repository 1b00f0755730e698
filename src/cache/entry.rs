//! An entry: the outcome of a load together with the cache's data about it (its *meta*).
//!
//! A hit follows one pointer and reads the start of the entry. A [`Resolution`] is an entry that
//! holds an answer, so handing one over costs one reference count.
//!
//! **Invariant:** the outcome of an entry never changes. Its meta is set once, when the entry is
//! inserted.

use std::fmt;
use std::ops::Deref;

use super::fence::Stamp;
use crate::answer::{Answer, AnswerOrigin, KnownRules, Unanswered};
use crate::clock::Moment;
use crate::number::Caller;
use crate::sync::{
    Arc, AtomicBool, AtomicU16, AtomicU32, OnceLock, Ordering, compiler_fence, fence,
};

/// The answer for one caller, to keep for as long as it is needed. Cloning shares it.
// The field is private. Only `new` and `of` make one, both from an outcome that is an answer.
#[derive(Clone)]
pub struct Resolution(Arc<CacheEntry>);

impl Resolution {
    /// One that is in no cache yet.
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Arc::new(CacheEntry::from(Ok(answer))))
    }

    /// The answer of an entry, if it holds one.
    pub(super) fn of(entry: &Arc<CacheEntry>) -> Option<Self> {
        entry.outcome.is_ok().then(|| Self(Arc::clone(entry)))
    }

    /// Whether it has left the index since it was inserted. Asked by a caller that has just got it.
    ///
    /// The caller is counted as a holder first, and reads the mark then. `Table::retire` sets the mark
    /// first, and counts the holders then. Neither pair may be reordered: else both sides could miss
    /// each other, and the caller would hold credentials that are wiped. Raising a reference count
    /// orders nothing, so each side has a fence. `tests/model/weak.rs` shows that both are needed.
    #[inline(always)]
    pub(crate) fn is_retired(&self) -> bool {
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            // Raising the count is a locked instruction there, and so a fence of the processor. Only
            // the compiler needs one.
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        self.0.meta().is_some_and(Meta::is_retired)
    }
}

impl Deref for Resolution {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        match &self.0.outcome {
            Ok(answer) => answer,
            Err(_) => {
                unreachable!("`new` and `of` take an answer, and what an entry says never changes")
            }
        }
    }
}

impl fmt::Debug for Resolution {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, out)
    }
}

/// The outcome of resolving a caller.
pub(crate) type ResolveOutcome = Result<Resolution, Unanswered>;

/// The outcome of a load and the cache's data about it. The fields that a hit reads come first, so
/// that they share a cache line.
#[repr(C)]
pub(crate) struct CacheEntry {
    /// Set once, when it is inserted.
    meta: OnceLock<Meta>,
    pub(crate) outcome: Result<Answer, Unanswered>,
}

/// The cache's data about an entry.
#[repr(C)]
pub(super) struct Meta {
    pub(super) caller: Caller,
    pub(super) stamp: Stamp,
    pub(super) fresh_until: Moment,
    /// When it last answered, in coarse units: readers share this field, so they must seldom write it.
    pub(super) used: AtomicU32,
    /// In how many threads' caches it is.
    pub(super) thread_caches: AtomicU16,
    pub(super) needs_lease: bool,
    /// Whether it has left the index, or never was in it.
    pub(super) retired: AtomicBool,
    pub(super) stale_until: Moment,
    /// When to reload it, if it is in use.
    pub(super) refresh_at: Moment,
    /// Distinguishes this entry from others under the same key.
    pub(super) serial: u64,
}

impl From<Result<Answer, Unanswered>> for CacheEntry {
    fn from(outcome: Result<Answer, Unanswered>) -> Self {
        Self { meta: OnceLock::new(), outcome }
    }
}

impl CacheEntry {
    /// The outcome, to hold on to.
    #[inline(always)]
    pub(crate) fn outcome(self: &Arc<Self>) -> ResolveOutcome {
        match &self.outcome {
            Ok(_) => Ok(Resolution(Arc::clone(self))),
            Err(unanswered) => Err(unanswered.clone()),
        }
    }

    /// An entry of an outcome: the same one, if the outcome is an answer.
    pub(crate) fn of(outcome: ResolveOutcome) -> Arc<Self> {
        match outcome {
            Ok(Resolution(entry)) => entry,
            Err(unanswered) => Arc::new(Self::from(Err(unanswered))),
        }
    }

    /// `false`: it was inserted already.
    pub(super) fn set_meta(&self, meta: Meta) -> bool {
        self.meta.set(meta).is_ok()
    }

    /// The cache's data about it. Always there while the entry is in the index.
    #[inline(always)]
    pub(super) fn meta(&self) -> Option<&Meta> {
        self.meta.get()
    }

    /// The rules of its number, as far as they are known.
    pub(super) fn known_rules(&self) -> KnownRules {
        match &self.outcome {
            Ok(answer) => answer.known_rules(),
            Err(unanswered) => unanswered.rules.clone(),
        }
    }

    /// The answer, where it came from the database.
    pub(super) fn database_answer(&self) -> Option<&Answer> {
        let answer = self.outcome.as_ref().ok()?;
        matches!(answer.origin, AnswerOrigin::Database { .. }).then_some(answer)
    }
}

impl Meta {
    /// Records that it answers. `true`: for the first time in this unit of time.
    #[inline(always)]
    pub(super) fn mark_used(&self, now: Moment) -> bool {
        let now = coarse(now);
        let first = self.used.load(Ordering::Relaxed) != now;
        if first {
            self.used.store(now, Ordering::Relaxed);
        }
        first
    }

    #[inline(always)]
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(super) fn enter_thread_cache(&self) {
        self.thread_caches.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave_thread_cache(&self) {
        self.thread_caches.fetch_sub(1, Ordering::AcqRel);
    }

    /// When it last answered.
    pub(super) fn used_at(&self) -> Moment {
        Moment(u64::from(self.used.load(Ordering::Relaxed)) << COARSE)
    }

    /// Whether it has answered since that moment.
    pub(super) fn was_used_since(&self, then: Moment) -> bool {
        self.used.load(Ordering::Relaxed) > coarse(then)
    }
}

/// A moment in units of 2^26 ns, which are 67 ms.
#[inline(always)]
pub(super) fn coarse(at: Moment) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "9 years fit")]
    let coarse = (at.0 >> COARSE) as u32;
    coarse
}

/// Names one exact entry: its key, and the serial number that tells it from others under that key.
pub(crate) type EntryId = (Caller, u64);

/// The same as an [`EntryId`], in half the memory.
#[derive(Clone, Copy)]
pub(super) struct CompactId {
    pub(super) hash: u64,
    pub(super) serial: u64,
}

const COARSE: u32 = 26;
