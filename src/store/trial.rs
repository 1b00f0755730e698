//! Trial edits: insert, change and remove a row in a transaction that is rolled back, to see
//! whether each edit arrives in the change log.
//!
//! **Invariant:** nothing of a trial stays, no listener hears of it, and it waits for no lock for
//! long.

use std::time::Duration;

use uuid::Uuid;

use super::StoreError;
use super::access::{CONFIGS, NUMBERS};
use super::statement::{Statement, Templates};

/// What became of one edit.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trial {
    /// The edit: `insert`, `update`, `delete`; or `truncate`, which the catalogue tells of.
    pub operation: &'static str,
    /// Of which table.
    pub table: &'static str,
    /// What was seen. An error ends the trial of this table.
    pub seen: Result<Seen, StoreError>,
}

/// What was seen of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// The edit is in the log.
    Logged,
    /// It is not.
    NotLogged,
    /// The edit was taken, and changed no row.
    NothingChanged,
    /// It cannot be told: this role may not read the log, and the server counts nothing.
    Unknown,
}

/// The three edits of a row of one table.
pub(super) struct Probe {
    pub(super) table: &'static str,
    /// What the log calls such a row.
    pub(super) entity: &'static str,
    pub(super) edits: [(&'static str, Statement); 3],
    /// The id of the row.
    pub(super) id: Uuid,
    /// What the log knows it by: the config, or the tenant.
    pub(super) key: Uuid,
}

impl Probe {
    /// A config and a number that nobody has: random ids, a country code that no country has, and a
    /// server that cannot be.
    pub(super) fn both(templates: &Templates) -> [Self; 2] {
        let statement = |text| templates.statement("trial", text);
        let edits = |insert, update, delete| {
            [
                ("insert", statement(insert)),
                ("update", statement(update)),
                ("delete", statement(delete)),
            ]
        };
        let [config, number, tenant] = [(); 3].map(|()| Uuid::new_v4());
        [
            Self {
                table: CONFIGS,
                entity: "config",
                edits: edits(INSERT_CONFIG, UPDATE_CONFIG, DELETE_CONFIG),
                id: config,
                key: config,
            },
            Self {
                table: NUMBERS,
                entity: "number",
                edits: edits(INSERT_NUMBER, UPDATE_NUMBER, DELETE_NUMBER),
                id: number,
                key: tenant,
            },
        ]
    }

    /// The name of a config, which is unique.
    pub(super) fn name(&self) -> String {
        format!("trunkline doctor {}", self.id)
    }
}

/// How long an edit waits for a lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

const INSERT_CONFIG: &str = "
    insert into {schema}.voice_agent_livekit
        (id, name, livekit_url, livekit_api_key, livekit_api_secret)
    values ($1, $2, 'wss://doctor.invalid', 'doctor', 'doctor')";
const UPDATE_CONFIG: &str =
    "update {schema}.voice_agent_livekit set trunk_id = 'doctor' where id = $1";
const DELETE_CONFIG: &str = "delete from {schema}.voice_agent_livekit where id = $1";
const INSERT_NUMBER: &str = "
    insert into {schema}.voice_agent_numbers (id, tenant_id, country_code, base_number, rules)
    values ($1, $2, '+999', 1, '{}')";
const UPDATE_NUMBER: &str =
    "update {schema}.voice_agent_numbers set provider = 'doctor' where id = $1";
const DELETE_NUMBER: &str = "delete from {schema}.voice_agent_numbers where id = $1";
