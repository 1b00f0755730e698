//! What the API reads and edits: pages, single rows by id, and edits that are whole or not at all.
//!
//! Every edit is one transaction, with the row locked that it looks at first, so what it decides by is
//! still so when it is written.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{Config, ConfigEdit, NewConfig, NewNumber, Number, NumberEdit, StoreError};
use crate::access::USER_PREFIX;
use crate::number::{ConfigId, TenantId};
use crate::rollout::Rollout;

/// Whose numbers somebody may see, and by them which configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    /// Of which tenants. `None`: of all.
    pub(crate) tenants: Option<Vec<TenantId>>,
    /// With which first digits. None: with any.
    pub(crate) prefixes: Vec<String>,
}

impl Whose {
    /// Everybody's.
    pub(crate) const ALL: Self = Self { tenants: None, prefixes: Vec::new() };
}

/// On whose behalf an edit is made: what its transaction claims, in the change log and in the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behalf {
    /// The client, by id and by name.
    pub(crate) client: Uuid,
    pub(crate) client_name: String,
    /// The id of the request.
    pub(crate) request: String,
    /// Where it came from: an address, or a user of the machine.
    pub(crate) from: String,
}

impl Behalf {
    /// What a transaction claims.
    pub(crate) fn claims(&self) -> Json {
        let Self { client, client_name, request, from } = self;
        let actor = match client_name.strip_prefix(USER_PREFIX) {
            Some(_) => client_name.clone(),
            None => format!("client {client_name}"),
        };
        json!({
            "actor": actor,
            "client": client,
            "client_name": client_name,
            "request": request,
            "from": from,
        })
    }
}

/// Which numbers are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberFilter {
    /// Those whose rules name this config.
    pub(crate) config: Option<ConfigId>,
    /// Those with these first digits.
    pub(crate) prefix: Option<String>,
    /// Those whose rules name a config, or those whose rules name none.
    pub(crate) assigned: Option<bool>,
    /// Those whose rules name a config that is so.
    pub(crate) named: Option<NamedConfig>,
    /// In which order they come.
    pub(crate) sort: NumberSort,
}

/// How a config is that rules name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedConfig {
    /// It is there, and places calls.
    InUse,
    Disabled,
    /// There is none of that id.
    Gone,
}

/// In which order numbers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum NumberSort {
    /// By digits.
    #[default]
    Number,
    /// By digits, the last ones first.
    NumberDown,
    /// By the ids of tenants, those of one by digits.
    Tenant,
}

impl NumberSort {
    /// The place of a number in this order, among those that [`number_page`](EditStore::number_page) is
    /// asked to come after.
    pub(crate) fn place(self, number: &Number) -> String {
        match self {
            Self::Number | Self::NumberDown => number.digits.clone(),
            Self::Tenant => format!("{}{}", number.tenant.0.simple(), number.digits),
        }
    }
}

/// Numbers that are to have another config: a config, or none, and those that get it.
pub(crate) type Assignment = (Option<ConfigId>, Vec<Uuid>);

/// Which configs are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFilter {
    /// Those with this in their name, in capital or small letters.
    pub(crate) search: Option<String>,
    /// Those that are disabled, or those that are not.
    pub(crate) disabled: Option<bool>,
    /// In which order they come.
    pub(crate) sort: ConfigSort,
}

/// In which order configs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ConfigSort {
    /// By name.
    #[default]
    Name,
    /// By name, the last ones first.
    NameDown,
    /// Those that were changed last first.
    Changed,
}

impl ConfigSort {
    /// The place of a config in this order, among those that [`config_page`](EditStore::config_page) is
    /// asked to come after.
    pub(crate) fn place(self, config: &Config) -> String {
        match self {
            Self::Name | Self::NameDown => config.name.clone(),
            Self::Changed => {
                config.updated_at.map_or(NEVER, |at| at.timestamp_millis()).to_string()
            }
        }
    }
}

/// When a config was changed of which nobody knows that, in milliseconds.
const NEVER: i64 = -9_000_000_000_000_000;

/// What was written: a change, as far as the log has one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its sequence number.
    pub(crate) seq: i64,
    /// What nodes have applied or not: a transaction of Postgres, a place in the log of SQLite.
    pub(crate) place: i64,
}

/// A row of the change log, as people read it.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRow {
    pub(crate) seq: i64,
    pub(crate) at: Option<DateTime<Utc>>,
    /// For whom the session said that it acts; else who logged in.
    pub(crate) actor: String,
    /// Who logged in. `None`: SQLite has no logins, and older rows do not say.
    pub(crate) login: Option<String>,
    pub(crate) entity: String,
    pub(crate) operation: String,
    /// The names of the columns that changed, or of the table, with commas between them.
    pub(crate) fields: String,
    pub(crate) config: Option<Uuid>,
    pub(crate) tenant: Option<Uuid>,
    pub(crate) digits: Option<String>,
}

/// An `Idempotency-Key`, and what is answered to whoever brings it again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'c> {
    /// Whose it is.
    pub(crate) client: Uuid,
    /// The key.
    pub(crate) key: &'c str,
    /// A hash of what was asked.
    pub(crate) asked: &'c str,
    /// What is answered, as JSON.
    pub(crate) answer: &'c str,
}

/// What was answered to a key before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EarlierAnswer {
    pub(crate) asked: String,
    pub(crate) answer: String,
}

/// What came of an edit. Only one that is done has changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edited {
    /// It is committed.
    Done(Option<Written>),
    /// What was to be edited is not there, or not all of it.
    Missing,
    /// The config that a number was to have is not there, or not to be seen.
    ConfigMissing,
    /// So many numbers use the config.
    InUse(u64),
    /// Whoever was asked with the row before him refused.
    Declined,
    /// The key has been used.
    Earlier(EarlierAnswer),
}

/// Decides by a row, while nobody else may change it.
pub(crate) type Deciding<'d, R, T> = &'d mut (dyn FnMut(&R) -> T + Send);

/// The rows that clients of the API edit.
#[async_trait]
pub(crate) trait EditStore: Send + Sync + 'static {
    /// So many numbers, in the order of the filter and by id, after the place of one of them.
    async fn number_page(
        &self,
        whose: &Whose,
        filter: &NumberFilter,
        after: Option<(&str, Uuid)>,
        most: usize,
    ) -> Result<Vec<Number>, StoreError>;

    /// So many of the numbers with one of these digits, whoever has them.
    async fn numbers_of(
        &self,
        whose: &Whose,
        digits: &[String],
        most: usize,
    ) -> Result<Vec<Number>, StoreError>;

    /// Those of these numbers that there are.
    async fn numbers_with(&self, whose: &Whose, ids: &[Uuid]) -> Result<Vec<Number>, StoreError>;

    /// So many configs, in the order of the filter and by id, after the place of one of them.
    async fn config_page(
        &self,
        whose: &Whose,
        filter: &ConfigFilter,
        after: Option<(&str, Uuid)>,
        most: usize,
    ) -> Result<Vec<Config>, StoreError>;

    /// One config, if it may be seen.
    async fn config_seen(&self, whose: &Whose, id: ConfigId) -> Result<Option<Config>, StoreError>;

    /// Adds a config with this id.
    async fn insert_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        config: &NewConfig,
        claim: Option<Claim<'_>>,
    ) -> Result<Edited, StoreError>;

    /// Changes a config as `decide` says with the row before it; `None` leaves it as it is.
    async fn change_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        decide: Deciding<'_, Config, Option<ConfigEdit>>,
    ) -> Result<Edited, StoreError>;

    /// Disables a config or enables it, if `decide` agrees.
    async fn switch_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        is_disabled: bool,
        decide: Deciding<'_, Config, bool>,
    ) -> Result<Edited, StoreError>;

    /// Removes a config that no number uses, if `decide` agrees.
    async fn drop_config(
        &self,
        behalf: &Behalf,
        id: ConfigId,
        decide: Deciding<'_, Config, bool>,
    ) -> Result<Edited, StoreError>;

    /// Adds a number with this id. The config that its rules name must be one that `whose` sees.
    async fn insert_number(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        id: Uuid,
        number: &NewNumber,
        claim: Option<Claim<'_>>,
    ) -> Result<Edited, StoreError>;

    /// Changes a number to what `decide` makes of it, as far as `edit` says. A config that its rules did
    /// not name before must be one that `whose` sees.
    async fn change_number(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        id: Uuid,
        edit: &NumberEdit,
        decide: Deciding<'_, Number, Option<Number>>,
    ) -> Result<Edited, StoreError>;

    /// Removes a number, if `decide` agrees.
    async fn drop_number(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        id: Uuid,
        decide: Deciding<'_, Number, bool>,
    ) -> Result<Edited, StoreError>;

    /// Makes configs that `whose` sees answer for all of these numbers, or none, if `decide` agrees with
    /// those that there are, as they were. The other rules stay as they are. Each number is named once.
    async fn assign_numbers(
        &self,
        behalf: &Behalf,
        whose: &Whose,
        assignments: &[Assignment],
        decide: Deciding<'_, Vec<Number>, bool>,
    ) -> Result<Edited, StoreError>;

    /// Changes the rollout to what `decide` makes of it; `None` leaves it as it is. Declined, too: somebody
    /// else was quicker.
    async fn change_rollout(
        &self,
        behalf: &Behalf,
        decide: Deciding<'_, Rollout, Option<Rollout>>,
    ) -> Result<Edited, StoreError>;

    /// Gives a tenant this label, or takes the one away that it has. No change, so nobody waits for it.
    async fn label_tenant_for(
        &self,
        behalf: &Behalf,
        id: TenantId,
        label: Option<&str>,
    ) -> Result<Edited, StoreError>;

    /// So many changes, the newest first, before this place in the log.
    async fn change_page(
        &self,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<ChangeRow>, StoreError>;

    /// The newest change of the log.
    async fn newest_written(&self) -> Result<Option<Written>, StoreError>;

    /// Forgets the keys of more than a day ago, and says how many.
    async fn forget_answers(&self) -> Result<u64, StoreError>;
}
