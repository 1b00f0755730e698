//! Chaining rows and pruning the chain.
//!
//! Many rows are chained, and all pruning is done, in a transaction whose lock one process at a time has;
//! no edit asks for it. A few rows are chained without: by two statements, each by itself over whatever
//! connection is open, so that nobody waits for more than one answer. Either way a place of the chain is
//! taken once, since it is a key: whoever comes second has done nothing, and looks again.
//!
//! Each row is hashed as it comes, so a batch needs no more memory than its hashes.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::read_row;
use crate::audit::{AuditRow, ChainHash};
use crate::store::StoreError;
use crate::store::audit::Seal;
use crate::store::record::Record;
use crate::store::session::Session;
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

    /// Chains what there is to chain if that is little. If it is not, nothing is done, and there is more.
    async fn seal_few(&self, most: usize) -> Result<Seal, StoreError> {
        let statements = &self.statements().auditing;
        let name = statements.few_rows.name;
        // Whoever waits for an answer over a slow network needs the other connections more.
        if !self.pool().lends().await {
            return Ok(Seal::Busy);
        }
        let read = |row: &<Self::Session as Session>::Row| {
            let end = (row.int("end_position")?, row.own_text("end_hash")?);
            let is_there = row.int("id")?.is_some();
            Ok((end, row.text("horizon")?, if is_there { Some(read_row(row)?) } else { None }))
        };
        let rows = self.pool().read(&statements.few_rows, &[(most + 1).into()], read).await?;
        // One at the least, for the end of the chain.
        let Some(((position, hash), horizon, _)) = rows.first() else {
            return Err(StoreError::Row { statement: name });
        };
        let links = Links::after(*position, hash);
        let mut links = links.ok_or(StoreError::Row { statement: name })?;
        rows.iter().filter_map(|(_, _, row)| row.as_ref()).for_each(|row| links.add(row));
        if links.rows() > most {
            return Ok(Seal::Sealed { rows: 0, more: true, head: None });
        }
        if links.rows() > 0 {
            if !self.pool().lends().await {
                return Ok(Seal::Busy);
            }
            let values = links.values(horizon.clone());
            match self.pool().write(&statements.few_links, &values).await {
                Err(error) if is_taken(&error) => return Ok(Seal::Busy),
                written => drop(written?),
            }
        }
        Ok(links.sealed(false))
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
            let links =
                Links::after(Record::int(row, "position")?, &Record::own_text(row, "hash")?);
            Ok((links, Record::text(row, "horizon")?))
        };
        let end = transaction.read_one(&statements.end, &[], end).await?;
        let (links, old_horizon) = end.unwrap_or_else(|| (Links::after(None, ""), None));
        let mut links = links.ok_or(StoreError::Row { statement: statements.end.name })?;
        let mut horizon = None;
        let link = |row: &<Self::Session as Session>::Row| {
            horizon = row.text("horizon")?;
            links.add(&read_row(row)?);
            Ok(())
        };
        transaction.read(statement, values, link).await?;
        let more = most.is_some_and(|most| links.rows() >= most);
        if links.rows() > 0 {
            let horizon = if more || most.is_none() { old_horizon } else { horizon };
            match transaction.write(&statements.link, &links.values(horizon)).await {
                Err(error) if is_taken(&error) => return Ok(Seal::Busy),
                written => drop(written?),
            }
        }
        Ok(links.sealed(more))
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

/// What comes after the end of the chain.
struct Links {
    position: i64,
    last: ChainHash,
    /// Place, number of the row, hash.
    written: Vec<Json>,
}

impl Links {
    /// None yet, after this end. `None`: what stands there is no hash.
    fn after(position: Option<i64>, hash: &str) -> Option<Self> {
        let last = match position {
            Some(_) => hash.parse().ok()?,
            None => ChainHash::zero(),
        };
        Some(Self { position: position.unwrap_or(0), last, written: Vec::new() })
    }

    fn add(&mut self, row: &AuditRow) {
        self.position += 1;
        self.last = self.last.next(&row.digest());
        self.written.push(json!([self.position, row.id, self.last.as_str()]));
    }

    fn rows(&self) -> usize {
        self.written.len()
    }

    /// What is written of them.
    fn values(&self, horizon: Option<String>) -> [Value<'static>; 2] {
        [json!(self.written).to_string().into(), Value::Text(horizon.map(Into::into))]
    }

    fn sealed(self, more: bool) -> Seal {
        let head = (self.position > 0).then_some((self.position, self.last));
        Seal::Sealed { rows: self.written.len(), more, head }
    }
}

/// Whether somebody else has chained at that place, or that row.
fn is_taken(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { code, .. } if UNIQUE.contains(&&**code))
}

/// `unique_violation`, and SQLite's codes for a primary key, a unique column, and the trigger that lets a
/// chain grow at its end alone.
const UNIQUE: [&str; 4] = ["23505", "1555", "2067", "1811"];
