//! `Idempotency-Key`: what is sent again is not done again; and what nobody knows whether it was done.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{Daemon, Request, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::eventually;
use crate::support::http::Message;
use crate::support::postgres::Cluster;

const EDITS: [&str; 3] = ["--all-tenants", "--may", "numbers,edit_numbers,configs,edit_configs"];

fn new(number: u64) -> Value {
    json!({"tenant_id": TENANT, "number": format!("+{}", 971_500_000_000_u64 + number)})
}

async fn post(daemon: &Daemon, token: &str, path: &str, body: &Value, key: &str) -> Message {
    let request = Request::post(path, body).with("idempotency-key", key);
    daemon.send(request.with("authorization", &format!("Bearer {token}"))).await
}

fn id(answer: &Message) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[tokio::test]
async fn the_same_request_with_the_same_key_creates_once_and_is_answered_the_same() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let (token, other) = (site.client("editor", &EDITS), site.client("other", &EDITS));
        let second =
            site.program.clone().with("HTTP_SOCKET", &format!("{}2", site.socket().display()));
        let (daemon, second) = (site.daemon(), Daemon::start(&second));
        let config = json!({"name": "us", "url": "wss://us.example", "api_key": "APIus",
            "api_secret": "s3cret"});
        let eu = site.database.store().configs().await.unwrap()[0].id;
        let twin = json!({"name": "twin"});
        let duplicate = format!("/v1/configs/{eu}/duplicate");
        for (path, body) in
            [("/v1/numbers", &new(9)), ("/v1/configs", &config), (&*duplicate, &twin)]
        {
            let first = post(&daemon, &token, path, body, path).await;
            assert_eq!(
                (first.word(), first.header("idempotency-replayed")),
                ("201", None),
                "{first:?}"
            );
            for node in [&daemon, &second] {
                let again = post(node, &token, path, body, path).await;
                assert_eq!(again.word(), "201", "{again:?}");
                assert_eq!(again.header("idempotency-replayed"), Some("true"));
                assert_eq!(id(&again), id(&first));
                for name in ["location", "etag"] {
                    assert_eq!(again.header(name), first.header(name));
                }
            }
            // Another body, another path, another client.
            let mut changed = body.clone();
            changed["name"] = json!(path);
            if path == "/v1/numbers" {
                changed = new(10);
            }
            refused(&post(&daemon, &token, path, &changed, path).await, 422, "key_reused");
            let theirs = post(&daemon, &other, path, &changed, path).await;
            assert_eq!((theirs.word(), theirs.header("idempotency-replayed")), ("201", None));
        }
        let elsewhere = post(&daemon, &token, "/v1/configs", &config, "/v1/numbers").await;
        refused(&elsewhere, 422, "key_reused");
        let kept = "update trunkline_idempotency set answered_at = '2020-01-01T00:00:00.000Z'";
        site.database.sql(kept).await;
        refused(
            &post(&daemon, &token, "/v1/numbers", &new(9), "/v1/numbers").await,
            409,
            "number_taken",
        );
        let later = post(&daemon, &token, "/v1/numbers", &new(11), "/v1/numbers").await;
        assert_eq!(later.header("idempotency-replayed"), None, "a day is over: {later:?}");
        for key in ["", " ", "a b", &"x".repeat(256)] {
            let answer = post(&daemon, &token, "/v1/numbers", &new(12), key).await;
            let body = refused(&answer, 400, "field_malformed");
            assert_eq!(body["field"], "Idempotency-Key");
        }
    }
}

#[tokio::test]
async fn what_was_refused_is_tried_anew() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("editor", &EDITS);
        let daemon = site.daemon();
        refused(&post(&daemon, &token, "/v1/numbers", &new(1), "k").await, 409, "number_taken");
        site.database.sql("delete from voice_agent_numbers").await;
        let answer = post(&daemon, &token, "/v1/numbers", &new(1), "k").await;
        assert_eq!((answer.word(), answer.header("idempotency-replayed")), ("201", None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_first_one_runs_the_second_one_is_told_so() {
    let site = Site::new(Kind::Postgres).await;
    let token = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let url = site.database.url.clone();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let locks = "begin; lock table voice_agent_numbers in exclusive mode";
    sqlx::raw_sql(locks).execute(&mut holder).await.unwrap();
    let first = async { post(&daemon, &token, "/v1/numbers", &new(9), "k").await };
    let others = async {
        eventually("the first one waits for the lock", async || {
            let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
            crate::support::postgres::psql(&url, waits) == "1"
        })
        .await;
        let second = post(&daemon, &token, "/v1/numbers", &new(9), "k").await;
        refused(&second, 409, "request_running");
        holder.close().await.unwrap();
    };
    let (first, ()) = tokio::join!(first, others);
    assert_eq!(first.word(), "201", "{first:?}");
    let again = post(&daemon, &token, "/v1/numbers", &new(9), "k").await;
    assert_eq!((id(&again), again.header("idempotency-replayed")), (id(&first), Some("true")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_outcome_is_not_known_may_be_saved() {
    let cluster = Cluster::start();
    let database = TestDatabase::on(&cluster.database());
    database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    let site = Site::on(database).await;
    // A commit that waits, until its session is ended.
    site.database
        .sql(
            "create function wait_for_the_test() returns trigger language plpgsql as
                 $$begin perform pg_sleep(600); return null; end$$;
             create constraint trigger waits after insert on voice_agent_numbers
                 deferrable initially deferred for each row execute function wait_for_the_test();",
        )
        .await;
    let token = site.client("editor", &EDITS);
    let daemon = site.daemon();
    let url = site.database.url.clone();
    let ends = async {
        let waiting = "wait_event = 'PgSleep' and query = 'commit'";
        eventually("it commits", async || {
            let many = format!("select count(*) from pg_stat_activity where {waiting}");
            crate::support::postgres::psql(&url, &many) == "1"
        })
        .await;
        cluster.terminate_backends(waiting);
    };
    let new = new(9);
    let asked = post(&daemon, &token, "/v1/numbers", &new, "k");
    let (answer, ()) = tokio::join!(asked, ends);
    let body = refused(&answer, 504, "may_be_saved");
    assert!(body["hint"].as_str().unwrap().contains("Idempotency-Key"), "{body}");
}
