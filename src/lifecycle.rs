//! The background tasks: started here, and ended together.
//!
//! **Invariant:** this is the only file that spawns. Every task is tracked, is told to end through
//! [`Lifecycle::stopping`], and is waited for. One that panics starts again within a tenth of a
//! second.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of tasks with one end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifecycle {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lifecycle {
    /// A set with nothing in it.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Runs a task until it ends or the runtime does. `name` is for traces.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        tracing::trace!(task = name, "started");
        drop(tokio::spawn(self.tasks.track_future(task)));
    }

    /// Runs a task that has no end but [`stopping`](Self::stopping). One that panics is a defect: it
    /// is logged and counted by `panicked`, and the task starts again.
    pub(crate) fn supervise<F>(
        &self,
        name: &'static str,
        panicked: impl Fn() + Send + 'static,
        task: impl Fn() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping();
        self.spawn(name, async move {
            while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked, which is a defect; it starts again");
                panicked();
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(BEFORE_RESTART) => {}
                }
            }
        });
    }

    /// Ends when the tasks should.
    #[must_use]
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks every task to end and waits for them, for as long as `patience`.
    ///
    /// `false`: some had not ended by then.
    pub(crate) async fn stop(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}

/// Does work that may wait for a disk on a thread of its own. `None`: it panicked, or the runtime
/// ended before it did.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// A task that panics at once again must not keep a core busy.
const BEFORE_RESTART: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_within_a_tenth_of_a_second_until_the_end() {
        let (lifecycle, panics) = (Lifecycle::new(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&panics);
        let panicked = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        lifecycle.supervise("test", panicked, || async { panic!("a test says so") });
        tokio::time::sleep(Duration::from_millis(990)).await;
        assert!(panics.load(Ordering::SeqCst) >= 10);
        assert!(lifecycle.stop(Duration::from_secs(1)).await);
    }
}
