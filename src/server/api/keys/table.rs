//! The routes of `/v1/keys/…`.

use crate::access::Scope;
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done with keys.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    Status,
    Stage,
    Promote,
    Rotate,
    Verify,
    Retire,
    Rewrap,
    Compromise,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/keys/status",
        name: "keyStatus",
        summary: "How the encryption keys stand, as `trunkline key status --json` says it: no key, ids alone.",
        scope: Some(Scope::Fleet),
        answered: STATUS,
        codes: &[200, 401, 403, 429, 503],
        operation: Of::Keys(Operation::Status),
        ..BARE
    },
    Route {
        path: "/v1/keys/stage",
        name: "stageKey",
        summary: "Stages a key of the ring of this node: it opens everywhere, and is to seal.",
        asked: &[
            KEY,
            optional(
                "wrapped",
                Kind::Flag,
                "Whether a key is made that rests in the database, and that is staged.",
            ),
            optional(
                "root",
                Kind::Text,
                "The id of the key of the settings that seals it; with `wrapped`.",
            ),
            READERS,
            PREVIEW,
        ],
        operation: Of::Keys(Operation::Stage),
        ..STEP
    },
    Route {
        path: "/v1/keys/promote",
        name: "promoteKey",
        summary: "Has the staged key seal. Refused while a node cannot open what it seals.",
        asked: &[KEY, READERS, FORCE, PREVIEW],
        operation: Of::Keys(Operation::Promote),
        ..STEP
    },
    Route {
        path: "/v1/keys/rotate",
        name: "rotateKeys",
        summary: "The whole protocol as far as it goes today: stage, promote, seal again, verify, refuse, \
                  retire. It ends after 20 seconds and may be asked again: it goes on from there.",
        asked: &[READERS, FORCE, NOW, BACKUPS, PREVIEW],
        operation: Of::Keys(Operation::Rotate),
        ..STEP
    },
    Route {
        path: "/v1/keys/verify",
        name: "verifyKeys",
        summary: "Opens every secret, and says how many are under each key.",
        asked: &[PREVIEW],
        operation: Of::Keys(Operation::Verify),
        ..STEP
    },
    Route {
        path: "/v1/keys/retire",
        name: "retireKey",
        summary: "Takes an old key one step further: it is refused, then retired. Or lets a refused one \
                  open again.",
        asked: &[
            NAMED,
            NOW,
            optional("back", Kind::Flag, "Whether a refused key opens again."),
            BACKUPS,
            PREVIEW,
        ],
        operation: Of::Keys(Operation::Retire),
        ..STEP
    },
    Route {
        path: "/v1/keys/rewrap",
        name: "rewrapKeys",
        summary: "Seals the keys that rest in the database by another key of the settings. No secret is sealed again.",
        asked: &[
            optional(
                "root",
                Kind::Text,
                "The id of that key; the last one of the ring if nothing is said.",
            ),
            FORCE,
            PREVIEW,
        ],
        operation: Of::Keys(Operation::Rewrap),
        ..STEP
    },
    Route {
        path: "/v1/keys/compromise",
        name: "compromiseKey",
        summary: "Takes a key out of use at once that others may have, and says what stays exposed.",
        asked: &[NAMED, PREVIEW],
        operation: Of::Keys(Operation::Compromise),
        ..STEP
    },
];

/// What every step has.
const STEP: Route = Route {
    method: "POST",
    scope: Some(Scope::Keys),
    answered: &[
        required("preview", Kind::Flag, "Whether nothing was written."),
        required("result", Kind::Anything, "What came of it, or would."),
    ],
    codes: &[200, 400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504],
    ..BARE
};

const KEY: Field =
    optional("key", Kind::Text, "The id of a key; the one whose turn it is if nothing is said.");
const NAMED: Field = required("key", Kind::Text, "The id of a key.");
const READERS: Field = optional(
    "readers_confirmed",
    Kind::Flag,
    "Whether no reader is left that is not among the nodes and has one key only.",
);
const FORCE: Field =
    optional("force", Kind::Flag, "Whether to go on without the nodes that do not have the key.");
const NOW: Field =
    optional("now", Kind::Flag, "Whether to refuse and retire without waiting, in an emergency.");
const BACKUPS: Field = optional(
    "backups_from",
    Kind::Text,
    "When the oldest backup was made that is kept, such as 2026-01-31T00:00:00Z.",
);
const PREVIEW: Field =
    optional("preview", Kind::Flag, "true: only says what would be done, and writes nothing.");

const MANY: Kind = Kind::Whole(0, 9_007_199_254_740_991);
const PHASE: Kind = Kind::Word(&["staged", "sealing", "old", "refused", "retired"]);

const STATUS: &[Field] = &[
    required("sealing", Kind::Text, "The key that seals."),
    required(
        "is_recorded",
        Kind::Flag,
        "Whether the database says so; else the first one of each ring.",
    ),
    required("epoch", MANY, "How often another key began to seal."),
    required(
        "keys",
        Kind::List(SHOWN),
        "The keys of this node, and those that only the database knows.",
    ),
    required(
        "left",
        Kind::List(LEFT),
        "Secrets that no key of this node opens, or that are not sealed.",
    ),
    required("nodes", Kind::List(RING), "The rings of the nodes that count."),
    required("unlisted", Kind::List(UNLISTED), "Sessions of programs of ours that have no row."),
    optional(
        "readers_confirmed_at",
        Kind::Time,
        "Since when it is said that no unseen readers are left.",
    ),
    required(
        "unopened",
        Kind::List(UNOPENED),
        "Keys that rest in the database and do not open here.",
    ),
    required(
        "data_key_place",
        Kind::Word(&["none", "hidden", "open"]),
        "Whether the database has a place for such keys that the role may read.",
    ),
    optional("turns", Kind::Object(TURNS), "How turning by schedule stands."),
];

const UNOPENED: &[Field] = &[
    required("id", Kind::Text, "Its id."),
    required("root", Kind::Text, "The key of the settings that is to open it."),
    required("is_damaged", Kind::Flag, "Whether that key is here: then the row is damaged."),
];

const TURNS: &[Field] = &[
    optional("holder", Kind::Text, "The process that may turn the keys at present."),
    optional("step", Kind::Text, "The last step that was taken."),
    optional("step_at", Kind::Time, "When."),
    optional("blocked_by", Kind::Text, "What keeps the next step from being taken."),
    optional("blocked_since", Kind::Time, "Since when."),
];

const SHOWN: &[Field] = &[
    required("id", Kind::Text, "Its id."),
    optional("phase", PHASE, "What it is for; null: the database does not know it."),
    optional(
        "home",
        Kind::Word(&["settings", "database"]),
        "Where it lives, as far as this node can tell.",
    ),
    optional("root", Kind::Text, "The key that seals it, of one that rests in the database."),
    required("data_keys", Kind::TextList, "The keys that it seals."),
    required("in_ring", Kind::Flag, "Whether it is in the ring of this node."),
    required("configs", MANY, "How many secrets are sealed under it."),
    required("nodes", Kind::TextList, "The nodes that have it."),
    optional("added_at", Kind::Time, "When the database came to know it."),
    optional("since", Kind::Time, "Since when it is in this phase."),
    optional(
        "clean_since",
        Kind::Time,
        "Since when no pass over all secrets has found one under it.",
    ),
    optional("compromised_at", Kind::Time, "Since when it is known that others may have it."),
];

const LEFT: &[Field] = &[
    required("config_id", Kind::Id, "Of which config."),
    required("name", Kind::Text, "Its name."),
    required("code", Kind::Text, "Why, as a code."),
    required("message", Kind::Text, "The same in words."),
];

const RING: &[Field] = &[
    required("name", Kind::Text, "NODE_NAME."),
    required("state", Kind::Word(&["live", "silent"]), "Whether it runs."),
    required("keys", Kind::TextList, "The ids of its keys, in order."),
];

const UNLISTED: &[Field] = &[
    required("name", Kind::Text, "The name in its application_name."),
    required("role", Kind::Text, "The role that it logged in as."),
    required("sessions", MANY, "How many sessions it has."),
];
