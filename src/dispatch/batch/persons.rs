//! Whom the entries of a batch call. The same caller and the same number is one person, who gets
//! one call.
//!
//! Of the entries that would call one person, the first in the file does. The others wait for it
//! and end as duplicates of it; if it is left to a later run, so are they. Rules may change while a
//! batch runs, so whom an entry calls is checked at the start and again when its turn comes.
//!
//! An entry costs 16 bytes and its part of the table, 20 to 40 bytes in all; two bits say how it
//! ended.
//!
//! **Invariant:** no two entries may call one person at the same time, and no entry may once
//! another was about to be dialled.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::number::{Caller, E164};

/// The persons of one run.
#[derive(Default)]
pub(super) struct Persons(Mutex<PersonTable>);

#[derive(Default)]
struct PersonTable {
    callers: HashMap<Caller, u32>,
    first: HashMap<Person, Claim>,
    done: Lines,
    left: Lines,
    /// Who waits for the end of the entry on a line.
    waiting: HashMap<u64, Vec<oneshot::Sender<()>>>,
}

/// Who calls whom: the caller by its place among the callers, and the number, which has 15 digits at
/// the most. In halves, so that no padding comes with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Person([u32; 3]);

/// The line of the entry that calls a person, and in the lowest bit whether it was about to.
#[derive(Clone, Copy)]
struct Claim(u32);

/// Whether an entry may call a person.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// It may, and no other one.
    Granted,
    /// The entry of this line has called them.
    Called(u64),
    /// The entry of this line is left to a later run.
    Left(u64),
    /// The entry of this line is to call them, and has not ended.
    Waits(u64),
}

impl Persons {
    /// Notes, before the batch begins, whom an entry will call. Returns the line of the entry before
    /// it that calls the same person. `was_called`: by an earlier run.
    pub(super) fn expect(
        &self,
        caller: Caller,
        number: E164,
        line: u64,
        was_called: bool,
    ) -> Option<u64> {
        let mut table = self.lock();
        let person = table.person(caller, number);
        let mine = Claim::of(line, was_called);
        match table.first.entry(person) {
            Slot::Vacant(free) => {
                free.insert(mine);
                None
            }
            Slot::Occupied(mut taken) => {
                let first = *taken.get();
                // Who was called by an earlier run was, wherever that stands in the file by now.
                if was_called && !first.called() {
                    taken.insert(mine);
                }
                (first.line() != line).then(|| first.line())
            }
        }
    }

    /// Asks for leave to call a person.
    pub(super) fn ask(&self, caller: Caller, number: E164, line: u64) -> Permission {
        let mut table = self.lock();
        let person = table.person(caller, number);
        let PersonTable { first, done, left, .. } = &mut *table;
        let claim = first.entry(person).or_insert(Claim::of(line, false));
        let first = claim.line();
        if first == line {
            return Permission::Granted;
        }
        match (claim.called(), done.has(first), left.has(first)) {
            (true, true, _) => Permission::Called(first),
            (_, _, true) => Permission::Left(first),
            // It ended without calling them: the rules have another number for it by now, or none.
            (false, true, _) => {
                *claim = Claim::of(line, false);
                Permission::Granted
            }
            _ => Permission::Waits(first),
        }
    }

    /// Notes that an entry with leave is about to be dialled.
    pub(super) fn about_to_call(&self, caller: Caller, number: E164, line: u64) {
        let mut table = self.lock();
        let person = table.person(caller, number);
        table.first.insert(person, Claim::of(line, true));
    }

    /// Notes how an entry ended, and tells those who wait for it.
    pub(super) fn ended(&self, line: u64, left: bool) {
        let mut table = self.lock();
        if left {
            table.left.note(line);
        } else {
            table.done.note(line);
        }
        drop(table.waiting.remove(&line));
    }

    /// Waits until the entry of a line has ended.
    pub(super) async fn end_of(&self, line: u64) {
        let ended = {
            let mut table = self.lock();
            if table.done.has(line) || table.left.has(line) {
                return;
            }
            let (sender, ended) = oneshot::channel();
            table.waiting.entry(line).or_default().push(sender);
            ended
        };
        // That nobody will tell any more is what is waited for.
        let _ = ended.await;
    }

    fn lock(&self) -> MutexGuard<'_, PersonTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PersonTable {
    fn person(&mut self, caller: Caller, number: E164) -> Person {
        let next = u32::try_from(self.callers.len()).unwrap_or(u32::MAX);
        let caller = *self.callers.entry(caller).or_insert(next);
        let number = number.as_u64();
        let halves = [number >> 32, number & u64::from(u32::MAX)];
        let [high, low] = halves.map(|half| u32::try_from(half).unwrap_or(u32::MAX));
        Person([caller, high, low])
    }
}

impl Claim {
    /// A file has fewer lines than this holds.
    fn of(line: u64, called: bool) -> Self {
        Self(u32::try_from(line << 1 | u64::from(called)).unwrap_or(u32::MAX))
    }

    fn line(self) -> u64 {
        u64::from(self.0 >> 1)
    }

    fn called(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A set of lines, a bit for each.
#[derive(Default)]
struct Lines(Vec<u64>);

impl Lines {
    fn note(&mut self, line: u64) {
        let Ok(word) = usize::try_from(line / 64) else { return };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (line % 64);
    }

    fn has(&self, line: u64) -> bool {
        let word = usize::try_from(line / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & 1 << (line % 64) != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;
    use crate::number::TenantId;

    const MANY: u64 = 100_000;

    fn who() -> (Caller, E164) {
        let tenant = TenantId(uuid::Uuid::nil());
        let caller = Caller::new(tenant, "+971501234567".parse().unwrap());
        (caller, "+14155552671".parse().unwrap())
    }

    #[tokio::test]
    async fn of_those_who_call_one_person_the_first_does_and_the_others_wait_for_its_end() {
        let ((caller, number), persons) = (who(), Persons::default());
        let other: E164 = "+14155552672".parse().unwrap();
        assert_eq!(persons.expect(caller, number, 2, false), None);
        assert_eq!(persons.expect(caller, number, 5, false), Some(2));
        assert_eq!(persons.ask(caller, number, 5), Permission::Waits(2));
        assert_eq!(persons.ask(caller, other, 6), Permission::Granted);
        assert_eq!(persons.ask(caller, number, 2), Permission::Granted);
        persons.about_to_call(caller, number, 2);
        assert_eq!(persons.ask(caller, number, 5), Permission::Waits(2));
        let mut end = pin!(persons.end_of(2));
        assert_eq!(poll!(&mut end), Poll::Pending);
        persons.ended(2, false);
        assert_eq!(poll!(&mut end), Poll::Ready(()));
        persons.end_of(2).await;
        assert_eq!(persons.ask(caller, number, 5), Permission::Called(2));
    }

    #[test]
    fn a_duplicate_is_left_where_the_first_one_is_left() {
        let ((caller, number), persons) = (who(), Persons::default());
        for called in [false, true] {
            persons.expect(caller, number, 2, false);
            if called {
                persons.about_to_call(caller, number, 2);
            }
            persons.ended(2, true);
            assert_eq!(persons.ask(caller, number, 5), Permission::Left(2), "{called}");
        }
    }

    #[test]
    fn who_was_not_called_after_all_may_be_called_by_another_one() {
        let ((caller, number), persons) = (who(), Persons::default());
        persons.expect(caller, number, 2, false);
        // The rules have it refused by then, so it never asks.
        persons.ended(2, false);
        assert_eq!(persons.ask(caller, number, 5), Permission::Granted);
        assert_eq!(persons.ask(caller, number, 7), Permission::Waits(5));
    }

    #[test]
    fn who_was_called_by_an_earlier_run_was_wherever_that_stands() {
        let ((caller, number), persons) = (who(), Persons::default());
        assert_eq!(persons.expect(caller, number, 2, false), None, "it was corrected since");
        assert_eq!(persons.expect(caller, number, 9, true), Some(2));
        persons.ended(9, false);
        assert_eq!(persons.ask(caller, number, 2), Permission::Called(9));
    }

    #[test]
    fn an_entry_costs_a_few_bytes() {
        let ((caller, _), persons) = (who(), Persons::default());
        for at in 0..MANY {
            let number = E164::from_digits(&(14_150_000_000 + at).to_string()).unwrap();
            persons.expect(caller, number, at + 2, false);
        }
        // Seven of eight places of a table may be taken, and each has a byte beside.
        let places = persons.lock().first.capacity() as u64 * 8 / 7;
        let bytes = places * (size_of::<(Person, Claim)>() as u64 + 1) / MANY;
        assert!((16..=40).contains(&bytes), "{bytes} bytes");
        let mut lines = Lines::default();
        lines.note(1_000_000);
        assert!(lines.has(1_000_000) && !lines.has(999_999) && lines.0.len() * 8 < 126_000);
    }
}
