//! The caller numbers: pages, filters, versions, and what is assigned to many at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Daemon, OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::pooler::Pooler;
use crate::support::postgres::{Cluster, tcp_url};
use crate::support::{caller, number};

const EDITS: [&str; 3] = ["--all-tenants", "--may", "numbers,edit_numbers,configs,resolve"];

async fn listed(daemon: &Daemon, token: &str, query: &str) -> Value {
    let (status, body) = daemon.get(token, &format!("/v1/numbers?{query}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    body
}

/// Every page of a list, and what stands on them.
async fn all(daemon: &Daemon, token: &str, query: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let body = listed(daemon, token, &format!("{query}{cursor}")).await;
        pages.push(body["numbers"].as_array().unwrap().clone());
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

fn shown(numbers: &[Value]) -> Vec<&str> {
    numbers.iter().map(|number| number["number"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_number_is_created_read_changed_and_removed_and_each_is_used_at_once() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let config = site.database.store().configs().await.unwrap()[0].id.to_string();
        let new = json!({"tenant_id": TENANT, "number": "+971500000009", "provider": "du",
            "rules": {"outbound": true}, "config_id": config});
        let created = daemon.call(&token, "POST", "/v1/numbers", &new).await;
        assert_eq!(created.word(), "201", "{created:?}");
        let body: Value = serde_json::from_str(&created.body).unwrap();
        let path = created.header("location").unwrap().to_owned();
        assert_eq!(path, format!("/v1/numbers/{}", body["id"].as_str().unwrap()));
        assert_eq!(body["applied"], true, "{body}");
        assert_eq!(body["seen_by"], json!({"nodes": 1, "of": 1}));
        // What was applied is what calls get.
        let ask = json!({"tenant": TENANT, "from": "+971500000009"});
        assert_eq!(daemon.answer(&token, "/v1/resolve", &ask).await.1["config_name"], "eu");
        let again = daemon.call(&token, "POST", "/v1/numbers", &new).await;
        refused(&again, 409, "number_taken");

        let read = daemon.call(&token, "GET", &path, &Value::Null).await;
        let number: Value = serde_json::from_str(&read.body).unwrap();
        let version = read.header("etag").unwrap().to_owned();
        assert_eq!(Some(&*version), created.header("etag"), "{kind:?}");
        assert_eq!(version, format!("\"{}\"", number["version"].as_str().unwrap()));
        assert_eq!(number["provider"], "du");
        assert_eq!(number["config_id"], config.as_str());
        assert_eq!(number["rules"], json!({"outbound": true, "livekit_config": config}));

        let edit = json!({"provider": null, "config_id": null});
        let changed = daemon.call_if(&token, "PATCH", &path, &edit, &version).await;
        assert_eq!(changed.word(), "200", "{changed:?}");
        let newer = changed.header("etag").unwrap().to_owned();
        assert_ne!(newer, version);
        assert_eq!(
            daemon.answer(&token, "/v1/resolve", &ask).await.1["code"],
            "environment_incomplete"
        );
        let late =
            daemon.call_if(&token, "PATCH", &path, &json!({"provider": "x"}), &version).await;
        refused(&late, 412, "version_mismatch");
        let late = daemon.call_if(&token, "DELETE", &path, &Value::Null, &version).await;
        refused(&late, 412, "version_mismatch");
        let (_, left) = daemon.get(&token, &path).await;
        assert_eq!((&left["provider"], &left["config_id"]), (&Value::Null, &Value::Null));
        assert_eq!(left["rules"], json!({"outbound": true}));

        let gone = daemon.call_if(&token, "DELETE", &path, &Value::Null, &newer).await;
        assert_eq!(gone.word(), "200", "{gone:?}");
        for method in ["GET", "DELETE", "PATCH"] {
            let answer = daemon.call(&token, method, &path, &json!({})).await;
            refused(&answer, 404, "number_not_found");
        }
    }
}

#[tokio::test]
async fn pages_have_every_number_once_and_in_order_ties_included() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let store = site.database.store();
        // The same number of several tenants is a tie.
        for tenant in 2..5 {
            for at in 1..4 {
                store.add_number(&number(caller(tenant, at), None)).await.unwrap();
            }
        }
        let token = site.client("reader", &["--all-tenants", "--may", "numbers"]);
        let daemon = site.daemon();
        let whole = all(&daemon, &token, "limit=500").await.concat();
        assert_eq!(whole.len(), 10);
        for limit in [1, 3, 9, 10] {
            let pages = all(&daemon, &token, &format!("limit={limit}")).await;
            assert!(pages.iter().all(|page| page.len() <= limit), "{kind:?} {limit}");
            assert_eq!(pages.concat(), whole, "{kind:?} {limit}");
        }
        let ids: BTreeSet<_> = whole.iter().map(|number| number["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 10);
        assert!(shown(&whole).is_sorted());
        // A row that comes or goes meanwhile moves no other one.
        let first = listed(&daemon, &token, "limit=4").await;
        store.add_number(&number(caller(9, 0), None)).await.unwrap();
        let next = first["next"].as_str().unwrap();
        let second = listed(&daemon, &token, &format!("limit=4&cursor={next}")).await;
        assert_eq!(second["numbers"].as_array().unwrap()[..], whole[4..8], "{kind:?}");
    }
}

#[tokio::test]
async fn each_filter_leaves_what_it_names() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let store = site.database.store();
        let config = store.configs().await.unwrap()[0].id;
        for at in [2, 1000, 99_000_000] {
            store.add_number(&number(caller(2, at), None)).await.unwrap();
        }
        // However the rules spell the id.
        let spelled = format!("{{{}}}", config.to_string().to_uppercase());
        store
            .add_number(&trunkline::store::NewNumber {
                caller: caller(2, 3),
                provider: None,
                rules: json!({"livekit_config": spelled}),
            })
            .await
            .unwrap();
        let token = site.client("reader", &["--all-tenants", "--may", "numbers"]);
        let daemon = site.daemon();
        let many = async |query: &str| all(&daemon, &token, query).await.concat().len();
        assert_eq!(many("limit=2").await, 5);
        assert_eq!(many(&format!("tenant_id={TENANT}")).await, 1);
        assert_eq!(many(&format!("tenant_id={OTHER_TENANT}&limit=1")).await, 4);
        assert_eq!(many(&format!("config_id={config}")).await, 2);
        assert_eq!(many("assigned=true").await, 2);
        assert_eq!(many("assigned=false").await, 3);
        assert_eq!(many("prefix=%2B97150000").await, 4);
        assert_eq!(many("prefix=%2B971599").await, 1);
        assert_eq!(many("prefix=%2B9715").await, 5);
        assert_eq!(many("prefix=%2B9").await, 5);
        assert_eq!(many("prefix=%2B1").await, 0);
        for (query, field) in [
            ("prefix=971", "prefix"),
            ("assigned=yes", "assigned"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=1&limit=2", "limit"),
            ("tenant_id=acme", "tenant_id"),
            ("prefix=%2B9%00", "prefix"),
            ("tenant=x", "the query"),
        ] {
            let (status, body) = daemon.get(&token, &format!("/v1/numbers?{query}")).await;
            assert_eq!((status, body["field"].as_str()), (400, Some(field)), "{query} {body}");
        }
    }
}

#[tokio::test]
async fn a_cursor_is_refused_when_it_was_altered_and_with_another_filter_or_client() {
    let site = Site::new(Kind::Sqlite).await;
    let store = site.database.store();
    store.add_number(&number(caller(1, 2), None)).await.unwrap();
    let reads = ["--all-tenants", "--may", "numbers,configs"];
    let (token, other) = (site.client("reader", &reads), site.client("other", &reads));
    let daemon = site.daemon();
    let first = listed(&daemon, &token, "limit=1&prefix=%2B971").await;
    let cursor = first["next"].as_str().unwrap();
    let altered = format!("{}A", &cursor[..cursor.len() - 1]);
    for (token, path) in [
        (&token, format!("/v1/numbers?limit=1&prefix=%2B971&cursor={altered}")),
        (&token, format!("/v1/numbers?limit=1&prefix=%2B97&cursor={cursor}")),
        (&token, format!("/v1/numbers?limit=1&cursor={cursor}")),
        (&token, format!("/v1/configs?limit=1&prefix=%2B971&cursor={cursor}")),
        (&other, format!("/v1/numbers?limit=1&prefix=%2B971&cursor={cursor}")),
        (&token, "/v1/numbers?cursor=x".into()),
    ] {
        let (status, body) = daemon.get(token, &path).await;
        let code = body["code"].as_str().unwrap();
        assert!(status == 400 && ["cursor_invalid", "field_unknown"].contains(&code), "{body}");
    }
    let same = listed(&daemon, &token, &format!("prefix=%2B971&cursor={cursor}")).await;
    assert_eq!(same["numbers"].as_array().unwrap().len(), 1, "another limit is no other list");
}

#[tokio::test]
async fn an_assignment_is_previewed_and_is_all_or_nothing() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let store = site.database.store();
        let eu = store.configs().await.unwrap()[0].id.to_string();
        for at in 2..30 {
            store.add_number(&number(caller(1, at), None)).await.unwrap();
        }
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let numbers = all(&daemon, &token, "").await.concat();
        let ids: Vec<_> = numbers.iter().map(|number| number["id"].clone()).collect();
        let assign = async |body: &Value| daemon.answer(&token, "/v1/numbers/assign", body).await;
        let unassigned = async || all(&daemon, &token, "assigned=false").await.concat().len();

        let ask = json!({"config_id": eu, "numbers": ids, "preview": true});
        let (status, preview) = assign(&ask).await;
        assert_eq!(
            (status, &preview["changed"], &preview["preview"]),
            (200, &json!(28), &json!(true))
        );
        let moves = preview["numbers"].as_array().unwrap();
        assert_eq!(moves.iter().filter(|moved| moved["from"] == eu.as_str()).count(), 1);
        assert!(moves.iter().all(|moved| moved["to"] == eu.as_str()));
        assert_eq!(unassigned().await, 28, "a preview writes nothing");

        let nobody = "00000000-0000-4000-8000-00000000dead";
        for preview in [true, false] {
            let mut with = ids.clone();
            with.insert(5, json!(nobody));
            let ask = json!({"config_id": eu, "numbers": with, "preview": preview});
            let (status, body) = assign(&ask).await;
            assert_eq!((status, &body["code"]), (422, &json!("number_not_found")));
            assert_eq!(body["field"], "numbers[5]");
            let ask = json!({"config_id": nobody, "numbers": ids, "preview": preview});
            let (status, body) = assign(&ask).await;
            assert_eq!((status, &body["code"]), (422, &json!("config_not_found")));
        }
        assert_eq!(unassigned().await, 28, "all or nothing");

        let (status, done) = assign(&json!({"config_id": eu, "numbers": ids})).await;
        assert_eq!((status, &done["changed"], &done["applied"]), (200, &json!(28), &json!(true)));
        assert_eq!(unassigned().await, 0);
        let ask = json!({"tenant": TENANT, "from": "+971500000029"});
        assert_eq!(daemon.answer(&token, "/v1/resolve", &ask).await.1["config_name"], "eu");
        let rules = &all(&daemon, &token, "").await.concat()[7]["rules"];
        assert_eq!(*rules, json!({"outbound": true, "livekit_config": eu}), "other rules stay");

        let ask = json!({"numbers": ids[..2]});
        let (status, done) = daemon.answer(&token, "/v1/numbers/unassign", &ask).await;
        assert_eq!((status, &done["changed"]), (200, &json!(2)), "{done}");
        assert_eq!(unassigned().await, 2);
        for wrong in [json!({"numbers": []}), json!({"numbers": ["x"]}), json!({"numbers": "x"})] {
            let (status, _) = daemon.answer(&token, "/v1/numbers/unassign", &wrong).await;
            assert_eq!(status, 400, "{wrong}");
        }
    }
}

#[tokio::test]
async fn a_form_is_answered_with_every_field_that_is_wrong() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let new = json!({"tenant_id": TENANT, "number": "971", "provider": "d\u{7}u",
        "rules": {"outbound": "yes"}});
    let body =
        refused(&daemon.call(&token, "POST", "/v1/numbers", &new).await, 400, "number_malformed");
    let fields: Vec<_> =
        body["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["number", "provider", "rules"]);
    assert_eq!(body["field"], "number");
    assert!(body["errors"].as_array().unwrap().iter().all(|error| error["code"].is_string()));
}

#[tokio::test]
async fn a_client_of_some_numbers_sees_and_edits_those_alone() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let store = site.database.store();
        let eu = store.configs().await.unwrap()[0].id;
        let other = store.add_number(&number(caller(1, 99_000_000), None)).await.unwrap();
        let limits = ["--all-tenants", "--number", "+971599", "--number", "+9714"];
        let may = ["--may", "numbers,edit_numbers,configs"];
        let token = site.client("narrow", &[&limits[..], &may].concat());
        let wide = site.client("wide", &["--all-tenants", "--may", "numbers"]);
        let daemon = site.daemon();
        let seen = all(&daemon, &token, "").await.concat();
        assert_eq!(shown(&seen), ["+971599000000"], "{kind:?}");
        for number in all(&daemon, &wide, "").await.concat() {
            let path = format!("/v1/numbers/{}", number["id"].as_str().unwrap());
            let expected = if number["id"] == other.to_string() { 200 } else { 404 };
            assert_eq!(daemon.get(&token, &path).await.0, expected, "{number}");
        }
        let new = |number: &str| json!({"tenant_id": TENANT, "number": number});
        let answer = daemon.call(&token, "POST", "/v1/numbers", &new("+971500000055")).await;
        refused(&answer, 403, "number_not_allowed");
        assert_eq!(daemon.answer(&token, "/v1/numbers", &new("+97144000000")).await.0, 201);
        // The config is of a number that it does not see.
        assert_eq!(daemon.get(&token, "/v1/configs").await.1["configs"], json!([]));
        let body = json!({"config_id": eu, "numbers": [other]});
        let answer = daemon.call(&token, "POST", "/v1/numbers/assign", &body).await;
        refused(&answer, 422, "config_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_are_whole_through_a_pooler_too() {
    let cluster = Cluster::shared();
    let direct = TestDatabase::migrated(Kind::Postgres).await;
    let pooler = Pooler::before(cluster, "");
    let name = direct.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let site = Site::on(direct).await;
    let token = site.client("editor", &EDITS);
    let behind = site.program.clone().with("DATABASE_URL", &tcp_url(pooler.port, &name));
    let daemon = Daemon::start(&behind);
    daemon.is_ready().await;
    let new = json!({"tenant_id": TENANT, "number": "+971500000009"});
    for (status, code) in [(201, Value::Null), (409, json!("number_taken"))] {
        let (answered, body) = daemon.answer(&token, "/v1/numbers", &new).await;
        assert_eq!((answered, &body["code"]), (status, &code), "{body}");
    }
    let numbers = all(&daemon, &token, "").await.concat();
    let mut ids: Vec<_> = numbers.iter().map(|number| number["id"].clone()).collect();
    let eu = site.database.store().configs().await.unwrap()[0].id;
    let (status, done) = daemon
        .answer(&token, "/v1/numbers/assign", &json!({"config_id": eu, "numbers": ids}))
        .await;
    assert_eq!((status, &done["changed"], &done["applied"]), (200, &json!(1), &json!(true)));
    ids.push(json!("00000000-0000-4000-8000-00000000dead"));
    let (status, _) = daemon.answer(&token, "/v1/numbers/unassign", &json!({"numbers": ids})).await;
    assert_eq!(status, 422);
    assert_eq!(all(&daemon, &token, "assigned=false").await.concat().len(), 0);
}
