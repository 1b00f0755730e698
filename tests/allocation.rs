//! A warm answer allocates nothing: counted by the allocator, in a process of its own.

#[path = "../benches/lab/rows.rs"]
mod rows;

use std::alloc::System;
use std::sync::Arc;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use trunkline::settings::Values;
use trunkline::{Caller, KeyRing, Resolver, Settings};

use self::rows::Rows;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TENANT: &str = "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11";

#[tokio::test(flavor = "current_thread")]
async fn a_warm_answer_allocates_nothing() {
    let key = KeyRing::generate().unwrap();
    let pairs = [("LIVEKIT_SECRET_ENCRYPTION_KEY".into(), key.to_string())];
    let settings = Settings::read(&Values::of(pairs, None)).unwrap();
    let secret = settings.ring.as_ref().unwrap().seal("a secret", 0).unwrap();
    let rows = Rows { url: "wss://eu.example", api_key: "APIeu", secret };
    let resolver = Resolver::builder(settings).store(Arc::new(rows)).start();
    let texts: Vec<_> = (0..100).map(|at| format!("+{}", 971_500_000_000_u64 + at)).collect();
    let callers = || texts.iter().map(|number| Caller::parse(TENANT, number).unwrap());
    for caller in callers() {
        resolver.resolve(caller).await.unwrap();
    }
    let ask = async || {
        for caller in callers() {
            assert!(resolver.try_resolve_with(caller, |answer| answer.is_ok()).unwrap());
            assert!(resolver.try_resolve(caller).unwrap().is_ok());
            assert!(resolver.resolve(caller).await.is_ok());
        }
    };
    // The first ones make room near the thread, and moka's samples go through a queue that is made
    // when it is needed.
    for _ in 0..100 {
        ask().await;
    }
    let allocations = || ALLOCATOR.stats().allocations + ALLOCATOR.stats().reallocations;
    let before = allocations();
    ask().await;
    assert_eq!(allocations() - before, 0, "in 300 warm answers, from text");
}
