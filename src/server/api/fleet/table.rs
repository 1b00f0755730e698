//! The routes that tell of the fleet.

use crate::access::Scope;
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::page::{CURSOR_FIELD, LIMIT_FIELD, NEXT};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is told.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    Nodes,
    Keys,
    Settings,
    Changes,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/nodes",
        name: "listNodes",
        summary: "The processes that resolve from the database, as `trunkline nodes list` shows them.",
        scope: Some(Scope::Fleet),
        answered: &[
            required("nodes", Kind::List(NODE), "Those that are listed, by name."),
            required("unlisted", Kind::List(UNLISTED), "Sessions of nodes that have no row."),
        ],
        codes: READS,
        operation: Of::Fleet(Operation::Nodes),
        ..BARE
    },
    Route {
        path: "/v1/keys",
        name: "listKeys",
        summary: "The encryption keys of this node by their ids, and how many secrets each one opens.",
        scope: Some(Scope::Fleet),
        answered: &[
            required("keys", Kind::List(KEY), "The keys of its ring."),
            optional("unopenable", MANY, "How many secrets none of them opens."),
            optional(
                "sealing",
                Kind::Text,
                "The key that seals, by the database; null where it names none, and the first one does.",
            ),
            required("known", Kind::List(KNOWN), "The keys that the database knows."),
        ],
        codes: READS,
        operation: Of::Fleet(Operation::Keys),
        ..BARE
    },
    Route {
        path: "/v1/settings",
        name: "listSettings",
        summary: "The settings in force on this node, as `trunkline settings show` shows them: no secret.",
        scope: Some(Scope::Fleet),
        answered: &[required("settings", Kind::List(SETTING), "Each of them.")],
        codes: READS,
        operation: Of::Fleet(Operation::Settings),
        ..BARE
    },
    Route {
        path: "/v1/changes",
        name: "listChanges",
        summary: "What the change log holds, the newest first.",
        scope: Some(Scope::Fleet),
        query: &[LIMIT_FIELD, CURSOR_FIELD],
        answered: &[required("changes", Kind::List(CHANGE), "The changes of this page."), NEXT],
        codes: &[200, 400, 401, 403, 429, 503],
        operation: Of::Fleet(Operation::Changes),
        ..BARE
    },
];

const READS: &[u16] = &[200, 401, 403, 429, 503];
const MANY: Kind = Kind::Whole(0, i64::MAX.unsigned_abs());

const NODE: &[Field] = &[
    required("id", Kind::Id, "A random id, of this run of the process."),
    required("name", Kind::Text, "NODE_NAME."),
    required("host", Kind::Text, "The machine."),
    required("program", Kind::Text, "Which program it is."),
    required("version", Kind::Text, "The version of the library in it."),
    required("keys", Kind::TextList, "The ids of the keys of its ring; the first one seals."),
    required("settings", Kind::Text, "A fingerprint of the settings that all nodes must share."),
    required("hearing", Kind::Text, "By which way it learns of changes."),
    required("lease", Kind::Number, "LEASE, in seconds."),
    required("max_stale", Kind::Number, "MAX_STALE, in seconds."),
    optional("applied", Kind::Text, "What of the change log it has applied."),
    required("cached", MANY, "How many answers it has in memory."),
    optional("since", Kind::Time, "When it began."),
    required("age", Kind::Number, "How long ago its last sign of life was, in seconds."),
    required("state", Kind::Word(&["live", "silent"]), "What that says."),
];

const UNLISTED: &[Field] = &[
    required("name", Kind::Text, "The name in its application_name."),
    required("role", Kind::Text, "The role that it logged in as."),
    required("sessions", MANY, "How many sessions it has."),
];

const KEY: &[Field] = &[
    required("id", Kind::Text, "Eight hex digits, which do not reveal the key."),
    required("role", Kind::Word(&["first", "older"]), "first: it seals, wherever it stands."),
    optional(
        "configs",
        MANY,
        "How many secrets it opens; null while the database's configs are not used.",
    ),
];

const KNOWN: &[Field] = &[
    required("id", Kind::Text, "Eight hex digits."),
    required(
        "state",
        Kind::Word(&["staged", "sealing", "old", "refused", "retired"]),
        "What it is for: a key goes through these in this order.",
    ),
    optional("added_at", Kind::Time, "When the database came to know it."),
    optional("since", Kind::Time, "Since when it is in this state."),
    optional(
        "clean_since",
        Kind::Time,
        "Since when no pass over all secrets has found one under it.",
    ),
    optional("compromised_at", Kind::Time, "Since when it is known that others may have it."),
];

const SETTING: &[Field] = &[
    required("name", Kind::Text, "The name of its variable."),
    optional("value", Kind::Text, "Its value; (set) in place of a secret."),
    required("origin", Kind::Text, "environment, default, or the file that it comes from."),
    required("hot", Kind::Flag, "Whether a reload takes it."),
];

const CHANGE: &[Field] = &[
    required("seq", MANY, "Its place in the log. Their order is not always that of the commits."),
    optional("at", Kind::Time, "When it was written."),
    required("actor", Kind::Text, "For whom the session said that it acts; else who logged in."),
    optional("login", Kind::Text, "The role that logged in; null of SQLite."),
    required("entity", Kind::Text, "config, number, or all: many rows at once, or clients."),
    required("operation", Kind::Text, "insert, update, delete, truncate; begin of the log itself."),
    required("fields", Kind::TextList, "The columns that changed, or the table."),
    optional("config_id", Kind::Id, "Which config."),
    optional("tenant_id", Kind::Id, "Whose number."),
    optional("number", Kind::Text, "Which number."),
];
