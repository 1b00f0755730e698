//! What the list of configs tells of each: who changed it last, and whether calls use it.

use serde_json::json;

use super::{Browser, Desk};
use crate::api::{NUMBER, TENANT};
use crate::support::database::{BOTH, Kind};
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

/// What somebody picks, reads or types stays under his hands, whatever others do meanwhile.
#[tokio::test]
async fn nothing_that_is_being_edited_is_overwritten() {
    let (desk, browser) = (Desk::new(Kind::Sqlite).await, Browser::start(true).await);
    browser.looks(1200, "light").await;
    browser.sign_in(&desk).await;
    browser.open(&desk.url("/configs")).await;
    browser.shows("Live").await;
    browser.click("tbody tr:first-child input[name=id]").await;
    desk.edits("eu", &json!({"agent_name": "while-picked"})).await;
    browser.shows("1 change, show").await;
    let picked =
        "return refresh().then(() => document.querySelector('tbody input[name=id]').checked)";
    assert_eq!(browser.script(picked).await, true);
    assert!(!browser.text().await.contains("while-picked"));
    browser.click("tbody tr:first-child input[name=id]").await;
    // The keyboard stays where it is.
    let focused = "document.querySelector('tbody a').focus();
        return refresh().then(() => document.activeElement.tagName)";
    assert_eq!(browser.script(focused).await, "A");
    browser.script("document.activeElement.blur()").await;
    browser.script("return refresh()").await;
    browser.shows("while-picked").await;

    // What is unfolded, where the page follows by itself.
    browser.open(&desk.url("/keys")).await;
    let unfolded = "document.querySelector('#list details').open = true;
        return refresh('[data-live]').then(() => document.querySelector('#list details').open)";
    assert_eq!(browser.script(unfolded).await, true);

    // A form, beside which others save.
    let config = desk.site.database.store().configs().await.unwrap()[0].id;
    browser.open(&desk.url(&format!("/configs/{config}/edit"))).await;
    browser.shows("Live").await;
    browser.fill("#agent_name", "being-typed").await;
    desk.edits("eu", &json!({"agent_name": "while-typing"})).await;
    browser.script("return refresh()").await;
    assert_eq!(browser.property("#agent_name", "value").await, "being-typed");
}

/// An open stream keeps no daemon from ending, and whoever looks at the page is told.
#[tokio::test]
async fn a_page_says_that_its_daemon_is_gone_and_keeps_it_from_nothing() {
    let (desk, browser) = (Desk::new(Kind::Sqlite).await, Browser::start(true).await);
    browser.looks(1200, "light").await;
    browser.sign_in(&desk).await;
    browser.open(&desk.url("/configs")).await;
    browser.shows("Live").await;
    let (code, err) = desk.daemon.process.end_by("-TERM");
    assert_eq!(code, Some(0), "{err}");
    browser.shows("Disconnected, trying again").await;
}
