//! No caller of a load gets what is older than its question, and every caller gets an end.

use std::panic::resume_unwind;

use futures_util::poll;
use shuttle::future::{block_on, yield_now};
use shuttle::thread::scope;

use crate::cache::fence::{Fence, Generation, Stamp};
use crate::cache::single_flight::{Crashed, SingleFlight};
use crate::change::Change;
use crate::explore::{Verdict, holds, is_caught, models};
use crate::lab::{CONFIG, caller};
use crate::lifecycle::Lifecycle;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

models! {
    fn who_asks_after_a_change_of_the_number_gets_what_was_read_after_it() {
        holds(|| asking_after(Change::Number(caller(1)), &Joining::AsItIs));
    }

    /// A fence that nobody bumps admits every load that is running.
    fn joining_whatever_is_running_is_caught() {
        is_caught(|| asking_after(Change::Number(caller(1)), &Joining::OwnFence));
    }

    fn who_asks_after_a_change_of_the_config_and_looks_at_the_stamp_gets_the_new_one() {
        holds(|| asking_after(Change::Config(CONFIG), &Joining::JudgedByStamp));
    }

    /// The config that a load depends on is only known when it has ended.
    fn trusting_a_joined_load_after_a_change_of_the_config_is_caught() {
        is_caught(|| asking_after(Change::Config(CONFIG), &Joining::AsItIs));
    }

    fn who_asks_after_a_load_has_ended_starts_the_next() {
        holds(asking_in_turn);
    }

    fn a_generation_has_one_load_at_a_time() {
        holds(one_load_a_generation);
    }

    fn callers_that_leave_take_no_load_with_them() {
        holds(leaving);
    }

    fn a_load_that_panics_ends_for_all_and_is_forgotten() {
        holds(crashing);
    }
}

/// Loads of one number, which read the version of its row.
struct Loads {
    single_flight: SingleFlight<crate::number::Caller, Loaded>,
    fence: Fence,
    lifecycle: Lifecycle,
    row: AtomicU64,
    started: AtomicU64,
    /// The generations that are being loaded.
    loading: Mutex<Vec<Generation>>,
    /// Whether one was ever loaded twice at once.
    doubled: AtomicBool,
    /// Whether loads panic.
    panics: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Loaded {
    version: u64,
    /// The count of loads when it began.
    ticket: u64,
    stamp: Stamp,
}

enum Joining {
    AsItIs,
    /// With a fence of its own.
    OwnFence,
    /// As the resolver does.
    JudgedByStamp,
}

impl Loads {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            single_flight: SingleFlight::new(),
            fence: Fence::new(),
            lifecycle: Lifecycle::new(),
            row: AtomicU64::new(1),
            started: AtomicU64::new(0),
            loading: Mutex::default(),
            doubled: AtomicBool::new(false),
            panics: AtomicBool::new(false),
        })
    }

    async fn join_or_start(self: &Arc<Self>) -> Result<Loaded, Crashed> {
        self.join_by(&self.fence).await
    }

    async fn join_by(self: &Arc<Self>, fence: &Fence) -> Result<Loaded, Crashed> {
        let loads = Arc::clone(self);
        let load = move |born| async move { loads.load(born).await };
        self.single_flight.join_or_start(caller(1), fence, &self.lifecycle, load).await
    }

    /// What the resolver does with a load that it joined.
    async fn join_by_stamp(self: &Arc<Self>) -> Result<Loaded, Crashed> {
        let asked = self.fence.generation();
        loop {
            let loaded = self.join_or_start().await?;
            if loaded.stamp.born >= asked || self.fence.admits(loaded.stamp) {
                return Ok(loaded);
            }
        }
    }

    async fn load(&self, born: Generation) -> Loaded {
        let ticket = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let doubled = {
            let mut loading = self.loading.lock().unwrap();
            loading.push(born);
            loading.iter().filter(|&&other| other == born).count() > 1
        };
        self.doubled.fetch_or(doubled, Ordering::SeqCst);
        if self.panics.load(Ordering::SeqCst) {
            // Past the panic hook, which would print it.
            resume_unwind(Box::new("a bug in a load"));
        }
        yield_now().await;
        let version = self.row.load(Ordering::SeqCst);
        // The way back is as long as the way there.
        yield_now().await;
        self.loading.lock().unwrap().retain(|&other| other != born);
        Loaded { version, ticket, stamp: Stamp::new(born, caller(1), Some(CONFIG)) }
    }

    /// Commits a version, bumps the fence, and says which version it is.
    fn change(&self, change: Change) -> u64 {
        let version = self.row.fetch_add(1, Ordering::SeqCst) + 1;
        self.fence.bump(change);
        version
    }

    /// Whether no load is left running: then the next caller starts one.
    fn is_empty(self: &Arc<Self>) -> Verdict {
        block_on(self.lifecycle.rest());
        let started = self.started.load(Ordering::SeqCst);
        match block_on(self.join_or_start()) {
            Ok(loaded) if loaded.ticket == started + 1 => Ok(()),
            _ => Err("a load that had ended could still be joined"),
        }
    }
}

/// Two who change the row, bump the fence and ask, and one who asks at any time.
fn asking_after(change: Change, joining: &Joining) -> Verdict {
    let (loads, own_fence) = (Loads::new(), Fence::new());
    let join = |oldest: u64| {
        let loaded = block_on(async {
            match joining {
                Joining::AsItIs => loads.join_or_start().await,
                Joining::OwnFence => loads.join_by(&own_fence).await,
                Joining::JudgedByStamp => loads.join_by_stamp().await,
            }
        });
        match loaded {
            Ok(loaded) if loaded.version < oldest => Err("a result is older than its question"),
            Ok(_) => Ok(()),
            Err(Crashed) => Err("a load was lost"),
        }
    };
    let change_and_join = || join(loads.change(change));
    scope(|threads| {
        let early = threads.spawn(|| join(1));
        let late = [threads.spawn(change_and_join), threads.spawn(change_and_join)];
        let mut all = late.into_iter().chain([early]);
        all.try_for_each(|one| one.join().expect("joining does not panic"))
    })?;
    loads.is_empty()
}

fn asking_in_turn() -> Verdict {
    let loads = Loads::new();
    let newest = AtomicU64::new(0);
    let join = || {
        let seen = newest.load(Ordering::SeqCst);
        let Ok(loaded) = block_on(loads.join_or_start()) else { return Err("a load was lost") };
        newest.fetch_max(loaded.ticket, Ordering::SeqCst);
        if loaded.ticket > seen { Ok(()) } else { Err("a load was joined after it had ended") }
    };
    scope(|threads| {
        let callers = [threads.spawn(join), threads.spawn(join), threads.spawn(join)];
        callers.into_iter().try_for_each(|one| one.join().expect("joining does not panic"))
    })?;
    loads.is_empty()
}

fn one_load_a_generation() -> Verdict {
    let loads = Loads::new();
    scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| block_on(loads.join_or_start()).map(drop));
        }
        threads.spawn(|| loads.change(Change::Number(caller(1))));
    });
    if loads.doubled.load(Ordering::SeqCst) {
        return Err("two loads of one generation ran at once");
    }
    loads.is_empty()
}

fn leaving() -> Verdict {
    let loads = Loads::new();
    let leave = || {
        block_on(async {
            let mut joined = Box::pin(loads.join_or_start());
            let _ = poll!(&mut joined);
        });
    };
    scope(|threads| {
        threads.spawn(leave);
        threads.spawn(leave);
        let stays = threads.spawn(|| block_on(loads.join_or_start()));
        stays.join().expect("joining does not panic").map_err(|_| "a load left with its caller")
    })?;
    block_on(loads.lifecycle.rest());
    if !loads.loading.lock().unwrap().is_empty() {
        return Err("a load left with its caller");
    }
    loads.is_empty()
}

fn crashing() -> Verdict {
    let loads = Loads::new();
    loads.panics.store(true, Ordering::SeqCst);
    scope(|threads| {
        let join = || block_on(loads.join_or_start());
        let callers = [threads.spawn(join), threads.spawn(join), threads.spawn(join)];
        callers.into_iter().try_for_each(|one| {
            match one.join().expect("a panic of a load does not reach who waits for it") {
                Err(Crashed) => Ok(()),
                Ok(_) => Err("a load that panicked had a result"),
            }
        })
    })?;
    loads.panics.store(false, Ordering::SeqCst);
    loads.is_empty()
}
