//! What a node records of itself and of the others.

use metrics::{Gauge, gauge};

use crate::store::NodeCensus;
use crate::telemetry::{NODE_LISTED, NODE_VARIANTS, NODES};

/// The handles of one node.
pub(super) struct NodesCounted {
    listed: Gauge,
    live: Gauge,
    silent: Gauge,
    keys: Gauge,
    settings: Gauge,
    versions: Gauge,
}

impl NodesCounted {
    /// Makes the handles, all series at zero.
    pub(super) fn new() -> Self {
        let (of_state, variants) =
            (|state| gauge!(NODES, "state" => state), |of| gauge!(NODE_VARIANTS, "of" => of));
        let counted = Self {
            listed: gauge!(NODE_LISTED),
            live: of_state("live"),
            silent: of_state("silent"),
            keys: variants("keys"),
            settings: variants("settings"),
            versions: variants("version"),
        };
        counted.listed(false);
        counted.counted(NodeCensus { live: 0, silent: 0, keys: 0, settings: 0, versions: 0 });
        counted
    }

    /// Says whether it is listed.
    pub(super) fn listed(&self, listed: bool) {
        self.listed.set(f64::from(u8::from(listed)));
    }

    /// Says how the nodes stand that count.
    pub(super) fn counted(&self, census: NodeCensus) {
        let NodeCensus { live, silent, keys, settings, versions } = census;
        let counts = [
            (&self.live, live),
            (&self.silent, silent),
            (&self.keys, keys),
            (&self.settings, settings),
            (&self.versions, versions),
        ];
        for (gauge, many) in counts {
            gauge.set(f64::from(u32::try_from(many).unwrap_or(u32::MAX)));
        }
    }
}
