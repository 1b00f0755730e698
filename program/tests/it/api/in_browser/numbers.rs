//! Tenants by their labels, and numbers that are assigned by a CSV.

use super::{Browser, Desk};
use crate::support::database::BOTH;

#[tokio::test]
async fn tenants_get_labels_and_a_csv_assigns_their_numbers() {
    for kind in BOTH {
        let (desk, browser) = (Desk::new(kind).await, Browser::start(true).await);
        browser.looks(1200, "light").await;
        browser.sign_in(&desk).await;
        browser.open(&desk.url("/numbers")).await;
        browser.click("tbody tr:first-child th a").await;
        browser.follow("give it a label").await;
        browser.shows("No tenant has a label yet").await;
        browser.fill("#label", "00000000-0000-0000-0000-000000000009").await;
        browser.click("form.stack button.main").await;
        browser.shows("must not be a UUID").await;
        assert_eq!(browser.property("#label", "ariaInvalid").await, "true");
        browser.complaints().await;
        browser.fill("#label", "Acme <b>Dubai</b>").await;
        browser.click("form.stack button.main").await;
        browser.shows("The label is given.").await;
        browser.is_for_everybody().await;
        // It stands wherever the tenant stands, and is chosen by.
        browser.open(&desk.url("/numbers?tenant=acme")).await;
        browser.shows("Acme <b>Dubai</b>").await;
        browser.click("td.right a").await;
        browser.shows("places its calls").await;
        assert_eq!(browser.property("#tenant", "value").await, "Acme <b>Dubai</b>");
        browser.open(&desk.url("/audit?tenant=acme")).await;
        browser.shows("tenant Acme <b>Dubai</b>").await;
        browser.open(&desk.url("/numbers/new")).await;
        let offered = "return document.querySelector('#tenant_id-list option').value";
        assert_eq!(browser.script(offered).await, "Acme <b>Dubai</b>");

        browser.open(&desk.url("/numbers")).await;
        browser.follow("Assign by CSV").await;
        browser.is_for_everybody().await;
        let csv = "number,config\n+971500000002,eu\n+971500000003,us\n+971500000004,eu\n";
        let typed = serde_json::to_string(csv).unwrap();
        browser.script(&format!("document.querySelector('#csv').value = {typed}")).await;
        browser.click("button[value=preview]").await;
        browser.shows("2 numbers would move").await;
        browser.shows("1 row is refused").await;
        browser.shows("there is no config of this name or id").await;
        browser.is_for_everybody().await;
        browser.pictures("import").await;
        browser.click("button[value=assign]").await;
        browser.shows("Nothing was moved").await;
        browser.complaints().await;
        browser.click("input[name=skip]").await;
        browser.click("button[value=assign]").await;
        browser.shows("Assigned.").await;

        // Many configs at once, after a preview of whom it touches.
        browser.open(&desk.url("/configs?sort=changed")).await;
        browser.click("[data-pick-all]").await;
        browser.click("button[value=disabled]").await;
        browser.shows("Disable 1 config").await;
        browser.shows("3 numbers").await;
        browser.is_for_everybody().await;
        browser.click("button[value=turn]").await;
        browser.shows("Disabled:").await;
        browser.open(&desk.url("/numbers?state=disabled")).await;
        browser.shows("+971500000004").await;
        browser.is_for_everybody().await;
        let wrong = browser.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
