//! Changes as events: what a client may see, from where it was, and nothing of anybody else's.

use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpStream, UnixStream};

use super::{Daemon, NUMBER, OTHER_TENANT, Request, Site, TENANT, refused};
use crate::support::database::{BOTH, Kind};
use crate::support::events::{Event, Events};
use crate::support::{caller, config, eventually, number};

const LISTENS: [&str; 3] = ["--all-tenants", "--may", "changes"];
const PATH: &str = "/v1/changes/events";

fn request(token: &str, last: Option<&str>) -> Request {
    let request = Request::new("GET", PATH, &Value::Null, token);
    match last {
        Some(last) => request.with("last-event-id", last),
        None => request,
    }
}

/// Begins to listen, and is told whether it went on from there.
async fn listen(
    daemon: &Daemon,
    token: &str,
    last: Option<&str>,
) -> (Events<TcpStream>, bool, Option<String>) {
    let mut events = daemon.events(request(token, last)).await;
    assert_eq!(events.head.header("content-type"), Some("text/event-stream"));
    let ready = events.next().await.unwrap();
    assert_eq!(ready.name, "ready");
    (events, ready.data["resumed"] == true, ready.id)
}

async fn next(events: &mut Events<TcpStream>, name: &str) -> Event {
    let event = events.next().await.unwrap();
    assert_eq!(event.name, name, "{event:?}");
    event
}

#[tokio::test]
async fn what_changes_is_told_and_a_client_that_comes_back_misses_nothing() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &LISTENS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let store = site.database.store();
        let id = store.configs().await.unwrap()[0].id;
        let (mut events, resumed, _) = listen(&daemon, &token, None).await;
        assert!(!resumed, "it was nowhere before");
        site.program.run(&["livekit", "edit", "eu", "--trunk", "ST_1", "--agent", "a"]).ok();
        let told = next(&mut events, "change").await;
        assert_eq!(
            (&told.data["entity"], &told.data["operation"], &told.data["fields"]),
            (&json!("config"), &json!("update"), &json!(["trunk_id", "worker_name"])),
        );
        assert_eq!(told.data["config_id"], json!(id));
        store.add_number(&number(caller(2, 7), None)).await.unwrap();
        let told = next(&mut events, "change").await;
        assert_eq!(
            (&told.data["number"], &told.data["tenant_id"], &told.data["operation"]),
            (&json!("+971500000007"), &json!(OTHER_TENANT), &json!("insert")),
        );
        let last = told.id.clone().unwrap();
        drop(events);

        // While it is away, and the daemon with it.
        let (code, err) = daemon.process.end_by("-TERM");
        assert_eq!(code, Some(0), "{err}");
        store.add_number(&number(caller(2, 8), None)).await.unwrap();
        store.assign(caller(1, 1), None).await.unwrap();
        let daemon = site.daemon();
        daemon.is_ready().await;
        let (mut events, resumed, _) = listen(&daemon, &token, Some(&last)).await;
        assert!(resumed, "{kind:?}");
        let told = [next(&mut events, "change").await, next(&mut events, "change").await];
        let numbers = told.each_ref().map(|event| event.data["number"].clone());
        assert_eq!(numbers, [json!("+971500000008"), json!(NUMBER)], "{kind:?}");
        assert!(told[0].id.is_none() && told[1].id.is_some(), "who breaks off hears both again");
        // And goes on with what is new, each once.
        store.assign(caller(1, 1), Some(id)).await.unwrap();
        let after = next(&mut events, "change").await;
        assert_eq!(
            (&after.data["number"], &after.data["fields"]),
            (&json!(NUMBER), &json!(["rules"]))
        );
        let seq = |event: &Event| event.data["seq"].as_i64().unwrap();
        assert!(seq(&after) > seq(&told[1]));

        // Nothing was missed: it goes on from here.
        let (_, resumed, id) = listen(&daemon, &token, after.id.as_deref()).await;
        assert!(resumed && id.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_wrote_early_and_committed_late_is_not_missed() {
    use sqlx::Connection;

    let site = Site::new(Kind::Postgres).await;
    let token = site.client("console", &LISTENS);
    let daemon = site.daemon();
    daemon.is_ready().await;
    let mut early = sqlx::PgConnection::connect(&site.database.url).await.unwrap();
    let writes = "begin; update voice_agent_numbers set provider = 'early'";
    sqlx::raw_sql(writes).execute(&mut early).await.unwrap();
    let (mut events, ..) = listen(&daemon, &token, None).await;
    site.database.store().add_number(&number(caller(1, 9), None)).await.unwrap();
    let later = next(&mut events, "change").await;
    drop(events);
    sqlx::raw_sql("commit").execute(&mut early).await.unwrap();
    let (mut events, resumed, _) = listen(&daemon, &token, later.id.as_deref()).await;
    assert!(resumed);
    let missed = next(&mut events, "change").await;
    assert_eq!(missed.data["fields"], json!(["provider"]));
    assert!(missed.data["seq"].as_i64() < later.data["seq"].as_i64(), "its place is before");
}

#[tokio::test]
async fn a_client_of_a_tenant_hears_of_its_own_numbers_and_of_nothing_else() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let all = site.client("console", &LISTENS);
        let token = site.client("of-a", &["--tenant", TENANT, "--may", "changes"]);
        let few = ["--tenant", TENANT, "--number", "+9715000000019", "--may", "changes"];
        let few = site.client("few", &few);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let store = site.database.store();
        let key = site.program.variable("LIVEKIT_SECRET_ENCRYPTION_KEY");
        let ring = trunkline::KeyRing::parse(&key).unwrap();
        let (mut whole, ..) = listen(&daemon, &all, None).await;
        let (mut own, ..) = listen(&daemon, &token, None).await;
        let (mut none, ..) = listen(&daemon, &few, None).await;
        // Of another tenant, of configs, of clients; then of its own.
        store.add_number(&number(caller(2, 5), None)).await.unwrap();
        let id = store.create_config(&config(&ring, "canary")).await.unwrap();
        store.disable_config(id, true).await.unwrap();
        site.client("another", &LISTENS);
        store.assign(caller(1, 1), None).await.unwrap();
        let told = next(&mut own, "change").await;
        assert_eq!(
            told.data,
            json!({"seq": null, "entity": "number", "operation": "update", "fields": ["rules"],
                "config_id": null, "tenant_id": TENANT, "number": NUMBER}),
            "{kind:?}"
        );
        let mut entities = Vec::new();
        for _ in 0..5 {
            entities.push(next(&mut whole, "change").await.data["entity"].clone());
        }
        let expected = ["number", "config", "config", "clients", "number"].map(Value::from);
        assert_eq!(entities, expected, "{kind:?}");

        // From where it was, it hears as little; another client hears nothing from there.
        let last = told.id.unwrap();
        store.add_number(&number(caller(2, 6), None)).await.unwrap();
        store.add_number(&number(caller(1, 6), None)).await.unwrap();
        let (mut own, resumed, _) = listen(&daemon, &token, Some(&last)).await;
        assert!(resumed);
        let told = next(&mut own, "change").await;
        assert_eq!(told.data["number"], "+971500000006");
        assert_eq!(told.data["tenant_id"], TENANT);
        let (mut other, resumed, _) = listen(&daemon, &all, Some(&last)).await;
        assert!(!resumed);
        next(&mut other, "gap").await;
        assert!(!last.contains(&id.to_string()) && !last.contains(TENANT));

        // What is of many says no more than that; it is the first thing that the narrow one hears.
        let many: Vec<_> = (100..130).map(|at| number(caller(2, at), None)).collect();
        store.import(&many).await.unwrap();
        if kind == Kind::Postgres {
            for events in [&mut own, &mut none] {
                let told = next(events, "change").await;
                assert_eq!(
                    told.data,
                    json!({"seq": null, "entity": "numbers", "operation": null, "fields": [],
                        "config_id": null, "tenant_id": null, "number": null})
                );
            }
        }
    }
}

#[tokio::test]
async fn a_place_that_means_nothing_any_more_is_a_gap() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let token = site.client("console", &LISTENS);
        let daemon = site.daemon();
        daemon.is_ready().await;
        let store = site.database.store();
        let (mut events, ..) = listen(&daemon, &token, None).await;
        store.add_number(&number(caller(1, 2), None)).await.unwrap();
        let last = next(&mut events, "change").await.id.unwrap();
        let mut altered = last.clone();
        altered.replace_range(10..11, if &last[10..11] == "A" { "B" } else { "A" });
        for text in [altered.as_str(), "x", "", "7"] {
            let (mut events, resumed, _) = listen(&daemon, &token, Some(text)).await;
            assert!(!resumed);
            next(&mut events, "gap").await;
        }
        for at in 3..6 {
            store.add_number(&number(caller(1, at), None)).await.unwrap();
        }
        let (_, resumed, _) = listen(&daemon, &token, Some(&last)).await;
        assert!(resumed);
        site.database.log().prune_changes(std::time::Duration::ZERO).await.unwrap();
        let (mut events, resumed, _) = listen(&daemon, &token, Some(&last)).await;
        assert!(!resumed, "{kind:?}: the log does not reach back");
        next(&mut events, "gap").await;
        // Too much at once for those who listen.
        if kind == Kind::Sqlite {
            let many: Vec<_> = (1000..1300).map(|at| number(caller(1, at), None)).collect();
            store.import(&many).await.unwrap();
            let gap = next(&mut events, "gap").await;
            assert!(gap.id.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_slowly_is_told_so_and_comes_back() {
    let mut site = Site::new(Kind::Sqlite).await;
    site.program = site.program.with("POLL_INTERVAL", "5ms");
    let token = site.client("console", &LISTENS);
    let daemon = site.daemon();
    daemon.is_ready().await;
    let store = site.database.store();
    let many: Vec<_> = (1000..1190).map(|at| number(caller(1, at), None)).collect();
    store.import(&many).await.unwrap();
    // What a socket takes that nobody reads from is less than what over TCP is under way.
    let stream = UnixStream::connect(daemon.socket.as_ref().unwrap()).await.unwrap();
    let mut stream = BufReader::new(stream);
    request(&token, None).0.write(&mut stream).await.unwrap();
    let mut slow = Events::of(stream).await;
    let (mut quick, ..) = listen(&daemon, &token, None).await;
    for round in 0..120 {
        let edit = format!(
            "update voice_agent_numbers set provider = '{round}' where provider is not '{round}'"
        );
        site.database.sql(&edit).await;
        while quick.next().await.unwrap().id.is_none() {}
    }
    let (mut last, mut dropped) = (None, false);
    for event in slow.rest().await {
        assert!(!dropped, "it is the last one");
        last = event.id.or(last);
        dropped = event.name == "dropped";
    }
    assert!(dropped);
    let (_, resumed, _) = listen(&daemon, &token, last.as_deref()).await;
    assert!(!resumed, "so much is not gone through, and it is told so");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the end of a daemon is waited for beside its events"
)]
async fn it_ends_with_the_client_or_the_daemon_and_a_client_has_sixteen() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let (token, other) = (site.client("console", &LISTENS), site.client("other", &LISTENS));
        let narrow = site.client("narrow", &["--all-tenants", "--may", "numbers"]);
        let daemon = site.daemon();
        daemon.is_ready().await;
        refused(&daemon.send(request(&narrow, None)).await, 403, "scope_missing");
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(listen(&daemon, &token, None).await.0);
        }
        refused(&daemon.send(request(&token, None)).await, 429, "too_many_requests");
        let (mut kept, ..) = listen(&daemon, &other, None).await;
        site.program.run(&["client", "revoke", "console"]).ok();
        let end =
            |reason: &str| Event { name: "end".into(), id: None, data: json!({"reason": reason}) };
        for mut events in held {
            assert_eq!(events.rest().await, [end("client_ended")], "{kind:?}");
        }
        eventually("its places are free", async || {
            daemon.send(request(&token, None)).await.word() == "401"
        })
        .await;
        assert_eq!(next(&mut kept, "change").await.data["entity"], "clients");
        let stopped = tokio::task::spawn_blocking(move || daemon.process.end_by("-TERM"));
        assert_eq!(kept.rest().await, [end("stopping")]);
        let (code, err) = stopped.await.unwrap();
        assert_eq!(code, Some(0), "{err}");
    }
}
