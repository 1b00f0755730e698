//! What placing calls records.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::livekit::OtherPairCounters;
use super::{Outcome, Report};
use crate::telemetry::{BATCH, CALL_TIME, CALLS, at_zero};

/// The handles of one dispatcher.
pub(crate) struct CallMetrics {
    outcomes: Vec<Counter>,
    total: Histogram,
    livekit: Histogram,
    pub(super) other_pair: OtherPairCounters,
}

impl CallMetrics {
    pub(crate) fn new() -> Self {
        let of = |outcome: &Outcome| at_zero(counter!(CALLS, "outcome" => outcome.as_str()));
        Self {
            outcomes: Outcome::ALL.iter().map(of).collect(),
            total: histogram!(CALL_TIME, "part" => "total"),
            livekit: histogram!(CALL_TIME, "part" => "livekit"),
            other_pair: OtherPairCounters::new(),
        }
    }

    /// Counts a call that has ended one way or the other, however often it was tried.
    pub(crate) fn ended(&self, report: &Report) {
        self.outcome(report.outcome);
        self.total.record(report.took);
        self.livekit.record(report.waited);
    }

    /// Counts a call that came to nothing before it was tried.
    pub(crate) fn outcome(&self, outcome: Outcome) {
        let place = Outcome::ALL.iter().position(|known| *known == outcome);
        if let Some(counter) = place.and_then(|place| self.outcomes.get(place)) {
            counter.increment(1);
        }
    }
}

/// How one batch stands, added to what the others of this process say for as long as it is there.
pub(crate) struct BatchGauges([(Gauge, AtomicU64); 4]);

impl BatchGauges {
    pub(crate) fn new() -> Self {
        Self(["waiting", "placed", "failed", "left"].map(|state| {
            let gauge = gauge!(BATCH, "state" => state);
            gauge.increment(0.0);
            (gauge, AtomicU64::new(0))
        }))
    }

    /// Says how many entries wait, are placed, have failed, and are left.
    pub(crate) fn say(&self, states: [u64; 4]) {
        for ((gauge, said), many) in self.0.iter().zip(states) {
            let before = said.swap(many, Ordering::Relaxed);
            gauge.increment(number(many) - number(before));
        }
    }
}

impl Drop for BatchGauges {
    fn drop(&mut self) {
        self.say([0; 4]);
    }
}

fn number(many: u64) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}
