//! A daemon edits only if its role may, and says which grant it lacks.

use serde_json::{Value, json};

use super::{Daemon, NUMBER, Request, Site, TENANT, refused, status_and_body};
use crate::support::database::TestDatabase;
use crate::support::eventually;
use crate::support::postgres::{Cluster, psql};

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_edit_answers_with_the_grant_that_it_lacks_and_one_that_may_edits() {
    let cluster = Cluster::start();
    let name = cluster.database_name();
    let database = TestDatabase::on(&cluster.url(&name));
    database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    let site = Site::on(database).await;
    let token = site
        .client("editor", &["--all-tenants", "--may", "numbers,edit_numbers,configs,edit_configs"]);
    let grants = ["db", "grants", "--service", "app", "--editor", "ed", "--apply"];
    site.program.run(&grants).ok();
    psql(&site.database.url, "alter role app login");
    let service =
        site.program.clone().with("DATABASE_URL", &site.database.url.replace("owner@", "app@"));
    let daemon = Daemon::start(&service);
    daemon.is_ready().await;

    let config = site.database.store().configs().await.unwrap()[0].id;
    let new = json!({"tenant_id": TENANT, "number": "+971500000009"});
    let path = format!("/v1/configs/{config}");
    for (method, path, body) in [
        ("POST", "/v1/numbers", new.clone()),
        ("PATCH", &*path, json!({"name": "us"})),
        ("DELETE", &*path, Value::Null),
    ] {
        let answer = daemon.call(&token, method, path, &body).await;
        let problem = refused(&answer, 503, "database_role_may_not");
        assert!(problem["hint"].as_str().unwrap().contains("db grants --edit"), "{problem}");
        assert_eq!(answer.header("retry-after"), None, "asking again does not help");
    }
    assert_eq!(daemon.get(&token, "/v1/numbers").await.0, 200);

    site.program.run(&[&grants[..], &["--edit"]].concat()).ok();
    let key = Request::new("POST", "/v1/numbers", &new, &token).with("idempotency-key", "k");
    let created = daemon.send(key).await;
    assert_eq!(created.word(), "201", "{created:?}");
    let changed = daemon.call(&token, "PATCH", &path, &json!({"name": "us"})).await;
    assert_eq!(changed.word(), "200", "{changed:?}");
    let path = created.header("location").unwrap();
    assert_eq!(daemon.call(&token, "DELETE", path, &Value::Null).await.word(), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_place_calls_runs_batches_and_another_one_says_what_it_lacks() {
    let cluster = Cluster::start();
    let name = cluster.database_name();
    let database = TestDatabase::on(&cluster.url(&name));
    database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    let site = Site::on(database).await;
    let token = site.client("dialler", &["--tenant", TENANT, "--may", "calls"]);
    let grants = ["db", "grants", "--service", "app", "--editor", "ed", "--apply"];
    site.program.run(&grants).ok();
    psql(&site.database.url, "alter role app login");
    let service = site
        .program
        .clone()
        .with("DATABASE_URL", &site.database.url.replace("owner@", "app@"))
        .with("DATA_DIR", site.folder.path().to_str().unwrap());
    let daemon = Daemon::start(&service);
    daemon.is_ready().await;
    // Nothing in it can be called, so it ends by itself.
    let upload = || {
        Request::post("/v1/batches?anyway=true", &Value::Null)
            .with("content-type", "text/csv")
            .with("authorization", &format!("Bearer {token}"))
            .with("idempotency-key", "k")
            .body(&format!("tenant,from,to\n{TENANT},{NUMBER},x\n"))
    };
    refused(&daemon.send(upload()).await, 503, "database_role_may_not");
    site.program.run(&[&grants[..], &["--calls"]].concat()).ok();
    let begun = daemon.send(upload()).await;
    assert_eq!(begun.word(), "201", "{begun:?}");
    let path = begun.header("location").unwrap().to_owned();
    eventually("it has ended", async || daemon.get(&token, &path).await.1["state"] == "left").await;
    let resumed = daemon.call(&token, "POST", &format!("{path}/resume"), &json!({})).await;
    assert_eq!(status_and_body(&resumed).0, 200, "{resumed:?}");
}
