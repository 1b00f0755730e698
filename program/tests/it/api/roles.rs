//! Every route for every role: who may ask what, and that a refusal comes before anything else.

use serde_json::{Value, json};
use trunkline::access::{Role, Scope};

use super::people::PAGE;
use super::{Daemon, Request, Site, status_and_body};
use crate::support::database::Kind;

/// What a route of the document needs. `None`: everybody is answered.
fn needed(operation: &Value) -> Option<Scope> {
    let text = operation["description"].as_str()?;
    let word = text.split('`').nth(1)?;
    Some(word.parse().unwrap())
}

#[tokio::test]
async fn each_role_is_let_into_the_routes_of_its_scopes_and_into_no_other() {
    let site = Site::new(Kind::Sqlite).await;
    let daemon = Daemon::start(&site.program.clone().with("RUST_LOG", "warn"));
    let document = trunkline::server::openapi();
    let absent = "00000000-0000-4000-8000-00000000dead";
    let mut counted = [0; 2];
    for role in Role::ALL {
        let name = format!("a-{role}");
        let password = site.user(&name, role.as_str());
        let cookie = daemon.signed_in(&name, &password).await;
        for (template, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let Some(scope) = needed(operation) else { continue };
                let path = template.replace("{id}", absent);
                let body = if operation["requestBody"].is_null() { Value::Null } else { json!({}) };
                let mut request = match &body {
                    Value::Null => Request::get(&path),
                    body => Request::post(&path, body),
                };
                request.0.start = format!("{} {path} HTTP/1.1", method.to_uppercase());
                let request = request.with("cookie", &cookie).with(PAGE.0, PAGE.1);
                let may = role.permissions().may(scope);
                counted[usize::from(may)] += 1;
                if template.ends_with("/events") && may {
                    continue;
                }
                let answer = daemon.send(request).await;
                let (status, told) = status_and_body(&answer);
                let is_refused = (status, &told["code"]) == (403, &json!("scope_missing"));
                assert_eq!(is_refused, !may, "{role} {method} {template}: {answer:?}");
                assert!(status < 500 && status != 401, "{role} {method} {template}: {answer:?}");
            }
        }
    }
    assert!(counted[0] > 40 && counted[1] > 40, "{counted:?}");
}

#[tokio::test]
async fn a_role_of_a_later_version_may_do_nothing() {
    let site = Site::new(Kind::Sqlite).await;
    let password = site.user("alice", "viewer");
    site.database.sql("update trunkline_users set role = 'superuser'").await;
    let daemon = site.daemon();
    let cookie = daemon.signed_in("alice", &password).await;
    let answer = daemon.browse(&cookie, "GET", "/v1/configs", &Value::Null).await;
    super::refused(&answer, 403, "client_unreadable");
    let (_, told) =
        status_and_body(&daemon.browse(&cookie, "GET", "/v1/session", &Value::Null).await);
    assert_eq!((&told["role"], &told["may"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn an_admin_manages_people_and_the_last_one_stays() {
    for kind in crate::support::database::BOTH {
        let site = Site::new(kind).await;
        let password = site.user("root", "admin");
        let daemon = site.daemon();
        let cookie = daemon.signed_in("root", &password).await;
        let ask = async |method: &str, path: &str, body: &Value| {
            daemon.browse(&cookie, method, path, body).await
        };
        let answer = ask("POST", "/v1/users", &json!({"name": "Bob", "role": "editor"})).await;
        let (status, bob) = status_and_body(&answer);
        assert_eq!((status, &bob["name"], &bob["applied"]), (201, &json!("bob"), &json!(true)));
        let path = answer.header("location").unwrap().to_owned();
        let given = bob["password"].as_str().unwrap();
        let of_bob = daemon.signed_in("bob", given).await;
        let (_, read) = status_and_body(&ask("GET", &path, &Value::Null).await);
        assert_eq!((&read["signed_in"], &read["role"]), (&json!(1), &json!("editor")));
        assert_eq!(read["sessions"][0]["address"], "127.0.0.1");
        assert!(!read.to_string().contains("argon2"), "{read}");

        let changed = ask("PATCH", &path, &json!({"role": "viewer", "disabled": true})).await;
        assert_eq!(changed.word(), "200", "{changed:?}");
        let answer = daemon.browse(&of_bob, "GET", "/v1/session", &Value::Null).await;
        super::refused(&answer, 401, "session_ended");
        let enabled = ask("PATCH", &path, &json!({"disabled": false})).await;
        assert_eq!(enabled.word(), "200", "{enabled:?}");
        let set = format!("{path}/password");
        super::refused(
            &ask("POST", &set, &json!({"password": "short"})).await,
            400,
            "password_malformed",
        );
        let (_, new) = status_and_body(&ask("POST", &set, &json!({})).await);
        let of_bob = daemon.signed_in("bob", new["password"].as_str().unwrap()).await;
        for action in ["unlock", "sign-out"] {
            assert_eq!(ask("POST", &format!("{path}/{action}"), &json!({})).await.word(), "200");
        }
        let answer = daemon.browse(&of_bob, "GET", "/v1/session", &Value::Null).await;
        super::refused(&answer, 401, "session_ended");

        let (_, all) = status_and_body(&ask("GET", "/v1/users", &Value::Null).await);
        let root = all["users"].as_array().unwrap().iter().find(|user| user["name"] == "root");
        let root = format!("/v1/users/{}", root.unwrap()["id"].as_str().unwrap());
        for (method, body) in [
            ("PATCH", json!({"role": "viewer"})),
            ("PATCH", json!({"disabled": true})),
            ("DELETE", Value::Null),
        ] {
            super::refused(&ask(method, &root, &body).await, 409, "last_admin");
        }
        assert_eq!(ask("PATCH", &path, &json!({"role": "admin"})).await.word(), "200");
        assert_eq!(ask("DELETE", &path, &Value::Null).await.word(), "200");
        super::refused(&ask("DELETE", &path, &Value::Null).await, 404, "user_not_found");
        super::refused(
            &ask("POST", "/v1/users", &json!({"name": "a b", "role": "x"})).await,
            400,
            "field_malformed",
        );
        let (_, audit) = status_and_body(&ask("GET", "/v1/audit?entity=user", &Value::Null).await);
        let entries = audit["entries"].as_array().unwrap();
        assert!(entries.len() >= 8, "{audit}");
        assert!(
            entries
                .iter()
                .rev()
                .skip(1)
                .all(|entry| entry["claimed"]["client_name"] == "user:root"),
            "{audit}"
        );
    }
}

#[tokio::test]
async fn an_admin_manages_clients_and_sees_each_token_once() {
    for kind in crate::support::database::BOTH {
        let site = Site::new(kind).await;
        let password = site.user("root", "admin");
        let daemon = site.daemon();
        let cookie = daemon.signed_in("root", &password).await;
        let ask = async |method: &str, path: &str, body: &Value| {
            daemon.browse(&cookie, method, path, body).await
        };
        let new = json!({"name": "dialler", "may": ["configs"], "all_tenants": true});
        let answer = ask("POST", "/v1/clients", &new).await;
        let (status, made) = status_and_body(&answer);
        assert_eq!((status, &made["applied"]), (201, &json!(true)), "{made}");
        let token = made["token"].as_str().unwrap();
        let path = answer.header("location").unwrap().to_owned();
        assert_eq!(daemon.get(token, "/v1/configs").await.0, 200);
        super::refused(&ask("POST", "/v1/clients", &new).await, 409, "name_taken");
        for wrong in [
            json!({"name": "x", "may": ["users"], "tenants": [super::TENANT]}),
            json!({"name": "user:x", "may": ["configs"], "all_tenants": true}),
        ] {
            super::refused(&ask("POST", "/v1/clients", &wrong).await, 400, "field_malformed");
        }
        let (_, read) = status_and_body(&ask("GET", &path, &Value::Null).await);
        assert_eq!((&read["state"], &read["may"]), (&json!("active"), &json!(["configs"])));
        super::refused(&ask("DELETE", &path, &Value::Null).await, 409, "client_active");
        let (_, rotated) =
            status_and_body(&ask("POST", &format!("{path}/rotate"), &json!({})).await);
        super::refused(
            &daemon.call(token, "GET", "/v1/configs", &Value::Null).await,
            401,
            "token_invalid",
        );
        let token = rotated["token"].as_str().unwrap();
        assert_eq!(daemon.get(token, "/v1/configs").await.0, 200);
        assert_eq!(ask("POST", &format!("{path}/revoke"), &json!({})).await.word(), "200");
        super::refused(
            &daemon.call(token, "GET", "/v1/configs", &Value::Null).await,
            401,
            "client_revoked",
        );
        super::refused(
            &ask("POST", &format!("{path}/rotate"), &json!({})).await,
            409,
            "client_revoked",
        );
        assert_eq!(ask("DELETE", &path, &Value::Null).await.word(), "200");
        super::refused(&ask("GET", &path, &Value::Null).await, 404, "client_not_found");
    }
}
