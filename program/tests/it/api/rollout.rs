//! The rollout over the API: what is told, and each step of it.

use serde_json::{Value, json};

use super::{NUMBER, Request, Site, TENANT, refused, status_and_body};
use crate::support::database::BOTH;
use crate::support::{caller, number};

#[tokio::test]
async fn a_rollout_is_read_planned_and_taken_step_by_step_and_calls_follow_at_once() {
    for kind in BOTH {
        let mut site = Site::new(kind).await;
        for (name, value) in [
            ("LIVEKIT_URL", "wss://env.example"),
            ("LIVEKIT_API_KEY", "APIenv"),
            ("LIVEKIT_API_SECRET", "canary-secret-of-env"),
        ] {
            site.program = site.program.with(name, value);
        }
        let may = ["--all-tenants", "--may", "fleet,rollout,resolve,audit"];
        let token = site.client("console", &may);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let step = async |body: Value| {
            status_and_body(&daemon.call(&token, "PATCH", "/v1/rollout", &body).await).1
        };
        let reason = async || {
            let asked = json!({"tenant": TENANT, "from": NUMBER});
            daemon.answer(&token, "/v1/resolve", &asked).await.1["reason"].clone()
        };
        let (_, before) = daemon.get(&token, "/v1/rollout").await;
        assert_eq!((&before["stage"], &before["version"]), (&json!("live"), &json!(0)), "{kind:?}");
        assert_eq!(before["flag"], true);
        assert_eq!(reason().await, Value::Null);

        let plan = json!({"to": "off"});
        let (status, plan) = daemon.answer(&token, "/v1/rollout/plan", &plan).await;
        assert_eq!((status, &plan["survey"]["moving_out"]["numbers"]), (200, &json!(1)), "{plan}");
        assert_eq!(reason().await, Value::Null, "a plan changes nothing");

        let off = step(json!({"to": "off"})).await;
        assert_eq!((&off["applied"], &off["stage"]), (&json!(true), &json!("off")), "{off}");
        assert_eq!(reason().await, "outside_rollout", "this node has applied it");
        let listed = step(json!({"to": "0.5", "allow": [TENANT]})).await;
        assert_eq!((&listed["percent"], &listed["allow"]), (&json!(0.5), &json!([TENANT])));
        assert_eq!((reason().await, &listed["version"]), (Value::Null, &json!(2)));
        let read = daemon.call(&token, "GET", "/v1/rollout", &Value::Null).await;
        assert_eq!(read.header("etag"), Some("\"2\""));

        let reset: Value =
            daemon.answer(&token, "/v1/rollout/reset", &json!({"by": "number"})).await.1;
        assert_eq!((&reset["stage"], &reset["unit"]), (&json!("off"), &json!("number")));
        assert_ne!(reset["salt"], listed["salt"]);

        let (_, audit) = daemon.get(&token, "/v1/audit?entity=rollout").await;
        let rows = audit["entries"].as_array().unwrap();
        assert_eq!(rows.len(), 3, "{audit}");
        assert_eq!(rows[0]["claimed"]["client_name"], "console", "{audit}");
    }
}

#[tokio::test]
async fn what_would_leave_somebody_without_an_answer_or_undo_another_step_is_refused() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        site.database.store().add_number(&number(caller(9, 9), None)).await.unwrap();
        let token = site.client("console", &["--all-tenants", "--may", "fleet,rollout"]);
        let reader = site.client("reader", &["--all-tenants", "--may", "fleet"]);
        let limited = site.client("of-a", &["--tenant", TENANT, "--may", "fleet,rollout"]);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let step = async |token: &str, body: Value| {
            daemon.call(token, "PATCH", "/v1/rollout", &body).await
        };
        refused(&step(&token, json!({"to": "complete"})).await, 409, "rollout_unanswered");
        refused(&step(&reader, json!({"to": "off"})).await, 403, "scope_missing");
        refused(&step(&limited, json!({"to": "off"})).await, 403, "client_limited");
        for (body, code) in [
            (json!({}), "field_missing"),
            (json!({"to": "half"}), "field_malformed"),
            (json!({"to": "101"}), "field_malformed"),
            (json!({"to": 10}), "field_malformed"),
            (json!({"allow": ["acme"]}), "field_malformed"),
            (json!({"stage": "off"}), "field_unknown"),
        ] {
            refused(&step(&token, body).await, 400, code);
        }
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["version"], 0, "{kind:?}");

        assert_eq!(step(&token, json!({"to": "off"})).await.word(), "200");
        let live = json!({"to": "live"});
        let late = daemon.call_if(&token, "PATCH", "/v1/rollout", &live, "\"0\"").await;
        refused(&late, 412, "version_mismatch");
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["stage"], "off");
        let forced = step(&token, json!({"to": "complete", "force": true})).await;
        assert_eq!(forced.word(), "200", "{kind:?}");
    }
}

#[tokio::test]
async fn the_page_shows_who_moves_before_the_step_is_taken_and_keeps_what_was_entered() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &["--all-tenants", "--may", "fleet,rollout"]);
        let reader = site.client("reader", &["--all-tenants", "--may", "fleet"]);
        let limited = site.client("of-a", &["--tenant", TENANT, "--may", "fleet,rollout"]);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let form = async |token: &str, body: &str| {
            let request = Request::new("POST", "/rollout", &Value::Null, token);
            let kind = "application/x-www-form-urlencoded";
            daemon.send(request.with("content-type", kind).body(body)).await
        };
        let page = daemon.call(&token, "GET", "/rollout", &Value::Null).await;
        assert!(page.body.contains("live: the database answers everybody"), "{}", page.body);
        let read_only = daemon.call(&reader, "GET", "/rollout", &Value::Null).await.body;
        assert!(read_only.contains("live: the") && !read_only.contains("Show who moves"));

        let kept_out = daemon.call(&limited, "GET", "/rollout", &Value::Null).await;
        assert!(kept_out.word() == "403" && !kept_out.body.contains("live: the"), "{kind:?}");
        assert_eq!(form(&limited, "to=off&percent=0&do=plan").await.word(), "403");

        let wrong = form(&token, "to=percent&percent=half&deny=acme&do=plan").await;
        assert_eq!(wrong.word(), "400", "{kind:?}");
        assert!(wrong.body.contains("must be a number from 0 to 100"), "{}", wrong.body);
        assert!(wrong.body.contains("value=\"half\"") && wrong.body.contains("acme"));
        let plan = form(&token, "to=off&percent=0&do=plan").await;
        assert!(plan.body.contains("1 numbers of 1 tenants"), "{}", plan.body);
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["version"], 0, "a plan is no step");

        assert_eq!(form(&reader, "to=off&percent=0&version=0&do=step").await.word(), "403");
        let stepped = form(&token, "to=off&percent=0&version=0&do=step").await;
        assert_eq!(stepped.word(), "303", "{}", stepped.body);
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["stage"], "off");
        let late = form(&token, "to=live&percent=0&version=0&do=step").await;
        assert_eq!(
            (late.word(), daemon.get(&token, "/v1/rollout").await.1["stage"].clone()),
            ("412", json!("off"))
        );
    }
}
