//! What of the change log has been applied to the cache, for who tells others.
//!
//! **Invariant:** it is noted after the changes were applied, so whoever reads it is told of nothing
//! that an answer from memory may still contradict.

use tokio::sync::watch;

/// The snapshot of the last look on Postgres, the place in the log of an SQLite file.
#[derive(Clone, Default)]
pub(crate) struct Applied(watch::Sender<Option<String>>);

impl Applied {
    /// Notes up to where changes have been applied. Who waits is woken only for `news`.
    pub(super) fn note(&self, position: &str, news: bool) {
        self.0.send_if_modified(|applied| {
            if applied.as_deref() != Some(position) {
                *applied = Some(position.to_owned());
            }
            news
        });
    }

    /// It, and when there was news.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}
