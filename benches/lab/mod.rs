//! What benches measure on: a resolver with warm numbers, and what they measure with.

#![expect(dead_code, reason = "each bench takes what it needs of it")]

pub(crate) mod order;
pub(crate) mod race;
pub(crate) mod report;
pub(crate) mod rows;
#[cfg(feature = "postgres")]
pub(crate) mod server;

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
    /// Its database.
    pub(crate) database: String,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// Whose config names this server and key.
    pub(crate) fn on(url: &str, (key, secret): (&str, &str), numbers: usize) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let (resolver, callers, database) = runtime.block_on(async {
            let seal = KeyRing::generate().expect("there is randomness");
            let database = format!("sqlite:{}", folder.path().join("bench.db").display());
            let pairs = [
                ("DATABASE_URL", database.as_str()),
                ("LIVEKIT_SECRET_ENCRYPTION_KEY", &seal),
                ("CACHE_TTL", "7d"),
                ("WARM", "all"),
                ("LEASE", "1m"),
            ];
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let settings = Settings::read(&Values::of(pairs, None)).expect("valid settings");
            let ring = settings.ring.clone().expect("a ring");
            let opened =
                OpenStore::new(settings.database.as_ref().expect("a database"), &settings.tuning);
            opened.migrate(Migrations::Up).await.expect("migrated");
            let config = NewConfig {
                name: "eu".into(),
                description: None,
                url: url.parse().expect("a URL"),
                api_key: key.into(),
                api_secret: ring.seal(secret, 0).expect("sealed"),
                trunk_id: Some("ST_eu".into()),
                agent: None,
            };
            let id = opened.admin().create_config(&config).await.expect("a config");
            let callers: Vec<_> = (0..numbers as u64).map(caller).collect();
            let rows: Vec<_> = callers
                .iter()
                .map(|&caller| NewNumber {
                    caller,
                    provider: None,
                    rules: json!({"livekit_config": id}),
                })
                .collect();
            for rows in rows.chunks(1000) {
                opened.admin().import(rows).await.expect("numbers");
            }
            let resolver = Resolver::builder(settings).start();
            while resolver.health().not_ready.is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(resolver.cached(), numbers);
            (resolver, callers, database)
        });
        Self { runtime, resolver, callers, database, _folder: folder }
    }
}

/// Runs something where a server runs its handlers, and not on the thread that waits for it.
pub(crate) fn as_a_task<T: Send + 'static>(
    runtime: &Runtime,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = runtime.spawn(task);
    runtime.block_on(task).expect("the task does not panic")
}

fn caller(at: u64) -> Caller {
    let number = format!("+{}", 971_500_000_000 + at).parse().expect("a number");
    Caller::new(TenantId(Uuid::from_u128(u128::from(at % 7))), number)
}
