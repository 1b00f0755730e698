//! People whom a proxy vouches for.

use super::*;

#[tokio::test]
async fn a_proxy_says_who_asks_from_its_own_address_and_nobody_else_does() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("all", &super::super::ALL);
        for (name, role) in [("root", "admin"), ("alice", "editor"), ("gone", "viewer")] {
            site.program.run(&["user", "add", name, "--role", role, "--link-only"]).ok();
        }
        site.users(&["disable", "gone"]);
        let proxied = site
            .program
            .clone()
            .with("HTTP_BEHIND_PROXY", "true")
            .with("HTTP_USER_HEADER", "X-Signed-In-As");
        let daemon = Daemon::start(&proxied.clone().with("HTTP_USER_HEADER_FROM", "127.0.0.0/8"));
        let asked = |method: &str, path: &str, body: &Value, name: &str| {
            page("x=y", method, path, body).with("x-signed-in-as", name)
        };
        let read = asked("GET", "/v1/session", &Value::Null, "Alice");
        let (status, told) = status_and_body(&daemon.send(read).await);
        assert_eq!(
            (status, &told["name"], &told["expires_at"]),
            (200, &json!("alice"), &Value::Null)
        );
        let new = json!({"tenant_id": super::super::TENANT, "number": "+971500000009"});
        let add = asked("POST", "/v1/numbers", &new, "alice");
        refused(&daemon.send(add.clone()).await, 403, "cross_site");
        let added = daemon.send(add.with(PAGE.0, PAGE.1)).await;
        assert_eq!(added.word(), "201", "{added:?}");
        // He has no password to give again: the proxy asks for itself.
        let path = added.header("location").unwrap();
        let remove = asked("DELETE", path, &Value::Null, "alice").with(PAGE.0, PAGE.1);
        assert_eq!(daemon.send(remove).await.word(), "200");
        for name in ["nobody", "gone"] {
            let answer = daemon.send(asked("GET", "/v1/configs", &Value::Null, name)).await;
            refused(&answer, 403, "user_unknown");
        }
        for name in ["", " "] {
            let answer = daemon.send(asked("GET", "/v1/configs", &Value::Null, name)).await;
            refused(&answer, 403, "user_header_refused");
        }
        let mut twice = asked("GET", "/v1/configs", &Value::Null, "alice");
        twice.0.headers.push(("x-signed-in-as".into(), "root".into()));
        refused(&daemon.send(twice).await, 403, "user_header_refused");
        let local = asked("GET", "/v1/configs", &Value::Null, "root");
        refused(&daemon.send_local(local).await, 403, "user_header_refused");

        let socket = format!("{}2", site.socket().display());
        let elsewhere =
            proxied.with("HTTP_SOCKET", &socket).with("HTTP_USER_HEADER_FROM", "10.9.9.9");
        let elsewhere = Daemon::start(&elsewhere);
        let forged = asked("GET", "/v1/configs", &Value::Null, "root");
        let with_token = forged.clone().with("authorization", &format!("Bearer {token}"));
        for request in [forged.clone(), with_token, forged.with("x-forwarded-for", "10.9.9.9")] {
            refused(&elsewhere.send(request).await, 403, "user_header_refused");
        }
        assert_eq!(elsewhere.get(&token, "/v1/configs").await.0, 200);
        // Where no such header is set, it is one like any other.
        let plain = Daemon::start(&site.program.clone().with("HTTP_SOCKET", &format!("{socket}3")));
        let answer = plain.send(asked("GET", "/v1/configs", &Value::Null, "root")).await;
        refused(&answer, 401, "credential_missing");
    }
}

#[tokio::test]
async fn a_header_is_believed_from_named_addresses_alone() {
    let site = Site::new(Kind::Sqlite).await;
    let alone = site.program.clone().with("HTTP_USER_HEADER", "X-User");
    let (exit, said) = alone.run(&["settings", "check"]).failed_words();
    assert!(exit == 3 && said.contains("HTTP_USER_HEADER_FROM"), "{said}");
    let odd = alone.with("HTTP_USER_HEADER_FROM", "10.0.0.7");
    let run = odd.run(&["settings", "check"]);
    let said = format!("{}{}", run.out, run.err);
    assert!(said.contains("HTTP_BEHIND_PROXY"), "{said}");
}
