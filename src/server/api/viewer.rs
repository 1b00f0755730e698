//! The OpenAPI document as a page to read. It is made of the document alone, runs nothing and fetches
//! nothing.

use std::fmt::Write as _;

use axum::http::header::CONTENT_SECURITY_POLICY;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::openapi::openapi;
use super::reply::Reply;

/// The page, which its browser lets do nothing but look as it does.
pub(super) fn answer() -> Reply {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'"
    );
    Reply::page(page(&openapi())).header(CONTENT_SECURITY_POLICY, &policy)
}

fn page(document: &Value) -> String {
    let (title, version) = (text(&document["info"]["title"]), text(&document["info"]["version"]));
    let (mut list, mut sections) = (String::new(), String::new());
    for (path, methods) in members(&document["paths"]) {
        for (method, operation) in members(methods) {
            let (id, method) = (text(&operation["operationId"]), method.to_ascii_uppercase());
            let _ = write!(list, "<li><a href=\"#{id}\"><b>{method}</b> {}</a></li>", escape(path));
            section(&mut sections, &method, path, operation);
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}: API</title><style>{STYLE}</style></head><body>\
         <header><h1>{title} {version}: API</h1><p>{}. For machines: \
         <a href=\"openapi.json\">openapi.json</a>.</p></header>\
         <nav aria-label=\"Routes\"><ul>{list}</ul></nav><main>{sections}</main></body></html>",
        text(&document["info"]["summary"])
    )
}

fn section(out: &mut String, method: &str, path: &str, operation: &Value) {
    let _ = write!(
        out,
        "<section><h2 id=\"{}\"><b>{method}</b> {}</h2><p>{} {}</p>",
        text(&operation["operationId"]),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| {
        let place = format!("{} ({})", text(&parameter["name"]), text(&parameter["in"]));
        row(&place, &parameter["schema"], parameter["required"] == true, &parameter["description"])
    });
    table(out, "Parameters", &parameters.collect::<String>());
    for (_, content) in members(&operation["requestBody"]["content"]) {
        table(out, "Body", &fields("", &content["schema"]));
    }
    let mut codes = String::new();
    for (code, response) in members(&operation["responses"]) {
        if code.starts_with('2') {
            for (_, content) in members(&response["content"]) {
                table(out, "Answer", &fields("", &content["schema"]));
            }
        }
        let _ = write!(codes, "<dt>{code}</dt><dd>{}</dd>", text(&response["description"]));
    }
    let _ = write!(out, "<h3>Status codes</h3><dl>{codes}</dl></section>");
}

/// A row for each field, those within another one by their path.
fn fields(within: &str, schema: &Value) -> String {
    let is_required = |name: &str| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    };
    let mut rows = String::new();
    for (name, field) in members(&schema["properties"]) {
        let place = format!("{within}{}", escape(name));
        rows.push_str(&row(&place, field, is_required(name), &field["description"]));
        rows.push_str(&fields(&format!("{place}."), field));
        rows.push_str(&fields(&format!("{place}[]."), &field["items"]));
    }
    rows
}

fn row(place: &str, schema: &Value, is_required: bool, help: &Value) -> String {
    let need = if is_required { "required" } else { "" };
    let (kind, help) = (kind(schema), text(help));
    format!(
        "<tr><th scope=\"row\"><code>{place}</code></th><td>{kind}</td><td>{need}</td><td>{help}</td></tr>"
    )
}

/// What a value may be, in a few words.
fn kind(schema: &Value) -> String {
    let words = |value: &Value| match value {
        Value::String(word) => escape(word),
        other => escape(&other.to_string()),
    };
    if let Some(all) = schema["enum"].as_array() {
        return all.iter().filter(|word| !word.is_null()).map(words).collect::<Vec<_>>().join(", ");
    }
    if let Some(format) = schema["format"].as_str() {
        return escape(format);
    }
    match &schema["type"] {
        Value::Array(all) => {
            let all = all.iter().filter(|kind| *kind != "null");
            all.map(words).collect::<Vec<_>>().join(" or ")
        }
        Value::Null => String::new(),
        one => words(one),
    }
}

fn table(out: &mut String, caption: &str, rows: &str) {
    if !rows.is_empty() {
        let _ = write!(
            out,
            "<table><caption>{caption}</caption><thead><tr><th scope=\"col\">Name</th><th scope=\"col\">\
             Kind</th><th scope=\"col\">Needed</th><th scope=\"col\">What it is</th></tr></thead>\
             <tbody>{rows}</tbody></table>"
        );
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{margin:0 auto;max-width:60rem;padding:1rem}\
nav ul{list-style:none;padding:0;columns:20rem}\
section{border-top:1px solid GrayText;margin-top:2rem}\
h2{font-size:1.2rem;overflow-wrap:anywhere}\
h3,caption{font-size:1rem;font-weight:bold;text-align:left;margin:1rem 0 .3rem}\
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}\
th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;font-weight:normal}\
thead th{color:GrayText}\
dl{display:grid;grid-template-columns:3rem 1fr;margin:0}dd{margin:0}\
a:focus-visible{outline:3px solid}";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_route_and_every_field_of_the_document_is_on_the_page() {
        let (document, page) = (openapi(), page(&openapi()));
        for (path, methods) in members(&document["paths"]) {
            for (method, operation) in members(methods) {
                let id = operation["operationId"].as_str().unwrap();
                let heading =
                    format!("<h2 id=\"{id}\"><b>{}</b> {path}</h2>", method.to_uppercase());
                assert_eq!(page.matches(&heading).count(), 1, "{heading}");
                assert!(page.contains(&format!("<a href=\"#{id}\">")), "{id}");
            }
        }
        for field in ["grants.room", "participant_identity", "numbers[].id", "disconnect_reason"] {
            assert!(page.contains(&format!("<code>{field}</code>")), "{field}");
        }
    }

    #[test]
    fn what_looks_like_markup_is_text() {
        let sly = "<script>alert(\"1\")</script>&";
        let operation = json!({
            "operationId": "a", "summary": sly,
            "requestBody": {"content": {"application/json": {"schema": {"properties": {
                sly: {"type": sly, "description": sly}, "b": {"enum": [sly, null]},
            }}}}},
            "responses": {"200": {"description": sly}},
        });
        let page = page(&json!({"info": {"title": sly}, "paths": {sly: {"get": operation}}}));
        assert!(!page.contains("<script") && !page.contains("alert(\""), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&quot;1&quot;)").count(), 10, "{page}");
    }
}
