//! The encryption keys turned over the API and by the page: each step looked at first, then taken by who may.

use serde_json::{Value, json};
use trunkline::KeyRing;

use super::{Daemon, Request, Site, refused, status_and_body};
use crate::support::database::BOTH;
use crate::support::eventually;

const KEY: &str = "LIVEKIT_SECRET_ENCRYPTION_KEY";

/// A site whose daemon has two keys, of which the first one seals; and their ids.
async fn turning(kind: crate::support::database::Kind) -> (Site, [String; 2]) {
    let mut site = Site::new(kind).await;
    let (old, new) = (site.program.variable(KEY), KeyRing::generate().unwrap());
    let ids = [&old, &new].map(|key| KeyRing::parse(key).unwrap().key_ids()[0].to_string());
    site.program = site.program.with(KEY, &format!("{old},{}", new.as_str()));
    (site, ids)
}

/// A daemon that is listed among the nodes, as the gate wants it.
async fn listed(site: &Site, token: &str) -> Daemon {
    let daemon = site.daemon();
    daemon.is_ready().await;
    eventually("it is listed", async || {
        let (_, status) = daemon.get(token, "/v1/keys/status").await;
        status["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty())
    })
    .await;
    daemon
}

#[tokio::test]
async fn keys_are_turned_step_by_step_and_a_preview_changes_nothing() {
    for kind in BOTH {
        let (site, [old, new]) = turning(kind).await;
        let token = site.client("console", &["--all-tenants", "--may", "fleet,keys"]);
        let daemon = listed(&site, &token).await;
        let status = async || daemon.get(&token, "/v1/keys/status").await.1;
        let step = async |name: &str, body: Value| {
            daemon.ask(&token, &format!("/v1/keys/{name}"), &body).await
        };
        let done = async |name: &str, body: Value| {
            let (code, told) = status_and_body(&step(name, body).await);
            assert_eq!(code, 200, "{name}: {told}");
            told["result"].clone()
        };
        let phases = async || {
            let status = status().await;
            let keys = status["keys"].as_array().unwrap().clone();
            keys.iter()
                .map(|key| (key["phase"].clone(), key["configs"].clone()))
                .collect::<Vec<_>>()
        };
        let before = vec![(Value::Null, json!(1)), (Value::Null, json!(0))];
        assert_eq!(phases().await, before, "{kind:?}");

        let preview = json!({"preview": true, "readers_confirmed": true});
        assert_eq!(done("stage", preview.clone()).await["key"], new);
        done("rotate", preview).await;
        assert_eq!(phases().await, before, "a preview changes nothing");
        refused(&step("promote", json!({})).await, 409, "nothing_staged");
        let staged = done("stage", json!({})).await;
        assert_eq!((&staged["sealing"], &staged["gate"]["open"]), (&json!(old), &json!(true)));
        let refusal = refused(&step("promote", json!({})).await, 409, "readers_unconfirmed");
        assert!(refusal["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
        let promoted = done("promote", json!({"readers_confirmed": true})).await;
        assert_eq!((&promoted["key"], &promoted["old"]), (&json!(new), &json!(old)));

        let rotated = done("rotate", json!({})).await;
        assert_eq!(
            (&rotated["resealed"], &rotated["done"]),
            (&json!(1), &json!(true)),
            "{rotated}"
        );
        assert_eq!(rotated["waiting"][0]["waits_for"], "key_too_early", "{rotated}");
        assert_eq!(done("verify", json!({})).await["keys"], json!([{"id": new, "configs": 1}]));
        refused(&step("retire", json!({})).await, 400, "field_missing");
        refused(&step("retire", json!({"key": old})).await, 409, "key_too_early");
        assert_eq!(done("retire", json!({"key": old, "now": true})).await["phase"], "refused");
        assert_eq!(done("retire", json!({"key": old, "back": true})).await["phase"], "old");
        let exposed = done("compromise", json!({"key": old, "preview": true})).await;
        assert_eq!((&exposed["phase"], &exposed["configs"]), (&json!("old"), &json!([])));
        done("compromise", json!({"key": old})).await;
        let status = status().await;
        let of_old =
            status["keys"].as_array().unwrap().iter().find(|key| key["id"] == old).unwrap();
        assert_eq!(of_old["phase"], "refused", "{status}");
        assert!(of_old["compromised_at"].is_string(), "{status}");
        refused(&step("compromise", json!({"key": new})).await, 409, "nothing_to_stage");
        refused(&step("stage", json!({"key": "x"})).await, 400, "field_malformed");
        let (_, err) = daemon.process.end_by("-TERM");
        let told = err.lines().filter(|line| line.contains("encryption keys is taken")).count();
        assert!(told >= 7 && err.contains("console"), "who took a step is told: {err}");
    }
}

#[tokio::test]
async fn a_step_takes_the_password_again_and_an_admin() {
    for kind in BOTH {
        let (site, [_, new]) = turning(kind).await;
        let password = site.user("root", "admin");
        let editor = site.user("ed", "editor");
        let token = site.client("fleet", &["--all-tenants", "--may", "fleet"]);
        let limited = site.client("of-one", &["--tenant", super::TENANT, "--may", "fleet,keys"]);
        let daemon = listed(&site, &token).await;
        let cookie = daemon.signed_in("root", &password).await;
        let ed = daemon.signed_in("ed", &editor).await;
        let stage = json!({"readers_confirmed": true});
        refused(&daemon.ask(&token, "/v1/keys/stage", &stage).await, 403, "scope_missing");
        refused(&daemon.ask(&limited, "/v1/keys/stage", &stage).await, 403, "client_limited");
        let answer = daemon.browse(&ed, "POST", "/v1/keys/stage", &stage).await;
        refused(&answer, 403, "scope_missing");
        // Since he signed in more than five minutes ago, it takes his password.
        let old = match kind {
            crate::support::database::Kind::Postgres => "now() - interval '1 hour'",
            crate::support::database::Kind::Sqlite => {
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour')"
            }
        };
        site.database.sql(&format!("update trunkline_sessions set confirmed_at = {old}")).await;
        eventually("that is known", async || {
            let answer = daemon.browse(&cookie, "POST", "/v1/keys/promote", &json!({})).await;
            answer.body.contains("confirmation_needed")
        })
        .await;
        let answer = daemon.browse(&cookie, "POST", "/v1/keys/stage", &stage).await;
        refused(&answer, 403, "confirmation_needed");
        let looked = json!({"preview": true});
        let answer = daemon.browse(&cookie, "POST", "/v1/keys/stage", &looked).await;
        assert_eq!(answer.word(), "200", "a preview takes none: {answer:?}");
        // By the page, the password comes with the form.
        let form = |text: &str| {
            Request::post("/keys", &Value::Null)
                .body(text)
                .with("content-type", "application/x-www-form-urlencoded")
                .with("cookie", &cookie)
                .with(super::people::PAGE.0, super::people::PAGE.1)
        };
        let answer = daemon.send(form("do=stage&take=yes&readers=yes&password=wrong")).await;
        assert_eq!(answer.word(), "403", "{answer:?}");
        let staged =
            async || site.database.value("select count(*) from trunkline_known_keys").await;
        assert_eq!(staged().await, "0");
        let text = format!("do=stage&take=yes&readers=yes&password={password}");
        let answer = daemon.send(form(&text)).await;
        assert_eq!(answer.word(), "200", "{answer:?}");
        assert!(answer.body.contains(&format!("Key {new} is staged")), "{answer:?}");
        assert_eq!(staged().await, "2");
    }
}
