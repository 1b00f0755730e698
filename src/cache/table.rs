//! What stands in the index, and the care that nothing secret outlives its place there.
//!
//! An entry that leaves is *retired*: its answer's credentials are released then and there, or, if
//! callers still hold the answer, as soon as the last of them lets go. One who is just now lent it
//! near its thread may find it wiped, and resolves again.

use super::Place;
use super::fence::Stamp;
use super::index::Index;
use crate::clock::Moment;
use crate::credentials::{Answer, Origin, Resolution};
use crate::environment::ResolveError;
use crate::number::Caller;
use crate::rules::Rules;
use crate::sync::{
    Arc, AtomicBool, AtomicU16, AtomicU32, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak,
};

/// What resolving came to.
pub(crate) type Outcome = Result<Resolution, Unanswered>;

/// Why there are no credentials, and what the number's row says none the less.
#[derive(Debug, Clone)]
pub(crate) struct Unanswered {
    pub(crate) error: ResolveError,
    pub(crate) rules: Option<Arc<Rules>>,
}

impl From<ResolveError> for Unanswered {
    fn from(error: ResolveError) -> Self {
        Self { error, rules: None }
    }
}

impl From<Unanswered> for ResolveError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}

/// What resolving came to, in one place with what the cache knows of it: a hit then follows one
/// pointer. What a hit reads comes first, so that it is close together.
#[repr(C)]
pub(crate) struct Entry {
    /// Set once, when it is kept.
    kept: OnceLock<Kept>,
    pub(crate) said: Result<Answer, Unanswered>,
}

/// What the cache knows of an entry.
#[repr(C)]
pub(super) struct Kept {
    pub(super) caller: Caller,
    pub(super) stamp: Stamp,
    pub(super) fresh_until: Moment,
    /// When it last answered, coarsely: readers share this place and seldom write to it.
    pub(super) used: AtomicU32,
    /// Near how many threads it stands.
    pub(super) near: AtomicU16,
    pub(super) needs_lease: bool,
    /// Whether it has left the index, or never was in it.
    pub(super) retired: AtomicBool,
    pub(super) keep_until: Moment,
    /// When it is to be loaded anew if it is in use.
    pub(super) refresh_at: Moment,
    /// Tells this entry from another one under the same key.
    pub(super) serial: u64,
}

impl From<Result<Answer, Unanswered>> for Entry {
    fn from(said: Result<Answer, Unanswered>) -> Self {
        Self { kept: OnceLock::new(), said }
    }
}

impl Entry {
    /// What it says, to hold.
    #[inline(always)]
    pub(crate) fn outcome(self: &Arc<Self>) -> Outcome {
        match &self.said {
            Ok(_) => Ok(Resolution(Arc::clone(self))),
            Err(unanswered) => Err(unanswered.clone()),
        }
    }

    /// It again, of what it said.
    pub(crate) fn of(outcome: Outcome) -> Arc<Self> {
        match outcome {
            Ok(Resolution(entry)) => entry,
            Err(unanswered) => Arc::new(Self::from(Err(unanswered))),
        }
    }

    /// Whether it was kept, and has left the index since.
    #[inline(always)]
    pub(crate) fn is_retired(&self) -> bool {
        self.kept().is_some_and(Kept::is_retired)
    }

    /// `false`: it is kept already.
    pub(super) fn keep(&self, kept: Kept) -> bool {
        self.kept.set(kept).is_ok()
    }

    /// What the cache knows of it; something, where it stands in the index.
    #[inline(always)]
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.kept.get()
    }

    /// The answer, where it came from the database.
    pub(super) fn database_answer(&self) -> Option<&Answer> {
        let answer = self.said.as_ref().ok()?;
        matches!(answer.origin, Origin::Database { .. }).then_some(answer)
    }
}

impl Kept {
    /// Notes that it answers. `true`: for the first time in a while.
    #[inline(always)]
    pub(super) fn use_at(&self, now: Moment) -> bool {
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

    pub(super) fn came_near(&self) {
        self.near.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn goes_from_near(&self) {
        self.near.fetch_sub(1, Ordering::AcqRel);
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

/// One very entry, in half the room of its [`Place`].
#[derive(Clone, Copy)]
pub(super) struct Noted {
    hash: u64,
    serial: u64,
}

/// Entries by caller.
pub(super) struct Table {
    index: Index,
    /// Retired answers that callers still hold.
    lingering: Mutex<Vec<Weak<Entry>>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { index: Index::new(FIRST_BUCKETS), lingering: Mutex::default() }
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Looks at the entry of a caller.
    #[inline(always)]
    pub(super) fn read<T>(
        &self,
        caller: Caller,
        look: impl FnOnce(&Arc<Entry>, &Kept) -> T,
    ) -> Option<T> {
        self.read_hashed(self.hash(caller), caller, look)
    }

    /// The same, by what [`hash`](Self::hash) has said.
    #[inline(always)]
    pub(super) fn read_hashed<T>(
        &self,
        hash: u64,
        caller: Caller,
        look: impl FnOnce(&Arc<Entry>, &Kept) -> T,
    ) -> Option<T> {
        self.index.read(hash, |kept| kept.caller == caller, look)
    }

    /// What a caller is looked for by.
    #[inline(always)]
    pub(super) fn hash(&self, caller: Caller) -> u64 {
        self.index.hash(caller)
    }

    /// Looks at one very entry.
    pub(super) fn read_exact<T>(
        &self,
        Noted { hash, serial }: Noted,
        look: impl FnOnce(&Entry, &Kept) -> T,
    ) -> Option<T> {
        self.index.read(hash, |kept| kept.serial == serial, |entry, kept| look(entry, kept))
    }

    /// One very entry, in less room.
    pub(super) fn note(&self, (caller, serial): Place) -> Noted {
        Noted { hash: self.hash(caller), serial }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&self, more: usize) {
        self.index.reserve(more);
    }

    /// Puts an entry in its place and retires what stood there. `false`: that outranks it, and
    /// stays; or it stands somewhere already.
    pub(super) fn insert(
        &self,
        entry: Arc<Entry>,
        kept: Kept,
        outranks: impl FnOnce(&Kept, &Kept) -> bool,
    ) -> bool {
        if !entry.keep(kept) {
            return false;
        }
        let inserted = self.index.insert(entry, outranks);
        let placed = inserted.is_ok();
        if let Some(goes) = inserted.unwrap_or_else(Some) {
            self.retire(goes);
        }
        placed
    }

    /// Removes whatever stands under a key.
    pub(super) fn remove(&self, caller: Caller) {
        if let Some(entry) = self.index.remove(caller, |_| true) {
            self.retire(entry);
        }
    }

    /// Removes one very entry, never whatever stands under its key by now.
    pub(super) fn remove_exact(&self, caller: Caller, serial: u64) {
        if let Some(entry) = self.index.remove(caller, |kept| kept.serial == serial) {
            self.retire(entry);
        }
    }

    /// Removes what `outdated` says.
    pub(super) fn remove_all(&self, outdated: impl Fn(&Kept) -> bool) {
        let mut places = Vec::new();
        self.index.for_each(|kept| {
            if outdated(kept) {
                places.push((kept.caller, kept.serial));
            }
        });
        for (caller, serial) in places {
            self.remove_exact(caller, serial);
        }
    }

    /// Releases the answers that callers have let go of since they were retired.
    pub(super) fn release_lingering(&self) {
        self.lingering().retain(|answer| !released(answer));
    }

    /// Leaves the credentials of an entry that is in the index no more, or never was.
    pub(super) fn retire(&self, entry: Arc<Entry>) {
        if let Some(kept) = entry.kept() {
            // Seen by whoever is handed it now, before it is counted who holds it.
            kept.retired.swap(true, Ordering::SeqCst);
        }
        if entry.database_answer().is_none() {
            return;
        }
        let retired = Arc::downgrade(&entry);
        drop(entry);
        if !released(&retired) {
            self.lingering().push(retired);
        }
    }

    fn lingering(&self) -> MutexGuard<'_, Vec<Weak<Entry>>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases the credentials of a retired answer if nobody holds it, nor reads it in the index.
fn released(retired: &Weak<Entry>) -> bool {
    let Some(entry) = retired.upgrade() else {
        // Its last holder has let go, and released it by that.
        return true;
    };
    // What comes near is held first and counted then, and goes the other way round. So with as many
    // near before as after, there is nobody else if nobody else was counted in between.
    let near = || entry.kept().map_or(0, |kept| usize::from(kept.near.load(Ordering::Acquire)));
    let before = near();
    let unheld = Arc::strong_count(&entry) == 1 + before && near() == before;
    if unheld && let Ok(answer) = &entry.said {
        answer.release();
    }
    unheld
}

const COARSE: u32 = 26;
const FIRST_BUCKETS: usize = 16;
