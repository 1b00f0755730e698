//! Nobody who boards is handed what is older than their question, and everybody lands.

use std::panic::resume_unwind;

use futures_util::poll;
use shuttle::future::{block_on, yield_now};
use shuttle::thread::scope;

use crate::cache::fence::{Fence, Generation, Stamp};
use crate::cache::flight::{Crashed, Flights};
use crate::change::Change;
use crate::explore::{Verdict, holds, is_caught, models};
use crate::lab::{CONFIG, caller};
use crate::lifecycle::Lifecycle;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

models! {
    fn who_boards_after_a_change_of_the_number_gets_what_was_read_after_it() {
        holds(|| boarding_after(Change::Number(caller(1)), &Boarding::AsItIs));
    }

    /// A fence that nobody bumps admits every flight that is in the air.
    fn joining_whatever_is_in_the_air_is_caught() {
        is_caught(|| boarding_after(Change::Number(caller(1)), &Boarding::Deaf));
    }

    fn who_boards_after_a_change_of_the_config_and_looks_at_the_stamp_gets_the_new_one() {
        holds(|| boarding_after(Change::Config(CONFIG), &Boarding::JudgedByStamp));
    }

    /// The config that a load depends on is only known when it has landed.
    fn trusting_a_joined_flight_after_a_change_of_the_config_is_caught() {
        is_caught(|| boarding_after(Change::Config(CONFIG), &Boarding::AsItIs));
    }

    fn who_boards_after_a_landing_takes_the_next_flight() {
        holds(boarding_in_turn);
    }

    fn a_generation_has_one_load_in_the_air() {
        holds(one_load_a_generation);
    }

    fn callers_that_leave_take_no_load_with_them() {
        holds(leaving);
    }

    fn a_load_that_panics_lands_for_all_and_is_forgotten() {
        holds(crashing);
    }
}

/// Loads of one number, which read the version of its row.
struct Airport {
    flights: Flights<crate::number::Caller, Landed>,
    fence: Fence,
    lifecycle: Lifecycle,
    row: AtomicU64,
    loads: AtomicU64,
    /// The generations that are being loaded.
    loading: Mutex<Vec<Generation>>,
    /// Whether one was ever loaded twice at once.
    doubled: AtomicBool,
    /// Whether loads panic.
    stormy: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Landed {
    version: u64,
    /// The count of loads when it began.
    ticket: u64,
    stamp: Stamp,
}

enum Boarding {
    AsItIs,
    /// With a fence of its own.
    Deaf,
    /// As the resolver does.
    JudgedByStamp,
}

impl Airport {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Flights::new(),
            fence: Fence::new(),
            lifecycle: Lifecycle::new(),
            row: AtomicU64::new(1),
            loads: AtomicU64::new(0),
            loading: Mutex::default(),
            doubled: AtomicBool::new(false),
            stormy: AtomicBool::new(false),
        })
    }

    async fn board(self: &Arc<Self>) -> Result<Landed, Crashed> {
        self.board_by(&self.fence).await
    }

    async fn board_by(self: &Arc<Self>, fence: &Fence) -> Result<Landed, Crashed> {
        let airport = Arc::clone(self);
        let load = move |born| async move { airport.load(born).await };
        self.flights.board(caller(1), fence, &self.lifecycle, load).await
    }

    /// What the resolver does with a flight that was joined.
    async fn board_by_stamp(self: &Arc<Self>) -> Result<Landed, Crashed> {
        let asked = self.fence.generation();
        loop {
            let landed = self.board().await?;
            if landed.stamp.born >= asked || self.fence.admits(landed.stamp) {
                return Ok(landed);
            }
        }
    }

    async fn load(&self, born: Generation) -> Landed {
        let ticket = self.loads.fetch_add(1, Ordering::SeqCst) + 1;
        let doubled = {
            let mut loading = self.loading.lock().unwrap();
            loading.push(born);
            loading.iter().filter(|&&other| other == born).count() > 1
        };
        self.doubled.fetch_or(doubled, Ordering::SeqCst);
        if self.stormy.load(Ordering::SeqCst) {
            // Past the panic hook, which would print it.
            resume_unwind(Box::new("a bug in a load"));
        }
        yield_now().await;
        let version = self.row.load(Ordering::SeqCst);
        // The way back is as long as the way there.
        yield_now().await;
        self.loading.lock().unwrap().retain(|&other| other != born);
        Landed { version, ticket, stamp: Stamp::new(born, caller(1), Some(CONFIG)) }
    }

    /// Commits a version, tells of it, and says which.
    fn change(&self, change: Change) -> u64 {
        let version = self.row.fetch_add(1, Ordering::SeqCst) + 1;
        self.fence.bump(change);
        version
    }

    /// Whether nothing is left in the air: then the next to board starts a load.
    fn is_empty(self: &Arc<Self>) -> Verdict {
        block_on(self.lifecycle.rest());
        let loads = self.loads.load(Ordering::SeqCst);
        match block_on(self.board()) {
            Ok(landed) if landed.ticket == loads + 1 => Ok(()),
            _ => Err("a flight that had landed was still to be joined"),
        }
    }
}

/// Two who change the row, tell of it and board, and one who boards at any time.
fn boarding_after(change: Change, boarding: &Boarding) -> Verdict {
    let (airport, deaf) = (Airport::new(), Fence::new());
    let travel = |oldest: u64| {
        let landed = block_on(async {
            match boarding {
                Boarding::AsItIs => airport.board().await,
                Boarding::Deaf => airport.board_by(&deaf).await,
                Boarding::JudgedByStamp => airport.board_by_stamp().await,
            }
        });
        match landed {
            Ok(landed) if landed.version < oldest => Err("a result is older than its question"),
            Ok(_) => Ok(()),
            Err(Crashed) => Err("a load was lost"),
        }
    };
    let change_and_travel = || travel(airport.change(change));
    scope(|threads| {
        let early = threads.spawn(|| travel(1));
        let late = [threads.spawn(change_and_travel), threads.spawn(change_and_travel)];
        let mut all = late.into_iter().chain([early]);
        all.try_for_each(|one| one.join().expect("travelling does not panic"))
    })?;
    airport.is_empty()
}

fn boarding_in_turn() -> Verdict {
    let airport = Airport::new();
    let newest = AtomicU64::new(0);
    let travel = || {
        let seen = newest.load(Ordering::SeqCst);
        let Ok(landed) = block_on(airport.board()) else { return Err("a load was lost") };
        newest.fetch_max(landed.ticket, Ordering::SeqCst);
        if landed.ticket > seen { Ok(()) } else { Err("a flight was joined after it had landed") }
    };
    scope(|threads| {
        let travellers = [threads.spawn(travel), threads.spawn(travel), threads.spawn(travel)];
        travellers.into_iter().try_for_each(|one| one.join().expect("travelling does not panic"))
    })?;
    airport.is_empty()
}

fn one_load_a_generation() -> Verdict {
    let airport = Airport::new();
    scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| block_on(airport.board()).map(drop));
        }
        threads.spawn(|| airport.change(Change::Number(caller(1))));
    });
    if airport.doubled.load(Ordering::SeqCst) {
        return Err("two loads of one generation were in the air at once");
    }
    airport.is_empty()
}

fn leaving() -> Verdict {
    let airport = Airport::new();
    let leave = || {
        block_on(async {
            let mut board = Box::pin(airport.board());
            let _ = poll!(&mut board);
        });
    };
    scope(|threads| {
        threads.spawn(leave);
        threads.spawn(leave);
        let stays = threads.spawn(|| block_on(airport.board()));
        stays.join().expect("travelling does not panic").map_err(|_| "a load left with its caller")
    })?;
    block_on(airport.lifecycle.rest());
    if !airport.loading.lock().unwrap().is_empty() {
        return Err("a load left with its caller");
    }
    airport.is_empty()
}

fn crashing() -> Verdict {
    let airport = Airport::new();
    airport.stormy.store(true, Ordering::SeqCst);
    scope(|threads| {
        let travel = || block_on(airport.board());
        let travellers = [threads.spawn(travel), threads.spawn(travel), threads.spawn(travel)];
        travellers.into_iter().try_for_each(|one| {
            match one.join().expect("a panic of a load does not reach who waits for it") {
                Err(Crashed) => Ok(()),
                Ok(_) => Err("a load that panicked had a result"),
            }
        })
    })?;
    airport.stormy.store(false, Ordering::SeqCst);
    airport.is_empty()
}
