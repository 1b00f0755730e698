//! What stands in the index, and the care that nothing secret outlives its place there.
//!
//! An entry that leaves is *retired*: its answer's credentials are released then and there, or, if
//! callers still hold the answer, as soon as the last of them lets go. One who is just now lent it
//! near its thread may find it wiped, and resolves again.

use super::entry::{CacheEntry, CompactId, EntryId, Meta};
use super::index::Index;
use crate::number::Caller;
use crate::sync::{Arc, Mutex, MutexGuard, Ordering, PoisonError, Weak, fence};

/// Entries by caller.
pub(super) struct Table {
    index: Index,
    /// Retired answers that callers still hold.
    lingering: Mutex<Vec<Weak<CacheEntry>>>,
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
        look: impl FnOnce(&Arc<CacheEntry>, &Meta) -> T,
    ) -> Option<T> {
        self.read_hashed(self.hash(caller), caller, look)
    }

    /// The same, by what [`hash`](Self::hash) has said.
    #[inline(always)]
    pub(super) fn read_hashed<T>(
        &self,
        hash: u64,
        caller: Caller,
        look: impl FnOnce(&Arc<CacheEntry>, &Meta) -> T,
    ) -> Option<T> {
        self.index.read(hash, |meta| meta.caller == caller, look)
    }

    /// What a caller is looked for by.
    #[inline(always)]
    pub(super) fn hash(&self, caller: Caller) -> u64 {
        self.index.hash(caller)
    }

    /// Looks at one very entry.
    pub(super) fn read_exact<T>(
        &self,
        CompactId { hash, serial }: CompactId,
        look: impl FnOnce(&CacheEntry, &Meta) -> T,
    ) -> Option<T> {
        self.index.read(hash, |meta| meta.serial == serial, |entry, meta| look(entry, meta))
    }

    /// One very entry, in less room.
    pub(super) fn compact(&self, (caller, serial): EntryId) -> CompactId {
        CompactId { hash: self.hash(caller), serial }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&self, more: usize) {
        self.index.reserve(more);
    }

    /// Puts an entry in its place and retires what stood there. `false`: that outranks it, and
    /// stays; or it stands somewhere already.
    pub(super) fn insert(
        &self,
        entry: Arc<CacheEntry>,
        meta: Meta,
        outranks: impl FnOnce(&Meta, &Meta) -> bool,
    ) -> bool {
        if !entry.keep(meta) {
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
        if let Some(entry) = self.index.remove(caller, |meta| meta.serial == serial) {
            self.retire(entry);
        }
    }

    /// Removes what `outdated` says.
    pub(super) fn remove_all(&self, outdated: impl Fn(&Meta) -> bool) {
        let mut places = Vec::new();
        self.index.for_each(|meta| {
            if outdated(meta) {
                places.push((meta.caller, meta.serial));
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
    pub(super) fn retire(&self, entry: Arc<CacheEntry>) {
        if let Some(meta) = entry.meta() {
            // Seen by whoever is handed it now, before it is counted who holds it.
            meta.retired.swap(true, Ordering::SeqCst);
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

    fn lingering(&self) -> MutexGuard<'_, Vec<Weak<CacheEntry>>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases the credentials of a retired answer if nobody holds it, nor reads it in the index.
fn released(retired: &Weak<CacheEntry>) -> bool {
    let Some(entry) = retired.upgrade() else {
        // Its last holder has let go, and released it by that.
        return true;
    };
    // Between saying that it is retired and counting who holds it: whoever is not counted here sees
    // that it is. The other half is in `Resolution::is_retired`.
    fence(Ordering::SeqCst);
    // What comes near is held first and counted then, and goes the other way round. So with as many
    // near before as after, there is nobody else if nobody else was counted in between.
    let thread_cache =
        || entry.meta().map_or(0, |meta| usize::from(meta.thread_caches.load(Ordering::Acquire)));
    let before = thread_cache();
    let holders = Arc::strong_count(&entry);
    // The count of holders is read without an order of its own: who was seen to have let go must be
    // seen to have gone from near, too.
    fence(Ordering::Acquire);
    let unheld = holders == 1 + before && thread_cache() == before;
    if unheld && let Ok(answer) = &entry.outcome {
        answer.release();
    }
    unheld
}

const FIRST_BUCKETS: usize = 16;
