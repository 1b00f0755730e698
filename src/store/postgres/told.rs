//! The rows of nodes that have no connection of their own, written by one that has.

use super::PostgresStore;
use crate::store::StoreError;
use crate::store::sql::SqlStore;

impl PostgresStore {
    /// Writes such rows anew: a list of JSON objects whose names are columns. One that has been written as
    /// often stays, and so does one that is not there.
    pub(crate) async fn write_told_nodes(&self, rows: &str) -> Result<u64, StoreError> {
        let write = async |text: &str| {
            let statement = self.statement("write_told_nodes", text).in_passing();
            self.pool().write(&statement, &[rows.into()]).await
        };
        match write(WRITE).await {
            // Of a step before that of the runs of rollouts.
            Err(StoreError::NotMigrated { .. }) => {
                write(&WRITE.replace(COUNTS, "").replace(TOLD_COUNTS, "")).await
            }
            written => written,
        }
    }
}

const WRITE: &str = "
    update {schema}.trunkline_nodes as n set
        name = t.name, host = t.host, program = t.program, version = t.version, keys = t.keys,
        settings = t.settings, hearing = t.hearing, lease = t.lease, max_stale = t.max_stale,
        applied = cast(t.applied as pg_snapshot), cached = t.cached, refreshes = t.refreshes,
        inside = t.inside, faults = t.faults,
        refreshed_at = clock_timestamp()
    from json_to_recordset(cast($1 as json)) as t (id uuid, refreshes bigint, name text, host text,
        program text, version text, keys text, settings text, hearing text, lease double precision,
        max_stale double precision, applied text, cached bigint, inside bigint, faults bigint)
    where n.id = t.id and n.refreshes < t.refreshes";

const COUNTS: &str = "inside = t.inside, faults = t.faults,";
const TOLD_COUNTS: &str = ", inside bigint, faults bigint";
