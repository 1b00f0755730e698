//! What loads come to, and whether that is as new as a question must have it.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::ResolveOutcome;
use crate::cache::fence::{Fence, Generation, Stamp};
use crate::cache::shared::Facts;
use crate::clock::Moment;
use crate::credentials::Credentials;
use crate::number::ConfigId;
use crate::reason::Reason;

/// When a question came or was put to the database, and what was known to have changed by then.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) born: Generation,
    pub(super) at: Moment,
}

/// What a load came to, of a number or of a config.
pub(super) trait LoadResult {
    /// When the database was asked.
    fn asked(&self) -> Asked;

    /// Whether nothing that is known has changed it since.
    fn holds(&self, fence: &Fence) -> bool;

    /// Whether it is as new as a question must have it.
    ///
    /// What changed before the question is known by now, if it is proven that no change was missed;
    /// else the load must have begun less than a lease before it.
    fn answers(&self, question: Asked, proven: bool, fence: &Fence, lease: Duration) -> bool {
        let Asked { born, at } = self.asked();
        let began_after = at >= question.at && born >= question.born;
        let in_time = proven || at.after(lease) >= question.at;
        began_after || (in_time && self.holds(fence))
    }
}

/// What a load came to.
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

/// What the load of a config came to: its credentials and what it says besides, or why it cannot be
/// used.
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

/// A use of credentials until answers use them.
pub(super) struct HeldCredentials(pub(super) Arc<Credentials>);

impl Drop for HeldCredentials {
    fn drop(&mut self) {
        self.0.release();
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
