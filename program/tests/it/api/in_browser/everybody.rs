//! Each page for those who have no mouse, a small screen or a shaking hand: targets that can be hit, focus
//! that can be seen, passwords that can be pasted, and empty lists that say what comes next.

use serde_json::{Value, json};

use super::{Browser, Desk, PASSWORD};
use crate::support::database::Kind;

/// Every page of its own that a person with all rights can open.
pub(super) const PAGES: [&str; 18] = [
    "/",
    "/configs",
    "/configs/new",
    "/numbers",
    "/numbers/new",
    "/numbers/import",
    "/tenants",
    "/why",
    "/calls",
    "/audit",
    "/nodes",
    "/rollout",
    "/keys",
    "/people",
    "/account",
    "/sign-in",
    "/why?from=%2B971500000001",
    "/numbers?state=none&sort=tenant",
];

/// Targets that are smaller than 24 by 24 pixels and have not that much room around them, but for links
/// within a sentence (WCAG 2.2, 2.5.8).
const SMALL: &str = r"
    const of = e => (e.matches('input[type=checkbox], input[type=radio]') && e.closest('label')) || e;
    const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.closest('.out-of-sight')).map(of);
    const box = e => { const r = e.getBoundingClientRect(); return {e, x: r.x, y: r.y, w: r.width, h: r.height}; };
    const boxes = all.map(box), small = b => b.w < 24 || b.h < 24;
    const within = b => getComputedStyle(b.e).display === 'inline' && [...b.e.parentElement.childNodes]
        .some(n => n.nodeType === 3 && n.textContent.trim());
    const middle = b => [b.x + b.w / 2, b.y + b.h / 2];
    const near = (b, c) => {
        const [x, y] = middle(b);
        if (small(c)) { const [u, v] = middle(c); return Math.hypot(x - u, y - v) < 24; }
        const dx = Math.max(c.x - x, 0, x - c.x - c.w), dy = Math.max(c.y - y, 0, y - c.y - c.h);
        return Math.hypot(dx, dy) < 12;
    };
    return boxes.filter(small).filter(b => !within(b))
        .filter(b => boxes.some(c => c.e !== b.e && !c.e.contains(b.e) && !b.e.contains(c.e) && near(b, c)))
        .map(b => `${b.e.outerHTML.slice(0, 120)} is ${b.w} by ${b.h}`);";

/// What has the focus and is wholly behind something else (WCAG 2.2, 2.4.11), from the end of the page to its
/// beginning, so that all of it scrolls below what sticks to the top.
const OBSCURED: &str = r"
    const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && !e.matches('.skip'));
    return all.reverse().filter(e => {
        e.focus();
        const r = e.getBoundingClientRect();
        const points = [[.5, .5], [.1, .1], [.9, .9], [.1, .9], [.9, .1]];
        return !points.some(([x, y]) => {
            const on = document.elementFromPoint(r.x + r.width * x, r.y + r.height * y);
            return on && (e.contains(on) || on.contains(e) || on.closest('label')?.contains(e));
        });
    }).map(e => e.outerHTML.slice(0, 120));";

#[tokio::test]
async fn each_page_can_be_hit_seen_and_read_on_a_phone() {
    let (desk, browser) = (Desk::new(Kind::Sqlite).await, Browser::start(true).await);
    browser.looks(1200, "light").await;
    browser.sign_in(&desk).await;
    let config = desk.site.database.store().configs().await.unwrap()[0].id;
    let of_config = ["", "/edit", "/remove"].map(|end| format!("/configs/{config}{end}"));
    for path in PAGES.map(String::from).into_iter().chain(of_config) {
        browser.open(&desk.url(&path)).await;
        browser.is_for_everybody().await;
        for (width, scheme) in [(1200, "light"), (320, "dark")] {
            browser.looks(width, scheme).await;
            let small = browser.script(SMALL).await;
            assert_eq!(small, json!([]), "{path}, {width} wide: targets are too small");
            let obscured = browser.script(OBSCURED).await;
            assert_eq!(obscured, json!([]), "{path}, {width} wide: focus is hidden");
        }
        browser.looks(1200, "light").await;
    }
    let wrong = browser.complaints().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn a_password_is_pasted_and_the_keys_and_the_stream_are_switched_off() {
    let (desk, browser) = (Desk::new(Kind::Sqlite).await, Browser::start(true).await);
    browser.open(&desk.url("/")).await;
    browser.fill("#name", "alice").await;
    // Nobody hinders pasting, and managers of passwords know which field it is.
    let pasted = "const field = document.querySelector('#password'); field.focus();
        const event = new ClipboardEvent('paste', {cancelable: true, bubbles: true, clipboardData: new DataTransfer()});
        return [field.dispatchEvent(event), field.autocomplete]";
    assert_eq!(browser.script(pasted).await, json!([true, "current-password"]));
    browser.chromium("Input.insertText", json!({"text": PASSWORD})).await;
    browser.click("button.main").await;
    browser.shows("Answers in memory").await;

    browser.open(&desk.url("/configs")).await;
    browser.shows("Live").await;
    let key = |key: &str| {
        format!(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
        )
    };
    browser.script(&key("/")).await;
    assert_eq!(browser.script("return document.activeElement.id").await, "search");
    browser
        .script("document.activeElement.blur(); document.querySelector('[data-keys]').click()")
        .await;
    browser.click("#keys input").await;
    browser.click("#keys button").await;
    browser.script("document.activeElement.blur()").await;
    browser.script(&key("/")).await;
    assert_ne!(browser.script("return document.activeElement.id").await, "search");
    browser.click("[data-pause]").await;
    browser.shows("Paused").await;
    desk.edits("eu", &json!({"agent_name": "while-paused"})).await;
    browser.open(&desk.url("/configs")).await;
    browser.shows("Paused").await;
    browser.click("[data-pause]").await;
    browser.shows("Live").await;
    desk.edits("eu", &json!({"agent_name": "while-live"})).await;
    browser.shows("1 change, show").await;
}

#[tokio::test]
async fn an_empty_list_says_what_comes_next_and_its_command() {
    let (desk, browser) = (Desk::new(Kind::Sqlite).await, Browser::start(true).await);
    desk.site.database.sql("delete from voice_agent_numbers").await;
    desk.site.database.sql("delete from voice_agent_livekit").await;
    desk.site.database.sql("delete from trunkline_clients").await;
    browser.sign_in(&desk).await;
    for (path, says, command) in [
        ("/configs", "No config yet", "trunkline livekit add"),
        ("/numbers", "No number yet", "trunkline number add"),
        ("/tenants", "No tenant has a label yet", "trunkline tenant label"),
        ("/calls", "No call yet", "trunkline call"),
        ("/people", "No program may ask yet", "trunkline client add"),
        ("/audit?who=nobody-of-this-name", "Nothing found", "trunkline audit list"),
    ] {
        browser.open(&desk.url(path)).await;
        browser.shows(says).await;
        browser.shows(command).await;
        browser.is_for_everybody().await;
    }
    let empty = browser.script("return document.querySelectorAll('h1').length").await;
    assert_eq!(empty, Value::from(1));
}
