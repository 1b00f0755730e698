//! What time it is: the one place that asks the machine.
//!
//! Deadlines are counted on a monotonic clock, so that a corrected wall clock moves none of them;
//! only the `nbf` and `exp` of a token and the stamp inside a sealed secret need the wall clock.
//! Both come through [`Clock`], which an embedder or a test may replace.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Time since a fixed but arbitrary moment. Never goes back.
    fn now(&self) -> Moment;

    /// Time since 1970 by the wall clock.
    fn unix_time(&self) -> Duration;

    /// Whole seconds since 1970 by the wall clock.
    fn unix_seconds(&self) -> u64 {
        self.unix_time().as_secs()
    }
}

/// A point on a [`Clock`], in nanoseconds since its own beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// Later than all others.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment this long after it; the last one there is when that would overflow.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the machine is asked")]
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::default().after(self.origin.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the machine is asked")]
    fn unix_time(&self) -> Duration {
        // A clock that stands before 1970 counts as 1970: tokens it mints are refused by servers,
        // which is the truth, and nothing panics.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
