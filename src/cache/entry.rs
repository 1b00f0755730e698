//! An entry: what resolving came to, with what the cache knows of it, in one place.
//!
//! A hit follows one pointer to it and reads what stands first. A [`Resolution`] is such an entry
//! that holds an answer, so handing one over is one `Arc` to share.
//!
//! **Invariant:** what an entry says never changes; what is known of it is set once, when it is kept.

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
// Private, and made in two places only: of an answer, and of an entry that was seen to hold one.
#[derive(Clone)]
pub struct Resolution(Arc<CacheEntry>);

impl Resolution {
    /// One that stands nowhere yet.
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Arc::new(CacheEntry::from(Ok(answer))))
    }

    /// The one that stands in an entry.
    pub(super) fn of(entry: &Arc<CacheEntry>) -> Option<Self> {
        entry.outcome.is_ok().then(|| Self(Arc::clone(entry)))
    }

    /// Whether it has left the index since it was kept: asked by whoever was handed it, after that.
    ///
    /// He counts as a holder first and looks then; who retires it says so first and counts then
    /// (`table.rs`). Neither may be put off behind the other, or both would miss each other: he takes
    /// it for good while it is wiped in his hands. Counting a holder orders nothing by itself, so a
    /// fence stands between the two on either side. `tests/model/weak.rs` shows that both are needed.
    #[inline(always)]
    pub(crate) fn is_retired(&self) -> bool {
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            // Counting is a locked instruction there, which is a fence; only the compiler is told.
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

/// What resolving came to.
pub(crate) type ResolveOutcome = Result<Resolution, Unanswered>;

/// What resolving came to, in one place with what the cache knows of it: a hit then follows one
/// pointer. What a hit reads comes first, so that it is close together.
#[repr(C)]
pub(crate) struct CacheEntry {
    /// Set once, when it is kept.
    meta: OnceLock<Meta>,
    pub(crate) outcome: Result<Answer, Unanswered>,
}

/// What the cache knows of an entry.
#[repr(C)]
pub(super) struct Meta {
    pub(super) caller: Caller,
    pub(super) stamp: Stamp,
    pub(super) fresh_until: Moment,
    /// When it last answered, coarsely: readers share this place and seldom write to it.
    pub(super) used: AtomicU32,
    /// ThreadCache how many threads it stands.
    pub(super) thread_caches: AtomicU16,
    pub(super) needs_lease: bool,
    /// Whether it has left the index, or never was in it.
    pub(super) retired: AtomicBool,
    pub(super) stale_until: Moment,
    /// When it is to be loaded anew if it is in use.
    pub(super) refresh_at: Moment,
    /// Tells this entry from another one under the same key.
    pub(super) serial: u64,
}

impl From<Result<Answer, Unanswered>> for CacheEntry {
    fn from(outcome: Result<Answer, Unanswered>) -> Self {
        Self { meta: OnceLock::new(), outcome }
    }
}

impl CacheEntry {
    /// What it says, to hold.
    #[inline(always)]
    pub(crate) fn outcome(self: &Arc<Self>) -> ResolveOutcome {
        match &self.outcome {
            Ok(_) => Ok(Resolution(Arc::clone(self))),
            Err(unanswered) => Err(unanswered.clone()),
        }
    }

    /// It again, of what it said.
    pub(crate) fn of(outcome: ResolveOutcome) -> Arc<Self> {
        match outcome {
            Ok(Resolution(entry)) => entry,
            Err(unanswered) => Arc::new(Self::from(Err(unanswered))),
        }
    }

    /// `false`: it is kept already.
    pub(super) fn keep(&self, meta: Meta) -> bool {
        self.meta.set(meta).is_ok()
    }

    /// What the cache knows of it; something, where it stands in the index.
    #[inline(always)]
    pub(super) fn meta(&self) -> Option<&Meta> {
        self.meta.get()
    }

    /// What is known of the rules of its number.
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
    /// Notes that it answers. `true`: for the first time in a while.
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

    /// Whether it has answered since then.
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

/// One very entry under a key.
pub(crate) type EntryId = (Caller, u64);

/// One very entry, in half the room of its [`EntryId`].
#[derive(Clone, Copy)]
pub(super) struct CompactId {
    pub(super) hash: u64,
    pub(super) serial: u64,
}

const COARSE: u32 = 26;
