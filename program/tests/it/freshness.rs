//! Change in, entry gone: a committed change is used, and nothing older is served after it.

use std::sync::Arc;
use std::time::Duration;

use trunkline::store::ConfigEdit;
use trunkline::{Change, CredentialError, Reason, Resolver, TokenRequest};

use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::live::Live;
use crate::support::postgres::Cluster;
use crate::support::stores::{Fault, Gated};
use crate::support::{caller, config, eventually, number};

#[tokio::test]
async fn a_change_during_a_load_is_not_served_afterwards() {
    for change_all in [false, true] {
        let (database, ring) = (TestDatabase::migrated(Kind::Sqlite).await, crate::support::ring());
        let store = database.store();
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
        let gated = Gated::new(database.store());
        let mut settings = database.settings(&[("RESOLVE_DEADLINE", "1m")]);
        settings.ring = Some(Arc::new(ring));
        let resolver = Resolver::builder(settings).store(Arc::clone(&gated) as _).start();

        gated.set(Fault::Held);
        let early = resolver.resolve(caller(1, 1));
        tokio::pin!(early);
        assert!(futures_util::poll!(&mut early).is_pending());
        eventually("the old row is read", async || gated.read() == 1).await;
        let edit = ConfigEdit { trunk_id: Some(Some("ST_new".into())), ..ConfigEdit::default() };
        store.update_config(id, &edit).await.unwrap();
        resolver.invalidate(if change_all { Change::All } else { Change::Config(id) });

        // Who asks after the change, while the old load is still in the air, gets the new row.
        let late = resolver.resolve(caller(1, 1));
        tokio::pin!(late);
        assert!(futures_util::poll!(&mut late).is_pending());
        gated.set(Fault::None);
        gated.open();
        gated.open();
        let early = early.await.unwrap();
        assert_eq!(early.trunk_id(), None, "it asked before the change");
        assert_eq!(late.await.unwrap().trunk_id(), Some("ST_new"));
        let after = resolver.resolve(caller(1, 1)).await.unwrap();
        assert_eq!(after.trunk_id(), Some("ST_new"));
        assert!(after.token(&TokenRequest::default()).is_ok());
    }
}

#[tokio::test]
async fn an_edit_of_a_config_is_used_and_what_was_handed_out_before_signs_no_more() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let before = live.resolver.resolve(live.caller).await.unwrap();
        assert!(before.token(&TokenRequest::default()).is_ok());
        live.set_trunk("ST_2").await;
        live.trunk_becomes(Some("ST_2")).await;
        let wiped = before.token(&TokenRequest::default());
        assert_eq!(wiped.unwrap_err(), CredentialError::Wiped, "{kind:?}");
        assert_eq!(before.api_secret().unwrap_err(), CredentialError::Wiped);
        let after = live.resolver.resolve(live.caller).await.unwrap();
        assert!(after.token(&TokenRequest::default()).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_answer_is_refused_milliseconds_after_the_commit() {
    let live = Live::new(Kind::Postgres).await;
    let by_notify =
        async || live.resolver.health().change_source == trunkline::ChangeSource::Notify;
    eventually("through NOTIFY", by_notify).await;
    let mut delays = Vec::new();
    for round in 0..500 {
        let is_warm = async || {
            live.resolver.resolve(live.caller).await.unwrap();
            live.resolver.try_resolve(live.caller).is_some()
        };
        eventually("warm", is_warm).await;
        let trunk = format!("ST_{round}");
        live.set_trunk(&trunk).await;
        let committed = tokio::time::Instant::now();
        let is_old = || {
            let answer = live.resolver.try_resolve(live.caller);
            answer.is_some_and(|answer| answer.unwrap().trunk_id() != Some(trunk.as_str()))
        };
        // Looks every 0.1 ms, and leaves the cores to those who are measured.
        tokio::task::block_in_place(|| {
            while is_old() {
                assert!(committed.elapsed() < Duration::from_secs(10), "{trunk} is never used");
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        delays.push(committed.elapsed());
    }
    delays.sort_unstable();
    let (median, late) = (delays[250], delays[495]);
    eprintln!("refused after the commit had returned: p50 {median:?}, p99 {late:?}");
    // What is promised is 5 ms; the machine of a test may be busy with others.
    assert!(median < Duration::from_millis(25), "p50 {median:?}, p99 {late:?}");
}

#[tokio::test]
async fn negative_answers_end_with_the_change_that_ends_them() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let (newcomer, reason_of) =
            (caller(1, 2), async |caller| live.resolver.resolve(caller).await.unwrap().reason());
        assert_eq!(reason_of(newcomer).await, Some(Reason::NumberUnknown));
        live.store.add_number(&number(newcomer, None)).await.unwrap();
        let becomes = async |what: &str, reason| {
            eventually(what, async || reason_of(newcomer).await == reason).await;
        };
        becomes("known", Some(Reason::ConfigUnassigned)).await;
        live.store.assign(newcomer, Some(live.config)).await.unwrap();
        becomes("assigned", None).await;
        live.store.delete_config(live.config).await.unwrap();
        becomes("config gone", Some(Reason::ConfigMissing)).await;
        live.store.remove_number(newcomer).await.unwrap();
        becomes("number gone", Some(Reason::NumberUnknown)).await;
    }
}

#[tokio::test]
async fn a_number_that_moves_to_another_config_or_tenant_is_followed() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let us = live.store.create_config(&config(&live.ring, "us")).await.unwrap();
        let name_of = async |caller| {
            let answer = live.resolver.resolve(caller).await.unwrap();
            answer.config_name().map(ToOwned::to_owned)
        };
        assert_eq!(name_of(live.caller).await.as_deref(), Some("eu"));
        assert_eq!(name_of(caller(2, 1)).await, None);
        live.store.assign(live.caller, Some(us)).await.unwrap();
        eventually("re-assigned", async || name_of(live.caller).await.as_deref() == Some("us"))
            .await;
        let new_tenant = uuid::Uuid::from_u128(2);
        let literal = match kind {
            Kind::Postgres => format!("'{new_tenant}'"),
            Kind::Sqlite => format!("x'{}'", new_tenant.simple()),
        };
        live.database.sql(&format!("update voice_agent_numbers set tenant_id = {literal}")).await;
        eventually("gone here", async || name_of(live.caller).await.is_none()).await;
        eventually("come there", async || name_of(caller(2, 1)).await.as_deref() == Some("us"))
            .await;
    }
}

#[tokio::test]
async fn statements_that_touch_everything_are_followed() {
    for kind in BOTH {
        let live = Live::new(kind).await;
        let many: Vec<_> = (10..1500).map(|at| number(caller(1, at), Some(live.config))).collect();
        live.store.import(&many).await.unwrap();
        live.resolver.resolve(live.caller).await.unwrap();
        live.database
            .sql(
                "update voice_agent_numbers set rules =
                  '{\"outbound_trunk_id\": \"ST_bulk\"}'",
            )
            .await;
        live.trunk_becomes(Some("ST_bulk")).await;
        live.database
            .sql(match kind {
                Kind::Postgres => "truncate voice_agent_numbers",
                Kind::Sqlite => "delete from voice_agent_numbers",
            })
            .await;
        eventually("all gone", async || {
            let answer = live.resolver.resolve(live.caller).await.unwrap();
            answer.reason() == Some(Reason::NumberUnknown)
        })
        .await;
    }
}

#[tokio::test]
async fn a_commit_of_another_process_is_seen_in_an_sqlite_file_within_a_tenth_of_a_second() {
    let live = Live::new(Kind::Sqlite).await;
    let program = crate::support::program::Program::new().with("DATABASE_URL", &live.database.url);
    let mut delays = Vec::new();
    for round in 0..5 {
        live.resolver.resolve(live.caller).await.unwrap();
        let trunk = format!("ST_{round}");
        let edit = ["livekit", "edit", "eu", "--trunk", &trunk];
        let mut child = program.command(&edit).spawn().unwrap();
        live.trunk_becomes(Some(&trunk)).await;
        let seen = chrono_now();
        assert!(child.wait().unwrap().success());
        let row = live.store.config(live.config).await.unwrap().unwrap();
        let committed = row.updated_at.unwrap().timestamp_millis();
        delays.push(seen - committed);
    }
    // The middle one, since a busy machine may hold back any single one.
    delays.sort_unstable();
    assert!(delays[2] < 100, "{delays:?} ms after the commits");
}

#[tokio::test]
async fn a_listener_that_is_cut_off_hears_again_and_what_it_missed_is_not_served() {
    let live = Live::new(Kind::Postgres).await;
    for round in 0..3 {
        live.resolver.resolve(live.caller).await.unwrap();
        let trunk = format!("ST_{round}");
        // The edit commits while nobody listens: both happen in one statement of the server.
        live.database
            .sql(&format!(
                "begin;
                 select pg_terminate_backend(pid) from pg_stat_activity
                 where query like 'LISTEN%'
                     and datname = current_database() and pid <> pg_backend_pid();
                 update voice_agent_livekit set trunk_id = '{trunk}';
                 commit"
            ))
            .await;
        live.trunk_becomes(Some(&trunk)).await;
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_heard_again_and_its_numbers_never_stopped() {
    let mut cluster = Cluster::start();
    let url = cluster.database();
    let open = crate::support::database::open(&crate::support::database::settings(&url, &[]));
    open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    let live = Live::on(TestDatabase::on(&url)).await;
    live.resolver.resolve(live.caller).await.unwrap();

    cluster.stop();
    eventually("the lease ends", async || !live.resolver.hears_changes()).await;
    for _ in 0..200 {
        let answer = live.resolver.resolve(live.caller).await.unwrap();
        assert!(answer.stale() && answer.reason().is_none(), "{answer:?}");
    }
    cluster.restart();
    live.hears().await;
    eventually("fresh again", async || !live.resolver.resolve(live.caller).await.unwrap().stale())
        .await;
    live.set_trunk("ST_after").await;
    live.trunk_becomes(Some("ST_after")).await;
}

#[tokio::test]
async fn while_triggers_are_disabled_every_call_asks_and_afterwards_nothing_old_is_believed() {
    let live = Live::new(Kind::Postgres).await;
    live.resolver.resolve(live.caller).await.unwrap();
    live.database.sql("alter table voice_agent_livekit disable trigger user").await;
    eventually("noticed", async || !live.resolver.hears_changes()).await;
    for round in 0..3 {
        let trunk = format!("ST_{round}");
        live.set_trunk(&trunk).await;
        let answer = live.resolver.resolve(live.caller).await.unwrap();
        assert_eq!((answer.trunk_id(), answer.stale()), (Some(trunk.as_str()), false));
    }
    live.database
        .sql(
            "update voice_agent_livekit set trunk_id = 'ST_unheard';
             alter table voice_agent_livekit enable trigger user",
        )
        .await;
    live.hears().await;
    let answer = live.resolver.resolve(live.caller).await.unwrap();
    assert_eq!(answer.trunk_id(), Some("ST_unheard"));
}

#[tokio::test]
async fn a_restore_that_fires_no_trigger_is_bounded_by_the_ttl() {
    let live = Live::new(Kind::Postgres).await;
    let variables = [("CACHE_TTL", "1s"), ("SELF_CHECK_INTERVAL", "0s")];
    let resolver = Resolver::builder((live.settings)(&variables)).start();
    eventually("changes are heard", async || resolver.hears_changes()).await;
    resolver.resolve(live.caller).await.unwrap();
    live.database
        .sql(
            "set session_replication_role = replica;
             update voice_agent_livekit set trunk_id = 'ST_restored'",
        )
        .await;
    eventually("the TTL has passed", async || {
        resolver.resolve(live.caller).await.unwrap().trunk_id() == Some("ST_restored")
    })
    .await;
}

#[tokio::test]
async fn nothing_is_taken_for_heard_before_there_is_something_that_rings() {
    let database = TestDatabase::empty(Kind::Postgres);
    let settings = database.settings(&[("DB_SCHEMA", "later")]);
    let resolver = Resolver::builder(settings).start();
    for _ in 0..300 {
        assert!(!resolver.hears_changes());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let open = crate::support::database::open(&database.settings(&[("DB_SCHEMA", "later")]));
    open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    eventually("changes are heard", async || resolver.hears_changes()).await;
}

#[tokio::test]
async fn foreign_notifications_are_hints_at_most() {
    let live = Live::new(Kind::Postgres).await;
    live.resolver.resolve(live.caller).await.unwrap();
    for payload in ["", "*", "all", "beat:0:1", "1,2,x", "-1", "99999999999", &"9,".repeat(3000)] {
        live.database
            .sql(&format!("select pg_notify('trunkline_' || md5('public'), '{payload}')"))
            .await;
    }
    assert!(live.resolver.hears_changes());
    live.set_trunk("ST_2").await;
    live.trunk_becomes(Some("ST_2")).await;
}

#[tokio::test]
async fn secrets_are_gone_when_their_time_is_up_although_nobody_calls() {
    let live = Live::new(Kind::Sqlite).await;
    let settings = (live.settings)(&[("CACHE_TTL", "1s"), ("CACHE_TTL_JITTER", "0")]);
    let resolver = Resolver::builder(settings).start();
    eventually("changes are heard", async || resolver.hears_changes()).await;
    resolver.resolve(live.caller).await.unwrap();
    assert_eq!(resolver.cached(), 1);
    eventually("swept", async || resolver.cached() == 0).await;
    // Held by a caller it lives on: the time of a cache entry is not the time of a call.
    let held = resolver.resolve(live.caller).await.unwrap();
    eventually("swept again", async || resolver.cached() == 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(held.token(&TokenRequest::default()).is_ok());
}

#[tokio::test]
async fn an_answer_that_is_evicted_still_serves_the_caller_who_holds_it() {
    let live = Live::new(Kind::Sqlite).await;
    // Each with a config of its own, so that nobody else keeps its credentials alive.
    for at in 2..30 {
        let config = config(&live.ring, &format!("eu-{at}"));
        let id = live.store.create_config(&config).await.unwrap();
        live.store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
    }
    let resolver = Resolver::builder((live.settings)(&[("CACHE_CAPACITY", "1")])).start();
    let mut held = Vec::new();
    for at in 1..30 {
        held.push(resolver.resolve(caller(1, at)).await.unwrap());
    }
    eventually("within capacity", async || resolver.cached() <= 1).await;
    for answer in held {
        assert!(answer.token(&TokenRequest::default()).is_ok(), "{answer:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with a time stamp of the database")]
fn chrono_now() -> i64 {
    let now = std::time::SystemTime::now();
    i64::try_from(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
