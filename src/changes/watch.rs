//! Watchers: each lives on one connection, and whatever goes wrong with that ends its life. The next
//! one begins after a wait that grows while lives fail.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::time::{Instant, sleep};

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
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let why = match watcher.life().await {
                Ok(never) => return never,
                Err(why) => why,
            };
            self.ended.increment(1);
            *self.trouble_lock() = Some(why.to_string());
            // A life that lasted was a good one; only what fails again and again is waited for.
            failures = if began.elapsed() > LASTED { 0 } else { failures + 1 };
            if failures <= 1 {
                tracing::warn!(%why, "the listener for changes has to begin anew");
            } else {
                tracing::debug!(%why, failures, "the listener for changes cannot begin");
            }
            sleep(backoff(failures, W::longest_wait(&why))).await;
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

/// How long to wait after so many failures in a row: anything up to a bound that doubles, so that
/// those who failed together do not come back together ("full jitter").
pub(super) fn backoff(failures: u32, longest: Duration) -> Duration {
    let most = SHORTEST_WAIT.saturating_mul(1 << failures.min(16)).min(longest);
    most.mul_f64(dice())
}

/// Any fraction of one, one as likely as another.
pub(super) fn dice() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a fraction needs no more than 53 bits")]
    getrandom::u64().map_or(0.5, |dice| (dice >> 11) as f64 / (1_u64 << 53) as f64)
}

const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const LASTED: Duration = Duration::from_secs(5);
