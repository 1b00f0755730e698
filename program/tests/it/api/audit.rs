//! The audit over the API: edits say on whose behalf they were made, and who may read it reads it.

use serde_json::{Value, json};
use trunkline::store::Migrations;

use super::{Daemon, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind};

const EDITS: [&str; 3] =
    ["--all-tenants", "--may", "configs,edit_configs,numbers,edit_numbers,audit"];

fn new(name: &str) -> Value {
    json!({"name": name, "url": "wss://new.example", "api_key": "APInew", "api_secret": "canary"})
}

async fn entries(daemon: &Daemon, token: &str, query: &str) -> Vec<Value> {
    let (status, body) = daemon.get(token, &format!("/v1/audit{query}")).await;
    assert_eq!(status, 200, "{body}");
    body["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_edit_over_the_api_names_its_client_its_request_and_where_it_came_from() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &EDITS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let made = daemon.call(&token, "POST", "/v1/configs", &new("us")).await;
        assert_eq!(made.word(), "201", "{made:?}");
        let request = made.header("x-request-id").unwrap().to_owned();
        let id = made.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
        let found = entries(&daemon, &token, &format!("?request={request}")).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let claimed = &found[0]["claimed"];
        assert_eq!(
            (&claimed["client_name"], &claimed["actor"]),
            (&json!("console"), &json!("client console"))
        );
        assert_eq!((&claimed["request"], &claimed["from"]), (&json!(request), &json!("127.0.0.1")));
        let login = if kind == Kind::Postgres { json!("owner") } else { Value::Null };
        assert_eq!((&found[0]["login"], &found[0]["row_id"]), (&login, &json!(id)));
        for (method, path, body) in [
            (
                "PATCH",
                format!("/v1/configs/{id}"),
                json!({"description": "x", "api_secret": "canary2"}),
            ),
            ("POST", "/v1/numbers".into(), json!({"tenant_id": TENANT, "number": "+971500000009"})),
            ("DELETE", format!("/v1/configs/{id}"), Value::Null),
        ] {
            let done = daemon.call(&token, method, &path, &body).await;
            assert!(done.word().starts_with('2'), "{done:?}");
        }
        let client = claimed["client"].as_str().unwrap().to_owned();
        assert_eq!(entries(&daemon, &token, &format!("?who={client}")).await.len(), 4);
        let refused_edit = daemon.call(&token, "POST", "/v1/configs", &new("eu")).await;
        refused(&refused_edit, 409, "name_taken");
        assert_eq!(entries(&daemon, &token, "?who=console").await.len(), 4, "it was rolled back");

        // What the session said ends with its transaction.
        site.database.sql("update voice_agent_livekit set trunk_id = 'ST_x'").await;
        let newest = &entries(&daemon, &token, "?limit=1").await[0];
        assert_eq!(newest["claimed"].get("client"), None, "{newest}");
        let actor = site
            .database
            .value("select actor from voice_agent_changes order by seq desc limit 1 offset 1");
        let told = if kind == Kind::Postgres { "client console" } else { "local" };
        assert_eq!(actor.await, told, "the change log knows it, too");
    }
}

#[tokio::test]
async fn it_is_filtered_and_comes_in_pages_and_holds_no_secret() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("console", &EDITS);
    let daemon = site.daemon();
    for name in ["a", "b", "c"] {
        let made = daemon.call(&token, "POST", "/v1/configs", &new(name)).await;
        assert_eq!(made.word(), "201");
    }
    let all = entries(&daemon, &token, "").await;
    assert_eq!(all.len(), 6, "a config, a number, a client, and three configs");
    let count = async |query: &str| entries(&daemon, &token, query).await.len();
    assert_eq!((count("?entity=client").await, count("?operation=delete").await), (1, 0));
    assert_eq!(
        (count("?number=%2B971500000001").await, count(&format!("?tenant={TENANT}")).await),
        (1, 1)
    );
    assert_eq!(
        (count("?since=2001-01-01T00:00:00Z").await, count("?until=2001-01-01T00:00:00Z").await),
        (6, 0)
    );
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = daemon.get(&token, &format!("/v1/audit?limit=4{cursor}")).await;
        seen.extend(page["entries"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let ids =
        |entries: &[Value]| entries.iter().map(|entry| entry["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&seen), ids(&all));
    for query in ["?since=yesterday", "?entity=x", "?id=7", "?number=7", "?limit=0", "?more=1"] {
        let answer = daemon.call(&token, "GET", &format!("/v1/audit{query}"), &Value::Null).await;
        assert_eq!(answer.word(), "400", "{query}: {answer:?}");
    }
    let whole = format!("{all:?}");
    assert!(!whole.contains("canary") && !whole.contains("dev-s-t-"), "{whole}");
}

#[tokio::test]
async fn the_versions_of_a_config_say_which_columns_became_what() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &EDITS);
        let daemon = site.daemon();
        let made = daemon.call(&token, "POST", "/v1/configs", &new("us")).await;
        let path = made.header("location").unwrap().to_owned();
        let edit = json!({"trunk_id": "ST_us", "api_secret": "canary2"});
        assert_eq!(daemon.call(&token, "PATCH", &path, &edit).await.word(), "200");
        let versions = format!("{path}/versions");
        let (status, body) = daemon.get(&token, &versions).await;
        assert_eq!(status, 200, "{body}");
        let [changed, created] = &body["versions"].as_array().unwrap()[..] else {
            panic!("{body}")
        };
        assert_eq!(changed["fields"], json!(["livekit_api_secret", "trunk_id"]));
        assert_eq!(changed["before"], json!({"livekit_api_secret": "set", "trunk_id": null}));
        assert_eq!(changed["after"], json!({"livekit_api_secret": "changed", "trunk_id": "ST_us"}));
        assert_eq!((&created["before"], &created["after"]["name"]), (&Value::Null, &json!("us")));
        assert!(!format!("{body}").contains("canary"));
        daemon.call(&token, "DELETE", &path, &Value::Null).await;
        assert_eq!(daemon.get(&token, &versions).await.1["versions"].as_array().unwrap().len(), 3);
        let none = "/v1/configs/00000000-0000-0000-0000-000000000009/versions";
        refused(&daemon.call(&token, "GET", none, &Value::Null).await, 404, "config_not_found");
    }
}

#[tokio::test]
async fn a_client_that_is_limited_or_lacks_the_scope_sees_nothing_of_it() {
    let site = Site::new(Kind::Sqlite).await;
    let tenant = site.client("of-a", &["--tenant", TENANT, "--may", "audit,configs"]);
    let few =
        site.client("few", &["--all-tenants", "--number", "+97150", "--may", "audit,configs"]);
    let other = site.client("other", &["--all-tenants", "--may", "fleet"]);
    let daemon = site.daemon();
    let id = site.database.store().configs().await.unwrap()[0].id;
    let absent = "00000000-0000-0000-0000-000000000009";
    for path in [
        "/v1/audit",
        &format!("/v1/configs/{id}/versions"),
        &format!("/v1/configs/{absent}/versions"),
    ] {
        for token in [&tenant, &few] {
            let answer = daemon.call(token, "GET", path, &Value::Null).await;
            refused(&answer, 403, "client_limited");
        }
        refused(&daemon.call(&other, "GET", path, &Value::Null).await, 403, "scope_missing");
    }
}

#[tokio::test]
async fn on_a_database_without_the_audit_clients_edit_as_before() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &EDITS);
        site.database.open.migrate(Migrations::DownTo(10)).await.unwrap();
        let daemon = site.daemon();
        let made = daemon.call(&token, "POST", "/v1/configs", &new("us")).await;
        assert_eq!(made.word(), "201", "{made:?}");
        let answer = daemon.call(&token, "GET", "/v1/audit", &Value::Null).await;
        refused(&answer, 503, "not_migrated");
    }
}
