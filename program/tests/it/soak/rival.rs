//! The loop that people write: moka's `try_get_with`, sqlx's listener with its own way of
//! reconnecting, clear on a notification and on a gap, a TTL for the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use trunkline::Caller;

use super::judge::Said;
use super::readers::Subject;

/// It, running.
pub struct Rival {
    cache: Cache<Caller, u64>,
    pool: PgPool,
    loads: AtomicU64,
}

impl Rival {
    /// Its cache and its pool; [`listen`](Self::listen) keeps them fresh.
    pub fn new(url: &str) -> Result<Arc<Self>, sqlx::Error> {
        let cache = Cache::builder().max_capacity(1_000_000).time_to_live(TTL).build();
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(url)?;
        Ok(Arc::new(Self { cache, pool, loads: AtomicU64::new(0) }))
    }

    /// Hears of changes, for ever.
    pub async fn listen(self: Arc<Self>, url: String) {
        let mut listener = loop {
            if let Ok(listener) = self.listener(&url).await {
                break listener;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        loop {
            match listener.try_recv().await {
                Ok(Some(_) | None) => self.cache.invalidate_all(),
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    async fn listener(&self, url: &str) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect(url).await?;
        let channel: String = sqlx::query_scalar("select 'trunkline_' || md5('public')")
            .fetch_one(&self.pool)
            .await?;
        listener.listen(&channel).await?;
        Ok(listener)
    }

    async fn load(&self, caller: Caller) -> Result<u64, sqlx::Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let trunk: String = sqlx::query_scalar(LOAD)
            .bind(caller.number.as_u64().to_string())
            .bind(caller.tenant.0)
            .fetch_one(&self.pool)
            .await?;
        let version = trunk.strip_prefix("ST_").and_then(|version| version.parse().ok());
        version.ok_or(sqlx::Error::RowNotFound)
    }
}

impl Subject for Rival {
    async fn ask(&self, _: usize, caller: Caller) -> Result<Said, String> {
        let answer = self.cache.try_get_with(caller, self.load(caller));
        let answer = tokio::time::timeout(super::DEADLINE, answer).await;
        let version =
            answer.map_err(|late| late.to_string())?.map_err(|error| error.to_string())?;
        Ok(Said { version, stale: false })
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }
}

const LOAD: &str = "
    select c.trunk_id from voice_agent_numbers as n
    join voice_agent_livekit as c on c.id = cast(n.rules ->> 'livekit_config' as uuid)
    where ltrim(n.country_code, '+0 ') || cast(n.base_number as text) = $1 and n.tenant_id = $2";
const TTL: Duration = Duration::from_secs(300);
