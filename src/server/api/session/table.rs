//! The routes of `/v1/session`.

use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::routes::{BARE, Header, Operation as Of, Route};

/// What is done with the session of whoever asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::server::api) enum Operation {
    SignIn,
    Read,
    SignOut,
    Confirm,
    Password,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/session",
        name: "signIn",
        method: "POST",
        summary: "Signs a person in by name and password, or by a link that is good once. The answer \
                  sets a cookie.",
        asked: &[
            optional("name", Kind::Text, "The name of the user."),
            optional("password", Kind::Text, "His password."),
            optional("link", Kind::Text, "In place of both: the token of a link."),
        ],
        answered: PERSON,
        answered_headers: &[SET_COOKIE],
        codes: &[200, 400, 401, 403, 408, 413, 415, 429, 503, 504],
        operation: Of::Session(Operation::SignIn),
        ..BARE
    },
    Route {
        path: "/v1/session",
        name: "readSession",
        summary: "Who is signed in, what he may do, and until when.",
        answered: PERSON,
        codes: &[200, 401, 429, 503],
        operation: Of::Session(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/session",
        name: "signOut",
        method: "DELETE",
        summary: "Signs out, here or everywhere.",
        query: &[optional("everywhere", Kind::Flag, "Whether all sessions of this person end.")],
        answered: &[required("signed_out", Kind::Flag, "true.")],
        answered_headers: &[SET_COOKIE],
        codes: &[200, 400, 401, 403, 429, 503, 504],
        operation: Of::Session(Operation::SignOut),
        ..BARE
    },
    Route {
        path: "/v1/session/confirm",
        name: "confirmSession",
        method: "POST",
        summary: "Gives the password again, which counts for five minutes: what removes something, and what \
                  gives rights, takes that.",
        asked: &[required("password", Kind::Text, "The password.")],
        answered: PERSON,
        codes: CODES,
        operation: Of::Session(Operation::Confirm),
        ..BARE
    },
    Route {
        path: "/v1/session/password",
        name: "changePassword",
        method: "POST",
        summary: "Gives oneself another password. All other sessions of this person end.",
        asked: &[
            required("old", Kind::Text, "The password until now."),
            required("new", Kind::Text, "The one from now on: 12 characters or more."),
        ],
        answered: PERSON,
        codes: CODES,
        operation: Of::Session(Operation::Password),
        ..BARE
    },
];

const CODES: &[u16] = &[200, 400, 401, 403, 408, 413, 415, 429, 503, 504];
const SET_COOKIE: Header = Header {
    name: "Set-Cookie",
    help: "`__Host-trunkline`, for this host and TLS alone; `trunkline` over HTTP on this machine. \
           Scripts cannot read it.",
};

const PERSON: &[Field] = &[
    required("name", Kind::Text, "The name of the user."),
    optional(
        "role",
        Kind::Word(&["viewer", "editor", "operator", "admin"]),
        "His role; null where this version does not know it.",
    ),
    required("may", Kind::TextList, "What he may ask: scopes, as a client has them."),
    optional("expires_at", Kind::Time, "When the session ends by itself; null behind a proxy."),
    required("confirmed", Kind::Flag, "Whether the password was given in the last five minutes."),
];
