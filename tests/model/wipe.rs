//! What an invalidation withdraws cannot sign any more, and nothing else is withdrawn.

use shuttle::thread::scope;

use crate::cache::ResolveOutcome;
use crate::change::Change;
use crate::explore::{Verdict, holds, is_caught, models};
use crate::lab::{CONFIG, LATER, Lab, MUCH_LATER, NOW, caller, rows_of, signs};
use crate::sync::{Arc, AtomicBool, Ordering};

models! {
    fn a_change_of_the_config_withdraws_what_loads_share() {
        holds(|| settled(&[1, 2], |lab| lab.change(Change::Config(CONFIG))));
    }

    fn a_change_of_everything_withdraws_what_loads_share() {
        holds(|| settled(&[1, 2], |lab| lab.change(Change::All)));
    }

    fn a_change_of_a_number_leaves_nothing_of_it_alive() {
        holds(|| settled(&[1], |lab| lab.change(Change::Number(caller(1)))));
    }

    fn a_change_of_many_numbers_leaves_nothing_of_them_alive() {
        holds(|| settled(&[1], |lab| lab.change(Change::Numbers)));
    }

    fn a_change_that_nobody_told_of_is_settled_by_the_loads() {
        holds(|| settled(&[1, 2], |lab| lab.commit(Change::Config(CONFIG))));
    }

    /// Nobody else knows of what is made of such a row, so nobody could withdraw it.
    fn what_an_old_row_gave_that_arrived_late_does_not_live_on() {
        holds(|| settle(&Lab::new(), &[1], |lab| {
            lab.commit(Change::Config(CONFIG));
            lab.cache.fence.bump(Change::Number(caller(3)));
            lab.load(caller(3));
            lab.cache.apply(Change::Config(CONFIG));
        }));
    }

    /// A load comes between the two, and what it shares is refused but lives on.
    fn wiping_before_the_bump_is_caught() {
        is_caught(|| settled(&[1], |lab| {
            lab.commit(Change::Config(CONFIG));
            lab.cache.shared.change(CONFIG, || lab.cache.fence.generation());
            lab.cache.fence.bump(Change::Config(CONFIG));
        }));
    }

    /// A load comes between the two, and what it shares counts but is wiped.
    fn bumping_outside_of_the_lock_is_caught() {
        is_caught(|| settled(&[1, 2], |lab| {
            lab.commit(Change::Config(CONFIG));
            lab.cache.fence.bump(Change::Config(CONFIG));
            lab.cache.shared.change(CONFIG, || lab.cache.fence.generation());
        }));
    }

    fn who_finds_an_answer_wiped_is_not_given_it_again() {
        holds(|| asking_again(Change::Config(CONFIG)));
        holds(|| asking_again(Change::All));
    }

    fn the_last_user_to_leave_wipes() {
        holds(leaving);
    }

    fn a_thread_cache_does_not_keep_a_secret() {
        holds(|| thread_cache(None));
        holds(|| thread_cache(Some(Change::Number(caller(1)))));
        holds(|| thread_cache(Some(Change::All)));
    }

    fn what_is_wiped_is_not_taken_up_again() {
        holds(|| taking_up(Change::Config(CONFIG)));
        holds(|| taking_up(Change::All));
    }

    fn an_answer_leaves_its_credentials_once() {
        holds(leaving_once);
    }
}

/// What is settled where an answer was there before.
fn settled(loads: &[u64], change: impl FnOnce(&Lab) + Send) -> Verdict {
    let lab = Lab::new();
    lab.load(caller(2));
    settle(&lab, loads, change)
}

/// Loads of numbers with one config while something changes. When all is over, what counts can
/// sign, and what is outdated cannot.
fn settle(lab: &Lab, loads: &[u64], change: impl FnOnce(&Lab) + Send) -> Verdict {
    scope(|threads| {
        let load = |number| lab.load(caller(number));
        for &number in loads {
            threads.spawn(move || load(number));
        }
        threads.spawn(|| change(lab));
    });
    lab.cache.sweep(NOW);
    [1, 2, 3].into_iter().try_for_each(|number| {
        let current = |outcome: &ResolveOutcome| rows_of(outcome) == Some(lab.read());
        match (lab.hit(caller(number)), lab.standing(caller(number))) {
            (Some(hit), _) if !signs(&hit) => Err("an answer counts and cannot sign"),
            (None, Some(left)) if signs(&left) && !current(&left) => {
                Err("an outdated answer was left standing and can sign")
            }
            _ => Ok(()),
        }
    })
}

fn asking_again(change: Change) -> Verdict {
    let lab = Lab::new();
    lab.load(caller(1));
    lab.load(caller(2));
    scope(|threads| {
        threads.spawn(|| lab.change(change));
        threads.spawn(|| lab.cache.apply(Change::Number(caller(2))));
        threads.spawn(|| lab.load(caller(2)));
        let reader = threads.spawn(|| {
            let Some(first) = lab.hit(caller(1)) else { return Ok(()) };
            if signs(&first) {
                return Ok(());
            }
            match (first, lab.hit(caller(1))) {
                (Ok(first), Some(Ok(again)))
                    if Arc::ptr_eq(&first.credentials, &again.credentials) =>
                {
                    Err("an answer that was wiped was served once more")
                }
                _ => Ok(()),
            }
        });
        reader.join().expect("a reader does not panic")
    })
}

/// Two numbers share credentials, and both go while somebody holds an answer for a moment.
fn leaving() -> Verdict {
    let lab = Lab::new();
    let Ok(answer) = lab.load(caller(1)).outcome else { return Err("no answer") };
    let shared = Arc::clone(&answer.credentials);
    drop(answer);
    // Once more: what that replaces has to leave as well.
    lab.load(caller(1));
    lab.load(caller(2));
    scope(|threads| {
        threads.spawn(|| lab.cache.apply(Change::Number(caller(1))));
        threads.spawn(|| lab.cache.apply(Change::Number(caller(2))));
        threads.spawn(|| drop(lab.hit(caller(1))));
        threads.spawn(|| lab.cache.sweep(NOW));
    });
    lab.cache.sweep(NOW);
    if shared.acquire() { Err("credentials that nobody uses were not wiped") } else { Ok(()) }
}

/// A number leaves, for its age or for a change, while one thread has it near and another one ends.
/// Whoever holds the answer can sign for as long as he does, unless it was withdrawn; when he has
/// let go, nobody can.
fn thread_cache(change: Option<Change>) -> Verdict {
    let lab = Lab::new();
    lab.load(caller(1));
    let (thread_cache, other) = (lab.thread_cache(caller(1)), lab.thread_cache(caller(1)));
    let held = lab.hit_in(&thread_cache, caller(1)).ok_or("it is not warm")?;
    let shared = held.as_ref().map(|answer| Arc::clone(&answer.credentials));
    let Ok(shared) = shared else { return Err("no answer") };
    let last = scope(|threads| {
        threads.spawn(|| match change {
            Some(change) => lab.cache.apply(change),
            None => drop(lab.cache.sweep(MUCH_LATER)),
        });
        threads.spawn(move || drop(other));
        let held = threads.spawn(move || (signs(&held), held).0);
        let again = lab.hit_in(&thread_cache, caller(1));
        let held_signs = held.join().expect("nothing panics");
        (held_signs, again)
    });
    match &last {
        (false, _) if change != Some(Change::All) => {
            return Err("it was wiped in a caller's hands");
        }
        // Who was just being handed it may find it wiped, and asks again.
        (_, Some(again)) if !signs(again) && lab.hit_in(&thread_cache, caller(1)).is_some() => {
            return Err("an answer that was wiped was served once more");
        }
        _ => {}
    }
    drop(last);
    lab.cache.sweep(MUCH_LATER);
    if lab.hit_in(&thread_cache, caller(1)).is_some() {
        return Err("what has left is still served from a thread's cache");
    }
    if shared.acquire() { Err("what a thread's cache holds keeps its secret") } else { Ok(()) }
}

/// Credentials are taken part in while their config changes.
fn taking_up(change: Change) -> Verdict {
    let lab = Lab::new();
    let outcome = lab.load(caller(1)).outcome;
    let Ok(answer) = &outcome else { return Err("no answer") };
    let shared = &answer.credentials;
    let over = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            lab.change(change);
            over.store(true, Ordering::SeqCst);
        });
        let late = threads.spawn(|| {
            let over = over.load(Ordering::SeqCst);
            if shared.acquire() && over { Err("wiped credentials were taken up") } else { Ok(()) }
        });
        late.join().expect("taking part does not panic")
    })?;
    if signs(&outcome) { Err("withdrawn credentials sign") } else { Ok(()) }
}

/// Two numbers share credentials, and everything that can end the use by one of them happens at
/// once. The other one's use must not be ended by that.
fn leaving_once() -> Verdict {
    let lab = Lab::new();
    lab.load_until(caller(2), MUCH_LATER);
    lab.load(caller(1));
    scope(|threads| {
        threads.spawn(|| lab.cache.apply(Change::Number(caller(1))));
        threads.spawn(|| lab.load(caller(1)));
        threads.spawn(|| lab.fall_back(caller(1)));
        threads.spawn(|| {
            let last = lab.cache.last_good(caller(1), NOW)?;
            lab.keep_last_good(caller(1), &last)
        });
        threads.spawn(|| lab.cache.sweep(LATER));
    });
    lab.cache.sweep(LATER);
    match lab.hit(caller(2)) {
        Some(outcome) if signs(&outcome) => Ok(()),
        _ => Err("the use of one number was ended twice, and with it that of another"),
    }
}
