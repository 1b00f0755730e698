//! The change log by place, on both databases.

use std::time::Duration;

use async_trait::async_trait;

use super::{Dialect, SqlStore};
use crate::change::change;
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::{ChangeLog, LoggedChange, MOST_CHANGES, StoreError};

/// The statements.
pub(super) struct Logging {
    changes_after: Statement,
    newest_change: Statement,
    prune_changes: Statement,
}

impl Logging {
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        Self {
            changes_after: templates.statement("changes", CHANGES_AFTER),
            newest_change: templates.statement("changes", NEWEST_CHANGE),
            prune_changes: templates.statement("prune_changes", dialect.prune_changes),
        }
    }
}

#[async_trait]
impl<S: SqlStore> ChangeLog for S {
    async fn changes_after(&self, seq: i64) -> Result<Option<Vec<LoggedChange>>, StoreError> {
        // One for the row that was read last, one to tell "that many" from "more".
        let values = [seq.into(), (MOST_CHANGES + 2).into()];
        let statement = &self.statements().logging.changes_after;
        let mut changes = self.pool().read(statement, &values, read_change).await?;
        if seq > 0 {
            match changes.first() {
                Some(first) if first.seq == seq => drop(changes.remove(0)),
                _ => return Ok(None),
            }
        }
        Ok((changes.len() <= MOST_CHANGES).then_some(changes))
    }

    async fn newest_change(&self) -> Result<i64, StoreError> {
        let statement = &self.statements().logging.newest_change;
        let newest = |row: &_| Record::own_int(row, "newest");
        Ok(self.pool().read_one(statement, &[], newest).await?.unwrap_or(0))
    }

    async fn prune_changes(&self, older_than: Duration) -> Result<u64, StoreError> {
        let values = [Value::Real(older_than.as_secs_f64())];
        self.pool().write(&self.statements().logging.prune_changes, &values).await
    }
}

/// A row of the log as `{change_columns}` tell it.
pub(in crate::store) fn read_change(row: &impl Record) -> Result<LoggedChange, sqlx::Error> {
    let (operation, fields) = (row.own_text("operation")?, row.own_text("fields")?);
    let change = change(
        &row.own_text("entity")?,
        &fields,
        row.id("config_id")?,
        row.id("tenant_id")?,
        row.text("digits")?.as_deref(),
    );
    let age = Duration::try_from_secs_f64(row.real("age")?.unwrap_or(0.0));
    let (seq, age) = (row.own_int("seq")?, age.unwrap_or_default());
    Ok(LoggedChange { seq, change, age, operation, fields })
}

/// The columns of a change; how its age is told is the dialect's.
pub(super) const CHANGE_COLUMNS: &str =
    "seq, entity, substr(operation, 1, 64) as operation, substr(fields, 1, 1024) as fields, config_id, tenant_id, substr(digits, 1, 64) as digits,
        {age} as age";

/// From the row that was read last, which shows that the log reaches back to it.
const CHANGES_AFTER: &str = "
    select {change_columns}
    from {schema}.voice_agent_changes
    where seq >= $1
    order by seq limit $2";

const NEWEST_CHANGE: &str =
    "select coalesce(max(seq), 0) as newest from {schema}.voice_agent_changes";
