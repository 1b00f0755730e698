//! What looks at the change log prove: no answer that counts is older than the lease, whoever of two
//! attempts at a look answers first, and no ring is lost between looks.

use std::time::Duration;

use futures_util::FutureExt;
use shuttle::thread::scope;

use crate::cache::{CacheEntry, ThreadCache};
use crate::change::Change;
use crate::clock::Moment;
use crate::doorbell::Doorbell;
use crate::explore::{Verdict, holds, is_caught, models};
use crate::lab::{CONFIG, Lab, caller, rows_of};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

models! {
    fn no_answer_that_counts_is_older_than_the_lease_with_two_attempts_at_a_look() {
        holds(|| older_than_the_lease(&Reading::new(How::AsItIs)));
    }

    fn nor_where_the_log_does_not_reach_back_and_everything_is_doubted() {
        holds(|| older_than_the_lease(&Reading::new(How::Doubting)));
    }

    fn renewing_the_lease_before_what_was_found_is_applied_is_caught() {
        is_caught(|| older_than_the_lease(&Reading::new(How::RenewingFirst)));
    }

    fn renewing_the_lease_before_everything_is_doubted_is_caught() {
        is_caught(|| older_than_the_lease(&Reading::new(How::RenewingBeforeDoubt)));
    }

    fn counting_the_lease_from_the_answer_of_a_look_is_caught() {
        is_caught(|| older_than_the_lease(&Reading::new(How::FromTheAnswer)));
    }

    /// The one that answers first was asked first, and the lease counts from the other.
    fn what_one_attempt_found_with_the_time_of_the_other_is_caught() {
        is_caught(|| older_than_the_lease(&Reading::new(How::Mixing)));
    }

    fn a_ring_during_a_look_leads_to_another_one() {
        holds(|| ring_is_lost(false));
    }

    fn forgetting_the_rings_of_a_look_after_it_is_caught() {
        is_caught(|| ring_is_lost(true));
    }
}

/// In which order a reader does what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AsItIs,
    Doubting,
    RenewingFirst,
    RenewingBeforeDoubt,
    FromTheAnswer,
    Mixing,
}

/// The real cache and doorbell, a log of changes of one config, and a reader of it.
struct Reading {
    lab: Lab,
    doorbell: Doorbell,
    how: How,
    now: AtomicU64,
    /// When each commit had returned.
    log: Mutex<Vec<Moment>>,
    /// How far it has been read.
    horizon: Mutex<usize>,
}

/// What one attempt at a look found.
#[derive(Clone, Copy)]
struct Answer {
    asked_at: Moment,
    end: usize,
}

impl Reading {
    fn new(how: How) -> Self {
        let lab = Lab::new();
        lab.cache.fence.end_lease();
        let doorbell = Doorbell::new(Arc::clone(&lab.cache), LEASE);
        let (now, log, horizon) = (AtomicU64::new(1), Mutex::default(), Mutex::default());
        Self { lab, doorbell, how, now, log, horizon }
    }

    fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::SeqCst))
    }

    fn commit(&self) {
        let mut log = self.log.lock().unwrap();
        self.lab.commit(Change::Config(CONFIG));
        log.push(Moment::NEVER);
        let at = log.len() - 1;
        drop(log);
        // Whoever committed knows of it only now.
        let returned = self.now();
        self.log.lock().unwrap()[at] = returned;
    }

    fn ask(&self) -> Answer {
        let asked_at = self.now();
        let end = self.log.lock().unwrap().len();
        let asked_at = if self.how == How::FromTheAnswer { self.now() } else { asked_at };
        Answer { asked_at, end }
    }

    /// A look that is asked twice, of which the first answer is taken.
    fn look_twice(&self) {
        let answers = Mutex::new(Vec::new());
        scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let answer = self.ask();
                    answers.lock().unwrap().push(answer);
                });
            }
        });
        let answers = answers.into_inner().unwrap();
        let latest = answers.iter().map(|answer| answer.asked_at).max();
        let mut first = answers[0];
        if self.how == How::Mixing {
            first.asked_at = latest.expect("there are two");
        }
        self.take(first);
    }

    fn take(&self, answer: Answer) {
        let renew = || {
            self.doorbell.audited(answer.asked_at, true);
            self.doorbell.looked(answer.asked_at);
        };
        let mut horizon = self.horizon.lock().unwrap();
        match self.how {
            How::RenewingFirst | How::RenewingBeforeDoubt => {
                renew();
                self.apply(*horizon, answer.end);
            }
            _ => {
                self.apply(*horizon, answer.end);
                renew();
            }
        }
        *horizon = answer.end;
    }

    fn apply(&self, from: usize, to: usize) {
        match self.how {
            How::Doubting | How::RenewingBeforeDoubt if to > from => self.lab.cache.fence.doubt(),
            How::Doubting | How::RenewingBeforeDoubt => {}
            _ => (from..to).for_each(|_| self.lab.cache.apply(Change::Config(CONFIG))),
        }
    }

    /// Asks for the number as a call does.
    fn call(&self) -> Verdict {
        let asked = self.now();
        let hit = self.lab.cache.hit(
            caller(1),
            asked,
            true,
            &ThreadCache::default(),
            CacheEntry::outcome,
        );
        let Some(rows) = hit.ok().and_then(|outcome| rows_of(&outcome)) else { return Ok(()) };
        let lacks = usize::try_from(rows.config - 1).expect("few commits");
        match self.log.lock().unwrap().get(lacks) {
            Some(&committed) if asked.since(committed) >= LEASE => {
                Err("an answer that counts is older than the lease")
            }
            _ => Ok(()),
        }
    }
}

/// A commit, looks and calls, while time goes by.
fn older_than_the_lease(reading: &Reading) -> Verdict {
    reading.lab.load(caller(1));
    reading.look_twice();
    scope(|threads| {
        threads.spawn(|| reading.commit());
        threads.spawn(|| {
            for _ in 0..3 {
                reading.now.fetch_add(1, Ordering::SeqCst);
            }
        });
        threads.spawn(|| reading.look_twice());
        let calls = threads.spawn(|| reading.call().and_then(|()| reading.call()));
        calls.join().expect("a call does not panic")
    })?;
    // And until the lease has ended.
    (0..4).try_for_each(|_| {
        reading.call()?;
        reading.now.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
}

/// Commits that ring, and a reader that looks as long as it is woken.
fn ring_is_lost(forgets: bool) -> Verdict {
    let reading = Reading::new(How::AsItIs);
    let is_woken = || reading.doorbell.wake_up().now_or_never().is_some();
    scope(|threads| {
        threads.spawn(|| {
            for _ in 0..2 {
                reading.commit();
                reading.doorbell.ring();
            }
        });
        threads.spawn(|| {
            for _ in 0..3 {
                if is_woken() {
                    reading.look_twice();
                    if forgets {
                        is_woken();
                    }
                }
            }
        });
    });
    let read = *reading.horizon.lock().unwrap();
    if read < reading.log.lock().unwrap().len() && !is_woken() {
        return Err("a change was rung for, and nobody comes to read it");
    }
    Ok(())
}

/// In ticks of the model's clock.
const LEASE: Duration = Duration::from_nanos(2);
