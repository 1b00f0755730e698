//! The OpenAPI document, made of the table of routes.

use serde_json::{Map, Value, json};

use super::fields::{Side, schema};
use super::routes::{ROUTES, Route};

/// The document that `/v1/openapi.json` answers with, and that `docs/openapi.json` is.
#[must_use]
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let method = route.method.to_ascii_lowercase();
        paths.insert(route.path.to_owned(), json!({ method: operation(route) }));
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
    let name = route.path.rsplit('/').next().unwrap_or_default();
    let mut operation = json!({
        "operationId": name.trim_end_matches(".json"),
        "summary": route.summary,
        "responses": responses,
    });
    if let Some(scope) = route.scope {
        operation["description"] = json!(format!("The client needs the scope `{scope}`."));
        operation["security"] = json!([{"token": []}]);
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema(route.asked, Side::Asked)}},
        });
    }
    operation
}

fn response(route: &Route, code: u16) -> Value {
    let meaning = match code {
        200 => "It is answered",
        201 => "The token is made",
        400 => "The request is malformed",
        401 => "No client: no token, one that is of no client, revoked or expired",
        403 => "The client may not ask this",
        408 => "The body did not come in time",
        413 => "The body has more than 64 KiB",
        415 => "The body is not JSON",
        422 => "It is understood and cannot be given, and asking again does not help",
        429 => "More is asked than this client or address may ask; ask again after Retry-After",
        _ => "It cannot be told at present; ask again",
    };
    let (kind, schema) = match code {
        200 if route.answered.is_empty() => ("application/json", json!({"type": "object"})),
        200 | 201 => ("application/json", schema(route.answered, Side::Answered)),
        _ => ("application/problem+json", json!({"$ref": "#/components/schemas/Problem"})),
    };
    json!({"description": meaning, "content": {kind: {"schema": schema}}})
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
            "steps": {"type": "array", "description": "The steps that led to it, if asked for."},
        },
    })
}
