//! The rows of calls. Only how times are written differs between the databases.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::SqlStore;
use super::asked::pattern;
use crate::number::{ConfigId, E164, TenantId};
use crate::store::StoreError;
use crate::store::calls::{
    CallAttempt, CallFilter, CallLeft, CallLine, CallRow, CallRows, CallState, NewCall,
};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};

/// The statements.
pub(super) struct Calls {
    begin: Statement,
    by_key: Statement,
    by_id: Statement,
    list: Statement,
    take_over: Statement,
    dial: Statement,
    end: Statement,
    leave: Statement,
    news: Statement,
    forget: Statement,
}

impl Calls {
    pub(super) fn new(templates: &Templates) -> Self {
        Self {
            begin: templates.statement("begin_call", BEGIN),
            by_key: templates.statement("call_by_key", &CALL.replace("{which}", BY_KEY)),
            by_id: templates.statement("call", &CALL.replace("{which}", BY_ID)),
            list: templates.statement("calls", LIST),
            take_over: templates.statement("take_over_call", TAKE_OVER),
            dial: templates.statement("dial_call", DIAL),
            end: templates.statement("end_call", END),
            leave: templates.statement("leave_call", LEAVE),
            news: templates.statement("news_of_calls", &CALL.replace(CALL_WHERE, NEWS)),
            forget: templates.statement("forget_calls", FORGET).in_passing(),
        }
    }
}

#[async_trait]
impl<S: SqlStore> CallRows for S {
    async fn begin_call(&self, call: &NewCall<'_>) -> Result<bool, StoreError> {
        let CallAttempt { claim, node, within } = call.attempt;
        let values = [
            call.id.into(),
            call.client.into(),
            call.key.into(),
            call.body.into(),
            call.caller.tenant.0.into(),
            call.caller.number.digits().into(),
            claim.into(),
            node.into(),
            Value::Real(within.as_secs_f64()),
        ];
        Ok(self.pool().write(&self.statements().calls.begin, &values).await? > 0)
    }

    async fn call_by_key(&self, client: Uuid, key: &str) -> Result<Option<CallRow>, StoreError> {
        let values = [client.into(), key.into()];
        self.pool().read_one(&self.statements().calls.by_key, &values, read_call).await
    }

    async fn call(&self, client: Uuid, id: Uuid) -> Result<Option<CallRow>, StoreError> {
        let values = [client.into(), id.into()];
        self.pool().read_one(&self.statements().calls.by_id, &values, read_call).await
    }

    async fn calls(
        &self,
        client: Uuid,
        CallFilter { room, digits }: CallFilter<'_>,
        most: usize,
    ) -> Result<Vec<CallLine>, StoreError> {
        let like = |text: Option<&str>| Value::Text(text.map(|text| pattern(text).into()));
        let values = [client.into(), like(room), like(digits), most.into()];
        self.pool().read(&self.statements().calls.list, &values, read_line).await
    }

    async fn take_over_call(
        &self,
        id: Uuid,
        from: Uuid,
        CallAttempt { claim, node, within }: CallAttempt,
    ) -> Result<bool, StoreError> {
        let within = Value::Real(within.as_secs_f64());
        let values = [id.into(), from.into(), claim.into(), node.into(), within];
        Ok(self.pool().write(&self.statements().calls.take_over, &values).await? > 0)
    }

    async fn dial_call(
        &self,
        id: Uuid,
        claim: Uuid,
        room: &str,
        config: Option<ConfigId>,
        callee: E164,
    ) -> Result<bool, StoreError> {
        let config = config.map(|config| config.0);
        let values = [id.into(), claim.into(), room.into(), config.into(), callee.digits().into()];
        Ok(self.pool().write(&self.statements().calls.dial, &values).await? > 0)
    }

    async fn end_call(
        &self,
        id: Uuid,
        claim: Uuid,
        outcome: &str,
        answer: &str,
    ) -> Result<bool, StoreError> {
        let values = [id.into(), claim.into(), outcome.into(), answer.into()];
        Ok(self.pool().write(&self.statements().calls.end, &values).await? > 0)
    }

    async fn leave_call(
        &self,
        room: &str,
        config: Option<ConfigId>,
        by_environment: bool,
        (reason, sip_status): (Option<&str>, Option<&str>),
    ) -> Result<bool, StoreError> {
        let config = config.map(|config| config.0);
        let by_environment = i64::from(by_environment).into();
        let values = [room.into(), config.into(), reason.into(), sip_status.into(), by_environment];
        Ok(self.pool().write(&self.statements().calls.leave, &values).await? > 0)
    }

    async fn news_of_calls(
        &self,
        client: Uuid,
        tenant: Option<TenantId>,
        within: Duration,
    ) -> Result<Vec<(TenantId, CallRow)>, StoreError> {
        let within = Value::Real(within.as_secs_f64());
        let values = [within, client.into(), tenant.map(|tenant| tenant.0).into()];
        let read = |row: &_| Ok((TenantId(Record::own_id(row, "tenant_id")?), read_call(row)?));
        self.pool().read(&self.statements().calls.news, &values, read).await
    }

    async fn forget_calls(&self, older_than: Duration) -> Result<u64, StoreError> {
        let values = [Value::Real(older_than.as_secs_f64())];
        self.pool().write(&self.statements().calls.forget, &values).await
    }
}

fn read_call(row: &impl Record) -> Result<CallRow, Error> {
    Ok(CallRow {
        id: row.own_id("id")?,
        body: row.own_text("body_hash")?,
        state: CallState::of(&row.own_text("state")?),
        claim: row.own_id("claim")?,
        is_abandoned: row.own_int("abandoned")? > 0,
        room: row.text("room")?,
        config: row.id("config_id")?.map(ConfigId),
        answer: row.text("answer")?,
        ended_at: row.time("ended_at")?,
        left: match row.time("left_at")? {
            Some(at) => {
                let (reason, sip_status) =
                    (row.text("disconnect_reason")?, row.text("sip_call_status")?);
                Some(CallLeft { at, reason, sip_status })
            }
            None => None,
        },
    })
}

fn read_line(row: &impl Record) -> Result<CallLine, Error> {
    Ok(CallLine {
        id: row.own_id("id")?,
        tenant: TenantId(row.own_id("tenant_id")?),
        caller: row.own_text("caller")?,
        callee: row.text("callee")?,
        room: row.text("room")?,
        state: CallState::of(&row.own_text("state")?),
        outcome: row.text("outcome")?,
        created_at: row.time("created_at")?,
    })
}

const BEGIN: &str = "
    insert into {schema}.trunkline_calls
        (id, client_id, idempotency_key, body_hash, tenant_id, caller, claim, node, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, {after_9})
    on conflict (client_id, idempotency_key) do nothing";

/// A node that is not listed cannot be missed, so there the time decides.
const CALL: &str = "
    select c.id, c.tenant_id, substr(c.body_hash, 1, 64) as body_hash, substr(c.state, 1, 16) as state, c.claim,
        substr(c.room, 1, 255) as room, c.config_id,
        case when octet_length(c.answer) <= 262144 then c.answer end as answer,
        c.ended_at, c.left_at, substr(c.disconnect_reason, 1, 64) as disconnect_reason,
        substr(c.sip_call_status, 1, 64) as sip_call_status,
        cast(case
            when c.state = 'ended' then 0
            when c.expires_at < {now} then 1
            when c.node is not null and not exists (
                select 1 from {schema}.trunkline_nodes as n where n.id = c.node and {counts}
            ) then 1
            else 0
        end as bigint) as abandoned
    from {schema}.trunkline_calls as c
    where c.client_id = $1 and {which}";

const LIST: &str = "
    select c.id, c.tenant_id, substr(c.caller, 1, 32) as caller, substr(c.callee, 1, 32) as callee,
        substr(c.room, 1, 255) as room, substr(c.state, 1, 16) as state,
        substr(c.outcome, 1, 64) as outcome, c.created_at
    from {schema}.trunkline_calls as c
    where c.client_id = $1
        and ($2 is null or lower(c.room) like $2 escape '\\')
        and ($3 is null or c.caller like $3 escape '\\' or c.callee like $3 escape '\\')
    order by c.created_at desc, c.id desc
    limit $4";
/// What of [`CALL`] says which.
const CALL_WHERE: &str = "where c.client_id = $1 and {which}";
const NEWS: &str = "where c.client_id = $2 and ($3 is null or c.tenant_id = $3)
        and (c.dialled_at > {ago_1} or c.ended_at > {ago_1} or c.left_at > {ago_1})
    order by c.created_at, c.id
    limit 10000";

const BY_KEY: &str = "c.idempotency_key = $2";
const BY_ID: &str = "c.id = $2";

const TAKE_OVER: &str = "
    update {schema}.trunkline_calls set claim = $3, node = $4, expires_at = {after_5}
    where id = $1 and claim = $2 and state = 'accepted'";

/// An attempt whose credentials were refused in between says so again, with others.
const DIAL: &str = "
    update {schema}.trunkline_calls
    set state = 'dialling', room = $3, config_id = $4, callee = $5, dialled_at = {now}
    where id = $1 and claim = $2 and state <> 'ended'";

/// One that was given up was ended as `in_doubt`; what its own attempt knows is better than that.
const END: &str = "
    update {schema}.trunkline_calls set state = 'ended', outcome = $3, answer = $4, ended_at = {now}
    where id = $1 and claim = $2 and (state <> 'ended' or outcome = 'in_doubt' and $3 <> 'in_doubt')";

/// The phone leaves before the room is closed, so the first one tells more.
const LEAVE: &str = "
    update {schema}.trunkline_calls
    set left_at = {now}, disconnect_reason = substr($3, 1, 64), sip_call_status = substr($4, 1, 64)
    where room = $1 and (config_id = $2 or config_id is null and $5 = 1) and left_at is null";

const FORGET: &str = "delete from {schema}.trunkline_calls where created_at < {ago_1}";

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;
    use crate::number::Caller;
    use crate::settings::Settings;
    use crate::store::{Migrations, OpenStore};

    /// Of calls and of answers to keys, what is older than it is kept goes, and nothing else.
    #[tokio::test]
    async fn what_is_old_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("calls.db").display());
        let settings = Settings::builder().database_url(&url).build().unwrap();
        let database = OpenStore::new(settings.database.as_ref().unwrap(), &settings.tuning);
        database.migrate(Migrations::Up).await.unwrap();
        let rows = database.call_rows();
        let client = Uuid::from_u128(1);
        let caller =
            Caller::parse("00000000-0000-0000-0000-000000000002", "+971500000001").unwrap();
        for key in ["old", "new"] {
            let attempt =
                CallAttempt { claim: Uuid::new_v4(), node: None, within: Duration::from_secs(1) };
            let id = Uuid::new_v4();
            let call = NewCall { id, client, key, body: "b", caller, attempt };
            assert!(rows.begin_call(&call).await.unwrap());
            assert!(!rows.begin_call(&call).await.unwrap(), "there is one");
        }
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let age = "update trunkline_calls set created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-61 seconds')
            where idempotency_key = 'old'";
        sqlx::raw_sql(age).execute(&mut connection).await.unwrap();
        assert_eq!(rows.forget_calls(Duration::from_secs(60)).await.unwrap(), 1);
        assert!(rows.call_by_key(client, "old").await.unwrap().is_none());
        assert!(rows.call_by_key(client, "new").await.unwrap().is_some());
        let answers = "insert into trunkline_idempotency (client_id, key, asked, answer, answered_at)
            values (randomblob(16), 'old', 'a', 'b', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-25 hours')),
                (randomblob(16), 'new', 'a', 'b', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-23 hours'))";
        sqlx::raw_sql(answers).execute(&mut connection).await.unwrap();
        assert_eq!(database.edits().forget_answers().await.unwrap(), 1);
    }
}
