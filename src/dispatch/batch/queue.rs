//! Which entry goes next: a trunk whose turns are slow holds up its own entries and nobody else's.
//!
//! Of each place (trunk) only so many entries are under way at once. What is read beyond that is
//! parked in the order of the file, up to a bound; then reading waits.

use std::collections::{HashMap, VecDeque};

use super::entry::Entry;
use super::journal::State;

/// An entry, and what an earlier run knew of it.
pub(super) type Next = (Entry, Option<State>);

/// A name for all entries that wait for the same turns.
pub(super) type Place = Box<str>;

/// The entries that were read and have not ended.
#[derive(Default)]
pub(super) struct Queue {
    places: HashMap<Place, Waiting>,
    parked: usize,
}

#[derive(Default)]
struct Waiting {
    under_way: usize,
    parked: VecDeque<Next>,
}

impl Queue {
    /// Takes an entry that was read; gives it back if it may go now.
    pub(super) fn admit(&mut self, place: &Place, next: Next) -> Option<Next> {
        let waiting = self.places.entry(place.clone()).or_default();
        if waiting.under_way < MOST_OF_A_PLACE {
            waiting.under_way += 1;
            return Some(next);
        }
        waiting.parked.push_back(next);
        self.parked += 1;
        None
    }

    /// One of a place has ended. Returns the next one of it, which may go now.
    pub(super) fn ended(&mut self, place: &Place) -> Option<Next> {
        let waiting = self.places.get_mut(place)?;
        match waiting.parked.pop_front() {
            Some(next) => {
                self.parked -= 1;
                Some(next)
            }
            None => {
                waiting.under_way -= 1;
                if waiting.under_way == 0 {
                    self.places.remove(place);
                }
                None
            }
        }
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.parked < MOST_PARKED
    }

    /// How many are parked.
    pub(super) fn parked(&self) -> usize {
        self.parked
    }
}

/// How many of one place are under way; more would only wait for its turns.
const MOST_OF_A_PLACE: usize = 64;
/// How many are read ahead, some megabytes.
const MOST_PARKED: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn next(line: u64) -> Next {
        (Entry { line, request: Err(String::new()), digest: 0 }, None)
    }

    #[test]
    fn a_slow_place_keeps_its_own_waiting_and_lets_the_others_pass() {
        let (slow, other): (Place, Place) = ("slow".into(), "other".into());
        let mut queue = Queue::default();
        let went = (0..1000).filter(|&line| queue.admit(&slow, next(line)).is_some()).count();
        assert_eq!((went, queue.parked()), (MOST_OF_A_PLACE, 1000 - MOST_OF_A_PLACE));
        assert!(queue.admit(&other, next(1000)).is_some());
        let (entry, _) = queue.ended(&slow).unwrap();
        assert_eq!(entry.line, MOST_OF_A_PLACE as u64, "in the order of the file");
        for _ in 0..1000 - MOST_OF_A_PLACE - 1 {
            assert!(queue.ended(&slow).is_some());
        }
        assert_eq!(queue.parked(), 0);
        for _ in 0..MOST_OF_A_PLACE {
            assert!(queue.ended(&slow).is_none());
        }
        assert!(queue.ended(&other).is_none() && queue.places.is_empty());
    }
}
