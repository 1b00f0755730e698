//! Postgres: the statements that only it understands, and how it is connected to.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{Connection, Postgres, Row};
use uuid::Uuid;

use super::lanes::{Lanes, ask, typed};
use super::sql::{self, implement_store};
use super::{
    ChangesWanted, Config, ConfigEdit, LoggedChange, MOST_CHANGES, MigrateError, MigrationStatus,
    Migrations, NewConfig, NewNumber, Number, Route, Store, StoreError, Taken,
};
use crate::keyring::Sealed;
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::server_url::ServerUrl;

/// The tables in a schema of a Postgres database.
pub struct PostgresStore {
    lanes: Lanes<Postgres>,
    /// Without the limits that are right for one statement.
    options: PgConnectOptions,
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
        // pg_temp last: a temporary table of the same name must not stand before the real one.
        let path = format!("\"{}\",pg_temp", schema.replace('"', "\"\""));
        let options = options.application_name("trunkline").options([("search_path", path)]);
        // A statement that nobody waits for any more must end in the server, too.
        let limited = options.clone().options([("statement_timeout", deadline.as_millis())]);
        Self {
            lanes: Lanes::new(limited, connections, deadline),
            options,
            schema: schema.to_owned(),
            deadline,
        }
    }

    /// The options that its connections are opened with, for the listener's own one.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The schema that holds the tables.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// Brings the tables up to date, or down to `target` (0 is before the first migration).
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a migration that failed has changed nothing.
    pub async fn migrate(&self, to: Migrations) -> Result<MigrationStatus, MigrateError> {
        let mut connection = self.connect().await?;
        if to != Migrations::Status {
            self.create_schema(&mut connection).await?;
        }
        super::migrations::run(&mut connection, sqlx::migrate!("migrations/postgres"), to).await
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        tokio::time::timeout(self.deadline, PgConnection::connect_with(self.options()))
            .await
            .map_err(|_| StoreError::Timeout { after: self.deadline })?
            .map_err(|error| typed(&error, "connect"))
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

implement_store!(PostgresStore, Postgres, PgRow);

const SCHEMA_USABLE: &str = "
    select has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create')
    from pg_namespace where nspname = $1";

/// A text that is no UUID must not reach the cast, so the pattern guards it: every form that
/// Postgres reads, braces and missing hyphens included.
const ROUTE: &str = "
    select cast(n.rules as text) as rules, c.id, coalesce(c.name, '') as name, coalesce(c.livekit_url, '') as url,
        coalesce(c.livekit_api_key, '') as api_key,
        coalesce(c.livekit_api_secret, '') as api_secret, c.trunk_id, c.worker_name
    from voice_agent_numbers as n
    left join voice_agent_livekit as c on c.id = case
        when n.rules ->> 'livekit_config'
            ~* '^([0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|[{][0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}[}])$'
        then cast(n.rules ->> 'livekit_config' as uuid)
    end
    where ltrim(n.country_code, '+0 ') || cast(n.base_number as text) = $1 and n.tenant_id = $2
    order by n.id limit 1";

const ASSIGN: &str = "
    update voice_agent_numbers set rules =
        case when jsonb_typeof(rules) = 'object' then rules else '{}' end
        || jsonb_build_object('livekit_config', cast($3 as text))
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1 and tenant_id = $2";

const UNASSIGN: &str = "
    update voice_agent_numbers set rules =
        case when jsonb_typeof(rules) = 'object' then rules - 'livekit_config' else '{}' end
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1 and tenant_id = $2";

const CHANGES_AT: &str = "
    select seq, entity, fields, config_id, tenant_id, digits from voice_agent_changes
    where seq = any (cast(string_to_array($1, ',') as bigint[]))
    order by seq";
