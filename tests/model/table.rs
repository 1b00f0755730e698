//! What stands under a key when several answers for it arrive at once.

use shuttle::thread::scope;

use crate::change::Change;
use crate::explore::{Verdict, holds, is_caught, models};
use crate::lab::{LATER, Lab, MUCH_LATER, NOW, caller, rows_of};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Slot};

models! {
    fn of_two_loads_the_newer_stands() {
        holds(two_loads);
    }

    fn of_two_loads_the_newer_stands_once_it_was_compared_under_a_lock() {
        holds(|| compared(Some(&Mutex::new(()))));
    }

    fn comparing_and_inserting_in_two_steps_is_caught() {
        is_caught(|| compared(None));
    }

    fn an_error_does_not_replace_a_load_that_ended_meanwhile() {
        holds(error_against_load);
    }

    fn the_last_good_answer_does_not_replace_a_load_that_ended_meanwhile() {
        holds(last_good_against_load);
    }

    fn without_a_lease_the_last_good_answer_takes_the_place_of_what_it_came_from() {
        holds(last_good_without_lease);
    }

    fn what_stands_in_for_an_answer_does_not_outlive_a_switch_of_the_flag() {
        holds(|| switched(true));
    }

    fn reading_the_settings_before_the_generation_is_caught() {
        is_caught(|| switched(false));
    }

    fn what_the_eviction_cache_drops_leaves_the_index() {
        holds(evicted);
    }
}

/// Loads before and after a commit that nobody told of.
fn two_loads() -> Verdict {
    let lab = Lab::new();
    let (older, newer) = scope(|threads| {
        threads.spawn(|| {
            lab.commit(Change::Number(caller(1)));
            lab.cache.fence.bump(Change::Number(caller(2)));
        });
        let loads = [threads.spawn(|| lab.load(caller(1))), threads.spawn(|| lab.load(caller(1)))];
        let [mut one, mut two] = loads.map(|load| load.join().expect("a load does not panic"));
        if one.stamp.born > two.stamp.born {
            std::mem::swap(&mut one, &mut two);
        }
        (one, two)
    });
    let stands = lab.hit(caller(1)).and_then(|hit| rows_of(&hit));
    match stands {
        Some(rows)
            if older.stamp.born < newer.stamp.born && Some(rows) != rows_of(&newer.outcome) =>
        {
            Err("the older load's answer stands")
        }
        // Nothing, when the keeper heard of the two in the other order: that costs a load.
        _ => Ok(()),
    }
}

/// The same in small: of three generations, the newest is to stand.
fn compared(lock: Option<&Mutex<()>>) -> Verdict {
    let slot = Slot::<u64>::default();
    let next = AtomicU64::new(1);
    let keep = || {
        let born = next.fetch_add(1, Ordering::SeqCst);
        let _held = lock.map(|lock| lock.lock().unwrap());
        if slot.load().as_deref().is_none_or(|there| *there < born) {
            slot.store(Some(Arc::new(born)));
        }
    };
    scope(|threads| {
        for _ in 0..3 {
            threads.spawn(keep);
        }
    });
    match slot.load_full().as_deref() {
        Some(3) => Ok(()),
        _ => Err("an older answer stands"),
    }
}

/// A caller's patience ends in the moment in which its load lands.
fn error_against_load() -> Verdict {
    let lab = Lab::new();
    scope(|threads| {
        threads.spawn(|| lab.load(caller(1)));
        threads.spawn(|| lab.fall_back(caller(1)));
    });
    match lab.hit(caller(1)) {
        Some(Ok(_)) | None => Ok(()),
        Some(Err(_)) => Err("an error stands before the answer of the database"),
    }
}

/// The same for a caller that has a last good answer, whose time was up.
fn last_good_against_load() -> Verdict {
    let lab = Lab::new();
    lab.load_until(caller(1), NOW);
    lab.commit(Change::Number(caller(1)));
    scope(|threads| {
        threads.spawn(|| lab.load(caller(1)));
        threads.spawn(|| {
            let last = lab.cache.last_good(caller(1), NOW).expect("it is good until much later");
            lab.keep_last_good(caller(1), &last);
        });
    });
    match lab.hit(caller(1)) {
        Some(Ok(answer)) if answer.stale() => {
            Err("the last good answer stands before the answer of the database")
        }
        _ => Ok(()),
    }
}

fn last_good_without_lease() -> Verdict {
    let lab = Lab::new();
    lab.load(caller(1));
    lab.cache.fence.end_lease();
    scope(|threads| {
        threads.spawn(|| {
            let last = lab.cache.last_good(caller(1), NOW).expect("nothing has changed");
            lab.keep_last_good(caller(1), &last);
        });
        threads.spawn(|| lab.cache.fence.doubt());
        threads.spawn(|| lab.cache.sweep(NOW));
    });
    match lab.hit(caller(1)) {
        Some(Ok(answer)) if answer.stale() => Ok(()),
        _ => Err("the last good answer does not serve"),
    }
}

/// The flag turns while a caller that waited in vain is answered by the settings.
fn switched(generation_first: bool) -> Verdict {
    let lab = Lab::new();
    let flag = AtomicBool::new(true);
    scope(|threads| {
        threads.spawn(|| {
            flag.store(false, Ordering::SeqCst);
            lab.cache.switch_source();
        });
        threads.spawn(|| {
            let early = lab.cache.fence.generation();
            let by_old_settings = flag.load(Ordering::SeqCst);
            let late = lab.cache.fence.generation();
            if by_old_settings {
                lab.fall_back_from(caller(1), if generation_first { early } else { late });
            }
        });
    });
    match lab.hit(caller(1)) {
        Some(_) => Err("an answer by the settings of before the switch still counts"),
        None => Ok(()),
    }
}

/// A keeper that keeps nothing for long: whatever came in, in whatever order, is out at the end.
fn evicted() -> Verdict {
    let lab = Lab::keeping(0);
    scope(|threads| {
        threads.spawn(|| lab.load(caller(1)));
        threads.spawn(|| lab.load_until(caller(1), MUCH_LATER));
        threads.spawn(|| lab.change(Change::Number(caller(1))));
        threads.spawn(|| lab.cache.sweep(LATER));
    });
    lab.cache.sweep(NOW);
    match lab.cache.len() {
        0 => Ok(()),
        _ => Err("the index holds what the eviction cache does not know"),
    }
}
