//! Notices changes of an SQLite file.
//!
//! `pragma data_version` on a connection of its own differs when any other connection, of this
//! process or another, has committed. It says *that*; the change log says *what*. Each look that
//! found nothing, or applied what it found, proves that nothing committed before it was missed, and
//! renews the lease. It proves that only while the triggers are there that write the log, so they are
//! counted whenever anything was committed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tokio::time::{MissedTickBehavior, timeout};

use super::applied::Applied;
use super::metrics::ChangesCounted;
use super::watch::Watcher;
use crate::cache::Cache;
use crate::change::Change;
use crate::clock::Clock;
use crate::store::{ChangeLog, LoggedChange, SqliteStore, StoreError};

/// What a life needs.
pub(crate) struct Poller {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counted: ChangesCounted,
    pub(crate) applied: Applied,
    pub(crate) interval: Duration,
    pub(crate) lease: Duration,
    /// How long one look may take.
    pub(crate) deadline: Duration,
}

impl Watcher for Poller {
    type Ended = PollerEnded;

    async fn life(&self) -> Result<Infallible, PollerEnded> {
        let connecting = SqliteConnection::connect_with(self.store.options());
        let mut connection = self.in_time(connecting).await?;
        // The version first: a commit between the two lines is seen as a change of the version.
        let mut version = self.in_time(data_version(&mut connection)).await?;
        self.store.audit().await?;
        let mut newest = self.store.newest_change().await?;
        self.cache.fence.doubt();
        self.counted.doubted();
        self.applied.note(&newest.to_string(), true);
        self.tell(Vec::new(), false, newest);
        tracing::debug!(newest, "looking for changes");

        let mut look = tokio::time::interval(self.interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let looked_at = self.clock.now();
            let version_now = self.in_time(data_version(&mut connection)).await?;
            if version_now != version {
                self.store.audit().await?;
                let before = newest;
                newest = self.catch_up(before).await?;
                self.applied.note(&newest.to_string(), newest != before);
                version = version_now;
            }
            self.cache.fence.renew_lease(looked_at.after(self.lease));
        }
    }
}

impl Poller {
    /// What a connection of its own is asked. The store's statements have the same deadline.
    async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, PollerEnded> {
        let asked = timeout(self.deadline, asking).await;
        Ok(asked.map_err(|_| PollerEnded::Late { after: self.deadline })??)
    }

    /// Applies what is new in the log and returns the newest place in it.
    async fn catch_up(&self, since: i64) -> Result<i64, StoreError> {
        if let Some(logged) = self.store.changes_after(since).await? {
            let newest = logged.last().map_or(since, |last| last.seq);
            let (changes, ages): (Vec<_>, Vec<_>) =
                logged.iter().map(|logged| (logged.change, logged.age)).unzip();
            let many = changes.len();
            tracing::debug_span!("apply changes", changes = many)
                .in_scope(|| self.cache.apply_all(&changes));
            self.counted.applied(&ages, newest);
            self.tell(logged, true, newest);
            return Ok(newest);
        }
        // Too many to go through, or the log no longer reaches back, or the file is another one.
        let newest = self.store.newest_change().await?;
        self.cache.apply_all(&[Change::All]);
        self.counted.doubted();
        self.tell(Vec::new(), false, newest);
        Ok(newest)
    }

    /// Tells those who listen.
    #[cfg(feature = "server")]
    fn tell(&self, changes: Vec<LoggedChange>, is_whole: bool, newest: i64) {
        self.applied.listeners.tell(changes, is_whole, || Some(newest.to_string()));
    }

    #[cfg(not(feature = "server"))]
    #[expect(clippy::unused_self, reason = "nobody listens")]
    fn tell(&self, _: Vec<LoggedChange>, _: bool, _: i64) {}
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("pragma data_version").fetch_one(connection).await
}

/// Why a life ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollerEnded {
    #[error("{}", crate::store::lost_connection(.0))]
    Failed(#[from] sqlx::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database file did not answer within {after:?}")]
    Late { after: Duration },
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Migrations;

    /// Who shares a cache with a writer waits for him without an end, whatever `busy_timeout` says.
    #[tokio::test]
    async fn a_file_that_does_not_answer_ends_a_life_at_its_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("db"));
        let minute = Duration::from_secs(60);
        SqliteStore::new(options.clone(), 1, minute).migrate(Migrations::Up).await.unwrap();
        let store = Arc::new(SqliteStore::new(options.shared_cache(true), 1, minute));
        let mut writer = SqliteConnection::connect_with(store.options()).await.unwrap();
        let clock = SystemClock::default();
        let poller = Poller {
            store,
            cache: Arc::new(Cache::new(1, minute, minute)),
            clock: Arc::new(clock),
            counted: ChangesCounted::new(),
            applied: Applied::default(),
            interval: Duration::from_millis(1),
            lease: minute,
            deadline: Duration::from_secs(2),
        };
        let fence = &poller.cache.fence;
        fence.end_lease();
        let life = poller.life();
        tokio::pin!(life);
        let looks = async {
            while !fence.lease_is_live(clock.now()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = &mut life => panic!("{ended:?}"),
            () = looks => {}
        }
        sqlx::raw_sql("begin exclusive").execute(&mut writer).await.unwrap();
        let ended = timeout(minute, life).await.expect("a deadline");
        assert!(matches!(ended, Err(PollerEnded::Late { .. })), "{ended:?}");
        sqlx::raw_sql("commit").execute(&mut writer).await.unwrap();
    }
}
