//! The clock: the one file that asks the machine for the time.
//!
//! Deadlines use a monotonic clock that goes on while the machine sleeps. A corrected wall clock
//! moves none of them, and a machine that wakes up finds them passed. Only the `nbf` and `exp` of a
//! token and the time stamp of a sealed secret use the wall clock. Both come through [`Clock`],
//! which an embedder or a test may replace.
//!
//! Reading the exact clock at every hit costs more than judging the hit. So a thread writes a
//! coarse clock now and then, two ticks ahead: an answer ends early rather than late. A tick is a part
//! of the lease, since waking up again and again is most of what an idle process costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Time since a fixed but arbitrary moment. Never goes back.
    fn now(&self) -> Moment;

    /// The same for less, and rather ahead of it than behind: by 25 ms at the most.
    fn coarse(&self) -> Moment {
        self.now()
    }

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

    /// The moment this long before it; the first one there is when that would underflow.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
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
    origin: Awake,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Awake::now() }
    }
}

/// A moment since the machine was started.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
struct Awake(Duration);

#[cfg(target_os = "linux")]
impl Awake {
    /// `CLOCK_BOOTTIME`: the monotonic clock, suspended time included.
    fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Self(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// A moment of the standard library's clock, which may stand still while the machine sleeps.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, Copy)]
struct Awake(std::time::Instant);

#[cfg(not(target_os = "linux"))]
impl Awake {
    #[expect(clippy::disallowed_methods, reason = "this is where the machine is asked")]
    fn now() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// How much time processors have spent on this process so far. `None`: the machine does not say.
#[cfg(feature = "server")]
pub(crate) fn processor_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (seconds, nanos) =
            (u64::try_from(used.tv_sec).ok()?, u32::try_from(used.tv_nsec).ok()?);
        Some(Duration::new(seconds, nanos))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::default().after(self.origin.elapsed())
    }

    /// As of the kernel's last tick: at most ten milliseconds ago, and read in a quarter of the time.
    #[cfg(target_os = "linux")]
    fn unix_seconds(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        u64::try_from(now.tv_sec).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the machine is asked")]
    fn unix_time(&self) -> Duration {
        // A clock that stands before 1970 counts as 1970: tokens it mints are refused by servers,
        // which is the truth, and nothing panics.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// The machine's clocks, with a coarse one that a thread of its own keeps.
///
/// A task would not do: where the tasks of a process are held up, those that prove that no change
/// was missed are as well, and that must be noticed. Should the thread be held up too, whoever
/// reads the exact clock sets the coarse one right: every hit that is sampled, and every load.
pub(crate) struct TickingClock {
    exact: SystemClock,
    coarse: AtomicU64,
    tick: Duration,
}

impl TickingClock {
    /// Starts it, for answers that count for so long without proof. The thread ends with the clock.
    /// Where there can be no thread, it is exact always.
    pub(crate) fn start(lease: Duration) -> Arc<dyn Clock> {
        let (exact, tick) = (SystemClock::default(), tick_for(lease));
        let clock = Arc::new(Self { exact, coarse: AtomicU64::new(0), tick });
        let ticking = Arc::downgrade(&clock);
        let keep = move || {
            while let Some(clock) = ticking.upgrade() {
                clock.set(clock.exact.now());
                drop(clock);
                thread::sleep(tick);
            }
        };
        clock.set(exact.now());
        match thread::Builder::new().name("trunkline-clock".into()).spawn(keep) {
            Ok(_) => clock,
            Err(_) => Arc::new(exact),
        }
    }
}

impl TickingClock {
    fn set(&self, now: Moment) {
        // Ahead, by the tick that comes next and one that is late.
        self.coarse.fetch_max(now.after(self.tick * 2).0, Ordering::Relaxed);
    }
}

impl Clock for TickingClock {
    fn now(&self) -> Moment {
        let now = self.exact.now();
        // Looked at first: what is read by every hit is written to as seldom as can be.
        if self.coarse() < now {
            self.set(now);
        }
        now
    }

    #[inline]
    fn coarse(&self) -> Moment {
        Moment(self.coarse.load(Ordering::Relaxed))
    }

    fn unix_time(&self) -> Duration {
        self.exact.unix_time()
    }

    fn unix_seconds(&self) -> u64 {
        self.exact.unix_seconds()
    }
}

/// Two ticks take a fortieth of the lease away. What is left must do for two looks over a slow network.
fn tick_for(lease: Duration) -> Duration {
    (lease / 80).clamp(Duration::from_millis(1), Duration::from_micros(12_500))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);

    #[test]
    fn a_tick_is_a_small_part_of_a_lease() {
        let ticks = [20, 200, 1000, 60_000].map(|lease| tick_for(Duration::from_millis(lease)));
        assert_eq!(ticks, [1000, 2500, 12_500, 12_500].map(Duration::from_micros));
    }

    #[test]
    fn the_coarse_clock_is_ahead_and_goes_on_and_never_falls_behind_what_was_seen() {
        let clock = TickingClock::start(LEASE);
        let first = clock.coarse();
        let deadline = clock.now().after(Duration::from_secs(10));
        while clock.coarse() == first {
            assert!(clock.now() < deadline, "it ticks");
            thread::yield_now();
        }
        for _ in 0..1000 {
            let now = clock.now();
            assert!(
                now <= clock.coarse() && clock.coarse() <= clock.now().after(tick_for(LEASE) * 3)
            );
        }
    }

    #[test]
    fn whoever_reads_the_exact_clock_sets_right_a_coarse_one_that_was_held_up() {
        let exact = SystemClock::default();
        let clock = TickingClock { exact, coarse: AtomicU64::new(0), tick: tick_for(LEASE) };
        let now = clock.now();
        assert!(clock.coarse() > now);
    }

    #[test]
    fn whole_seconds_are_those_of_the_wall_clock_give_or_take_a_tick() {
        let clock = SystemClock::default();
        let (before, seconds, after) = (clock.unix_time(), clock.unix_seconds(), clock.unix_time());
        assert!((before.as_secs() - 1..=after.as_secs()).contains(&seconds));
    }

    #[test]
    fn the_clock_counts_the_time_that_the_machine_sleeps() {
        // The kernel's up time includes it, too.
        let uptime = || -> f64 {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let (before, awake, after) = (uptime(), Awake::now().0.as_secs_f64(), uptime());
        assert!(before - 0.02 <= awake && awake <= after + 0.02, "{before} {awake} {after}");
    }
}
