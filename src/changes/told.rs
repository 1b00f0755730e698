//! What the change feed has applied, for those who listen in this process.
//!
//! **Invariant:** they are told after it was applied. Who listens too slowly is told so, and holds no more
//! than what is kept for all.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::store::LoggedChange;

/// What one look found.
#[derive(Debug)]
pub(crate) struct Told {
    /// What changed; nothing where that is not known.
    pub(crate) changes: Vec<LoggedChange>,
    /// Whether it is all that changed since the look before.
    pub(crate) is_whole: bool,
    /// Where the log was read to, from which [`OpenStore::changes_since`](crate::store::OpenStore) goes on.
    pub(crate) position: String,
}

/// Those who listen.
#[derive(Clone)]
pub(crate) struct Listeners(broadcast::Sender<Arc<Told>>);

impl Default for Listeners {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Listeners {
    /// Tells them, if there are any. More changes than anybody goes through are told as a gap.
    pub(super) fn tell(
        &self,
        changes: Vec<LoggedChange>,
        is_whole: bool,
        position: impl FnOnce() -> Option<String>,
    ) {
        if self.0.receiver_count() == 0 || (is_whole && changes.is_empty()) {
            return;
        }
        let Some(position) = position() else { return };
        let told = if is_whole && changes.len() <= MOST {
            Told { changes, is_whole, position }
        } else {
            Told { changes: Vec::new(), is_whole: false, position }
        };
        // Nobody listens any more.
        let _ = self.0.send(Arc::new(told));
    }

    /// From now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Told>> {
        self.0.subscribe()
    }
}

/// How many looks are kept for those who are slow, and how many changes of each.
const KEPT: usize = 64;
const MOST: usize = 200;
