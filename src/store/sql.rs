//! SQL stores: the three traits of a store, implemented once for both databases.
//!
//! Placeholders, `returning`, UUIDs, JSON and time stamps mean the same on both through sqlx. What
//! differs (casts to a UUID, editing JSON, lists) is told by the [`Dialect`]. Columns that an
//! adopted table may leave null are read as empty text; what empty text means is decided where rows
//! are used.

mod admin;
mod answering;
mod change_log;
mod read;

#[cfg(feature = "postgres")]
pub(super) use self::change_log::read_change;

use self::admin::Administering;
use self::answering::Answering;
use self::change_log::{CHANGE_COLUMNS, Logging};
use super::pool::Lanes;
use super::session::Session;
use super::statement::Templates;

/// A store whose tables are in a database.
pub(super) trait SqlStore: Send + Sync + 'static {
    /// Its connections.
    type Session: Session;

    /// Where they wait.
    fn lanes(&self) -> &Lanes<Self::Session>;

    /// What it asks.
    fn statements(&self) -> &Statements;
}

/// What only one kind of database understands: templates, and parts of them.
pub(super) struct Dialect {
    /// Parts of templates that both have and write differently.
    pub(super) parts: &'static [(&'static str, &'static str)],
    pub(super) route: &'static str,
    pub(super) routes: &'static str,
    pub(super) assign: &'static str,
    pub(super) unassign: &'static str,
    pub(super) prune_changes: &'static str,
}

impl Dialect {
    /// What templates in this dialect are filled in with, `{schema}` being these.
    pub(super) fn templates(&self, schema: &[(&'static str, &str)]) -> Templates {
        Templates::new(PARTS.iter().chain(self.parts).chain(schema).copied())
    }
}

/// Every statement of a store.
pub(super) struct Statements {
    answering: Answering,
    administering: Administering,
    logging: Logging,
}

impl Statements {
    /// Fills in the templates.
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        Self {
            answering: Answering::new(templates, dialect),
            administering: Administering::new(templates, dialect),
            logging: Logging::new(templates, dialect),
        }
    }
}

/// Parts of templates, the same in both dialects.
const PARTS: &[(&str, &str)] = &[
    (
        "{config_columns}",
        "{credential_columns}, description,
        case when created_at between '1900-01-01' and '9999-01-01' then created_at end as created_at,
        case when updated_at between '1900-01-01' and '9999-01-01' then updated_at end as updated_at",
    ),
    (
        "{credential_columns}",
        "c.id, coalesce(c.name, '') as name, coalesce(c.livekit_url, '') as url,
        coalesce(c.livekit_api_key, '') as api_key, coalesce(c.livekit_api_secret, '') as api_secret,
        c.trunk_id, c.worker_name",
    ),
    (
        "{number_columns}",
        "id, tenant_id, {digits} as digits, provider, cast(rules as text) as rules",
    ),
    ("{new_number_columns}", "tenant_id, country_code, base_number, provider, rules"),
    ("{this_number}", "{digits} = $1 and tenant_id = $2"),
    ("{digits}", "ltrim(country_code, '+0 ') || cast(base_number as text)"),
    ("{change_columns}", CHANGE_COLUMNS),
];
