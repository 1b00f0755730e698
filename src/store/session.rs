//! What a connection to either kind of database can do.

use super::record::Record;
use super::statement::{Statement, Value};

/// A connection.
pub(super) trait Session: Send + Sized + 'static {
    /// A row as it comes from the server.
    type Row: Record;
    /// What opens a connection.
    type Connector: Send + Sync;

    /// Opens one.
    fn open(connector: &Self::Connector) -> impl Future<Output = Result<Self, sqlx::Error>> + Send;

    /// Asks a statement, and reads each row as it comes.
    fn fetch<T: Send + Unpin>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        read: impl FnMut(&Self::Row) -> Result<T, sqlx::Error> + Send,
    ) -> impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send;

    /// Asks a statement for what it does, and says to how many rows it did it.
    fn execute(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Asks all of these in one transaction; nothing is kept for them.
    fn execute_all(
        &mut self,
        statements: &[(Statement, Vec<Value<'_>>)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Begins a transaction, in which statements are asked until it is ended. One that writes holds off
    /// other writers of an SQLite file from here on.
    fn begin(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Ends the transaction, and keeps what was done in it.
    fn commit(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Ends the transaction, and keeps nothing of it.
    fn roll_back(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Finds out whether it is alive.
    fn ping(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Whether the server keeps for this connection what was prepared on it.
    fn keeps_statements(&self) -> bool {
        true
    }
}
