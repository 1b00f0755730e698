//! A Postgres of the bench's own, with the tables and many numbers of one config.

use std::sync::Arc;

use sqlx::{Connection, PgConnection};
use trunkline::settings::Values;
use trunkline::store::{Migrations, NewConfig, OpenStore};
use trunkline::{Caller, ConfigId, KeyRing, Resolver, Settings, TenantId};
use uuid::Uuid;

#[path = "../../program/tests/it/support/postgres.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a file of the tests")]
mod postgres;

/// A running server, and how to get at it.
pub(crate) struct Server {
    pub(crate) cluster: postgres::Cluster,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) config: ConfigId,
}

impl Server {
    /// With so many numbers of one tenant.
    pub(crate) async fn with(numbers: usize) -> Self {
        let settings: &[&str] = &["shared_buffers=512MB", "max_wal_size=8GB", "log_statement=none"];
        let cluster = postgres::Cluster::start_with(settings);
        let url = cluster.database();
        let key = KeyRing::generate().expect("there is randomness").to_string();
        let settings = settings_of(&url, &key, &[]);
        let database =
            OpenStore::new(settings.database.as_ref().expect("a database"), &settings.tuning);
        database.migrate(Migrations::Up).await.expect("migrated");
        let ring = settings.ring.as_ref().expect("a ring");
        let config = NewConfig {
            name: "eu".into(),
            description: None,
            url: "wss://eu.example".parse().expect("a URL"),
            api_key: "APIeu".into(),
            api_secret: ring.seal(&"x".repeat(64), 0).expect("sealed"),
            // What the numbers name counts.
            trunk_id: None,
            agent: None,
        };
        let config = database.admin().create_config(&config).await.expect("a config");
        let server = Self { cluster, url, key, config };
        let sow = format!(
            "insert into voice_agent_numbers (tenant_id, country_code, base_number, rules)
             select '{TENANT}', '+971', 500000000 + at, jsonb_build_object('livekit_config', '{config}')
             from generate_series(0, {numbers} - 1) as at"
        );
        server.sql(&sow).await;
        server.sql("vacuum analyze").await;
        server
    }

    /// Settings that name it, and these variables.
    pub(crate) fn settings(&self, more: &[(&str, &str)]) -> Settings {
        settings_of(&self.url, &self.key, more)
    }

    /// A resolver that is ready.
    pub(crate) async fn resolver(&self, more: &[(&str, &str)]) -> Resolver {
        let resolver = Resolver::builder(self.settings(more)).start();
        ready(&resolver).await;
        resolver
    }

    /// A connection of one's own.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("the server is there")
    }

    /// Runs a statement.
    pub(crate) async fn sql(&self, statement: &str) {
        let mut connection = self.connect().await;
        let statement = sqlx::AssertSqlSafe(Arc::<str>::from(statement));
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("the statement runs");
    }
}

/// Waits until a resolver is.
pub(crate) async fn ready(resolver: &Resolver) {
    while resolver.health().not_ready.is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// One of the numbers.
pub(crate) fn caller(at: usize) -> Caller {
    let number = format!("+{}", 971_500_000_000 + at as u64).parse().expect("a number");
    Caller::new(TenantId(TENANT), number)
}

fn settings_of(url: &str, key: &str, more: &[(&str, &str)]) -> Settings {
    let pairs =
        [("DATABASE_URL", url), ("LIVEKIT_SECRET_ENCRYPTION_KEY", key), ("CACHE_TTL", "7d")];
    let pairs = pairs.iter().chain(more);
    let pairs = pairs.map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Settings::read(&Values::of(pairs, None)).expect("valid settings")
}

pub(crate) const TENANT: Uuid = Uuid::from_u128(7);
