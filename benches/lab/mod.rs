//! What benches measure on: a resolver with warm numbers.

use std::hint::black_box;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;
use trunkline::settings::Values;
use trunkline::store::{Migrations, NewConfig, NewNumber, OpenStore};
use trunkline::{Caller, KeyRing, Resolver, Settings, TenantId};
use uuid::Uuid;

/// A resolver with this many warm numbers.
pub(crate) struct Lab {
    pub(crate) runtime: Runtime,
    pub(crate) resolver: Resolver,
    pub(crate) callers: Vec<Caller>,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// Whose config names this server and key.
    pub(crate) fn on(url: &str, (key, secret): (&str, &str), numbers: u64) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let (resolver, callers) = runtime.block_on(async {
            let seal = KeyRing::generate().expect("there is randomness");
            let database = format!("sqlite:{}", folder.path().join("bench.db").display());
            let pairs = [
                ("DATABASE_URL", database.as_str()),
                ("LIVEKIT_SECRET_ENCRYPTION_KEY", &seal),
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
                url: url.parse().expect("a URL"),
                api_key: key.into(),
                api_secret: ring.seal(secret, 0).expect("sealed"),
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
