//! SQL stores: the traits of a store, implemented once for both databases.
//!
//! Placeholders, `returning`, UUIDs, JSON and time stamps mean the same on both through sqlx. What
//! differs (casts to a UUID, editing JSON, lists, times) is told by the [`Dialect`]. Columns that an
//! adopted table may leave null are read as empty text; what empty text means is decided where rows
//! are used.

mod admin;
mod answering;
mod asked;
mod audit;
#[cfg(all(feature = "dispatch", feature = "server"))]
mod batches;
#[cfg(all(feature = "dispatch", feature = "server"))]
mod calls;
mod change_log;
mod clients;
#[cfg(feature = "server")]
mod edits;
mod keys;
mod nodes;
mod pairs;
mod people;
mod read;
mod rollout;
mod runs;
mod tenants;
mod turns;

#[cfg(feature = "postgres")]
pub(super) use self::change_log::read_change;

use self::admin::Administering;
use self::answering::Answering;
use self::audit::{AUDIT_PARTS, Auditing};
#[cfg(all(feature = "dispatch", feature = "server"))]
use self::batches::Batches;
#[cfg(all(feature = "dispatch", feature = "server"))]
use self::calls::Calls;
use self::change_log::{CHANGE_COLUMNS, Logging};
use self::clients::Clients;
#[cfg(feature = "server")]
use self::edits::{EDIT_PARTS, EditingStatements};
use self::keys::Keys;
use self::nodes::{COUNTS, Listing, NODE_COLUMNS};
use self::pairs::Pairing;
use self::people::PeopleStatements;
use self::rollout::RollingOut;
use self::runs::{RUN_COLUMNS, Running};
use self::tenants::Labelling;
use self::turns::Turns;
use super::pool::Pool;
use super::session::Session;
use super::statement::Templates;

/// A store whose tables are in a database.
pub(super) trait SqlStore: Send + Sync + 'static {
    /// Its connections.
    type Session: Session;

    /// Where they wait.
    fn pool(&self) -> &Pool<Self::Session>;

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
    pub(super) nodes_and_change: &'static str,
    /// Says whether the lock of the audit was got, in the transaction that asks.
    pub(super) audit_lock: &'static str,
    /// Prunes the audit by itself, and says how many rows. `None`: the statements of both do.
    pub(super) prune_audit: Option<&'static str>,
    /// Which triggers of the audit are missing.
    pub(super) unaudited: &'static str,
    /// Says whether the database knows of keys (1), and has data keys that this role may not read (2) or may (3).
    pub(super) knows_keys: &'static str,
    /// Holds the row of the state of the keys for the transaction, and says its epoch.
    pub(super) hold_keys: &'static str,
    /// Seals many secrets again in one statement, and says of which rows.
    pub(super) reseal_all: &'static str,
    /// Says whether the database knows of pairs, and whether this role may read them.
    pub(super) knows_pairs: &'static str,
    /// The same of calls.
    pub(super) knows_calls: &'static str,
    /// Whether a transaction that does so marks itself, for the trigger that keeps update times.
    pub(super) marks_resealing: bool,
    /// Says on whose behalf a transaction edits, from JSON; and what is done about that at its end.
    pub(super) say_behalf: &'static str,
    pub(super) unsay_behalf: Option<&'static str>,
    #[cfg(feature = "server")]
    pub(super) own_written: &'static str,
    #[cfg(feature = "server")]
    pub(super) newest_written: &'static str,
}

impl Dialect {
    /// What templates in this dialect are filled in with, `{schema}` being these.
    pub(super) fn templates(&self, schema: &[(&'static str, &str)]) -> Templates {
        #[cfg(feature = "server")]
        let parts = EDIT_PARTS.iter().chain(AUDIT_PARTS).chain(PARTS);
        #[cfg(not(feature = "server"))]
        let parts = AUDIT_PARTS.iter().chain(PARTS);
        Templates::new(parts.chain(self.parts).chain(schema).copied())
    }
}

/// Every statement of a store.
pub(super) struct Statements {
    answering: Answering,
    administering: Administering,
    auditing: Auditing,
    logging: Logging,
    keys: Keys,
    turns: Turns,
    listing: Listing,
    pairing: Pairing,
    clients: Clients,
    rolling_out: RollingOut,
    running: Running,
    labelling: Labelling,
    people: PeopleStatements,
    #[cfg(feature = "server")]
    editing: EditingStatements,
    #[cfg(all(feature = "dispatch", feature = "server"))]
    batches: Batches,
    #[cfg(all(feature = "dispatch", feature = "server"))]
    calls: Calls,
}

impl Statements {
    /// Fills in the templates.
    pub(super) fn new(templates: &Templates, dialect: &Dialect) -> Self {
        Self {
            answering: Answering::new(templates, dialect),
            administering: Administering::new(templates, dialect),
            auditing: Auditing::new(templates, dialect),
            logging: Logging::new(templates, dialect),
            keys: Keys::new(templates, dialect),
            turns: Turns::new(templates),
            listing: Listing::new(templates, dialect),
            pairing: Pairing::new(templates, dialect),
            clients: Clients::new(templates),
            rolling_out: RollingOut::new(templates),
            running: Running::new(templates),
            labelling: Labelling::new(templates),
            people: PeopleStatements::new(templates),
            #[cfg(feature = "server")]
            editing: EditingStatements::new(templates, dialect),
            #[cfg(all(feature = "dispatch", feature = "server"))]
            batches: Batches::new(templates),
            #[cfg(all(feature = "dispatch", feature = "server"))]
            calls: Calls::new(templates),
        }
    }
}

/// Parts of templates, the same in both dialects. What a row may hold of any length is bounded before
/// it leaves the database, so that one row costs nobody else an answer. A text beyond that is read as
/// none, rules beyond it as a text that are no rules.
const PARTS: &[(&str, &str)] = &[
    (
        "{config_columns}",
        "{credential_columns},
        case when octet_length(c.description) <= 65536 then c.description end as description,
        case when created_at between '1900-01-01' and '9999-01-01' then created_at end as created_at,
        case when updated_at between '1900-01-01' and '9999-01-01' then updated_at end as updated_at",
    ),
    (
        "{credential_columns}",
        "c.id, case when octet_length(c.name) <= 4096 then c.name else '' end as name,
        case when octet_length(c.livekit_url) <= 4096 then c.livekit_url else '' end as url,
        case when octet_length(c.livekit_api_key) <= 4096 then c.livekit_api_key else '' end as api_key,
        {sealed} as api_secret,
        case when octet_length(c.trunk_id) <= 4096 then c.trunk_id end as trunk_id,
        case when octet_length(c.worker_name) <= 4096 then c.worker_name end as worker_name,
        {disabled_at} as disabled_at",
    ),
    // The table has this column since step 9. Before that the name is one of the query outside, where it
    // is null: a program that is newer than the database goes on answering.
    (
        "{disabled_at}",
        "(select (
            select case
                when trunkline_disabled_at between '1900-01-01' and '9999-01-01'
                then trunkline_disabled_at
                when trunkline_disabled_at is not null then '1970-01-01T00:00:00Z'
            end
            from {schema}.voice_agent_livekit as own where own.id = c.id
        ) from (select cast(null as timestamptz) as trunkline_disabled_at) as absent)",
    ),
    (
        "{sealed}",
        "case when octet_length(c.livekit_api_secret) <= 65536 then c.livekit_api_secret else '' end",
    ),
    (
        "{number_columns}",
        "n.id, n.tenant_id, substr({digits}, 1, 64) as digits, {rules_columns}",
    ),
    (
        "{rules_columns}",
        "case when octet_length(n.provider) <= 4096 then n.provider end as provider,
        case when octet_length(cast(n.rules as text)) <= 262144 then cast(n.rules as text)
            when n.rules is not null then '\"more than 256 KiB\"' end as rules",
    ),
    (
        "{pair_is_here}",
        "case when p.livekit_url is null or p.livekit_url = c.livekit_url then cast(1 as bigint)
            else cast(0 as bigint) end",
    ),
    ("{new_number_columns}", "tenant_id, country_code, base_number, provider, rules"),
    ("{this_number}", "{digits} = $1 and tenant_id = $2"),
    ("{digits}", "ltrim(country_code, '+0 ') || cast(base_number as text)"),
    ("{change_columns}", CHANGE_COLUMNS),
    ("{node_columns}", NODE_COLUMNS),
    ("{run_columns}", RUN_COLUMNS),
    ("{counts}", COUNTS),
];
