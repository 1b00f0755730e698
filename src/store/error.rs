//! How a store fails, and how what a driver says becomes that. Carries no value of any row.

use std::time::Duration;

use serde::Serialize;
use sqlx::error::DatabaseError;

/// What there can be only one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Taken {
    /// A config has this name.
    Name,
    /// The tenant has this number.
    Number,
}

/// How a store fails. Carries no value of any row, bound or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is one already.
    #[error("{}", match taken {
        Taken::Name => "a LiveKit config has this name already",
        Taken::Number => "the tenant has this number already",
    })]
    Conflict {
        /// Of what.
        taken: Taken,
    },
    /// No connection, or one that broke.
    #[error("the database cannot be reached: {why}")]
    Unreachable {
        /// Refused, wrong password, too many clients: in the words of the system or server.
        why: String,
    },
    /// No answer within the deadline.
    #[error("the database did not answer within {after:?}")]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// The tables are not there, or not all of them.
    #[error("the database is not migrated: `{statement}` misses a table or column")]
    NotMigrated {
        /// Which statement met it.
        statement: &'static str,
    },
    /// The triggers that write the change log are not all there, or disabled.
    #[error("the triggers that log changes are missing or disabled")]
    TriggersMissing,
    /// What the change log says proves nothing.
    #[error("the change log proves nothing: {why}")]
    LogUntrusted {
        /// In words of ours.
        why: String,
    },
    /// The database refused a statement.
    #[error("the database refused `{statement}` (code {code})")]
    Refused {
        /// Which statement.
        statement: &'static str,
        /// SQLSTATE, or SQLite's extended result code.
        code: String,
    },
    /// A row holds what its column should not.
    #[error("`{statement}` read a row that does not fit its columns")]
    Row {
        /// Which statement.
        statement: &'static str,
    },
}

impl StoreError {
    /// What [`kind`](Self::kind) may say.
    pub(crate) const KINDS: [&str; 8] = [
        "unreachable",
        "timeout",
        "not_migrated",
        "triggers_missing",
        "log_untrusted",
        "refused",
        "row_malformed",
        "conflict",
    ];

    /// What kind of failure it is, for a metric.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::NotMigrated { .. } => "not_migrated",
            Self::TriggersMissing => "triggers_missing",
            Self::LogUntrusted { .. } => "log_untrusted",
            Self::Refused { .. } => "refused",
            Self::Row { .. } => "row_malformed",
            Self::Conflict { .. } => "conflict",
        }
    }

    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict { taken: Taken::Name } => "name_taken",
            Self::Conflict { taken: Taken::Number } => "number_taken",
            Self::Unreachable { .. } => "database_unreachable",
            Self::Timeout { .. } => "database_timeout",
            Self::NotMigrated { .. } => "not_migrated",
            Self::TriggersMissing => "triggers_missing",
            Self::LogUntrusted { .. } => "log_untrusted",
            Self::Refused { .. } => "database_error",
            Self::Row { .. } => "row_malformed",
        }
    }
}

/// Whether an error may be of this one connection: it died, or its plans are of a table that has
/// changed since (0A000), or a pooler gave it another session (26000).
pub(super) fn is_of_connection(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable { .. } => true,
        StoreError::Refused { code, .. } => matches!(code.as_str(), "0A000" | "26000"),
        _ => false,
    }
}

/// Whether a server lets nobody in with what it was given: another attempt is answered the same.
pub(super) fn is_not_let_in(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| ["28", "3D"].iter().any(|class| code.starts_with(class)))
}

/// Names a driver error without any value of a row in it.
pub(super) fn typed(error: &sqlx::Error, statement: &'static str) -> StoreError {
    let error = match error {
        sqlx::Error::Database(database) => of_server(&**database, statement),
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

/// What a server refused with, by its code.
fn of_server(error: &dyn DatabaseError, statement: &'static str) -> StoreError {
    let code = error.code().unwrap_or_default().into_owned();
    if error.is_unique_violation()
        && let Some((_, taken)) = UNIQUE.iter().find(|(name, _)| *name == statement)
    {
        return StoreError::Conflict { taken: *taken };
    }
    // No such table, column, schema. SQLite has one code for all.
    if matches!(&*code, "42P01" | "42703" | "3F000") || error.message().starts_with("no such table")
    {
        return StoreError::NotMigrated { statement };
    }
    // 08: connection, 28 and 3D: not let in, 53: too many, 57P: shutting down or starting; of SQLite
    // 14: cannot open the file, 26: not a database.
    if ["08", "28", "3D", "53", "57P"].iter().any(|class| code.starts_with(class))
        || matches!(&*code, "14" | "26")
    {
        return StoreError::Unreachable { why: server_words(error) };
    }
    StoreError::Refused { statement, code }
}

/// What there can be only one of, by the statements that write it. Not by what the server calls the
/// constraint: an adopted table has names of its own, and a server its own language.
const UNIQUE: [(&str, Taken); 4] = [
    ("create_config", Taken::Name),
    ("update_config", Taken::Name),
    ("add_number", Taken::Number),
    ("import", Taken::Number),
];

/// The server's message where it is about connecting, and so speaks of roles and limits only.
fn server_words(error: &dyn DatabaseError) -> String {
    error.message().to_owned()
}

/// A driver error of a listener in words that carry no value of a row.
pub(crate) fn lost_connection(error: &sqlx::Error) -> StoreError {
    typed(error, "listen")
}
