//! Postgres: a store on it, and the statements that only it understands.

mod dialect;
mod grants;
#[cfg(feature = "relay")]
mod identity;
mod inspection;
mod session;
mod tables;
#[cfg(feature = "relay")]
mod told;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::time::timeout;

use self::dialect::DIALECT;
use self::session::PostgresConnector;
pub(super) use self::session::PostgresSession;
use super::StoreError;
use super::error::typed;
use super::lendable::Lendable;
use super::pool::Pool;
use super::session::Session;
use super::sql::{SqlStore, Statements};
use super::statement::{Statement, Templates};

/// The tables in a schema of a Postgres database.
pub struct PostgresStore {
    pool: Pool<PostgresSession>,
    statements: Statements,
    templates: Templates,
    schema: String,
    deadline: Duration,
}

impl PostgresStore {
    /// Names the database; nothing is opened before the first statement.
    ///
    /// `connections` is how many statements may run at once, `deadline` how long one may take.
    #[must_use]
    pub(crate) fn new(
        options: PgConnectOptions,
        schema: &str,
        connections: u32,
        deadline: Duration,
    ) -> Self {
        let connector = PostgresConnector::new(options, deadline);
        let (name, text) = (quoted(schema), literal(schema));
        let templates = DIALECT.templates(&[("{schema}", &name), ("{schema_text}", &text)]);
        Self {
            pool: Pool::new(connector, connections, deadline),
            statements: Statements::new(&templates, &DIALECT),
            templates,
            schema: schema.to_owned(),
            deadline,
        }
    }

    /// The schema that holds the tables.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// How long one statement may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The options of a connection that nothing stands before, for the listener's own one. `None`:
    /// a pooler stands before the database.
    pub(crate) fn direct(&self) -> Option<PgConnectOptions> {
        self.pool.connector().direct()
    }

    /// Opens the next connections with these options: the password is another one.
    pub(super) fn renew(&self, options: PgConnectOptions) {
        self.pool.connector().renew(options);
    }

    /// A statement of the reader of the change log.
    pub(super) fn statement(&self, name: &'static str, template: &str) -> Statement {
        self.templates.statement(name, template)
    }

    /// A connection of its own.
    pub(super) async fn open_session(&self) -> Result<PostgresSession, StoreError> {
        PostgresSession::open(self.pool.connector()).await.map_err(|error| typed(&error, "connect"))
    }

    /// A connection of its own, for the reader of the change log.
    pub(super) async fn open_to_look(&self) -> Result<PostgresSession, StoreError> {
        let opened = PostgresSession::open_to_look(self.pool.connector()).await;
        opened.map_err(|error| typed(&error, "connect"))
    }

    /// Has upkeep ask over this connection whenever it is free.
    pub(super) fn lend(&self, connection: &Arc<Lendable<PostgresSession>>) {
        self.pool.lend(connection);
    }

    /// Records a look at the change log over a connection of its own.
    pub(super) async fn asking<T>(
        &self,
        look: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.pool.asking("changes", look).await
    }

    /// Sends a notification, within the deadline: over a connection that is lent, or else over one that
    /// is opened for it and closed after it. Statements that answer calls never wait for it.
    pub(crate) async fn send(&self, channel: &str, payload: &str) -> Result<(), StoreError> {
        let statement = self.statement("notify", "select pg_notify($1, $2)");
        let values = [channel.into(), payload.into()];
        let sending = async {
            if let Some(mut lent) = self.pool.borrow(self.pool.until()).await {
                // It may be dead without a word.
                let sending = lent.session().execute(&statement, &values);
                if let Ok(Ok(_)) = timeout(self.deadline / 4, sending).await {
                    lent.give_back();
                    return Ok(());
                }
            }
            let sent = self.open_session().await?.execute(&statement, &values).await;
            sent.map(drop).map_err(|error| typed(&error, statement.name))
        };
        let late = |_| StoreError::Timeout { after: self.deadline };
        timeout(self.deadline, sending).await.map_err(late)?
    }

    /// Closes the connections that no statement has needed for a while; a short one, if that is all that
    /// keeps the database from being left alone.
    pub(crate) fn close_idle(&self, soon: bool) {
        self.pool.close_idle(if soon { SOON } else { UNUSED_FOR });
    }

    /// Closes the connections that wait for a statement.
    pub(crate) fn close_all_idle(&self) {
        self.pool.close_idle(Duration::ZERO);
    }

    /// One that looked alive turned out to be dead: those that loaders hold may be, too.
    pub(crate) fn give_up_connections(&self) {
        self.pool.give_up();
    }

    /// Waits until the server lets in a connection of a statement.
    pub(super) async fn is_let_in(&self) {
        self.pool.is_let_in().await;
    }
}

impl SqlStore for PostgresStore {
    type Session = PostgresSession;

    fn pool(&self) -> &Pool<PostgresSession> {
        &self.pool
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }
}

/// A name as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// After what time without a statement a connection is closed: a dispatcher that calls a new number now
/// and then is to find one, and a node that has nothing to ask is to hold none.
const UNUSED_FOR: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(5);
