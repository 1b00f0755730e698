//! The routes of `/v1/users`.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, LOCATION, SEEN_BY};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done with users.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    List,
    Read,
    Create,
    Change,
    Password,
    Unlock,
    SignOut,
    Remove,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/users",
        name: "listUsers",
        summary: "The people who may sign in, by name, all of them.",
        answered: &[required("users", Kind::List(USER), "The users.")],
        codes: &[200, 401, 403, 429, 503],
        operation: Of::Users(Operation::List),
        ..READ
    },
    Route {
        path: "/v1/users",
        method: "POST",
        name: "createUser",
        summary: "Adds a user. Without a password one is made up, and told this once.",
        asked: &[
            required("name", Kind::Text, "A name that no other user has."),
            required("role", ROLE, "What he may do."),
            optional("password", Kind::Text, "His password: 12 characters or more."),
        ],
        answered: &[
            ID,
            required("name", Kind::Text, "His name, in small letters."),
            PASSWORD,
            APPLIED,
            SEEN_BY,
        ],
        answered_headers: &[LOCATION],
        codes: &[201, 400, 401, 403, 408, 409, 413, 415, 429, 503, 504],
        operation: Of::Users(Operation::Create),
        ..WRITE
    },
    Route {
        path: "/v1/users/{id}",
        name: "readUser",
        summary: "One user, and where he is signed in.",
        answered: &[
            ID,
            NAME,
            USER_ROLE,
            HAS_PASSWORD,
            DISABLED_AT,
            LOCKED_UNTIL,
            FAILURES,
            SIGNED_IN,
            CREATED_AT,
            LAST_LOGIN_AT,
            required("sessions", Kind::List(SESSION), "Where he is signed in, the last one first."),
        ],
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Users(Operation::Read),
        ..READ
    },
    Route {
        path: "/v1/users/{id}",
        method: "PATCH",
        name: "changeUser",
        summary: "Gives a user another role, or keeps him out or lets him in again. Whoever is kept out is \
                  signed out. The last admin stays one.",
        asked: &[
            optional("role", ROLE, "Another role."),
            optional("disabled", Kind::Flag, "Whether he may not sign in."),
        ],
        answered: DONE,
        codes: EDITS,
        operation: Of::Users(Operation::Change),
        ..WRITE
    },
    Route {
        path: "/v1/users/{id}/password",
        method: "POST",
        name: "setPassword",
        summary: "Gives a user another password; he is signed out everywhere. Without one it is made up, \
                  and told this once.",
        asked: &[optional("password", Kind::Text, "12 characters or more.")],
        answered: &[ID, PASSWORD, APPLIED, SEEN_BY],
        codes: EDITS,
        operation: Of::Users(Operation::Password),
        ..WRITE
    },
    Route {
        path: "/v1/users/{id}/unlock",
        method: "POST",
        name: "unlockUser",
        summary: "Ends the lock of a user after too many failed logins.",
        answered: DONE,
        codes: EDITS,
        operation: Of::Users(Operation::Unlock),
        ..WRITE
    },
    Route {
        path: "/v1/users/{id}/sign-out",
        method: "POST",
        name: "signUserOut",
        summary: "Ends every session of a user.",
        answered: DONE,
        codes: EDITS,
        operation: Of::Users(Operation::SignOut),
        ..WRITE
    },
    Route {
        path: "/v1/users/{id}",
        method: "DELETE",
        name: "deleteUser",
        summary: "Removes a user. The last admin stays.",
        answered: DONE,
        codes: &[200, 401, 403, 404, 409, 429, 503, 504],
        operation: Of::Users(Operation::Remove),
        ..WRITE
    },
];

const READ: Route = Route { scope: Some(Scope::Users), ..BARE };
const WRITE: Route = Route { confirm: true, ..READ };
const EDITS: &[u16] = &[200, 400, 401, 403, 404, 408, 409, 413, 415, 429, 503, 504];
const DONE: &[Field] = &[ID, APPLIED, SEEN_BY];

const ROLE: Kind = Kind::Word(&["viewer", "editor", "operator", "admin"]);
const ID: Field = required("id", Kind::Id, "His id.");
const PASSWORD: Field =
    optional("password", Kind::Text, "The password, where it was made up; it is not told again.");
const NAME: Field = required("name", Kind::Text, "His name, in small letters.");
const USER_ROLE: Field =
    optional("role", ROLE, "His role; null where this version does not know it.");
const HAS_PASSWORD: Field =
    required("has_password", Kind::Flag, "Whether he can sign in by a password.");
const DISABLED_AT: Field =
    optional("disabled_at", Kind::Time, "Since when he may not sign in; null: he may.");
const LOCKED_UNTIL: Field = optional(
    "locked_until",
    Kind::Time,
    "Until when no password of his is taken, after too many failed logins; null: it is.",
);
const FAILURES: Field =
    required("failures", Kind::Count, "Failed logins since the last one that went well.");
const SIGNED_IN: Field = required("signed_in", Kind::Count, "How many sessions he has.");
const CREATED_AT: Field = optional("created_at", Kind::Time, "When he was added.");
const LAST_LOGIN_AT: Field = optional("last_login_at", Kind::Time, "When he signed in last.");

const USER: &[Field] = &[
    ID,
    NAME,
    USER_ROLE,
    HAS_PASSWORD,
    DISABLED_AT,
    LOCKED_UNTIL,
    FAILURES,
    SIGNED_IN,
    CREATED_AT,
    LAST_LOGIN_AT,
];

const SESSION: &[Field] = &[
    optional("created_at", Kind::Time, "When he signed in."),
    optional("expires_at", Kind::Time, "When it ends by itself."),
    required("address", Kind::Text, "From where he signed in."),
    required("agent", Kind::Text, "What his browser said that it is."),
];
