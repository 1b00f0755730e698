//! A herd of callers, and a database that hangs, panics or is away.

use std::time::Duration;

use trunkline::{Change, Reason, ResolveError, Source, TokenRequest};

use super::Lab;
use crate::support::database::Kind;
use crate::support::stores::Fault;
use crate::support::{caller, config, eventually, number};

#[tokio::test]
async fn ten_thousand_callers_of_one_cold_key_make_one_load() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    store.add_number(&number(caller(1, 1), Some(id))).await.unwrap();
    let (resolver, gated, _) = lab.gated(&[("RESOLVE_DEADLINE", "1m")]);
    gated.set(Fault::Held);
    let mut herd: Vec<_> = (0..10_000).map(|_| Box::pin(resolver.resolve(caller(1, 1)))).collect();
    for call in &mut herd {
        assert!(futures_util::poll!(call).is_pending());
    }
    gated.open();
    for answer in futures_util::future::join_all(herd).await {
        assert_eq!(answer.unwrap().config_id(), Some(id));
    }
    eprintln!("{} load", gated.statements());
    assert_eq!(gated.statements(), 1);
}

#[tokio::test]
async fn a_hung_database_returns_every_caller_at_its_deadline() {
    let lab = Lab::new(Kind::Sqlite).await;
    tokio::time::pause();
    let (resolver, gated, _) =
        lab.gated(&[("RESOLVE_DEADLINE", "50ms"), ("DATABASE_CONNECTIONS", "10")]);
    gated.set(Fault::Hung);
    let began = tokio::time::Instant::now();
    let herd = (0..1000).map(|at| resolver.resolve(caller(1, at % 10)));
    for answer in futures_util::future::join_all(herd).await {
        assert_eq!(answer.unwrap().reason(), Some(Reason::DatabaseTimeout));
    }
    let took = began.elapsed();
    eprintln!("the last of 1,000 callers came back after {took:?}, the deadline being 50 ms");
    assert!((50..=55).contains(&took.as_millis()), "{took:?}");
    assert_eq!(gated.statements(), 10);
}

#[tokio::test]
async fn those_who_ask_for_one_config_together_make_one_load() {
    let lab = Lab::new(Kind::Sqlite).await;
    let id = lab.database.store().create_config(&config(&lab.ring, "eu")).await.unwrap();
    let (resolver, gated, _) = lab.gated(&[("RESOLVE_DEADLINE", "1m")]);
    gated.set(Fault::ConfigHeld);
    let mut herd: Vec<_> = (0..1000).map(|_| Box::pin(resolver.resolve_config(id))).collect();
    for call in &mut herd {
        assert!(futures_util::poll!(call).is_pending());
    }
    gated.open();
    let answers = futures_util::future::join_all(herd).await;
    for answer in &answers {
        let answer = answer.as_ref().unwrap();
        assert_eq!(answer.config_id(), Some(id));
        assert!(answer.token(&TokenRequest::default()).is_ok());
    }
    assert_eq!(gated.statements(), 1);
}

#[tokio::test]
async fn who_asks_for_a_config_of_a_hung_database_is_answered_at_the_deadline() {
    let lab = Lab::new(Kind::Sqlite).await;
    let id = lab.database.store().create_config(&config(&lab.ring, "eu")).await.unwrap();
    let (resolver, gated, _) = lab.gated(&[("RESOLVE_DEADLINE", "50ms")]);
    gated.set(Fault::ConfigHung);
    tokio::time::pause();
    let herd = futures_util::future::join_all((0..100).map(|_| resolver.resolve_config(id)));
    let answers = tokio::time::timeout(Duration::from_secs(60), herd).await.expect("a deadline");
    for answer in answers {
        let timeout = ResolveError::ConfigUnusable { reason: Reason::DatabaseTimeout };
        assert_eq!(answer.unwrap_err(), timeout);
    }
    assert_eq!(gated.statements(), 1);
}

#[tokio::test]
async fn a_config_whose_load_is_joined_after_a_change_is_loaded_anew() {
    let lab = Lab::new(Kind::Sqlite).await;
    let id = lab.database.store().create_config(&config(&lab.ring, "eu")).await.unwrap();
    let (resolver, gated, _) = lab.gated(&[("RESOLVE_DEADLINE", "1m")]);
    gated.set(Fault::ConfigHeld);
    let early = resolver.resolve_config(id);
    tokio::pin!(early);
    assert!(futures_util::poll!(&mut early).is_pending());
    resolver.invalidate(Change::Config(id));
    gated.set(Fault::None);
    assert_eq!(resolver.resolve_config(id).await.unwrap().config_id(), Some(id));
    assert_eq!(gated.statements(), 2);
    gated.open();
    assert_eq!(early.await.unwrap().config_id(), Some(id));
}

#[tokio::test]
async fn a_load_that_panics_is_a_reason_and_no_panic_of_its_callers() {
    let lab = Lab::new(Kind::Sqlite).await;
    let (resolver, gated, clock) = lab.gated(&[]);
    gated.set(Fault::Panics);
    let (first, second) =
        tokio::join!(resolver.resolve(caller(1, 1)), resolver.resolve(caller(1, 1)));
    for answer in [first, second] {
        assert_eq!(answer.unwrap().reason(), Some(Reason::LoadPanicked));
    }
    gated.set(Fault::None);
    clock.advance(Duration::from_secs(2));
    let mended = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(mended.reason(), Some(Reason::NumberUnknown));
}

#[tokio::test]
async fn a_database_that_goes_away_leaves_the_last_good_answer_until_it_is_too_old() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    for at in [1, 2] {
        store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
    }
    let variables = [("CACHE_TTL", "1m"), ("MAX_STALE", "10m"), ("CACHE_TTL_JITTER", "0")];
    let (resolver, gated, clock) = lab.gated(&variables);
    for at in [1, 2] {
        assert!(!resolver.resolve(caller(1, at)).await.unwrap().stale());
    }

    // In use until shortly before; what nobody has used for a TTL is not kept.
    clock.advance(Duration::from_secs(50));
    for at in [1, 2] {
        assert!(!resolver.resolve(caller(1, at)).await.unwrap().stale());
    }
    // Time that passes second by second meets the refresh of what is in use, which fails first: so
    // nothing is wiped for its age from then on.
    gated.set(Fault::Away);
    let before = gated.routes();
    clock.advance(Duration::from_secs(2));
    eventually("a refresh has failed", async || gated.routes() > before).await;
    clock.advance(Duration::from_secs(9));
    let mut routes = gated.routes();
    for round in 0..100 {
        let stale = resolver.resolve(caller(1, 1)).await.unwrap();
        assert!(stale.stale() && stale.source() == Source::Database);
        assert!(stale.token(&TokenRequest::default()).is_ok());
        assert_eq!(stale.age(), Duration::from_secs(61));
        if round == 0 {
            routes = gated.routes();
        }
    }
    assert!(resolver.resolve(caller(1, 2)).await.unwrap().stale());
    // One more, if a refresh had taken off before the first caller failed.
    assert!(gated.routes() <= routes + 1, "a database that failed is left alone for ERROR_TTL");

    gated.set(Fault::None);
    clock.advance(Duration::from_secs(2));
    assert!(!resolver.resolve(caller(1, 1)).await.unwrap().stale(), "it is back");

    gated.set(Fault::Away);
    clock.advance(Duration::from_secs(601));
    let too_old = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(too_old.reason(), Some(Reason::DatabaseUnreachable));
}

#[tokio::test]
async fn what_is_known_to_have_changed_is_not_served_as_the_last_good_answer() {
    let lab = Lab::new(Kind::Sqlite).await;
    let store = lab.database.store();
    let id = store.create_config(&config(&lab.ring, "eu")).await.unwrap();
    for at in [1, 2] {
        store.add_number(&number(caller(1, at), Some(id))).await.unwrap();
    }
    let (resolver, gated, _) = lab.gated(&[]);
    for at in [1, 2] {
        resolver.resolve(caller(1, at)).await.unwrap();
    }
    gated.set(Fault::Away);
    resolver.invalidate(Change::Number(caller(1, 1)));
    let first = resolver.resolve(caller(1, 1)).await.unwrap();
    assert_eq!(first.reason(), Some(Reason::DatabaseUnreachable));
    assert_eq!(resolver.resolve(caller(1, 2)).await.unwrap().source(), Source::Database);
    resolver.invalidate(Change::Config(id));
    let second = resolver.resolve(caller(1, 2)).await.unwrap();
    assert_eq!(second.reason(), Some(Reason::DatabaseUnreachable));
}
