//! What is told of the fleet, to whom, and that no secret is part of it.

use serde_json::{Value, json};

use super::{Site, TENANT, refused};
use crate::support::database::BOTH;
use crate::support::{caller, eventually, number};

const ROUTES: [&str; 4] = ["/v1/nodes", "/v1/keys", "/v1/settings", "/v1/changes"];

#[tokio::test]
async fn the_fleet_is_told_to_who_may_read_it_and_is_limited_to_nothing() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &["--all-tenants", "--may", "fleet"]);
        let other = site.client("other", &["--all-tenants", "--may", "numbers"]);
        let tenant = site.client("of-a", &["--tenant", TENANT, "--may", "fleet"]);
        let few = site.client("few", &["--all-tenants", "--number", "+97150", "--may", "fleet"]);
        let daemon = site.daemon();
        daemon.is_ready().await;
        for path in ROUTES {
            refused(&daemon.call(&other, "GET", path, &Value::Null).await, 403, "scope_missing");
            for limited in [&tenant, &few] {
                let answer = daemon.call(limited, "GET", path, &Value::Null).await;
                refused(&answer, 403, "client_limited");
            }
            assert_eq!(daemon.get(&token, path).await.0, 200, "{path}");
        }

        eventually("it is listed", async || {
            let (_, body) = daemon.get(&token, "/v1/nodes").await;
            body["nodes"][0]["program"] == "trunkline serve" && body["nodes"][0]["state"] == "live"
        })
        .await;
        let (_, nodes) = daemon.get(&token, "/v1/nodes").await;
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let id = trunkline::KeyRing::parse(&key).unwrap().key_ids()[0].to_string();
        assert_eq!(nodes["nodes"][0]["keys"], json!([id]));
        let (_, keys) = daemon.get(&token, "/v1/keys").await;
        let first = json!({"id": id, "role": "first", "configs": 1});
        let none = json!({"keys": [first], "unopenable": 0, "sealing": null, "known": []});
        assert_eq!(keys, none, "{kind:?}");
        let new = trunkline::KeyRing::generate().unwrap();
        let both = format!("{key},{}", *new);
        let ring = site.program.clone().with("LIVEKIT_SECRET_ENCRYPTION_KEY", &both);
        ring.run(&["key", "stage", "--unseen-readers", "none"]).ok();
        let (_, keys) = daemon.get(&token, "/v1/keys").await;
        let states: Vec<_> = keys["known"].as_array().unwrap().iter().collect();
        assert_eq!((&keys["sealing"], states.len()), (&json!(id), 2), "{kind:?} {keys}");
        assert!(states.iter().any(|known| known["id"] == id && known["state"] == "sealing"));
        assert!(
            states.iter().any(|known| known["state"] == "staged" && known["since"] != json!(null))
        );

        let (_, settings) = daemon.get(&token, "/v1/settings").await;
        let shown = site.program.run(&["settings", "show", "--json"]).json();
        assert_eq!(settings["settings"], shown, "as the command line prints them");
        let whole = format!("{nodes} {keys} {settings}");
        assert!(!whole.contains(&key) && whole.contains("(set)"), "{whole}");
    }
}

#[tokio::test]
async fn changes_come_newest_first_each_on_one_page() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &["--all-tenants", "--may", "fleet"]);
        let daemon = site.daemon();
        site.database.store().add_number(&number(caller(1, 2), None)).await.unwrap();
        let (_, whole) = daemon.get(&token, "/v1/changes").await;
        let whole = whole["changes"].as_array().unwrap().clone();
        let newest = &whole[0];
        assert_eq!((&newest["entity"], &newest["operation"]), (&json!("number"), &json!("insert")));
        assert_eq!(
            (&newest["number"], &newest["tenant_id"]),
            (&json!("+971500000002"), &json!(TENANT))
        );
        let places: Vec<_> = whole.iter().map(|change| change["seq"].as_i64().unwrap()).collect();
        assert!(places.is_sorted_by(|newer, older| newer > older), "{places:?}");
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = daemon.get(&token, &format!("/v1/changes?limit=1{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            paged.extend(page["changes"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, whole, "{kind:?}");
    }
}
