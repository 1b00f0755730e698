//! Looks at a database that stands still.
//!
//! A server's snapshot changes whenever a transaction commits that has written anything, to whichever
//! database: either it was among those in progress, or it lies beyond the newest that had completed. So
//! a look that meets the snapshot of the look before it has nothing to read, and nobody has touched a
//! trigger either. Asking for the snapshot opens no table and takes no lock.
//!
//! A replica does not list the transactions in progress, so of its snapshot a look writes down the oldest
//! of them in place of both bounds. Only while none is in progress are the two bounds alike, and neither
//! ever goes back.
//!
//! A server that recovers from a crash may give out transaction ids again, and ends every session. So
//! this counts within one session, and not through a pooler. Nor is it tried over a slow network.

use super::super::record::Record;

/// Asks for what a [`Snapshot`] is.
pub(super) const SNAPSHOT: &str = "select cast(pg_backend_pid() as bigint) as backend, cast(pg_current_snapshot() as text) as snapshot";

/// The transactions that a session sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The process of the server. Behind a pooler that looks like none, it may be another one.
    backend: i64,
    /// As `pg_current_snapshot()` writes it.
    pub(super) text: String,
}

impl Snapshot {
    pub(super) fn read(row: &impl Record) -> Result<Self, sqlx::Error> {
        Ok(Self { backend: row.own_int("backend")?, text: row.own_text("snapshot")? })
    }
}

/// What the last look saw.
#[derive(Default)]
pub(super) struct Stillness {
    /// Over which session, by its number.
    session: u64,
    seen: Option<Snapshot>,
    /// What an audit under that very snapshot found: whether edits notify.
    notify: Option<bool>,
    /// Grows with each look that meets the same one, and is halved by each that does not. Where others
    /// write all the time, asking for the snapshot first would be one question more.
    trust: u8,
}

impl Stillness {
    /// A look has been asked over a session. `seen`: its snapshot, if the next look may ask for that
    /// first; `notify`: what it found if it was an audit.
    pub(super) fn looked(&mut self, session: u64, seen: Option<Snapshot>, notify: Option<bool>) {
        let is_same = session == self.session && seen.is_some();
        if is_same && seen == self.seen {
            self.lasted();
        } else {
            self.trust = if is_same { self.trust / 2 } else { 0 };
            (self.session, self.seen, self.notify) = (session, seen, None);
        }
        self.notify = notify.or(self.notify);
    }

    /// A look has met the snapshot of the look before it.
    pub(super) fn lasted(&mut self) {
        self.trust = (self.trust + 1).min(MOST_TRUST);
    }

    /// The snapshot that may be asked for in place of a look, or of an audit.
    pub(super) fn may_last(&self, session: u64, audit: bool) -> Option<&Snapshot> {
        let may_last =
            self.trust > 0 && session == self.session && (!audit || self.notify.is_some());
        self.seen.as_ref().filter(|_| may_last)
    }

    /// What is known of the triggers: whether edits notify.
    pub(super) fn notify(&self) -> Option<bool> {
        self.notify
    }
}

/// How many writes in a row it takes until asking for the snapshot first is given up.
const MOST_TRUST: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(backend: i64, text: &str) -> Snapshot {
        Snapshot { backend, text: text.to_owned() }
    }

    #[test]
    fn a_snapshot_that_two_looks_met_is_asked_for_in_place_of_a_third() {
        let mut stillness = Stillness::default();
        assert_eq!(stillness.may_last(1, false), None);
        let seen = snapshot(1, "7:7:");
        stillness.looked(1, Some(seen.clone()), None);
        assert_eq!(stillness.may_last(1, false), None, "others may write all the time");
        stillness.looked(1, Some(seen.clone()), None);
        assert_eq!(stillness.may_last(1, false), Some(&seen));
        stillness.looked(1, Some(snapshot(1, "7:9:8")), None);
        assert_eq!(stillness.may_last(1, false), None);
    }

    #[test]
    fn one_write_after_a_long_stillness_is_no_reason_to_expect_another_one() {
        let mut stillness = Stillness::default();
        let mut looked = |text: &str, times: usize| {
            (0..times).for_each(|_| stillness.looked(1, Some(snapshot(1, text)), None));
            stillness.may_last(1, false).is_some()
        };
        assert!(looked("7:7:", 20));
        assert!(looked("8:8:", 1) && looked("9:9:", 1), "it may stand still again");
        assert!(!looked("10:10:", 1), "others write all the time");
        assert!(!looked("11:11:", 1) && looked("11:11:", 1));
    }

    #[test]
    fn it_stands_for_an_audit_only_if_there_was_one_under_it() {
        let mut stillness = Stillness::default();
        let seen = || Some(snapshot(1, "7:7:"));
        stillness.looked(1, seen(), None);
        stillness.looked(1, seen(), None);
        assert_eq!(stillness.may_last(1, true), None);
        stillness.looked(1, seen(), Some(true));
        stillness.looked(1, seen(), None);
        assert!(stillness.may_last(1, true).is_some());
        assert_eq!(stillness.notify(), Some(true));
        stillness.looked(1, Some(snapshot(1, "9:9:")), None);
        stillness.looked(1, Some(snapshot(1, "9:9:")), None);
        assert_eq!((stillness.may_last(1, true), stillness.notify()), (None, None));
    }

    #[test]
    fn neither_through_a_pooler_nor_in_another_session_of_the_server_does_anything_last() {
        let mut stillness = Stillness::default();
        stillness.looked(1, None, Some(true));
        stillness.looked(1, None, Some(true));
        assert_eq!(stillness.may_last(1, false), None);
        stillness.looked(1, Some(snapshot(1, "7:7:")), None);
        stillness.looked(1, Some(snapshot(2, "7:7:")), None);
        assert_eq!(stillness.may_last(1, false), None);
        stillness.looked(1, Some(snapshot(2, "7:7:")), None);
        assert!(stillness.may_last(1, false).is_some());
        assert_eq!(stillness.may_last(2, false), None);
        stillness.looked(2, Some(snapshot(2, "7:7:")), None);
        assert_eq!(stillness.may_last(2, false), None);
    }
}
