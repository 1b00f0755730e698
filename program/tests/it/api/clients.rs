//! Who is revoked is refused on every node within LEASE; who is known goes on without the database.

use serde_json::json;

use super::{ALL, Daemon, NUMBER, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::eventually;
use crate::support::http::Message;
use crate::support::postgres::Cluster;

async fn ask(daemon: &Daemon, token: &str) -> Message {
    daemon.ask(token, "/v1/resolve", &json!({"tenant": TENANT, "from": NUMBER})).await
}

async fn is_answered(daemon: &Daemon, token: &str) {
    let answer = ask(daemon, token).await;
    assert_eq!(answer.word(), "200", "{answer:?}");
}

async fn becomes(daemon: &Daemon, token: &str, status: u16, code: &str) {
    let expected = format!("\"code\":\"{code}\"");
    eventually(&format!("it is answered {status}, {code}"), async || {
        let answer = ask(daemon, token).await;
        answer.word() == status.to_string() && answer.body.contains(&expected)
    })
    .await;
    refused(&ask(daemon, token).await, status, code);
}

#[tokio::test]
async fn a_client_ends_on_every_node_however_it_ends() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let other =
            site.program.clone().with("HTTP_SOCKET", &format!("{}2", site.socket().display()));
        let nodes = [site.daemon(), Daemon::start(&other)];
        let names = ["revoked", "rotated", "removed", "expired"];
        let tokens = names.map(|name| site.client(name, &ALL));
        for node in &nodes {
            for token in &tokens {
                is_answered(node, token).await;
            }
        }
        site.program.run(&["client", "revoke", "revoked"]).ok();
        let new = site.program.run(&["client", "rotate", "rotated"]).ok();
        site.program.run(&["client", "remove", "removed", "--force"]).ok();
        let past = "update trunkline_clients set expires_at = '2020-01-01 00:00:00Z'
                    where name = 'expired'";
        site.database.sql(past).await;
        let codes = ["client_revoked", "token_invalid", "token_invalid", "client_expired"];
        for node in &nodes {
            for (token, code) in tokens.iter().zip(codes) {
                becomes(node, token, 401, code).await;
            }
            is_answered(node, new.trim_end()).await;
        }
    }
}

/// With a lease of a day nothing but the change itself tells of it: that it is read, and heard at all.
#[tokio::test]
async fn a_revocation_of_which_nobody_is_notified_is_found_by_a_look() {
    let site = Site::new(Kind::Postgres).await;
    site.program.run(&["db", "migrate", "--notify", "off"]).ok();
    let token = site.client("dialler", &ALL);
    let daemon = site.daemon();
    daemon.is_ready().await;
    is_answered(&daemon, &token).await;
    let heard = async || daemon.metrics().await;
    let by_log = "trunkline_changes_heard{by=\"change_log\"} 1";
    eventually("NOTIFY is not heard", async || heard().await.lines().any(|l| l == by_log)).await;
    site.program.run(&["client", "revoke", "dialler"]).ok();
    becomes(&daemon, &token, 401, "client_revoked").await;
}

#[tokio::test]
async fn without_its_trigger_the_database_is_asked_who_is_revoked() {
    let site = Site::new(Kind::Postgres).await;
    let token = site.client("dialler", &ALL);
    let daemon = site.daemon();
    daemon.is_ready().await;
    is_answered(&daemon, &token).await;
    site.database.sql("alter table trunkline_clients disable trigger trunkline_log_clients").await;
    let quiet = "update trunkline_clients set revoked_at = now()";
    site.database.sql(quiet).await;
    becomes(&daemon, &token, 401, "client_revoked").await;
}

#[tokio::test]
async fn the_triggers_of_clients_come_back_with_a_migration() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let drop = match kind {
            Kind::Postgres => "drop trigger trunkline_log_clients on trunkline_clients",
            Kind::Sqlite => "drop trigger trunkline_log_client_update",
        };
        site.database.sql(drop).await;
        site.program.run(&["db", "migrate"]).ok();
        let token = site.client("dialler", &ALL);
        let daemon = site.daemon();
        daemon.is_ready().await;
        is_answered(&daemon, &token).await;
        site.program.run(&["client", "revoke", "dialler"]).ok();
        becomes(&daemon, &token, 401, "client_revoked").await;
    }
}

#[tokio::test]
async fn without_the_database_who_was_known_is_answered_for_max_stale_and_nobody_else() {
    let mut cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    let site = Site::on(database).await;
    let token = site.client("dialler", &ALL);
    let revoked = site.client("revoked", &ALL);
    let daemon = site.daemon();
    daemon.is_ready().await;
    is_answered(&daemon, &token).await;
    site.program.run(&["client", "revoke", "revoked"]).ok();
    becomes(&daemon, &revoked, 401, "client_revoked").await;
    is_answered(&daemon, &token).await;
    // With no time to be stale in, it knows nobody.
    let socket = format!("{}2", site.socket().display());
    let strict = site.program.clone().with("HTTP_SOCKET", &socket).with("MAX_STALE", "0s");
    let strict = Daemon::start(&strict);
    strict.is_ready().await;
    is_answered(&strict, &token).await;

    cluster.stop();
    becomes(&strict, &token, 503, "clients_unknown").await;
    eventually("it is stale, and answered", async || {
        let answer = ask(&daemon, &token).await;
        answer.word() == "200" && answer.body.contains("\"stale\":true")
    })
    .await;
    refused(&ask(&daemon, &revoked).await, 401, "client_revoked");
    let stranger = trunkline::access::ClientToken::generate().unwrap();
    refused(&ask(&daemon, stranger.as_str()).await, 401, "token_invalid");

    cluster.restart();
    eventually("it is answered again", async || ask(&strict, &token).await.word() == "200").await;
}

#[tokio::test]
async fn a_limit_that_is_not_understood_allows_nothing() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("dialler", &ALL);
        let later = match kind {
            Kind::Postgres => {
                "update trunkline_clients set grants = grants || '{\"hours\": \"9-17\"}'"
            }
            Kind::Sqlite => {
                "update trunkline_clients set grants = json_set(grants, '$.hours', '9-17')"
            }
        };
        site.database.sql(later).await;
        let daemon = site.daemon();
        refused(&ask(&daemon, &token).await, 403, "client_unreadable");
        let shown = site.program.run(&["client", "show", "dialler"]).ok();
        assert!(shown.contains("does not understand"), "{shown}");
    }
}

#[tokio::test]
async fn of_a_token_nothing_but_its_hash_is_stored() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("dialler", &ALL);
        let clients = site.database.open.clients().clients().await.unwrap();
        assert_eq!(clients[0].token_hash, trunkline::access::TokenHash::of(&token));
        if kind == Kind::Postgres {
            let rows = "select row_to_json(c) from trunkline_clients as c
                        union all select row_to_json(c) from voice_agent_changes as c";
            let rows = crate::support::postgres::psql(&site.database.url, rows);
            assert!(rows.contains("trunkline_clients") && !rows.contains(&token[4..]), "{rows}");
        }
    }
}
