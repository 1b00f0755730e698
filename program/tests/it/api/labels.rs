//! Labels of tenants: given, found, taken away; each edit is audited, and none is a change of answers.

use serde_json::{Value, json};

use super::{OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::BOTH;

#[tokio::test]
async fn a_tenant_is_found_by_a_label_that_no_other_one_has() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let may = ["--all-tenants", "--may", "numbers,edit_numbers,audit"];
        let token = site.client("console", &may);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let changes =
            async || site.database.value("select count(*) from voice_agent_changes").await;
        let before = changes().await;
        let run = |arguments: &[&str]| site.program.run(&[&["tenant"], arguments].concat());
        run(&["label", TENANT, " Acme, Dubai "]).ok();
        assert!(run(&["list", "--search", "ACME"]).ok().contains("Acme, Dubai"), "{kind:?}");
        let patch = async |tenant: &str, label: Value| {
            let path = format!("/v1/tenants/{tenant}");
            daemon.call(&token, "PATCH", &path, &json!({"label": label})).await
        };
        refused(&patch(OTHER_TENANT, json!("acme, dubai")).await, 409, "label_taken");
        assert_eq!(patch(OTHER_TENANT, json!("Über & <b>Söhne</b>")).await.word(), "200");
        let (_, listed) = daemon.get(&token, "/v1/tenants").await;
        let labels: Vec<_> =
            listed["tenants"].as_array().unwrap().iter().map(|one| &one["label"]).collect();
        assert_eq!(labels, ["Acme, Dubai", "Über & <b>Söhne</b>"], "{listed}");
        let (_, page) = daemon.get(&token, "/v1/tenants?limit=1").await;
        let next = page["next"].as_str().unwrap();
        let (_, page) = daemon.get(&token, &format!("/v1/tenants?limit=1&cursor={next}")).await;
        assert_eq!(page["tenants"][0]["id"], OTHER_TENANT);
        let (_, found) = daemon.get(&token, "/v1/tenants?search=%25").await;
        assert_eq!(found["tenants"], json!([]), "nothing is a pattern");

        // What is wrong is told, and what is not there.
        for label in [json!(""), json!(TENANT), json!("a\u{200b}b"), json!("x".repeat(101))] {
            refused(&patch(TENANT, label).await, 400, "field_malformed");
        }
        let missing =
            daemon.call(&token, "PATCH", &format!("/v1/tenants/{TENANT}"), &json!({})).await;
        refused(&missing, 400, "field_missing");
        assert_eq!(patch(TENANT, json!("Acme")).await.word(), "200", "another one in its place");
        assert_eq!(patch(TENANT, Value::Null).await.word(), "200");
        refused(&patch(TENANT, Value::Null).await, 404, "not_found");
        assert!(run(&["unlabel", TENANT, "--json"]).err.contains("tenant_not_found"));
        assert_eq!(changes().await, before, "no answer depends on it");

        let (_, audit) = daemon.get(&token, "/v1/audit?entity=tenant").await;
        let rows = audit["entries"].as_array().unwrap();
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row["operation"].as_str().unwrap(),
                    &row["before"]["label"],
                    &row["after"]["label"],
                )
            })
            .collect();
        let (acme, short) = (json!("Acme, Dubai"), json!("Acme"));
        let other = json!("Über & <b>Söhne</b>");
        assert_eq!(
            told,
            [
                ("delete", &short, &Value::Null),
                ("update", &acme, &short),
                ("insert", &Value::Null, &other),
                ("insert", &Value::Null, &acme),
            ],
            "{audit}"
        );
        assert_eq!(rows[0]["claimed"]["client_name"], "console");
        assert_eq!((&rows[0]["tenant_id"], &rows[0]["row_id"]), (&json!(TENANT), &json!(TENANT)));
    }
}

#[tokio::test]
async fn a_limited_client_reads_and_gives_labels_of_its_own_tenants() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let may = ["--may", "numbers,edit_numbers"];
        let mine = site.client("of-one", &[&["--tenant", TENANT][..], &may].concat());
        let part = ["--tenant", TENANT, "--number", "+97150"];
        let part = site.client("of-a-part", &[&part[..], &may].concat());
        let reader = site.client("reader", &["--all-tenants", "--may", "numbers"]);
        let daemon = site.daemon();
        daemon.is_ready().await;
        site.program.run(&["tenant", "label", OTHER_TENANT, "canary of another"]).ok();
        let patch = async |token: &str, tenant: &str| {
            let path = format!("/v1/tenants/{tenant}");
            daemon.call(token, "PATCH", &path, &json!({"label": "Mine"})).await
        };
        refused(&patch(&mine, OTHER_TENANT).await, 403, "tenant_not_allowed");
        refused(&patch(&part, TENANT).await, 403, "client_limited");
        refused(&patch(&reader, TENANT).await, 403, "scope_missing");
        assert_eq!(patch(&mine, TENANT).await.word(), "200");
        for token in [&mine, &part] {
            let (_, listed) = daemon.get(token, "/v1/tenants").await;
            assert_eq!(listed["tenants"].as_array().unwrap().len(), 1, "{listed}");
            for path in ["/tenants", "/numbers", "/numbers?tenant=canary", "/numbers/new"] {
                let page = daemon.call(token, "GET", path, &Value::Null).await;
                assert!(!page.body.contains("canary of another"), "{path}: {page:?}");
            }
        }
    }
}
