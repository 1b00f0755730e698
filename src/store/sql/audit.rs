//! The audit, the same on both databases but for what finds rows that were committed late.

mod sealing;
mod statements;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use self::sealing::Sealing;
pub(super) use self::statements::{AUDIT_PARTS, Auditing};
use super::SqlStore;
use crate::audit::{AuditRow, ChainHash};
use crate::store::StoreError;
use crate::store::audit::{AuditEntry, AuditFilter, AuditLog, ChainLink, Seal};
use crate::store::record::Record;
use crate::store::statement::Value;

#[async_trait]
impl<S: SqlStore> AuditLog for S {
    async fn audit_page(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let time = |at: Option<DateTime<Utc>>| Value::Int(at.map(|at| at.timestamp()));
        let values = [
            before.unwrap_or(i64::MAX).into(),
            time(filter.since),
            time(filter.until),
            filter.entity.as_deref().into(),
            filter.operation.as_deref().into(),
            filter.row_id.as_deref().into(),
            filter.tenant_id.as_deref().into(),
            filter.digits.as_deref().into(),
            filter.who.as_deref().into(),
            filter.request.as_deref().into(),
            most.into(),
        ];
        let read = |row: &_| {
            Ok(AuditEntry { row: read_row(row)?, position: Record::int(row, "position")? })
        };
        self.pool().read(&self.statements().auditing.page, &values, read).await
    }

    async fn last_edits(&self, entity: &str, rows: &[Uuid]) -> Result<Vec<AuditEntry>, StoreError> {
        let rows: Vec<_> = rows.iter().map(Uuid::to_string).collect();
        let read = |row: &_| {
            Ok(AuditEntry { row: read_row(row)?, position: Record::int(row, "position")? })
        };
        let values = [json!(rows).to_string().into(), entity.into()];
        self.pool().read(&self.statements().auditing.last_edits, &values, read).await
    }

    async fn chain_after(&self, position: i64, most: usize) -> Result<Vec<ChainLink>, StoreError> {
        let read = |row: &_| {
            let is_there = Record::int(row, "id")?.is_some();
            Ok(ChainLink {
                position: Record::own_int(row, "position")?,
                hash: Record::own_text(row, "hash")?.parse().ok(),
                id: Record::own_int(row, "audit_id")?,
                row: if is_there { Some(read_row(row)?) } else { None },
            })
        };
        let values = [position.into(), most.into()];
        self.pool().read(&self.statements().auditing.chain, &values, read).await
    }

    async fn chain_end(&self) -> Result<Option<(i64, ChainHash)>, StoreError> {
        let statement = &self.statements().auditing.end;
        let read = |row: &_| {
            let hash = Record::own_text(row, "hash")?.parse::<ChainHash>().ok();
            Ok((Record::own_int(row, "position")?, hash))
        };
        match self.pool().read_one(statement, &[], read).await? {
            None => Ok(None),
            Some((position, Some(hash))) => Ok(Some((position, hash))),
            Some((_, None)) => Err(StoreError::Row { statement: statement.name }),
        }
    }

    async fn unsealed_after(
        &self,
        id: i64,
        most: usize,
    ) -> Result<Option<(Vec<i64>, i64)>, StoreError> {
        let read =
            |row: &_| Ok((Record::own_int(row, "id")?, Record::int(row, "position")?.is_none()));
        let statement = &self.statements().auditing.walk;
        let rows = self.pool().read(statement, &[id.into(), most.into()], read).await?;
        let Some(&(last, _)) = rows.last() else { return Ok(None) };
        let unsealed = rows.iter().filter(|(_, unsealed)| *unsealed).map(|(id, _)| *id);
        Ok(Some((unsealed.collect(), last)))
    }

    async fn count_unsealed(&self, most: usize) -> Result<u64, StoreError> {
        let many = |row: &_| Ok(Record::own_int(row, "many")?.unsigned_abs());
        let statement = &self.statements().auditing.count_new;
        Ok(self.pool().read_one(statement, &[most.into()], many).await?.unwrap_or(0))
    }

    async fn seal(&self, most: usize) -> Result<Seal, StoreError> {
        let statement = &self.statements().auditing.new_rows;
        self.seal_what(statement, &[most.into()], Some(most)).await
    }

    async fn seal_few(&self, most: usize) -> Result<Seal, StoreError> {
        Sealing::seal_few(self, most).await
    }

    async fn seal_rows(&self, ids: &[i64]) -> Result<Seal, StoreError> {
        let statement = &self.statements().auditing.these_rows;
        self.seal_what(statement, &[json!(ids).to_string().into()], None).await
    }

    async fn prune_audit(&self, older_than: Duration, most: usize) -> Result<u64, StoreError> {
        self.prune(older_than, most).await
    }

    async fn unaudited(&self) -> Result<Vec<(String, String)>, StoreError> {
        let read = |row: &_| Ok((Record::own_text(row, "place")?, Record::own_text(row, "what")?));
        self.pool().read(&self.statements().auditing.unaudited, &[], read).await
    }
}

/// The columns of `{audit_columns}`.
fn read_row(row: &impl Record) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        id: row.own_int("id")?,
        at: row.own_text("at")?,
        xact: row.text("xact")?,
        entity: row.own_text("entity")?,
        operation: row.own_text("operation")?,
        row_id: row.text("row_id")?,
        tenant_id: row.text("tenant_id")?,
        digits: row.text("digits")?,
        before: row.text("before")?,
        after: row.text("after")?,
        login: row.text("login")?,
        address: row.text("address")?,
        claimed: row.text("claimed")?,
    })
}
