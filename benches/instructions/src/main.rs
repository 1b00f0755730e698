//! Warm answers to be counted, not timed: `scripts/instructions` runs this under callgrind, which
//! counts what happens within [`typed`] and [`from_text`], and nothing else.
//!
//! Run: `scripts/instructions`. By itself it only says whether all answers were there.

#[path = "../../lab/rows.rs"]
mod rows;

use std::hint::black_box;
use std::sync::Arc;

use tokio::runtime::Builder;
use trunkline::settings::Values;
use trunkline::{Caller, KeyRing, Resolver, Settings};

use self::rows::Rows;

/// As many as `scripts/instructions` divides by.
const HITS: usize = 100_000;
/// So few that none stands in the way of another one near the thread, or only in one run of many.
const NUMBERS: usize = 8;

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let texts: Vec<_> = (0..NUMBERS)
        .map(|at| {
            (
                "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11".to_owned(),
                format!("+{}", 971_500_000_000 + at),
            )
        })
        .collect();
    let callers: Vec<_> = texts
        .iter()
        .map(|(tenant, number)| Caller::parse(tenant, number).expect("a caller"))
        .collect();
    let resolver = runtime.block_on(async {
        let key = KeyRing::generate().expect("there is randomness");
        let pairs = [
            ("LIVEKIT_SECRET_ENCRYPTION_KEY".into(), key.to_string()),
            ("CACHE_TTL".into(), "7d".into()),
        ];
        let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
        let ring = settings.ring.as_ref().expect("a ring");
        let secret = ring.seal("a secret", 0).expect("sealed");
        let rows = Rows { url: "wss://eu.example", api_key: "APIeu", secret };
        let resolver = Resolver::builder(settings).store(Arc::new(rows)).start();
        for &caller in &callers {
            resolver.resolve(caller).await.expect("credentials");
        }
        resolver
    });
    let _entered = runtime.enter();
    // Until what is asked for often stands near the thread.
    for _ in 0..100 {
        assert!(callers.iter().all(|&caller| resolver.try_resolve(caller).is_some()));
    }
    assert_eq!(typed(&resolver, &callers), HITS);
    assert_eq!(from_text(&resolver, &texts), HITS);
}

/// Answers where they stand, by callers.
#[inline(never)]
fn typed(resolver: &Resolver, callers: &[Caller]) -> usize {
    callers.iter().cycle().take(HITS).filter(|&&caller| hit(resolver, black_box(caller))).count()
}

/// The same by texts.
#[inline(never)]
fn from_text(resolver: &Resolver, texts: &[(String, String)]) -> usize {
    let parsed = |(tenant, number): &(String, String)| Caller::parse(black_box(tenant), number);
    let hit = |text| parsed(text).is_ok_and(|caller| hit(resolver, caller));
    texts.iter().cycle().take(HITS).filter(|text| hit(text)).count()
}

fn hit(resolver: &Resolver, caller: Caller) -> bool {
    resolver
        .try_resolve_with(caller, |answer| answer.is_ok_and(|answer| !answer.api_key().is_empty()))
        == Some(true)
}
