//! The database as the engine sees it: a trait, the rows it speaks in, and how it can fail.
//!
//! No SQL here and no keys: a secret goes in as [`Sealed`] and comes out as the text of its column,
//! hidden. Absence is `None` or `false`, never an error.

#[cfg(feature = "postgres")]
mod change_log;
mod metrics;
mod migrations;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

#[cfg(feature = "postgres")]
pub(crate) use self::change_log::{ChangeLog, News, Reach, may_be_the_connection};
pub use self::migrations::{MigrateError, MigrationStatus, Migrations};
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
use crate::change::Change;
use crate::keyring::Sealed;
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::server_url::ServerUrl;
use crate::settings::{Database, Tuning};

/// Where LiveKit configs and numbers are kept.
///
/// Every method is one statement, or one transaction where it says so, and ends within the store's
/// deadline: [`StoreError::Timeout`] then.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All that answers a cold resolve, in one statement: the number joined with its config.
    async fn route(&self, caller: Caller) -> Result<Option<Route>, StoreError>;

    /// The same for many, in their order. Where a store has no statement for that, each is asked
    /// for by itself.
    async fn routes(&self, callers: &[Caller]) -> Result<Vec<Option<Route>>, StoreError> {
        try_join_all(callers.iter().map(|&caller| self.route(caller))).await
    }

    /// The tenants that own a number; two at the most, since more are as ambiguous.
    async fn owners(&self, number: E164) -> Result<Vec<TenantId>, StoreError>;

    /// Adds a LiveKit config and returns the id that the database made.
    async fn create_config(&self, config: &NewConfig) -> Result<ConfigId, StoreError>;

    /// One config.
    async fn config(&self, id: ConfigId) -> Result<Option<Config>, StoreError>;

    /// One config, by its unique name.
    async fn config_named(&self, name: &str) -> Result<Option<Config>, StoreError>;

    /// Changes the fields that `edit` holds and no other. `false`: there is no such config.
    async fn update_config(&self, id: ConfigId, edit: &ConfigEdit) -> Result<bool, StoreError>;

    /// Removes a config, used or not. `false`: there is no such config.
    async fn delete_config(&self, id: ConfigId) -> Result<bool, StoreError>;

    /// Every config, by name.
    async fn configs(&self) -> Result<Vec<Config>, StoreError>;

    /// What is sealed of every config, in no order.
    async fn sealed_secrets(&self) -> Result<Vec<SecretString>, StoreError> {
        Ok(self.configs().await?.into_iter().map(|config| config.api_secret).collect())
    }

    /// How many numbers have rules that name this config.
    async fn config_users(&self, id: ConfigId) -> Result<u64, StoreError>;

    /// Adds a number and returns the id of its row.
    async fn add_number(&self, number: &NewNumber) -> Result<Uuid, StoreError>;

    /// One number of a tenant.
    async fn number(&self, caller: Caller) -> Result<Option<Number>, StoreError>;

    /// The numbers of a tenant, or of all.
    async fn numbers(&self, tenant: Option<TenantId>) -> Result<Vec<Number>, StoreError>;

    /// So many numbers of all tenants, in an order of the store's own: those that come after this
    /// one, or the first ones. Nobody pages through a store that tells of all of them at once.
    async fn numbers_after(
        &self,
        after: Option<&Number>,
        most: usize,
    ) -> Result<Vec<Number>, StoreError> {
        let _ = most;
        if after.is_none() { self.numbers(None).await } else { Ok(Vec::new()) }
    }

    /// So many of the numbers that changed lately, as far as the change log tells; the last ones
    /// first.
    async fn changed_lately(&self, most: usize) -> Result<Vec<Caller>, StoreError> {
        let _ = most;
        Ok(Vec::new())
    }

    /// Makes a config answer for a number, or none. The other rules stay as they are; rules that
    /// are no object are replaced. `false`: there is no such number.
    async fn assign(&self, caller: Caller, config: Option<ConfigId>) -> Result<bool, StoreError>;

    /// Removes a number. `false`: there is no such number.
    async fn remove_number(&self, caller: Caller) -> Result<bool, StoreError>;

    /// Adds many numbers in one transaction: all of them, or none and the first conflict.
    async fn import(&self, numbers: &[NewNumber]) -> Result<u64, StoreError>;

    /// The changes that come after this place in the log, oldest first. `None`: they cannot be
    /// told, because the log does not reach back to it or there are more than [`MOST_CHANGES`].
    async fn changes_after(&self, seq: i64) -> Result<Option<Vec<LoggedChange>>, StoreError>;

    /// The place of the newest change in the log; zero when there is none.
    async fn newest_change(&self) -> Result<i64, StoreError>;

    /// Forgets the changes that are older than this, and returns how many. A reader that has not
    /// come that far finds out.
    async fn prune_changes(&self, older_than: Duration) -> Result<u64, StoreError>;

    /// Tenants and numbers that an adopted table has more than once.
    async fn doubles(&self) -> Result<u64, StoreError>;
}

/// A database that the settings name, as a store of its kind.
#[derive(Clone)]
pub enum OpenStore {
    /// Postgres.
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
    /// An SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<SqliteStore>),
}

impl OpenStore {
    /// Names the database; nothing is opened before the first statement.
    #[must_use]
    pub fn new(database: &Database, tuning: &Tuning) -> Self {
        let (connections, deadline) = (tuning.connections, tuning.store_deadline);
        match database {
            #[cfg(feature = "postgres")]
            Database::Postgres { options, schema } => {
                let options = (**options).clone();
                Self::Postgres(Arc::new(PostgresStore::new(options, schema, connections, deadline)))
            }
            #[cfg(feature = "sqlite")]
            Database::Sqlite { options } => {
                Self::Sqlite(Arc::new(SqliteStore::new((**options).clone(), connections, deadline)))
            }
        }
    }

    /// Which kind of database it is, in one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// It as any store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Arc::clone(store) as _,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Arc::clone(store) as _,
        }
    }

    /// Brings its tables to where they should be.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a migration that failed has changed nothing.
    pub async fn migrate(&self, to: Migrations) -> Result<MigrationStatus, MigrateError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.migrate(to).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.migrate(to).await,
        }
    }
}

/// How many changes are read at once. More than that are one [`Change::All`].
pub const MOST_CHANGES: usize = 1000;

/// A change with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// Its sequence number.
    pub seq: i64,
    /// What changed. A row that this version cannot read is [`Change::All`].
    pub change: Change,
    /// How long ago it was written when it was read, by the clock of the database.
    pub age: Duration,
}

/// A number joined with its config: what a cold resolve reads.
#[derive(Debug)]
pub struct Route {
    /// The number's rules, unread.
    pub rules: Value,
    /// The carrier.
    pub provider: Option<String>,
    /// The config that the rules name, where there is one.
    pub config: Option<Config>,
}

/// A row of `voice_agent_livekit`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its id.
    pub id: ConfigId,
    /// Its unique name.
    pub name: String,
    /// What people wrote about it.
    pub description: Option<String>,
    /// `livekit_url`, as it stands there.
    pub url: String,
    /// `livekit_api_key`.
    pub api_key: String,
    /// `livekit_api_secret`: the text of the column, which should be sealed and may not be.
    pub api_secret: SecretString,
    /// The SIP trunk.
    pub trunk_id: Option<String>,
    /// `worker_name`: the LiveKit agent that takes calls.
    pub agent: Option<String>,
    /// When it was made. `None` where an adopted table does not say.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last changed. `None` where an adopted table does not say.
    pub updated_at: Option<DateTime<Utc>>,
}

/// A config to be.
#[derive(Debug, Clone)]
pub struct NewConfig {
    /// A name no other config has, at most 255 characters.
    pub name: String,
    /// What people should know about it.
    pub description: Option<String>,
    /// The server's URL.
    pub url: ServerUrl,
    /// The API key.
    pub api_key: String,
    /// The API secret, sealed.
    pub api_secret: Sealed,
    /// The SIP trunk.
    pub trunk_id: Option<String>,
    /// The LiveKit agent that takes calls.
    pub agent: Option<String>,
}

/// Which fields of a config change. The outer `None` leaves a field alone, `Some(None)` empties it.
#[derive(Debug, Clone, Default)]
pub struct ConfigEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<Option<String>>,
    /// A new URL.
    pub url: Option<ServerUrl>,
    /// A new API key.
    pub api_key: Option<String>,
    /// A new secret, sealed.
    pub api_secret: Option<Sealed>,
    /// A new trunk.
    pub trunk_id: Option<Option<String>>,
    /// A new agent.
    pub agent: Option<Option<String>>,
}

/// A row of `voice_agent_numbers`.
#[derive(Debug, Clone)]
pub struct Number {
    /// The id of the row.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: TenantId,
    /// Country code and base number as they stand there, joined.
    pub digits: String,
    /// The carrier.
    pub provider: Option<String>,
    /// The rules, unread.
    pub rules: Value,
}

/// A number to be.
#[derive(Debug, Clone)]
pub struct NewNumber {
    /// Whose number.
    pub caller: Caller,
    /// The carrier.
    pub provider: Option<String>,
    /// The rules; an object.
    pub rules: Value,
}

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
    pub(crate) const KINDS: [&str; 7] = [
        "unreachable",
        "timeout",
        "not_migrated",
        "triggers_missing",
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
            Self::Refused { .. } => "database_error",
            Self::Row { .. } => "row_malformed",
        }
    }
}

/// A driver error of a listener in words that carry no value of a row.
pub(crate) fn lost_connection(error: &sqlx::Error) -> StoreError {
    pool::typed(error, "listen")
}
