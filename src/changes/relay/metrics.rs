//! What a node counts of the relay.

use metrics::{Counter, Gauge, counter, gauge};

use super::RelayRole;
use crate::telemetry::{RELAY_GAPS, RELAY_MESSAGES, RELAY_ROLE, at_zero};

/// The handles. They are there without a relay, too: then a node has no role.
pub(in crate::changes) struct RelayCounted {
    roles: [Gauge; RelayRole::ALL.len()],
    pub(super) heard: Counter,
    pub(super) unreadable: Counter,
    pub(super) gaps: Counter,
}

impl RelayCounted {
    /// Makes the handles, all series at zero.
    pub(in crate::changes) fn new() -> Self {
        let messages = |what| at_zero(counter!(RELAY_MESSAGES, "what" => what));
        Self {
            roles: RelayRole::ALL.map(|role| {
                let gauge = gauge!(RELAY_ROLE, "role" => role.as_str());
                gauge.set(0.0);
                gauge
            }),
            heard: messages("heard"),
            unreadable: messages("unreadable"),
            gaps: at_zero(counter!(RELAY_GAPS)),
        }
    }

    /// Tells which role it has.
    pub(super) fn role(&self, now: RelayRole) {
        for (role, gauge) in RelayRole::ALL.iter().zip(&self.roles) {
            gauge.set(if *role == now { 1.0 } else { 0.0 });
        }
    }
}
