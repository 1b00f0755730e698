//! Each thread's own cache of the entries that it was asked for lately. A hit here writes to
//! nothing that threads share.
//!
//! Reading through the index takes a guard that keeps the entry from being freed. That costs two
//! writes for which the processor waits: about 10 ns of a hit (`cargo bench --bench peers`, row
//! "one number"). An entry in a thread's cache is held anyway, so it needs no guard. It is checked
//! like any other: by the fence, by its age, and by whether it has left the index.
//!
//! **Invariant:** an entry counts the thread caches that it is in. They do not count as holders
//! when it leaves the index, so they keep a little memory alive, and no secret.

use std::cell::{Cell, Ref, RefCell};

use super::entry::CacheEntry;
use crate::number::Caller;
use crate::sync::Arc;

/// The entries of one thread, by their hashes.
#[derive(Default)]
pub(crate) struct ThreadCache {
    /// Empty before the first entry is taken.
    slots: RefCell<Box<[Slot]>>,
    /// How many look-ups have found nothing here, modulo 256.
    misses: Cell<u8>,
}

#[derive(Default)]
struct Slot {
    hash: u64,
    entry: Option<Arc<CacheEntry>>,
}

impl ThreadCache {
    /// The entry of a caller, if it is both here and in the index.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, caller: Caller) -> Option<Ref<'_, Arc<CacheEntry>>> {
        let slots = self.slots.try_borrow().ok()?;
        Ref::filter_map(slots, |slots| {
            let slot = slots.get(slot_of(hash)).filter(|slot| slot.hash == hash)?;
            let entry = slot.entry.as_ref()?;
            let meta = entry.meta()?;
            (meta.caller == caller && !meta.is_retired()).then_some(entry)
        })
        .ok()
    }

    /// Takes one of every few entries that were not found here. So an entry in frequent use gets here
    /// soon, and one that is asked for once costs nothing.
    pub(super) fn offer(&self, hash: u64, entry: &Arc<CacheEntry>) {
        self.misses.set(self.misses.get().wrapping_add(1));
        if !self.misses.get().is_multiple_of(KEEP_ONE_OF) {
            return;
        }
        // Borrowed already: a caller that is looking at an entry has asked for another one.
        let Ok(mut slots) = self.slots.try_borrow_mut() else { return };
        if slots.is_empty() {
            *slots = (0..SLOTS).map(|_| Slot::default()).collect();
        }
        let new = Slot { hash, entry: Some(Arc::clone(entry)) };
        new.count_in();
        std::mem::replace(&mut slots[slot_of(hash)], new).count_out();
    }
}

impl Slot {
    /// Called after it holds the entry. In between it is taken for a caller, which delays a wipe and
    /// never makes one too early.
    fn count_in(&self) {
        if let Some(meta) = self.entry.as_ref().and_then(|entry| entry.meta()) {
            meta.enter_thread_cache();
        }
    }

    /// Called before it lets go, for the same reason.
    fn count_out(&self) {
        if let Some(meta) = self.entry.as_ref().and_then(|entry| entry.meta()) {
            meta.leave_thread_cache();
        }
    }
}

impl Drop for ThreadCache {
    fn drop(&mut self) {
        self.slots.get_mut().iter().for_each(Slot::count_out);
    }
}

#[inline(always)]
fn slot_of(hash: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    let place = hash as usize & (SLOTS - 1);
    place
}

/// A power of two. 8192 slots are 128 KiB, which fit into the processor's second-level cache.
const SLOTS: usize = 8192;
const KEEP_ONE_OF: u8 = 4;
