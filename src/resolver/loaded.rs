//! The result of a load, and whether it is new enough for a question.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::ResolveOutcome;
use crate::cache::fence::{Fence, Generation, Stamp};
use crate::cache::shared::Facts;
use crate::clock::Moment;
use crate::credentials::Credentials;
use crate::number::ConfigId;
use crate::reason::Reason;
use crate::store::StoreError;

/// When a question was asked, and the generation at that moment.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) born: Generation,
    pub(super) at: Moment,
}

/// The result of a load, of a number or of a config.
pub(super) trait LoadResult {
    /// When the database was asked.
    fn asked(&self) -> Asked;

    /// Whether no change of it is known since.
    fn holds(&self, fence: &Fence) -> bool;

    /// Whether it is new enough for a question.
    ///
    /// If it is proven that no change was missed, every change from before the question is known by
    /// now. Otherwise the load must have begun less than a lease before the question.
    fn answers(&self, question: Asked, proven: bool, fence: &Fence, lease: Duration) -> bool {
        let Asked { born, at } = self.asked();
        let began_after = at >= question.at && born >= question.born;
        let in_time = proven || at.after(lease) >= question.at;
        began_after || (in_time && self.holds(fence))
    }
}

/// The result of loading a number.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) outcome: ResolveOutcome,
    pub(super) stamp: Stamp,
    /// When the database was asked.
    pub(super) asked_at: Moment,
}

impl LoadResult for Loaded {
    fn asked(&self) -> Asked {
        Asked { born: self.stamp.born, at: self.asked_at }
    }

    fn holds(&self, fence: &Fence) -> bool {
        fence.admits(self.stamp)
    }
}

/// The result of loading a config: its credentials and its other columns, or why it cannot be used.
#[derive(Clone)]
pub(super) struct LoadedConfig {
    pub(super) id: ConfigId,
    pub(super) asked: Asked,
    pub(super) outcome: Result<(Arc<HeldCredentials>, Arc<Facts>), Reason>,
}

impl LoadResult for LoadedConfig {
    fn asked(&self) -> Asked {
        self.asked
    }

    fn holds(&self, fence: &Fence) -> bool {
        fence.admits_config(self.id, self.asked.born)
    }
}

/// Keeps credentials from being wiped until answers use them.
pub(super) struct HeldCredentials(pub(super) Arc<Credentials>);

impl Drop for HeldCredentials {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Why a store gave no answer.
pub(super) fn reason_of(error: &StoreError) -> Reason {
    match error {
        StoreError::Unreachable { .. } => Reason::DatabaseUnreachable,
        StoreError::Timeout { .. } => Reason::DatabaseTimeout,
        _ => Reason::DatabaseError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::ResolveError;
    use crate::change::Change;
    use crate::number::{Caller, TenantId};

    #[test]
    fn a_load_that_was_long_on_its_way_does_not_answer_a_late_question_without_proof() {
        let (fence, lease) = (Fence::new(), Duration::from_secs(1));
        let number = "+971500000001".parse().unwrap();
        let caller = Caller::new(TenantId(uuid::Uuid::nil()), number);
        let loaded = |at| Loaded {
            outcome: Err(ResolveError::TenantNeeded.into()),
            stamp: Stamp::new(fence.generation(), caller, None),
            asked_at: Moment(0).after(at),
        };
        let question = |at| Asked { born: fence.generation(), at: Moment(0).after(at) };
        let early = loaded(Duration::ZERO);
        let (soon, late) = (Duration::from_millis(900), Duration::from_millis(1100));
        assert!(early.answers(question(soon), false, &fence, lease));
        assert!(!early.answers(question(late), false, &fence, lease), "nothing was heard since");
        assert!(early.answers(question(late), true, &fence, lease));
        assert!(loaded(late).answers(question(late), false, &fence, lease), "its own load");
        fence.bump(Change::Number(caller));
        assert!(!early.answers(question(soon), true, &fence, lease));
        let own = loaded(late);
        let asked = question(late);
        fence.bump(Change::Number(caller));
        assert!(own.answers(asked, true, &fence, lease), "it asked before the change");
    }
}
