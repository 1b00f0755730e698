//! Chaining rows and pruning the chain, each in a transaction that one process at a time has.
//!
//! The lock is held by sealers and pruners alone: no edit asks for it. Each row is hashed as it comes, so
//! a batch needs no more memory than its hashes.

use std::time::Duration;

use serde_json::json;

use super::read_row;
use crate::audit::ChainHash;
use crate::store::StoreError;
use crate::store::audit::Seal;
use crate::store::record::Record;
use crate::store::sql::SqlStore;
use crate::store::statement::{Statement, Value};
use crate::store::transaction::Transaction;

/// What sealing is made of.
pub(super) trait Sealing: SqlStore {
    /// Chains the rows that a statement finds. If they are fewer than `most`, they are all that was to be
    /// chained, and the next look goes on from here. `None`: they say nothing of what else there is.
    async fn seal_what(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
        most: Option<usize>,
    ) -> Result<Seal, StoreError> {
        let name = statement.name;
        self.pool()
            .asking(name, async {
                // Not over the connection of the looks: its steps would keep them waiting.
                let mut transaction = self.pool().begin(name).await?;
                match self.chain(&mut transaction, statement, values, most).await {
                    Ok(sealed @ Seal::Sealed { rows: 1.., .. }) => {
                        transaction.commit().await?;
                        Ok(sealed)
                    }
                    nothing => {
                        transaction.roll_back().await;
                        nothing
                    }
                }
            })
            .await
    }

    async fn chain(
        &self,
        transaction: &mut Transaction<Self::Session>,
        statement: &Statement,
        values: &[Value<'_>],
        most: Option<usize>,
    ) -> Result<Seal, StoreError> {
        let statements = &self.statements().auditing;
        let got = transaction.read_one(&statements.lock, &[], |row| row.own_int("got")).await?;
        if got != Some(1) {
            return Ok(Seal::Busy);
        }
        let end = |row: &_| {
            let hash = Record::own_text(row, "hash")?.parse().ok();
            Ok((Record::own_int(row, "position")?, hash, Record::text(row, "horizon")?))
        };
        let end = transaction.read_one(&statements.end, &[], end).await?;
        let (position, hash, old_horizon) = match end {
            None => (0, ChainHash::zero(), None),
            Some((position, Some(hash), horizon)) => (position, hash, horizon),
            Some((_, None, _)) => return Err(StoreError::Row { statement: statements.end.name }),
        };
        let (mut at, mut last, mut horizon) = (position, hash, None);
        let link = |row: &<Self::Session as crate::store::session::Session>::Row| {
            let row_digest = read_row(row)?.digest();
            horizon = row.text("horizon")?;
            (at, last) = (at + 1, last.next(&row_digest));
            Ok(json!([at, row.own_int("id")?, last.as_str()]))
        };
        let links = transaction.read(statement, values, link).await?;
        let (rows, more) = (links.len(), most.is_some_and(|most| links.len() >= most));
        if rows > 0 {
            let horizon = if more || most.is_none() { old_horizon } else { horizon };
            let values = [json!(links).to_string().into(), Value::Text(horizon.map(Into::into))];
            transaction.write(&statements.link, &values).await?;
        }
        Ok(Seal::Sealed { rows, more, head: (at > 0).then_some((at, last)) })
    }

    async fn prune(&self, older_than: Duration, most: usize) -> Result<u64, StoreError> {
        let statements = &self.statements().auditing;
        let name = statements.prunable.name;
        self.pool()
            .asking(name, async {
                let mut transaction = self.pool().begin(name).await?;
                let pruned = async {
                    let got = transaction.read_one(&statements.lock, &[], |row| row.own_int("got"));
                    if got.await? != Some(1) {
                        return Ok(0);
                    }
                    let values = [Value::Real(older_than.as_secs_f64()), most.into()];
                    if let Some(statement) = &statements.prune {
                        let many = |row: &_| Ok(Record::own_int(row, "many")?.unsigned_abs());
                        let many = transaction.read_one(statement, &values, many).await?;
                        return Ok(many.unwrap_or(0));
                    }
                    let up_to = |row: &_| Record::int(row, "position");
                    let up_to = transaction.read_one(&statements.prunable, &values, up_to).await?;
                    let Some(up_to) = up_to.flatten() else { return Ok(0) };
                    transaction.write(&statements.begin_pruning, &[]).await?;
                    let rows = transaction.write(&statements.prune_rows, &[up_to.into()]).await?;
                    transaction.write(&statements.prune_chain, &[up_to.into()]).await?;
                    let told = [up_to.into(), i64::try_from(rows).unwrap_or(i64::MAX).into()];
                    transaction.write(&statements.tell_pruning, &told).await?;
                    transaction.write(&statements.end_pruning, &[]).await?;
                    Ok(rows)
                };
                match pruned.await {
                    Ok(rows @ 1..) => transaction.commit().await.map(|()| rows),
                    nothing => {
                        transaction.roll_back().await;
                        nothing
                    }
                }
            })
            .await
    }
}

impl<S: SqlStore> Sealing for S {}
