//! The routes of `/v1/configs`.

use crate::access::Scope;
use crate::server::api::editing::{APPLIED, ETAG, IF_MATCH, LOCATION, SEEN_BY, VERSION};
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::idempotency::{KEY_HEADER, REPLAYED_HEADER};
use crate::server::api::page::{CURSOR_FIELD, LIMIT_FIELD, NEXT};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done with configs.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    List,
    Read,
    Create,
    Duplicate,
    Change,
    Disable,
    Enable,
    Remove,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/configs",
        name: "listConfigs",
        summary: "The LiveKit configs, by name. A client that is limited to tenants or numbers gets id \
                  and name of those that its numbers use.",
        scope: Some(Scope::Configs),
        query: &[
            optional("search", Kind::Text, "What their names have in them, in any letters."),
            LIMIT_FIELD,
            CURSOR_FIELD,
        ],
        answered: &[required("configs", Kind::List(CONFIG), "The configs of this page."), NEXT],
        codes: &[200, 400, 401, 403, 429, 503],
        operation: Of::Configs(Operation::List),
        ..BARE
    },
    Route {
        path: "/v1/configs",
        method: "POST",
        name: "createConfig",
        summary: "Adds a LiveKit config. Its secret is sealed, and is in no answer.",
        scope: Some(Scope::EditConfigs),
        headers: &[KEY_HEADER],
        asked: NEW,
        answered: CREATED,
        answered_headers: &[LOCATION, ETAG, REPLAYED_HEADER],
        codes: CREATES,
        operation: Of::Configs(Operation::Create),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}",
        name: "readConfig",
        summary: "One LiveKit config, without its secret.",
        scope: Some(Scope::Configs),
        answered: CONFIG,
        answered_headers: &[ETAG],
        codes: &[200, 401, 403, 404, 429, 503],
        operation: Of::Configs(Operation::Read),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}",
        method: "PATCH",
        name: "changeConfig",
        summary: "Changes the fields that are there and leaves the others. Null empties one that may \
                  be empty.",
        scope: Some(Scope::EditConfigs),
        headers: &[IF_MATCH],
        asked: EDIT,
        answered: &[ID, VERSION, APPLIED, SEEN_BY],
        answered_headers: &[ETAG],
        codes: &[200, 400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 429, 503, 504],
        operation: Of::Configs(Operation::Change),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/disable",
        method: "POST",
        name: "disableConfig",
        summary: "Disables a LiveKit config: its numbers fall back, until it is enabled again.",
        scope: Some(Scope::EditConfigs),
        headers: &[IF_MATCH],
        answered: &[ID, VERSION, APPLIED, SEEN_BY],
        answered_headers: &[ETAG],
        codes: SWITCHES,
        operation: Of::Configs(Operation::Disable),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/enable",
        method: "POST",
        name: "enableConfig",
        summary: "Lets a LiveKit config that was disabled place calls again.",
        scope: Some(Scope::EditConfigs),
        headers: &[IF_MATCH],
        answered: &[ID, VERSION, APPLIED, SEEN_BY],
        answered_headers: &[ETAG],
        codes: SWITCHES,
        operation: Of::Configs(Operation::Enable),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}",
        method: "DELETE",
        name: "deleteConfig",
        confirm: true,
        summary: "Removes a LiveKit config that no number uses.",
        scope: Some(Scope::EditConfigs),
        headers: &[IF_MATCH],
        answered: &[ID, APPLIED, SEEN_BY],
        codes: &[200, 400, 401, 403, 404, 409, 412, 429, 503, 504],
        operation: Of::Configs(Operation::Remove),
        ..BARE
    },
    Route {
        path: "/v1/configs/{id}/duplicate",
        method: "POST",
        name: "duplicateConfig",
        summary: "Adds a LiveKit config that is like this one, with its secret, under another name.",
        scope: Some(Scope::EditConfigs),
        headers: &[KEY_HEADER],
        asked: &[required("name", Kind::Text, "The name of the new one.")],
        answered: CREATED,
        answered_headers: &[LOCATION, ETAG, REPLAYED_HEADER],
        codes: &[201, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504],
        operation: Of::Configs(Operation::Duplicate),
        ..BARE
    },
];

const CREATES: &[u16] = &[201, 400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 504];
const SWITCHES: &[u16] = &[200, 400, 401, 403, 404, 408, 412, 413, 415, 429, 503, 504];
const CREATED: &[Field] = &[ID, VERSION, APPLIED, SEEN_BY];
const ID: Field = required("id", Kind::Id, "Its id.");

/// What everybody sees, and what those see who are limited to nothing.
const CONFIG: &[Field] = &[
    ID,
    required("name", Kind::Text, "Its name, which no other config has."),
    optional("description", Kind::Text, "What people should know about it."),
    optional("url", Kind::Text, "The URL of the LiveKit server."),
    optional("api_key", Kind::Text, "The API key."),
    optional(
        "api_secret",
        Kind::Word(&["set", "missing", "unsealed"]),
        "Whether there is one; unsealed: it stands in the database as plain text.",
    ),
    optional(
        "sealed_under",
        Kind::Text,
        "The id of the key that its secret is sealed under; null where this daemon has no such key.",
    ),
    optional("bound", Kind::Flag, "Whether its secret opens for this config alone."),
    optional("trunk_id", Kind::Text, "The outbound SIP trunk."),
    optional("agent_name", Kind::Text, "The LiveKit agent that takes its calls."),
    optional("created_at", Kind::Time, "When it was added."),
    optional(
        "updated_at",
        Kind::Time,
        "When it was changed last; sealing it again under another key is no change.",
    ),
    optional("disabled_at", Kind::Time, "Since when it is disabled; null: it is not."),
    optional("version", Kind::Text, "Its version; a reseal leaves it as it is."),
];

const NEW: &[Field] = &[
    required("name", Kind::Text, "A name that no other config has: 1 to 255 characters."),
    optional("description", Kind::Text, "What people should know about it."),
    required("url", Kind::Text, "The URL of the LiveKit server: ws, wss, http or https."),
    required("api_key", Kind::Text, "The API key."),
    required("api_secret", Kind::Text, "The API secret, plain or sealed."),
    optional("trunk_id", Kind::Text, "The outbound SIP trunk."),
    optional("agent_name", Kind::Text, "The LiveKit agent that takes its calls."),
];

const EDIT: &[Field] = &[
    optional("name", Kind::Text, "A name that no other config has: 1 to 255 characters."),
    optional("description", Kind::Text, "What people should know about it; null for nothing."),
    optional("url", Kind::Text, "The URL of the LiveKit server: ws, wss, http or https."),
    optional("api_key", Kind::Text, "The API key."),
    optional("api_secret", Kind::Text, "Another API secret, plain or sealed."),
    optional("trunk_id", Kind::Text, "The outbound SIP trunk; null for none."),
    optional("agent_name", Kind::Text, "The LiveKit agent that takes its calls; null for none."),
];
