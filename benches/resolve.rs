//! How long a resolution takes: warm, from text, cold on SQLite, and beside moka as people use it.
//!
//! Run: `cargo bench --bench resolve`. Compare rows of one run only; machines differ, and so do the
//! minutes of one machine.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::json;
use tokio::runtime::Runtime;
use trunkline::settings::Values;
use trunkline::store::{Migrations, NewConfig, NewNumber, OpenStore};
use trunkline::{Caller, Change, KeyRing, Resolver, Settings, TenantId};
use uuid::Uuid;

/// A resolver with this many warm numbers.
struct Lab {
    runtime: Runtime,
    resolver: Resolver,
    callers: Vec<Caller>,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn new(numbers: u64) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let (resolver, callers) = runtime.block_on(async {
            let key = KeyRing::generate().expect("there is randomness");
            let url = format!("sqlite:{}", folder.path().join("bench.db").display());
            let pairs = [
                ("DATABASE_URL", url.as_str()),
                ("LIVEKIT_SECRET_ENCRYPTION_KEY", &key),
                ("CACHE_TTL", "7d"),
                ("LEASE", "1m"),
            ];
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
            let ring = settings.ring.clone().expect("a ring");
            let database =
                OpenStore::new(settings.database.as_ref().expect("a database"), &settings.tuning);
            database.migrate(Migrations::Up).await.expect("migrated");
            let config = NewConfig {
                name: "eu".into(),
                description: None,
                url: "wss://eu.example".parse().expect("a URL"),
                api_key: "APIeu".into(),
                api_secret: ring.seal("a secret of a LiveKit server", 0).expect("sealed"),
                trunk_id: Some("ST_eu".into()),
                agent: None,
            };
            let id = database.store().create_config(&config).await.expect("a config");
            let callers: Vec<_> = (0..numbers).map(caller).collect();
            let rows: Vec<_> = callers
                .iter()
                .map(|&caller| NewNumber {
                    caller,
                    provider: None,
                    rules: json!({"livekit_config": id}),
                })
                .collect();
            for rows in rows.chunks(1000) {
                database.store().import(rows).await.expect("numbers");
            }
            let resolver = Resolver::builder(settings).start();
            while !resolver.hears_changes() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for &caller in &callers {
                let _ = black_box(resolver.resolve(caller).await);
            }
            (resolver, callers)
        });
        Self { runtime, resolver, callers, _folder: folder }
    }
}

fn caller(at: u64) -> Caller {
    let number = format!("+{}", 971_500_000_000 + at).parse().expect("a number");
    Caller::new(TenantId(Uuid::from_u128(u128::from(at % 7))), number)
}

fn resolve(criterion: &mut Criterion) {
    let lab = Lab::new(1000);
    let texts: Vec<_> = lab
        .callers
        .iter()
        .map(|caller| (caller.tenant.to_string(), caller.number.to_string()))
        .collect();
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 611) % lab.callers.len();
        turn
    };
    let mut group = criterion.benchmark_group("resolve");
    group.bench_function("warm", |bench| {
        bench.iter(|| lab.resolver.try_resolve(lab.callers[next()]).expect("warm"));
    });
    group.bench_function("warm, from text", |bench| {
        bench.iter(|| {
            let (tenant, number) = &texts[next()];
            let caller = Caller::parse(tenant, number).expect("a caller");
            lab.resolver.try_resolve(caller).expect("warm")
        });
    });
    let moka = moka::future::Cache::builder()
        .max_capacity(1_000_000)
        .time_to_live(Duration::from_secs(300))
        .build();
    group.bench_function("moka try_get_with, strings", |bench| {
        bench.iter(|| {
            let (tenant, number) = texts[next()].clone();
            let load = async { Ok::<_, std::convert::Infallible>("credentials".to_owned()) };
            lab.runtime.block_on(moka.try_get_with((tenant, number), load)).expect("loaded")
        });
    });
    group.bench_function("cold, SQLite", |bench| {
        bench.iter_batched(
            || {
                let caller = lab.callers[next()];
                lab.resolver.invalidate(Change::Number(caller));
                caller
            },
            |caller| lab.runtime.block_on(lab.resolver.resolve(caller)).expect("loaded"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn keyring(criterion: &mut Criterion) {
    let keys: Vec<_> = (0..3).map(|_| KeyRing::generate().expect("a key").to_string()).collect();
    let ring = |keys: &[String]| KeyRing::parse(&keys.join(",")).expect("a ring");
    let secret = "x".repeat(64);
    let sealed = ring(&keys[2..]).seal(&secret, 0).expect("sealed");
    let mut group = criterion.benchmark_group("open a secret of 64 bytes");
    for (name, ring) in [("one key", ring(&keys[2..])), ("the last of three", ring(&keys))] {
        group.bench_function(name, |bench| {
            bench.iter(|| ring.open(black_box(sealed.as_str())).expect("opens"));
        });
    }
    let theirs = fernet::Fernet::new(&keys[2]).expect("a key");
    let token = &sealed.as_str()[trunkline::PREFIX.len()..];
    group.bench_function("the fernet crate, one key", |bench| {
        bench.iter(|| theirs.decrypt_at_time(black_box(token), None, 0).expect("opens"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = resolve, keyring
}
criterion_main!(benches);
