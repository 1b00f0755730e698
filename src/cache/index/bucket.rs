//! Buckets of the index: where an entry may stand, and how it is found, put in and taken out.
//!
//! A bucket is one cache line: seven slots, one tag byte per slot, and a count of the entries that
//! found this bucket full and went on to the next one (the *overflow count*). A look-up walks from
//! the bucket that the hash names, and stops at the first one without overflow.
//!
//! The tags and the overflow count are those of the F14 tables (N. Bronson and X. Shi, "Open-sourcing
//! F14 for faster, more memory-efficient hash tables", 2019).
//!
//! **Invariant:** a tag is set after its slot is filled, and cleared before its slot is emptied. So
//! a reader that sees a tag finds the entry, or an empty slot, and never another bucket's state.
//!
//! Readers call [`find`] without a lock. Everything that writes needs the index's writer lock.

use crate::cache::entry::{CacheEntry, Meta};
use crate::sync::{Arc, AtomicU64, Guard, Ordering, Slot};

#[repr(align(64))]
#[derive(Default)]
pub(super) struct Bucket {
    /// One byte per slot, the first slot in the lowest byte: zero, or the tag of the entry there. The
    /// highest byte is the overflow count.
    tags: AtomicU64,
    slots: [Slot<CacheEntry>; SLOTS],
}

/// Where an entry was found.
pub(super) struct Found<'a> {
    /// Keeps the entry from being freed while it is read.
    pub(super) entry: Guard<Option<Arc<CacheEntry>>>,
    pub(super) bucket: &'a Bucket,
    at: usize,
}

impl Found<'_> {
    /// Puts another entry of the same key here, and returns this one. The tag stays, so a reader
    /// finds one of the two.
    pub(super) fn replace(&self, entry: Arc<CacheEntry>) -> Option<Arc<CacheEntry>> {
        self.bucket.slots[self.at].swap(Some(entry))
    }
}

impl Bucket {
    /// The entries that stand here.
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<CacheEntry>> {
        self.slots.iter().filter_map(Slot::load_full)
    }

    /// Looks at what is known of each entry here.
    pub(super) fn for_each(&self, look: &mut impl FnMut(&Meta)) {
        for slot in &self.slots {
            if let Some(meta) = meta_in(slot.load().as_ref()) {
                look(meta);
            }
        }
    }

    /// Empties it, once its entries stand in the next level.
    pub(super) fn clear(&self) {
        self.tags.store(0, Ordering::Release);
        self.slots.iter().for_each(|slot| slot.store(None));
    }

    /// Whether no slot is used and no entry went on from here.
    #[cfg(test)]
    pub(super) fn is_clear(&self) -> bool {
        self.tags.load(Ordering::Relaxed) == 0
    }

    // Relaxed loads of `tags` are enough below: only writers store there, and they hold a lock.

    fn set_tag(&self, at: usize, tag: u8) {
        let others = self.tags.load(Ordering::Relaxed) & !(0xFF << (at * 8));
        self.tags.store(others | u64::from(tag) << (at * 8), Ordering::Release);
    }

    fn add_overflow(&self) {
        let tags = self.tags.load(Ordering::Relaxed);
        if tags < OVERFLOW_MAX {
            self.tags.store(tags + OVERFLOW_ONE, Ordering::Release);
        }
    }

    /// A count that has reached its maximum is no longer exact, so it stays there: look-ups then walk
    /// one bucket further than they need to.
    fn remove_overflow(&self) {
        let tags = self.tags.load(Ordering::Relaxed);
        if tags < OVERFLOW_MAX {
            self.tags.store(tags - OVERFLOW_ONE, Ordering::Release);
        }
    }
}

/// Looks for an entry in the buckets where one with this hash may stand.
#[inline(always)]
pub(super) fn find(
    buckets: &[Bucket],
    hash: u64,
    is_it: impl Fn(&Meta) -> bool,
) -> Option<Found<'_>> {
    let tag = u64::from(tag_of(hash)) * EVERY_BYTE;
    for bucket in path(buckets, hash) {
        // Pairs with the release in `set_tag`: the slot of a tag that is seen here has been filled.
        let tags = bucket.tags.load(Ordering::Acquire);
        // Compares seven tags at once. The high bit of each matching byte is set; now and then also
        // that of a byte above a match, which the comparison of the entry itself then rejects.
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
        if tags < OVERFLOW_ONE {
            return None;
        }
    }
    None
}

/// Puts an entry that is not there yet into the first free slot. `Err`: all are taken.
pub(super) fn put(
    buckets: &[Bucket],
    hash: u64,
    entry: Arc<CacheEntry>,
) -> Result<(), Arc<CacheEntry>> {
    let free = |bucket: &Bucket| {
        let tags = bucket.tags.load(Ordering::Relaxed);
        tags.to_le_bytes()[..SLOTS].iter().position(|&tag| tag == 0)
    };
    let found = path(buckets, hash).find_map(|bucket| Some((bucket, free(bucket)?)));
    let Some((bucket, at)) = found else { return Err(entry) };
    // Overflow first, tag last: from the moment the tag is there, every look-up gets that far.
    path(buckets, hash)
        .take_while(|passed| !std::ptr::eq(*passed, bucket))
        .for_each(Bucket::add_overflow);
    bucket.slots[at].store(Some(entry));
    bucket.set_tag(at, tag_of(hash));
    Ok(())
}

/// Takes out an entry that was found by this hash.
pub(super) fn take(
    buckets: &[Bucket],
    hash: u64,
    Found { bucket, at, .. }: &Found<'_>,
) -> Option<Arc<CacheEntry>> {
    // The tag goes first, so that a reader who still sees it finds either the entry or nothing.
    bucket.set_tag(*at, 0);
    path(buckets, hash)
        .take_while(|passed| !std::ptr::eq(*passed, *bucket))
        .for_each(Bucket::remove_overflow);
    bucket.slots[*at].swap(None)
}

#[inline(always)]
pub(super) fn meta_in(slot: Option<&Arc<CacheEntry>>) -> Option<&Meta> {
    slot?.meta()
}

/// The buckets in the order in which an entry of this hash tries them.
#[inline(always)]
fn path(buckets: &[Bucket], hash: u64) -> impl Iterator<Item = &Bucket> {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    let first = hash as usize & buckets.len().wrapping_sub(1);
    let (before, from) = buckets.split_at_checked(first).unwrap_or((&[], buckets));
    from.iter().chain(before)
}

/// From the high bits, since the low ones choose the bucket. Never zero, which means a free slot.
#[inline(always)]
fn tag_of(hash: u64) -> u8 {
    (hash >> 57) as u8 | 0x80
}

/// As many as fit into a cache line with their tags.
const SLOTS: usize = 7;
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x0080_8080_8080_8080;
const OVERFLOW_ONE: u64 = 1 << 56;
const OVERFLOW_MAX: u64 = 0xFF << 56;
