//! A migration waits for a lock no longer than `lock_timeout`. This finds out who holds it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use tokio::time::sleep;

use super::MigrateError;

/// Who stands in the way, as far as was seen last.
#[derive(Default)]
struct SeenHolder(Mutex<Option<String>>);

/// Bounds the waiting of a session, unless its role or its options have done so. Returns the
/// process that serves it.
pub(super) async fn bound(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query(BOUND).execute(&mut *connection).await?;
    sqlx::query_scalar("select pg_catalog.pg_backend_pid()").fetch_one(connection).await
}

/// Migrates, and looks over another connection who is in the way while that waits.
pub(super) async fn naming<T>(
    options: Option<&PgConnectOptions>,
    waiting: i32,
    migrate: impl Future<Output = Result<T, MigrateError>>,
) -> Result<T, MigrateError> {
    let seen = SeenHolder::default();
    let migrated = tokio::select! {
        migrated = migrate => migrated,
        // Who cannot look goes without the name.
        never = look(options, waiting, &seen) => never,
    };
    match (migrated, seen.0.into_inner().unwrap_or_else(PoisonError::into_inner)) {
        (Err(error), Some(holder)) => {
            let why = match error {
                MigrateError::Failed { why } => why,
                other => other.to_string(),
            };
            Err(MigrateError::Failed { why: format!("{why}; the lock is held by {holder}") })
        }
        (migrated, _) => migrated,
    }
}

async fn look<T>(options: Option<&PgConnectOptions>, waiting: i32, seen: &SeenHolder) -> T {
    sleep(LOOK).await;
    if let Some(options) = options
        && let Ok(mut connection) = PgConnection::connect_with(options).await
    {
        while let Ok(found) =
            sqlx::query(HOLDER).bind(waiting).fetch_optional(&mut connection).await
        {
            let holder = found.and_then(|row| row.try_get(0).ok());
            *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = holder;
            sleep(LOOK).await;
        }
    }
    std::future::pending().await
}

const LOOK: Duration = Duration::from_millis(200);
const BOUND: &str = "select pg_catalog.set_config('lock_timeout', '10s', false) \
                     where pg_catalog.current_setting('lock_timeout') in ('0', '0ms')";
const HOLDER: &str = "
    select pg_catalog.format('process %s of role %s, application \"%s\", from %s, %s, in a transaction for %s s',
        a.pid, a.usename, a.application_name, coalesce(a.client_addr::pg_catalog.text, 'this machine'),
        coalesce(a.state, 'of another database'),
        coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8, 0))
    from pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) as b(pid)
    join pg_catalog.pg_stat_activity as a on a.pid = b.pid
    limit 1";
