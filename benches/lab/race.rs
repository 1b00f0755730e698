//! Contestants that take turns, so that a noisy minute is noisy for all of them.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::report::is_trial;

/// Someone who answers for the place of a caller in the order of calls, with a small number.
pub(crate) type Answer<'a> = Box<dyn Fn(usize) -> usize + Sync + 'a>;

/// Who takes part, by name.
pub(crate) struct Race<'a> {
    runners: Vec<(&'static str, Turn<'a>)>,
}

/// So many calls from this place on; each begins when the one before it has its result, or not.
type Turn<'a> = Box<dyn Fn(usize, usize, Calls) -> usize + Sync + 'a>;

/// How calls follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// The processor may have several in the air at once.
    Independent,
    /// Which one is next depends on the result of the last.
    Dependent,
}

/// What one of them took for a call.
pub(crate) struct Took {
    pub(crate) name: &'static str,
    /// The median over turns.
    pub(crate) nanos: f64,
}

impl<'a> Race<'a> {
    pub(crate) fn new() -> Self {
        Self { runners: Vec::new() }
    }

    /// Adds one, by what it answers for a place in the order, as a number that is not used but
    /// to be waited for.
    #[must_use]
    pub(crate) fn with(
        mut self,
        name: &'static str,
        answer: impl Fn(usize) -> usize + Sync + 'a,
    ) -> Self {
        // Not known to be zero, so that what is added to a place has to be waited for.
        let nothing = black_box(0);
        let turn = move |from: usize, many: usize, calls: Calls| {
            let mut last = 0;
            match calls {
                Calls::Independent => {
                    for at in from..from + many {
                        last ^= answer(at & ORDER_MASK);
                    }
                }
                Calls::Dependent => {
                    for at in from..from + many {
                        last = answer((at + (last & nothing)) & ORDER_MASK);
                    }
                }
            }
            last
        };
        self.runners.push((name, Box::new(turn)));
        self
    }

    /// Lets each have a turn of so many calls, over and over.
    pub(crate) fn run(&self, calls: Calls) -> Vec<Took> {
        let times = self.turns(|turn, from| nanos(|| turn(from, TURN, calls)) / f64_of(TURN));
        self.took(times)
    }

    /// The same on two threads at once, one in each half of the order: nanoseconds of a call of
    /// both together.
    pub(crate) fn run_on_two(&self, calls: Calls) -> Vec<Took> {
        let many = if is_trial() { TURN } else { LONG_TURN };
        let times = self.turns(|turn, from| {
            let (from, start) = (from % (ORDER / 4), Barrier::new(2));
            let run = |from| {
                start.wait();
                nanos(|| turn(from, many, calls))
            };
            let both = std::thread::scope(|threads| {
                let other = threads.spawn(|| run(from + ORDER / 2));
                run(from).max(other.join().expect("a turn does not panic"))
            });
            both / f64_of(2 * many)
        });
        self.took(times)
    }

    /// How long single calls take, in the order of their length: less the time that looking at the
    /// clock takes.
    pub(crate) fn latencies(&self) -> Vec<(&'static str, Vec<f64>)> {
        let singles = |turn: &Turn, from| -> Vec<f64> {
            (from..from + SINGLES).map(|at| nanos(|| turn(at, 1, Calls::Independent))).collect()
        };
        let looking = median((0..SINGLES).map(|_| nanos(|| 0)).collect());
        let sorted = self.turns(singles).into_iter().map(|times| {
            let mut times: Vec<_> =
                times.into_iter().flatten().map(|time| (time - looking).max(0.0)).collect();
            times.sort_by(f64::total_cmp);
            times
        });
        self.runners.iter().map(|(name, _)| *name).zip(sorted).collect()
    }

    /// What each measures in its turns. No two turns in a row are about the same calls, or the
    /// second one would find warm what the first has read.
    fn turns<T>(&self, measure: impl Fn(&Turn, usize) -> T) -> Vec<Vec<T>> {
        let rounds = if is_trial() { 2 } else { ROUNDS };
        let mut measured: Vec<Vec<T>> = self.runners.iter().map(|_| Vec::new()).collect();
        let mut from = 0;
        for _ in 0..rounds {
            for ((_, turn), measured) in self.runners.iter().zip(&mut measured) {
                measured.push(measure(turn, from));
                from += TURN;
            }
        }
        measured
    }

    fn took(&self, times: Vec<Vec<f64>>) -> Vec<Took> {
        let names = self.runners.iter().map(|(name, _)| *name);
        names.zip(times).map(|(name, times)| Took { name, nanos: median(times) }).collect()
    }
}

/// What one of them took.
pub(crate) fn of(took: &[Took], name: &str) -> f64 {
    took.iter().find(|took| took.name == name).map_or(f64::NAN, |took| took.nanos)
}

/// What stands at a part of the way through.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    quantile(&times, 0.5)
}

/// How long something takes, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "a bench reads the real time")]
pub(crate) fn nanos<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    black_box(work());
    duration_nanos(began.elapsed())
}

pub(crate) fn duration_nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// As many as are never reached in a bench.
#[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
pub(crate) fn f64_of(many: usize) -> f64 {
    many as f64
}

/// How many calls there are before they come again.
pub(crate) const ORDER: usize = 1 << 20;
const ORDER_MASK: usize = ORDER - 1;
const ROUNDS: usize = 31;
const TURN: usize = 20_000;
/// Long beside the start of a thread, and less than a quarter of the order.
const LONG_TURN: usize = 250_000;
const SINGLES: usize = 4000;
