//! The index that serves hits, and the care that nothing secret outlives its place in it.
//!
//! The map frees what is removed from it when no reader can see it any more, which may be late. So
//! an entry that leaves is *retired*: its answer's credentials are released then and there, or, if
//! callers still hold the answer, as soon as the last of them lets go.

use super::fence::Stamp;
use crate::clock::Moment;
use crate::credentials::{Answer, Origin, Resolution};
use crate::environment::ResolveError;
use crate::number::Caller;
use crate::rules::Rules;
use crate::sync::{
    Arc, AtomicBool, AtomicU32, Index, Mutex, MutexGuard, Ordering, PoisonError, Weak,
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

/// A cached answer.
pub(super) struct Entry {
    pub(super) outcome: Outcome,
    pub(super) stamp: Stamp,
    pub(super) fresh_until: Moment,
    pub(super) keep_until: Moment,
    pub(super) needs_lease: bool,
    /// When it is to be loaded anew if it is in use.
    pub(super) refresh_at: Moment,
    /// When it last answered, coarsely: readers share this place and seldom write to it.
    pub(super) used: AtomicU32,
    /// Tells this entry from another one under the same key.
    pub(super) serial: u64,
    pub(super) retired: AtomicBool,
}

impl Entry {
    /// The answer, where it came from the database.
    pub(super) fn database_answer(&self) -> Option<&Arc<Answer>> {
        let Ok(Resolution(answer)) = &self.outcome else { return None };
        matches!(answer.origin, Origin::Database { .. }).then_some(answer)
    }
}

impl Entry {
    /// Notes that it answers.
    pub(super) fn use_at(&self, now: Moment) {
        let now = coarse(now);
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Whether it has answered since it was loaded for its first caller, or anew for nobody.
    pub(super) fn was_used(&self) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        self.database_answer().is_some_and(|answer| used > coarse(answer.loaded_at))
    }

    /// When it last answered.
    pub(super) fn used_at(&self) -> Moment {
        Moment(u64::from(self.used.load(Ordering::Relaxed)) << COARSE)
    }
}

/// A moment in units of 2^26 ns, which are 67 ms.
pub(super) fn coarse(at: Moment) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "9 years fit")]
    let coarse = (at.0 >> COARSE) as u32;
    coarse
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(answer) = self.database_answer() {
            answer.entry_gone.store(true, Ordering::Release);
        }
    }
}

/// Entries by caller.
#[derive(Default)]
pub(super) struct Table {
    pub(super) index: Index<Caller, Entry, foldhash::fast::RandomState>,
    /// Held while an entry is put in, so that what it was judged against is what it replaces.
    placing: Mutex<()>,
    /// Retired answers that callers still hold.
    lingering: Mutex<Vec<Weak<Answer>>>,
}

impl Table {
    /// Puts an entry in its place and retires what stood there. `false`: that outranks it, and
    /// stays.
    pub(super) fn insert(
        &self,
        caller: Caller,
        entry: Entry,
        outranks: impl FnOnce(&Entry, &Entry) -> bool,
    ) -> bool {
        let index = self.index.pin();
        let placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        if index.get(&caller).is_some_and(|there| outranks(there, &entry)) {
            drop(placing);
            self.retire(&entry);
            return false;
        }
        let replaced = index.insert(caller, entry);
        drop(placing);
        if let Some(replaced) = replaced {
            self.retire(replaced);
        }
        true
    }

    /// Removes whatever stands under a key.
    pub(super) fn remove(&self, caller: Caller) {
        if let Some(entry) = self.index.pin().remove(&caller) {
            self.retire(entry);
        }
    }

    /// Removes one very entry, never whatever stands under its key by now.
    pub(super) fn remove_exact(&self, caller: Caller, serial: u64) {
        let index = self.index.pin();
        if let Ok(Some((_, entry))) = index.remove_if(&caller, |_, entry| entry.serial == serial) {
            self.retire(entry);
        }
    }

    /// Removes what `outdated` says.
    pub(super) fn remove_all(&self, outdated: impl Fn(&Entry) -> bool) {
        let index = self.index.pin();
        for (caller, entry) in &index {
            if outdated(entry) {
                self.remove_exact(*caller, entry.serial);
            }
        }
    }

    /// Releases the answers that callers have let go of since they were retired.
    pub(super) fn release_lingering(&self) {
        self.lingering().retain(|answer| !released(answer));
    }

    /// Leaves an entry's credentials, once.
    pub(super) fn retire(&self, entry: &Entry) {
        if entry.retired.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(answer) = entry.database_answer() {
            let answer = Arc::downgrade(answer);
            if !released(&answer) {
                self.lingering().push(answer);
            }
        }
    }

    fn lingering(&self) -> MutexGuard<'_, Vec<Weak<Answer>>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases the credentials of a retired answer if no caller holds it. One who is just now reading
/// it from the index may find it wiped, and resolves again.
fn released(retired: &Weak<Answer>) -> bool {
    let Some(answer) = retired.upgrade() else {
        // Its last holder has let go, and released it by that.
        return true;
    };
    // This upgrade, and the entry while that is still in memory.
    let own = 1 + usize::from(!answer.entry_gone.load(Ordering::Acquire));
    let unheld = Arc::strong_count(&answer) <= own;
    if unheld {
        answer.release();
    }
    unheld
}

const COARSE: u32 = 26;
