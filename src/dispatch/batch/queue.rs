//! Which entry goes next. Each trunk has its own queue, so a slow trunk delays only its own
//! entries: files are often sorted by caller number, and one slow trunk at the head would take
//! every place.
//!
//! Of each trunk only so many entries are under way at once. What is read beyond that waits in the
//! order of the file, up to a bound; then reading waits.

use std::collections::{HashMap, VecDeque};

use super::entry::Entry;
use super::journal::JournalState;
use crate::dispatch::trunk_key::TrunkKey;
use crate::number::Caller;

/// An entry, and what an earlier run knew of it.
pub(super) type Next = (Entry, Option<JournalState>);

/// What all entries have in common that wait for the same turns.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum QueueKey {
    /// A trunk of a server.
    Trunk(TrunkKey),
    /// Nothing: it will not be tried.
    Untried,
    /// A caller of whom no trunk is known yet.
    Caller(Caller),
}

/// The entries that were read and have not ended.
pub(super) struct Queue {
    places: HashMap<QueueKey, Waiting>,
    parked: usize,
    /// How many of one place may be under way.
    most: usize,
}

#[derive(Default)]
struct Waiting {
    under_way: usize,
    parked: VecDeque<Next>,
}

impl Queue {
    /// For a server on which so many calls may be under way at once.
    pub(super) fn new(concurrency: usize) -> Self {
        let most = concurrency.saturating_add(MOST_WAITING);
        Self { places: HashMap::new(), parked: 0, most }
    }

    /// Takes an entry that was read; gives it back if it may go now.
    pub(super) fn admit(&mut self, place: &QueueKey, next: Next) -> Option<Next> {
        let most = match place {
            QueueKey::Trunk(_) | QueueKey::Untried => self.most,
            // The first one finds out what the others wait for.
            QueueKey::Caller(_) => 1,
        };
        let waiting = self.places.entry(place.clone()).or_default();
        if waiting.under_way < most {
            waiting.under_way += 1;
            return Some(next);
        }
        waiting.parked.push_back(next);
        self.parked += 1;
        None
    }

    /// One of a trunk has ended. Returns the next one of it, which may go now.
    pub(super) fn ended(&mut self, place: &QueueKey) -> Option<Next> {
        let waiting = self.places.get_mut(place)?;
        if let Some(next) = waiting.parked.pop_front() {
            self.parked -= 1;
            return Some(next);
        }
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            self.places.remove(place);
        }
        None
    }

    /// It is known what a caller's entries wait for: returns those that were parked for want of that.
    pub(super) fn known(&mut self, caller: &QueueKey) -> impl Iterator<Item = Next> + use<> {
        let waiting = self.places.remove(caller).unwrap_or_default();
        self.parked -= waiting.parked.len();
        waiting.parked.into_iter()
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.parked < MOST_PARKED
    }
}

/// How many of one trunk wait for its turn, beside those that are being placed.
const MOST_WAITING: usize = 32;
/// How many are read ahead, some megabytes.
const MOST_PARKED: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn next(line: u64) -> Next {
        (Entry { line, request: Err(String::new()), attempts: 0, digest: 0, row: Vec::new() }, None)
    }

    #[test]
    fn a_slow_trunk_keeps_its_own_waiting_and_lets_the_others_pass() {
        let (slow, other) = (QueueKey::Trunk(TrunkKey::named("slow")), QueueKey::Untried);
        let mut queue = Queue::new(8);
        let most = 8 + MOST_WAITING;
        let went = (0..1000).filter(|&line| queue.admit(&slow, next(line)).is_some()).count();
        assert_eq!((went, queue.parked), (most, 1000 - most));
        assert!(queue.admit(&other, next(1000)).is_some());
        let (entry, _) = queue.ended(&slow).unwrap();
        assert_eq!(entry.line, most as u64, "in the order of the file");
        for _ in 0..1000 - most - 1 {
            assert!(queue.ended(&slow).is_some());
        }
        assert_eq!(queue.parked, 0);
        for _ in 0..most {
            assert!(queue.ended(&slow).is_none());
        }
        assert!(queue.ended(&other).is_none() && queue.places.is_empty());
    }

    #[test]
    fn one_entry_of_a_caller_finds_out_what_the_others_wait_for() {
        let tenant = crate::number::TenantId(uuid::Uuid::nil());
        let caller = QueueKey::Caller(Caller::new(tenant, "+971501234567".parse().unwrap()));
        let mut queue = Queue::new(8);
        assert!(queue.admit(&caller, next(0)).is_some());
        assert!((1..5).all(|line| queue.admit(&caller, next(line)).is_none()));
        let lines: Vec<_> = queue.known(&caller).map(|(entry, _)| entry.line).collect();
        assert_eq!((lines, queue.parked), (vec![1, 2, 3, 4], 0));
        assert!(queue.places.is_empty());
    }
}
