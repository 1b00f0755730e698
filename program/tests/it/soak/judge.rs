//! Judges every answer, and counts by the fault under which it was asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::faults::{Fault, Weather};
use super::history::History;

/// What a resolver says to a call that did not fail.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub version: u64,
    pub stale: bool,
}

/// The counts of one fault.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub reads: u64,
    pub loads: u64,
    /// Of answers that were not marked stale.
    pub most_stale: Duration,
    /// How many of them were older than the lease.
    pub violations: u64,
    /// Answers that were marked stale.
    pub marked: u64,
    /// How many of them although the database had been answering for long.
    pub mismarked: u64,
    /// Calls of warm numbers that failed.
    pub failures: u64,
    pub first_failure: Option<String>,
    /// Calls that failed while the database was away, and of whose number nothing good was known.
    pub unknown: u64,
    pub panics: usize,
    /// How long it took at the most, after the fault was healed, to be proven and up to date.
    pub back: Option<Duration>,
}

/// Judges the answers of one resolver.
pub struct Judge {
    history: Arc<History>,
    tallies: Mutex<Vec<Tally>>,
    /// What each number's last good answer was, and when.
    known: Vec<Mutex<Option<(u64, Instant)>>>,
}

impl Judge {
    /// For so many numbers, those of each node counted by themselves.
    pub fn new(history: Arc<History>, numbers: usize) -> Self {
        let known = (0..numbers).map(|_| Mutex::default()).collect();
        let tallies = vec![Tally::default(); Fault::ALL.len() + Fault::OF_RELAYS.len()];
        Self { history, tallies: Mutex::new(tallies), known }
    }

    /// Judges an answer for a number of a config that was asked for at that time and in that
    /// weather.
    pub fn judge(
        &self,
        (number, config): (usize, usize),
        asked: Instant,
        weather: Weather,
        said: Result<Said, String>,
    ) {
        let mut known = self.known[number].lock().unwrap_or_else(PoisonError::into_inner);
        self.count(weather, |tally| tally.reads += 1);
        match said {
            Ok(Said { version, stale: false }) => {
                *known = Some((version, Instant::now()));
                let staleness = self.history.staleness(config, version, asked);
                self.count(weather, |tally| {
                    tally.most_stale = tally.most_stale.max(staleness);
                    tally.violations += u64::from(staleness > super::LEASE);
                });
            }
            Ok(Said { stale: true, .. }) => self.count(weather, |tally| {
                tally.marked += 1;
                tally.mismarked += u64::from(weather.has_long_been_answering(asked));
            }),
            Err(error) => {
                let warm = (*known).filter(|(_, at)| at.elapsed() < STAYS_WARM);
                let excused = !weather.must_answer(asked)
                    && warm.is_none_or(|(version, at)| {
                        // A change that is heard of ends the last good answer, and rightly: one
                        // that came later, and also that very one, heard of a little later.
                        let heard = self.history.newest_sent(config, weather.could_hear_until());
                        let committed = self.history.staleness(config, version.max(1) - 1, at);
                        heard > version || committed < HEARD_BY
                    });
                self.count(weather, |tally| {
                    if excused {
                        tally.unknown += 1;
                    } else {
                        tally.failures += 1;
                        tally.first_failure.get_or_insert_with(|| {
                            let known = warm.map(|(version, at)| {
                                let before = version.max(1) - 1;
                                let committed = self.history.staleness(config, before, asked);
                                (at.elapsed(), committed)
                            });
                            format!(
                                "number {number}, answered and committed before: {known:?}, \
                                 {weather:?}: {error}"
                            )
                        });
                    }
                });
            }
        }
    }

    /// Changes the counts of the fault of that weather.
    pub fn count(&self, weather: Weather, change: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tallies[weather.fault as usize]);
    }

    /// The counts, by fault.
    pub fn tallies(&self) -> Vec<Tally> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long after a commit its notification may come, while nothing is wrong.
const HEARD_BY: Duration = Duration::from_millis(250);
/// Less than any TTL: afterwards an answer that nobody asks for may be gone, and rightly.
const STAYS_WARM: Duration = Duration::from_secs(120);

#[test]
fn an_answer_past_the_lease_is_a_violation_unless_it_is_marked() {
    let (history, start) = (Arc::new(History::of(1)), Instant::now());
    history.sending(0, start);
    history.returned(0, start);
    let judge = Judge::new(history, 1);
    let weather = Weather::new(Fault::Nothing);
    let violations = |age: Duration, version, stale| {
        judge.judge((0, 0), start + age, weather, Ok(Said { version, stale }));
        judge.tallies()[Fault::Nothing as usize].violations
    };
    assert_eq!(violations(super::LEASE, 0, false), 0);
    assert_eq!(violations(super::LEASE + Duration::from_millis(1), 0, true), 0);
    assert_eq!(violations(super::LEASE + Duration::from_millis(1), 1, false), 0);
    assert_eq!(violations(super::LEASE + Duration::from_millis(1), 0, false), 1);
    judge.judge((0, 0), start, weather, Err("no answer".into()));
    assert_eq!(judge.tallies()[Fault::Nothing as usize].failures, 1);
}
