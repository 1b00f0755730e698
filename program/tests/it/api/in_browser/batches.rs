//! Batches on their page: rehearsed, run, watched, cancelled and gone on with, by script and without.

use serde_json::json;
use trunkline::KeyRing;
use trunkline::store::NewNumber;

use super::{Browser, Desk};
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::config_on;
use crate::support::standin::{FarEnd, StandIn};
use crate::support::{caller, eventually};

const KEY: (&str, &str) = ("APIstandin", "canary-of-the-stand-in-0123456789-0123456789");
const TENANT: &str = "00000000-0000-0000-0000-000000000001";

/// A desk whose number calls through a stand-in.
async fn desk(kind: Kind) -> (Desk, StandIn) {
    let mut desk = Desk::new(kind).await;
    let stand_in = StandIn::start(&[KEY]).await;
    stand_in.trunk("ST_own", &["*"]);
    let key = desk.site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
    let config = config_on(&KeyRing::parse(&key).unwrap(), &stand_in.url(), KEY, "calls");
    let id = desk.site.database.store().create_config(&config).await.unwrap();
    let rules = json!({"livekit_config": id, "outbound_trunk_id": "ST_own"});
    let number = NewNumber { caller: caller(1, 7), provider: None, rules };
    desk.site.database.store().add_number(&number).await.unwrap();
    let folder = desk.site.folder.path().join("kept");
    std::fs::create_dir(&folder).unwrap();
    let socket = desk.site.folder.path().join("kept.sock");
    desk.site.program = desk
        .site
        .program
        .clone()
        .with("DATA_DIR", folder.to_str().unwrap())
        .with("HTTP_SOCKET", socket.to_str().unwrap());
    desk.daemon = desk.site.daemon();
    desk.daemon.is_ready().await;
    (desk, stand_in)
}

fn to(person: u32) -> String {
    format!("+91987654321{person}")
}

impl Browser {
    /// Enters a batch that calls these persons, and shows what it would come to.
    async fn rehearses(&self, desk: &Desk, name: &str, rows: &str) {
        self.open(&desk.url("/batches")).await;
        self.fill("#rows", &format!("to,note\n{rows}")).await;
        for (field, text) in
            [("#name", name), ("#tenant", TENANT), ("#from", "+971500000007"), ("#cps", "0")]
        {
            self.fill(field, text).await;
        }
        self.choose("#dial", "engine").await;
        self.click("button[value=rehearse]").await;
        self.shows("What it would come to").await;
    }
}

#[tokio::test]
async fn a_batch_is_rehearsed_run_cancelled_and_gone_on_with() {
    for (kind, scripts) in BOTH.into_iter().zip([true, false]) {
        let (desk, stand_in) = desk(kind).await;
        let browser = Browser::start(scripts).await;
        (0..2).for_each(|person| stand_in.at(&to(person), FarEnd::Answers));
        browser.sign_in(&desk).await;
        browser.open(&desk.url("/batches")).await;
        browser.shows("No batch yet").await;

        // What must be corrected is told, and what was entered stays.
        browser.rehearses(&desk, "<b>May</b>", &format!("{},one\n,two\n", to(0))).await;
        browser.shows("1 entry must be corrected").await;
        browser.shows("line 3").await;
        if scripts {
            browser.is_for_everybody().await;
        }
        assert!(stand_in.requests().is_empty(), "nobody was called");

        browser.rehearses(&desk, "<b>May</b>", &format!("{},one\n{},two\n", to(0), to(1))).await;
        browser.shows("Ready to be run.").await;
        browser.click("button[value=run]").await;
        browser.shows("About it").await;
        let path = browser.path().await;
        eventually("it is done", async || {
            browser.open(&desk.url(&path)).await;
            browser.text_of("main").await.contains("Every entry has a result.")
        })
        .await;
        browser.shows("<b>May</b>").await;
        assert_eq!(stand_in.dialled().len(), 2, "{kind:?}");
        if scripts {
            browser.is_for_everybody().await;
            browser.pictures("batch").await;
        }

        // One that rings is cancelled by the button for all, and gone on with.
        stand_in.at(&to(2), FarEnd::Rings);
        stand_in.at(&to(3), FarEnd::Rings);
        let rows = format!("{},x\n{},x\n", to(2), to(3));
        browser.rehearses(&desk, "second", &rows).await;
        browser.click("button[value=run]").await;
        browser.shows("About it").await;
        let path = browser.path().await;
        eventually("both ring", async || stand_in.ringing() == 2).await;
        browser.open(&desk.url("/batches")).await;
        browser.shows("<b>May</b>").await;
        if scripts {
            browser.is_for_everybody().await;
            browser.pictures("batches").await;
        }
        browser.click("input[name=calls]").await;
        browser.click("form[action$=cancel] button").await;
        browser.shows("Cancelled: nobody else is called.").await;
        eventually("both are hung up on", async || stand_in.ringing() == 0).await;
        eventually("it has ended", async || {
            browser.open(&desk.url(&path)).await;
            browser.text_of("main").await.contains("cancelled")
        })
        .await;
        let wrong = browser.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
