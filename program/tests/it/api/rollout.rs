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
async fn a_run_is_begun_shown_paused_resumed_and_ended_over_the_api_and_on_the_page() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &["--all-tenants", "--may", "fleet,rollout,audit"]);
        let reader = site.client("reader", &["--all-tenants", "--may", "fleet"]);
        let limited = site.client("of-a", &["--tenant", TENANT, "--may", "fleet,rollout"]);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let run = "/v1/rollout/run";
        let ask = async |token: &str, path: &str, body: Value| daemon.ask(token, path, &body).await;
        assert_eq!(daemon.get(&token, run).await.0, 404);
        refused(&ask(&token, run, json!({})).await, 422, "rollout_run_malformed");
        daemon.call(&token, "PATCH", "/v1/rollout", &json!({"to": "off"})).await;
        for token in [&reader, &limited] {
            assert_eq!(ask(token, run, json!({})).await.word(), "403");
            assert_eq!(ask(token, "/v1/rollout/run/stop", json!({})).await.word(), "403");
        }
        for (body, status, code) in [
            (json!({"steps": ["half"]}), 400, "field_malformed"),
            (json!({"steps": ["101"]}), 400, "field_malformed"),
            (json!({"soak": ["a day"]}), 400, "field_malformed"),
            (json!({"bad": "-1"}), 400, "field_malformed"),
            (json!({"steps": ["50", "10"]}), 422, "rollout_run_malformed"),
            (json!({"soak": ["0s"]}), 422, "rollout_run_malformed"),
        ] {
            refused(&ask(&token, run, body).await, status, code);
        }
        crate::support::eventually("the daemon is listed", async || {
            let rows = "select count(*) from trunkline_nodes";
            site.database.value(rows).await == "1"
        })
        .await;
        let preview = status_and_body(&ask(&token, run, json!({"preview": true})).await);
        assert_eq!((preview.0, &preview.1["prepared"]["then"]["percent"]), (200, &json!(10.0)));
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["stage"], "off", "{kind:?}");
        let begun = status_and_body(&ask(&token, run, json!({"steps": ["10", "50"]})).await);
        let (id, step) = (&begun.1["run"]["id"], &begun.1["run"]["step"]);
        assert_eq!((begun.0, id, step), (200, &json!(1), &json!(1)), "{}", begun.1);
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["percent"], 10.0);
        refused(&ask(&token, run, json!({})).await, 409, "rollout_run_open");
        crate::support::eventually("it is led", async || {
            daemon.get(&reader, run).await.1["is_led"] == true
        })
        .await;
        let change = async |step: &str| {
            status_and_body(&ask(&token, &format!("{run}/{step}"), json!({})).await)
        };
        let resumed = change("resume").await;
        assert_eq!((resumed.0, &resumed.1["code"]), (409, &json!("rollout_run_state")));
        assert_eq!(change("pause").await.1["state"], "paused");
        assert_eq!(change("resume").await.1["state"], "running");

        let page = daemon.call(&token, "GET", "/rollout", &Value::Null).await.body;
        assert!(page.contains("Run 1") && page.contains("It is running."), "{page}");
        let page = daemon.call(&reader, "GET", "/rollout", &Value::Null).await.body;
        assert!(page.contains("Run 1") && !page.contains("value=\"pause\""));
        let press = async |token: &str, step: &str| {
            let request = Request::new("POST", "/rollout", &Value::Null, token);
            let kind = "application/x-www-form-urlencoded";
            daemon.send(request.with("content-type", kind).body(&format!("do={step}"))).await
        };
        assert_eq!(press(&reader, "pause").await.word(), "403");
        assert_eq!(press(&token, "pause").await.word(), "303");
        assert_eq!(daemon.get(&token, run).await.1["state"], "paused");
        assert_eq!(press(&token, "resume").await.word(), "303");
        // Whoever sets the rollout pauses it, at once.
        daemon.call(&token, "PATCH", "/v1/rollout", &json!({"to": "20"})).await;
        let paused = daemon.get(&token, run).await.1;
        assert_eq!(paused["state"], "paused");
        assert_eq!(paused["results"][2]["outcome"], "changed_by_hand", "{paused}");
        assert_eq!(change("stop").await.1["state"], "stopped");
        assert_eq!(daemon.get(&token, "/v1/rollout").await.1["percent"], 20.0, "it stays");
        let (_, audit) = daemon.get(&token, "/v1/audit?entity=rollout").await;
        let rows = audit["entries"].as_array().unwrap();
        let of_run = rows.iter().filter(|row| row["row_id"] == "run 1");
        assert!(of_run.clone().all(|row| row["claimed"]["client_name"] == "console"), "{audit}");
        assert_eq!(of_run.count(), 7, "begun, paused and resumed twice, paused, stopped");
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
