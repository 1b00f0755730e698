//! Several statements in one transaction, by one deadline.
//!
//! **Invariant:** nothing of it stays unless [`commit`](Transaction::commit) said so. One that is dropped
//! closes its connection, and the database then rolls it back. Where the outcome of a commit is not known
//! that is what is told: [`StoreError::MayBeSaved`].

use tokio::time::{Instant, timeout_at};

use super::StoreError;
use super::error::typed;
use super::pool::{Pool, Pooled};
use super::session::Session;
use super::statement::{Statement, Value};

/// A transaction that has begun.
pub(super) struct Transaction<S: Session> {
    connection: Pooled<S>,
    /// What it is about, in errors.
    name: &'static str,
    until: Instant,
}

impl<S: Session> Pool<S> {
    /// Begins one.
    pub(super) async fn begin(&self, name: &'static str) -> Result<Transaction<S>, StoreError> {
        let mut connection = self.acquire_alive(name, false, self.until()).await?;
        let until = connection.until();
        let begun = timeout_at(until, connection.session().begin()).await;
        let begun = begun.map_err(|_| connection.late())?;
        begun.map_err(|error| connection.failed(&error, name))?;
        Ok(Transaction { connection, name, until })
    }
}

impl<S: Session> Transaction<S> {
    /// Asks for rows.
    pub(super) async fn read<T: Send + Unpin>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl FnMut(&S::Row) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let asking = self.connection.session().fetch(statement, values, read);
        match timeout_at(self.until, asking).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(self.connection.failed(&error, statement.name)),
            Err(_) => Err(self.connection.late()),
        }
    }

    /// The first of the rows that are asked for.
    pub(super) async fn read_one<T: Send + Unpin>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl FnMut(&S::Row) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.read(statement, values, read).await?.into_iter().next())
    }

    /// Writes, and says how many rows.
    pub(super) async fn write(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let writing = self.connection.session().execute(statement, values);
        match timeout_at(self.until, writing).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(self.connection.failed(&error, statement.name)),
            Err(_) => Err(self.connection.late()),
        }
    }

    /// Keeps what was done.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        match timeout_at(self.until, self.connection.session().commit()).await {
            Ok(Ok(())) => self.connection.release(Ok(Ok(()))),
            Ok(Err(error)) => Err(match typed(&error, self.name) {
                StoreError::Unreachable { .. } => StoreError::MayBeSaved,
                refused => refused,
            }),
            Err(_) => Err(StoreError::MayBeSaved),
        }
    }

    /// Keeps nothing of it.
    pub(super) async fn roll_back(mut self) {
        let rolled_back = timeout_at(self.until, self.connection.session().roll_back()).await;
        // Where it failed, the connection is closed, which does the same.
        if let Err(error) = self.connection.release(rolled_back) {
            tracing::debug!(%error, statement = self.name, "a transaction was ended by its connection");
        }
    }
}
