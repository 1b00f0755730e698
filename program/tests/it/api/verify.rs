//! `/v1/livekit/verify`: whose token it is, told to those who may know of its config.

use livekit_token::AccessToken;
use serde_json::{Value, json};

use super::{ALL, Daemon, OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::BOTH;
use crate::support::{caller, eventually, number, secret_of};

fn token(api_key: &str, secret: &str) -> String {
    let token = AccessToken::with_api_key(api_key, secret);
    token.with_identity("agent").to_jwt().unwrap()
}

/// What is answered, but for what is of the request alone.
async fn said(daemon: &Daemon, client: &str, token: &str) -> (u16, Value) {
    let (status, mut answer) =
        daemon.answer(client, "/v1/livekit/verify", &json!({"token": token})).await;
    answer.as_object_mut().unwrap().remove("request_id");
    (status, answer)
}

#[tokio::test]
async fn who_may_is_told_the_config_and_the_claims_and_else_what_is_wrong() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let client = site.client("all", &ALL);
        let without = site.client("without", &["--all-tenants", "--may", "tokens,resolve,route"]);
        let daemon = site.daemon();
        let good = token("APIeu", &secret_of("eu"));
        let (status, answer) = said(&daemon, &client, &good).await;
        assert_eq!((status, &answer["config_name"]), (200, &json!("eu")), "{answer}");
        let id = site.database.store().configs().await.unwrap()[0].id;
        assert_eq!((&answer["config_id"], &answer["claims"]["sub"]), (&json!(id), &json!("agent")));
        let body = json!({"token": good});
        let path = "/v1/livekit/verify";
        refused(&daemon.ask(&without, path, &body).await, 403, "scope_missing");
        for (token, status, code) in [
            (token("APIeu", "wrong"), 422, "signature_invalid"),
            (token("APInobody", "wrong"), 422, "issuer_unknown"),
            ("eyJ".to_owned(), 400, "jwt_malformed"),
        ] {
            let answer = daemon.ask(&client, path, &json!({"token": token})).await;
            let problem = refused(&answer, status, code);
            assert!(!problem.to_string().contains(&secret_of("eu")), "{problem}");
        }
    }
}

/// Nothing tells whether another tenant has a config with this key: not who signed, not whether it is
/// a signature at all.
#[tokio::test]
async fn to_a_client_of_a_tenant_the_configs_of_others_are_unknown_issuers() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let store = site.database.store();
        let theirs = caller(2, 2);
        store.add_number(&number(theirs, None)).await.unwrap();
        let may = ["--may", "verify"];
        let client = site.client("of-b", &[&["--tenant", OTHER_TENANT], &may[..]].concat());
        let narrow = ["--tenant", TENANT, "--number", "+97152"];
        let narrow = site.client("narrow", &[&narrow[..], &may].concat());
        let elsewhere = ["--all-tenants", "--number", "+1"];
        let elsewhere = site.client("elsewhere", &[&elsewhere[..], &may].concat());
        let owner =
            ["--tenant", OTHER_TENANT, "--tenant", TENANT, "--number", "+1", "--number", "+97150"];
        let owner = site.client("of-a", &[&owner[..], &may].concat());
        let daemon = site.daemon();
        let good = token("APIeu", &secret_of("eu"));
        assert_eq!(said(&daemon, &owner, &good).await.0, 200, "{kind:?}");
        let unknown = said(&daemon, &client, &token("APInobody", "x")).await;
        assert_eq!((unknown.0, &unknown.1["code"]), (422, &json!("issuer_unknown")));
        for client in [&client, &narrow, &elsewhere] {
            for token in [good.clone(), token("APIeu", "wrong")] {
                assert_eq!(said(&daemon, client, &token).await, unknown, "{kind:?}");
            }
        }
        // It is theirs as soon as one of their numbers uses it, and no longer than that.
        let config = store.configs().await.unwrap()[0].id;
        store.assign(theirs, Some(config)).await.unwrap();
        eventually("it is known", async || said(&daemon, &client, &good).await.0 == 200).await;
        store.assign(theirs, None).await.unwrap();
        eventually("it is unknown", async || said(&daemon, &client, &good).await == unknown).await;
    }
}
