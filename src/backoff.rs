//! When to try again what failed: soon at first, then later and later, and never at the same time as
//! others who failed together ("full jitter": M. Brooker, "Exponential Backoff And Jitter", 2015).
//!
//! What failed only because time ran out has cost a server that is too busy already. It is left alone
//! for as long as the attempt took, on average: many who wait for one server ask it no more than half of
//! the time, and the server gets through to all of them.

use std::time::Duration;

/// Failures in a row of one thing that is tried again and again.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It failed. How long to wait before the next attempt: anything up to a bound that doubles with
    /// each failure as far as `longest`, or up to twice the time that was waited for in vain.
    pub(crate) fn failed(&mut self, longest: Duration, in_vain: Duration) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let most = SHORTEST.saturating_mul(1 << self.failures.min(16)).min(longest);
        most.max(2 * in_vain).mul_f64(dice())
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How often it has failed since it last succeeded.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Any fraction of one, one as likely as another.
pub(crate) fn dice() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a fraction needs no more than 53 bits")]
    getrandom::u64().map_or(0.5, |dice| (dice >> 11) as f64 / (1_u64 << 53) as f64)
}

const SHORTEST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(500);

    /// The longest of many waits, after so many failures that took so long.
    fn longest_wait(failures: u32, in_vain: Duration) -> Duration {
        let wait = |_| {
            let mut backoff = Backoff::default();
            (0..failures).map(|_| backoff.failed(LONGEST, in_vain)).last().unwrap_or_default()
        };
        (0..500).map(wait).max().unwrap_or_default()
    }

    #[test]
    fn waits_grow_with_failures_as_far_as_a_bound() {
        for (failures, most) in [(1, 40), (2, 80), (4, 320), (5, 500), (100, 500)] {
            let (longest, most) =
                (longest_wait(failures, Duration::ZERO), Duration::from_millis(most));
            assert!(longest <= most && longest > most / 2, "{failures}: {longest:?}");
        }
    }

    #[test]
    fn a_server_that_was_too_slow_is_left_alone_for_about_as_long() {
        let longest = longest_wait(1, Duration::from_secs(8));
        assert!(longest > Duration::from_secs(8) && longest <= Duration::from_secs(16));
    }

    #[test]
    fn after_a_success_waits_are_short_again() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.failed(LONGEST, Duration::ZERO);
        }
        assert_eq!(backoff.failures(), 9);
        backoff.succeeded();
        assert!(backoff.failed(LONGEST, Duration::ZERO) <= 2 * SHORTEST);
    }
}
