//! How long a look may take where its connection is opened first, and when what hangs is given up.
//!
//! Many nodes that come to a busy server at once must not lose, again and again, what they had got of it:
//! each time that was too short doubles the next one. A server that was silent and is back answers none of
//! what was asked before, so a node that has looked before is patient for a few leases only; those that
//! start are many, and have nothing that could go stale.
//!
//! **Invariant:** after a look that failed, the first one that succeeds has all that hangs asked anew.

use std::time::Duration;

use super::super::StoreError;
use super::super::error::may_be_the_connection;

/// What is waited for, by the looks before.
pub(super) struct Patience {
    lease: Duration,
    /// How long connecting and looking may take.
    to_connect: Duration,
    has_failed: bool,
}

impl Patience {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, to_connect: lease, has_failed: false }
    }

    /// How long a look may take, over a connection that is open or not.
    pub(super) fn deadline(&self, is_open: bool) -> Duration {
        if is_open { self.lease } else { self.to_connect }
    }

    /// Notes how a look over such a connection ended; `has_looked`: one before it succeeded. Says whether
    /// connections of the process are to be given up: others that were opened with one that is dead may
    /// be, too, and those that could not be opened while the database was away may be waited for in vain.
    pub(super) fn looked(
        &mut self,
        held_one_is_dead: Result<bool, &StoreError>,
        was_open: bool,
        has_looked: bool,
    ) -> bool {
        let had_failed = std::mem::replace(&mut self.has_failed, held_one_is_dead.is_err());
        let most = if has_looked { MOST } else { MOST_AT_START };
        self.to_connect = match held_one_is_dead {
            Err(StoreError::Timeout { .. }) if !was_open => {
                (self.to_connect * 2).min(self.lease * most)
            }
            _ => self.lease,
        };
        match held_one_is_dead {
            Ok(is_dead) => is_dead || had_failed,
            Err(error) => was_open && may_be_the_connection(error),
        }
    }
}

/// In leases.
const MOST: u32 = 4;
const MOST_AT_START: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);

    fn late() -> StoreError {
        StoreError::Timeout { after: LEASE }
    }

    /// The deadlines of looks that are all too late, in leases.
    fn deadlines(has_looked: bool) -> Vec<u64> {
        let mut patience = Patience::new(LEASE);
        let deadline = |_| {
            let now = patience.deadline(false).as_secs();
            patience.looked(Err(&late()), false, has_looked);
            now
        };
        (0..7).map(deadline).collect()
    }

    #[test]
    fn who_starts_is_more_patient_than_who_has_looked() {
        assert_eq!(deadlines(false), [1, 2, 4, 8, 16, 32, 32]);
        assert_eq!(deadlines(true), [1, 2, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn another_failure_or_an_answer_ends_patience() {
        let refused = StoreError::Unreachable { why: "a test says so".into() };
        for end in [Ok(false), Err(&refused)] {
            let mut patience = Patience::new(LEASE);
            patience.looked(Err(&late()), false, true);
            assert_eq!((patience.deadline(true), patience.deadline(false)), (LEASE, 2 * LEASE));
            patience.looked(end, false, true);
            assert_eq!(patience.deadline(false), LEASE);
        }
    }

    #[test]
    fn what_hangs_is_given_up_with_one_that_is_dead_and_once_the_database_is_back() {
        let mut patience = Patience::new(LEASE);
        assert!(!patience.looked(Ok(false), true, false));
        assert!(patience.looked(Ok(true), true, true), "the one that was held is dead");
        assert!(patience.looked(Err(&late()), true, true), "it may be the connection");
        assert!(!patience.looked(Err(&late()), false, true), "there was none");
        assert!(patience.looked(Ok(false), false, true), "it is back");
        assert!(!patience.looked(Ok(false), true, true), "once");
    }
}
