//! How the tables look to a role: its rights, row security, owners, and rows of the log that cannot
//! be.

use sqlx::postgres::PgRow;

use super::{PostgresStore, quoted};
use crate::store::access::{Grants, Right};
use crate::store::record::Record;
use crate::store::{Access, Inspection, MissingGrant, StoreError, UnlistedNode};

impl PostgresStore {
    /// How the tables look to the role that is connected.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let session = self.statement("inspect_session", SESSION);
        let read = |row: &PgRow| {
            let name = row.own_text("name")?;
            Ok((name, row.own_text("role")?, row.bool("encrypted")?))
        };
        let connected = self.pool.read_one(&session, &[], read).await?;
        let (name, role, encrypted) =
            connected.ok_or(StoreError::Row { statement: session.name })?;
        let hidden = self.statement("inspect_row_security", HIDDEN);
        let owners = self.statement("inspect_owners", OWNERS);
        let logs = self.statement("inspect_log", LOGS);
        let owner = |row: &PgRow| Ok((row.own_text("place")?, row.own_text("owner")?));
        Ok(Inspection {
            rights: self.rights(&name).await?,
            role,
            // Behind a pooler it is the pooler's way to the server that is encrypted or not.
            encrypted: encrypted.filter(|_| self.direct().is_some()),
            hidden: self.pool.read(&hidden, &[], |row| row.own_text("place")).await?,
            owners: self.pool.read(&owners, &[], owner).await?,
            logs: self.pool.read_one(&logs, &[], |row| row.bool("logs")).await?.flatten()
                != Some(false),
            schema: quoted(&self.schema),
        })
    }

    /// How many rows of the change log are of transactions that are yet to come: another cluster's,
    /// which a restore brought.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn future_changes(&self) -> Result<u64, StoreError> {
        let statement = self.statement("future_changes", FUTURE);
        let many = self.pool.read_one(&statement, &[], |row| row.own_int("many")).await?;
        Ok(many.and_then(|many| u64::try_from(many).ok()).unwrap_or(0))
    }

    /// Programs that are connected as nodes are and have no row. Names are seen by every role.
    pub(in crate::store) async fn unlisted_nodes(&self) -> Result<Vec<UnlistedNode>, StoreError> {
        let statement = self.statement("unlisted_nodes", UNLISTED).in_passing();
        let read = |row: &PgRow| {
            Ok(UnlistedNode {
                name: row.own_text("name")?,
                role: row.own_text("role")?,
                sessions: row.own_int("sessions")?.unsigned_abs(),
            })
        };
        self.pool.read(&statement, &[], read).await
    }

    /// What roles still lack of what they were to have.
    pub(super) async fn lacking(&self, grants: &Grants) -> Result<Vec<MissingGrant>, StoreError> {
        let mut lacking = Vec::new();
        let roles = [
            (&grants.service, Access::Service),
            (&grants.service, Access::Node),
            (&grants.editor, Access::Editor),
        ];
        let editing = grants.edit.then_some((&grants.service, Access::EditingService));
        let calling = grants.calls.then_some((&grants.service, Access::CallingService));
        let people = grants.people.then_some((&grants.service, Access::People));
        let auditing = grants.audit.then_some((&grants.service, Access::Sealer));
        let turning = grants.keys.then_some((&grants.service, Access::KeyKeeper));
        let more = editing.into_iter().chain(calling).chain(people).chain(auditing).chain(turning);
        for (role, access) in roles.into_iter().chain(more) {
            let inspection = Inspection {
                role: quoted(role),
                encrypted: None,
                hidden: Vec::new(),
                owners: Vec::new(),
                logs: true,
                schema: quoted(&self.schema),
                rights: self.rights(role).await?,
            };
            lacking.extend(inspection.lacks(access));
        }
        Ok(lacking)
    }

    async fn rights(&self, role: &str) -> Result<Vec<Right>, StoreError> {
        let statement = self.statement("inspect_rights", include_str!("inspection.sql"));
        let right = |row: &PgRow| {
            Ok(Right {
                place: row.own_text("place")?,
                privilege: row.own_text("privilege")?,
                held: row.bool("held")?.unwrap_or(false),
            })
        };
        self.pool.read(&statement, &[role.into()], right).await
    }
}

const SESSION: &str = "
    select cast(current_user as text) as name, quote_ident(current_user) as role,
        (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as encrypted";

const HIDDEN: &str = "
    select cast(relname as text) as place from pg_class
    join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = {schema_text} and row_security_active(pg_class.oid)
        and relname in ('voice_agent_changes', 'voice_agent_livekit', 'voice_agent_numbers')
    order by relname";

const OWNERS: &str = "
    select place, quote_ident(rolname) as owner from (
        select cast(relname as text) as place, relnamespace as namespace, relowner as owner
        from pg_class where relname in ('voice_agent_livekit', 'voice_agent_numbers',
            'voice_agent_changes', 'trunkline_migrations')
        union all
        select cast(proname as text) || '()', pronamespace, proowner
        from pg_proc where proname in ('trunkline_log_changes', 'trunkline_touch_updated_at')
    ) as ours
    join pg_namespace on pg_namespace.oid = namespace
    join pg_roles on pg_roles.oid = ours.owner
    where nspname = {schema_text}
    order by place";

/// What the function looks for itself, and what its insert takes.
const LOGS: &str = "
    select bool_and(has_schema_privilege(proowner, pg_namespace.oid, 'usage')
        and case relname
            when 'voice_agent_changes' then has_table_privilege(proowner, pg_class.oid, 'insert')
            else pg_has_role(proowner, relowner, 'usage')
        end) as logs
    from pg_proc
    join pg_namespace on pg_namespace.oid = pronamespace
    join pg_class on relnamespace = pronamespace
        and relname in ('voice_agent_livekit', 'voice_agent_numbers', 'voice_agent_changes')
    where nspname = {schema_text} and proname = 'trunkline_log_changes'";

/// By name, since a session does not say which process it is of.
const UNLISTED: &str = "
    select substr(a.application_name, 11) as name, coalesce(cast(a.usename as text), '') as role,
        count(*) as sessions
    from pg_stat_activity as a
    where a.application_name like 'trunkline/%' and a.datname = current_database()
        and a.pid <> pg_backend_pid()
        and not exists (
            select from {schema}.trunkline_nodes as n
            where n.name = substr(a.application_name, 11) and {counts}
        )
    group by 1, 2
    order by 1, 2 limit 10000";

const FUTURE: &str = "
    select count(*) as many from {schema}.voice_agent_changes
    where xact >= pg_snapshot_xmax(pg_current_snapshot())";
