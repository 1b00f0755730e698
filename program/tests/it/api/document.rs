//! The OpenAPI document: what the daemon serves, what the repository has, and what is answered.

use serde_json::{Value, json};

use super::{ALL, NUMBER, Request, Site, TENANT, joining, status_and_body};
use crate::support::database::Kind;
use crate::support::http::Message;
use crate::support::{ROOT, secret_of};

#[tokio::test]
async fn the_document_in_the_repository_is_what_the_daemon_serves_to_everybody() {
    let site = Site::new(Kind::Sqlite).await;
    let daemon = site.daemon();
    let (status, served) = status_and_body(&daemon.send(Request::get("/v1/openapi.json")).await);
    assert_eq!(status, 200);
    let text = std::fs::read_to_string(format!("{ROOT}/docs/openapi.json")).unwrap();
    let printed = site.program.run(&["serve", "--openapi"]).ok();
    assert_eq!(text, printed, "`trunkline serve --openapi > docs/openapi.json` writes it");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), served);
}

#[tokio::test]
async fn the_document_is_a_page_for_people_that_runs_nothing() {
    let site = Site::new(Kind::Sqlite).await;
    let page = site.daemon().send(Request::get("/v1/docs")).await;
    assert_eq!(page.word(), "200");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(page.body.contains("<b>POST</b> /v1/tokens</h2>"), "{}", page.body);
    let tags = page.body.split('<').filter_map(|tag| tag.split('>').next());
    for tag in tags {
        let active = ["script", "img", "iframe", "link"].iter().any(|name| tag.starts_with(name));
        assert!(!active && !tag.contains(" on") && !tag.contains("//"), "{tag}");
    }
}

#[tokio::test]
async fn every_answer_is_what_the_document_says() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    let document = trunkline::server::openapi();
    let whose = |more: Value| {
        let mut body = json!({"tenant": TENANT, "from": NUMBER});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let signed = livekit_token::AccessToken::with_api_key("APIeu", &secret_of("eu"));
    let signed = signed.to_jwt().unwrap();
    let config = site.database.store().configs().await.unwrap()[0].id;
    let configs = format!("/v1/configs/{config}");
    let (_, page) = daemon.get(&token, "/v1/numbers").await;
    let number = page["numbers"][0]["id"].as_str().unwrap().to_owned();
    let numbers = format!("/v1/numbers/{number}");
    let new_config =
        json!({"name": "us", "url": "wss://us.example", "api_key": "K", "api_secret": "s"});
    let moved = json!({"config_id": config, "numbers": [number]});
    let previewed = json!({"config_id": config, "numbers": [number], "preview": true});
    for (method, template, path, body) in [
        ("POST", "/v1/configs", "/v1/configs", new_config.clone()),
        ("POST", "/v1/configs", "/v1/configs", new_config),
        (
            "POST",
            "/v1/configs",
            "/v1/configs",
            json!({"name": "", "url": "", "api_key": "", "api_secret": ""}),
        ),
        ("GET", "/v1/configs", "/v1/configs?limit=1", Value::Null),
        ("GET", "/v1/configs", "/v1/configs?limit=x", Value::Null),
        ("GET", "/v1/configs/{id}", &configs, Value::Null),
        ("GET", "/v1/configs/{id}", "/v1/configs/x", Value::Null),
        ("PATCH", "/v1/configs/{id}", &configs, json!({"description": "D.", "agent_name": null})),
        ("DELETE", "/v1/configs/{id}", &configs, Value::Null),
        (
            "POST",
            "/v1/configs/{id}/duplicate",
            &format!("{configs}/duplicate"),
            json!({"name": "twin"}),
        ),
        (
            "POST",
            "/v1/numbers",
            "/v1/numbers",
            json!({"tenant_id": TENANT, "number": "+971500000008"}),
        ),
        ("GET", "/v1/numbers", "/v1/numbers?assigned=true&limit=1", Value::Null),
        ("GET", "/v1/numbers/{id}", &numbers, Value::Null),
        ("PATCH", "/v1/numbers/{id}", &numbers, json!({"provider": "du"})),
        ("POST", "/v1/numbers/assign", "/v1/numbers/assign", previewed),
        ("POST", "/v1/numbers/assign", "/v1/numbers/assign", moved),
        ("POST", "/v1/numbers/unassign", "/v1/numbers/unassign", json!({"numbers": [number]})),
        ("DELETE", "/v1/numbers/{id}", &numbers, Value::Null),
    ] {
        let answer = daemon.call(&token, method, path, &body).await;
        is_documented(&document, &method.to_lowercase(), template, &answer);
    }
    for path in ["/v1/nodes", "/v1/keys", "/v1/settings", "/v1/changes", "/v1/users", "/v1/clients"]
    {
        let answer = daemon.call(&token, "GET", path, &Value::Null).await;
        is_documented(&document, "get", path, &answer);
    }
    for (path, body) in [
        ("/v1/users", json!({"name": "alice", "role": "admin"})),
        ("/v1/users", json!({"name": "alice", "role": "admin"})),
        ("/v1/users", json!({"name": "bob"})),
        ("/v1/clients", json!({"name": "new", "may": ["fleet"], "all_tenants": true})),
        ("/v1/clients", json!({"name": "new", "may": [], "all_tenants": true})),
        ("/v1/session", json!({"name": "alice", "password": "not his"})),
        ("/v1/session", json!({})),
        ("/v1/session/confirm", json!({"password": "of nobody"})),
        ("/v1/tokens", joining("call-7")),
        ("/v1/resolve", whose(json!({}))),
        ("/v1/resolve", whose(json!({"secret": true, "explain": true}))),
        ("/v1/route", whose(json!({"to": "050 765 4321"}))),
        ("/v1/route", whose(json!({"to": "x"}))),
        ("/v1/tickets", whose(json!({"room": "call-7", "identity": "ann"}))),
        ("/v1/livekit/token", json!({})),
        ("/v1/livekit/verify", json!({"token": signed})),
        ("/v1/livekit/verify", json!({"token": "x.y.z"})),
        ("/v1/tokens", json!({})),
        ("/v1/resolve", whose(json!({"tenant": "x"}))),
    ] {
        let answer = daemon.ask(&token, path, &body).await;
        is_documented(&document, "post", path, &answer);
    }
}

#[tokio::test]
async fn every_event_is_what_the_document_says() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("all", &ALL);
    let daemon = site.daemon();
    daemon.is_ready().await;
    let document = trunkline::server::openapi();
    let config = site.database.store().configs().await.unwrap()[0].id;
    let configs = format!("/v1/configs/{config}");
    for (template, path, body) in [
        (
            "/v1/checks",
            "/v1/checks",
            json!({"url": "wss://x.invalid", "api_key": "K", "api_secret": "s", "trunk_id": "ST"}),
        ),
        ("/v1/configs/{id}/check", &format!("{configs}/check"), json!({})),
    ] {
        let request = Request::new("POST", path, &body, &token);
        let answer = daemon.send(request.clone().with("accept", "application/json")).await;
        is_documented(&document, "post", template, &answer);
        let mut events = daemon.events(request).await;
        for event in events.rest().await {
            let content = &document["paths"][template]["post"]["responses"]["200"]["content"];
            let kinds = content["text/event-stream"]["schema"]["x-events"].as_array().unwrap();
            let kind = kinds.iter().find(|kind| kind["title"] == event.name.as_str()).unwrap();
            fits(&event.data, kind, template);
        }
    }
    let mut listening =
        daemon.events(Request::new("GET", "/v1/changes/events", &Value::Null, &token)).await;
    let ready = listening.next().await.unwrap();
    let content = &document["paths"]["/v1/changes/events"]["get"]["responses"]["200"]["content"];
    let kinds = &content["text/event-stream"]["schema"]["x-events"];
    fits(&ready.data, &kinds[0], "ready");
    site.database.sql("update voice_agent_numbers set provider = 'x'").await;
    fits(&listening.next().await.unwrap().data, &kinds[1], "change");
}

/// Checks an answer against what the document says of the route.
#[track_caller]
fn is_documented(document: &Value, method: &str, template: &str, answer: &Message) {
    let (status, answered) = status_and_body(answer);
    let kind = answer.header("content-type").unwrap();
    let response = &document["paths"][template][method]["responses"][status.to_string()];
    let schema = &response["content"][kind]["schema"];
    let schema = match schema["$ref"].as_str() {
        Some(_) => &document["components"]["schemas"]["Problem"],
        None => schema,
    };
    fits(&answered, schema, &format!("{method} {template} {status}"));
    for (name, _) in response["headers"].as_object().into_iter().flatten() {
        let is_always = name != "Idempotency-Replayed";
        assert!(!is_always || answer.header(&name.to_lowercase()).is_some(), "{template}: {name}");
    }
}

/// Checks a value against as much of JSON schema as the document uses. Members that it does not name
/// are no part of the promise, and there are none.
#[track_caller]
fn fits(value: &Value, schema: &Value, at: &str) {
    assert!(schema.is_object(), "{at}: the document does not say");
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let is_one = kinds == kind
        || kinds == "number" && kind == "integer"
        || kinds.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)));
    assert!(is_one, "{at}: {value} is no {kinds}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value}");
    }
    for value in value.as_array().into_iter().flatten() {
        if schema["items"].is_object() {
            fits(value, &schema["items"], at);
        }
    }
    // Of an object with whatever members the document says no more.
    let members = value.as_object().filter(|_| schema["properties"].is_object());
    for (name, value) in members.into_iter().flatten() {
        fits(value, &schema["properties"][name], &format!("{at} {name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: {name} is missing");
    }
}
