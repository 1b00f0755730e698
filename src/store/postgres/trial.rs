//! Edits on trial, on Postgres.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tokio::time::timeout;

use super::PostgresStore;
use super::session::{PATH, query};
use crate::store::StoreError;
use crate::store::access::NUMBERS;
use crate::store::error::typed;
use crate::store::record::Record;
use crate::store::statement::{Statement, Value};
use crate::store::trial::{PATIENCE, Probe, Seen, Trial};

impl PostgresStore {
    /// Inserts, changes and removes a row of each table, rolls that back, and says which of it was
    /// logged. TRUNCATE is not tried: the catalogue tells.
    ///
    /// # Errors
    ///
    /// [`StoreError`] where nothing could be tried.
    pub async fn try_edits(&self) -> Result<Vec<Trial>, StoreError> {
        let late = |_| StoreError::Timeout { after: self.deadline };
        let mut trials = Vec::new();
        for probe in Probe::both(&self.templates) {
            let mut session = self.open_session().await?;
            let trial =
                timeout(self.deadline, self.try_one(session.connection(), &probe, &mut trials));
            trial.await.map_err(late)?.map_err(|error| typed(&error, "trial"))?;
        }
        let truncate = self.statement("inspect_truncate", TRUNCATE);
        let unheard = self.pool.read(&truncate, &[], |row| row.own_text("place")).await?;
        trials.extend(Probe::both(&self.templates).map(|Probe { table, .. }| Trial {
            operation: "truncate",
            table,
            seen: Ok(if unheard.iter().any(|place| place == table) {
                Seen::NotLogged
            } else {
                Seen::Logged
            }),
        }));
        Ok(trials)
    }

    async fn try_one(
        &self,
        connection: &mut PgConnection,
        probe: &Probe,
        trials: &mut Vec<Trial>,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        // Through a pooler nothing is set for this session yet.
        let set = format!(
            "set local search_path = {PATH}; set local lock_timeout = {}; \
             set local statement_timeout = {}",
            PATIENCE.as_millis(),
            self.deadline.as_millis()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *transaction).await?;
        let log = Log::seen_from(self, &mut transaction).await?;
        let name = probe.name();
        for (operation, edit) in &probe.edits {
            let before = log.many(probe, operation, &mut transaction).await?;
            let values: &[Value<'_>] = match *operation {
                "insert" if probe.table == NUMBERS => &[probe.id.into(), probe.key.into()],
                "insert" => &[probe.id.into(), name.as_str().into()],
                _ => &[probe.id.into()],
            };
            let done = query(edit, values).persistent(false).execute(&mut *transaction).await;
            let seen = match done {
                Err(error) => Err(typed(&error, edit.name)),
                Ok(done) if done.rows_affected() == 0 => Ok(Seen::NothingChanged),
                Ok(_) => Ok(match (before, log.many(probe, operation, &mut transaction).await?) {
                    (Some(before), Some(after)) if after > before => Seen::Logged,
                    (Some(_), Some(_)) => Seen::NotLogged,
                    _ => Seen::Unknown,
                }),
            };
            let is_over = !matches!(seen, Ok(Seen::Logged | Seen::NotLogged | Seen::Unknown));
            trials.push(Trial { operation, table: probe.table, seen });
            if is_over {
                break;
            }
        }
        transaction.rollback().await
    }
}

/// How a transaction sees what it wrote into the log.
struct Log {
    /// Reads or counts; `None` where neither can be done.
    look: Option<Statement>,
    reads: bool,
}

impl Log {
    /// A role that may read the log reads it. Another one, as most editors are, goes by how many rows
    /// the server counts that this transaction has written into it.
    async fn seen_from(
        store: &PostgresStore,
        connection: &mut PgConnection,
    ) -> Result<Self, sqlx::Error> {
        let ways = store.statement("inspect_log_reading", WAYS);
        let row = query(&ways, &[]).persistent(false).fetch_one(connection).await?;
        let (reads, counts): (bool, bool) = (row.try_get("reads")?, row.try_get("counts")?);
        let look = match (reads, counts) {
            (true, _) => Some(store.statement("trial", READ)),
            (false, true) => Some(store.statement("trial", COUNT)),
            (false, false) => None,
        };
        Ok(Self { look, reads })
    }

    async fn many(
        &self,
        probe: &Probe,
        operation: &str,
        connection: &mut PgConnection,
    ) -> Result<Option<i64>, sqlx::Error> {
        let Some(look) = &self.look else { return Ok(None) };
        let values = [probe.entity.into(), operation.into(), probe.key.into()];
        let values: &[Value<'_>] = if self.reads { &values } else { &[] };
        let row = query(look, values).persistent(false).fetch_one(connection).await?;
        row.int("many")
    }
}

const WAYS: &str = "
    select current_setting('track_counts') = 'on' as counts, coalesce(bool_and(
        has_schema_privilege(pg_namespace.oid, 'usage')
        and has_table_privilege(pg_class.oid, 'select')
        and not row_security_active(pg_class.oid)), false) as reads
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = {schema_text} and relname = 'voice_agent_changes'";

const READ: &str = "
    select count(*) as many from {schema}.voice_agent_changes
    where xact = pg_current_xact_id_if_assigned() and entity = $1 and operation = $2
        and coalesce(config_id, tenant_id) = $3";

const COUNT: &str = "
    select coalesce(sum(pg_stat_get_xact_tuples_inserted(pg_class.oid)), 0)::bigint as many
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = {schema_text} and relname = 'voice_agent_changes'";

/// Tables whose TRUNCATE would reach no trigger of ours. The bit of a trigger for it is 32.
const TRUNCATE: &str = "
    select place from (values ('voice_agent_livekit'), ('voice_agent_numbers')) as ours (place)
    where not exists (
        select from pg_trigger
        join pg_proc on pg_proc.oid = tgfoid
        join pg_class on pg_class.oid = tgrelid
        join pg_namespace on pg_namespace.oid = relnamespace
        where nspname = {schema_text} and cast(relname as text) = place
            and pronamespace = relnamespace and proname = 'trunkline_log_changes'
            and tgtype & 32 <> 0 and tgenabled in ('A',
                case current_setting('session_replication_role') when 'replica' then 'R' else 'O' end)
    )";
