//! What somebody does who comes for the first time: a config, its check, a number, why, a call, and the line
//! of the audit. Against a stand-in of a LiveKit server that has a carrier.

use std::time::Duration;

use super::{Browser, Desk};
use crate::support::database::BOTH;
use crate::support::standin::{FarEnd, StandIn};

#[tokio::test]
async fn a_newcomer_comes_from_a_config_to_a_call_and_its_line_in_the_audit() {
    for kind in BOTH {
        let secret = "canary-of-a-newcomer-0123456789abcdef";
        let server = StandIn::start(&[("APInew", secret)]).await;
        server.trunk("ST_new", &["+971500000002"]);
        server.at("+971507654321", FarEnd::Answers);
        let (desk, browser) = (Desk::new(kind).await, Browser::start(true).await);
        browser.looks(1200, "light").await;
        let began = tokio::time::Instant::now();
        browser.sign_in(&desk).await;
        let shown = began.elapsed();

        // Each step is found by what the page says, and none by its address.
        browser.follow("Configs").await;
        browser.follow("New config").await;
        for (field, text) in [
            ("#name", "mine"),
            ("#url", &server.url()),
            ("#api_key", "APInew"),
            ("#api_secret", secret),
            ("#trunk_id", "ST_new"),
        ] {
            browser.fill(field, text).await;
        }
        browser.click("button[data-check=save]").await;
        browser.shows("the one node answer").await;
        browser.follow("Numbers").await;
        browser.choose("#state", "none").await;
        browser.click(".filters button").await;
        browser.shows("None picked").await;
        browser.click("tbody tr:first-child input[name=id]").await;
        let id = browser
            .script("return [...document.querySelectorAll('#to option')].find(one => one.text === 'mine').value")
            .await;
        browser.choose("#to", id.as_str().unwrap()).await;
        browser.click("form[action$=assign] .actions button").await;
        browser.shows("Assign 1 number to mine").await;
        browser.click("button[value=assign]").await;
        browser.shows("Assigned.").await;
        browser.fill("#prefix", "+971500000002").await;
        browser.choose("#state", "").await;
        browser.click(".filters button").await;
        browser.click("tbody tr:first-child td.right a").await;
        browser.shows("Config mine places its calls").await;
        browser.follow("Place a test call from it").await;
        browser.fill("#to", "050 765 4321").await;
        browser.click("form.stack button.main").await;
        browser.shows("Placed.").await;
        assert_eq!(server.dialled().len(), 1, "a phone rang, once");
        // The call is found again by its room and by its number.
        for find in ["call-test", "50 765 43"] {
            browser.fill("#find", find).await;
            browser.click("form[role=search] button").await;
            browser.shows("+971500000002 to +971507654321").await;
        }
        browser.fill("#find", "no such room").await;
        browser.click("form[role=search] button").await;
        browser.shows("Nothing found").await;
        browser.follow("Audit").await;
        browser.shows("config mine").await;
        let (all, wrong) = (began.elapsed(), browser.complaints().await);
        assert!(wrong.is_empty(), "{wrong:?}");
        eprintln!(
            "{kind:?}: signed in after {shown:.1?}, at the line of the audit after {all:.1?}"
        );
        assert!(all < Duration::from_secs(1800), "it never ends");
        assert!(!browser.source().await.contains("canary"));
    }
}
