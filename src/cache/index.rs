//! Entries by caller: a table that is read without a lock, by two dependent reads of memory.
//!
//! A bucket is one cache line: seven entries, a tag of one byte for each, and a count of those that
//! found it full and went on to the next bucket. So a look-up reads one line, follows one pointer,
//! and compares the caller that it finds there. Within a level nothing ever moves, so a look-up
//! cannot miss an entry for meeting a writer. Writers take turns.
//!
//! When a level is full, one twice as large takes its place. The emptied ones stay, because someone
//! may be reading them; all of them together are as large as the one in use.
//!
//! The tags, and the count of what went on, are those of the F14 tables (N. Bronson and X. Shi,
//! "Open-sourcing F14 for faster, more memory-efficient hash tables", 2019).

use std::hash::BuildHasher;

use super::entry::{CacheEntry, Meta};
use crate::number::Caller;
use crate::sync::{
    Arc, AtomicU64, AtomicUsize, Guard, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Slot,
};

/// The entries.
pub(super) struct Index {
    levels: [OnceLock<Box<[Bucket]>>; LEVELS],
    /// Which level is in use.
    level: AtomicUsize,
    len: AtomicUsize,
    /// How many buckets the first level has; a power of two.
    first: usize,
    hasher: foldhash::fast::RandomState,
    writing: Mutex<()>,
}

#[repr(align(64))]
#[derive(Default)]
struct Bucket {
    /// One byte a slot, the first one lowest: zero, or the tag of what stands there. In the highest
    /// byte, how many entries went on from here.
    tags: AtomicU64,
    slots: [Slot<CacheEntry>; SLOTS],
}

/// Where an entry was found.
struct Found<'a> {
    entry: Guard<Option<Arc<CacheEntry>>>,
    bucket: &'a Bucket,
    at: usize,
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

    /// What a caller is looked for by.
    #[inline(always)]
    pub(super) fn hash(&self, caller: Caller) -> u64 {
        self.hasher.hash_one(caller)
    }

    /// Looks at the entry of this hash that is meant, which stays as it is for as long as that takes.
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
            // It may have been taken to the next level just now.
            if self.level.load(Ordering::Acquire) == level {
                return None;
            }
        }
    }

    /// Puts an entry in its place and returns what stood there. `Err`: that outranks it and stays,
    /// or there is no room.
    pub(super) fn insert(
        &self,
        entry: Arc<CacheEntry>,
        outranks: impl FnOnce(&Meta, &Meta) -> bool,
    ) -> Result<Option<Arc<CacheEntry>>, Arc<CacheEntry>> {
        let Some(meta) = entry.meta() else { return Err(entry) };
        let hash = self.hasher.hash_one(meta.caller);
        let _writing = self.lock();
        if let Some(found) = find(self.in_use(), hash, |there| there.caller == meta.caller) {
            if meta_in(found.entry.as_ref()).is_some_and(|there| outranks(there, meta)) {
                return Err(entry);
            }
            return Ok(found.bucket.slots[found.at].swap(Some(entry)));
        }
        self.make_room(1);
        put(self.in_use(), hash, entry)?;
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    /// Takes out the entry of a caller, if it is the one that is meant.
    pub(super) fn remove(
        &self,
        caller: Caller,
        is_meant: impl FnOnce(&Meta) -> bool,
    ) -> Option<Arc<CacheEntry>> {
        let hash = self.hasher.hash_one(caller);
        let _writing = self.lock();
        let Found { entry, bucket, at } =
            find(self.in_use(), hash, |there| there.caller == caller)?;
        if !meta_in(entry.as_ref()).is_some_and(is_meant) {
            return None;
        }
        // First, so that whoever finds it by its tag finds either it or nothing.
        bucket.set_tag(at, 0);
        let passed = path(self.in_use(), hash).take_while(|passed| !std::ptr::eq(*passed, bucket));
        passed.for_each(Bucket::goes_on_no_more);
        self.len.fetch_sub(1, Ordering::Relaxed);
        bucket.slots[at].swap(None)
    }

    /// Looks at every entry, in no order, at some perhaps twice. What comes or goes meanwhile may be
    /// seen or not.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Meta)) {
        loop {
            let level = self.level.load(Ordering::Acquire);
            for slot in self.buckets(level).iter().flat_map(|bucket| &bucket.slots) {
                if let Some(meta) = meta_in(slot.load().as_ref()) {
                    look(meta);
                }
            }
            // What was taken to another level meanwhile is looked at there.
            if self.level.load(Ordering::Acquire) == level {
                return;
            }
        }
    }

    /// Makes room for so many more at once, which is less work than bit by bit.
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
        for entry in old.iter().flat_map(|bucket| &bucket.slots).filter_map(Slot::load_full) {
            let hash = entry.meta().map_or(0, |meta| self.hasher.hash_one(meta.caller));
            // There is room, since it is larger and nobody else writes.
            let _placed = put(new, hash, entry);
        }
        self.level.store(next, Ordering::Release);
        for bucket in old {
            bucket.tags.store(0, Ordering::Release);
            bucket.slots.iter().for_each(|slot| slot.store(None));
        }
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
        // Nothing that runs under this lock can panic between two steps that belong together.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn set_tag(&self, at: usize, tag: u8) {
        let others = self.tags.load(Ordering::Relaxed) & !(0xFF << (at * 8));
        self.tags.store(others | u64::from(tag) << (at * 8), Ordering::Release);
    }

    fn goes_on(&self) {
        let tags = self.tags.load(Ordering::Relaxed);
        if tags < MOST_GO_ON {
            self.tags.store(tags + GOES_ON, Ordering::Release);
        }
    }

    /// One that has reached the most is not known any more, and stays there.
    fn goes_on_no_more(&self) {
        let tags = self.tags.load(Ordering::Relaxed);
        if tags < MOST_GO_ON {
            self.tags.store(tags - GOES_ON, Ordering::Release);
        }
    }
}

/// Looks for an entry in the buckets where one of its hash may stand.
#[inline(always)]
fn find(buckets: &[Bucket], hash: u64, is_it: impl Fn(&Meta) -> bool) -> Option<Found<'_>> {
    let tag = u64::from(tag_of(hash)) * EVERY_BYTE;
    for bucket in path(buckets, hash) {
        let tags = bucket.tags.load(Ordering::Acquire);
        // The high bit of every byte that is the tag; of others above one, too, now and then.
        let differs = tags ^ tag;
        let mut same = differs.wrapping_sub(EVERY_BYTE) & !differs & HIGH_BITS;
        while same != 0 {
            let at = same.trailing_zeros() as usize / 8;
            let entry = bucket.slots[at].load();
            if meta_in(entry.as_ref()).is_some_and(&is_it) {
                return Some(Found { entry, bucket, at });
            }
            same &= same - 1;
        }
        if tags < GOES_ON {
            return None;
        }
    }
    None
}

#[inline(always)]
fn meta_in(slot: Option<&Arc<CacheEntry>>) -> Option<&Meta> {
    slot?.meta()
}

/// Puts an entry that is not there yet where there is room. `Err`: there is none. For who writes.
fn put(buckets: &[Bucket], hash: u64, entry: Arc<CacheEntry>) -> Result<(), Arc<CacheEntry>> {
    let room = |bucket: &Bucket| {
        let tags = bucket.tags.load(Ordering::Relaxed);
        tags.to_le_bytes()[..SLOTS].iter().position(|&tag| tag == 0)
    };
    let found = path(buckets, hash).find_map(|bucket| Some((bucket, room(bucket)?)));
    let Some((bucket, at)) = found else { return Err(entry) };
    path(buckets, hash)
        .take_while(|passed| !std::ptr::eq(*passed, bucket))
        .for_each(Bucket::goes_on);
    bucket.slots[at].store(Some(entry));
    bucket.set_tag(at, tag_of(hash));
    Ok(())
}

/// The buckets, beginning with the one where an entry of this hash is at home.
#[inline(always)]
fn path(buckets: &[Bucket], hash: u64) -> impl Iterator<Item = &Bucket> {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    let home = hash as usize & buckets.len().wrapping_sub(1);
    let (before, from) = buckets.split_at_checked(home).unwrap_or((&[], buckets));
    from.iter().chain(before)
}

/// From the high bits, since the low ones say which bucket it is; never zero.
#[inline(always)]
fn tag_of(hash: u64) -> u8 {
    (hash >> 57) as u8 | 0x80
}

/// As many as fit into a line with their tags.
const SLOTS: usize = 7;
/// How many entries a bucket holds, on the average, before there is a next level.
const FULL: usize = 4;
/// With 16 buckets in the first, the last level holds as many entries as there are phone numbers.
const LEVELS: usize = 32;
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x0080_8080_8080_8080;
const GOES_ON: u64 = 1 << 56;
const MOST_GO_ON: u64 = 0xFF << 56;

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
        assert!(entry.keep(meta));
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
        let tags = index.in_use().iter().map(|bucket| bucket.tags.load(Ordering::Relaxed));
        assert_eq!(tags.max(), Some(0), "no bucket says that any went on");
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
