//! What placing calls records.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{BATCH, CALL_TIME, CALLS, at_zero};
use crate::dispatch::{Outcome, Report};

/// The handles of one dispatcher.
pub(crate) struct CallsCounted {
    outcomes: Vec<Counter>,
    total: Histogram,
    livekit: Histogram,
}

impl CallsCounted {
    pub(crate) fn new() -> Self {
        let of = |outcome: &Outcome| at_zero(counter!(CALLS, "outcome" => outcome.as_str()));
        Self {
            outcomes: Outcome::ALL.iter().map(of).collect(),
            total: histogram!(CALL_TIME, "part" => "total"),
            livekit: histogram!(CALL_TIME, "part" => "livekit"),
        }
    }

    /// Counts a call that has ended one way or the other.
    pub(crate) fn ended(&self, report: &Report) {
        let place = Outcome::ALL.iter().position(|outcome| *outcome == report.outcome);
        if let Some(counter) = place.and_then(|place| self.outcomes.get(place)) {
            counter.increment(1);
        }
        self.total.record(report.took);
        self.livekit.record(report.waited);
    }
}

/// How the batches of this process stand, added up.
pub(crate) struct BatchGauges {
    waiting: Gauge,
    placed: Gauge,
    failed: Gauge,
    left: Gauge,
}

impl BatchGauges {
    pub(crate) fn new() -> Self {
        let of = |state| {
            let gauge = gauge!(BATCH, "state" => state);
            gauge.increment(0.0);
            gauge
        };
        Self {
            waiting: of("waiting"),
            placed: of("placed"),
            failed: of("failed"),
            left: of("left"),
        }
    }

    /// A batch of so many entries begins.
    pub(crate) fn begun(&self, entries: u64) {
        self.waiting.increment(number(entries));
    }

    /// An entry is done.
    pub(crate) fn done(&self, placed: bool) {
        self.waiting.decrement(1.0);
        if placed { &self.placed } else { &self.failed }.increment(1.0);
    }

    /// A batch has ended with so many entries left.
    pub(crate) fn ended(&self, left: u64) {
        self.waiting.decrement(number(left));
        self.left.increment(number(left));
    }
}

fn number(many: u64) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}
