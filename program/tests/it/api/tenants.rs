//! A client of one tenant gets nothing of another one, and is not told whether there is anything.

use serde_json::{Value, json};

use super::{Daemon, NUMBER, OTHER_TENANT, Site, TENANT, refused};
use crate::support::database::BOTH;
use crate::support::{caller, number};

/// Every route that is asked for a caller, with the rest of what it is asked.
fn routes() -> [(&'static str, Value); 4] {
    let grants = json!({"room": "call-7", "identity": "a", "sip_call": true});
    [
        ("/v1/tokens", json!({"grants": grants})),
        ("/v1/resolve", json!({})),
        ("/v1/resolve", json!({"explain": true, "secret": true})),
        ("/v1/route", json!({"to": "050 765 4321"})),
    ]
}

fn asked(rest: &Value, tenant: Option<&str>, from: &str) -> Value {
    let mut body = rest.clone();
    body["from"] = json!(from);
    if let Some(tenant) = tenant {
        body["tenant"] = json!(tenant);
    }
    body
}

/// What was answered, but for what is of the request alone.
async fn said(daemon: &Daemon, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let (status, mut answer) = daemon.answer(token, path, body).await;
    if let Some(members) = answer.as_object_mut() {
        members.remove("request_id");
    }
    (status, answer)
}

#[tokio::test]
async fn a_client_of_one_tenant_is_told_the_same_whether_another_one_has_a_number_or_not() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let theirs = "+971500000002";
        // Both look the same where they are masked.
        let (there, absent) = (caller(2, 2), "+971500000102");
        let config = site.database.store().configs().await.unwrap()[0].id;
        site.database.store().add_number(&number(there, Some(config))).await.unwrap();
        let may = ["--may", "tokens,resolve,route,secret", "--room", "*", "--sip-call"];
        let token = site.client("of-a", &[&["--tenant", TENANT], &may[..]].concat());
        let daemon = site.daemon();
        for (path, rest) in routes() {
            // As the other tenant, whose it is.
            for from in [theirs, absent] {
                let body = asked(&rest, Some(OTHER_TENANT), from);
                let answer = daemon.ask(&token, path, &body).await;
                refused(&answer, 403, "tenant_not_allowed");
            }
            // As its own tenant, named or not: the number is another's, or nobody's.
            for tenant in [Some(TENANT), None] {
                let of_other = said(&daemon, &token, path, &asked(&rest, tenant, theirs)).await;
                let of_nobody = said(&daemon, &token, path, &asked(&rest, tenant, absent)).await;
                // A route shows the number that was asked for.
                let shown = |(status, answer): (u16, Value), from: &str| {
                    (status, answer.to_string().replace(from, "…"))
                };
                assert_eq!(shown(of_other, theirs), shown(of_nobody, absent), "{path} {rest}");
            }
            // Its own is answered.
            let own = said(&daemon, &token, path, &asked(&rest, None, NUMBER)).await;
            assert_eq!(own.0, 200, "{path} {rest} {own:?}");
        }
    }
}

#[tokio::test]
async fn a_client_of_some_tenants_names_one_and_one_of_all_need_not() {
    let site = Site::new(BOTH[1]).await;
    let may = ["--may", "resolve"];
    let tenants = ["--tenant", TENANT, "--tenant", OTHER_TENANT];
    let some = site.client("some", &[&tenants[..], &may].concat());
    let all = site.client("all", &[&["--all-tenants"], &may[..]].concat());
    let daemon = site.daemon();
    let body = json!({"from": NUMBER});
    // The number has one owner, and that is not told.
    refused(&daemon.ask(&some, "/v1/resolve", &body).await, 400, "tenant_needed");
    assert_eq!(daemon.answer(&all, "/v1/resolve", &body).await.0, 200);
    let named = json!({"tenant": TENANT, "from": NUMBER});
    assert_eq!(daemon.answer(&some, "/v1/resolve", &named).await.0, 200);
}

#[tokio::test]
async fn a_client_of_some_numbers_is_refused_for_others_before_they_are_looked_up() {
    let site = Site::new(BOTH[1]).await;
    let limits = ["--all-tenants", "--number", "+97152", "--may", "tokens,resolve,route"];
    let token = site.client("narrow", &[&limits[..], &["--room", "*"]].concat());
    let daemon = site.daemon();
    for (path, rest) in routes().into_iter().filter(|(_, rest)| rest.get("secret").is_none()) {
        let body = asked(&rest, Some(TENANT), NUMBER);
        refused(&daemon.ask(&token, path, &body).await, 403, "number_not_allowed");
    }
    let metrics = daemon.metrics().await;
    assert!(metrics.lines().any(|line| line == "trunkline_loads_total 0"), "nothing was looked up");
}
