//! What the change feed counts.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::telemetry::{
    CHANGE_DELAY, CHANGE_SEQUENCE, CHANGES, INVALIDATIONS, LIVES_ENDED, at_zero,
};

/// The handles of one change feed.
#[derive(Clone)]
pub(crate) struct ChangesCounted {
    applied: Counter,
    drops: Counter,
    doubts: Counter,
    delay: Histogram,
    sequence: Gauge,
    pub(super) lives_ended: Counter,
}

impl ChangesCounted {
    /// Makes the handles, all series at zero.
    pub(crate) fn new() -> Self {
        let drops = |trigger| at_zero(counter!(INVALIDATIONS, "trigger" => trigger));
        let counted = Self {
            applied: at_zero(counter!(CHANGES)),
            drops: drops("change"),
            doubts: drops("doubt"),
            delay: histogram!(CHANGE_DELAY),
            sequence: gauge!(CHANGE_SEQUENCE),
            lives_ended: at_zero(counter!(LIVES_ENDED)),
        };
        counted.sequence.set(0.0);
        counted
    }

    /// Counts changes that were applied: how long ago each was written, and the newest place in the
    /// log that is known.
    pub(super) fn applied(&self, delays: &[Duration], newest: i64) {
        #[expect(clippy::cast_precision_loss, reason = "nobody makes 2^53 changes")]
        self.sequence.set(newest as f64);
        if delays.is_empty() {
            return;
        }
        self.drops.increment(1);
        self.applied.increment(delays.len() as u64);
        for delay in delays {
            self.delay.record(*delay);
        }
    }

    /// Counts a doubt of everything.
    pub(super) fn doubted(&self) {
        self.doubts.increment(1);
    }
}
