//! The pages by what is sent alone, without a browser: what they ask again, and that names are text.

use std::fmt::Write as _;

use serde_json::Value;
use trunkline::KeyRing;
use trunkline::store::{NewConfig, NewNumber};

use super::people::PAGE;
use super::{Daemon, Request, Site, TENANT};
use crate::support::database::{BOTH, Kind};
use crate::support::http::Message;
use crate::support::{caller, config, eventually, number};

impl Daemon {
    /// Reads a page with a cookie.
    async fn reads_page(&self, cookie: &str, path: &str) -> Message {
        self.send(Request::get(path).with("cookie", cookie)).await
    }

    /// Sends a form of a page with a cookie.
    async fn sends(&self, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Message {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(fields).finish();
        let request = Request::post(path, &Value::Null)
            .body(&form)
            .with("content-type", "application/x-www-form-urlencoded")
            .with("cookie", cookie)
            .with(PAGE.0, PAGE.1);
        self.send(request).await
    }
}

/// The value of a hidden field of a page.
fn hidden(page: &Message, name: &str) -> String {
    let field = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.body.split_once(&field).unwrap_or_else(|| panic!("{name}: {page:?}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_cannot_be_undone_takes_the_password_again() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("alice", "admin");
        let store = site.database.store();
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let unused = config(&KeyRing::parse(&key).unwrap(), "unused");
        let unused = store.create_config(&unused).await.unwrap();
        let number = store.add_number(&number(caller(1, 7), None)).await.unwrap();
        let daemon = site.daemon();
        daemon.is_ready().await;
        let cookie = daemon.signed_in("alice", &password).await;
        site.database
            .sql(match kind {
                Kind::Postgres => {
                    "update trunkline_sessions set confirmed_at = now() - interval '6 min'"
                }
                Kind::Sqlite => {
                    "update trunkline_sessions set confirmed_at =
                        strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-6 minutes')"
                }
            })
            .await;
        let of_config = format!("/configs/{unused}/remove");
        eventually("it is asked for", async || {
            daemon.reads_page(&cookie, &of_config).await.body.contains("Your password again")
        })
        .await;
        let page = daemon.reads_page(&cookie, &of_config).await;
        let version = hidden(&page, "version");
        let remove = async |password: &str| {
            let fields = [("version", &*version), ("name", "unused"), ("password", password)];
            daemon.sends(&cookie, &of_config, &fields).await
        };
        for wrong in ["", "not the password"] {
            let refused = remove(wrong).await;
            assert_ne!(refused.word(), "303", "{kind:?} {wrong:?}");
            assert!(store.config(unused).await.unwrap().is_some(), "{kind:?} {wrong:?}");
        }
        let of_number = format!("/numbers/{number}/remove");
        let page = daemon.reads_page(&cookie, &of_number).await;
        let fields = [("version", &*hidden(&page, "version"))];
        assert_ne!(daemon.sends(&cookie, &of_number, &fields).await.word(), "303");
        // People and keys.
        let bob = [("name", "bob"), ("role", "admin")];
        let refused = daemon.sends(&cookie, "/people", &bob).await;
        assert_eq!(refused.word(), "403", "{refused:?}");
        let program = [("name", "program"), ("tenants", "all"), ("may", "calls")];
        let refused = daemon.sends(&cookie, "/people/clients", &program).await;
        assert_eq!(refused.word(), "403", "{refused:?}");
        let exposed = KeyRing::parse(&key).unwrap().key_ids()[0].to_string();
        let step = [("do", "compromise"), ("key", &*exposed), ("sure", "yes")];
        let asked = daemon.sends(&cookie, "/keys", &step).await;
        assert!(asked.body.contains("Your password again"), "{asked:?}");
        let users = site.program.run(&["user", "list", "--json"]).ok();
        assert!(!users.contains("bob"), "{users}");
        assert!(!site.program.run(&["client", "list", "--json"]).ok().contains("program"));

        assert_eq!(remove(&password).await.word(), "303", "{kind:?}");
        assert!(store.config(unused).await.unwrap().is_none());
        let done = daemon.sends(&cookie, &of_number, &fields).await;
        assert_eq!(done.word(), "303", "it was given a moment ago");
    }
}

#[tokio::test]
async fn names_with_markup_are_text_on_every_page() {
    const MARKUP: &str = "\"'><s>canary</s>";
    let site = Site::new(Kind::Sqlite).await;
    let password = site.user("alice", "admin");
    let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
    let store = site.database.store();
    let named = NewConfig {
        description: Some(MARKUP.into()),
        trunk_id: Some(MARKUP.into()),
        agent: Some(MARKUP.into()),
        name: MARKUP.into(),
        ..config(&KeyRing::parse(&key).unwrap(), "markup")
    };
    let id = store.create_config(&named).await.unwrap();
    let carried = NewNumber { provider: Some(MARKUP.into()), ..number(caller(1, 7), Some(id)) };
    let number = store.add_number(&carried).await.unwrap();
    site.program.run(&["tenant", "label", TENANT, MARKUP]).ok();
    let folder = site.folder.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    let daemon = Daemon::start(&site.program.clone().with("DATA_DIR", folder.to_str().unwrap()));
    daemon.is_ready().await;
    let cookie = daemon.signed_in("alice", &password).await;
    let batch = [
        ("key", "00000000-0000-4000-8000-000000000001"),
        ("name", MARKUP),
        (
            "rows",
            &format!("tenant,from,to,note\n{TENANT},+971500000007,<s>canary</s>,<s>canary</s>\n"),
        ),
        ("anyway", "yes"),
        ("do", "run"),
    ];
    let taken = daemon.sends(&cookie, "/batches", &batch).await;
    assert_eq!(taken.word(), "303", "{taken:?}");
    let batch = taken.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
    let encoded: String = url::form_urlencoded::byte_serialize(MARKUP.as_bytes()).collect();
    let mut shown = String::new();
    for path in [
        "/",
        "/configs",
        &format!("/configs?search={encoded}&state={encoded}&sort={encoded}"),
        &format!("/configs/{id}"),
        &format!("/configs/{id}/edit"),
        &format!("/configs/{id}/remove"),
        "/numbers",
        &format!("/numbers?tenant={encoded}&prefix={encoded}"),
        &format!("/numbers/{number}"),
        &format!("/numbers/{number}/remove"),
        &format!("/why?tenant={encoded}&from=%2B971500000007&to={encoded}"),
        "/tenants",
        &format!("/tenants?id={TENANT}&label={encoded}"),
        "/audit",
        &format!("/audit?who={encoded}&number={encoded}&tenant={encoded}&since={encoded}"),
        &format!("/calls?find={encoded}&from={encoded}&to={encoded}"),
        "/batches",
        &format!("/batches/{batch}"),
        "/rollout",
        &format!("/sign-in?to={encoded}"),
        &format!("/{encoded}"),
    ] {
        let page = daemon.reads_page(&cookie, path).await;
        assert!(!page.body.contains("<s>canary"), "{path} shows markup");
        let _ = write!(shown, "{}", page.body);
    }
    // What forms answer with keeps what was typed, as text.
    for (path, fields) in [
        ("/configs/new", &[("name", MARKUP), ("url", MARKUP), ("do", "save")][..]),
        ("/tenants", &[("id", MARKUP), ("label", MARKUP)]),
        ("/numbers/import", &[("csv", MARKUP), ("do", "preview")]),
        ("/batches", &[("rows", MARKUP), ("name", MARKUP), ("cps", MARKUP)]),
        ("/people", &[("name", MARKUP), ("role", "viewer")]),
        ("/people/clients", &[("name", MARKUP)]),
    ] {
        let page = daemon.sends(&cookie, path, fields).await;
        assert!(!page.body.contains("<s>canary"), "{path} answers with markup");
        let _ = write!(shown, "{}", page.body);
    }
    assert!(shown.matches("canary").count() > 20, "the names are shown");
}
