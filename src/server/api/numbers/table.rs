//! The routes of `/v1/numbers`.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, ETAG, IF_MATCH, LOCATION, SEEN_BY, VERSION};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::idempotency::{KEY_HEADER, REPLAYED_HEADER};
use crate::server::api::page::{CURSOR_FIELD, LIMIT_FIELD, NEXT};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done with numbers.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    List,
    Read,
    Create,
    Change,
    Remove,
    Assign,
    Unassign,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/numbers",
        name: "listNumbers",
        summary: "The caller numbers that the client may see, by number.",
        scope: Some(Scope::Numbers),
        query: &[
            optional("tenant_id", Kind::Id, "Those of this tenant."),
            optional("config_id", Kind::Id, "Those whose rules name this LiveKit config."),
            optional("prefix", Kind::Text, "Those that begin so, such as +97150."),
            optional(
                "assigned",
                Kind::Flag,
                "true: those whose rules name a config; false: the others.",
            ),
            LIMIT_FIELD,
            CURSOR_FIELD,
        ],
        answered: &[required("numbers", Kind::List(NUMBER), "The numbers of this page."), NEXT],
        codes: &[200, 400, 401, 403, 429, 503],
        operation: Of::Numbers(Operation::List),
        ..BARE
    },
    Route {
        path: "/v1/numbers",
        method: "POST",
        name: "createNumber",
        summary: "Adds a caller number.",
        scope: Some(Scope::EditNumbers),
        headers: &[KEY_HEADER],
        asked: &[
            optional(
                "tenant_id",
                Kind::Id,
                "Whose number it is. May be left out by a client of one tenant.",
            ),
            required("number", Kind::Text, "The number in E.164, such as +971501234567."),
            optional("provider", Kind::Text, "The carrier."),
            optional("rules", Kind::Anything, "Its rules; an empty object if nothing is said."),
            CONFIG_TO_BE,
        ],
        answered: &[ID, VERSION, APPLIED, SEEN_BY],
        answered_headers: &[LOCATION, ETAG, REPLAYED_HEADER],
        codes: &[201, 400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504],
        operation: Of::Numbers(Operation::Create),
        ..BARE
    },
    Route {
        path: "/v1/numbers/assign",
        method: "POST",
        name: "assignNumbers",
        summary: "Makes a LiveKit config answer for numbers: all of them, or none and an error.",
        scope: Some(Scope::EditNumbers),
        asked: &[required("config_id", Kind::Id, "The config."), IDS, PREVIEW],
        answered: MOVED,
        codes: ASSIGNS,
        operation: Of::Numbers(Operation::Assign),
        ..BARE
    },
    Route {
        path: "/v1/numbers/unassign",
        method: "POST",
        name: "unassignNumbers",
        summary: "Takes the LiveKit config out of the rules of numbers: of all of them, or of none and \
                  an error. The environment answers for them then.",
        scope: Some(Scope::EditNumbers),
        asked: &[IDS, PREVIEW],
        answered: MOVED,
        codes: ASSIGNS,
        operation: Of::Numbers(Operation::Unassign),
        ..BARE
    },
    Route {
        path: "/v1/numbers/{id}",
        name: "readNumber",
        summary: "One caller number.",
        scope: Some(Scope::Numbers),
        answered: NUMBER,
        answered_headers: &[ETAG],
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Numbers(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/numbers/{id}",
        method: "PATCH",
        name: "changeNumber",
        summary: "Changes the fields that are there and leaves the others. Tenant and number stay.",
        scope: Some(Scope::EditNumbers),
        headers: &[IF_MATCH],
        asked: &[
            optional("provider", Kind::Text, "The carrier; null for none."),
            optional("rules", Kind::Anything, "Rules in place of those that are there."),
            optional(
                "config_id",
                Kind::Id,
                "The LiveKit config that answers for it, as its rules then say; null for none.",
            ),
        ],
        answered: &[ID, VERSION, APPLIED, SEEN_BY],
        answered_headers: &[ETAG],
        codes: &[200, 400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 429, 503, 504],
        operation: Of::Numbers(Operation::Change),
        ..BARE
    },
    Route {
        path: "/v1/numbers/{id}",
        method: "DELETE",
        name: "deleteNumber",
        confirm: true,
        summary: "Removes a caller number.",
        scope: Some(Scope::EditNumbers),
        headers: &[IF_MATCH],
        answered: &[ID, APPLIED, SEEN_BY],
        codes: &[200, 400, 401, 403, 404, 412, 429, 503, 504],
        operation: Of::Numbers(Operation::Remove),
        ..BARE
    },
];

const ASSIGNS: &[u16] = &[200, 400, 401, 403, 408, 413, 415, 422, 429, 503, 504];
const ID: Field = required("id", Kind::Id, "Its id.");
const IDS: Field = required("numbers", Kind::Ids, "The ids of the numbers.");
const PREVIEW: Field =
    optional("preview", Kind::Flag, "true: only says what would move, and writes nothing.");
const CONFIG_TO_BE: Field = optional(
    "config_id",
    Kind::Id,
    "The LiveKit config that answers for it, in place of what the rules say.",
);

const NUMBER: &[Field] = &[
    ID,
    required("tenant_id", Kind::Id, "Whose it is."),
    required("number", Kind::Text, "The number, such as +971501234567."),
    optional("provider", Kind::Text, "The carrier."),
    optional("config_id", Kind::Id, "The LiveKit config that its rules name."),
    optional("rules", Kind::Anything, "Its rules; null where they are no object."),
    VERSION,
];

const MOVED: &[Field] = &[
    required("preview", Kind::Flag, "Whether nothing was written."),
    required("changed", Kind::Whole(0, 1000), "How many have another config by it."),
    required("numbers", Kind::List(MOVE), "Each of the numbers."),
    optional("applied", Kind::Flag, "Whether this node answers calls by it; not in a preview."),
    SEEN_BY,
];

const MOVE: &[Field] = &[
    ID,
    required("tenant_id", Kind::Id, "Whose it is."),
    required("number", Kind::Text, "The number."),
    optional("from", Kind::Id, "The config that it had; null for none."),
    optional("to", Kind::Id, "The config that it has then; null for none."),
];
