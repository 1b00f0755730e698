//! SQLite: the statements that only it understands, and how it is opened.

mod trial;

use std::time::Duration;

use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::types::Json;
use sqlx::{Connection, Sqlite};

use super::error::typed;
use super::migrations::Book;
use super::pool::Pool;
use super::record::Record;
use super::session::Session;
use super::sql::{Dialect, SqlStore, Statements};
use super::statement::{Statement, Templates, Value};
use super::{AuditLog, MigrateError, MigrationStatus, Migrations, StoreError, sqlite_file};
use crate::number::Caller;

/// The tables in an SQLite file.
pub struct SqliteStore {
    pool: Pool<SqliteConnection>,
    statements: Statements,
    templates: Templates,
}

impl SqliteStore {
    /// Names the file; nothing is opened before the first statement, and a file that is not there
    /// is made by [`migrate`](Self::migrate) only.
    #[must_use]
    pub(crate) fn new(options: SqliteConnectOptions, connections: u32, deadline: Duration) -> Self {
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(deadline)
            .row_buffer_size(ROWS_IN_THE_AIR);
        let pool = Pool::new(options, connections, deadline);
        let templates = DIALECT.templates(&[("{schema}", "main")]);
        Self { pool, statements: Statements::new(&templates, &DIALECT), templates }
    }

    /// The options that its connections are opened with, for the poller's own one.
    pub(crate) fn options(&self) -> &SqliteConnectOptions {
        self.pool.connector()
    }

    /// Whether the triggers are there that write the change log; without them what it says is worth
    /// nothing. A tool that rebuilds a table may leave them out.
    pub(crate) async fn audit(&self) -> Result<(), StoreError> {
        let statement = self.templates.statement("triggers", LOGGING_TRIGGERS);
        let many = self.pool.read_one(&statement, &[], |row| row.own_int("many")).await?;
        if many.unwrap_or(0) < TRIGGERS { Err(StoreError::TriggersMissing) } else { Ok(()) }
    }

    /// Makes the triggers again that a rebuilt table lost, or that went with the old table when it was
    /// given another name.
    async fn put_back_triggers(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), MigrateError> {
        match self.audit().await {
            Err(StoreError::TriggersMissing) => {}
            Ok(()) if self.unaudited().await?.is_empty() => return Ok(()),
            audited => audited?,
        }
        let again =
            triggers().map(|(name, text)| format!("drop trigger if exists {name};\n{text}\n"));
        let again = format!("begin immediate;\n{}commit;", again.collect::<String>());
        sqlx::raw_sql(sqlx::AssertSqlSafe(again))
            .execute(connection)
            .await
            .map_err(|error| typed(&error, "put_back_triggers"))?;
        Ok(())
    }

    /// Brings the tables up to date, or down to `target` (0 is before the first migration).
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a migration that failed has changed nothing.
    pub async fn migrate(&self, to: Migrations) -> Result<MigrationStatus, MigrateError> {
        let book = Book::new(&sqlx::migrate!("migrations/sqlite"), &[], &self.templates);
        if to == Migrations::Up {
            let fill = async |new: &mut _| book.run(new, to).await;
            sqlite_file::make(self.options(), fill).await?;
        }
        if to != Migrations::Status {
            let mut connection = SqliteConnection::connect_with(self.options())
                .await
                .map_err(|error| typed(&error, "connect"))?;
            book.run(&mut connection, to).await?;
            if to == Migrations::Up {
                self.put_back_triggers(&mut connection).await?;
            }
        }
        book.status(&self.pool).await
    }
}

impl Session for SqliteConnection {
    type Row = SqliteRow;
    type Connector = SqliteConnectOptions;

    async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        Self::connect_with(options).await
    }

    async fn fetch<T: Send + Unpin>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        mut read: impl FnMut(&SqliteRow) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Vec<T>, sqlx::Error> {
        query(statement, values).try_map(|row| read(&row)).fetch_all(self).await
    }

    async fn execute(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        Ok(query(statement, values).execute(self).await?.rows_affected())
    }

    async fn execute_all(
        &mut self,
        statements: &[(Statement, Vec<Value<'_>>)],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = Connection::begin(self).await?;
        for (statement, values) in statements {
            query(statement, values).persistent(false).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("begin immediate").execute(self).await.map(drop)
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("commit").execute(self).await.map(drop)
    }

    async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("rollback").execute(self).await.map(drop)
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        Connection::ping(self).await
    }
}

/// A statement with its values.
fn query<'q>(statement: &Statement, values: &'q [Value<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    values.iter().fold(sqlx::query(statement.sql()), |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Id(id) => query.bind(*id),
        Value::Int(number) => query.bind(*number),
        Value::Real(number) => query.bind(*number),
        Value::Bool(truth) => query.bind(*truth),
        Value::Json(json) => query.bind(Json(*json)),
        // SQLite binds no lists.
        #[cfg(feature = "postgres")]
        Value::Places(places) => query.bind(Json(*places)),
        Value::Callers(callers) => {
            let pair =
                |caller: &Caller| [caller.number.digits(), caller.tenant.0.simple().to_string()];
            query.bind(Json(callers.iter().map(pair).collect::<Vec<_>>()))
        }
    })
}

impl SqlStore for SqliteStore {
    type Session = SqliteConnection;

    fn pool(&self) -> &Pool<SqliteConnection> {
        &self.pool
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }
}

/// A quarter of an hour, doubled by each further failure, up to sixteen hours.
const LOCKED_UNTIL: &str =
    "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (900 << min(failures - 9, 6)) || ' seconds')";

/// What only SQLite understands.
const DIALECT: Dialect = Dialect {
    parts: &[
        ("{age}", AGE),
        ("{config_named}", CONFIG_NAMED),
        ("{node_age}", "((julianday('now') - julianday(n.refreshed_at)) * 86400.0)"),
        ("{pair_age}", "((julianday('now') - julianday(p.since)) * 86400.0)"),
        ("{call_age}", "((julianday('now') - julianday(k.dialled_at)) * 86400.0)"),
        ("{counts_for}", "max(n.max_stale, 30)"),
        ("{applied}", "cast($11 as integer)"),
        ("{now}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"),
        ("{for_update}", ""),
        ("{locked_until}", LOCKED_UNTIL),
        ("{clock}", "((julianday('now') - 2440587.5) * 86400.0)"),
        ("{login}", "cast(null as text)"),
        ("{listed_1}", "select unhex(value) from json_each($1)"),
        ("{listed_3}", "select unhex(value) from json_each($3)"),
        ("{batch_age}", "((julianday('now') - julianday(b.beat_at)) * 86400.0)"),
        ("{json_6}", "$6"),
        ("{ms_of_change}", MS_OF_CHANGE),
        (
            "{time_of_change}",
            "case when c.updated_at between '1900-01-01' and '9999-01-01' then c.updated_at end",
        ),
        ("{texts_3}", "select value from json_each($3)"),
        ("{tenant_of_7}", "unhex(substr($7, 1, 32))"),
        ("{texts_2}", "json_each($2) as p"),
        ("{key_of_config}", "lower(hex(c.id))"),
        ("{to_write_numbers}", ""),
        ("{to_write_config}", ""),
        ("{to_write_keys}", ""),
        ("{to_name_config}", ""),
        ("{rules_with_2}", "json_set({rules_object}, '$.livekit_config', $2)"),
        ("{rules_without}", "json_remove({rules_object}, '$.livekit_config')"),
        ("{rules_object}", "case when json_type(rules) = 'object' then rules else '{}' end"),
        ("{answer_age}", "((julianday('now') - julianday(answered_at)) * 86400.0)"),
        ("{time_of_5}", "strftime('%Y-%m-%dT%H:%M:%fZ', $5, 'unixepoch')"),
        ("{after_2}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', $2 || ' seconds')"),
        ("{blocked_age}", "((julianday('now') - julianday(blocked_since)) * 86400.0)"),
        ("{after_3}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', $3 || ' seconds')"),
        ("{after_5}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', $5 || ' seconds')"),
        ("{after_9}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', $9 || ' seconds')"),
        ("{audit_at}", "a.at"),
        ("{audit_xact}", "cast(null as text)"),
        ("{audit_login}", "cast(null as text)"),
        ("{audit_address}", "cast(null as text)"),
        ("{audit_time_2}", "strftime('%Y-%m-%dT%H:%M:%fZ', $2, 'unixepoch')"),
        ("{audit_time_3}", "strftime('%Y-%m-%dT%H:%M:%fZ', $3, 'unixepoch')"),
        ("{audit_horizon}", "cast(null as text)"),
        // One writer at a time makes the order of numbers that of commits.
        (
            "{may_be_new}",
            "a.id > (select coalesce(max(audit_id), 0) from {schema}.trunkline_audit_chain)",
        ),
        ("{audit_listed_1}", "json_each($1) as t"),
        ("{audit_links_1}", "json_each($1) as t"),
        ("{ago_1}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', -$1 || ' seconds')"),
    ],
    route: ROUTE,
    routes: ROUTES,
    assign: ASSIGN,
    unassign: UNASSIGN,
    prune_changes: PRUNE_CHANGES,
    nodes_and_change: NODES_AND_CHANGE,
    // The transaction is the lock.
    audit_lock: "select 1 as got",
    prune_audit: None,
    unaudited: UNAUDITED,
    knows_keys: KNOWS_KEYS,
    hold_keys: "select epoch from {schema}.trunkline_key_state",
    reseal_all: RESEAL_ALL,
    knows_pairs: "select count(*) as many from {schema}.sqlite_master where name = 'trunkline_pairs'",
    knows_calls: "select count(*) as many from {schema}.sqlite_master where name = 'trunkline_calls'",
    marks_resealing: true,
    say_behalf: "insert into {schema}.trunkline_audit_session (claimed) values ($1)",
    unsay_behalf: Some("delete from {schema}.trunkline_audit_session"),
    #[cfg(feature = "server")]
    own_written: NEWEST_WRITTEN,
    #[cfg(feature = "server")]
    newest_written: NEWEST_WRITTEN,
};

const KNOWS_KEYS: &str = "
    select case when max(name = 'trunkline_keys') then 3 else count(*) end as many
    from {schema}.sqlite_master
    where type = 'table' and name in ('trunkline_key_state', 'trunkline_keys')";

/// How long ago a change was written.
const AGE: &str = "(julianday('now') - julianday(changed_at)) * 86400.0";

/// The id that the rules name. `unhex` gives null for what is no hex, and an id is never null, so
/// malformed text joins nothing.
const CONFIG_NAMED: &str = "unhex(ltrim(rtrim(n.rules ->> 'livekit_config', '}'), '{'), '-')";

const ROUTE: &str = "
    select {rules_columns}, {credential_columns}
    from {schema}.voice_agent_numbers as n
    left join {schema}.voice_agent_livekit as c on c.id = {config_named}
    where {this_number}
    order by n.id limit 1";

/// For each of many, as above. They come as JSON, and are sorted so that all rows are ready at once:
/// handing over each by itself takes longer than reading it.
const ROUTES: &str = "
    select wanted.key as place, {rules_columns}, {credential_columns}
    from json_each($1) as wanted
    join {schema}.voice_agent_numbers as n on n.id = (
        select one.id from {schema}.voice_agent_numbers as one
        where {digits} = wanted.value ->> 0 and one.tenant_id = unhex(wanted.value ->> 1)
        order by one.id limit 1
    )
    left join {schema}.voice_agent_livekit as c on c.id = {config_named}
    order by wanted.key";

const ASSIGN: &str = "
    update {schema}.voice_agent_numbers
    set rules = json_set({rules_object}, '$.livekit_config', $3)
    where {this_number}";

const UNASSIGN: &str = "
    update {schema}.voice_agent_numbers set rules = {rules_without}
    where {this_number}";

/// Of a transaction that writes, its own: there is one writer at a time.
#[cfg(feature = "server")]
const NEWEST_WRITTEN: &str = "
    select max(seq) as seq, max(seq) as place from {schema}.voice_agent_changes
    having max(seq) is not null";

/// Never the last one of those, so that whoever finds the row that he read last has missed none.
const PRUNE_CHANGES: &str = "
    delete from {schema}.voice_agent_changes
    where seq < (
        select seq from {schema}.voice_agent_changes
        where changed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', -$1 || ' seconds')
        order by seq desc limit 1
    )";

/// One writer at a time makes the order of places that of commits.
const NODES_AND_CHANGE: &str = "
    select {node_columns}, coalesce(n.applied >= $1, 0) as seen
    from {schema}.trunkline_nodes as n
    where {counts}
    order by n.name, n.id limit 10000";

/// One writer at a time has nobody to wait for.
const RESEAL_ALL: &str = "
    update {schema}.voice_agent_livekit set livekit_api_secret = given.value ->> 'sealed'
    from json_each($1) as given
    where voice_agent_livekit.id = unhex(given.value ->> 'id')
        and livekit_api_secret = given.value ->> 'was'
        and coalesce(livekit_url, '') = given.value ->> 'url'
        and coalesce(livekit_api_key, '') = given.value ->> 'key'
        and (select epoch from {schema}.trunkline_key_state) = $2
    returning voice_agent_livekit.id as id";

/// Every trigger that the steps make, its name and its text: where two make it, the newer one last.
fn triggers() -> impl Iterator<Item = (&'static str, &'static str)> {
    const STEPS: [&str; 12] = [
        include_str!("../../migrations/sqlite/0001_livekit_configs.up.sql"),
        include_str!("../../migrations/sqlite/0003_changes.up.sql"),
        include_str!("../../migrations/sqlite/0006_clients.up.sql"),
        include_str!("../../migrations/sqlite/0009_disabled_configs.up.sql"),
        include_str!("../../migrations/sqlite/0011_audit.up.sql"),
        include_str!("../../migrations/sqlite/0012_people.up.sql"),
        include_str!("../../migrations/sqlite/0013_keys.up.sql"),
        include_str!("../../migrations/sqlite/0014_rollout.up.sql"),
        include_str!("../../migrations/sqlite/0015_batches.up.sql"),
        include_str!("../../migrations/sqlite/0016_tenants.up.sql"),
        include_str!("../../migrations/sqlite/0017_pairs.up.sql"),
        include_str!("../../migrations/sqlite/0018_rollout_runs.up.sql"),
    ];
    let made =
        STEPS.into_iter().flat_map(|step| step.match_indices(MADE).map(|(at, _)| &step[at..]));
    made.filter_map(|text| {
        let name = text[MADE.len()..].split_whitespace().next()?;
        Some((name, text.split_inclusive("\nend;").next()?))
    })
}

/// Those that write the audit, and those that keep it as it was written.
const UNAUDITED: &str = "
    select watched.column2 as place, happening.column1 as what
    from (values ('config', 'voice_agent_livekit'), ('number', 'voice_agent_numbers'),
        ('client', 'trunkline_clients'), ('user', 'trunkline_users'),
        ('tenant', 'trunkline_tenants')) as watched
    cross join (values ('insert'), ('replace'), ('update'), ('delete')) as happening
    where exists (select 1 from {schema}.sqlite_master where name = 'trunkline_audit')
        and exists (select 1 from {schema}.sqlite_master where name = watched.column2)
        and not exists (
            select 1 from {schema}.sqlite_master
            where type = 'trigger' and tbl_name = watched.column2
                and name = 'trunkline_audit_' || watched.column1 || '_' || happening.column1
        )
    union all
    select kept.column1, 'keeping'
    from (values ('trunkline_audit'), ('trunkline_audit_chain')) as kept
    where exists (select 1 from {schema}.sqlite_master where name = 'trunkline_audit')
        and 3 > (
            select count(*) from {schema}.sqlite_master
            where type = 'trigger' and tbl_name = kept.column1
                and substr(name, 1, 16) = 'trunkline_audit_'
        )
    order by 1, 2";

/// Whole milliseconds, as times are written here.
const MS_OF_CHANGE: &str = "cast(strftime('%s', {time_of_change}) as integer) * 1000
        + cast(substr(strftime('%f', {time_of_change}), 4) as integer)";

const MADE: &str = "create trigger ";

/// Those of clients, people and rollout count where their tables are.
const LOGGING_TRIGGERS: &str = "
    select count(*) filter (where type = 'trigger' and substr(name, 1, 14) = 'trunkline_log_'
            and tbl_name in ('voice_agent_livekit', 'voice_agent_numbers', 'trunkline_clients',
                'trunkline_rollout', 'trunkline_users', 'trunkline_sessions'))
        - 3 * count(*) filter (where type = 'table' and name in ('trunkline_clients',
            'trunkline_rollout', 'trunkline_users', 'trunkline_sessions')) as many
    from {schema}.sqlite_master";
/// Insert, replace, update and delete, on two tables. (Insert, update and delete on the others are taken
/// off.)
const TRIGGERS: i64 = 8;

/// As many as any statement of a load returns: the thread that reads them need not wait for room.
const ROWS_IN_THE_AIR: usize = 1000;
