//! What runs beside the callers: refreshing what is in use, wiping what is not, and the self-check.

use std::sync::Arc;
use std::time::Duration;

use trunkline::store::AdminStore;
use trunkline::{Change, KeyRing, NotReady, Resolver, TokenRequest};

use crate::support::database::{Kind, TestDatabase};
use crate::support::live::Live;
use crate::support::stores::{Fault, Gated};
use crate::support::{HandClock, caller, config, eventually, number};

/// A resolver whose time and store are in the test's hand, with numbers that share one config.
struct Lab {
    ring: Arc<KeyRing>,
    store: Arc<dyn AdminStore>,
    gated: Arc<Gated>,
    clock: Arc<HandClock>,
    resolver: Resolver,
    config: trunkline::ConfigId,
}

impl Lab {
    async fn new(numbers: u64, more: &[(&str, &str)]) -> Self {
        let database = TestDatabase::migrated(Kind::Sqlite).await;
        let (store, ring) = (database.store(), Arc::new(crate::support::ring()));
        let id = store.create_config(&config(&ring, "eu")).await.unwrap();
        let rows: Vec<_> = (0..numbers).map(|at| number(caller(1, at), Some(id))).collect();
        store.import(&rows).await.unwrap();
        let mut variables = vec![("CACHE_TTL", "100s"), ("CACHE_TTL_JITTER", "0")];
        variables.extend(more);
        let mut settings = database.settings(&variables);
        settings.ring = Some(Arc::clone(&ring));
        let (gated, clock) = (Gated::new(database.store()), Arc::new(HandClock::default()));
        clock.advance(Duration::from_secs(1));
        let resolver = Resolver::builder(settings)
            .store(Arc::clone(&gated) as _)
            .clock(Arc::clone(&clock) as _)
            .start();
        // The file lives as long as the process: a test is over before that matters.
        std::mem::forget(database);
        Self { ring, store, gated, clock, resolver, config: id }
    }

    fn is_warm(&self, at: u64) -> bool {
        self.resolver.try_resolve(caller(1, at)).is_some()
    }
}

#[tokio::test]
async fn a_number_in_use_is_loaded_anew_before_its_time_is_up_and_never_goes_cold() {
    let lab = Lab::new(1, &[]).await;
    lab.resolver.resolve(caller(1, 0)).await.unwrap();
    for round in 1..=5 {
        lab.clock.advance(Duration::from_secs(50));
        assert!(lab.is_warm(0), "round {round}");
        lab.clock.advance(Duration::from_secs(40));
        eventually("refreshed", async || lab.gated.read() == round + 1).await;
        assert!(lab.is_warm(0));
    }
}

#[tokio::test]
async fn a_number_that_nobody_uses_is_gone_a_ttl_after_its_last_call() {
    let lab = Lab::new(2, &[]).await;
    for at in 0..2 {
        lab.resolver.resolve(caller(1, at)).await.unwrap();
    }
    lab.clock.advance(Duration::from_secs(80));
    assert!(lab.is_warm(1));
    lab.clock.advance(Duration::from_secs(10));
    eventually("the one in use is refreshed", async || lab.gated.read() == 3).await;
    lab.clock.advance(Duration::from_secs(11));
    eventually("the other one is gone", async || lab.resolver.cached() == 1).await;
    // Refreshed at 90 s for a call at 80 s: it would count until 190 s, and is gone at 180 s.
    lab.clock.advance(Duration::from_secs(80));
    eventually("idle", async || lab.resolver.cached() == 0).await;
    assert_eq!(lab.gated.read(), 3, "it was not refreshed again");
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_answer_as_it_is_until_its_time_is_up() {
    let lab = Lab::new(1, &[("RESOLVE_DEADLINE", "1s")]).await;
    lab.resolver.resolve(caller(1, 0)).await.unwrap();
    lab.clock.advance(Duration::from_secs(50));
    assert!(lab.is_warm(0));
    lab.gated.set(Fault::Away);
    lab.clock.advance(Duration::from_secs(40));
    eventually("tried", async || lab.gated.routes() == 2).await;
    for _ in 0..100 {
        assert!(!lab.resolver.resolve(caller(1, 0)).await.unwrap().stale());
        tokio::task::yield_now().await;
    }
    lab.clock.advance(Duration::from_secs(11));
    let after = lab.resolver.resolve(caller(1, 0)).await.unwrap();
    assert!(after.stale() && after.config_id() == Some(lab.config));
}

#[tokio::test]
async fn a_machine_that_was_asleep_finds_its_secrets_wiped_and_asks_anew() {
    let lab = Lab::new(1, &[]).await;
    let held = lab.resolver.resolve(caller(1, 0)).await.unwrap();
    drop(held);
    lab.clock.advance(Duration::from_secs(8 * 3600));
    assert!(!lab.is_warm(0));
    eventually("wiped", async || lab.resolver.cached() == 0).await;
    assert!(!lab.resolver.resolve(caller(1, 0)).await.unwrap().stale());
}

#[tokio::test]
async fn a_config_that_changed_is_loaded_once_for_all_of_its_numbers() {
    let lab = Lab::new(500, &[]).await;
    let resolve_all = async || {
        let calls = (0..500).map(|at| lab.resolver.resolve(caller(1, at)));
        futures_util::future::join_all(calls).await
    };
    resolve_all().await;
    for round in 0..3 {
        let trunk = format!("ST_{round}");
        let edit = trunkline::store::ConfigEdit {
            trunk_id: Some(Some(trunk.clone())),
            api_secret: Some(lab.ring.seal(&trunk, crate::support::NOW).unwrap()),
            ..Default::default()
        };
        lab.store.update_config(lab.config, &edit).await.unwrap();
        lab.resolver.invalidate(Change::Config(lab.config));
        let before = lab.gated.statements();
        for answer in resolve_all().await {
            let answer = answer.unwrap();
            assert_eq!(answer.trunk_id(), Some(trunk.as_str()));
            assert!(answer.token(&TokenRequest::default()).is_ok());
        }
        assert_eq!(lab.gated.statements() - before, 1, "round {round}");
        // Who comes later finds what the first one loaded.
        assert!((0..500).all(|at| lab.is_warm(at)));
    }
    // A config that is gone is found out by each number for itself.
    lab.store.delete_config(lab.config).await.unwrap();
    lab.resolver.invalidate(Change::Config(lab.config));
    let gone = lab.resolver.resolve(caller(1, 7)).await.unwrap_err();
    assert_eq!(gone.reason(), Some(trunkline::Reason::ConfigMissing));
}

#[tokio::test]
async fn an_edit_that_no_trigger_told_of_is_found_by_the_self_check() {
    let live = Live::new(Kind::Postgres).await;
    let variables = [("SELF_CHECK_INTERVAL", "20ms"), ("LEASE", "300ms")];
    let resolver = Resolver::builder((live.settings)(&variables)).start();
    eventually("changes are heard", async || resolver.hears_changes()).await;
    resolver.resolve(live.caller).await.unwrap();
    eventually("checked, and right", async || resolver.health().checked > 2).await;
    assert_eq!(resolver.health().found_stale, 0);
    live.database
        .sql(
            "set session_replication_role = replica;
             update voice_agent_livekit set trunk_id = 'ST_unheard'",
        )
        .await;
    eventually("found", async || resolver.health().found_stale > 0).await;
    let health = resolver.health();
    assert!(health.max_staleness > Duration::from_millis(300), "{health:?}");
    eventually("mended", async || {
        let answer = resolver.resolve(live.caller).await.unwrap();
        answer.trunk_id() == Some("ST_unheard")
    })
    .await;
    eventually("ready again", async || resolver.health().not_ready.is_none()).await;
}

#[tokio::test]
async fn a_resolver_is_not_ready_before_changes_are_heard() {
    let database = TestDatabase::empty(Kind::Postgres);
    let resolver = Resolver::builder(database.settings(&[])).start();
    assert_eq!(resolver.health().not_ready, Some(NotReady::NoChangeSource));
    database.open.migrate(trunkline::store::Migrations::Up).await.unwrap();
    eventually("ready", async || resolver.health().not_ready.is_none()).await;
}

#[tokio::test]
async fn secrets_are_wiped_a_millisecond_after_a_change_and_a_tenth_of_a_second_after_their_time() {
    let live = Live::new(Kind::Sqlite).await;
    let settings = (live.settings)(&[("CACHE_TTL", "1s"), ("CACHE_TTL_JITTER", "0")]);
    let resolver = Resolver::builder(settings).start();
    eventually("changes are heard", async || resolver.hears_changes()).await;
    let mut took = Vec::new();
    for _ in 0..1000 {
        let held = resolver.resolve(live.caller).await.unwrap();
        let began = tokio::time::Instant::now();
        resolver.invalidate(Change::Config(live.config));
        assert!(held.token(&TokenRequest::default()).is_err());
        took.push(began.elapsed());
    }
    took.sort_unstable();
    eprintln!("wiped within {:?} of 1000 changes, half of them within {:?}", took[999], took[500]);
    let mut late = Vec::new();
    for _ in 0..5 {
        resolver.resolve(live.caller).await.unwrap();
        let loaded = tokio::time::Instant::now();
        eventually("gone", async || resolver.cached() == 0).await;
        late.push(loaded.elapsed().saturating_sub(Duration::from_secs(1)));
    }
    late.sort_unstable();
    eprintln!("gone this long after a TTL without calls: {late:?}");
    // The middle ones, since a busy machine may hold back any single one.
    assert!(took[500] < Duration::from_millis(20) && late[2] < Duration::from_millis(100));
}
