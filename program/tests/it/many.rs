//! Many numbers at once: those that wait are asked for together, and `WARM` loads them ahead.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use trunkline::store::NewNumber;
use trunkline::{Change, ConfigId, NotReady, Reason, Resolver};

use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::stores::{Fault, Gated};
use crate::support::{caller, config, eventually, number, ring};

/// A database with numbers of one config, and a store before it that can be held.
struct Lab {
    database: TestDatabase,
    gated: Arc<Gated>,
    ring: Arc<trunkline::KeyRing>,
    config: ConfigId,
}

impl Lab {
    async fn new(kind: Kind, numbers: u64) -> Self {
        let (database, ring) = (TestDatabase::migrated(kind).await, Arc::new(ring()));
        let store = database.store();
        let config = store.create_config(&config(&ring, "eu")).await.unwrap();
        let rows: Vec<_> = (0..numbers).map(|at| number(caller(1, at), Some(config))).collect();
        store.import(&rows).await.unwrap();
        let gated = Gated::new(store);
        Self { database, gated, ring, config }
    }

    /// A resolver that asks over the held store, and is told of changes by nobody.
    fn resolver(&self, more: &[(&str, &str)]) -> Resolver {
        let mut settings = self.database.settings(more);
        settings.ring = Some(Arc::clone(&self.ring));
        Resolver::builder(settings).store(Arc::clone(&self.gated) as _).start()
    }
}

#[tokio::test]
async fn a_store_says_of_many_what_it_says_of_each() {
    for kind in BOTH {
        let lab = Lab::new(kind, 3).await;
        let store = lab.database.store();
        for (at, rules) in [
            (3, json!({"livekit_config": "no id"})),
            (4, json!({"livekit_config": caller(1, 1).tenant})),
        ] {
            let row = NewNumber { caller: caller(2, at), provider: Some("du".into()), rules };
            store.add_number(&row).await.unwrap();
        }
        let callers: Vec<_> = [(1, 2), (9, 9), (2, 3), (1, 0), (2, 4), (1, 2), (2, 0)]
            .map(|(t, n)| caller(t, n))
            .into();
        let together = store.routes(&callers).await.unwrap();
        assert_eq!(together.len(), callers.len(), "{kind:?}");
        for (&caller, route) in callers.iter().zip(together) {
            let alone = store.route(caller).await.unwrap();
            assert_eq!(format!("{route:?}"), format!("{alone:?}"), "{kind:?} {caller:?}");
        }
        assert!(store.routes(&[]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_store_pages_through_all_numbers_and_names_those_that_changed_last() {
    for kind in BOTH {
        let lab = Lab::new(kind, 25).await;
        let store = lab.database.store();
        store.add_number(&number(caller(2, 7), None)).await.unwrap();
        let (mut last, mut seen) = (None, Vec::new());
        loop {
            let page = store.numbers_after(last.as_ref(), 4).await.unwrap();
            assert!(page.len() <= 4);
            seen.extend(page.iter().map(|number| (number.tenant, number.digits.clone())));
            last = page.into_iter().next_back();
            if last.is_none() {
                break;
            }
        }
        let distinct: HashSet<_> = seen.iter().cloned().collect();
        assert_eq!((seen.len(), distinct.len()), (26, 26), "{kind:?}");

        store.assign(caller(1, 3), None).await.unwrap();
        store.assign(caller(1, 9), None).await.unwrap();
        let changed = store.changed_lately(2).await.unwrap();
        assert_eq!(changed, [caller(1, 9), caller(1, 3)], "{kind:?}");
        // Twenty-five rows of one statement are one change of everything there, which names no number.
        let all = if kind == Kind::Postgres { 3 } else { 26 };
        assert_eq!(store.changed_lately(100).await.unwrap().len(), all, "{kind:?}");
    }
}

#[tokio::test]
async fn numbers_that_wait_for_a_connection_are_asked_for_together() {
    for kind in BOTH {
        let lab = Lab::new(kind, 300).await;
        let resolver = lab.resolver(&[("DATABASE_CONNECTIONS", "1")]);
        lab.gated.set(Fault::Held);
        let first = resolver.resolve(caller(1, 0));
        tokio::pin!(first);
        assert!((&mut first).now_or_never().is_none());
        eventually("asked", async || lab.gated.read() == 1).await;
        let burst = join_all((1..300).map(|at| resolver.resolve(caller(1, at))));
        tokio::pin!(burst);
        assert!((&mut burst).now_or_never().is_none());
        // One that nobody has is told so, and holds up nobody.
        let unknown = resolver.resolve(caller(3, 3));
        lab.gated.open();
        lab.gated.open();
        lab.gated.open();
        let (first, burst, unknown) = tokio::join!(first, burst, unknown);
        assert_eq!(first.unwrap().config_id(), Some(lab.config));
        assert!(burst.into_iter().all(|answer| answer.unwrap().config_id() == Some(lab.config)));
        assert_eq!(unknown.unwrap_err().reason(), Some(Reason::NumberUnknown));
        assert!(lab.gated.routes() <= 3, "{kind:?}: {} statements", lab.gated.routes());
    }
}

/// Whoever waits for an answer that somebody else asks for must not look for work all the time.
#[tokio::test]
async fn those_who_wait_for_a_statement_leave_the_processor_alone() {
    let lab = Lab::new(Kind::Sqlite, 300).await;
    let resolver = lab.resolver(&[("DATABASE_CONNECTIONS", "4")]);
    lab.gated.set(Fault::Held);
    let burst = join_all((0..300).map(|at| resolver.resolve(caller(1, at))));
    tokio::pin!(burst);
    assert!((&mut burst).now_or_never().is_none());
    for _ in 0..3 {
        lab.gated.open();
    }
    eventually("gathered", async || lab.gated.read() == 300).await;
    // Of this thread, which runs all the tasks.
    let worked = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
    };
    let before = worked();
    // Not waited for: this is how long it is looked at.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let worked = worked().saturating_sub(before);
    assert!(worked < Duration::from_millis(100), "{worked:?} of 200 ms");
    (0..300).for_each(|_| lab.gated.open());
    assert!(burst.await.into_iter().all(|answer| answer.is_ok()));
}

#[tokio::test]
async fn what_fails_for_many_fails_for_each_and_a_row_that_cannot_be_read_for_none_but_its_own() {
    let lab = Lab::new(Kind::Sqlite, 20).await;
    let resolver = lab.resolver(&[("DATABASE_CONNECTIONS", "1")]);
    let burst = async |from: u64| {
        join_all((from..from + 10).map(|at| resolver.resolve(caller(1, at)))).await
    };
    lab.gated.set(Fault::OneRow);
    assert!(burst(0).await.into_iter().all(|answer| answer.is_ok()));
    lab.gated.set(Fault::Away);
    for answer in burst(10).await {
        assert_eq!(answer.unwrap_err().reason(), Some(Reason::DatabaseUnreachable));
    }
}

#[tokio::test]
async fn all_numbers_are_warm_before_the_resolver_is_ready() {
    for kind in BOTH {
        let lab = Lab::new(kind, 1200).await;
        let store = lab.database.store();
        store.add_number(&number(caller(2, 1), None)).await.unwrap();
        lab.gated.set(Fault::Held);
        let resolver = lab.resolver(&[("WARM", "all")]);
        eventually("asked", async || lab.gated.statements() >= 2).await;
        assert_eq!(resolver.health().not_ready, Some(NotReady::Warming));
        assert!(resolver.ready().now_or_never().is_none(), "it waits");
        lab.gated.set(Fault::None);
        lab.gated.open();
        tokio::time::timeout(Duration::from_secs(10), resolver.ready()).await.expect("it is ready");
        assert_eq!(resolver.health().not_ready, None);
        assert_eq!(
            resolver.cached(),
            1200,
            "{kind:?}: the one without a config is left to callers"
        );
        for at in 0..1200 {
            let answer = resolver.try_resolve(caller(1, at)).unwrap().unwrap();
            assert_eq!(answer.config_id(), Some(lab.config));
            assert!(answer.token(&trunkline::TokenRequest::default()).is_ok());
        }
        assert_eq!(lab.gated.routes(), 0, "{kind:?}: nobody was asked for by himself");
    }
}

#[tokio::test]
async fn only_what_changed_lately_is_warm_where_that_is_wanted() {
    for kind in BOTH {
        let lab = Lab::new(kind, 100).await;
        let store = lab.database.store();
        // All but the newest change is forgotten, which is that of number 99 where rows are logged.
        lab.database.log().prune_changes(Duration::ZERO).await.unwrap();
        for at in [3, 30] {
            store.assign(caller(1, at), None).await.unwrap();
            store.assign(caller(1, at), Some(lab.config)).await.unwrap();
        }
        let resolver = lab.resolver(&[("WARM", "recent")]);
        eventually("ready", async || resolver.health().not_ready.is_none()).await;
        let warm = (0..100).filter(|&at| resolver.try_resolve(caller(1, at)).is_some());
        let lately: &[_] = if kind == Kind::Postgres { &[3, 30] } else { &[3, 30, 99] };
        assert_eq!(warm.collect::<Vec<_>>(), lately, "{kind:?}");
    }
}

#[tokio::test]
async fn a_row_without_a_tenant_keeps_no_other_number_cold() {
    let lab = Lab::new(Kind::Postgres, 50).await;
    // As a table may be that was there before.
    lab.database
        .sql(
            "alter table voice_agent_numbers alter column tenant_id drop not null;
             insert into voice_agent_numbers (tenant_id, base_number) values (null, 500000007)",
        )
        .await;
    let resolver = lab.resolver(&[("WARM", "all")]);
    eventually("ready", async || resolver.health().not_ready.is_none()).await;
    assert_eq!(resolver.cached(), 50);
}

#[tokio::test]
async fn what_a_caller_has_loaded_is_not_replaced_by_what_was_read_before() {
    let lab = Lab::new(Kind::Sqlite, 10).await;
    lab.gated.set(Fault::Held);
    let resolver = lab.resolver(&[("WARM", "all")]);
    eventually("read", async || lab.gated.statements() >= 2).await;
    lab.gated.set(Fault::None);
    // Nobody tells of it.
    let us = lab.database.store().create_config(&config(&lab.ring, "us")).await.unwrap();
    lab.database.store().assign(caller(1, 4), Some(us)).await.unwrap();
    assert_eq!(resolver.resolve(caller(1, 4)).await.unwrap().config_id(), Some(us));
    lab.gated.open();
    eventually("ready", async || resolver.health().not_ready.is_none()).await;
    assert_eq!(resolver.resolve(caller(1, 4)).await.unwrap().config_id(), Some(us));
}

#[tokio::test]
async fn no_more_are_warmed_than_there_is_room_for_and_a_database_that_is_away_holds_up_nobody() {
    let lab = Lab::new(Kind::Sqlite, 100).await;
    let resolver = lab.resolver(&[("WARM", "all"), ("CACHE_CAPACITY", "40")]);
    eventually("ready", async || resolver.health().not_ready.is_none()).await;
    assert_eq!(resolver.cached(), 40);

    lab.gated.set(Fault::Away);
    let resolver = lab.resolver(&[("WARM", "all")]);
    eventually("ready", async || resolver.health().not_ready != Some(NotReady::Warming)).await;
    assert_eq!(resolver.cached(), 0);
}

#[tokio::test]
async fn what_changes_while_numbers_are_warmed_is_not_outlived_by_what_was_read_before() {
    for change in ["number", "config"] {
        let lab = Lab::new(Kind::Sqlite, 10).await;
        lab.gated.set(Fault::Held);
        let resolver = lab.resolver(&[("WARM", "all")]);
        eventually("read", async || lab.gated.statements() >= 2).await;
        let changed = caller(1, 4);
        resolver.invalidate(match change {
            "number" => Change::Number(changed),
            _ => Change::Config(lab.config),
        });
        lab.gated.set(Fault::None);
        lab.gated.open();
        eventually("ready", async || resolver.health().not_ready.is_none()).await;
        assert!(resolver.try_resolve(changed).is_none(), "{change}");
        let other = resolver.try_resolve(caller(1, 5)).is_some();
        assert_eq!(other, change == "number");
    }
}
