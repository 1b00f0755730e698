//! The audit in a database: what is read of it, how it is sealed, and how it is pruned.
//!
//! **Invariant:** rows are written by triggers alone. The sealer writes the chain and nothing else, and
//! no editor waits for it.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::StoreError;
use crate::audit::{AuditRow, ChainHash};

/// Which rows of the audit are wanted. What is `None` leaves none out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// From this moment on.
    pub since: Option<DateTime<Utc>>,
    /// Before this moment.
    pub until: Option<DateTime<Utc>>,
    /// `config`, `number`, `client`, `user`, `tenant`, `rollout` or `audit`.
    pub entity: Option<String>,
    /// `insert`, `update`, `delete`, `truncate` or `prune`.
    pub operation: Option<String>,
    /// The id of the row that changed.
    pub row_id: Option<String>,
    /// Whose number.
    pub tenant_id: Option<String>,
    /// Which number, by all of its digits.
    pub digits: Option<String>,
    /// Who: a login, or an actor or client that a session claimed.
    pub who: Option<String>,
    /// The request that a session claimed.
    pub request: Option<String>,
}

/// A row of the audit, and its place in the chain if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The row.
    pub row: AuditRow,
    /// Where it is chained. `None`: it is not sealed yet.
    pub position: Option<i64>,
}

impl AuditEntry {
    /// It as the command line and the API show it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { row, position } = self;
        let before = row.before.is_some().then(|| row.before());
        let after = row.after.is_some().then(|| row.after());
        json!({
            "id": row.id,
            "at": row.at,
            "entity": row.entity,
            "operation": row.operation,
            "row_id": row.row_id,
            "tenant_id": row.tenant_id,
            "number": row.digits.as_ref().map(|digits| format!("+{digits}")),
            "fields": row.fields(),
            "before": before,
            "after": after,
            "login": row.login,
            "address": row.address,
            "claimed": row.claimed(),
            "position": position,
        })
    }
}

/// A link of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainLink {
    /// Its place.
    pub position: i64,
    /// Its hash. `None`: what stands there is none.
    pub hash: Option<ChainHash>,
    /// The number of its row.
    pub id: i64,
    /// Its row. `None`: that is not there.
    pub row: Option<AuditRow>,
}

/// What came of sealing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seal {
    /// Another process is at it, or the connection is not to be borrowed now.
    Busy,
    /// So many rows were chained.
    Sealed {
        /// How many.
        rows: usize,
        /// Whether there may be more.
        more: bool,
        /// Where the chain ends then. `None`: it has not begun.
        head: Option<(i64, ChainHash)>,
    },
}

/// The audit of a database.
#[async_trait]
pub trait AuditLog: Send + Sync + 'static {
    /// So many rows, the newest first, before this number.
    async fn audit_page(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<AuditEntry>, StoreError>;

    /// The last row of each of these, of a kind such as `config`, by their ids. None of those that have none.
    async fn last_edits(&self, entity: &str, rows: &[Uuid]) -> Result<Vec<AuditEntry>, StoreError>;

    /// So many links of the chain, after this position, with their rows.
    async fn chain_after(&self, position: i64, most: usize) -> Result<Vec<ChainLink>, StoreError>;

    /// The end of the chain. `None`: it has not begun.
    async fn chain_end(&self) -> Result<Option<(i64, ChainHash)>, StoreError>;

    /// Which of so many rows after this number are not chained, and which row is the last of them all.
    /// `None`: there are none.
    async fn unsealed_after(
        &self,
        id: i64,
        most: usize,
    ) -> Result<Option<(Vec<i64>, i64)>, StoreError>;

    /// How many rows are not chained, as far as [`seal`](Self::seal) would find them; so many at the
    /// most.
    async fn count_unsealed(&self, most: usize) -> Result<u64, StoreError>;

    /// Chains so many rows that are committed and not chained yet, in one transaction.
    async fn seal(&self, most: usize) -> Result<Seal, StoreError>;

    /// Chains what is committed and not chained yet if that is no more than so many rows, by two statements
    /// over a connection that is open anyway, if one can be borrowed. If there is more, it chains nothing
    /// and says so.
    async fn seal_few(&self, most: usize) -> Result<Seal, StoreError>;

    /// Chains these rows, as far as they are not chained.
    async fn seal_rows(&self, ids: &[i64]) -> Result<Seal, StoreError>;

    /// Removes rows that are older than this from the beginning of the chain, so many at the most, and
    /// leaves the last link of them as a checkpoint, and a row that tells of it. Says how many rows. On
    /// Postgres nothing younger than thirty days goes.
    async fn prune_audit(&self, older_than: Duration, most: usize) -> Result<u64, StoreError>;

    /// Which changes are not audited, since triggers for it are missing or disabled: each a table and
    /// an operation.
    async fn unaudited(&self) -> Result<Vec<(String, String)>, StoreError>;
}
