//! Applies changes to the cache, whoever read them in the log.
//!
//! **Invariant:** what has been applied is noted after the cache was told.

use std::sync::Arc;
use std::time::Duration;

use super::applied::Applied;
use super::metrics::ChangesCounted;
use crate::cache::Cache;
use crate::change::Change;
use crate::store::Reach;

/// What applying takes.
#[derive(Clone)]
pub(crate) struct Applier {
    pub(super) cache: Arc<Cache>,
    pub(super) counted: ChangesCounted,
    pub(super) applied: Applied,
}

impl Applier {
    /// Applies changes, each written so long ago. If there may be more, everything is put in doubt.
    pub(super) fn apply(&self, changes: &[Change], ages: &[Duration], newest: i64, reach: Reach) {
        let _span = (!changes.is_empty())
            .then(|| tracing::debug_span!("apply changes", changes = changes.len()).entered());
        self.cache.apply_all(changes);
        self.counted.applied(ages, newest);
        if reach == Reach::Complete {
            return;
        }
        if reach == Reach::Gap {
            tracing::warn!("the change log does not reach back; everything is asked for anew");
        }
        self.cache.fence.doubt();
        self.counted.doubted();
    }
}
