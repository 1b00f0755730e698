//! What a thread was asked for lately, close to it: a hit here writes to nothing that threads share.
//!
//! The index keeps what is being read from being freed, at the price of two writes that the processor
//! has to wait for. An entry that stands here is held anyway. It is judged like any other: by the
//! fence, by its time, and by whether it has left the index since.
//!
//! **Invariant:** an entry knows in how many places of this kind it stands, so that these do not
//! count as holders of it when it leaves. They keep a little memory, and no secret.

use std::cell::{Cell, Ref, RefCell};

use super::entry::CacheEntry;
use crate::number::Caller;
use crate::sync::Arc;

/// The entries of one thread, by their hashes.
#[derive(Default)]
pub(crate) struct ThreadCache {
    /// None before the first is kept.
    slots: RefCell<Box<[Slot]>>,
    /// How many look-ups have found nothing here.
    misses: Cell<u8>,
}

#[derive(Default)]
struct Slot {
    hash: u64,
    entry: Option<Arc<CacheEntry>>,
}

impl ThreadCache {
    /// The entry of a caller, if it stands here and in the index, too.
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

    /// Keeps one of several entries that were not found here, so that what is asked for often comes
    /// to stand here, and what is not costs nothing.
    pub(super) fn offer(&self, hash: u64, entry: &Arc<CacheEntry>) {
        self.misses.set(self.misses.get().wrapping_add(1));
        if !self.misses.get().is_multiple_of(KEEP_ONE_OF) {
            return;
        }
        // Somebody who is looking at an entry may have asked for another one.
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
    /// After it holds the entry: for a moment it looks like a holder.
    fn count_in(&self) {
        if let Some(meta) = self.entry.as_ref().and_then(|entry| entry.meta()) {
            meta.enter_thread_cache();
        }
    }

    /// Before it lets go, for the same reason.
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

/// A power of two. 8192 of them are 128 KiB, which stay in the second nearest cache.
const SLOTS: usize = 8192;
const KEEP_ONE_OF: u8 = 4;
