//! Watchers: each lives on one connection, and whatever goes wrong with that ends its life. The next
//! one begins after a wait that grows while lives fail.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;

/// Something that watches for changes.
pub(super) trait Watcher: Sync {
    /// Why a life ends.
    type Ended: Display + Send;

    /// Watches until something goes wrong, and says what.
    fn life(&self) -> impl Future<Output = Result<Infallible, Self::Ended>> + Send;

    /// How long to wait at the most before the next life.
    fn longest_wait(_ended: &Self::Ended) -> Duration {
        Duration::from_secs(1)
    }

    /// Whether it ended because the server took too long to let it begin.
    fn was_too_slow(_ended: &Self::Ended) -> bool {
        false
    }
}

/// The lives of a watcher, one after the other.
pub(super) struct Lives {
    ended: Counter,
    /// Why the last one ended.
    trouble: Mutex<Option<String>>,
}

impl Lives {
    pub(super) fn new(ended: Counter) -> Self {
        Self { ended, trouble: Mutex::default() }
    }

    /// Lives for as long as it is polled.
    pub(super) async fn live<W: Watcher>(&self, watcher: &W) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let why = match watcher.life().await {
                Ok(never) => return never,
                Err(why) => why,
            };
            self.ended.increment(1);
            *self.trouble_lock() = Some(why.to_string());
            // A life that lasted was a good one; only what fails again and again is waited for.
            let (lived, is_slow) = (began.elapsed(), W::was_too_slow(&why));
            if lived > LASTED && !is_slow {
                backoff.succeeded();
            }
            let in_vain = if is_slow { lived } else { Duration::ZERO };
            let wait = backoff.failed(W::longest_wait(&why), in_vain);
            let failures = backoff.failures();
            if failures <= 1 {
                tracing::warn!(%why, "the listener for changes has to begin anew");
            } else {
                tracing::debug!(%why, failures, "the listener for changes cannot begin");
            }
            sleep(wait).await;
        }
    }

    /// Why the last life ended.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble_lock().clone()
    }

    fn trouble_lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LASTED: Duration = Duration::from_secs(5);
