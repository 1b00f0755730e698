//! The index with its duty to wipe: no secret stays in memory after its entry has left the index.
//!
//! An entry that leaves is *retired*. Its answer's credentials are released at once if nobody holds
//! the answer, else when the last holder drops it. A caller that is borrowing the answer from a
//! thread's cache at that moment may find the credentials wiped; it then resolves again.
//!
//! **Invariant:** of an entry that is retired while it is handed to a caller, one of the two notices:
//! either the caller sees that it is retired, or `retire` counts the caller as a holder. Each side
//! writes its own mark first and reads the other's after a fence (`Resolution::is_retired` is the
//! other side). `tests/model/weak.rs` shows that both fences are needed.

use super::entry::{CacheEntry, CompactId, EntryId, Meta};
use super::index::Index;
use crate::number::Caller;
use crate::sync::{Arc, Mutex, MutexGuard, Ordering, PoisonError, Weak, fence};

/// Entries by caller.
pub(super) struct Table {
    index: Index,
    /// Retired answers that callers still hold. Looked at again by each sweep.
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

    /// The same, by the caller's [`hash`](Self::hash).
    #[inline(always)]
    pub(super) fn read_hashed<T>(
        &self,
        hash: u64,
        caller: Caller,
        look: impl FnOnce(&Arc<CacheEntry>, &Meta) -> T,
    ) -> Option<T> {
        self.index.read(hash, |meta| meta.caller == caller, look)
    }

    /// The hash that a caller is found by.
    #[inline(always)]
    pub(super) fn hash(&self, caller: Caller) -> u64 {
        self.index.hash(caller)
    }

    /// Looks at one exact entry, whatever stands under its key by now.
    pub(super) fn read_exact<T>(
        &self,
        CompactId { hash, serial }: CompactId,
        look: impl FnOnce(&CacheEntry, &Meta) -> T,
    ) -> Option<T> {
        self.index.read(hash, |meta| meta.serial == serial, |entry, meta| look(entry, meta))
    }

    /// The same entry id, in half the memory.
    pub(super) fn compact(&self, (caller, serial): EntryId) -> CompactId {
        CompactId { hash: self.hash(caller), serial }
    }

    /// Makes room for so many more entries.
    pub(super) fn reserve(&self, more: usize) {
        self.index.reserve(more);
    }

    /// Inserts an entry and retires the one that it replaces. `false`: the one that is there
    /// outranks it and stays, or this entry is in the index already.
    pub(super) fn insert(
        &self,
        entry: Arc<CacheEntry>,
        meta: Meta,
        outranks: impl FnOnce(&Meta, &Meta) -> bool,
    ) -> bool {
        // Set before the entry is published, so that a reader of the index always finds it.
        if !entry.set_meta(meta) {
            return false;
        }
        // One of the two leaves: the replaced entry, or this one if it lost. Both are retired alike.
        let inserted = self.index.insert(entry, outranks);
        let placed = inserted.is_ok();
        if let Some(goes) = inserted.unwrap_or_else(Some) {
            self.retire(goes);
        }
        placed
    }

    /// Removes the entry of a caller, whichever it is.
    pub(super) fn remove(&self, caller: Caller) {
        if let Some(entry) = self.index.remove(caller, |_| true) {
            self.retire(entry);
        }
    }

    /// Removes one exact entry, and never a newer one under the same key: moka's eviction listener
    /// and the sweep may be late.
    pub(super) fn remove_exact(&self, caller: Caller, serial: u64) {
        if let Some(entry) = self.index.remove(caller, |meta| meta.serial == serial) {
            self.retire(entry);
        }
    }

    /// Removes every entry that `outdated` names.
    pub(super) fn remove_all(&self, outdated: impl Fn(&Meta) -> bool) {
        // Collected first: removing needs the writer lock, which looking does without.
        let mut ids = Vec::new();
        self.index.for_each(|meta| {
            if outdated(meta) {
                ids.push((meta.caller, meta.serial));
            }
        });
        for (caller, serial) in ids {
            self.remove_exact(caller, serial);
        }
    }

    /// Releases the retired answers that no caller holds any more.
    pub(super) fn release_lingering(&self) {
        self.lingering().retain(|answer| !released(answer));
    }

    /// Ends an entry's use of its credentials. It has left the index, or never was in it.
    pub(super) fn retire(&self, entry: Arc<CacheEntry>) {
        if let Some(meta) = entry.meta() {
            // First the mark, then the count of holders (in `released`): the order of the invariant.
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

/// Releases the credentials of a retired answer, if nobody holds it or reads it in the index.
fn released(retired: &Weak<CacheEntry>) -> bool {
    let Some(entry) = retired.upgrade() else {
        // Its last holder dropped it, which released it.
        return true;
    };
    // Between the mark in `retire` and the count of holders: a caller that is not counted below sees
    // the mark. The other half is in `Resolution::is_retired`.
    fence(Ordering::SeqCst);
    // A thread's cache holds the entry first and is counted then; it is uncounted first and lets go
    // then. So if the count of caches is the same before and after, the holders counted in between
    // are this function, those caches, and nobody else.
    let caches =
        || entry.meta().map_or(0, |meta| usize::from(meta.thread_caches.load(Ordering::Acquire)));
    let before = caches();
    let holders = Arc::strong_count(&entry);
    // `strong_count` is relaxed. With this fence, a cache that it saw let go is seen uncounted below.
    fence(Ordering::Acquire);
    let unheld = holders == 1 + before && caches() == before;
    if unheld && let Ok(answer) = &entry.outcome {
        answer.release();
    }
    unheld
}

const FIRST_BUCKETS: usize = 16;
