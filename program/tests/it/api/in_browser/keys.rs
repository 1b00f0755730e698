//! The page of keys: a rotation from a key that is not used to one that seals everything.

use trunkline::KeyRing;

use super::{Browser, Desk};
use crate::support::database::{BOTH, Kind};
use crate::support::eventually;

#[tokio::test]
async fn an_admin_turns_to_another_key_and_sees_how_far_it_is() {
    for kind in BOTH {
        let new = KeyRing::generate().unwrap();
        let id = KeyRing::parse(&new).unwrap().key_ids()[0].to_string();
        let desk = Desk::with_key_beside(kind, &new).await;
        let browser = Browser::start(true).await;
        browser.looks(1200, "light").await;
        browser.sign_in(&desk).await;
        browser.open(&desk.url("/keys")).await;
        browser.shows(&format!("Key {id} is in the ring and not used yet.")).await;
        eventually("the node is listed", async || {
            browser.open(&desk.url("/keys")).await;
            browser.text_of("#list").await.contains("all 1")
        })
        .await;
        browser.is_for_everybody().await;
        browser.click("button[value=stage]").await;
        browser.shows("would be staged").await;
        browser.is_for_everybody().await;
        browser.click("button[value=yes]").await;
        browser.shows("do not survive a rotation").await;
        browser.follow("Back to the keys").await;
        browser.shows("is staged, and opens everywhere").await;
        browser.click("button[value=promote]").await;
        browser.shows("Not done: readers that are not listed may be there").await;
        browser.complaints().await;
        browser.click("input[name=readers]").await;
        browser.click("button[value=no]").await;
        browser.shows(&format!("Key {id} would seal")).await;
        browser.click("button[value=yes]").await;
        browser.shows("Done").await;
        browser.follow("Back to the keys").await;
        browser.shows("1 of 1 secrets are under an older key.").await;
        browser.pictures("keys").await;
        browser.click("button[value=rotate]").await;
        browser.shows("1 secret would be sealed again.").await;
        browser.click("button[value=yes]").await;
        browser.shows("1 secret were sealed again.").await;
        browser.shows("waits: it is too early").await;
        browser.follow("Back to the keys").await;
        browser.shows("1 of 1 secrets are under the key that seals.").await;
        browser.click("button[value=verify]").await;
        browser.shows(&format!("1 secret under key {id}.")).await;
        let page = browser.source().await;
        let old = desk.site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        assert!(!page.contains(new.as_str()) && !page.contains(&old[..40]), "no key is shown");
        let wrong = browser.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_rotation_that_runs_elsewhere_is_seen_as_it_goes() {
    let new = KeyRing::generate().unwrap();
    let id = KeyRing::parse(&new).unwrap().key_ids()[0].to_string();
    let desk = Desk::with_key_beside(Kind::Postgres, &new).await;
    let browser = Browser::start(true).await;
    browser.looks(1200, "light").await;
    browser.sign_in(&desk).await;
    browser.open(&desk.url("/keys")).await;
    browser.shows(&format!("Key {id} is in the ring and not used yet.")).await;
    browser.shows("Live").await;
    // Nothing is pressed, and no page is loaded: each step of a terminal comes by the stream.
    let loaded = "return performance.timeOrigin";
    let before = browser.script(loaded).await;
    let key = |arguments: &[&str]| {
        let arguments = [&["key"], arguments].concat();
        desk.site.program.run(&arguments).ok();
    };
    eventually("the node is listed", async || {
        let shown = desk.site.program.run(&["key", "status", "--json"]);
        !shown.json()["nodes"].as_array().unwrap().is_empty()
    })
    .await;
    key(&["stage", "--unseen-readers", "none"]);
    browser.shows(&format!("Key {id} is staged")).await;
    key(&["promote", "--unseen-readers", "none"]);
    browser.shows("1 of 1 secrets are under an older key.").await;
    key(&["rotate"]);
    browser.shows("1 of 1 secrets are under the key that seals.").await;
    assert_eq!(browser.property("meter", "value").await, 1);
    assert_eq!(browser.script(loaded).await, before);
    let wrong = browser.complaints().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}
