//! The pages, in a real browser against the real program: as an operator walks through them, by script and
//! without, on both databases. `scripts/test pages` installs the browser.

mod base_path;
mod batches;
mod everybody;
mod keys;
mod lists;
mod newcomer;
mod numbers;
mod people;

use std::path::PathBuf;

use serde_json::{Value, json};
use trunkline::{ExposeSecret, KeyRing};

use super::{Daemon, Request, Site};
use crate::support::browser::Browser;
use crate::support::database::{BOTH, Kind};
use crate::support::livekit::Server;
use crate::support::{ROOT, caller, eventually, number};

const PASSWORD: &str = "canary-of-a-password-0123";
const EDITS: [&str; 3] = ["--all-tenants", "--may", "configs,edit_configs,numbers,edit_numbers"];

/// A daemon with an operator, numbers to assign, and a second editor who uses the API.
struct Desk {
    site: Site,
    daemon: Daemon,
    second: String,
}

impl Desk {
    async fn new(kind: Kind) -> Self {
        Self::on(Site::new(kind).await).await
    }

    /// The same with this key behind the one that it has.
    async fn with_key_beside(kind: Kind, key: &str) -> Self {
        const KEY: &str = "LIVEKIT_SECRET_ENCRYPTION_KEY";
        let site = Site::new(kind).await;
        let ring = format!("{},{key}", site.program.variable(KEY));
        Self::on(Site { program: site.program.clone().with(KEY, &ring), ..site }).await
    }

    async fn on(site: Site) -> Self {
        let store = site.database.store();
        for at in 2..6 {
            store.add_number(&number(caller(1, at), None)).await.unwrap();
        }
        let program = site.program.clone().with("LIVEKIT_HOSTS", "127.0.0.1, *.example");
        let site = Site { program, ..site };
        site.program
            .run_with(&["user", "add", "alice", "--role", "admin"], PASSWORD.as_bytes())
            .ok();
        let second = site.client("second", &EDITS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        Self { site, daemon, second }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.daemon.api.unwrap())
    }

    /// The second editor changes a config.
    async fn edits(&self, name: &str, edit: &Value) {
        let (_, found) = self.daemon.get(&self.second, &format!("/v1/configs?search={name}")).await;
        let id = found["configs"][0]["id"].as_str().unwrap().to_owned();
        let answer =
            self.daemon.call(&self.second, "PATCH", &format!("/v1/configs/{id}"), edit).await;
        assert_eq!(answer.word(), "200", "{answer:?}");
    }
}

impl Browser {
    async fn sign_in(&self, desk: &Desk) {
        self.open(&desk.url("/")).await;
        self.shows("Sign in").await;
        self.fill("#name", "alice").await;
        self.fill("#password", PASSWORD).await;
        self.click("button.main").await;
        self.shows("Answers in memory").await;
    }

    /// Follows the link, or presses the button, that says this.
    async fn follow(&self, text: &str) {
        self.shows(text).await;
        let found = self
            .script(&format!(
                "const found = [...document.querySelectorAll('a, button')]
                    .find(one => one.textContent.trim() === {text:?});
                 found?.click(); return Boolean(found)"
            ))
            .await;
        assert_eq!(found, true, "nothing says {text:?}");
    }

    /// What axe-core finds on the page that is serious, in both schemes.
    async fn is_for_everybody(&self) {
        let axe = std::fs::read_to_string(modules().join("axe-core/axe.min.js"));
        let axe = axe.expect("axe-core is installed by `scripts/test pages`");
        for scheme in ["light", "dark"] {
            self.looks(1200, scheme).await;
            self.script(&axe).await;
            let found = self.script("return axe.run({resultTypes: ['violations']}).then(found => found.violations
                .filter(one => ['serious', 'critical'].includes(one.impact))
                .map(one => one.id + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).join('; ')))").await;
            let path = self.path().await;
            assert_eq!(found, json!([]), "{path} in {scheme}");
        }
        self.looks(320, "light").await;
        let width = self.script("return document.documentElement.scrollWidth").await;
        assert!(width.as_u64().unwrap() <= 320, "{} is {width} wide on a phone", self.path().await);
        self.looks(1200, "light").await;
    }

    /// Pictures of the page in each look, for those who read about it.
    async fn pictures(&self, name: &str) {
        for (look, width, scheme) in
            [("light", 1200, "light"), ("dark", 1200, "dark"), ("phone", 375, "light")]
        {
            self.looks(width, scheme).await;
            self.picture(&pictures().join(format!("{name}-{look}.webp"))).await;
        }
        self.looks(1200, "light").await;
    }
}

/// Where pictures go: `docs/img`, if somebody wants them anew.
fn pictures() -> PathBuf {
    let wanted = std::env::var_os("TRUNKLINE_TEST_PICTURES").is_some();
    PathBuf::from(ROOT).join(if wanted { "docs/img" } else { "target/pages" })
}

/// Where packages of npm are installed.
fn modules() -> PathBuf {
    let modules = std::env::var_os("TRUNKLINE_TEST_NODE_MODULES");
    modules.expect("TRUNKLINE_TEST_NODE_MODULES names no folder; `scripts/test` makes it").into()
}

#[tokio::test]
async fn an_operator_walks_from_a_new_config_to_its_end() {
    for kind in BOTH {
        let (desk, browser) = (Desk::new(kind).await, Browser::start(true).await);
        browser.looks(1200, "light").await;
        lets_in(&desk, &browser).await;
        let one = is_created(&desk, &browser, Server::shared()).await;
        is_edited_by_two(&desk, &browser, &one).await;
        gets_numbers(&desk, &browser, &one).await;
        is_told_of(&desk, &browser).await;
        is_removed(&desk, &browser, &one).await;
        let wrong = browser.complaints().await;
        assert!(wrong.is_empty(), "{wrong:?}");
        let (_, err) = desk.daemon.process.end_by("-TERM");
        let (_, secret) = Server::shared().keys[0];
        assert!(!err.contains("canary") && !err.contains(secret), "{err}");
    }
}

/// Who is known by his password alone.
async fn lets_in(desk: &Desk, browser: &Browser) {
    // Nobody is let in without a password, and where he wanted to go is kept.
    browser.open(&desk.url("/configs?search=e")).await;
    browser.shows("Sign in").await;
    browser.fill("#name", "alice").await;
    browser.fill("#password", "not the password").await;
    browser.click("button.main").await;
    browser.shows("Not signed in").await;
    assert_eq!(browser.property("#name", "value").await, "alice");
    browser.is_for_everybody().await;
    browser.fill("#password", PASSWORD).await;
    browser.click("button.main").await;
    browser.shows("New config").await;
    assert_eq!(browser.path().await, "/configs?search=e");
    // A page of 401 is told of on the console, and that was wanted.
    browser.complaints().await;
}

/// A config is refused, checked and saved. Returns its path.
async fn is_created(desk: &Desk, browser: &Browser, server: &Server) -> String {
    let (key, secret) = server.keys[0];
    // What is wrong is told with its field, and what was typed stays, but for the secret.
    browser.open(&desk.url("/configs/new")).await;
    browser.fill("#name", "<b>north</b>").await;
    browser.fill("#url", "north.example").await;
    browser.fill("#api_key", "API north").await;
    browser.fill("#api_secret", secret).await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Not saved yet").await;
    assert_eq!(browser.property("#url", "ariaInvalid").await, "true");
    assert_eq!(browser.property("#name", "value").await, "<b>north</b>");
    assert_eq!(browser.property("#api_secret", "value").await, "");
    assert!(!browser.source().await.contains(secret));
    let focused = browser.script("return document.activeElement.getAttribute('role')").await;
    assert_eq!(focused, "alert");
    browser.complaints().await;

    // A check against the real server says what is wrong, and nothing is saved.
    browser.fill("#url", &server.url()).await;
    browser.fill("#api_key", key).await;
    browser.fill("#api_secret", "canary-of-a-wrong-secret-0123456789").await;
    browser.click("button[data-check=save]").await;
    browser.shows("Calls would fail").await;
    assert!(browser.text_of("#check .failed").await.contains("secret"));
    assert_eq!(browser.path().await, "/configs/new");
    // The pasted secret is right, and it is saved when the last step is good.
    browser.fill("#api_secret", secret).await;
    browser.click("button[data-check=save]").await;
    browser.shows("the one node answer").await;
    let one = browser.path().await.split('?').next().unwrap().to_owned();
    assert!(browser.text_of("h1").await.starts_with("<b>north</b>"), "markup is text");
    let source = browser.source().await;
    assert!(!source.contains(secret) && !source.contains("dev-s-t-"), "{source}");
    browser.is_for_everybody().await;
    browser.pictures("config").await;
    one
}

/// Two editors meet, and an earlier version comes back.
async fn is_edited_by_two(desk: &Desk, browser: &Browser, one: &str) {
    // A second editor is seen, and nothing is overwritten behind one's back.
    browser.open(&desk.url("/configs")).await;
    eventually("it listens", async || browser.text_of(".live").await == "Live").await;
    desk.edits("north", &json!({"agent_name": "second-agent"})).await;
    browser.shows("1 change, show").await;
    assert!(!browser.text().await.contains("second-agent"));
    browser.click(".news button").await;
    browser.shows("second-agent").await;
    browser.is_for_everybody().await;
    browser.pictures("configs").await;
    browser.open(&desk.url(&format!("{one}/edit"))).await;
    browser.fill("#agent_name", "my-agent").await;
    desk.edits("north", &json!({"agent_name": "their-agent"})).await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Somebody else changed it").await;
    let differ = browser.text_of("table.diff").await;
    assert!(differ.contains("their-agent") && differ.contains("my-agent"), "{differ}");
    browser.pictures("conflict").await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Saved.").await;
    browser.complaints().await;

    // An earlier version comes back by the same form.
    browser.click("#versions tr:nth-child(2) a").await;
    browser.shows("Filled from version").await;
    assert_eq!(browser.property("#agent_name", "value").await, "their-agent");
    browser.click("button[name=do][value=save]").await;
    browser.shows("Saved.").await;
    assert!(browser.text_of("#facts").await.contains("their-agent"));
}

/// Numbers get it, and tell why.
async fn gets_numbers(desk: &Desk, browser: &Browser, one: &str) {
    // Numbers are assigned with a preview, and tell why they resolve so.
    let id = one.rsplit('/').next().unwrap();
    browser.open(&desk.url("/numbers?state=none")).await;
    browser.is_for_everybody().await;
    browser.pictures("numbers").await;
    browser.click("[data-pick-all]").await;
    browser.shows("4 picked").await;
    browser.choose("#to", id).await;
    browser.click("form[action$=assign] button:not([disabled])").await;
    browser.shows("Assign 4 numbers").await;
    browser.click("button[value=assign]").await;
    browser.shows("Assigned.").await;
    browser.open(&desk.url(&format!("/numbers?config={id}"))).await;
    browser.click("tbody tr:first-child td.right a").await;
    browser.shows("<b>north</b> places its calls").await;
    browser.fill("#to", "050 765 4321").await;
    browser.click("form.ask button").await;
    browser.shows("+971507654321 may be called").await;
    browser.is_for_everybody().await;
    browser.pictures("why").await;
}

/// What was done is told, and every page is for everybody.
async fn is_told_of(desk: &Desk, browser: &Browser) {
    // All of it is in the audit, by name.
    browser.open(&desk.url("/audit?who=user%3Aalice")).await;
    browser.shows("user:alice").await;
    browser.shows("config <b>north</b>").await;
    browser.is_for_everybody().await;
    browser.pictures("audit").await;
    for path in ["/", "/nodes", "/rollout", "/calls", "/numbers/new", "/account", "/tenants"] {
        browser.open(&desk.url(path)).await;
        browser.is_for_everybody().await;
        let name = path.trim_start_matches('/').replace('/', "-");
        browser.pictures(if name.is_empty() { "overview" } else { &name }).await;
    }
}

/// It goes when nobody uses it.
async fn is_removed(desk: &Desk, browser: &Browser, one: &str) {
    let id = one.rsplit('/').next().unwrap();
    // One in use is not deleted; one that is not goes by its name.
    browser.open(&desk.url(&format!("{one}/remove"))).await;
    browser.shows("4 numbers use it").await;
    browser.open(&desk.url(&format!("/numbers?config={id}"))).await;
    browser.click("[data-pick-all]").await;
    browser.choose("#to", "none").await;
    browser.click("form[action$=assign] button:not([disabled])").await;
    browser.click("button[value=assign]").await;
    browser.shows("Assigned.").await;
    browser.open(&desk.url(one)).await;
    browser.click("form[action$=disable] button").await;
    browser.shows("Disabled:").await;
    browser.open(&desk.url(&format!("{one}/remove"))).await;
    assert_eq!(browser.property("button.danger", "disabled").await, true);
    browser.fill("#name", "<b>north</b>").await;
    browser.click("button.danger").await;
    browser.shows("Deleted.").await;
    // Whoever misses it enters it again from the audit, all but the secret.
    browser.open(&desk.url("/audit?operation=delete&entity=config")).await;
    browser.follow("Enter it again").await;
    browser.shows("It was deleted, and its secret with it").await;
    browser.is_for_everybody().await;
    assert_eq!(browser.property("#name", "value").await, "<b>north</b>");
    assert_eq!(browser.property("#agent_name", "value").await, "their-agent");
    assert_eq!(browser.property("#api_secret", "value").await, "");
    browser.fill("#api_secret", "canary-of-the-same-again").await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Created.").await;
}

#[tokio::test]
async fn without_script_a_config_is_created_and_edited() {
    let (desk, browser) = (Desk::new(Kind::Sqlite).await, Browser::start(false).await);
    browser.sign_in(&desk).await;
    browser.open(&desk.url("/configs/new")).await;
    for (field, text) in [
        ("#name", "plain"),
        ("#url", "wss://plain.example"),
        ("#api_key", "APIplain"),
        ("#api_secret", "canary-of-plain"),
    ] {
        browser.fill(field, text).await;
    }
    // The check is one answer, and says that nothing was saved.
    browser.click("button[value=check-and-save]").await;
    browser.shows("Calls would fail").await;
    assert_eq!(browser.property("#name", "value").await, "plain");
    browser.fill("#api_secret", "canary-of-plain").await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Created.").await;
    browser.click("a[href$=edit]").await;
    browser.fill("#trunk_id", "ST_plain").await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Saved.").await;
    let key = desk.site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
    let config = desk.site.database.store().config_named("plain").await.unwrap().unwrap();
    let opened = config.open(&KeyRing::parse(&key).unwrap()).unwrap();
    assert_eq!(opened.secret.expose_secret(), "canary-of-plain", "an empty field keeps it");
    assert_eq!(config.trunk_id.as_deref(), Some("ST_plain"));
}

#[tokio::test]
async fn what_a_session_may_no_longer_or_another_site_asks_is_not_done() {
    let (desk, browser) = (Desk::new(Kind::Postgres).await, Browser::start(true).await);
    browser.sign_in(&desk).await;
    browser.open(&desk.url("/configs/new")).await;
    browser.fill("#name", "late").await;
    desk.site.program.run(&["user", "sign-out", "alice"]).ok();
    eventually("the session has ended", async || {
        browser
            .script("return fetch('/nodes', {redirect: 'manual'}).then(answer => answer.type)")
            .await
            == "opaqueredirect"
    })
    .await;
    browser.click("button[name=do][value=save]").await;
    browser.shows("Nothing was saved").await;
    browser.fill("#name", "alice").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("button.main").await;
    browser.shows("New config").await;

    let cookies = browser.chromium("Network.getAllCookies", json!({})).await;
    let of = |cookie: &&Value| cookie["name"] == "trunkline";
    let cookie = cookies["cookies"].as_array().unwrap().iter().find(of).unwrap().clone();
    assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&json!(true), &json!("Strict")));
    let token = format!("trunkline={}", cookie["value"].as_str().unwrap());
    let count = async || desk.site.database.value("select count(*) from voice_agent_livekit").await;
    let before = count().await;
    let sent = async |origin: &str| {
        let body = "name=evil&url=wss%3A%2F%2Fevil.example&api_key=APIevil&api_secret=evil&do=save";
        let request = Request::post("/configs/new", &Value::Null)
            .body(body)
            .with("host", "127.0.0.1:1")
            .with("content-type", "application/x-www-form-urlencoded")
            .with("cookie", &token)
            .with("origin", origin);
        desk.daemon.send(request).await
    };
    let refused = sent("https://evil.example").await;
    assert_eq!(refused.word(), "403", "{refused:?}");
    assert!(refused.body.contains("cross_site"), "{refused:?}");
    assert_eq!(count().await, before);
    assert_eq!(sent("http://127.0.0.1:1").await.word(), "303", "from a page of ours it is done");

    // Whatever a page says, its browser may run and load nothing but what is ours.
    let page = desk.daemon.send(Request::get("/configs").with("cookie", &token)).await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let style = page.body.split("href=\"").find(|part| part.contains(".css")).unwrap();
    let style = style.split('"').next().unwrap().trim_start_matches('.');
    let style = desk.daemon.send(Request::get(style)).await;
    assert_eq!(style.header("cache-control"), Some("public, max-age=31536000, immutable"));
}
