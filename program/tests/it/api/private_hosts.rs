//! Hosts that lead into a private network: calls go there where somebody who edits the database named them,
//! and not by a URL that came over the API while `LIVEKIT_HOSTS` named them.

use serde_json::json;
use trunkline::KeyRing;
use trunkline::store::NewNumber;

use super::{Daemon, Site, TENANT, status_and_body};
use crate::support::caller;
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::config_on;
use crate::support::standin::{FarEnd, StandIn};

const KEY: (&str, &str) = ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789");
const TO: &str = "+919876543210";
const EDITS: [&str; 3] = ["--all-tenants", "--may", "configs,edit_configs,calls"];

/// What became of a call from a number, in its words.
async fn call(daemon: &Daemon, token: &str, from: &str) -> (String, String) {
    let body = json!({"tenant": TENANT, "from": from, "to": TO, "dial": "engine"});
    let key = uuid::Uuid::new_v4().to_string();
    let request = super::Request::post("/v1/calls", &body)
        .with("authorization", &format!("Bearer {token}"))
        .with("idempotency-key", &key);
    let (status, told) = status_and_body(&daemon.send(request).await);
    assert_eq!(status, 201, "{told}");
    let text = |member: &str| told[member].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("message"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_into_a_private_network_unless_its_url_came_over_the_api() {
    for kind in BOTH {
        let (site, server) = (Site::new(kind).await, StandIn::start(&[KEY]).await);
        server.trunk("ST_own", &["*"]);
        server.at(TO, FarEnd::Answers);
        let url = server.url().replace("127.0.0.1", "localhost");
        let (store, token) = (site.database.store(), site.client("both", &EDITS));
        let number = async |at, config| {
            let rules = json!({"livekit_config": config, "outbound_trunk_id": "ST_own"});
            let new = NewNumber { caller: caller(1, at), provider: None, rules };
            store.add_number(&new).await.unwrap();
        };

        // It is named, so it may be saved over the API, and called.
        let named = Daemon::start(&site.program.clone().with("LIVEKIT_HOSTS", "localhost"));
        named.is_ready().await;
        let config =
            json!({"name": "over-the-api", "url": url, "api_key": KEY.0, "api_secret": KEY.1});
        let (status, made) = named.answer(&token, "/v1/configs", &config).await;
        assert_eq!(status, 201, "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        number(7, id.parse::<uuid::Uuid>().unwrap()).await;
        let from = "+971500000007";
        assert_eq!(call(&named, &token, from).await.0, "placed", "{kind:?}");
        named.process.end_by("-TERM");

        // Named no more, it is like a name that leads elsewhere than when it was saved.
        let dialled = server.dialled().len();
        let open = site.daemon();
        open.is_ready().await;
        let (outcome, message) = call(&open, &token, from).await;
        assert_ne!(outcome, "placed", "{kind:?}");
        assert!(message.contains("LIVEKIT_HOSTS must name the host"), "{message}");
        assert_eq!(server.dialled().len(), dialled, "nobody was asked");
        open.process.end_by("-TERM");

        // Somebody who edits the database names the host, too.
        let ring = KeyRing::parse(&site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY")).unwrap();
        let own = store.create_config(&config_on(&ring, &url, KEY, "by-sql")).await.unwrap();
        number(8, own.0).await;
        let open = site.daemon();
        open.is_ready().await;
        for from in ["+971500000008", from] {
            assert_eq!(call(&open, &token, from).await.0, "placed", "{kind:?} {from}");
        }
        open.process.end_by("-TERM");
        if kind == Kind::Postgres {
            not_by_an_editor_either(&site, &token).await;
        }
    }
}

/// Without a list of hosts it is not saved over the API in the first place.
async fn not_by_an_editor_either(site: &Site, token: &str) {
    let open = site.daemon();
    open.is_ready().await;
    let config = json!({"name": "again", "url": "ws://localhost:7880", "api_key": "APIx", "api_secret": KEY.1});
    let (status, problem) = open.answer(token, "/v1/configs", &config).await;
    assert_eq!(
        (status, &problem["errors"][0]["code"]),
        (400, &json!("address_private")),
        "{problem}"
    );
}
