//! How a connection to Postgres is opened, and what surrounds a statement on it.
//!
//! A pooler is detected: a new connection asks for its `search_path` as a startup option, and looks whether
//! that took effect. If not, every statement runs in a transaction that begins with `set local`, and nothing
//! stays prepared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Connection, Postgres, Row};

use crate::store::session::Session;
use crate::store::statement::{Statement, Value};

/// How connections are opened: directly, or through a pooler that gives each transaction another
/// session of the server.
pub(in crate::store) struct PostgresConnector {
    options: ArcSwap<Options>,
    timeout: String,
    /// What a transaction through a pooler begins with.
    prologue: String,
    is_pooled: AtomicBool,
    /// Whether a direct connection has proven to be one; then the others are not asked.
    is_direct: AtomicBool,
}

/// What a connection is opened with, of either kind.
struct Options {
    direct: PgConnectOptions,
    /// A direct one, to look at the change log.
    looking: PgConnectOptions,
    pooled: PgConnectOptions,
}

impl Options {
    fn new(options: PgConnectOptions, timeout: &str) -> Self {
        // A statement that nobody waits for any more must end in the server, too.
        let set = [("search_path", PATH), ("statement_timeout", timeout)];
        let direct = options.clone().options(set).options(NOTICE_THE_DEAD);
        Self {
            looking: direct.clone().options(PLAN_ONCE),
            direct,
            // Nothing but what every pooler knows.
            pooled: options.extra_float_digits(None).statement_cache_capacity(0),
        }
    }
}

impl PostgresConnector {
    pub(super) fn new(options: PgConnectOptions, deadline: Duration) -> Self {
        let timeout = deadline.as_millis().to_string();
        Self {
            options: ArcSwap::from_pointee(Options::new(options, &timeout)),
            prologue: format!(
                "begin; set local search_path = {PATH}; set local statement_timeout = {timeout}"
            ),
            is_pooled: AtomicBool::new(false),
            is_direct: AtomicBool::new(false),
            timeout,
        }
    }

    /// Opens the next connections with these options.
    pub(super) fn renew(&self, options: PgConnectOptions) {
        self.options.store(Arc::new(Options::new(options, &self.timeout)));
    }

    /// The options of a direct connection. `None`: a pooler stands before the database.
    pub(super) fn direct(&self) -> Option<PgConnectOptions> {
        (!self.is_pooled.load(Ordering::Relaxed)).then(|| self.options.load().direct.clone())
    }

    /// Opens a direct connection. `None`: what was asked for when it was opened is not so.
    async fn open_direct(
        &self,
        options: &PgConnectOptions,
    ) -> Result<Option<PgConnection>, sqlx::Error> {
        let mut connection = match PgConnection::connect_with(options).await {
            Err(sqlx::Error::Database(refusal))
                if refusal.code().as_deref() == Some(NOT_SUPPORTED)
                    || refusal.message().starts_with("unsupported startup parameter") =>
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
        let is_direct = path == PATH;
        self.is_direct.store(is_direct, Ordering::Relaxed);
        Ok(is_direct.then_some(connection))
    }
}

/// A connection to Postgres, or to a pooler before it.
pub(in crate::store) struct PostgresSession {
    connection: PgConnection,
    prologue: Option<String>,
    number: u64,
    /// Whether a transaction has begun that statements are a part of.
    in_transaction: bool,
}

impl PostgresSession {
    fn new(connection: PgConnection, prologue: Option<String>) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Self { connection, prologue, number, in_transaction: false }
    }

    /// Tells it from every other one of this process.
    pub(in crate::store) fn number(&self) -> u64 {
        self.number
    }

    /// The connection, for who begins and ends a transaction by himself.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Opens one to look at the change log.
    pub(in crate::store) async fn open_to_look(
        connector: &PostgresConnector,
    ) -> Result<Self, sqlx::Error> {
        Self::open_by(connector, |options| &options.looking).await
    }

    /// Opens one directly by these options, or through the pooler that stands before the database.
    async fn open_by(
        connector: &PostgresConnector,
        direct: impl Fn(&Options) -> &PgConnectOptions,
    ) -> Result<Self, sqlx::Error> {
        let options = connector.options.load_full();
        if !connector.is_pooled.load(Ordering::Relaxed) {
            if let Some(connection) = connector.open_direct(direct(&options)).await? {
                return Ok(Self::new(connection, None));
            }
            if !connector.is_pooled.swap(true, Ordering::Relaxed) {
                tracing::info!("a pooler stands before Postgres: each statement is a transaction");
            }
        }
        let connection = PgConnection::connect_with(&options.pooled).await?;
        Ok(Self::new(connection, Some(connector.prologue.clone())))
    }

    /// Asks for one row in one round trip: a statement that is to be prepared takes another one first.
    pub(in crate::store) async fn ask_plainly(
        &mut self,
        sql: &'static str,
    ) -> Result<PgRow, sqlx::Error> {
        sqlx::raw_sql(sql).fetch_one(&mut self.connection).await
    }

    async fn before(&mut self) -> Result<(), sqlx::Error> {
        let Some(prologue) = self.prologue.as_ref().filter(|_| !self.in_transaction) else {
            return Ok(());
        };
        // Made of a schema that the settings have checked, and a number.
        let prologue = sqlx::AssertSqlSafe(prologue.clone());
        sqlx::raw_sql(prologue).execute(&mut self.connection).await.map(drop)
    }

    async fn after(&mut self) -> Result<(), sqlx::Error> {
        if self.prologue.is_none() || self.in_transaction {
            return Ok(());
        }
        sqlx::raw_sql("commit").execute(&mut self.connection).await.map(drop)
    }
}

impl Session for PostgresSession {
    type Row = PgRow;
    type Connector = PostgresConnector;

    async fn open(connector: &PostgresConnector) -> Result<Self, sqlx::Error> {
        Self::open_by(connector, |options| &options.direct).await
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

    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        if self.prologue.is_some() {
            self.before().await?;
        } else {
            sqlx::raw_sql("begin").execute(&mut self.connection).await?;
        }
        self.in_transaction = true;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.in_transaction = false;
        sqlx::raw_sql("commit").execute(&mut self.connection).await.map(drop)
    }

    async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        self.in_transaction = false;
        sqlx::raw_sql("rollback").execute(&mut self.connection).await.map(drop)
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.connection.ping().await
    }

    fn keeps_statements(&self) -> bool {
        self.prologue.is_none()
    }
}

/// A statement with its values.
pub(super) fn query<'q>(
    statement: &Statement,
    values: &'q [Value<'_>],
) -> Query<'q, Postgres, PgArguments> {
    values.iter().fold(sqlx::query(statement.sql()), |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Id(id) => query.bind(*id),
        Value::Int(number) => query.bind(*number),
        Value::Real(number) => query.bind(*number),
        Value::Bool(truth) => query.bind(*truth),
        Value::Json(json) => query.bind(Json(*json)),
        Value::Places(places) => query.bind(*places),
        Value::Callers(callers) => {
            let digits: Vec<_> = callers.iter().map(|caller| caller.number.digits()).collect();
            let tenants: Vec<_> = callers.iter().map(|caller| caller.tenant.0).collect();
            query.bind(digits).bind(tenants)
        }
    })
}

/// How the proxy of a managed Postgres refuses startup options.
const NOT_SUPPORTED: &str = "0A000";
/// The `search_path` of every session. Each name of ours says its schema, and nobody may create in
/// these two: what somebody made in ours, or in a session of his own, cannot stand in the way of a
/// built-in function or operator.
pub(super) const PATH: &str = "pg_catalog,pg_temp";

/// Looks are the same statement again and again, and planning it would cost more than asking it. A plan
/// that was made while the log was short must not read all of it when it is long.
const PLAN_ONCE: [(&str, &str); 3] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];

/// Has the server end a session within half a minute of its client vanishing without a word. By
/// default that takes two hours, and a network that parts and heals often would fill the server.
const NOTICE_THE_DEAD: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];
