//! What people leave: in the audit, in logs, and what stays while the database is away.

use super::*;

#[tokio::test]
async fn without_the_database_who_is_signed_in_stays_so_and_nobody_else_comes_in() {
    let mut cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    let site = Site::on(database).await;
    let password = site.user("alice", "admin");
    let daemon = Daemon::start(&site.program.clone().with("STORE_DEADLINE", "2s"));
    daemon.is_ready().await;
    let cookie = daemon.signed_in("alice", &password).await;
    let reads = async |cookie: &str| {
        daemon.browse(cookie, "GET", "/v1/session", &Value::Null).await.word().to_owned()
    };
    assert_eq!(reads(&cookie).await, "200");
    cluster.stop();
    eventually("nobody comes in", async || daemon.login("alice", &password).await.word() == "503")
        .await;
    assert_eq!(reads(&cookie).await, "200");
    let stranger = trunkline::access::SessionToken::generate().unwrap();
    assert_eq!(reads(&format!("trunkline={}", stranger.as_str())).await, "401");
    cluster.restart();
    eventually("he signs in again", async || {
        daemon.login("alice", &password).await.word() == "200"
    })
    .await;
}

#[tokio::test]
async fn an_edit_of_a_person_names_him_in_the_audit_and_in_the_log_of_changes() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("alice", "admin");
        let daemon = site.daemon();
        let cookie = daemon.signed_in("alice", &password).await;
        let config = site.database.store().configs().await.unwrap()[0].id;
        let path = format!("/v1/configs/{config}");
        let edit = json!({"agent_name": "by-alice"});
        assert_eq!(daemon.browse(&cookie, "PATCH", &path, &edit).await.word(), "200");
        let audit = "/v1/audit?entity=config&limit=1";
        let (_, page) = status_and_body(&daemon.browse(&cookie, "GET", audit, &Value::Null).await);
        let claimed = &page["entries"][0]["claimed"];
        assert_eq!(
            (&claimed["client_name"], &claimed["actor"]),
            (&json!("user:alice"), &json!("user:alice")),
            "{page}"
        );
        let by_alice = "/v1/audit?who=user:alice";
        let (_, page) =
            status_and_body(&daemon.browse(&cookie, "GET", by_alice, &Value::Null).await);
        assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
        if kind == Kind::Postgres {
            let (_, page) = status_and_body(
                &daemon.browse(&cookie, "GET", "/v1/changes?limit=1", &Value::Null).await,
            );
            assert_eq!(page["changes"][0]["actor"], "user:alice", "{page}");
        }
    }
}

/// Everything that is asked here, at every level of the log.
#[tokio::test]
async fn no_password_hash_or_cookie_is_in_an_answer_a_log_or_the_audit() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("alice", "admin");
        let mut daemon = Daemon::start(&site.program.clone().with("RUST_LOG", "trace"));
        // Read meanwhile, since it is more than a pipe holds.
        let mut lines = daemon.process.child.stderr.take().unwrap();
        let log = std::thread::spawn(move || std::io::read_to_string(&mut lines).unwrap());
        let cookie = daemon.signed_in("alice", &password).await;
        let hash = site.database.value("select password_hash from trunkline_users").await;
        let stored = site.database.value("select token_hash from trunkline_sessions").await;
        let wrong = "canary of a wrong password";
        let mut texts = vec![
            daemon.login("alice", wrong).await.body,
            daemon.login(wrong, "x").await.body,
            site.program.run(&["user", "show", "alice", "--json"]).ok(),
            site.program.run(&["audit", "list", "--json"]).ok(),
        ];
        for (method, path, body) in [
            ("GET", "/v1/session", Value::Null),
            ("GET", "/v1/users", Value::Null),
            ("GET", "/v1/audit", Value::Null),
            ("POST", "/v1/users", json!({"name": "bob", "role": "viewer", "password": wrong})),
            ("POST", "/v1/session/confirm", json!({"password": wrong})),
            ("POST", "/v1/session/confirm", json!({"password": password})),
            ("POST", "/v1/session/confirm", json!({"passwort": wrong})),
        ] {
            texts.push(daemon.browse(&cookie, method, path, &body).await.body);
        }
        texts.push(daemon.metrics().await);
        daemon.process.signal("-TERM");
        let log = log.join().unwrap();
        assert!(log.contains("signed in") && log.contains("a login failed"), "the log was caught");
        texts.push(log);
        let token = cookie.strip_prefix("trunkline=tls_").unwrap();
        for text in texts {
            for secret in [password.as_str(), wrong, token, &stored, &hash] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
}
