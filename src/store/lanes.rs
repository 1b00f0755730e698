//! A few held connections, each used by one statement at a time, all of them with a deadline.
//!
//! sqlx's own pool is not used: a caller that gives up on a dead connection leaks its permit there
//! for good, and a ping before and after each use halves the throughput. Here a permit is a
//! [`Lane`], which goes back by being dropped, and a connection goes back only after it proved
//! itself by finishing a statement. One that failed, timed out or was abandoned is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{Connection, Database};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::{StoreError, Taken};

/// Connections to one database.
pub(super) struct Lanes<DB: Database> {
    options: <DB::Connection as Connection>::Options,
    idle: Arc<Mutex<Vec<DB::Connection>>>,
    permits: Arc<Semaphore>,
    deadline: Duration,
}

/// A connection for one statement.
pub(super) struct Lane<DB: Database> {
    connection: DB::Connection,
    /// Whether it was opened earlier, and so may have died since.
    reused: bool,
    until: Instant,
    deadline: Duration,
    statement: &'static str,
    home: Arc<Mutex<Vec<DB::Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl<DB: Database> Lanes<DB> {
    /// Nothing is opened before the first statement.
    pub(super) fn new(
        options: <DB::Connection as Connection>::Options,
        most: u32,
        deadline: Duration,
    ) -> Self {
        Self {
            options,
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(most.max(1) as usize)),
            deadline,
        }
    }

    /// By when a statement that is asked for now must have ended.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Waits for a connection that is alive now. A statement that must not be asked twice begins
    /// here: what died while it was idle is found out by a ping, and not by that statement.
    pub(super) async fn enter_alive(
        &self,
        statement: &'static str,
        until: Instant,
    ) -> Result<Lane<DB>, StoreError> {
        loop {
            let mut lane = self.enter(statement, until).await?;
            let ping = timeout_at(lane.until, lane.connection.ping()).await;
            match (lane.reused, ping) {
                (_, Ok(Ok(()))) => return Ok(lane),
                (_, Err(_)) => return Err(StoreError::Timeout { after: self.deadline }),
                (true, Ok(Err(_))) => {}
                (false, Ok(Err(error))) => return Err(typed(&error, statement)),
            }
        }
    }

    /// Waits for a free connection, or opens one.
    pub(super) async fn enter(
        &self,
        statement: &'static str,
        until: Instant,
    ) -> Result<Lane<DB>, StoreError> {
        let late = |_| StoreError::Timeout { after: self.deadline };
        let permit = timeout_at(until, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(late)?
            .expect("the semaphore is never closed");
        let (connection, reused) = match self.idle() {
            Some(connection) => (connection, true),
            None => {
                let opened = timeout_at(until, DB::Connection::connect_with(&self.options)).await;
                (opened.map_err(late)?.map_err(|error| typed(&error, statement))?, false)
            }
        };
        Ok(Lane {
            connection,
            reused,
            until,
            deadline: self.deadline,
            statement,
            home: Arc::clone(&self.idle),
            _permit: permit,
        })
    }

    fn idle(&self) -> Option<DB::Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl<DB: Database> Lane<DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether a failure may only mean that a connection was held for long.
    pub(super) fn may_be_outdated(&self) -> bool {
        self.reused
    }

    /// Takes the statement's outcome; the connection goes home only if it is sound.
    pub(super) fn leave<T>(
        self,
        outcome: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        let late = || StoreError::Timeout { after: self.deadline };
        let outcome = match outcome {
            Err(_) => return Err(late()),
            Ok(outcome) => outcome.map_err(|error| match typed(&error, self.statement) {
                // The server's own statement_timeout, which is the same deadline.
                StoreError::Refused { code, .. } if code == "57014" => late(),
                error => error,
            }),
        };
        // An error may come from the connection itself: a plan of a table that has changed since,
        // a server that has become a replica. Only one that finished its work is used again.
        if matches!(outcome, Ok(_) | Err(StoreError::Conflict { .. })) {
            self.home.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
        }
        outcome
    }
}

/// Runs one statement: `ask!(read lanes, "name", |db| query.fetch_one(db))`. A read is asked again
/// when it met a connection that had died in its lane; a write never is, and pings first.
macro_rules! ask {
    (@run $lane:ident, $db:ident, $query:expr) => {{
        let until = $lane.until();
        tokio::time::timeout_at(until, async {
            let $db = $lane.connection();
            $query.await
        })
        .await
    }};
    (read $lanes:expr, $statement:expr, |$db:ident| $query:expr) => {{
        let until = $lanes.until();
        loop {
            let mut lane = $lanes.enter($statement, until).await?;
            let outcome = ask!(@run lane, $db, $query);
            let again = lane.may_be_outdated();
            match lane.leave(outcome) {
                Err(error) if again && $crate::store::lanes::is_of_connection(&error) => {}
                outcome => break outcome,
            }
        }
    }};
    (write $lanes:expr, $statement:expr, |$db:ident| $query:expr) => {{
        let mut lane = $lanes.enter_alive($statement, $lanes.until()).await?;
        let outcome = ask!(@run lane, $db, $query);
        lane.leave(outcome)
    }};
}
pub(super) use ask;

/// Whether an error may be of this one connection: it died, or its plans are of a table that has
/// changed since (0A000), or a pooler gave it another session (26000).
pub(super) fn is_of_connection(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable { .. } => true,
        StoreError::Refused { code, .. } => matches!(code.as_str(), "0A000" | "26000"),
        _ => false,
    }
}

/// Names a driver error without any value of a row in it.
pub(super) fn typed(error: &sqlx::Error, statement: &'static str) -> StoreError {
    let error = match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            let constraint = database.constraint().unwrap_or_default();
            if database.is_unique_violation() {
                let number = constraint.contains("number") || database.message().contains("number");
                let taken = if number { Taken::Number } else { Taken::Name };
                return StoreError::Conflict { taken };
            }
            // 42P01, 42703 and 3F000: no such table, column, schema. SQLite has one code for all.
            let missing = matches!(&*code, "42P01" | "42703" | "3F000")
                || database.message().starts_with("no such table");
            // 08: connection, 28 and 3D: not let in, 53: too many, 57P: shutting down or starting;
            // of SQLite 14: cannot open the file, 26: not a database.
            let away = ["08", "28", "3D", "53", "57P"].iter().any(|class| code.starts_with(class))
                || matches!(&*code, "14" | "26");
            match () {
                () if missing => StoreError::NotMigrated { statement },
                () if away => StoreError::Unreachable { why: server_words(&**database) },
                () => StoreError::Refused { statement, code },
            }
        }
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_) => StoreError::Row { statement },
        sqlx::Error::Io(error) => StoreError::Unreachable { why: error.to_string() },
        sqlx::Error::Tls(_) => StoreError::Unreachable { why: "TLS failed".into() },
        _ => StoreError::Unreachable { why: "the connection failed".into() },
    };
    tracing::debug!(statement, error = %error, "a statement failed");
    error
}

/// The server's message where it is about connecting, and so speaks of roles and limits only.
fn server_words(error: &dyn sqlx::error::DatabaseError) -> String {
    error.message().to_owned()
}
