//! The routes of the audit.

use crate::access::Scope;
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::page::{CURSOR_FIELD, LIMIT_FIELD, NEXT};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is told.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    List,
    Versions,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/audit",
        name: "listAudit",
        summary: "Who changed which config, number, client or user, the newest first.",
        scope: Some(Scope::Audit),
        query: &[
            optional("since", Kind::Text, "From this moment on, as RFC 3339 writes it."),
            optional("until", Kind::Text, "Before this moment."),
            optional(
                "entity",
                Kind::Word(&[
                    "config", "pair", "number", "client", "user", "tenant", "rollout", "batch",
                    "key", "audit",
                ]),
                "Of what.",
            ),
            optional(
                "operation",
                Kind::Word(&["insert", "update", "delete", "truncate", "prune"]),
                "What was done.",
            ),
            optional("id", Kind::Id, "The id of the config, number or client."),
            optional("tenant", Kind::Id, "Whose number."),
            optional("number", Kind::Text, "Which number, in E.164."),
            optional(
                "who",
                Kind::Text,
                "A login; or an actor, a client or the id of one, as sessions claimed.",
            ),
            optional("request", Kind::Text, "The request that made it, by its X-Request-Id."),
            LIMIT_FIELD,
            CURSOR_FIELD,
        ],
        answered: &[required("entries", Kind::List(ENTRY), "The changes of this page."), NEXT],
        codes: &[200, 400, 401, 403, 429, 503],
        operation: Of::Audit(Operation::List),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/versions",
        name: "listConfigVersions",
        summary: "What a LiveKit config was and became, the newest change first; without secrets.",
        scope: Some(Scope::Configs),
        query: &[LIMIT_FIELD, CURSOR_FIELD],
        answered: &[required("versions", Kind::List(VERSION), "The changes of this page."), NEXT],
        codes: &[200, 400, 401, 403, 404, 429, 503],
        operation: Of::Audit(Operation::Versions),
        ..BARE
    },
];

const NUMBER: Kind = Kind::Whole(0, i64::MAX.unsigned_abs());
const AT: Field = required("at", Kind::Time, "When it was changed.");
const OPERATION: Field = required(
    "operation",
    Kind::Text,
    "insert, update, delete; truncate: all of them at once; prune.",
);
const FIELDS: Field = required("fields", Kind::TextList, "The columns that changed.");
const LOGIN: Field = optional("login", Kind::Text, "The role that logged in; null of SQLite.");
const ADDRESS: Field = optional(
    "address",
    Kind::Text,
    "Where the connection to the database came from; null for a socket or a file.",
);
const CLAIMED: Field = required(
    "claimed",
    Kind::Texts,
    "What the session said of itself: actor, client, client_name, request, from, application.",
);
const POSITION: Field =
    optional("position", NUMBER, "Its place in the chain; null until it is sealed.");

const ENTRY: &[Field] = &[
    required("id", NUMBER, "Its number. Their order is not always that of the commits."),
    AT,
    required(
        "entity",
        Kind::Text,
        "config, pair, number, client, user, tenant or rollout; audit where it was pruned.",
    ),
    OPERATION,
    optional("row_id", Kind::Text, "The id of the config, number or client."),
    optional("tenant_id", Kind::Text, "Whose number."),
    optional("number", Kind::Text, "Which number."),
    FIELDS,
    optional("before", Kind::Anything, "Its columns before. Of a secret, that it was set."),
    optional("after", Kind::Anything, "Its columns after. Of a secret: set, or changed."),
    LOGIN,
    ADDRESS,
    CLAIMED,
    POSITION,
];

const VERSION: &[Field] = &[
    required("version", NUMBER, "Its number in the audit."),
    AT,
    OPERATION,
    FIELDS,
    optional("before", Kind::Anything, "Those columns before. Of a secret, that it was set."),
    optional("after", Kind::Anything, "Those columns after. Of a secret: set, or changed."),
    LOGIN,
    ADDRESS,
    CLAIMED,
    POSITION,
];
