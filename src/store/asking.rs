//! One statement over one of the held connections, by its deadline.
//!
//! **Invariant:** a read is asked again when it met a connection that had died in its lane, and once
//! when a new one died under it. A write never is: what died is found out by a ping before it.

use tokio::time::timeout_at;

use super::StoreError;
use super::error::is_of_connection;
use super::pool::{Lane, Lanes};
use super::session::Session;
use super::statement::{Statement, Value};

impl<S: Session> Lanes<S> {
    /// Asks for rows.
    pub(super) async fn read<T: Send + Unpin>(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl Fn(&S::Row) -> Result<T, sqlx::Error> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let until = self.until();
        let mut once_more = true;
        let asking = async {
            loop {
                let mut lane = self.enter(statement.name, until).await?;
                lane.in_passing(statement.in_passing);
                let given_up = lane.given_up();
                let rows = tokio::select! {
                    biased;
                    rows = timeout_at(until, lane.session().fetch(statement, values, &read)) => rows,
                    () = given_up => continue,
                };
                // A new one may be cut as well, by whoever ends all connections at this moment.
                let again = lane.may_be_outdated() || std::mem::take(&mut once_more);
                match lane.leave(rows) {
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
            let mut lane = self.enter_to_write(statement.name).await?;
            let until = lane.until();
            let rows = timeout_at(until, lane.session().execute(statement, values)).await;
            lane.leave(rows)
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
            let mut lane = self.enter_to_write(statement.name).await?;
            let until = lane.until();
            let rows = timeout_at(until, lane.session().fetch(statement, values, read)).await;
            Ok(lane.leave(rows)?.into_iter().next())
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
            let mut lane = self.enter_to_write(name).await?;
            let until = lane.until();
            let done = timeout_at(until, lane.session().execute_all(statements)).await;
            lane.leave(done)
        })
        .await
    }

    async fn enter_to_write(&self, name: &'static str) -> Result<Lane<S>, StoreError> {
        self.enter_alive(name, self.until()).await
    }
}
