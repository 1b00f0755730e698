//! The row of a node that has no connection to the database: told over the relay, and written by the node
//! that leads.

use std::convert::Infallible;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::changes::Relay;
use crate::store::{NodeReport, OpenStore};

/// A row, as the leader writes it. The names are those of the columns.
#[derive(Serialize)]
pub(super) struct ToldRow<'r> {
    pub(super) id: Uuid,
    /// How often it has been written by then.
    pub(super) refreshes: i64,
    name: &'r str,
    host: &'r str,
    program: &'r str,
    version: &'static str,
    keys: &'r str,
    settings: &'r str,
    hearing: &'r str,
    lease: f64,
    max_stale: f64,
    applied: Option<&'r str>,
    cached: usize,
    inside: u64,
    faults: u64,
}

impl<'r> ToldRow<'r> {
    pub(super) fn new(id: Uuid, refreshes: i64, report: &NodeReport<'r>) -> Self {
        Self {
            id,
            refreshes,
            name: report.name,
            host: report.host,
            program: report.program,
            version: env!("CARGO_PKG_VERSION"),
            keys: report.keys,
            settings: report.settings,
            hearing: report.hearing,
            lease: report.lease.as_secs_f64(),
            max_stale: report.max_stale.as_secs_f64(),
            applied: report.applied,
            cached: report.cached,
            inside: report.counts.inside,
            faults: report.counts.faults,
        }
    }

    pub(super) fn to_json(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(self).ok()
    }
}

/// Writes the rows that other nodes tell of, for as long as it is polled. Those that come while it writes
/// are written together.
pub(crate) async fn write_told(relay: &Relay, database: &OpenStore) -> Infallible {
    loop {
        let rows = relay.told_rows().await;
        let texts: Vec<_> = rows.iter().map(|row| row.get()).collect();
        match database.write_told_nodes(&format!("[{}]", texts.join(","))).await {
            Ok(written) => {
                tracing::trace!(written, told = rows.len(), "rows of nodes were written");
            }
            Err(error) => tracing::debug!(%error, "rows of other nodes could not be written"),
        }
    }
}
