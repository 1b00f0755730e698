//! People sign in, stay signed in on every node for as long as they may, and no longer.

mod proxy;
mod traces;

use serde_json::{Value, json};

use super::{Daemon, Request, Site, refused, status_and_body};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::eventually;
use crate::support::http::Message;
use crate::support::postgres::Cluster;

/// What a browser on the page of a daemon sends.
pub(super) const PAGE: (&str, &str) = ("sec-fetch-site", "same-origin");

impl Site {
    /// Adds a user, and returns his password.
    pub(super) fn user(&self, name: &str, role: &str) -> String {
        let added = self.program.run(&["user", "add", name, "--role", role, "--generate"]);
        added.ok().trim_end().to_owned()
    }

    /// Does something with users on the command line.
    fn users(&self, arguments: &[&str]) -> String {
        self.program.run(&[&["user"], arguments].concat()).ok()
    }
}

impl Daemon {
    pub(super) async fn login(&self, name: &str, password: &str) -> Message {
        let body = json!({"name": name, "password": password});
        self.send(Request::post("/v1/session", &body).with(PAGE.0, PAGE.1)).await
    }

    /// Signs somebody in, and returns his cookie.
    pub(super) async fn signed_in(&self, name: &str, password: &str) -> String {
        cookie(&self.login(name, password).await)
    }

    /// Asks as a page does, with a cookie.
    pub(super) async fn browse(
        &self,
        cookie: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Message {
        self.send(page(cookie, method, path, body).with(PAGE.0, PAGE.1)).await
    }

    async fn reads(&self, cookie: &str) -> Message {
        self.browse(cookie, "GET", "/v1/configs", &Value::Null).await
    }

    async fn comes_to(&self, cookie: &str, status: u16, code: &str) {
        let expected = format!("\"code\":\"{code}\"");
        eventually(&format!("it is answered {status}, {code}"), async || {
            self.reads(cookie).await.body.contains(&expected)
        })
        .await;
        refused(&self.reads(cookie).await, status, code);
    }
}

fn page(cookie: &str, method: &str, path: &str, body: &Value) -> Request {
    let mut request = match body {
        Value::Null => Request::get(path),
        body => Request::post(path, body),
    };
    request.0.start = format!("{method} {path} HTTP/1.1");
    request.with("cookie", cookie)
}

#[track_caller]
fn cookie(answer: &Message) -> String {
    assert_eq!(answer.word(), "200", "{answer:?}");
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_signs_in_asks_as_his_role_may_until_he_signs_out() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("Alice", "viewer");
        let daemon = site.daemon();
        let answer = daemon.login("ALICE ", &password).await;
        let set = answer.header("set-cookie").unwrap().to_owned();
        assert!(set.starts_with("trunkline=tls_"), "{set}");
        assert!(
            set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"),
            "a plain name over HTTP on this machine: {set}"
        );
        let (_, told) = status_and_body(&answer);
        assert_eq!((&told["name"], &told["role"]), (&json!("alice"), &json!("viewer")));
        assert!(told["may"].as_array().unwrap().contains(&json!("configs")), "{told}");
        let cookie = cookie(&answer);
        assert_eq!(daemon.reads(&cookie).await.word(), "200");
        let (_, read) =
            status_and_body(&daemon.browse(&cookie, "GET", "/v1/session", &Value::Null).await);
        assert_eq!(read, told);
        let edit = daemon.browse(&cookie, "POST", "/v1/configs", &json!({})).await;
        refused(&edit, 403, "scope_missing");
        let out = daemon.browse(&cookie, "DELETE", "/v1/session", &Value::Null).await;
        assert!(out.header("set-cookie").unwrap().starts_with("trunkline=; Path=/; Max-Age=0;"));
        refused(&daemon.reads(&cookie).await, 401, "session_ended");
        let again = daemon.browse(&cookie, "GET", "/v1/session", &Value::Null).await;
        refused(&again, 401, "session_ended");
    }
}

#[tokio::test]
async fn a_refused_login_says_nothing_about_why_and_costs_the_same_work() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("alice", "viewer");
        site.user("gone", "viewer");
        site.users(&["disable", "gone"]);
        site.program.run(&["user", "add", "linked", "--role", "viewer", "--link-only"]).ok();
        let daemon = site.daemon();
        let compared = async || {
            let metrics = daemon.metrics().await;
            let count = "trunkline_password_duration_seconds_count ";
            let line = metrics.lines().find_map(|line| line.strip_prefix(count));
            line.map_or(0, |count| count.parse::<u64>().unwrap())
        };
        let mut said = Vec::new();
        for (name, password) in [
            ("alice", "a wrong password"),
            ("nobody", "a wrong password"),
            ("gone", "a wrong password"),
            ("linked", "a wrong password"),
            ("alice", ""),
            ("x\u{0}y", "a wrong password"),
        ] {
            let before = compared().await;
            let answer = daemon.login(name, password).await;
            let mut body = refused(&answer, 401, "login_refused");
            assert_eq!(answer.header("set-cookie"), None);
            body["request_id"] = Value::Null;
            said.push(body);
            assert_eq!(compared().await, before + 1, "a password is compared for {name:?}");
        }
        assert!(said.iter().all(|body| *body == said[0]), "{said:?}");
        daemon.signed_in("alice", &password).await;
    }
}

#[tokio::test]
async fn after_ten_failures_in_a_row_a_user_is_locked_until_the_terminal_says_otherwise() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("root", "admin");
        // Of two nodes, each of which remembers its own attempts; the row counts both.
        let (one, other) = (site.daemon(), site.daemon_elsewhere());
        let session = one.signed_in("root", &password).await;
        for at in 0..10 {
            let daemon = if at < 8 { &one } else { &other };
            refused(&daemon.login("root", "a wrong password").await, 401, "login_refused");
        }
        refused(&other.login("root", &password).await, 401, "login_refused");
        let shown = site.users(&["list"]);
        assert!(shown.contains("locked"), "{shown}");
        assert_eq!(one.reads(&session).await.word(), "200", "who is signed in stays so");
        site.users(&["unlock", "root"]);
        other.signed_in("root", &password).await;
        let (_, told) =
            status_and_body(&one.browse(&session, "GET", "/v1/users", &Value::Null).await);
        assert_eq!(told["users"][0]["failures"], 0, "{told}");
    }
}

#[tokio::test]
async fn too_many_attempts_from_an_address_are_turned_away_before_a_password_is_compared() {
    let site = Site::new(Kind::Sqlite).await;
    let daemon = site.daemon();
    for at in 0..10 {
        let answer = daemon.login(&format!("nobody-{at}"), "a wrong password").await;
        refused(&answer, 401, "login_refused");
    }
    let answer = daemon.login("somebody", "a wrong password").await;
    refused(&answer, 429, "too_many_logins");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() <= 6);
    let metrics = daemon.metrics().await;
    for line in [
        "trunkline_sign_ins_total{outcome=\"refused\"} 10",
        "trunkline_sign_ins_total{outcome=\"throttled\"} 1",
        "trunkline_password_duration_seconds_count 10",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

#[tokio::test]
async fn a_session_is_never_one_that_came_with_a_request() {
    let site = Site::new(Kind::Sqlite).await;
    let password = site.user("alice", "viewer");
    let daemon = site.daemon();
    let planted = trunkline::access::SessionToken::generate().unwrap();
    let planted = format!("trunkline={}", planted.as_str());
    let login = |cookie: &str| {
        let body = json!({"name": "alice", "password": password});
        Request::post("/v1/session", &body).with("cookie", cookie).with(PAGE.0, PAGE.1)
    };
    let first = cookie(&daemon.send(login(&planted)).await);
    assert_ne!(first, planted);
    refused(&daemon.reads(&planted).await, 401, "session_ended");
    // The session that the same browser had ends.
    let second = cookie(&daemon.send(login(&first)).await);
    refused(&daemon.reads(&first).await, 401, "session_ended");
    assert_eq!(daemon.reads(&second).await.word(), "200");
}

#[tokio::test]
async fn what_changes_something_is_asked_by_a_page_of_this_server_alone() {
    let site = Site::new(Kind::Sqlite).await;
    let password = site.user("alice", "admin");
    let daemon = site.daemon();
    let cookie = daemon.signed_in("alice", &password).await;
    let config = site.database.store().configs().await.unwrap()[0].id;
    let body = json!({"description": "by a page"});
    let path = format!("/v1/configs/{config}");
    for (headers, passes) in [
        (&[][..], false),
        (&[("origin", "http://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("origin", "http://127.0.0.1")], true),
        (&[("sec-fetch-site", "same-origin")], true),
    ] {
        for (method, path, body, asked) in [
            ("PATCH", &*path, &body, 200),
            ("POST", "/v1/session/confirm", &json!({"password": password}), 200),
        ] {
            let request =
                headers.iter().fold(page(&cookie, method, path, body), |request, header| {
                    request.with(header.0, header.1)
                });
            let answer = daemon.send(request).await;
            if passes {
                assert_eq!(answer.word(), asked.to_string(), "{headers:?} {answer:?}");
            } else {
                refused(&answer, 403, "cross_site");
            }
        }
    }
    // To sign somebody in as somebody else is refused, too; who is no browser says nothing.
    let body = json!({"name": "alice", "password": password});
    let login = Request::post("/v1/session", &body);
    let foreign = login.clone().with("origin", "http://evil.example");
    refused(&daemon.send(foreign).await, 403, "cross_site");
    assert_eq!(daemon.send(login).await.word(), "200");
}

#[tokio::test]
async fn a_token_goes_before_a_cookie_and_no_cookie_is_taken_on_the_socket() {
    let site = Site::new(Kind::Sqlite).await;
    let password = site.user("alice", "admin");
    let daemon = site.daemon();
    let cookie = daemon.signed_in("alice", &password).await;
    let stranger = trunkline::access::ClientToken::generate().unwrap();
    let both = page(&cookie, "GET", "/v1/configs", &Value::Null)
        .with("authorization", &format!("Bearer {}", stranger.as_str()));
    refused(&daemon.send(both).await, 401, "token_invalid");
    let local = page(&cookie, "GET", "/v1/configs", &Value::Null);
    refused(&daemon.send_local(local).await, 401, "credential_missing");
    let body = json!({"name": "alice", "password": password});
    let login = Request::post("/v1/session", &body);
    refused(&daemon.send_local(login).await, 403, "session_not_here");
}

#[tokio::test]
async fn whatever_ends_a_session_ends_it_on_every_node() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        site.user("root", "admin");
        let nodes = [site.daemon(), site.daemon_elsewhere()];
        for node in &nodes {
            node.is_ready().await;
        }
        for (at, how) in [
            &["disable", "NAME"][..],
            &["sign-out", "NAME"],
            &["password", "NAME", "--generate"],
            &["remove", "NAME"],
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("user-{at}");
            let password = site.user(&name, "viewer");
            let cookie = nodes[0].signed_in(&name, &password).await;
            // The other node knows him as soon as he is signed in.
            assert_eq!(nodes[1].reads(&cookie).await.word(), "200", "{kind:?}");
            let how: Vec<_> = how
                .iter()
                .map(|word| if *word == "NAME" { name.as_str() } else { *word })
                .collect();
            site.users(&how);
            for node in &nodes {
                node.comes_to(&cookie, 401, "session_ended").await;
            }
        }
        let password = site.user("late", "viewer");
        let cookie = nodes[0].signed_in("late", &password).await;
        let ended = match kind {
            Kind::Postgres => "update trunkline_sessions set expires_at = now() - interval '1 s'",
            Kind::Sqlite => "update trunkline_sessions set expires_at = '2001-01-01T00:00:00.000Z'",
        };
        site.database.sql(ended).await;
        for node in &nodes {
            node.comes_to(&cookie, 401, "session_ended").await;
        }
    }
}

#[tokio::test]
async fn another_role_holds_on_every_node() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        site.user("root", "admin");
        let password = site.user("alice", "admin");
        let nodes = [site.daemon(), site.daemon_elsewhere()];
        for node in &nodes {
            node.is_ready().await;
        }
        let cookie = nodes[0].signed_in("alice", &password).await;
        let users = async |node: &Daemon| {
            node.browse(&cookie, "GET", "/v1/users", &Value::Null).await.word().to_owned()
        };
        for node in &nodes {
            assert_eq!(users(node).await, "200");
        }
        site.users(&["role", "alice", "viewer"]);
        for node in &nodes {
            eventually("it is less", async || users(node).await == "403").await;
        }
        assert_eq!(nodes[0].reads(&cookie).await.word(), "200", "he is signed in still");
    }
}

#[tokio::test]
async fn signing_out_everywhere_leaves_others_signed_in() {
    let site = Site::new(Kind::Sqlite).await;
    let [alice, bob] = ["alice", "bob"].map(|name| site.user(name, "viewer"));
    let daemon = site.daemon();
    let here = daemon.signed_in("alice", &alice).await;
    let there = daemon.signed_in("alice", &alice).await;
    let other = daemon.signed_in("bob", &bob).await;
    let all = "/v1/session?everywhere=true";
    assert_eq!(daemon.browse(&here, "DELETE", all, &Value::Null).await.word(), "200");
    for cookie in [&here, &there] {
        refused(&daemon.reads(cookie).await, 401, "session_ended");
    }
    assert_eq!(daemon.reads(&other).await.word(), "200");
}

#[tokio::test]
async fn what_gives_or_takes_away_needs_the_password_of_the_last_five_minutes() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("alice", "admin");
        let daemon = site.daemon();
        daemon.is_ready().await;
        let cookie = daemon.signed_in("alice", &password).await;
        let new = json!({"name": "bob", "role": "viewer"});
        let add = async || daemon.browse(&cookie, "POST", "/v1/users", &new).await;
        assert_eq!(add().await.word(), "201", "he has just given it");
        let earlier = match kind {
            Kind::Postgres => {
                "update trunkline_sessions set confirmed_at = now() - interval '6 min'"
            }
            Kind::Sqlite => {
                "update trunkline_sessions set confirmed_at =
                    strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-6 minutes')"
            }
        };
        site.database.sql(earlier).await;
        eventually("it is asked for", async || add().await.body.contains("confirmation_needed"))
            .await;
        refused(&add().await, 403, "confirmation_needed");
        let config = site.database.store().configs().await.unwrap()[0].id;
        let path = format!("/v1/configs/{config}");
        let remove = daemon.browse(&cookie, "DELETE", &path, &Value::Null).await;
        refused(&remove, 403, "confirmation_needed");
        let edit = json!({"description": "no right is given by that"});
        assert_eq!(daemon.browse(&cookie, "PATCH", &path, &edit).await.word(), "200");
        let confirm = async |password: &str| {
            let body = json!({"password": password});
            daemon.browse(&cookie, "POST", "/v1/session/confirm", &body).await
        };
        refused(&confirm("a wrong password").await, 401, "login_refused");
        refused(&add().await, 403, "confirmation_needed");
        let (_, told) = status_and_body(&confirm(&password).await);
        assert_eq!(told["confirmed"], true);
        refused(&add().await, 409, "name_taken");
    }
}

#[tokio::test]
async fn another_password_signs_out_elsewhere_and_stays_signed_in_here() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let password = site.user("alice", "viewer");
        let daemon = site.daemon();
        let here = daemon.signed_in("alice", &password).await;
        let there = daemon.signed_in("alice", &password).await;
        let change = async |old: &str, new: &str| {
            let body = json!({"old": old, "new": new});
            daemon.browse(&here, "POST", "/v1/session/password", &body).await
        };
        refused(&change(&password, "short").await, 400, "password_malformed");
        let new = "another one that is long";
        refused(&change("a wrong password", new).await, 401, "login_refused");
        assert_eq!(change(&password, new).await.word(), "200");
        assert_eq!(daemon.reads(&here).await.word(), "200");
        refused(&daemon.reads(&there).await, 401, "session_ended");
        refused(&daemon.login("alice", &password).await, 401, "login_refused");
        daemon.signed_in("alice", new).await;
    }
}

#[tokio::test]
async fn a_link_signs_in_once_and_for_ten_minutes() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        site.program.run(&["user", "add", "alice", "--role", "admin", "--link-only"]).ok();
        let daemon = site.daemon();
        let link = || {
            let url = site.users(&["link", "alice", "--url", "https://trunkline.example/"]);
            let token = url.trim().strip_prefix("https://trunkline.example/sign-in?link=");
            token.unwrap().to_owned()
        };
        let follow = async |token: &str| {
            let body = json!({"link": token});
            daemon.send(Request::post("/v1/session", &body).with(PAGE.0, PAGE.1)).await
        };
        let first = link();
        let second = link();
        refused(&follow(&first).await, 401, "login_refused");
        let cookie = cookie(&follow(&second).await);
        assert_eq!(daemon.reads(&cookie).await.word(), "200");
        refused(&follow(&second).await, 401, "login_refused");
        let late = link();
        let over = match kind {
            Kind::Postgres => "update trunkline_users set link_expires_at = now() - interval '1 s'",
            Kind::Sqlite => {
                "update trunkline_users set link_expires_at = '2001-01-01T00:00:00.000Z'"
            }
        };
        site.database.sql(over).await;
        refused(&follow(&late).await, 401, "login_refused");
    }
}
