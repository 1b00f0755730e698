//! The page of people: one is added, signs in by a link, is locked, and signed out.

use super::{Browser, Desk};
use crate::support::database::BOTH;

#[tokio::test]
async fn a_person_is_added_linked_locked_and_signed_out() {
    for kind in BOTH {
        let (desk, browser) = (Desk::new(kind).await, Browser::start(true).await);
        browser.looks(1200, "light").await;
        browser.sign_in(&desk).await;
        browser.open(&desk.url("/people")).await;
        browser.fill("#new-name", "not a name").await;
        browser.click(".filters.foot button").await;
        browser.shows("must be letters, digits").await;
        browser.complaints().await;
        browser.fill("#new-name", "bob").await;
        browser.click(".filters.foot button").await;
        browser.shows("The password of bob").await;
        let password = browser.text_of("#made").await;
        browser.is_for_everybody().await;
        browser.open(&desk.url("/people")).await;
        assert!(!browser.source().await.contains(&password), "it is shown once");
        browser.pictures("people").await;

        let row = |what: &str| {
            format!(
                "const row = [...document.querySelectorAll('#users tbody tr')]
                    .find(row => row.querySelector('th').textContent.trim() === 'bob');
                 row.querySelector('details').open = true; {what}"
            )
        };
        let press = async |value: &str| {
            let press = format!("row.querySelector('button[value={value}]').click()");
            browser.script(&row(&press)).await;
        };
        press("link").await;
        browser.shows("It signs in once, within ten minutes").await;
        let link = browser.script("return document.querySelector('#made').href").await;
        let other = Browser::start(true).await;
        other.open(link.as_str().unwrap()).await;
        other.click("button.main").await;
        other.shows("bob").await;
        other.shows("Configs").await;
        browser.open(&desk.url("/people")).await;
        browser.script(&row("row.querySelector('td a[href*=people]').click()")).await;
        browser.shows("127.0.0.1").await;
        browser.is_for_everybody().await;
        browser.follow("Sign out everywhere").await;
        browser.shows("Saved.").await;
        other.open(&desk.url("/configs")).await;
        other.shows("Sign in").await;

        // Ten wrong passwords lock him, and an admin ends that.
        for _ in 0..10 {
            desk.daemon.login("bob", "not his password").await;
        }
        browser.open(&desk.url("/people")).await;
        browser.shows("locked").await;
        press("unlock").await;
        browser.shows("Saved.").await;
        browser.open(&desk.url("/people")).await;
        let state = browser.script(&row("return row.textContent")).await;
        assert!(!state.as_str().unwrap().contains("locked"), "{state}");
        let wrong = browser.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
