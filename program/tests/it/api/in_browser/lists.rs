//! What the list of configs tells of each: who changed it last, and whether calls use it.

use serde_json::json;

use super::{Browser, Desk};
use crate::api::{NUMBER, TENANT};
use crate::support::database::BOTH;
use crate::support::eventually;

#[tokio::test]
async fn a_config_tells_who_changed_it_last_and_whether_calls_use_it() {
    for kind in BOTH {
        let (desk, browser) = (Desk::new(kind).await, Browser::start(true).await);
        browser.looks(1200, "light").await;
        browser.sign_in(&desk).await;
        browser.open(&desk.url("/configs")).await;
        browser.shows("not yet").await;
        desk.edits("eu", &json!({"agent_name": "another"})).await;
        let resolver = desk.site.client("resolver", &["--tenant", TENANT, "--may", "resolve"]);
        let asked = json!({"tenant": TENANT, "from": NUMBER});
        eventually("the new client resolves", async || {
            let (status, told) = desk.daemon.answer(&resolver, "/v1/resolve", &asked).await;
            status == 200 && told["source"] == "database"
        })
        .await;
        browser.open(&desk.url("/configs")).await;
        browser.shows("by second").await;
        assert_eq!(browser.text_of("td[data-name='Used here']").await, "just now");
        browser.is_for_everybody().await;
        let wrong = browser.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
