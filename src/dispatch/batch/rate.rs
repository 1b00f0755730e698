//! How many calls go over one trunk: so many a second, and fewer for a while once the carrier or the
//! server has said that they are too many.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Gate;

/// Calls a second, evenly.
///
/// **Invariant:** in no [`SECOND`] more go than the whole part of the rate, or one. A fraction counts
/// from one second to the next.
#[derive(Debug)]
pub(super) struct Rate {
    /// The time between two; none, if as many go as come.
    apart: Duration,
    /// How many may go in one second.
    most: usize,
    /// When the last ones went, so many at the most, the oldest first.
    went: VecDeque<Instant>,
    /// From when on the next one may go, for an even pace.
    next: Instant,
}

impl Rate {
    /// So many a second; 0 is as many as come.
    pub(super) fn per_second(calls: f64) -> Self {
        let apart = if calls > 0.0 {
            Duration::try_from_secs_f64(1.0 / calls).unwrap_or(A_YEAR).min(A_YEAR)
        } else {
            Duration::ZERO
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 on, or as many as fit"
        )]
        let most = calls.floor().max(1.0) as usize;
        Self { apart, most, went: VecDeque::new(), next: Instant::now() }
    }

    /// The same as a bound alone: those that come close together need not be kept apart.
    pub(super) fn at_most(calls: f64) -> Self {
        let rate = Self::per_second(calls);
        let apart = if calls >= 1.0 { rate.apart.min(BARELY) } else { rate.apart };
        Self { apart, ..rate }
    }

    /// When the next one may go, which may be past; `slower`: the least time after the last one.
    pub(super) fn next(&self, slower: Duration) -> Instant {
        let last = self.went.back().map_or(self.next, |&last| last + slower);
        if self.apart.is_zero() {
            return last;
        }
        let whole = self.went.len() == self.most;
        let window = self.went.front().filter(|_| whole).map_or(self.next, |&first| first + SECOND);
        self.next.max(window).max(last)
    }

    /// One goes.
    pub(super) fn goes(&mut self) {
        let now = Instant::now();
        // A delay is made up for as far as the second allows it; a pause is not.
        let late = LATE.min(now.duration_since(self.next));
        self.next = self.next.max(now - late) + self.apart;
        if self.went.len() == self.most {
            self.went.pop_front();
        }
        self.went.push_back(now);
        if self.apart.is_zero() {
            self.went.drain(..self.went.len() - 1);
        }
    }
}

/// Slows a trunk down that is at its limit: all wait, longer each time, and then go further apart.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// How often in a row it was at its limit.
    refused: u32,
    /// When it was so last, and until when nobody goes.
    slowed: Option<(Instant, Instant)>,
    /// The least time between two calls.
    pub(super) apart: Duration,
}

impl Throttle {
    pub(super) fn gate(&self) -> Gate {
        match self.slowed {
            _ if self.refused > PATIENCE => Gate::GivenUp,
            Some((_, until)) if until > Instant::now() => Gate::ClosedUntil(until),
            _ => Gate::Open,
        }
    }

    /// A call that went at this time found the trunk at its limit. How long all wait now, unless
    /// that was known when the call had gone already.
    pub(super) fn refused(&mut self, went: Instant, pause: Duration) -> Option<Duration> {
        if self.slowed.is_some_and(|(when, _)| went <= when) {
            return None;
        }
        let now = Instant::now();
        let wait = (pause * 2_u32.pow(self.refused.min(16))).min(LONGEST);
        self.refused += 1;
        self.slowed = Some((now, now + wait));
        self.apart = (self.apart * 2).clamp(SLOWER, LONGEST);
        Some(wait)
    }

    /// A call that went at this time found room.
    pub(super) fn worked(&mut self, went: Instant) {
        if self.slowed.is_none_or(|(when, _)| went > when) {
            self.refused = 0;
            self.apart = self.apart * 9 / 10;
            if self.apart < SLOWER {
                self.apart = Duration::ZERO;
            }
        }
    }
}

/// A second, and what the way to the server may add to one call and take from the next.
const SECOND: Duration = Duration::from_millis(1005);
/// How much of a delay is made up for.
const LATE: Duration = Duration::from_millis(100);
/// The longest time between two calls.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Next to nothing.
const BARELY: Duration = Duration::from_nanos(1);
/// The least time between two calls after a limit was met.
const SLOWER: Duration = Duration::from_millis(100);
/// The longest that is waited for room, and the longest time between two calls because of a limit.
const LONGEST: Duration = Duration::from_secs(60);
/// How often in a row a trunk may be at its limit before it is given up: by default six minutes.
const PATIENCE: u32 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A_SECOND: Duration = Duration::from_secs(1);

    /// The most that went in any window of one second.
    fn most_in_a_second(went: &[Instant]) -> usize {
        let within = |&first: &Instant| {
            went.iter().filter(|&&at| at >= first && at < first + A_SECOND).count()
        };
        went.iter().map(within).max().unwrap_or(0)
    }

    async fn paused(body: impl AsyncFnOnce()) {
        tokio::time::pause();
        body().await;
    }

    fn on_paused_time(body: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(paused(body));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However late each one goes, and however long the pauses are in between.
        #[test]
        fn the_rate_holds_in_every_window_of_one_second(
            calls in prop_oneof![0.2..4.0_f64, 1.0..60.0_f64, (1_u32..40).prop_map(f64::from)],
            delays in prop::collection::vec(
                prop_oneof![Just(0), 0_u64..3, 0_u64..150, 0_u64..1200], 60..160),
        ) {
            let (mut pace, mut bound) = (Vec::new(), Vec::new());
            on_paused_time(async || {
                let (mut rate, mut last) = (Rate::per_second(calls), Rate::at_most(calls));
                for delay in delays {
                    tokio::time::sleep_until(rate.next(Duration::ZERO)).await;
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    rate.goes();
                    pace.push(Instant::now());
                    tokio::time::sleep_until(last.next(Duration::ZERO)).await;
                    last.goes();
                    bound.push(Instant::now());
                }
            });
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            for went in [pace, bound] {
                let most = most_in_a_second(&went);
                prop_assert!(most == 1 || most as f64 <= calls, "{most} at {calls}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_reached_although_timers_are_late() {
        let mut rate = Rate::per_second(250.0);
        let began = Instant::now();
        for turn in 0..2500_u64 {
            tokio::time::sleep_until(rate.next(Duration::ZERO)).await;
            tokio::time::sleep(Duration::from_millis(turn % 7)).await;
            rate.goes();
        }
        let took = began.elapsed();
        assert!(took < Duration::from_millis(10_150), "{took:?} for ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_as_many_go_as_come() {
        let mut rate = Rate::per_second(0.0);
        for _ in 0..100 {
            assert!(rate.next(Duration::ZERO) <= Instant::now());
            rate.goes();
        }
        let slower = rate.next(SLOWER) - Instant::now();
        assert_eq!(slower, SLOWER, "but not where the trunk is at its limit");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trunk_at_its_limit_waits_longer_each_time_and_is_given_up_late() {
        let pause = Duration::from_secs(2);
        let mut throttle = Throttle::default();
        let mut waited = Duration::ZERO;
        for time in 0..=PATIENCE {
            assert_ne!(throttle.gate(), Gate::GivenUp);
            let went = Instant::now();
            tokio::time::advance(Duration::from_millis(1)).await;
            let wait = throttle.refused(went, pause).expect("this is news");
            assert_eq!(wait, (pause * 2_u32.pow(time)).min(LONGEST));
            assert_eq!(throttle.refused(went, pause), None, "it had gone before that was known");
            waited += wait;
            tokio::time::advance(wait).await;
        }
        assert_eq!(throttle.gate(), Gate::GivenUp);
        assert!(waited > Duration::from_secs(360), "{waited:?}");
        assert!(throttle.apart <= LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trunk_that_has_room_again_goes_faster_bit_by_bit() {
        let mut throttle = Throttle::default();
        let early = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        for _ in 0..3 {
            throttle.refused(Instant::now(), A_SECOND);
            tokio::time::advance(LONGEST).await;
        }
        let slow = throttle.apart;
        assert_eq!(slow, SLOWER * 4);
        throttle.worked(early);
        assert_eq!(throttle.apart, slow, "what went before it was slowed down says nothing");
        let mut calls = 0;
        while !throttle.apart.is_zero() {
            throttle.worked(Instant::now());
            calls += 1;
        }
        assert!((5..50).contains(&calls), "{calls}");
        assert_eq!(throttle.gate(), Gate::Open);
    }
}
