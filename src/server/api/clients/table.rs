//! The routes of `/v1/clients`.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, LOCATION, SEEN_BY};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done with clients.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    List,
    Read,
    Create,
    Revoke,
    Rotate,
    Remove,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/clients",
        name: "listClients",
        summary: "The programs that may ask, by name, all of them.",
        answered: &[required("clients", Kind::List(CLIENT), "The clients.")],
        codes: &[200, 401, 403, 429, 503],
        operation: Of::Clients(Operation::List),
        ..READ
    },
    Route {
        path: "/v1/clients",
        method: "POST",
        name: "createClient",
        summary: "Adds a client. Its token is told this once.",
        asked: NEW,
        answered: &[
            ID,
            required("name", Kind::Text, "Its name."),
            required("token", Kind::Text, "Its token, which is not told again."),
            APPLIED,
            SEEN_BY,
        ],
        answered_headers: &[LOCATION],
        codes: &[201, 400, 401, 403, 408, 409, 413, 415, 429, 503, 504],
        operation: Of::Clients(Operation::Create),
        ..WRITE
    },
    Route {
        path: "/v1/clients/{id}",
        name: "readClient",
        summary: "One client, without its token.",
        answered: CLIENT,
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Clients(Operation::Read),
        ..READ
    },
    Route {
        path: "/v1/clients/{id}/revoke",
        method: "POST",
        name: "revokeClient",
        summary: "Refuses a client for good, on every node within LEASE.",
        answered: DONE,
        codes: EDITS,
        operation: Of::Clients(Operation::Revoke),
        ..WRITE
    },
    Route {
        path: "/v1/clients/{id}/rotate",
        method: "POST",
        name: "rotateClient",
        summary: "Gives a client another token, which is told this once; the old one ends.",
        answered: &[
            ID,
            required("token", Kind::Text, "Its token, which is not told again."),
            APPLIED,
            SEEN_BY,
        ],
        codes: EDITS,
        operation: Of::Clients(Operation::Rotate),
        ..WRITE
    },
    Route {
        path: "/v1/clients/{id}",
        method: "DELETE",
        name: "deleteClient",
        summary: "Removes a client that is revoked or has expired.",
        query: &[optional("force", Kind::Flag, "Whether it is removed though it is neither.")],
        answered: DONE,
        codes: &[200, 400, 401, 403, 404, 409, 429, 503, 504],
        operation: Of::Clients(Operation::Remove),
        ..WRITE
    },
];

const READ: Route = Route { scope: Some(Scope::Users), ..BARE };
const WRITE: Route = Route { confirm: true, ..READ };
const EDITS: &[u16] = &[200, 400, 401, 403, 404, 408, 409, 413, 415, 429, 503, 504];
const DONE: &[Field] = &[ID, APPLIED, SEEN_BY];
const ID: Field = required("id", Kind::Id, "Its id.");

const NEW: &[Field] = &[
    required("name", Kind::Text, "A name that no other client has: 1 to 255 characters."),
    required("may", Kind::TextList, "What it may ask: names of scopes."),
    optional("tenants", Kind::TextList, "For which tenants: UUIDs."),
    optional("all_tenants", Kind::Flag, "For all tenants, in place of naming them."),
    optional("numbers", Kind::TextList, "What caller numbers must begin with, such as +97150."),
    optional("room", Kind::Text, "Which rooms its tokens may name, such as call-*."),
    optional("sip_call", Kind::Flag, "Whether its tokens may place SIP calls."),
    optional("agent", Kind::Flag, "Whether its tokens may send agents into those rooms."),
    optional("admin", Kind::Flag, "Whether its tokens may create, delete and list rooms."),
    optional("longest", Kind::Text, "The longest life of its tokens, such as 10m; 1h if not said."),
    optional("expires", Kind::Text, "After what time it ends by itself, such as 90d."),
];

const CLIENT: &[Field] = &[
    ID,
    required("name", Kind::Text, "Its name."),
    required("state", Kind::Word(&["active", "expired", "revoked"]), "Whether it may ask."),
    optional(
        "may",
        Kind::TextList,
        "Its scopes; null where this version does not understand them.",
    ),
    optional("grants", Kind::Anything, "For which tenants and numbers, and what its tokens grant."),
    optional("created_at", Kind::Time, "When it was added."),
    optional("expires_at", Kind::Time, "When it ends by itself."),
    optional("revoked_at", Kind::Time, "When it was revoked."),
];
