//! Entries by caller: a hash table that is read without a lock, by two dependent reads of memory.
//!
//! A look-up reads one bucket (`index/bucket.rs`), follows one pointer, and compares the caller that
//! it finds there. Writers take turns under one lock.
//!
//! When a level is full, one twice as large replaces it. The emptied levels stay allocated, because
//! a reader may still be in one. All of them together are as large as the level in use.
//!
//! **Invariant:** within a level no entry ever moves, so a look-up cannot miss one because of a
//! writer. A new level is published only when every entry stands in it, and the old one is emptied
//! after that. So a look-up that finds nothing looks again if the level has changed meanwhile.

mod bucket;

use std::hash::BuildHasher;

use self::bucket::{Bucket, find, meta_in, put, take};
use super::entry::{CacheEntry, Meta};
use crate::number::Caller;
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};

/// The entries.
pub(super) struct Index {
    levels: [OnceLock<Box<[Bucket]>>; LEVELS],
    /// Which level is in use. Only grows.
    level: AtomicUsize,
    len: AtomicUsize,
    /// How many buckets the first level has; a power of two.
    first: usize,
    hasher: foldhash::fast::RandomState,
    writing: Mutex<()>,
}

impl Index {
    /// An empty one, whose first level has so many buckets.
    pub(super) fn new(first: usize) -> Self {
        let index = Self {
            levels: Default::default(),
            level: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            first: first.next_power_of_two(),
            hasher: foldhash::fast::RandomState::default(),
            writing: Mutex::default(),
        };
        index.make(0);
        index
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The hash that a caller is found by.
    #[inline(always)]
    pub(super) fn hash(&self, caller: Caller) -> u64 {
        self.hasher.hash_one(caller)
    }

    /// Looks at the entry with this hash that `is_it` accepts. It cannot be freed meanwhile.
    #[inline(always)]
    pub(super) fn read<T>(
        &self,
        hash: u64,
        is_it: impl Fn(&Meta) -> bool,
        look: impl FnOnce(&Arc<CacheEntry>, &Meta) -> T,
    ) -> Option<T> {
        loop {
            let level = self.level.load(Ordering::Acquire);
            if let Some(found) = find(self.buckets(level), hash, &is_it) {
                let entry = found.entry.as_ref()?;
                return Some(look(entry, entry.meta()?));
            }
            // A writer may have moved it to the next level between the two reads. `make_room`
            // publishes the new level before it empties the old one, so then this load sees it.
            if self.level.load(Ordering::Acquire) == level {
                return None;
            }
        }
    }

    /// Inserts an entry and returns the one that it replaced. `Err`: the one that is there outranks
    /// it and stays, or there is no room.
    pub(super) fn insert(
        &self,
        entry: Arc<CacheEntry>,
        outranks: impl FnOnce(&Meta, &Meta) -> bool,
    ) -> Result<Option<Arc<CacheEntry>>, Arc<CacheEntry>> {
        let Some(meta) = entry.meta() else { return Err(entry) };
        let hash = self.hasher.hash_one(meta.caller);
        // Compared and replaced under one lock: else of two loads that end together the older could win.
        let _writing = self.lock();
        if let Some(found) = find(self.in_use(), hash, |there| there.caller == meta.caller) {
            if meta_in(found.entry.as_ref()).is_some_and(|there| outranks(there, meta)) {
                return Err(entry);
            }
            return Ok(found.replace(entry));
        }
        self.make_room(1);
        put(self.in_use(), hash, entry)?;
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    /// Removes the entry of a caller, if `is_meant` accepts it.
    pub(super) fn remove(
        &self,
        caller: Caller,
        is_meant: impl FnOnce(&Meta) -> bool,
    ) -> Option<Arc<CacheEntry>> {
        let hash = self.hasher.hash_one(caller);
        let _writing = self.lock();
        let found = find(self.in_use(), hash, |there| there.caller == caller)?;
        if !meta_in(found.entry.as_ref()).is_some_and(is_meant) {
            return None;
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        take(self.in_use(), hash, &found)
    }

    /// Looks at every entry, in no order; at some perhaps twice. An entry that is inserted or removed
    /// meanwhile may be seen or not.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Meta)) {
        loop {
            let level = self.level.load(Ordering::Acquire);
            self.buckets(level).iter().for_each(|bucket| bucket.for_each(&mut look));
            // Entries that moved to another level meanwhile are looked at there.
            if self.level.load(Ordering::Acquire) == level {
                return;
            }
        }
    }

    /// Makes room for so many more entries at once, which is less work than level by level.
    pub(super) fn reserve(&self, more: usize) {
        let _writing = self.lock();
        self.make_room(more);
    }

    fn make_room(&self, more: usize) {
        let level = self.level.load(Ordering::Relaxed);
        let wanted = (self.len() + more).div_ceil(FULL);
        let next = (level..LEVELS - 1).find(|&level| self.size(level) >= wanted);
        let next = next.unwrap_or(LEVELS - 1);
        if next == level {
            return;
        }
        let (old, new) = (self.buckets(level), self.make(next));
        for entry in old.iter().flat_map(Bucket::entries) {
            let hash = entry.meta().map_or(0, |meta| self.hasher.hash_one(meta.caller));
            // This cannot fail: the level is larger, and nobody else writes.
            let _placed = put(new, hash, entry);
        }
        // Published when it is complete, and before the old one is emptied: a reader that finds the
        // old one empty sees the new level in its second read.
        self.level.store(next, Ordering::Release);
        old.iter().for_each(Bucket::clear);
    }

    fn make(&self, level: usize) -> &[Bucket] {
        let new = || (0..self.size(level)).map(|_| Bucket::default()).collect();
        self.levels[level].get_or_init(new)
    }

    fn size(&self, level: usize) -> usize {
        self.first << level
    }

    fn in_use(&self) -> &[Bucket] {
        self.buckets(self.level.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn buckets(&self, level: usize) -> &[Bucket] {
        self.levels[level].get().map_or(&[], |buckets| buckets)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // Nothing under this lock can panic between two steps that belong together, so a poisoned
        // lock guards a sound index.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many entries a bucket holds on average before the next level is made.
const FULL: usize = 4;
/// With 16 buckets in the first level, the last one holds as many entries as there are phone numbers.
const LEVELS: usize = 32;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::answer::ResolveError;
    use crate::cache::fence::{Fence, Stamp};
    use crate::clock::Moment;
    use crate::reason::Reason;
    use crate::sync::{AtomicBool, AtomicU16, AtomicU32};

    fn caller(at: u64) -> Caller {
        let number = format!("+{}", 971_500_000_000 + at);
        Caller::parse("6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10", &number).unwrap()
    }

    fn entry(at: u64, serial: u64) -> Arc<CacheEntry> {
        let error = ResolveError::FallbackDenied { reason: Reason::NumberUnknown };
        let entry = CacheEntry::of(Err(error.into()));
        let meta = Meta {
            caller: caller(at),
            stamp: Stamp::new(Fence::new().generation(), caller(at), None),
            fresh_until: Moment::NEVER,
            used: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            thread_caches: AtomicU16::new(0),
            needs_lease: true,
            stale_until: Moment::NEVER,
            refresh_at: Moment::NEVER,
            serial,
        };
        assert!(entry.set_meta(meta));
        entry
    }

    fn serial(index: &Index, at: u64) -> Option<u64> {
        let is_it = |meta: &Meta| meta.caller == caller(at);
        index.read(index.hash(caller(at)), is_it, |_, meta| meta.serial)
    }

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let index = Index::new(1);
        let put = |at, serial| index.insert(entry(at, serial), |_, _| false).ok().unwrap();
        for at in 0..5000 {
            assert!(put(at, 1).is_none());
        }
        assert_eq!(index.len(), 5000);
        for at in 0..5000 {
            assert_eq!(serial(&index, at), Some(1));
            assert_eq!(put(at, 2).unwrap().meta().unwrap().serial, 1);
        }
        // Every other one goes, and others come into their places, many times over.
        for round in 3..20 {
            for at in (0..5000).step_by(2) {
                assert!(index.remove(caller(at), |meta| meta.serial == 1).is_none());
                assert!(index.remove(caller(at), |_| true).is_some());
                assert_eq!(serial(&index, at), None);
                assert!(put(at, round).is_none());
            }
        }
        for at in 0..5000 {
            assert_eq!(serial(&index, at), Some(if at % 2 == 0 { 19 } else { 2 }));
        }
        let mut seen = 0;
        index.for_each(|_| seen += 1);
        assert_eq!((seen, index.len()), (5000, 5000));
        (0..5000).for_each(|at| drop(index.remove(caller(at), |_| true)));
        assert_eq!(index.len(), 0);
        assert!(index.in_use().iter().all(Bucket::is_clear), "no overflow is left behind");
    }

    #[test]
    fn what_outranks_a_new_entry_stays() {
        let index = Index::new(1);
        assert!(index.insert(entry(1, 1), |_, _| true).is_ok());
        assert!(index.insert(entry(1, 2), |there, _| there.serial == 1).is_err());
        assert_eq!(serial(&index, 1), Some(1));
    }

    #[test]
    fn no_look_up_misses_an_entry_while_others_come_and_go_and_the_index_grows() {
        let index = Index::new(1);
        for at in 0..20 {
            assert!(index.insert(entry(at, 1), |_, _| false).is_ok());
        }
        thread::scope(|threads| {
            let writer = threads.spawn(|| {
                for at in 20..20_000 {
                    assert!(index.insert(entry(at, 1), |_, _| false).is_ok());
                    assert!(index.insert(entry(at % 20, at), |_, _| false).is_ok());
                    if at % 3 == 0 {
                        assert!(index.remove(caller(at), |_| true).is_some());
                    }
                }
            });
            while !writer.is_finished() {
                for at in 0..20 {
                    assert!(serial(&index, at).is_some());
                }
            }
        });
    }

    #[test]
    fn room_is_made_once() {
        let index = Index::new(1);
        index.reserve(1000);
        let level = index.level.load(Ordering::Relaxed);
        (0..1000).for_each(|at| assert!(index.insert(entry(at, 1), |_, _| false).is_ok()));
        assert_eq!(index.level.load(Ordering::Relaxed), level);
        assert_eq!(index.levels.iter().filter(|level| level.get().is_some()).count(), 2);
    }
}
