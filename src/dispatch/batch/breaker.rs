//! Breakers: after several failures in a row, no calls for a while.
//!
//! A failure counts where it can be mended: a carrier or a missing trunk against the trunk; a key,
//! a network or a SIP service against the server; missing credentials against the database. Busy
//! phones, rules, and a number that its trunk does not carry count against none. A dial in doubt
//! counts against the server, since it can never be repeated.

use std::time::Duration;

use tokio::time::Instant;

/// Whether the next call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It may.
    Open,
    /// Not before this time.
    ClosedUntil(Instant),
    /// None may any more.
    GivenUp,
}

/// Stops calls where [`FAILURES`] in a row have failed. After a while one call may try; if that
/// fails as well, the while is twice as long, and after [`TRIALS`] of them it is given up.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    trials: u32,
    /// Set while it is open.
    open_until: Option<Instant>,
    /// Whether a call is out that is to find out.
    trying: bool,
}

impl Gate {
    /// What holds where several gates stand one behind the other: the worst of them.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::GivenUp, _) | (_, Self::GivenUp) => Self::GivenUp,
            (Self::ClosedUntil(one), Self::ClosedUntil(another)) => {
                Self::ClosedUntil(one.max(another))
            }
            (Self::Open, gate) | (gate, Self::Open) => gate,
        }
    }
}

impl Breaker {
    /// Whether a call may go now.
    pub(super) fn gate(&self) -> Gate {
        if self.trials >= TRIALS {
            return Gate::GivenUp;
        }
        let Some(until) = self.open_until else { return Gate::Open };
        let now = Instant::now();
        // While one tries, the others look again in a moment.
        let until = if self.trying { until.max(now + LOOK_AGAIN) } else { until };
        if until > now { Gate::ClosedUntil(until) } else { Gate::Open }
    }

    /// One goes. Whether it is a trial.
    pub(super) fn try_now(&mut self) -> bool {
        self.trying = self.open_until.is_some();
        self.trying
    }

    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// A trial has said nothing: the next one may try.
    pub(super) fn undecided(&mut self, trial: bool) {
        self.trying &= !trial;
    }

    pub(super) fn failed(&mut self, pause: Duration, trial: bool) {
        self.undecided(trial);
        self.failures += 1;
        if self.failures < FAILURES {
            return;
        }
        // Those that were under way when it opened say nothing new.
        if self.open_until.is_none() || trial {
            self.trials += u32::from(trial);
            self.open_until = Some(Instant::now() + pause * 2_u32.pow(self.trials));
        }
    }
}

/// How many failures in a row open a breaker.
const FAILURES: u32 = 5;
/// How many trials may fail before a place is given up: by default after half a minute in all.
const TRIALS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(2);

    fn wait(breaker: &Breaker) -> Option<Duration> {
        match breaker.gate() {
            Gate::Open => None,
            Gate::ClosedUntil(until) => Some(until - Instant::now()),
            Gate::GivenUp => panic!("it was given up"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_tries_and_gives_up() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.failed(PAUSE, false);
        }
        assert_eq!(wait(&breaker), None, "not yet");
        breaker.failed(PAUSE, false);
        assert_eq!(wait(&breaker), Some(PAUSE));
        breaker.failed(PAUSE, false);
        assert_eq!(wait(&breaker), Some(PAUSE), "one that was under way");
        for trial in 1..TRIALS {
            tokio::time::advance(wait(&breaker).unwrap()).await;
            assert_eq!(wait(&breaker), None);
            assert!(breaker.try_now());
            assert_eq!(wait(&breaker), Some(LOOK_AGAIN), "one tries, the others wait");
            breaker.undecided(false);
            assert_eq!(wait(&breaker), Some(LOOK_AGAIN), "another one that ends is no trial");
            breaker.undecided(true);
            assert_eq!(wait(&breaker), None, "a trial that said nothing is left to the next");
            assert!(breaker.try_now());
            breaker.failed(PAUSE, true);
            assert_eq!(wait(&breaker), Some(PAUSE * 2_u32.pow(trial)));
        }
        tokio::time::advance(wait(&breaker).unwrap()).await;
        breaker.try_now();
        breaker.failed(PAUSE, true);
        assert_eq!(breaker.gate(), Gate::GivenUp);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_works_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(PAUSE, false);
        }
        tokio::time::advance(PAUSE).await;
        breaker.try_now();
        breaker.worked();
        assert_eq!(breaker.gate(), Gate::Open);
        breaker.failed(PAUSE, false);
        assert_eq!(breaker.gate(), Gate::Open, "it counts from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn the_worst_of_several_gates_holds() {
        let at = |seconds| Gate::ClosedUntil(Instant::now() + Duration::from_secs(seconds));
        assert_eq!(Gate::Open.and(Gate::Open), Gate::Open);
        assert_eq!(at(2).and(Gate::Open).and(at(1)), at(2));
        assert_eq!(Gate::GivenUp.and(at(1)), Gate::GivenUp);
        assert_eq!(Gate::Open.and(Gate::GivenUp), Gate::GivenUp);
    }
}
