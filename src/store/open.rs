//! The database that the settings name, of whichever kind: what both have, and what one has not.

use std::sync::Arc;

#[cfg(feature = "postgres")]
use super::PostgresStore;
#[cfg(feature = "sqlite")]
use super::SqliteStore;
use super::{
    AdminStore, AuditLog, ChangeLog, ClientStore, Creators, Grants, Inspection, KeyRows,
    KeyTurnRows, MigrateError, MigrationStatus, Migrations, Misfit, NodeRows, PairRows,
    RolloutStore, RunRows, Store, StoreError, TenantStore, Trial, UnlistedNode, UserStore,
};
#[cfg(all(feature = "dispatch", feature = "server"))]
use super::{BatchRows, CallRows};
#[cfg(feature = "server")]
use super::{EditStore, LoggedChange, PeopleRows};
use crate::keyring::KeyRing;
use crate::settings::{Database, DatabaseTarget, Tuning};

/// A database that the settings name, as a store of its kind. Cloning shares its connections.
///
/// ```no_run
/// use trunkline::Settings;
/// use trunkline::store::{Migrations, OpenStore};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::builder().database_url("sqlite:calls.db").build()?;
/// let database = settings.database.as_ref().expect("it is named");
/// let database = OpenStore::new(database, &settings.tuning);
/// database.migrate(Migrations::Up).await?;
/// println!("{} configs", database.admin().configs().await?.len());
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum OpenStore {
    /// Postgres.
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
    /// An SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<SqliteStore>),
}

/// Either kind, as a trait that both have.
macro_rules! shared {
    ($store:expr) => {
        match $store {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Arc::clone(store) as _,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Arc::clone(store) as _,
        }
    };
}

impl OpenStore {
    /// Names the database; nothing is opened before the first statement.
    #[must_use]
    pub fn new(database: &Database, tuning: &Tuning) -> Self {
        let (connections, deadline) = (tuning.connections, tuning.store_deadline);
        match &database.0 {
            #[cfg(feature = "postgres")]
            DatabaseTarget::Postgres { options, schema } => {
                let options = (**options).clone();
                Self::Postgres(Arc::new(PostgresStore::new(options, schema, connections, deadline)))
            }
            #[cfg(feature = "sqlite")]
            DatabaseTarget::Sqlite { options } => {
                Self::Sqlite(Arc::new(SqliteStore::new((**options).clone(), connections, deadline)))
            }
        }
    }

    /// Opens the next connections as these settings say: the same database, by another password.
    pub(crate) fn renew(&self, database: &Database) {
        match (self, &database.0) {
            #[cfg(feature = "postgres")]
            (Self::Postgres(store), DatabaseTarget::Postgres { options, .. }) => {
                store.renew((**options).clone());
            }
            #[cfg(feature = "sqlite")]
            (Self::Sqlite(_), _) => {}
            #[cfg(all(feature = "postgres", feature = "sqlite"))]
            (Self::Postgres(_), DatabaseTarget::Sqlite { .. }) => {}
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

    /// It for those who answer.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.admin()
    }

    /// It for those who administer it.
    #[must_use]
    pub fn admin(&self) -> Arc<dyn AdminStore> {
        shared!(self)
    }

    /// Its clients.
    #[must_use]
    pub fn clients(&self) -> Arc<dyn ClientStore> {
        shared!(self)
    }

    /// Its rollout.
    #[must_use]
    pub fn rollouts(&self) -> Arc<dyn RolloutStore> {
        shared!(self)
    }

    /// The labels of its tenants.
    #[must_use]
    pub fn tenants(&self) -> Arc<dyn TenantStore> {
        shared!(self)
    }

    /// Its users.
    #[must_use]
    pub fn users(&self) -> Arc<dyn UserStore> {
        shared!(self)
    }

    /// What people who sign in take.
    #[cfg(feature = "server")]
    pub(crate) fn people(&self) -> Arc<dyn PeopleRows> {
        shared!(self)
    }

    /// Its change log.
    #[must_use]
    pub fn change_log(&self) -> Arc<dyn ChangeLog> {
        shared!(self)
    }

    /// Its audit.
    #[must_use]
    pub fn audit(&self) -> Arc<dyn AuditLog> {
        shared!(self)
    }

    /// What clients of the API read and edit.
    #[cfg(feature = "server")]
    pub(crate) fn edits(&self) -> Arc<dyn EditStore> {
        shared!(self)
    }

    /// The rows of its nodes.
    pub(crate) fn node_rows(&self) -> Arc<dyn NodeRows> {
        shared!(self)
    }

    /// The runs of its rollouts.
    pub(crate) fn run_rows(&self) -> Arc<dyn RunRows> {
        shared!(self)
    }

    /// The keys as it knows them.
    pub(crate) fn key_rows(&self) -> Arc<dyn KeyRows> {
        shared!(self)
    }

    /// Who turns the keys by schedule.
    pub(crate) fn key_turn_rows(&self) -> Arc<dyn KeyTurnRows> {
        shared!(self)
    }

    /// The pairs of its configs.
    pub(crate) fn pair_rows(&self) -> Arc<dyn PairRows> {
        shared!(self)
    }

    /// The ring by what the database says of keys at present, with the data keys that it opens; as it is,
    /// where that says nothing of them.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn ruled(&self, ring: &KeyRing) -> Result<KeyRing, StoreError> {
        let book = self.key_rows().key_book().await?;
        Ok(book.map_or_else(|| ring.ruled(None), |book| book.ring(ring)))
    }

    /// The rows of batches.
    #[cfg(all(feature = "dispatch", feature = "server"))]
    pub(crate) fn batch_rows(&self) -> Arc<dyn BatchRows> {
        shared!(self)
    }

    /// The rows of calls.
    #[cfg(all(feature = "dispatch", feature = "server"))]
    pub(crate) fn call_rows(&self) -> Arc<dyn CallRows> {
        shared!(self)
    }

    /// Writes the rows of nodes that have no connection of their own, told by them.
    #[cfg(feature = "relay")]
    pub(crate) async fn write_told_nodes(&self, rows: &str) -> Result<u64, StoreError> {
        match self {
            Self::Postgres(store) => store.write_told_nodes(rows).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(0),
        }
    }

    /// Programs that are connected as nodes are and have no row, as far as the database knows of
    /// sessions.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub(crate) async fn unlisted_nodes(&self) -> Result<Vec<UnlistedNode>, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.unlisted_nodes().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// Who may create beside its tables, as far as the database knows of such rights.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub async fn creators(&self) -> Result<Option<Creators>, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.creators().await.map(Some),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// What of its tables is not as it must be, which only adopted ones can be.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub async fn misfits(&self) -> Result<Vec<Misfit>, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.misfits().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// How its tables look to the role that is connected. `None`: this kind of database has no roles.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub async fn inspect(&self) -> Result<Option<Inspection>, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.inspect().await.map(Some),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// How many rows of the change log are of transactions that are yet to come, which a restore from
    /// another cluster brings.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub async fn future_changes(&self) -> Result<u64, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.future_changes().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Ok(0),
        }
    }

    /// Tries edits of both tables in transactions that are rolled back, and says which of them the
    /// change log has.
    ///
    /// # Errors
    ///
    /// [`StoreError`] where nothing could be tried.
    pub async fn try_edits(&self) -> Result<Vec<Trial>, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.try_edits().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.try_edits().await,
        }
    }

    /// The statements that grant a service and an editor what they need. `None`: this kind of database
    /// has no roles.
    #[must_use]
    pub fn grants(&self, grants: &Grants) -> Option<String> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Some(store.grants(grants)),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                let _ = grants;
                None
            }
        }
    }

    /// Runs those statements. `false`: this kind of database has no roles.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; then nothing is changed, or the role may not grant all of it.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub async fn grant(&self, grants: &Grants) -> Result<bool, MigrateError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.grant(grants).await.map(|()| true),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                let _ = grants;
                Ok(false)
            }
        }
    }

    /// Has edits ring with NOTIFY, or not. `false`: this kind of database has no such thing.
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; then nothing is changed.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "nothing of SQLite is asked")
    )]
    pub async fn notify(&self, on: bool) -> Result<bool, MigrateError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.notify(on).await.map(|()| true),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                let _ = on;
                Ok(false)
            }
        }
    }

    /// What has been committed since a position of the change feed, and where the log was read to. `None`:
    /// the log does not reach back to that, or it is too much to go through.
    #[cfg(feature = "server")]
    pub(crate) async fn changes_since(
        &self,
        position: &str,
    ) -> Result<Option<(Vec<LoggedChange>, String)>, StoreError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.changes_since(position).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => {
                let Ok(seq) = position.parse() else { return Ok(None) };
                let found = store.changes_after(seq).await?;
                Ok(found.map(|changes| {
                    let newest = changes.last().map_or(seq, |last| last.seq);
                    (changes, newest.to_string())
                }))
            }
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
