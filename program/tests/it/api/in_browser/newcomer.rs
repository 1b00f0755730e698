//! What somebody does who comes for the first time: a config, its check, a number, why, a call, and the line
//! of the audit. By a daemon on both databases, and by the demo with its one-time login. The LiveKit server,
//! which a newcomer brings, is a stand-in that has a carrier.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Browser, Desk};
use crate::support::database::BOTH;
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::program::Program;
use crate::support::standin::{FarEnd, StandIn};

const KEY: (&str, &str) = ("APInew", "canary-of-a-newcomer-0123456789abcdef");

/// A server with a trunk that carries any number, and somebody who answers.
async fn server() -> StandIn {
    let server = StandIn::start(&[KEY]).await;
    server.trunk("ST_new", &["*"]);
    server.at("+971507654321", FarEnd::Answers);
    server
}

impl Browser {
    /// Walks from the overview to the line of the audit. Each step is found by what the page says, and none
    /// by its address. `state` is that of the numbers of which the first one is used.
    async fn walks(&self, server: &StandIn, state: &str) {
        self.follow("Configs").await;
        self.follow("New config").await;
        for (field, text) in [
            ("#name", "mine"),
            ("#url", &server.url()),
            ("#api_key", KEY.0),
            ("#api_secret", KEY.1),
            ("#trunk_id", "ST_new"),
        ] {
            self.fill(field, text).await;
        }
        self.click("button[data-check=save]").await;
        self.shows("the one node answer").await;
        self.follow("Numbers").await;
        self.choose("#state", state).await;
        self.click(".filters button").await;
        eventually("it is filtered", async || self.path().await.contains("state=")).await;
        self.shows("None picked").await;
        let number = self.text_of("tbody tr:first-child th").await;
        self.click("tbody tr:first-child input[name=id]").await;
        let id = self
            .script("return [...document.querySelectorAll('#to option')].find(one => one.text === 'mine').value")
            .await;
        self.choose("#to", id.as_str().unwrap()).await;
        self.click("form[action$=assign] .actions button").await;
        self.shows("Assign 1 number to mine").await;
        self.click("button[value=assign]").await;
        self.shows("Assigned.").await;
        self.fill("#prefix", &number).await;
        self.choose("#state", "").await;
        self.click(".filters button").await;
        eventually("it is found", async || self.path().await.contains("prefix=%2B")).await;
        self.click("tbody tr:first-child td.right a").await;
        self.shows("Config mine places its calls").await;
        self.follow("Place a test call from it").await;
        self.fill("#to", "050 765 4321").await;
        self.click("form.stack button.main").await;
        self.shows("Placed.").await;
        assert_eq!(server.dialled().len(), 1, "a phone rang, once");
        // The call is found again by its room and by its number.
        for find in ["call-test", "50 765 43"] {
            self.fill("#find", find).await;
            self.click("form[role=search] button").await;
            self.shows(&format!("{number} to +971507654321")).await;
        }
        self.fill("#find", "no such room").await;
        self.click("form[role=search] button").await;
        self.shows("Nothing found").await;
        self.follow("Audit").await;
        self.shows("config mine").await;
        let wrong = self.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(!self.source().await.contains("canary"));
    }
}

#[tokio::test]
async fn a_newcomer_comes_from_a_config_to_a_call_and_its_line_in_the_audit() {
    for kind in BOTH {
        let (desk, browser, server) =
            (Desk::new(kind).await, Browser::start(true).await, server().await);
        browser.looks(1200, "light").await;
        let began = Instant::now();
        browser.sign_in(&desk).await;
        let shown = began.elapsed();
        browser.walks(&server, "none").await;
        let all = began.elapsed();
        eprintln!(
            "{kind:?}: signed in after {shown:.1?}, at the line of the audit after {all:.1?}"
        );
        assert!(all < Duration::from_secs(1800), "it never ends");
    }
}

#[tokio::test]
async fn a_newcomer_does_the_same_in_the_demo_by_its_one_time_login() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let program = Program::new().with("TMPDIR", folder.path().to_str().unwrap());
    let mut demo = Process::start(program.command(&["demo", "--json"]));
    let mut link = None;
    while link.is_none() {
        // It ends where the demo does.
        let told: Value = demo.line(|line| serde_json::from_str(line).ok());
        let open = told["open"].as_str().filter(|open| open.contains("sign-in"));
        link = open.map(ToOwned::to_owned);
    }
    let link = link.unwrap_or_default();
    let browser = Browser::start(true).await;
    browser.looks(1200, "light").await;
    browser.open(&link).await;
    browser.click("button.main").await;
    browser.shows("Answers in memory").await;
    browser.walks(&server, "").await;
    browser.shows("user:demo").await;
    // The link is used up.
    let other = Browser::start(true).await;
    other.open(&link).await;
    other.click("button.main").await;
    other.shows("Not signed in").await;
    demo.end_by("-TERM");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}
