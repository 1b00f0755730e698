//! Rights on the tables: what a service and an editor need, and what a role has.

/// What a role of the database is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Resolves, and hears changes.
    Service,
    /// Edits configs, numbers, labels of tenants and the rollout. Not clients: who writes those lets himself in.
    Editor,
    /// Is listed among the nodes. A service without it answers as well.
    Node,
    /// Edits for clients of the API, beside what a service does.
    EditingService,
    /// Places calls for clients of the API, beside what a service does.
    CallingService,
    /// Signs people in, and manages users and clients for admins, beside what a service does.
    People,
    /// Reads and seals the audit. Beside a service, or by itself.
    Sealer,
    /// Turns the encryption keys for admins, beside what a service does.
    KeyKeeper,
}

impl Access {
    /// The privileges that this takes, and on which tables. LISTEN takes none, and the triggers write
    /// the change log as their owner.
    pub(super) fn wanted(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Service => &[(
                "select",
                &[CONFIGS, PAIRS, KEYS, NUMBERS, CLIENTS, ROLLOUT, RUNS, TENANTS, CHANGES, BOOK],
            )],
            Self::Editor => &[
                ("select", &[CONFIGS, PAIRS, KEYS, NUMBERS, ROLLOUT, RUNS, TENANTS, BOOK]),
                ("insert", &[CONFIGS, PAIRS, NUMBERS, ROLLOUT, RUNS, TENANTS]),
                ("update", &[CONFIGS, PAIRS, NUMBERS, ROLLOUT, RUNS, TENANTS]),
                ("delete", &[CONFIGS, PAIRS, NUMBERS, TENANTS]),
            ],
            Self::CallingService => {
                &[("select", CALLS), ("insert", CALLS), ("update", CALLS), ("delete", CALLS)]
            }
            Self::People => &[
                ("select", PEOPLE),
                ("insert", PEOPLE_AND_CLIENTS),
                ("update", PEOPLE_AND_CLIENTS),
                ("delete", PEOPLE_AND_CLIENTS),
            ],
            Self::KeyKeeper => &[
                ("select", &[KEY_STATE, KNOWN_KEYS, KEYS, KEY_ROTATION]),
                ("update", &[CONFIGS, PAIRS, KEY_STATE, KNOWN_KEYS, KEYS, KEY_ROTATION]),
                ("insert", &[KNOWN_KEYS, KEYS]),
                ("delete", &[KEYS]),
            ],
            Self::Sealer => &[("select", AUDIT), ("insert", &[CHAIN])],
            Self::EditingService => &[
                ("insert", &[CONFIGS, PAIRS, NUMBERS, ROLLOUT, RUNS, TENANTS, IDEMPOTENCY]),
                ("update", &[CONFIGS, PAIRS, NUMBERS, ROLLOUT, RUNS, TENANTS]),
                ("delete", &[CONFIGS, PAIRS, NUMBERS, TENANTS, IDEMPOTENCY]),
                ("select", &[IDEMPOTENCY]),
            ],
            Self::Node => {
                &[("select", NODES), ("insert", NODES), ("update", NODES), ("delete", NODES)]
            }
        }
    }
}

/// Roles, and what they are to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// The role of the service.
    pub service: String,
    /// The role of those who edit.
    pub editor: String,
    /// Whether the service is to prune the change log, too.
    pub prune: bool,
    /// Whether the service is to edit configs and numbers for clients of the API, too.
    pub edit: bool,
    /// Whether the service is to place calls for clients of the API, too.
    pub calls: bool,
    /// Whether the service is to sign people in, too, and to manage users and clients for admins.
    pub people: bool,
    /// Whether the service is to read and seal the audit, too; and with `prune`, to prune it.
    pub audit: bool,
    /// Whether the service is to turn the encryption keys for admins, too.
    pub keys: bool,
}

/// How the tables look to the role that asks, by the catalogue of Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The role, as SQL writes it.
    pub role: String,
    /// Whether the connection is encrypted. `None`: a pooler stands before the database.
    pub encrypted: Option<bool>,
    /// Tables that row security hides rows of from this role.
    pub hidden: Vec<String>,
    /// Tables and functions of triggers, each with its owner as SQL writes it.
    pub owners: Vec<(String, String)>,
    /// Whether the owner of the triggers' function may do what it does; if not, edits are refused.
    pub logs: bool,
    /// The schema, as SQL writes it.
    pub(super) schema: String,
    /// Tables, `schema` for the schema itself, and what the role may do with them.
    pub(super) rights: Vec<Right>,
}

/// A privilege that a role needs and does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingGrant {
    /// Which one.
    pub privilege: &'static str,
    /// On what, as SQL writes it.
    pub on: String,
    /// Who, as SQL writes it.
    pub role: String,
}

impl MissingGrant {
    /// The statement that grants it.
    #[must_use]
    pub fn grant(&self) -> String {
        let Self { privilege, on, role } = self;
        format!("grant {privilege} on {on} to {role}")
    }
}

/// Whether a privilege is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) place: String,
    pub(super) privilege: String,
    pub(super) held: bool,
}

impl Inspection {
    /// What the role lacks for this. Tables that are not there are left out.
    #[must_use]
    pub fn lacks(&self, access: Access) -> Vec<MissingGrant> {
        let Self { role, schema, .. } = self;
        let lack = |privilege, on: String| MissingGrant { privilege, on, role: role.clone() };
        let lacks = |place: &str, privilege: &str| {
            let mut rights = self.rights.iter();
            rights.any(|right| right.place == place && right.privilege == privilege && !right.held)
        };
        let usage = lacks(SCHEMA, "usage").then(|| lack("usage", format!("schema {schema}")));
        let tables = access.wanted().iter().filter_map(|(privilege, tables)| {
            let tables: Vec<_> = tables
                .iter()
                .filter(|table| lacks(table, privilege))
                .map(|table| format!("{schema}.{table}"))
                .collect();
            (!tables.is_empty()).then(|| lack(privilege, tables.join(", ")))
        });
        usage.into_iter().chain(tables).collect()
    }

    /// Whether the role may do this with one of our tables.
    #[must_use]
    pub fn may(&self, privilege: &str, table: &str) -> bool {
        let mut rights = self.rights.iter();
        rights.any(|right| right.place == table && right.privilege == privilege && right.held)
    }
}

pub(super) const SCHEMA: &str = "schema";
pub(super) const CONFIGS: &str = "voice_agent_livekit";
const PAIRS: &str = "trunkline_pairs";
pub(super) const NUMBERS: &str = "voice_agent_numbers";
pub(super) const CLIENTS: &str = "trunkline_clients";
const ROLLOUT: &str = "trunkline_rollout";
const RUNS: &str = "trunkline_rollout_runs";
const KEY_STATE: &str = "trunkline_key_state";
const KNOWN_KEYS: &str = "trunkline_known_keys";
const KEYS: &str = "trunkline_keys";
const KEY_ROTATION: &str = "trunkline_key_rotation";
const TENANTS: &str = "trunkline_tenants";
const IDEMPOTENCY: &str = "trunkline_idempotency";
const AUDIT: &[&str] = &["trunkline_audit", CHAIN];
const CHAIN: &str = "trunkline_audit_chain";
const PEOPLE: &[&str] = &["trunkline_users", "trunkline_sessions"];
const PEOPLE_AND_CLIENTS: &[&str] = &["trunkline_users", "trunkline_sessions", CLIENTS];
const CALLS: &[&str] = &["trunkline_calls", "trunkline_batches", "trunkline_batch_tenants"];
pub(super) const CHANGES: &str = "voice_agent_changes";
const NODES: &[&str] = &["trunkline_nodes"];
pub(super) const BOOK: &str = "trunkline_migrations";
