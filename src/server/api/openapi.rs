//! The OpenAPI document, made of the table of routes.

use serde_json::{Map, Value, json};

use super::events::KIND;
use super::fields::{Field, Kind, Side, schema};
use super::routes::{EventKind, Header, Operation, Route, all};
use super::session;
use crate::access::Scope;

/// The document that `/v1/openapi.json` answers with, and that `docs/openapi.json` is.
#[must_use]
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in all() {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Which LiveKit server, key and SIP trunk place the call from a number",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9465", "description": "API_LISTEN, or HTTP_SOCKET"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": problem()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description":
                        "The token of a client, as `trunkline client add` prints it. On a Unix socket \
                         a local user that HTTP_SOCKET_USERS names needs none.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-trunkline",
                    "description":
                        "The session of a person, as POST /v1/session sets it; `trunkline` over HTTP on \
                         this machine. What changes something must come from a page of this server: \
                         Sec-Fetch-Site, or Origin, must say so.",
                },
            },
        },
    })
}

/// The same as text.
pub(super) fn text() -> String {
    openapi().to_string()
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    for &code in route.codes {
        responses.insert(code.to_string(), response(route, code));
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "responses": responses,
    });
    if let Some(scope) = route.scope {
        operation["description"] = json!(described(scope, route.confirm));
        operation["security"] = json!([{"token": []}, {"session": []}]);
    } else if let Operation::Session(kind) = route.operation
        && kind != session::Operation::SignIn
    {
        operation["security"] = json!([{"session": []}]);
    }
    if route.takes_body() {
        let (kind, schema) = match route.operation {
            // LiveKit's, and so LiveKit's to describe.
            #[cfg(feature = "dispatch")]
            Operation::Webhook => ("application/webhook+json", json!({"type": "object"})),
            _ => ("application/json", schema(route.asked, Side::Asked)),
        };
        let mut content = json!({kind: {"schema": schema}});
        if !route.uploads.is_empty() {
            content = files(route.uploads);
        }
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    let parameters: Vec<_> = parameters(route).collect();
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    operation
}

fn described(scope: Scope, confirm: bool) -> String {
    let again = if confirm {
        " A person needs to have given the password within five minutes."
    } else {
        ""
    };
    format!("The client needs the scope `{scope}`.{again}")
}

/// What stands in the path, behind it, and in headers.
fn parameters(route: &Route) -> impl Iterator<Item = Value> {
    let id = route.path.contains("{id}").then(|| {
        let schema = Kind::Id.schema(Side::Asked);
        json!({"name": "id", "in": "path", "required": true, "schema": schema})
    });
    let query = route.query.iter().map(|Field { name, kind, required, help }| {
        let mut parameter =
            json!({"name": name, "in": "query", "required": required, "description": help});
        let schema = json!({"schema": kind.schema(Side::Asked)});
        match kind {
            // A text of JSON, since it has members of any names.
            Kind::Texts => parameter["content"] = json!({"application/json": schema}),
            _ => parameter["schema"] = schema["schema"].clone(),
        }
        parameter
    });
    let headers = route.headers.iter().map(|Header { name, help }| {
        json!({
            "name": name, "in": "header", "required": false, "description": help,
            "schema": {"type": "string"},
        })
    });
    id.into_iter().chain(query).chain(headers)
}

fn response(route: &Route, code: u16) -> Value {
    let meaning = match code {
        200 => "It is answered",
        201 => "It was made, now or by the same request before",
        400 => "The request is malformed",
        401 => "Nobody: no token or cookie, or one of no client or session, or that has ended",
        403 => "The client may not ask this",
        404 => "There is no such thing, or none that the client may see",
        408 => "The body did not come in time",
        409 => "What is there does not go with this",
        412 => "It has another version by now than If-Match names",
        413 => "The body is too large",
        415 => "The body is of a kind that is not taken",
        422 => "It is understood and cannot be given, and asking again does not help",
        429 => "More is asked than this client or address may ask; ask again after Retry-After",
        504 => "It may be saved, or not: the database did not say",
        _ => "It cannot be told at present; ask again",
    };
    let (kind, schema) = match code {
        200 if matches!(route.operation, Operation::Viewer) => {
            ("text/html", json!({"type": "string"}))
        }
        200 if route.answered.is_empty() => ("application/json", json!({"type": "object"})),
        200 | 201 => ("application/json", schema(route.answered, Side::Answered)),
        _ => ("application/problem+json", json!({"$ref": "#/components/schemas/Problem"})),
    };
    let mut response = json!({"description": meaning, "content": {kind: {"schema": schema}}});
    if code == 200 && !route.downloads.is_empty() {
        response["content"] = files(route.downloads);
    }
    if code == 200 && !route.events.is_empty() {
        response["content"][KIND] = json!({"schema": events(route)});
        if route.answered.is_empty() {
            response["content"].as_object_mut().map(|content| content.remove("application/json"));
        }
    }
    if matches!(code, 200 | 201) && !route.answered_headers.is_empty() {
        let header = |Header { name, help }: &Header| {
            ((*name).to_owned(), json!({"description": help, "schema": {"type": "string"}}))
        };
        response["headers"] = route.answered_headers.iter().map(header).collect();
    }
    response
}

/// Files of these kinds.
fn files(kinds: &[&str]) -> Value {
    let file = |kind: &&str| ((*kind).to_owned(), json!({"schema": {"type": "string"}}));
    kinds.iter().map(file).collect()
}

/// What a stream of events holds. The text of each is the JSON of one of these.
fn events(route: &Route) -> Value {
    let kinds = route.events.iter().map(|EventKind { name, help, holds }| {
        let mut kind = schema(holds, Side::Answered);
        kind["title"] = json!(name);
        kind["description"] = json!(help);
        kind
    });
    json!({
        "type": "string",
        "description": "Server-sent events. `x-events` has the data of each kind, by the name of the event.",
        "x-events": kinds.collect::<Vec<_>>(),
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "description": "A stable name for the problem."},
            "detail": {"type": "string", "description": "What is wrong, for people."},
            "hint": {"type": ["string", "null"], "description": "What to do about it."},
            "field": {"type": ["string", "null"], "description": "Which field is wrong."},
            "request_id": {"type": "string"},
            "errors": {
                "type": "array",
                "description": "Every field that is wrong, where a form was checked as a whole.",
                "items": {
                    "type": "object",
                    "required": ["field", "code", "detail"],
                    "properties": {
                        "field": {"type": "string"},
                        "code": {"type": "string"},
                        "detail": {"type": "string"},
                        "hint": {"type": ["string", "null"]},
                    },
                },
            },
            "steps": {"type": "array", "description": "The steps that led to it, if asked for."},
        },
    })
}
