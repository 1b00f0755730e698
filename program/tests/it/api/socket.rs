//! The Unix socket: who is at its other end, and what becomes of its file.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::{Value, json};

use super::{ALL, Daemon, NUMBER, Request, Site, TENANT, refused};
use crate::support::database::Kind;
use crate::support::eventually;
use crate::support::program::Program;

fn asked() -> Value {
    json!({"tenant": TENANT, "from": NUMBER})
}

/// Who these tests run as.
fn me() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

#[tokio::test]
async fn a_user_that_is_named_is_his_client_and_another_one_is_refused() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("by-token", &ALL);
    site.client("mapped", &["--tenant", TENANT, "--may", "resolve"]);
    let with_users = |users: &str| site.program.clone().with("HTTP_SOCKET_USERS", users);
    let request = || Request::post("/v1/resolve", &asked());
    let bearer = format!("Bearer {token}");

    let daemon = Daemon::start(&with_users(&format!("{}:mapped", me())));
    assert_eq!(daemon.send_local(request()).await.word(), "200");
    // He is that client, and may no more than it may.
    let route = json!({"tenant": TENANT, "from": NUMBER, "to": "050 765 4321"});
    refused(&daemon.send_local(Request::post("/v1/route", &route)).await, 403, "scope_missing");
    // Who names a token is the token's; over TCP nobody is a user.
    let named = Request::post("/v1/route", &route).with("authorization", &bearer);
    assert_eq!(daemon.send_local(named).await.word(), "200");
    refused(&daemon.send(request()).await, 401, "credential_missing");
    let wrong = request().with("authorization", "Bearer tlc_");
    refused(&daemon.send_local(wrong).await, 401, "token_invalid");
    site.program.run(&["client", "revoke", "mapped"]).ok();
    eventually("he is refused", async || daemon.send_local(request()).await.word() == "401").await;
    refused(&daemon.send_local(request()).await, 401, "client_revoked");
    drop(daemon);

    let daemon = Daemon::start(&with_users(&format!("{}:mapped", me() + 1)));
    refused(&daemon.send_local(request()).await, 403, "peer_not_mapped");
    let with_token = request().with("authorization", &bearer);
    assert_eq!(daemon.send_local(with_token).await.word(), "200");
    drop(daemon);

    let daemon = Daemon::start(&with_users(&format!("{}:nobody", me())));
    refused(&daemon.send_local(request()).await, 403, "client_unknown");
    drop(daemon);

    let daemon = site.daemon();
    refused(&daemon.send_local(request()).await, 401, "credential_missing");
}

#[tokio::test]
async fn a_user_may_be_named_by_name_if_the_machine_knows_him() {
    let site = Site::new(Kind::Sqlite).await;
    site.client("mapped", &["--tenant", TENANT, "--may", "resolve"]);
    let program = site.program.clone().with("HTTP_SOCKET_USERS", "nobody-of-this-name:mapped");
    let run = program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("nobody-of-this-name") && run.err.contains("id -u"), "{run:?}");
    assert!(!site.socket().exists());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let mine = format!(":{}:", me());
    let line = passwd
        .lines()
        .find(|line| line.split_once(":x").is_some_and(|(_, rest)| rest.starts_with(&mine)));
    let name = line.expect("who runs tests has a name").split(':').next().unwrap();
    let daemon =
        Daemon::start(&site.program.clone().with("HTTP_SOCKET_USERS", &format!("{name}:mapped")));
    assert_eq!(daemon.send_local(Request::post("/v1/resolve", &asked())).await.word(), "200");
}

#[tokio::test]
async fn the_file_is_its_owner_s_and_group_s_and_goes_with_the_daemon() {
    let site = Site::new(Kind::Sqlite).await;
    for signal in ["-INT", "-TERM"] {
        let daemon = site.daemon();
        let file = std::fs::symlink_metadata(site.socket()).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.mode() & 0o777, 0o660);
        assert_eq!(daemon.process.end_by(signal).0, Some(0));
        assert!(!site.socket().exists(), "{signal}");
    }
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_taken_over_and_a_live_one_is_refused() {
    let site = Site::new(Kind::Sqlite).await;
    let token = site.client("dialler", &ALL);
    let killed = site.daemon();
    killed.process.signal("-KILL");
    drop(killed);
    assert!(site.socket().exists(), "nobody removed it");
    let daemon = site.daemon();
    let request =
        || Request::post("/v1/resolve", &asked()).with("authorization", &format!("Bearer {token}"));
    assert_eq!(daemon.send_local(request()).await.word(), "200");

    // Not waited for without an end: one that is not refused would run.
    let command = site.program.command(&["serve", "--listen", "127.0.0.1:0"]).spawn();
    let mut second = command.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while second.try_wait().unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    let ended = ended.await;
    let _ = second.kill();
    let second = second.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&second.stderr);
    assert!(ended.is_ok() && second.status.code() == Some(1), "{err}");
    let path = site.socket();
    assert!(err.contains(path.to_str().unwrap()) && err.contains("listens there"), "{err}");
    assert_eq!(daemon.send_local(request()).await.word(), "200", "the first one goes on");
}

#[tokio::test]
async fn what_is_no_socket_stays_and_is_told() {
    let site = Site::new(Kind::Sqlite).await;
    std::fs::write(site.socket(), "mine").unwrap();
    let run = site.program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(run.code == 1 && run.err.contains("no socket"), "{run:?}");
    assert_eq!(std::fs::read_to_string(site.socket()).unwrap(), "mine");
}

#[test]
fn an_address_beyond_this_machine_a_short_path_and_half_a_user_are_refused() {
    let program = Program::new().with("DATABASE_URL", "sqlite:/nowhere/x.db");
    for (name, value, told) in [
        ("API_LISTEN", "0.0.0.0:9465", "this machine alone"),
        ("API_LISTEN", "[::]:9465", "HTTP_TLS_CERT"),
        ("API_LISTEN", "9465", "with its port"),
        ("HTTP_SOCKET", "api.sock", "whole path"),
        ("HTTP_SOCKET_USERS", "dialler", "user:client"),
    ] {
        let run = program.clone().with(name, value).run(&["serve"]);
        assert_eq!(run.code, 3, "{name}={value}: {run:?}");
        assert!(run.err.contains(name) && run.err.contains(told), "{name}={value}: {run:?}");
    }
}

#[tokio::test]
async fn nobody_is_answered_unless_somebody_wants_it() {
    let site = Site::new(Kind::Sqlite).await;
    let program = Program::new().with("DATABASE_URL", &site.database.url).with(
        "LIVEKIT_SECRET_ENCRYPTION_KEY",
        &site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY"),
    );
    let daemon = Daemon::start(&program);
    assert!(daemon.api.is_none() && daemon.socket.is_none());
}
