//! The LiveKit configs: what is edited, which version it has, and that no secret comes out.

use serde_json::{Value, json};
use sqlx::Connection;
use trunkline::ExposeSecret;

use super::{Daemon, NUMBER, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::eventually;

const EDITS: [&str; 3] = ["--all-tenants", "--may", "configs,edit_configs,resolve,secret"];
const CANARY: &str = "canary-of-a-new-config";

fn new(name: &str) -> Value {
    json!({"name": name, "url": "wss://new.example", "api_key": format!("API{name}"),
        "api_secret": CANARY, "trunk_id": "ST_new", "description": "Notes."})
}

async fn created(daemon: &Daemon, token: &str, name: &str) -> (String, String) {
    let answer = daemon.call(token, "POST", "/v1/configs", &new(name)).await;
    assert_eq!(answer.word(), "201", "{answer:?}");
    let header = |name| answer.header(name).unwrap().to_owned();
    (header("location"), header("etag"))
}

async fn opened(site: &Site, name: &str) -> String {
    let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
    let ring = trunkline::KeyRing::parse(&key).unwrap();
    let config = site.database.store().config_named(name).await.unwrap().unwrap();
    config.open(&ring).unwrap().secret.expose_secret().clone()
}

#[tokio::test]
async fn a_config_is_created_read_changed_and_removed_and_its_secret_is_in_no_answer() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let (path, version) = created(&daemon, &token, "us").await;
        assert_eq!(opened(&site, "us").await, CANARY);
        refused(&daemon.call(&token, "POST", "/v1/configs", &new("us")).await, 409, "name_taken");

        let read = daemon.call(&token, "GET", &path, &Value::Null).await;
        assert_eq!(read.header("etag"), Some(&*version));
        let config: Value = serde_json::from_str(&read.body).unwrap();
        assert_eq!((&config["api_secret"], &config["bound"]), (&json!("set"), &json!(false)));
        assert_eq!(config["sealed_under"].as_str().unwrap().len(), 8);
        assert_eq!(
            (&config["trunk_id"], &config["description"]),
            (&json!("ST_new"), &json!("Notes."))
        );
        let listed = daemon.call(&token, "GET", "/v1/configs", &Value::Null).await;

        let edit = json!({"trunk_id": null, "agent_name": "agent", "name": "usa"});
        let changed = daemon.call_if(&token, "PATCH", &path, &edit, &version).await;
        assert_eq!(changed.word(), "200", "{changed:?}");
        let newer = changed.header("etag").unwrap().to_owned();
        let (_, config) = daemon.get(&token, &path).await;
        assert_eq!((&config["trunk_id"], &config["agent_name"]), (&Value::Null, &json!("agent")));
        assert_eq!((&config["name"], &config["description"]), (&json!("usa"), &json!("Notes.")));
        assert_eq!(format!("\"{}\"", config["version"].as_str().unwrap()), newer);
        for edit in [json!({"name": "x"}), json!({"api_secret": "another"})] {
            let late = daemon.call_if(&token, "PATCH", &path, &edit, &version).await;
            refused(&late, 412, "version_mismatch");
        }
        assert_eq!(opened(&site, "usa").await, CANARY, "what was refused changed nothing");

        let duplicate = format!("{path}/duplicate");
        let twin = daemon.call(&token, "POST", &duplicate, &json!({"name": "twin"})).await;
        assert_eq!(twin.word(), "201", "{twin:?}");
        assert_eq!(opened(&site, "twin").await, CANARY);
        let (_, twins) = daemon.get(&token, twin.header("location").unwrap()).await;
        assert_eq!((&twins["agent_name"], &twins["url"]), (&json!("agent"), &config["url"]));

        for answer in [&read, &listed, &changed, &twin] {
            let whole = format!("{answer:?}");
            assert!(!whole.contains("canary") && !whole.contains("dev-s-t-"), "{whole}");
        }
        let gone = daemon.call_if(&token, "DELETE", &path, &Value::Null, &newer).await;
        assert_eq!(gone.word(), "200", "{gone:?}");
        refused(&daemon.call(&token, "GET", &path, &Value::Null).await, 404, "config_not_found");
        let (_, err) = daemon.process.end_by("-TERM");
        assert!(!err.contains("canary"), "{err}");
    }
}

#[tokio::test]
async fn an_edit_moves_the_version_and_a_reseal_under_another_key_does_not() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let (old, new) = (
            site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY"),
            trunkline::KeyRing::generate().unwrap(),
        );
        let both = format!("{}, {old}", *new);
        let daemon =
            Daemon::start(&site.program.clone().with("LIVEKIT_SECRET_ENCRYPTION_KEY", &both));
        let id = site.database.store().configs().await.unwrap()[0].id;
        let path = format!("/v1/configs/{id}");
        let look = async || {
            let answer = daemon.call(&token, "GET", &path, &Value::Null).await;
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            let key = body["sealed_under"].as_str().unwrap().to_owned();
            (answer.header("etag").unwrap().to_owned(), key, body["bound"] == true)
        };
        let before = look().await;
        let rotated = site.program.clone().with("LIVEKIT_SECRET_ENCRYPTION_KEY", &both);
        rotated.run(&["key", "bind", "--all"]).ok();
        let after = look().await;
        assert_eq!(before.0, after.0);
        assert!(before.1 != after.1 && !before.2 && after.2, "{before:?} {after:?}");

        // A bound one stays bound by whatever is changed of it, and its secret can be changed.
        let edit = json!({"url": "wss://elsewhere.example"});
        let moved = daemon.call_if(&token, "PATCH", &path, &edit, &after.0).await;
        let version = moved.header("etag").unwrap().to_owned();
        assert_ne!(version, after.0);
        let other = json!({"api_secret": "another-secret-of-eu"});
        let changed = daemon.call_if(&token, "PATCH", &path, &other, &version).await;
        assert_ne!(changed.header("etag"), Some(&*version), "the secret is part of the version");
        assert!(look().await.2);
        let ask = json!({"tenant": TENANT, "from": NUMBER, "secret": true});
        let (status, resolved) = daemon.answer(&token, "/v1/resolve", &ask).await;
        assert_eq!((status, &resolved["api_secret"]), (200, &json!("another-secret-of-eu")));
        assert_eq!(resolved["url"], "wss://elsewhere.example");
    }
}

#[tokio::test]
async fn a_config_is_disabled_and_enabled_and_either_moves_its_version() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let limited = ["--tenant", TENANT, "--may", "configs,edit_configs"];
        let limited = site.client("limited", &limited);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let id = site.database.store().configs().await.unwrap()[0].id;
        let path = format!("/v1/configs/{id}");
        let (disable, enable) = (format!("{path}/disable"), format!("{path}/enable"));
        let version = async || {
            let read = daemon.call(&token, "GET", &path, &Value::Null).await;
            read.header("etag").unwrap().to_owned()
        };
        let ask = json!({"tenant": TENANT, "from": NUMBER});
        let first = version().await;
        let switched = daemon.call_if(&token, "POST", &disable, &json!({}), &first).await;
        assert_eq!(switched.word(), "200", "{switched:?}");
        assert!(switched.body.contains("\"applied\":true"), "{switched:?}");
        let second = version().await;
        assert_eq!(switched.header("etag"), Some(&*second));
        assert_ne!(first, second);
        let (_, config) = daemon.get(&token, &path).await;
        assert!(config["disabled_at"].is_string(), "{config}");
        let (status, problem) = daemon.answer(&token, "/v1/resolve", &ask).await;
        assert_eq!((status, &problem["code"]), (422, &json!("environment_incomplete")));
        assert!(problem["detail"].as_str().unwrap().contains("config_disabled"), "{problem}");

        let late = daemon.call_if(&token, "POST", &enable, &json!({}), &first).await;
        refused(&late, 412, "version_mismatch");
        for path in [&disable, &enable] {
            let answer = daemon.ask(&limited, path, &json!({})).await;
            refused(&answer, 403, "client_limited");
            let answer = daemon.ask(&token, path, &json!({"at": 1})).await;
            refused(&answer, 400, "field_unknown");
            let elsewhere = path.replace(&id.to_string(), &uuid::Uuid::nil().to_string());
            refused(&daemon.ask(&token, &elsewhere, &json!({})).await, 404, "config_not_found");
        }
        let switched = daemon.call_if(&token, "POST", &enable, &json!({}), &second).await;
        assert_eq!((switched.word(), switched.header("etag")), ("200", Some(&*first)));
        assert_eq!(daemon.answer(&token, "/v1/resolve", &ask).await.0, 200);
        assert_eq!(version().await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_held_against_what_is_there_once_nobody_else_writes_it() {
    let site = Site::new(Kind::Postgres).await;
    let token = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let id = site.database.store().configs().await.unwrap()[0].id;
    let path = format!("/v1/configs/{id}");
    let read = daemon.call(&token, "GET", &path, &Value::Null).await;
    let version = read.header("etag").unwrap().to_owned();
    let url = site.database.url.clone();
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    let disables = "begin; update voice_agent_livekit set trunkline_disabled_at = now()";
    sqlx::raw_sql(disables).execute(&mut other).await.unwrap();
    let edit = json!({"trunk_id": "ST_late"});
    let edits = daemon.call_if(&token, "PATCH", &path, &edit, &version);
    let commits = async {
        eventually("the edit waits for the row", async || {
            let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
            crate::support::postgres::psql(&url, waits) == "1"
        })
        .await;
        sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    };
    let (answer, ()) = tokio::join!(edits, commits);
    refused(&answer, 412, "version_mismatch");
}

#[tokio::test]
async fn a_config_that_numbers_use_is_not_removed() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        let id = site.database.store().configs().await.unwrap()[0].id;
        let path = format!("/v1/configs/{id}");
        let answer = daemon.call(&token, "DELETE", &path, &Value::Null).await;
        let body = refused(&answer, 409, "config_in_use");
        assert!(body["detail"].as_str().unwrap().contains("1 numbers"), "{body}");
        assert!(site.database.store().config(id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn pages_and_search_go_by_name() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        for name in ["b", "100%", "a_b", "axb"] {
            created(&daemon, &token, name).await;
        }
        let names = async |query: &str| {
            let (mut names, mut cursor) = (Vec::new(), String::new());
            loop {
                let (status, body) =
                    daemon.get(&token, &format!("/v1/configs?{query}{cursor}")).await;
                assert_eq!(status, 200, "{body}");
                let page = body["configs"].as_array().unwrap().clone();
                names.extend(page.iter().map(|config| config["name"].as_str().unwrap().to_owned()));
                match body["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return names,
                }
            }
        };
        let whole = names("").await;
        assert_eq!(whole.len(), 5);
        assert_eq!(names("limit=1").await, whole, "{kind:?}");
        assert_eq!(names("limit=2").await, whole, "{kind:?}");
        assert_eq!(names("search=a_B").await, ["a_b"], "no wildcard");
        assert_eq!(names("search=%25").await, ["100%"]);
        assert_eq!(names("search=nothing").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_the_command_line_refuses_is_refused_with_its_codes_and_nothing_is_written() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("editor", &EDITS);
    let program =
        site.program.clone().with("LIVEKIT_HOSTS", "*.example, 169.254.169.254, localhost");
    let daemon = Daemon::start(&program);
    let with = |member: &str, value: Value| {
        let mut body = new("us");
        body[member] = value;
        body
    };
    let foreign = crate::support::ring().seal("s3cret", 0).unwrap().as_str().to_owned();
    for (body, code, field) in [
        (with("url", json!("http://169.254.169.254/latest")), "off_limits", "url"),
        (with("url", json!("wss://elsewhere.test")), "host_not_allowed", "url"),
        (with("url", json!("ftp://us.example")), "url_malformed", "url"),
        (with("name", json!(" ")), "field_malformed", "name"),
        (with("api_key", json!("A B")), "field_malformed", "api_key"),
        (with("api_secret", json!("padded ")), "secret_malformed", "api_secret"),
        (with("api_secret", json!(foreign)), "no_key_fits", "api_secret"),
        (with("agent_name", json!("a\u{202e}")), "field_malformed", "agent_name"),
        (with("trunk_id", json!(7)), "field_malformed", "trunk_id"),
        (with("secret", json!("x")), "field_unknown", "the body"),
    ] {
        let answer = daemon.call(&token, "POST", "/v1/configs", &body).await;
        let problem = refused(&answer, 400, code);
        assert_eq!(problem["field"], field, "{problem}");
        assert!(!answer.body.contains("padded") && !answer.body.contains("canary"), "{answer:?}");
    }
    let body = json!({"name": "", "url": "x y", "api_key": "", "api_secret": ""});
    let problem =
        refused(&daemon.call(&token, "POST", "/v1/configs", &body).await, 400, "field_malformed");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 4, "{problem}");
    let id = site.database.store().configs().await.unwrap()[0].id;
    let path = format!("/v1/configs/{id}");
    let edit = json!({"url": "http://169.254.169.254/"});
    refused(&daemon.call(&token, "PATCH", &path, &edit).await, 400, "off_limits");
    assert_eq!(site.database.store().configs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_daemon_that_takes_bound_secrets_alone_binds_what_it_creates() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("editor", &EDITS);
    let daemon = Daemon::start(&site.program.clone().with("BOUND_SECRETS_ONLY", "true"));
    let (path, version) = created(&daemon, &token, "us").await;
    let read = daemon.call(&token, "GET", &path, &Value::Null).await;
    let config: Value = serde_json::from_str(&read.body).unwrap();
    assert_eq!(config["bound"], true, "{config}");
    assert_eq!(read.header("etag"), Some(&*version));
    assert_eq!(opened(&site, "us").await, CANARY);
}

#[tokio::test]
async fn a_path_is_answered_by_each_of_its_methods_and_counted_by_its_template() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let id = site.database.store().configs().await.unwrap()[0].id;
    let path = format!("/v1/configs/{id}");
    assert_eq!(daemon.get(&token, &path).await.0, 200);
    let answer = daemon.call(&token, "PUT", &path, &json!({})).await;
    refused(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET, PATCH, DELETE"));
    let answer = daemon.call(&token, "GET", "/v1/numbers/assign", &Value::Null).await;
    assert_eq!(answer.header("allow"), Some("POST"), "it is no id of a number");
    for path in ["/v1/configs/", "/v1/configs/a/b", "/v1/configs/x/duplicate/y", "/v1/config"] {
        refused(&daemon.call(&token, "GET", path, &Value::Null).await, 404, "not_found");
    }
    for id in ["x", "00000000-0000-0000-0000-000000000000", "%00"] {
        let path = format!("/v1/configs/{id}");
        refused(&daemon.call(&token, "GET", &path, &Value::Null).await, 404, "config_not_found");
    }
    let metrics = daemon.metrics().await;
    let counted = r#"trunkline_http_requests_total{route="/v1/configs/{id}",code="200"} 1"#;
    let other = r#"trunkline_http_requests_total{code="200",route="/v1/configs/{id}"} 1"#;
    assert!(metrics.lines().any(|line| line == counted || line == other), "{metrics}");
    assert!(!metrics.contains(&id.to_string()));
}
