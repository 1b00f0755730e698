//! Postgres: the statements that only it understands, and how it is connected to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Connection, Postgres, Row};

use super::error::typed;
use super::pool::Lanes;
use super::session::Session;
use super::sql::{Dialect, SqlStore, Statements};
use super::statement::{Statement, Templates, Value};
use super::{MigrateError, MigrationStatus, Migrations, StoreError, migrations};

/// The tables in a schema of a Postgres database.
pub struct PostgresStore {
    lanes: Lanes<PostgresSession>,
    statements: Statements,
    templates: Templates,
    schema: String,
    deadline: Duration,
}

impl PostgresStore {
    /// Names the database; nothing is opened before the first statement.
    ///
    /// `connections` is how many statements may run at once, `deadline` how long one may take.
    #[must_use]
    pub fn new(
        options: PgConnectOptions,
        schema: &str,
        connections: u32,
        deadline: Duration,
    ) -> Self {
        let door = PostgresDoor::new(&options.application_name("trunkline"), schema, deadline);
        let templates = DIALECT.templates();
        Self {
            lanes: Lanes::new(door, connections, deadline),
            statements: Statements::new(&templates, &DIALECT),
            templates,
            schema: schema.to_owned(),
            deadline,
        }
    }

    /// The schema that holds the tables.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// How long one statement may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The options of a connection that nothing stands before, for the listener's own one. `None`:
    /// a pooler stands before the database.
    pub(crate) fn direct(&self) -> Option<&PgConnectOptions> {
        let door = self.lanes.door();
        (!door.is_pooled.load(Ordering::Relaxed)).then_some(&door.direct)
    }

    /// A statement of the reader of the change log.
    pub(super) fn statement(&self, name: &'static str, template: &str) -> Statement {
        self.templates.statement(name, template)
    }

    /// A connection of its own, for the reader of the change log.
    pub(super) async fn open_session(&self) -> Result<PostgresSession, StoreError> {
        PostgresSession::open(self.lanes.door()).await.map_err(|error| typed(&error, "connect"))
    }

    /// Records a look at the change log over a connection of its own.
    pub(super) async fn asking<T>(
        &self,
        look: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.lanes.asking("changes", look).await
    }

    /// One that looked alive turned out to be dead: those that loaders hold may be, too.
    pub(crate) fn give_up_connections(&self) {
        self.lanes.give_up();
    }

    /// Brings the tables up to date, or down to `target` (0 is before the first migration).
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a migration that failed has changed nothing.
    pub async fn migrate(&self, to: Migrations) -> Result<MigrationStatus, MigrateError> {
        let mut migrator = sqlx::migrate!("migrations/postgres");
        if to != Migrations::Status {
            let mut connection = self.connect().await?;
            self.create_schema(&mut connection).await?;
            migrations::run(&mut connection, &mut migrator, to).await?;
        }
        migrations::status(&self.lanes, &migrator).await
    }

    /// A connection whose statements may take as long as they need.
    async fn connect(&self) -> Result<PgConnection, MigrateError> {
        let pooled = || MigrateError::Failed {
            why: "a pooler in transaction mode stands before the database; migrate over a direct \
                  connection"
                .into(),
        };
        let session = tokio::time::timeout(self.deadline, self.open_session())
            .await
            .map_err(|_| StoreError::Timeout { after: self.deadline })??;
        if !session.keeps_statements() {
            return Err(pooled());
        }
        let patient = self.lanes.door().direct.clone().options([("statement_timeout", "0")]);
        let connection = tokio::time::timeout(self.deadline, PgConnection::connect_with(&patient))
            .await
            .map_err(|_| StoreError::Timeout { after: self.deadline })?
            .map_err(|error| typed(&error, "connect"))?;
        Ok(connection)
    }

    /// Looked for first, since `create schema if not exists` wants a right even where it exists.
    async fn create_schema(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let refused = |error| typed(&error, "create_schema");
        let usable: Option<bool> = sqlx::query_scalar(SCHEMA_USABLE)
            .bind(&self.schema)
            .fetch_optional(&mut *connection)
            .await
            .map_err(refused)?;
        if usable == Some(false) {
            let why = format!(
                "the role may not use the schema {}; grant it usage and create",
                self.schema
            );
            return Err(MigrateError::Failed { why });
        }
        if usable.is_none() {
            let statement = format!("create schema \"{}\"", self.schema.replace('"', "\"\""));
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(connection)
                .await
                .map_err(refused)?;
        }
        Ok(())
    }
}

/// How connections are opened: directly, or through a pooler that gives each transaction another
/// session of the server.
pub(super) struct PostgresDoor {
    direct: PgConnectOptions,
    pooled: PgConnectOptions,
    /// The `search_path` that a direct connection has.
    path: String,
    /// What a transaction through a pooler begins with.
    prologue: String,
    is_pooled: AtomicBool,
    /// Whether a direct connection has proven to be one; then the others are not asked.
    is_direct: AtomicBool,
}

impl PostgresDoor {
    fn new(options: &PgConnectOptions, schema: &str, deadline: Duration) -> Self {
        // pg_temp last: a temporary table of the same name must not stand before the real one.
        let path = format!("\"{}\",pg_temp", schema.replace('"', "\"\""));
        let timeout = deadline.as_millis().to_string();
        // A statement that nobody waits for any more must end in the server, too.
        let set = [("search_path", &*path), ("statement_timeout", &timeout)];
        Self {
            direct: options.clone().options(set).options(NOTICE_THE_DEAD),
            // Nothing but what every pooler knows.
            pooled: options.clone().extra_float_digits(None).statement_cache_capacity(0),
            prologue: format!(
                "begin; set local search_path = {path}; set local statement_timeout = {timeout}"
            ),
            path,
            is_pooled: AtomicBool::new(false),
            is_direct: AtomicBool::new(false),
        }
    }

    /// Opens a direct connection. `None`: what was asked for when it was opened is not so.
    async fn open_direct(&self) -> Result<Option<PgConnection>, sqlx::Error> {
        let mut connection = match PgConnection::connect_with(&self.direct).await {
            Err(sqlx::Error::Database(refusal))
                if refusal.message().starts_with("unsupported startup parameter") =>
            {
                return Ok(None);
            }
            opened => opened?,
        };
        if self.is_direct.load(Ordering::Relaxed) {
            return Ok(Some(connection));
        }
        // One round trip, which a prepared statement is not.
        let row = sqlx::raw_sql("show search_path").fetch_one(&mut connection).await?;
        let path: String = row.try_get(0)?;
        let is_direct = path == self.path;
        self.is_direct.store(is_direct, Ordering::Relaxed);
        Ok(is_direct.then_some(connection))
    }
}

/// A connection to Postgres, or to a pooler before it.
pub(super) struct PostgresSession {
    connection: PgConnection,
    prologue: Option<String>,
}

impl PostgresSession {
    async fn before(&mut self) -> Result<(), sqlx::Error> {
        let Some(prologue) = &self.prologue else { return Ok(()) };
        // Made of a schema that the settings have checked, and a number.
        let prologue = sqlx::AssertSqlSafe(prologue.clone());
        sqlx::raw_sql(prologue).execute(&mut self.connection).await.map(drop)
    }

    async fn after(&mut self) -> Result<(), sqlx::Error> {
        if self.prologue.is_none() {
            return Ok(());
        }
        sqlx::raw_sql("commit").execute(&mut self.connection).await.map(drop)
    }
}

impl Session for PostgresSession {
    type Row = PgRow;
    type Door = PostgresDoor;

    async fn open(door: &PostgresDoor) -> Result<Self, sqlx::Error> {
        if !door.is_pooled.load(Ordering::Relaxed) {
            if let Some(connection) = door.open_direct().await? {
                return Ok(Self { connection, prologue: None });
            }
            if !door.is_pooled.swap(true, Ordering::Relaxed) {
                tracing::info!("a pooler stands before Postgres: each statement is a transaction");
            }
        }
        let connection = PgConnection::connect_with(&door.pooled).await?;
        Ok(Self { connection, prologue: Some(door.prologue.clone()) })
    }

    async fn fetch<T: Send + Unpin>(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
        mut read: impl FnMut(&PgRow) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Vec<T>, sqlx::Error> {
        self.before().await?;
        let rows = query(statement, values)
            .persistent(self.keeps_statements())
            .try_map(|row| read(&row))
            .fetch_all(&mut self.connection)
            .await?;
        self.after().await?;
        Ok(rows)
    }

    async fn execute(
        &mut self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        self.before().await?;
        let query = query(statement, values).persistent(self.keeps_statements());
        let done = query.execute(&mut self.connection).await?;
        self.after().await?;
        Ok(done.rows_affected())
    }

    async fn execute_all(
        &mut self,
        statements: &[(Statement, Vec<Value<'_>>)],
    ) -> Result<(), sqlx::Error> {
        self.before().await?;
        let mut transaction = self.connection.begin().await?;
        for (statement, values) in statements {
            query(statement, values).persistent(false).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.after().await
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.connection.ping().await
    }

    fn keeps_statements(&self) -> bool {
        self.prologue.is_none()
    }
}

/// A statement with its values.
fn query<'q>(statement: &Statement, values: &'q [Value<'_>]) -> Query<'q, Postgres, PgArguments> {
    values.iter().fold(sqlx::query(statement.sql()), |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Id(id) => query.bind(*id),
        Value::Int(number) => query.bind(*number),
        Value::Real(number) => query.bind(*number),
        Value::Bool(truth) => query.bind(*truth),
        Value::Json(json) => query.bind(Json(*json)),
        Value::Callers(callers) => {
            let digits: Vec<_> = callers.iter().map(|caller| caller.number.digits()).collect();
            let tenants: Vec<_> = callers.iter().map(|caller| caller.tenant.0).collect();
            query.bind(digits).bind(tenants)
        }
    })
}

impl SqlStore for PostgresStore {
    type Session = PostgresSession;

    fn lanes(&self) -> &Lanes<PostgresSession> {
        &self.lanes
    }

    fn statements(&self) -> &Statements {
        &self.statements
    }
}

/// Has the server end a session within half a minute of its client vanishing without a word. By
/// default that takes two hours, and a network that parts and heals often would fill the server.
const NOTICE_THE_DEAD: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

const SCHEMA_USABLE: &str = "
    select has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create')
    from pg_namespace where nspname = $1";

/// What only Postgres understands.
const DIALECT: Dialect = Dialect {
    parts: &[("{age}", AGE), ("{config_named}", CONFIG_NAMED)],
    route: ROUTE,
    routes: ROUTES,
    assign: ASSIGN,
    unassign: UNASSIGN,
    prune_changes: PRUNE_CHANGES,
};

/// How long ago a change was written.
const AGE: &str = "cast(extract(epoch from clock_timestamp() - changed_at) as double precision)";

/// The id that the rules name; null for what is none. A text that is no UUID must not reach the cast,
/// so a pattern guards it: every form that Postgres reads, braces and missing hyphens included. The
/// usual form is known without it, since it takes longer than all else.
const CONFIG_NAMED: &str = "case
            when rules ->> 'livekit_config' like '________-____-____-____-____________'
                and length(translate(rules ->> 'livekit_config', '-', '')) = 32
                and translate(rules ->> 'livekit_config', '-0123456789abcdefABCDEF', '') = ''
            then cast(rules ->> 'livekit_config' as uuid)
            when rules ->> 'livekit_config'
                ~* '^([0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|[{][0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}[}])$'
            then cast(rules ->> 'livekit_config' as uuid)
        end";

const ROUTE: &str = "
    select cast(n.rules as text) as rules, n.provider, {credential_columns}
    from (
        select rules, provider, {config_named} as config
        from voice_agent_numbers
        where {this_number}
        order by id limit 1
    ) as n
    left join voice_agent_livekit as c on c.id = n.config";

/// For each of many, as above.
const ROUTES: &str = "
    select wanted.place - 1 as place, cast(n.rules as text) as rules, n.provider,
        {credential_columns}
    from unnest($1, $2) with ordinality as wanted (digits, tenant_id, place)
    cross join lateral (
        select rules, provider, {config_named} as config
        from voice_agent_numbers
        where {digits} = wanted.digits and voice_agent_numbers.tenant_id = wanted.tenant_id
        order by id limit 1
    ) as n
    left join voice_agent_livekit as c on c.id = n.config";

const ASSIGN: &str = "
    update voice_agent_numbers set rules =
        case when jsonb_typeof(rules) = 'object' then rules else '{}' end
        || jsonb_build_object('livekit_config', cast($3 as text))
    where {this_number}";

const UNASSIGN: &str = "
    update voice_agent_numbers set rules =
        case when jsonb_typeof(rules) = 'object' then rules - 'livekit_config' else '{}' end
    where {this_number}";

/// By transaction, so that whoever finds a row from before his horizon has missed none; and never
/// the last one of those. That one is also from before every transaction that is still open, since
/// no horizon is later than those.
const PRUNE_CHANGES: &str = "
    delete from voice_agent_changes
    where xact < (
        select xact from voice_agent_changes
        where changed_at < clock_timestamp() - make_interval(secs => $1)
            and xact < pg_snapshot_xmin(pg_current_snapshot())
        order by xact desc limit 1
    )";
