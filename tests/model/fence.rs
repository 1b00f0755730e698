//! A reader that comes after an invalidation is over is never served what was true before it.

use shuttle::thread::scope;

use crate::cache::fence::{Fence, Generation, Stamp};
use crate::change::Change;
use crate::clock::Moment;
use crate::explore::{Verdict, holds, is_caught, models};
use crate::lab::{CONFIG, LATER, Lab, NOW, caller, rows_of};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, Slot};

models! {
    fn a_change_of_the_config_is_not_outlived_by_what_was_read_before_it() {
        holds(|| served_after(&Real::new(Change::Config(CONFIG))));
    }

    fn a_change_of_the_number_is_not_outlived_by_what_was_read_before_it() {
        holds(|| served_after(&Real::new(Change::Number(caller(1)))));
    }

    fn a_change_of_many_numbers_is_not_outlived_by_what_was_read_before_it() {
        holds(|| served_after(&Real::new(Change::Numbers)));
    }

    fn a_change_of_everything_is_not_outlived_by_what_was_read_before_it() {
        holds(|| served_after(&Real::new(Change::All)));
    }

    fn a_change_of_the_config_is_not_outlived_by_what_was_made_of_it_again() {
        holds(|| served_after(&Again::new(Change::Config(CONFIG), false)));
    }

    fn a_change_of_the_number_is_not_outlived_by_what_was_made_of_it_again() {
        holds(|| served_after(&Again::new(Change::Number(caller(1)), false)));
    }

    /// The config changes between its reading and the making.
    fn stamping_what_is_made_again_with_the_generation_of_its_making_is_caught() {
        is_caught(|| served_after(&Again::new(Change::Config(CONFIG), true)));
    }

    /// What a fence on insert does: the change comes between the check and the insert.
    fn checking_the_generation_only_before_the_insert_is_caught() {
        is_caught(|| served_after(&CheckThenInsert::new()));
    }

    fn reading_the_generation_after_the_row_is_caught() {
        is_caught(|| served_after(&GenerationLast(Real::new(Change::Config(CONFIG)))));
    }

    fn telling_of_a_change_before_it_is_committed_is_caught() {
        is_caught(|| served_after(&ToldEarly(Real::new(Change::Config(CONFIG)))));
    }

    fn bumping_before_removing_leaves_nothing_outdated_behind() {
        holds(|| left_behind(true));
    }

    /// The stamp still keeps it from being served, but nobody comes to wipe it.
    fn removing_before_bumping_is_caught() {
        is_caught(|| left_behind(false));
    }

    fn in_doubt_nothing_read_before_counts_whatever_the_lease_says() {
        holds(doubt_against_lease);
    }

    fn without_a_lease_only_what_needs_none_is_served() {
        holds(no_lease);
    }

    fn in_doubt_the_last_good_answer_serves_until_a_change_of_it_is_known() {
        holds(last_good_against_change);
    }
}

/// A way to keep one number's answer and to change it once.
trait Keeping: Sync {
    fn load(&self);
    /// Commits the second version, and invalidates.
    fn change(&self);
    /// The version that would be served.
    fn served(&self) -> Option<u64>;
}

/// Two loads, a change and a reader; at the end, one more look.
fn served_after(keeping: &impl Keeping) -> Verdict {
    let over = AtomicBool::new(false);
    let look = || match (over.load(Ordering::SeqCst), keeping.served()) {
        (true, Some(1)) => Err("the old answer was served after the invalidation was over"),
        _ => Ok(()),
    };
    scope(|threads| {
        threads.spawn(|| keeping.load());
        threads.spawn(|| keeping.load());
        threads.spawn(|| {
            keeping.change();
            over.store(true, Ordering::SeqCst);
        });
        let reader = threads.spawn(|| look().and_then(|()| look()));
        reader.join().expect("a reader does not panic")
    })?;
    look()
}

/// The cache as it is.
struct Real {
    lab: Lab,
    change: Change,
}

impl Real {
    fn new(change: Change) -> Self {
        Self { lab: Lab::new(), change }
    }
}

impl Keeping for Real {
    fn load(&self) {
        self.lab.load(caller(1));
    }

    fn change(&self) {
        self.lab.change(self.change);
    }

    fn served(&self) -> Option<u64> {
        let rows = rows_of(&self.lab.hit(caller(1))?)?;
        Some(match self.change {
            Change::Config(_) => rows.config,
            Change::Number(_) | Change::Numbers => rows.number,
            Change::All | Change::Rollout => rows.config.min(rows.number),
            Change::Clients | Change::Keys => unreachable!("no answer depends on these"),
        })
    }
}

/// The cache as it is, with answers that are made again after a change of their config: a number's
/// neighbour loads the config, and the number takes it from there.
struct Again {
    real: Real,
    stamps_late: bool,
}

impl Again {
    fn new(change: Change, stamps_late: bool) -> Self {
        let real = Real::new(change);
        real.lab.load(caller(1));
        // Refused by the fence, though nothing was committed.
        real.lab.cache.apply(Change::Config(CONFIG));
        Self { real, stamps_late }
    }
}

impl Keeping for Again {
    fn load(&self) {
        let lab = &self.real.lab;
        lab.load(caller(2));
        lab.make_again_of(caller(1), |born| {
            if self.stamps_late { lab.cache.fence.generation() } else { born }
        });
    }

    fn change(&self) {
        self.real.change();
    }

    fn served(&self) -> Option<u64> {
        self.real.served()
    }
}

/// The cache as it is, filled by a loader that reads the generation too late.
struct GenerationLast(Real);

impl Keeping for GenerationLast {
    fn load(&self) {
        let lab = &self.0.lab;
        let rows = lab.read();
        lab.keep_decision(caller(1), lab.cache.fence.generation(), rows, LATER);
    }

    fn change(&self) {
        self.0.change();
    }

    fn served(&self) -> Option<u64> {
        self.0.served()
    }
}

/// The cache as it is, told of a change by somebody who has yet to commit it.
struct ToldEarly(Real);

impl Keeping for ToldEarly {
    fn load(&self) {
        self.0.load();
    }

    fn change(&self) {
        self.0.lab.cache.apply(self.0.change);
        self.0.lab.commit(self.0.change);
    }

    fn served(&self) -> Option<u64> {
        self.0.served()
    }
}

/// A cache whose values carry no stamp: the load asks once whether anything has changed.
struct CheckThenInsert {
    row: AtomicU64,
    fence: Fence,
    slot: Slot<u64>,
}

impl CheckThenInsert {
    fn new() -> Self {
        Self { row: AtomicU64::new(1), fence: Fence::new(), slot: Slot::default() }
    }
}

impl Keeping for CheckThenInsert {
    fn load(&self) {
        let born = self.fence.generation();
        let version = self.row.load(Ordering::SeqCst);
        if self.fence.generation() == born {
            self.slot.store(Some(Arc::new(version)));
        }
    }

    fn change(&self) {
        self.row.store(2, Ordering::SeqCst);
        self.fence.bump(Change::Number(caller(1)));
        self.slot.store(None);
    }

    fn served(&self) -> Option<u64> {
        self.slot.load_full().as_deref().copied()
    }
}

/// A load that looks again after it has inserted, and a change: whether anything outdated stands
/// there when both are over.
fn left_behind(bump_first: bool) -> Verdict {
    let fence = Fence::new();
    let slot = Slot::<Stamp>::default();
    scope(|threads| {
        threads.spawn(|| {
            let stamp = Stamp::new(fence.generation(), caller(1), None);
            slot.store(Some(Arc::new(stamp)));
            if fence.knows_better(stamp) {
                slot.store(None);
            }
        });
        threads.spawn(|| {
            let bump = || fence.bump(Change::Number(caller(1)));
            if bump_first {
                bump();
            }
            slot.store(None);
            if !bump_first {
                bump();
            }
        });
    });
    match slot.load_full().as_deref() {
        Some(stamp) if fence.knows_better(*stamp) => Err("an outdated answer was left standing"),
        _ => Ok(()),
    }
}

/// An old answer, a lease that is renewed all the time, and doubt.
fn doubt_against_lease() -> Verdict {
    let lab = Lab::new();
    let fence = &lab.cache.fence;
    lab.load(caller(1));
    let in_doubt = AtomicBool::new(false);
    let look = |since: Generation| {
        let stamp = Stamp::new(since, caller(1), Some(CONFIG));
        let doubted = in_doubt.load(Ordering::SeqCst);
        if doubted && (lab.hit(caller(1)).is_some() || fence.admits(stamp)) {
            return Err("an answer from before the doubt registered after it");
        }
        if fence.knows_better(stamp) { Err("doubt was taken for a change") } else { Ok(()) }
    };
    let since = fence.generation();
    scope(|threads| {
        threads.spawn(|| {
            fence.doubt();
            in_doubt.store(true, Ordering::SeqCst);
        });
        threads.spawn(|| {
            fence.end_lease();
            fence.renew_lease(LATER);
        });
        threads.spawn(|| look(since)).join().expect("a reader does not panic")
    })?;
    look(since)
}

/// A lease that ends while answers that need one, and errors that do not, come in.
fn no_lease() -> Verdict {
    let lab = Lab::new();
    let ended = AtomicBool::new(false);
    let look = || {
        let ended = ended.load(Ordering::SeqCst);
        match lab.hit(caller(1)) {
            Some(Ok(_)) if ended => Err("an answer that needs a lease was served without one"),
            _ => Ok(()),
        }
    };
    scope(|threads| {
        threads.spawn(|| lab.load(caller(1)));
        threads.spawn(|| lab.fall_back(caller(1)));
        threads.spawn(|| {
            lab.cache.fence.end_lease();
            ended.store(true, Ordering::SeqCst);
        });
        threads.spawn(|| look().and_then(|()| look())).join().expect("a reader does not panic")
    })?;
    look()
}

/// The last good answer is kept on while doubt and a change of its config come in.
fn last_good_against_change() -> Verdict {
    let lab = Lab::new();
    lab.load(caller(1));
    let changed = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| lab.cache.fence.doubt());
        threads.spawn(|| {
            lab.change(Change::Config(CONFIG));
            changed.store(true, Ordering::SeqCst);
        });
        let eviction = threads.spawn(|| {
            let known = changed.load(Ordering::SeqCst);
            let last = lab.cache.last_good(caller(1), NOW);
            let kept = last.and_then(|last| lab.keep_last_good(caller(1), &last));
            if known && kept.is_some() {
                Err("an answer known to be old was kept on")
            } else {
                Ok(())
            }
        });
        eviction.join().expect("an eviction does not panic")
    })?;
    let last = lab.cache.last_good(caller(1), Moment(1));
    let kept = last.and_then(|last| lab.keep_last_good(caller(1), &last));
    if lab.hit(caller(1)).is_some() || kept.is_some() {
        return Err("an answer known to be old is still served");
    }
    Ok(())
}
