//! The pages under a path of their own behind a proxy: every address on every one of them stays below it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Browser, Desk, PASSWORD};
use crate::support::database::Kind;

/// Where the proxy puts them.
const BASE: &str = "/tools/trunkline";

/// A proxy that passes what is below its path on as if it stood at the root, and answers 404 else. Returns its
/// port.
#[expect(clippy::disallowed_methods, reason = "a proxy of a test")]
async fn proxy(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, to));
        }
    });
    port
}

/// One request a connection, since each has a path of its own.
async fn pass_on(mut client: TcpStream, to: u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (start, headers) = head.split_once("\r\n").unwrap_or_default();
    let mut words = start.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Some(path) = path.strip_prefix(BASE).filter(|path| path.starts_with('/')) else {
        let nothing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(nothing.as_bytes()).await;
    };
    let kept = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
    let headers: Vec<_> = headers.split("\r\n").filter(kept).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{}", headers.join("\r\n"));
    let mut daemon = TcpStream::connect(("127.0.0.1", to)).await?;
    daemon.write_all(head.as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut daemon).await.map(|_| ())
}

/// The addresses of a page that are not below the path, and those of its own pages and files that are not there.
const ASTRAY: &str = r"
    const base = location.origin + arguments_base;
    const all = [...document.querySelectorAll('[href], [src], [action], [formaction]')].flatMap(one =>
        ['href', 'src', 'action', 'formaction'].filter(name => one.hasAttribute(name))
            .filter(name => !one.getAttribute(name).startsWith('#'))
            .map(name => new URL(one.getAttribute(name), document.baseURI)));
    const astray = all.filter(url => url.protocol.startsWith('http') && !url.href.startsWith(base)).map(url => url.href);
    const pages = new Set([...document.querySelectorAll(`a[href]:not([href^='#']), link[href], script[src]`)]
        .map(one => one.href || one.src).filter(url => url.startsWith(base)).map(url => url.split('#')[0]));
    const asked = [...pages].map(async url => {
        const answer = await fetch(url);
        return answer.ok ? [] : [`${answer.status} ${url}`];
    });
    return Promise.all(asked).then(found => [...astray, ...found.flat()]);";

impl Browser {
    /// Looks at every address of the page that is shown.
    async fn stays_below(&self, what: &str) {
        let script = ASTRAY.replace("arguments_base", &format!("'{BASE}/'"));
        assert_eq!(self.script(&script).await, json!([]), "{what}");
    }
}

#[tokio::test]
async fn every_page_works_under_a_path_of_its_own_behind_a_proxy() {
    let (desk, browser) = (Desk::with_folder(Kind::Sqlite).await, Browser::start(true).await);
    browser.looks(1200, "light").await;
    let port = proxy(desk.daemon.api.unwrap()).await;
    let at = |path: &str| format!("http://127.0.0.1:{port}{BASE}{path}");
    // Whoever is not signed in is, where he wanted to go.
    browser.open(&at("/configs?search=e")).await;
    browser.shows("Sign in").await;
    browser.complaints().await;
    browser.stays_below("sign in").await;
    browser.fill("#name", "alice").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("button.main").await;
    browser.shows("New config").await;
    assert_eq!(browser.path().await, format!("{BASE}/configs?search=e"));
    browser.shows("Live").await;

    let store = desk.site.database.store();
    let config = store.configs().await.unwrap()[0].id;
    let number = store.numbers(None).await.unwrap()[0].id;
    let (_, users) = desk.people(&browser, &at("/v1/users")).await;
    let person = users["users"][0]["id"].as_str().unwrap().to_owned();
    let of_one = [
        format!("/configs/{config}"),
        format!("/configs/{config}/edit"),
        format!("/configs/{config}/remove"),
        format!("/numbers/{number}"),
        format!("/numbers/{number}/remove"),
        format!("/people/{person}"),
    ];
    let pages = super::everybody::PAGES.map(String::from).into_iter();
    for path in pages.chain(of_one).chain(["/batches".into(), "/configs?sort=changed".into()]) {
        browser.open(&at(&path)).await;
        browser.stays_below(&path).await;
    }

    // What forms lead to, and what stands there then.
    browser.open(&at("/configs")).await;
    browser.click("[data-pick-all]").await;
    browser.click("button[value=disabled]").await;
    browser.shows("Disable 1 config").await;
    browser.stays_below("many configs").await;
    browser.open(&at("/numbers")).await;
    browser.click("tbody tr:first-child input[name=id]").await;
    browser.choose("#to", "none").await;
    browser.click("form[action$=assign] .actions button").await;
    browser.shows("Assign").await;
    browser.stays_below("an assignment").await;
    browser.open(&at("/numbers/import")).await;
    browser.fill("#csv", "number,config").await;
    browser.click("button[value=preview]").await;
    browser.stays_below("an import").await;
    browser.open(&at("/tenants")).await;
    browser.fill("#label", "Acme").await;
    browser.click("form.stack button.main").await;
    browser.complaints().await;
    browser.stays_below("tenants").await;
    browser.open(&at("/batches")).await;
    browser.fill("#rows", "tenant,from,to").await;
    browser.click("button[value=rehearse]").await;
    browser.stays_below("a rehearsal").await;
    browser.complaints().await;
    browser.open(&at("/keys")).await;
    browser.click("button[value=verify]").await;
    browser.shows("1 secret under key").await;
    browser.stays_below("a step of keys").await;
    browser.open(&at("/")).await;
    browser.click(".theme button[value=dark]").await;
    browser.shows("Answers in memory").await;
    browser.follow("Sign out").await;
    browser.shows("Sign in").await;
    assert!(browser.path().await.starts_with(BASE));
    let wrong = browser.complaints().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}

impl Desk {
    /// The same with a folder for batches.
    async fn with_folder(kind: Kind) -> Self {
        let site = super::Site::new(kind).await;
        let folder = site.folder.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        let program = site.program.clone().with("DATA_DIR", folder.to_str().unwrap());
        Self::on(super::Site { program, ..site }).await
    }

    /// What the API answers to the person in the browser.
    async fn people(&self, browser: &Browser, url: &str) -> (u64, Value) {
        let script = format!(
            "return fetch({url:?}).then(async answer => [answer.status, await answer.json()])"
        );
        let told = browser.script(&script).await;
        (told[0].as_u64().unwrap_or_default(), told[1].clone())
    }
}
