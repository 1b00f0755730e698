//! A key pair is turned over the API, on behalf of the client, and no secret comes out.

use serde_json::{Value, json};
use trunkline::KeyRing;

use super::{Site, refused};
use crate::support::database::BOTH;
use crate::support::livekit::config_on;
use crate::support::standin::StandIn;

const KEYS: [(&str, &str); 2] = [
    ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789"),
    ("APIsecond", "canary-of-the-second-key-0123456789-012345678"),
];

/// The pairs of a config: state and key of each.
fn pairs(answer: &Value) -> Vec<(String, String)> {
    let text = |pair: &Value, name: &str| pair[name].as_str().unwrap().to_owned();
    let pairs = answer["pairs"].as_array().unwrap().iter();
    pairs.map(|pair| (text(pair, "state"), text(pair, "api_key"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_turned_by_a_client_and_audited_without_its_secret() {
    for kind in BOTH {
        let stand_in = StandIn::start(&KEYS).await;
        let mut site = Site::new(kind).await;
        site.program = site.program.with("LIVEKIT_HOSTS", "127.0.0.0/8");
        let token =
            site.client("editor", &["--all-tenants", "--may", "configs,edit_configs,audit"]);
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let ring = KeyRing::parse(&key).unwrap();
        let config = config_on(&ring, &stand_in.url(), KEYS[0], "standin");
        let id = site.database.store().create_config(&config).await.unwrap();
        let daemon = site.daemon();
        let path = format!("/v1/configs/{id}/pair");
        let step = async |step: &str, body: Value| {
            daemon.answer(&token, &format!("{path}/{step}"), &body).await
        };
        let unknown =
            json!({"api_key": "APInew", "api_secret": "canary-that-nobody-knows-0123456789"});
        let answer = daemon.ask(&token, &format!("{path}/rotate"), &unknown).await;
        assert!(!answer.body.contains("canary"), "{answer:?}");
        refused(&answer, 422, "pair_refused");
        let (status, told) = daemon.get(&token, &path).await;
        assert_eq!(status, 200, "{kind:?} {told}");
        assert_eq!(pairs(&told).len(), 2, "it stays pending: {told}");
        assert_eq!(step("roll-back", json!({})).await.0, 200, "{kind:?}");

        let new = json!({"api_key": KEYS[1].0, "api_secret": KEYS[1].1});
        let (status, told) = step("rotate", new).await;
        assert_eq!((status, &told["current"]), (200, &json!(KEYS[1].0)), "{kind:?} {told}");
        assert_eq!((&told["previous"], &told["applied"]), (&json!(KEYS[0].0), &json!(true)));
        let early = daemon.ask(&token, &format!("{path}/retire"), &json!({})).await;
        refused(&early, 409, "pair_too_early");
        let (status, told) = step("retire", json!({"now": true})).await;
        assert_eq!((status, &told["api_key"]), (200, &json!(KEYS[0].0)), "{kind:?} {told}");
        let first = json!({"api_key": KEYS[0].0, "api_secret": KEYS[0].1});
        let (status, told) = step("compromise", first).await;
        assert_eq!((status, &told["exposed"]["api_key"]), (200, &json!(KEYS[1].0)), "{told}");

        let (_, audit) = daemon.get(&token, "/v1/audit?entity=pair").await;
        let entries = audit["entries"].as_array().unwrap();
        assert!(!entries.is_empty() && !audit.to_string().contains("canary"), "{kind:?} {audit}");
        for entry in entries {
            assert_eq!(entry["row_id"], json!(id), "{entry}");
            assert_eq!(entry["claimed"]["client_name"], "editor", "{entry}");
            assert!(!entry.to_string().contains("dev-s-t-"), "{entry}");
        }
    }
}
