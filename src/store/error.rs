//! How a store fails, and how a driver's error becomes one of these. Carries no value of any row.

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
    /// A client has this name.
    Client,
    /// A user has this name.
    User,
    /// A tenant has this label.
    Label,
}

/// How a store fails. Carries no value of any row, bound or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is one already.
    #[error("{}", match taken {
        Taken::Name => "a LiveKit config has this name already",
        Taken::Number => "the tenant has this number already",
        Taken::Client => "a client has this name already",
        Taken::User => "a user has this name already",
        Taken::Label => "another tenant has this label",
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
    /// The connection was lost, or the deadline came, while a transaction was being committed.
    #[error(
        "the database did not say whether the change was saved: the connection was lost, or its \
         answer was late"
    )]
    MayBeSaved,
    /// Another key seals than when the secret was sealed. Nothing was changed.
    #[error("another key seals since the secret was sealed; nothing was changed")]
    KeysMoved,
    /// The tables are not there, or not all of them.
    #[error("the database is not migrated: `{statement}` needs a table or column that is missing{}", told(words.as_deref()))]
    NotMigrated {
        /// Which statement met it.
        statement: &'static str,
        /// Which one, in the words of the server.
        words: Option<String>,
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
    #[error("the database refused `{statement}` (code {code}){}", told(words.as_deref()))]
    Refused {
        /// Which statement.
        statement: &'static str,
        /// SQLSTATE, or SQLite's extended result code.
        code: String,
        /// In the words of the server, where refusals of this code name objects, types and settings,
        /// and hold no value of a row.
        words: Option<String>,
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
            Self::Unreachable { .. } | Self::MayBeSaved => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::NotMigrated { .. } => "not_migrated",
            Self::TriggersMissing => "triggers_missing",
            Self::LogUntrusted { .. } => "log_untrusted",
            Self::Refused { .. } => "refused",
            Self::Row { .. } => "row_malformed",
            Self::Conflict { .. } | Self::KeysMoved => "conflict",
        }
    }

    /// A stable `snake_case` name for the error, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict { taken: Taken::Name | Taken::Client | Taken::User } => "name_taken",
            Self::Conflict { taken: Taken::Label } => "label_taken",
            Self::Conflict { taken: Taken::Number } => "number_taken",
            Self::Unreachable { .. } => "database_unreachable",
            Self::Timeout { .. } => "database_timeout",
            Self::MayBeSaved => "may_be_saved",
            Self::KeysMoved => "keys_moved",
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

/// Whether an error, or a silence, may be of this one connection, so that another one may do better.
#[cfg(feature = "postgres")]
pub(super) fn may_be_the_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Timeout { .. }) || is_of_connection(error)
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
    let words = words(error, &code);
    // No such table, column, schema. SQLite has one code for all.
    let said = error.message();
    if matches!(&*code, "42P01" | "42703" | "3F000")
        || ["no such table", "no such column"].iter().any(|word| said.starts_with(word))
        || said.starts_with("table ") && said.contains(" has no column named ")
    {
        return StoreError::NotMigrated { statement, words };
    }
    // 08: connection, 28 and 3D: not let in, 53: too many, 57P: shutting down or starting; of SQLite
    // 14: cannot open the file, 26: not a database. A full disk is no lack of a connection.
    if ["08", "28", "3D", "53", "57P"].iter().any(|class| code.starts_with(class))
        && code != DISK_FULL
        || matches!(&*code, "14" | "26")
    {
        return StoreError::Unreachable { why: server_words(error) };
    }
    StoreError::Refused { statement, code, words }
}

/// The server's message, where it can hold no value of a row. One that a function of the database
/// raised may hold anything, whatever its code, unless that function is ours.
fn words(error: &dyn DatabaseError, code: &str) -> Option<String> {
    let message = error.message();
    let is_ours = message.starts_with("trunkline_log_changes serves ");
    let of_objects = WORDED.contains(&code) || message.starts_with("no such ");
    (of_objects && (is_ours || !is_raised(error))).then(|| message.to_owned())
}

#[cfg(feature = "postgres")]
fn is_raised(error: &dyn DatabaseError) -> bool {
    let error = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
    error.and_then(|error| error.routine()).is_some_and(|routine| routine == "exec_stmt_raise")
}

#[cfg(not(feature = "postgres"))]
fn is_raised(_: &dyn DatabaseError) -> bool {
    false
}

fn told(words: Option<&str>) -> String {
    words.map(|words| format!(": {words}")).unwrap_or_default()
}

/// What there can be only one of, by the statements that write it. Not by what the server calls the
/// constraint: an adopted table has names of its own, and a server its own language.
const UNIQUE: [(&str, Taken); 7] = [
    ("create_config", Taken::Name),
    ("update_config", Taken::Name),
    ("add_number", Taken::Number),
    ("import", Taken::Number),
    ("create_client", Taken::Client),
    ("create_user", Taken::User),
    ("label_tenant", Taken::Label),
];

/// The server's message where it is about connecting, and so speaks of roles and limits only.
fn server_words(error: &dyn DatabaseError) -> String {
    error.message().to_owned()
}

impl StoreError {
    /// Whether nobody may write there: a replica, a session that may only read, or a file that may.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if READ_ONLY.contains(&&**code))
    }

    /// Whether to try the same again is of no use: this role may not, or nobody may.
    pub(crate) fn may_not_write(&self) -> bool {
        self.is_read_only() || matches!(self, Self::Refused { code, .. } if **code == *MAY_NOT)
    }
}

/// A driver error of a listener in words that carry no value of a row.
pub(crate) fn lost_connection(error: &sqlx::Error) -> StoreError {
    typed(error, "listen")
}

const DISK_FULL: &str = "53100";
/// A role without the right.
const MAY_NOT: &str = "42501";
/// A standby or a session that may only read; of SQLite a file that may only be read, with its kinds.
const READ_ONLY: [&str; 8] = ["25006", "8", "264", "520", "776", "1032", "1288", "1544"];
/// Codes whose messages name objects, types and settings: of Postgres what is not supported, a
/// transaction that may only read, a missing right, an object or type that is missing or does not fit,
/// a full disk, a lock that did not come free; of SQLite a lock, a file that may only be read (with
/// its kinds) and a full disk. Never those of classes 22 and 23, which quote values.
const WORDED: [&str; 21] = [
    "0A000", "25006", "3F000", "42501", "42703", "42704", "42804", "42846", "42883", "42P01",
    DISK_FULL, "55P03", "5", "8", "264", "520", "776", "1032", "1288", "1544", "13",
];

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt;

    use super::*;

    /// What a server says.
    #[derive(Debug)]
    struct Says(&'static str, &'static str);

    impl fmt::Display for Says {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.1)
        }
    }

    impl std::error::Error for Says {}

    impl DatabaseError for Says {
        fn message(&self) -> &str {
            self.1
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn said(code: &'static str, message: &'static str) -> String {
        of_server(&Says(code, message), "route").to_string()
    }

    #[test]
    fn a_refusal_that_names_objects_is_told_in_the_words_of_the_server() {
        for (code, message) in [
            ("42501", "permission denied for table voice_agent_livekit"),
            ("42804", "column \"id\" is of type integer but expression is of type uuid"),
            ("42883", "operator does not exist: text = uuid"),
            ("53100", "could not extend file \"base/1/2\": No space left on device"),
            ("25006", "cannot execute INSERT in a read-only transaction"),
            ("0A000", "unsupported startup parameter: options"),
            ("42704", "unrecognized configuration parameter \"x.y\""),
            ("1032", "attempt to write a readonly database"),
            ("13", "database or disk is full"),
        ] {
            let expected = format!("the database refused `route` (code {code}): {message}");
            assert_eq!(said(code, message), expected);
        }
        let missing = said("42P01", "relation \"a.b\" does not exist");
        assert!(
            missing.ends_with(
                "needs a table or column that is missing: relation \"a.b\" does not exist"
            )
        );
    }

    #[test]
    fn a_refusal_that_may_quote_a_value_is_told_by_its_code_alone() {
        for code in ["22P02", "22001", "22023", "23502", "23514", "42601", "P0001", "XX000", "1811"]
        {
            assert_eq!(said(code, "canary"), format!("the database refused `route` (code {code})"));
        }
    }
}
