//! What rests on the order of memory, on processors that have little of it.
//!
//! loom lets a load find an old value wherever nothing forbids it, and goes through all of what may
//! come of that. It takes atomics of its own and knows no `Weak`, so the product's files cannot be
//! put under it: these are the steps of `CacheEntry::outcome` and `Resolution::is_retired` in
//! `cache/entry.rs`, of `Slot::count_out` in `cache/thread_cache.rs` and of `retire` in `cache/table.rs`, with
//! the orders that those have (and those of the standard library's `Arc`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool as Flag;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;

use crate::explore::models;

/// An entry: who holds it, who of those only has it near, whether it has left the index.
struct CacheEntry {
    strong: AtomicUsize,
    thread_caches: AtomicUsize,
    retired: AtomicBool,
}

/// Which fences stand.
#[derive(Clone, Copy)]
struct Fences {
    handed_over: bool,
    retired: bool,
    registered: bool,
}

models! {
    fn who_is_handed_what_is_being_retired_sees_it_or_is_counted() {
        assert!(!breaks(handing_over, ALL));
    }

    fn handing_over_without_a_fence_is_caught() {
        assert!(breaks(handing_over, Fences { handed_over: false, ..ALL }));
    }

    fn retiring_without_a_fence_is_caught() {
        assert!(breaks(handing_over, Fences { retired: false, ..ALL }));
    }

    fn what_leaves_a_thread_cache_is_not_taken_for_the_last_holder() {
        assert!(!breaks(going, ALL));
    }

    fn counting_thread_caches_without_a_fence_is_caught() {
        assert!(breaks(going, Fences { registered: false, ..ALL }));
    }
}

const ALL: Fences = Fences { handed_over: true, retired: true, registered: true };

impl CacheEntry {
    fn new(strong: usize, thread_caches: usize) -> loom::sync::Arc<Self> {
        loom::sync::Arc::new(Self {
            strong: AtomicUsize::new(strong),
            thread_caches: AtomicUsize::new(thread_caches),
            retired: AtomicBool::new(false),
        })
    }

    /// Somebody holds it from here on, and says whether he saw that it is retired.
    fn hand_over(&self, fences: Fences) -> bool {
        self.strong.fetch_add(1, Ordering::Relaxed);
        if fences.handed_over {
            fence(Ordering::SeqCst);
        }
        self.retired.load(Ordering::Acquire)
    }

    /// It stands near a thread no more.
    fn go(&self) {
        self.thread_caches.fetch_sub(1, Ordering::AcqRel);
        self.strong.fetch_sub(1, Ordering::Release);
    }

    /// Whether it is wiped.
    fn retire(&self, fences: Fences) -> bool {
        self.retired.swap(true, Ordering::SeqCst);
        self.strong.fetch_add(1, Ordering::Acquire);
        if fences.retired {
            fence(Ordering::SeqCst);
        }
        let before = self.thread_caches.load(Ordering::Acquire);
        let holders = self.strong.load(Ordering::Relaxed);
        if fences.registered {
            fence(Ordering::Acquire);
        }
        holders == 1 + before && self.thread_caches.load(Ordering::Acquire) == before
    }
}

/// One who has it near is handed it while it is retired. `true`: it is wiped in his hands, and he
/// does not know.
fn handing_over(fences: Fences) -> bool {
    let entry = CacheEntry::new(1, 1);
    let retiring = {
        let entry = entry.clone();
        thread::spawn(move || entry.retire(fences))
    };
    let warned = entry.hand_over(fences);
    retiring.join().expect("nothing panics") && !warned
}

/// A caller holds it all the while, and another thread that had it near ends. `true`: it is wiped in
/// the caller's hands.
fn going(fences: Fences) -> bool {
    let entry = CacheEntry::new(2, 1);
    let going = {
        let entry = entry.clone();
        thread::spawn(move || entry.go())
    };
    let wiped = entry.retire(fences);
    going.join().expect("nothing panics");
    wiped
}

/// Whether anything that may happen breaks a scenario.
fn breaks(scenario: fn(Fences) -> bool, fences: Fences) -> bool {
    let broken = Arc::new(Flag::new(false));
    let logged = Arc::clone(&broken);
    loom::model(move || {
        if scenario(fences) {
            logged.store(true, Ordering::Relaxed);
        }
    });
    broken.load(Ordering::Relaxed)
}
