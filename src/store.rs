//! The database as the engine sees it: its traits, the rows they speak in, and how they can fail.
//!
//! No SQL here and no keys: a secret goes in as [`Sealed`] and comes out as the text
//! of its column, hidden. Absence is `None` or `false`, never an error.

mod access;
mod asking;
mod audit;
#[cfg(all(feature = "dispatch", feature = "server"))]
mod batches;
#[cfg(all(feature = "dispatch", feature = "server"))]
mod calls;
#[cfg(feature = "server")]
mod edits;
mod error;
#[cfg(feature = "postgres")]
mod hedged;
mod keys;
mod lendable;
#[cfg(feature = "postgres")]
mod lock_holder;
#[cfg(feature = "postgres")]
mod log_cursor;
mod metrics;
mod migrations;
mod nodes;
mod open;
mod pairs;
mod people;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod rows;
mod runs;
mod session;
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_file;
mod statement;
mod tenants;
mod transaction;
mod trial;
mod turns;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use secrecy::SecretString;
use uuid::Uuid;

pub use self::access::{Access, Grants, Inspection, MissingGrant};
pub use self::audit::{AuditEntry, AuditFilter, AuditLog, ChainLink, Seal};
#[cfg(all(feature = "dispatch", feature = "server"))]
pub(crate) use self::batches::{
    BatchProgress, BatchRow, BatchRows, BatchState, BatchesOf, Cancel, Hand, NewBatch,
};
#[cfg(all(feature = "dispatch", feature = "server"))]
pub(crate) use self::calls::{
    CallAttempt, CallFilter, CallLeft, CallLine, CallRow, CallRows, CallState, NewCall,
};
#[cfg(feature = "server")]
pub(crate) use self::edits::{
    Assignment, Behalf, ChangeRow, Claim, ConfigFilter, ConfigSort, EarlierAnswer, EditStore,
    Edited, NamedConfig, NumberFilter, NumberSort, Whose, Written,
};
pub(crate) use self::error::lost_connection;
pub use self::error::{StoreError, Taken};
pub use self::keys::{DataKey, DataKeyPlace, KeyBook, KeyPhase, KnownKey};
pub(crate) use self::keys::{KeyMoves, KeyRows, Resealed};
#[cfg(feature = "postgres")]
pub(crate) use self::log_cursor::{LogCursor, Look, Reach};
#[cfg(feature = "relay")]
pub(crate) use self::log_cursor::{News, Position};
pub use self::migrations::{MigrateError, MigrationStatus, Migrations};
pub(crate) use self::nodes::{ChangePlace, NodeCensus, NodeReport, NodeRows, NodeWritten};
pub use self::nodes::{Node, NodeState, UnlistedNode};
pub use self::open::OpenStore;
pub(crate) use self::pairs::OnBehalf;
pub use self::pairs::{KeptPair, PairAge, PairBook, PairPhase, ShownPair};
pub(crate) use self::pairs::{NewPair, PairMoves, PairRows, PairSlot, PairsChanged};
#[cfg(feature = "server")]
pub(crate) use self::people::{Attempt, ClientEdit, NewSession, PeopleRows, PersonRow, SessionRow};
pub use self::people::{NewUser, User, UserEdit, UserEdited, UserSession, UserStore};
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub use self::rows::{
    Client, Config, ConfigEdit, Creators, LoggedChange, MOST_CHANGES, Misfit, NewClient, NewConfig,
    NewNumber, Number, NumberEdit, Route,
};
pub(crate) use self::runs::{RunRows, RunWritten};
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::tenants::{Tenant, TenantStore};
pub use self::trial::{Seen, Trial};
pub(crate) use self::turns::KeyTurnRows;
pub use self::turns::KeyTurns;
use crate::access::TokenHash;
use crate::keyring::Sealed;
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::rollout::Rollout;

/// Where LiveKit configs and numbers are read: all that answering takes, and what an embedder with
/// a database of its own implements.
///
/// Every method is one statement, and ends within the store's deadline: [`StoreError::Timeout`]
/// then.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All that answers a cold resolve, in one statement: the number joined with its config.
    async fn route(&self, caller: Caller) -> Result<Option<Route>, StoreError>;

    /// The same for many, in their order. Where a store has no statement for that, each is asked
    /// for by itself.
    async fn routes(&self, callers: &[Caller]) -> Result<Vec<Option<Route>>, StoreError> {
        try_join_all(callers.iter().map(|&caller| self.route(caller))).await
    }

    /// One config.
    async fn config(&self, id: ConfigId) -> Result<Option<Config>, StoreError>;

    /// Every config, by name.
    async fn configs(&self) -> Result<Vec<Config>, StoreError>;

    /// The tenants that own a number; two at the most, since more are as ambiguous.
    async fn owners(&self, number: E164) -> Result<Vec<TenantId>, StoreError>;

    /// So many numbers of all tenants, in an order of the store's own: those that come after this
    /// one, or the first ones. A store that has no such order tells of none, and they are loaded
    /// when they are asked for.
    async fn numbers_after(
        &self,
        after: Option<&Number>,
        most: usize,
    ) -> Result<Vec<Number>, StoreError> {
        let _ = (after, most);
        Ok(Vec::new())
    }

    /// So many of the numbers that changed lately, as far as the change log tells; the last ones
    /// first.
    async fn changed_lately(&self, most: usize) -> Result<Vec<Caller>, StoreError> {
        let _ = most;
        Ok(Vec::new())
    }

    /// The pairs of configs that are pending or previous, and of use: of the server that their config has,
    /// and nobody else's. None, of a store that keeps none.
    async fn other_pairs(&self) -> Result<Vec<KeptPair>, StoreError> {
        Ok(Vec::new())
    }

    /// What is sealed of so many configs, in the order of their ids: those after this one, or the
    /// first ones.
    async fn sealed_secrets(
        &self,
        after: Option<ConfigId>,
        most: usize,
    ) -> Result<Vec<(ConfigId, SecretString)>, StoreError> {
        let configs = self.configs().await?.into_iter();
        let later = configs.filter(|config| after.is_none_or(|after| config.id > after));
        let mut sealed: Vec<_> = later.map(|config| (config.id, config.api_secret)).collect();
        sealed.sort_unstable_by_key(|&(id, _)| id);
        sealed.truncate(most);
        Ok(sealed)
    }
}

/// What people who administer a store do beside reading it.
///
/// Every method is one statement, or one transaction where it says so, and ends within the store's
/// deadline.
#[async_trait]
pub trait AdminStore: Store {
    /// Adds a LiveKit config and returns the id that the database made.
    async fn create_config(&self, config: &NewConfig) -> Result<ConfigId, StoreError>;

    /// One config, by its unique name.
    async fn config_named(&self, name: &str) -> Result<Option<Config>, StoreError>;

    /// Changes the fields that `edit` holds and no other. `false`: there is no such config, or its
    /// secret is not what it must be.
    async fn update_config(&self, id: ConfigId, edit: &ConfigEdit) -> Result<bool, StoreError>;

    /// Disables a config, so that its numbers fall back, or enables it again. `false`: there is no such
    /// config.
    async fn disable_config(&self, id: ConfigId, is_disabled: bool) -> Result<bool, StoreError>;

    /// Puts the same secret in its place, sealed anew. `false`: secret, URL or API key are not what
    /// was read any more, and nothing is changed.
    async fn reseal(&self, read: &Config, sealed: &Sealed) -> Result<bool, StoreError>;

    /// Removes a config, used or not. `false`: there is no such config.
    async fn delete_config(&self, id: ConfigId) -> Result<bool, StoreError>;

    /// How many numbers have rules that name this config.
    async fn config_users(&self, id: ConfigId) -> Result<u64, StoreError>;

    /// Adds a number and returns the id of its row.
    async fn add_number(&self, number: &NewNumber) -> Result<Uuid, StoreError>;

    /// Adds many numbers in one transaction: all of them, or none and the first conflict.
    async fn import(&self, numbers: &[NewNumber]) -> Result<u64, StoreError>;

    /// One number of a tenant.
    async fn number(&self, caller: Caller) -> Result<Option<Number>, StoreError>;

    /// The numbers of a tenant, or of all.
    async fn numbers(&self, tenant: Option<TenantId>) -> Result<Vec<Number>, StoreError>;

    /// Makes a config answer for a number, or none. The other rules stay as they are; rules that
    /// are no object are replaced. `false`: there is no such number.
    async fn assign(&self, caller: Caller, config: Option<ConfigId>) -> Result<bool, StoreError>;

    /// Removes a number. `false`: there is no such number.
    async fn remove_number(&self, caller: Caller) -> Result<bool, StoreError>;

    /// Removes so many of the numbers that have this provider and whose rules name this config, and says
    /// how many that were. Call it again until it was none: each time is a transaction.
    async fn remove_numbers_of(
        &self,
        config: ConfigId,
        provider: &str,
        most: u32,
    ) -> Result<u64, StoreError>;

    /// Tenants and numbers that an adopted table has more than once.
    async fn count_duplicate_numbers(&self) -> Result<u64, StoreError>;
}

/// The clients: programs that ask a daemon over HTTP. Each method is one statement.
#[async_trait]
pub trait ClientStore: Send + Sync + 'static {
    /// Every client, by name.
    async fn clients(&self) -> Result<Vec<Client>, StoreError>;

    /// Adds a client and returns the id that the database made.
    async fn create_client(
        &self,
        client: &NewClient,
        token: &TokenHash,
    ) -> Result<Uuid, StoreError>;

    /// Revokes a client for good. `false`: there is none of this name.
    async fn revoke_client(&self, name: &str) -> Result<bool, StoreError>;

    /// Gives a client another token; the one that it had ends with that. `false`: there is none of this
    /// name, or it is revoked.
    async fn rotate_client(&self, name: &str, token: &TokenHash) -> Result<bool, StoreError>;

    /// Removes a client. `false`: there is none of this name.
    async fn remove_client(&self, name: &str) -> Result<bool, StoreError>;
}

/// The rollout: one row that says whom the database answers. Each method is one statement.
#[async_trait]
pub trait RolloutStore: Send + Sync + 'static {
    /// What it says. `None`: nothing, so the database answers everybody.
    async fn rollout(&self) -> Result<Option<Rollout>, StoreError>;

    /// Replaces the row of this version, and counts it up; version 0 is no row. `false`: somebody has
    /// changed it meanwhile, and nothing is done.
    async fn set_rollout(&self, new: &Rollout) -> Result<bool, StoreError>;
}

/// The log of what was changed, which the database writes by itself.
#[async_trait]
pub trait ChangeLog: Send + Sync + 'static {
    /// The changes that come after this place in the log, oldest first. `None`: they cannot be
    /// told, because the log does not reach back to it or there are more than [`MOST_CHANGES`].
    async fn changes_after(&self, seq: i64) -> Result<Option<Vec<LoggedChange>>, StoreError>;

    /// The place of the newest change in the log; zero when there is none.
    async fn newest_change(&self) -> Result<i64, StoreError>;

    /// Forgets the changes that are older than this, and returns how many. A reader that has not
    /// come that far finds out.
    async fn prune_changes(&self, older_than: Duration) -> Result<u64, StoreError>;
}
