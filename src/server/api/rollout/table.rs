//! The routes of the rollout.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, ETAG, IF_MATCH, SEEN_BY};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    Read,
    Plan,
    Change,
    Reset,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/rollout",
        name: "readRollout",
        summary: "Whom the database answers, as `trunkline rollout status` shows it.",
        scope: Some(Scope::Fleet),
        answered: ROLLOUT,
        answered_headers: &[ETAG],
        codes: &[200, 401, 403, 429, 503],
        operation: Of::Rollout(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/rollout",
        method: "PATCH",
        name: "changeRollout",
        summary: "Goes to a stage or to a share, or puts tenants onto a list. Every node obeys within LEASE.",
        scope: Some(Scope::Rollout),
        headers: &[IF_MATCH],
        asked: CHANGE,
        answered: WRITTEN,
        answered_headers: &[ETAG],
        codes: &[200, 400, 401, 403, 408, 409, 412, 413, 415, 429, 503, 504],
        operation: Of::Rollout(Operation::Change),
        ..BARE
    },
    Route {
        path: "/v1/rollout/plan",
        method: "POST",
        name: "planRollout",
        summary: "What a change would do: who moves, and for whom the database has no answer. Changes nothing.",
        scope: Some(Scope::Fleet),
        asked: CHANGE,
        answered: &[
            required("now", Kind::Object(STATE), "What holds now."),
            required("then", Kind::Object(STATE), "What would hold."),
            required(
                "survey",
                Kind::Object(SURVEY),
                "What that would do, looked up for every number.",
            ),
        ],
        codes: &[200, 400, 401, 403, 408, 413, 415, 429, 503],
        operation: Of::Rollout(Operation::Plan),
        ..BARE
    },
    Route {
        path: "/v1/rollout/reset",
        method: "POST",
        name: "resetRollout",
        summary: "Begins anew: the stage off, empty lists, and other tenants come first.",
        scope: Some(Scope::Rollout),
        headers: &[IF_MATCH],
        asked: &[optional("by", UNIT, "What a share is a share of; of the tenants if not given.")],
        answered: WRITTEN,
        answered_headers: &[ETAG],
        codes: &[200, 400, 401, 403, 408, 409, 412, 413, 415, 429, 503, 504],
        operation: Of::Rollout(Operation::Reset),
        ..BARE
    },
];

const MANY: Kind = Kind::Whole(0, i64::MAX.unsigned_abs());
const UNIT: Kind = Kind::Word(&["tenant", "number"]);

const CHANGE: &[Field] = &[
    optional(
        "to",
        Kind::Text,
        "off, shadow, live, complete, or a share in per cent, such as 10 or 0.125.",
    ),
    optional("allow", Kind::Ids, "Tenants that are inside whatever the share."),
    optional("deny", Kind::Ids, "Tenants that are outside whatever else is said."),
    optional("unlist", Kind::Ids, "Tenants to take off both lists."),
    optional("force", Kind::Flag, "Whether to complete it though some numbers have no answer."),
];

const STAGE: Field = required(
    "stage",
    Kind::Word(&["off", "shadow", "percent", "live", "complete"]),
    "How far it has come.",
);
const PERCENT: Field =
    required("percent", Kind::Number, "The share that is inside, at the stage percent.");
const OF: Field = required("unit", UNIT, "What that is a share of.");
const SALT: Field =
    required("salt", Kind::Text, "What the hashes begin with; empty where there is no rollout.");
const ALLOW: Field =
    required("allow", Kind::TextList, "Tenants that are inside whatever the share.");
const DENY: Field =
    required("deny", Kind::TextList, "Tenants that are outside whatever else is said.");
const VERSION: Field = required("version", MANY, "How often it was changed; 0: never.");
const FLAG: Field =
    required("flag", Kind::Flag, "Whether USE_SELFHOST_ROUTING_TABLE is on at this node.");

const STATE: &[Field] = &[STAGE, PERCENT, OF, SALT, ALLOW, DENY, VERSION];
const ROLLOUT: &[Field] = &[STAGE, PERCENT, OF, SALT, ALLOW, DENY, VERSION, FLAG];
const WRITTEN: &[Field] = &[STAGE, PERCENT, OF, SALT, ALLOW, DENY, VERSION, FLAG, APPLIED, SEEN_BY];

const SURVEY: &[Field] = &[
    required("numbers", MANY, "How many numbers there are."),
    required("tenants", MANY, "Of how many tenants."),
    required("inside_now", MANY, "Numbers that the database answers now."),
    required("inside_then", MANY, "Numbers that it would answer."),
    required("moving_in", Kind::Object(MOVING), "Who moves from the environment to the database."),
    required("moving_out", Kind::Object(MOVING), "Who moves from the database to the environment."),
    required("answered", MANY, "For how many of all numbers the database has an answer."),
    required("unanswered", Kind::Anything, "For how many it has none, by reason."),
    required("unanswered_inside", MANY, "How many of those would be inside."),
    required(
        "fields",
        Kind::Anything,
        "How often each field is as the environment has it, and how often not.",
    ),
    required("unreadable", MANY, "Rows whose digits are no number."),
];
const MOVING: &[Field] = &[
    required("numbers", MANY, "How many numbers."),
    required("tenants", MANY, "How many tenants have such a number."),
];
