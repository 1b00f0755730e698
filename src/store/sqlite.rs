//! SQLite: the statements that only it understands, and how it is opened.

use std::time::Duration;

use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::types::Json;
use sqlx::{Connection, Row, Sqlite};
use uuid::Uuid;

use super::migrations;
use super::pool::{Lanes, Session, ask, typed};
use super::sql::{self, implement_store};
use super::{
    Config, ConfigEdit, LoggedChange, MOST_CHANGES, MigrateError, MigrationStatus, Migrations,
    NewConfig, NewNumber, Number, Route, Store, StoreError, Taken,
};
use crate::keyring::Sealed;
use crate::number::{Caller, ConfigId, E164, TenantId};
use crate::server_url::ServerUrl;

/// The tables in an SQLite file.
pub struct SqliteStore {
    lanes: Lanes<SqliteConnection>,
}

impl SqliteStore {
    /// Names the file; nothing is opened before the first statement, and a file that is not there
    /// is made by [`migrate`](Self::migrate) only.
    #[must_use]
    pub fn new(options: SqliteConnectOptions, connections: u32, deadline: Duration) -> Self {
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(deadline)
            .row_buffer_size(ROWS_IN_THE_AIR);
        Self { lanes: Lanes::new(options, connections, deadline) }
    }

    /// The options that its connections are opened with, for the poller's own one.
    pub(crate) fn options(&self) -> &SqliteConnectOptions {
        self.lanes.door()
    }

    /// Brings the tables up to date, or down to `target` (0 is before the first migration).
    ///
    /// # Errors
    ///
    /// [`MigrateError`]; a migration that failed has changed nothing.
    pub async fn migrate(&self, to: Migrations) -> Result<MigrationStatus, MigrateError> {
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        if to != Migrations::Status {
            let options = self.options().clone().create_if_missing(to == Migrations::Up);
            let mut connection = SqliteConnection::connect_with(&options)
                .await
                .map_err(|error| typed(&error, "connect"))?;
            migrations::run(&mut connection, &mut migrator, to).await?;
        }
        let applied = ask!(read self.lanes, "list_migrations", |db, keep| {
            sqlx::query_scalar(migrations::APPLIED).persistent(keep).fetch_all(db)
        });
        migrations::status(&migrator, applied)
    }
}

impl Session for SqliteConnection {
    type Db = Sqlite;
    type Door = SqliteConnectOptions;

    async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        Self::connect_with(options).await
    }

    fn connection(&mut self) -> &mut Self {
        self
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        Connection::ping(self).await
    }
}

implement_store!(SqliteStore, Sqlite, SqliteRow);

/// From the row that was read last, which shows that the log reaches back to it.
const CHANGES_AFTER: &str = "
    select seq, entity, fields, config_id, tenant_id, digits,
        (julianday('now') - julianday(changed_at)) * 86400.0 as age
    from voice_agent_changes
    where seq >= $1
    order by seq limit $2";

/// `unhex` gives null for what is no hex, and `id` is never null, so malformed text joins nothing.
const ROUTE: &str = "
    select cast(n.rules as text) as rules, n.provider, c.id, c.name, c.livekit_url as url, c.livekit_api_key as api_key,
        c.livekit_api_secret as api_secret, c.trunk_id, c.worker_name
    from voice_agent_numbers as n
    left join voice_agent_livekit as c
        on c.id = unhex(ltrim(rtrim(n.rules ->> 'livekit_config', '}'), '{'), '-')
    where ltrim(n.country_code, '+0 ') || cast(n.base_number as text) = $1 and n.tenant_id = $2
    order by n.id limit 1";

/// For each of many, as above. They come as JSON, since SQLite binds no lists, and are sorted so that
/// all rows are ready at once: handing over each by itself takes longer than reading it.
const ROUTES: &str = "
    select wanted.key as place, cast(n.rules as text) as rules, n.provider, c.id, c.name,
        c.livekit_url as url, c.livekit_api_key as api_key, c.livekit_api_secret as api_secret,
        c.trunk_id, c.worker_name
    from json_each($1) as wanted
    join voice_agent_numbers as n on n.id = (
        select id from voice_agent_numbers as one
        where ltrim(one.country_code, '+0 ') || cast(one.base_number as text)
                = wanted.value ->> 0
            and one.tenant_id = unhex(wanted.value ->> 1)
        order by one.id limit 1
    )
    left join voice_agent_livekit as c
        on c.id = unhex(ltrim(rtrim(n.rules ->> 'livekit_config', '}'), '{'), '-')
    order by wanted.key";

/// Binds what [`ROUTES`] looks for.
fn wanted<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    callers: &[Caller],
) -> Query<'q, Sqlite, SqliteArguments> {
    let wanted: Vec<_> = callers
        .iter()
        .map(|caller| [caller.number.digits(), caller.tenant.0.simple().to_string()])
        .collect();
    query.bind(Json(wanted))
}

const ASSIGN: &str = "
    update voice_agent_numbers set rules = json_set(
        case when json_type(rules) = 'object' then rules else '{}' end, '$.livekit_config', $3
    )
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1 and tenant_id = $2";

const UNASSIGN: &str = "
    update voice_agent_numbers set rules = json_remove(
        case when json_type(rules) = 'object' then rules else '{}' end, '$.livekit_config'
    )
    where ltrim(country_code, '+0 ') || cast(base_number as text) = $1 and tenant_id = $2";

/// Never the last one of those, so that whoever finds the row that he read last has missed none.
const PRUNE_CHANGES: &str = "
    delete from voice_agent_changes
    where seq < (
        select seq from voice_agent_changes
        where changed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', -$1 || ' seconds')
        order by seq desc limit 1
    )";

/// As many as any statement of a load returns: the thread that reads them need not wait for room.
const ROWS_IN_THE_AIR: usize = 1000;
