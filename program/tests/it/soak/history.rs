//! What was committed when: what every answer is judged by.
//!
//! The versions of a config are committed by one writer, one after the other, and written down
//! before COMMIT is sent and after it has returned. A commit whose answer was lost has no time of
//! return, and is never held against anybody.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The commits of every config. Versions count from 1; 0 is what was there before.
pub struct History {
    configs: Vec<Mutex<Vec<Commit>>>,
}

#[derive(Debug, Clone, Copy)]
struct Commit {
    sent: Instant,
    returned: Option<Instant>,
}

impl History {
    pub fn of(configs: usize) -> Self {
        Self { configs: (0..configs).map(|_| Mutex::default()).collect() }
    }

    /// The version that comes after all that were ever sent.
    pub fn next(&self, config: usize) -> u64 {
        self.with(config, |commits| commits.len() as u64 + 1)
    }

    /// COMMIT of the next version is about to be sent.
    pub fn sending(&self, config: usize, now: Instant) {
        self.with(config, |commits| commits.push(Commit { sent: now, returned: None }));
    }

    /// The last one that was sent has returned.
    pub fn returned(&self, config: usize, now: Instant) {
        self.with(config, |commits| {
            commits.last_mut().expect("it was sent").returned = Some(now);
        });
    }

    /// For how long an answer had been outdated when it was asked for: since the oldest newer
    /// version's commit returned.
    pub fn staleness(&self, config: usize, version: u64, asked: Instant) -> Duration {
        self.with(config, |commits| {
            let mut newer = commits.iter().skip(usize::try_from(version).unwrap_or(usize::MAX));
            let oldest = newer.find_map(|commit| commit.returned);
            oldest.map_or(Duration::ZERO, |returned| asked.saturating_duration_since(returned))
        })
    }

    /// The newest version that somebody may have heard of by then.
    pub fn newest_sent(&self, config: usize, by: Instant) -> u64 {
        self.with(config, |commits| commits.partition_point(|commit| commit.sent <= by) as u64)
    }

    /// The newest version that is known to be committed.
    pub fn newest_returned(&self, config: usize) -> u64 {
        self.with(config, |commits| {
            let at = commits.iter().rposition(|commit| commit.returned.is_some());
            at.map_or(0, |at| at as u64 + 1)
        })
    }

    fn with<T>(&self, config: usize, look: impl FnOnce(&mut Vec<Commit>) -> T) -> T {
        look(&mut self.configs[config].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[test]
fn an_answer_is_as_old_as_the_oldest_commit_that_it_lacks() {
    let (history, start) = (History::of(1), Instant::now());
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    for (sent, returned) in [(10, Some(20)), (30, None), (50, Some(60)), (70, Some(80))] {
        history.sending(0, at(sent));
        if let Some(returned) = returned {
            history.returned(0, at(returned));
        }
    }
    let staleness = |version, asked| history.staleness(0, version, at(asked)).as_millis();
    assert_eq!(staleness(0, 1020), 1000, "the first commit is lacking");
    assert_eq!(staleness(0, 15), 0, "it was asked for before the commit returned");
    assert_eq!(staleness(1, 1060), 1000, "the second may never have happened");
    assert_eq!(staleness(2, 1060), 1000);
    assert_eq!(staleness(4, 5000), 0);
    assert_eq!((history.newest_sent(0, at(55)), history.newest_sent(0, at(5))), (3, 0));
    assert_eq!((history.next(0), history.newest_returned(0)), (5, 4));
}
