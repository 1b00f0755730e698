//! A write is answered when this node answers by it, and tells how many live nodes do.

use serde_json::json;

use super::{Daemon, Site, TENANT};
use crate::support::database::BOTH;
use crate::support::eventually;

const EDITS: [&str; 3] =
    ["--all-tenants", "--may", "numbers,edit_numbers,configs,edit_configs,resolve"];

#[tokio::test]
async fn a_write_is_answered_when_every_live_node_answers_by_it_or_tells_how_many_do_not_yet() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let second =
            site.program.clone().with("HTTP_SOCKET", &format!("{}2", site.socket().display()));
        let nodes = [site.daemon(), Daemon::start(&second)];
        for node in &nodes {
            node.is_ready().await;
        }
        eventually("both are listed", async || {
            let listed = site.program.run(&["nodes", "list", "--json"]).json();
            listed.as_array().unwrap().iter().filter(|node| node["applied"].is_string()).count()
                == 2
        })
        .await;
        let number = "+971500000009";
        let ask = json!({"tenant": TENANT, "from": number});
        let config = site.database.store().configs().await.unwrap()[0].id;
        let new = json!({"tenant_id": TENANT, "number": number, "config_id": config});
        // Each has in memory that there is no such number.
        for node in &nodes {
            assert_eq!(
                node.answer(&token, "/v1/resolve", &ask).await.1["code"],
                "environment_incomplete"
            );
        }
        let (status, body) = nodes[0].answer(&token, "/v1/numbers", &new).await;
        assert_eq!((status, &body["applied"]), (201, &json!(true)), "{body}");
        let seen = body["seen_by"]["nodes"].as_u64().unwrap();
        assert_eq!(body["seen_by"]["of"], 2, "{kind:?} {body}");
        let resolves = nodes[0].answer(&token, "/v1/resolve", &ask).await;
        assert_eq!(resolves.1["config_name"], "eu");
        // A busy machine may take longer than a lease; who is counted answers by it.
        if seen == 2 {
            assert_eq!(nodes[1].answer(&token, "/v1/resolve", &ask).await.1["config_name"], "eu");
        }

        // One that stands still is told of, and is waited for no longer than a lease.
        nodes[1].process.signal("-STOP");
        let path = format!("/v1/configs/{config}");
        let edit = json!({"trunk_id": "ST_other"});
        let answer = nodes[0].call(&token, "PATCH", &path, &edit).await;
        nodes[1].process.signal("-CONT");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["seen_by"], json!({"nodes": 1, "of": 2}), "{kind:?} {body}");
        assert_eq!(nodes[0].answer(&token, "/v1/resolve", &ask).await.1["trunk_id"], "ST_other");

        // What no call depends on is seen by everybody.
        let edit = json!({"description": "Notes."});
        let answer = nodes[0].call(&token, "PATCH", &path, &edit).await;
        assert!(answer.body.contains("\"applied\":true"), "{answer:?}");
    }
}
