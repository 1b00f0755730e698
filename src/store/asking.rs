//! One statement over one of the held connections, by its deadline.
//!
//! **Invariant:** a read is asked again when it met a connection that had died while it was idle, and
//! once when a new one died under it. A write never is: what died while it was idle is found out by
//! a ping before it.

use tokio::time::{sleep, timeout_at};

use super::StoreError;
use super::error::is_of_connection;
use super::pool::{Pool, Pooled};
use super::session::Session;
use super::statement::{Statement, Value};

impl<S: Session> Pool<S> {
    /// Asks for rows.
    pub(super) async fn read<T: Send + Unpin>(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl Fn(&S::Row) -> Result<T, sqlx::Error> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let until = self.until();
        let (mut once_more, mut was_silent) = (true, false);
        let asking = async {
            loop {
                let mut connection =
                    self.acquire(statement.name, statement.in_passing, until).await?;
                let given_up = connection.given_up();
                let is_suspect =
                    !was_silent && connection.may_be_outdated() && self.is_left_alone();
                let rows = tokio::select! {
                    biased;
                    rows = timeout_at(until, connection.session().fetch(statement, values, &read)) => rows,
                    () = given_up => continue,
                    // Where no look finds out that connections are dead, who waits for one does.
                    () = sleep(self.deadline() / 4), if is_suspect => {
                        was_silent = true;
                        self.give_up();
                        continue;
                    }
                };
                // A new one may be cut as well, by whoever ends all connections at this moment.
                let again = connection.may_be_outdated() || std::mem::take(&mut once_more);
                match connection.release(rows) {
                    Err(error) if again && is_of_connection(&error) => {}
                    outcome => break outcome,
                }
            }
        };
        self.asking(statement.name, asking).await
    }

    /// The first of the rows that are asked for.
    pub(super) async fn read_one<T: Send + Unpin>(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl Fn(&S::Row) -> Result<T, sqlx::Error> + Send + Sync,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.read(statement, values, read).await?.into_iter().next())
    }

    /// Writes, and says how many rows.
    pub(super) async fn write(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        self.asking(statement.name, async {
            let mut connection = self.acquire_to_write(statement).await?;
            let until = connection.until();
            let rows = timeout_at(until, connection.session().execute(statement, values)).await;
            connection.release(rows)
        })
        .await
    }

    /// Writes, and reads the first of the rows that come back.
    pub(super) async fn write_returning<T: Send + Unpin>(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl Fn(&S::Row) -> Result<T, sqlx::Error> + Send + Sync,
    ) -> Result<Option<T>, StoreError> {
        self.asking(statement.name, async {
            let mut connection = self.acquire_to_write(statement).await?;
            let until = connection.until();
            let rows = timeout_at(until, connection.session().fetch(statement, values, read)).await;
            Ok(connection.release(rows)?.into_iter().next())
        })
        .await
    }

    /// Writes all of these in one transaction.
    pub(super) async fn write_all(
        &self,
        name: &'static str,
        statements: &[(Statement, Vec<Value<'_>>)],
    ) -> Result<(), StoreError> {
        self.asking(name, async {
            let mut connection = self.acquire_alive(name, false, self.until()).await?;
            let until = connection.until();
            let done = timeout_at(until, connection.session().execute_all(statements)).await;
            connection.release(done)
        })
        .await
    }

    async fn acquire_to_write(&self, statement: &Statement) -> Result<Pooled<S>, StoreError> {
        self.acquire_alive(statement.name, statement.in_passing, self.until()).await
    }
}
