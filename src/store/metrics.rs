//! What the connections to a database record.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::StoreError;
use crate::telemetry::{CONNECTIONS, QUERIES, STORE_ERRORS, at_zero};

/// The handles of one database.
pub(super) struct StoreCounted {
    queries: [(&'static str, Histogram); STATEMENTS.len()],
    errors: [(&'static str, Counter); StoreError::KINDS.len()],
    used: Gauge,
    idle: Gauge,
}

impl StoreCounted {
    /// For a database to which there may be so many connections.
    pub(super) fn new(most: u32) -> Self {
        let of = |state| gauge!(CONNECTIONS, "state" => state);
        of("max").set(f64::from(most));
        let counted = Self {
            queries: STATEMENTS.map(|name| (name, histogram!(QUERIES, "statement" => name))),
            errors: StoreError::KINDS
                .map(|kind| (kind, at_zero(counter!(STORE_ERRORS, "kind" => kind)))),
            used: of("used"),
            idle: of("idle"),
        };
        counted.connections(0, 0);
        counted
    }

    /// Records what became of a statement.
    pub(super) fn asked<T>(
        &self,
        statement: &str,
        took: Duration,
        outcome: &Result<T, StoreError>,
    ) {
        let named = self.queries.iter().find(|(name, _)| *name == statement);
        let (_, histogram) = named.unwrap_or(&self.queries[STATEMENTS.len() - 1]);
        histogram.record(took);
        if let Err(error) = outcome
            && let Some((_, errors)) = self.errors.iter().find(|(kind, _)| *kind == error.kind())
        {
            errors.increment(1);
        }
    }

    /// Says how many connections there are.
    pub(super) fn connections(&self, used: usize, idle: usize) {
        let number = |many| f64::from(u32::try_from(many).unwrap_or(u32::MAX));
        self.used.set(number(used));
        self.idle.set(number(idle));
    }
}

/// The statements that calls wait for, the reading of the change log, and all others.
const STATEMENTS: [&str; 5] = ["route", "config", "owners", "changes", "other"];
