//! The rows of batches, the same on both databases but for lists and times.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use sqlx::Error;
use uuid::Uuid;

use super::SqlStore;
use super::edits::{Steps, list};
use crate::store::StoreError;
use crate::store::batches::{
    BatchProgress, BatchRow, BatchRows, BatchState, BatchesOf, Cancel, Hand, NewBatch, SILENT,
};
use crate::store::edits::{Behalf, Edited};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};

/// The statements.
pub(super) struct Batches {
    insert: Statement,
    insert_tenants: Statement,
    by_key: Statement,
    by_id: Statement,
    page: Statement,
    cancel: Statement,
    resume: Statement,
    open: Statement,
    take: Statement,
    wait: Statement,
    beat: Statement,
    release: Statement,
    end: Statement,
    kept: Statement,
    forget: Statement,
}

impl Batches {
    pub(super) fn new(templates: &Templates) -> Self {
        let reading = |name, which: &str| {
            let text = READ.replace("{which}", which).replace("{silent}", &SILENT.to_string());
            templates.statement(name, &text.replace("{batch_seen}", SEEN))
        };
        let seen =
            |name, text: &str| templates.statement(name, &text.replace("{batch_seen}", SEEN));
        let held_by = |name, text: &str| {
            let text = text.replace("{may_take}", MAY_TAKE).replace("{in_hand}", IN_HAND);
            templates.statement(name, &text.replace("{silent}", &SILENT.to_string()))
        };
        Self {
            insert: templates.statement("insert_batch", INSERT),
            insert_tenants: templates.statement("insert_batch", INSERT_TENANTS),
            by_key: reading("batch_by_key", "b.client_id = $1 and b.idempotency_key = $2"),
            by_id: reading("batch", "{batch_seen} and b.id = $3"),
            page: reading("batch_page", PAGE),
            cancel: seen("cancel_batches", CANCEL),
            resume: seen("resume_batch", RESUME),
            open: reading("open_batches", OPEN).in_passing(),
            take: held_by("take_batch", TAKE),
            wait: held_by("wait_batch", WAIT),
            beat: held_by("beat_batch", BEAT),
            release: held_by("release_batch", RELEASE),
            end: held_by("end_batch", END),
            kept: templates.statement("kept_batches", KEPT).in_passing(),
            forget: templates.statement("forget_batches", FORGET).in_passing(),
        }
    }
}

#[async_trait]
impl<S: SqlStore> BatchRows for S {
    async fn insert_batch(&self, behalf: &Behalf, new: &NewBatch<'_>) -> Result<bool, StoreError> {
        let Batches { insert, insert_tenants, .. } = &self.statements().batches;
        let done = self.pool().asking(insert.name, async {
            let mut transaction = self.begin(insert.name, behalf).await?;
            let refused = async {
                if transaction.write(insert, &new_values(behalf, new)).await? == 0 {
                    return Ok(Some(Edited::Declined));
                }
                for tenants in new.tenants.chunks(AT_ONCE) {
                    let statement = insert_tenants.with_rows(tenants.len(), 2);
                    let row = |tenant: &crate::number::TenantId| [new.id.into(), tenant.0.into()];
                    let values: Vec<_> = tenants.iter().flat_map(row).collect();
                    transaction.write(&statement, &values).await?;
                }
                Ok(None)
            };
            let refused = refused.await;
            self.end(transaction, refused).await
        });
        Ok(matches!(done.await?, Edited::Done(_)))
    }

    async fn batch_by_key(&self, client: Uuid, key: &str) -> Result<Option<BatchRow>, StoreError> {
        let values = [client.into(), key.into()];
        self.pool().read_one(&self.statements().batches.by_key, &values, read_batch).await
    }

    async fn batch(&self, of: &BatchesOf, id: Uuid) -> Result<Option<BatchRow>, StoreError> {
        let [tenants, client] = seen_by(of);
        let values = [tenants, client, id.into()];
        self.pool().read_one(&self.statements().batches.by_id, &values, read_batch).await
    }

    async fn batch_page(
        &self,
        of: &BatchesOf,
        before: Option<Uuid>,
        most: usize,
    ) -> Result<Vec<BatchRow>, StoreError> {
        let [tenants, client] = seen_by(of);
        let values = [tenants, client, before.unwrap_or(Uuid::max()).into(), most.into()];
        self.pool().read(&self.statements().batches.page, &values, read_batch).await
    }

    async fn cancel_batches(
        &self,
        behalf: &Behalf,
        of: &BatchesOf,
        id: Option<Uuid>,
        how: Cancel,
    ) -> Result<u64, StoreError> {
        let [tenants, client] = seen_by(of);
        let values = [tenants, client, id.into(), how.as_str().into()];
        edit(self, behalf, &self.statements().batches.cancel, &values).await
    }

    async fn resume_batch(
        &self,
        behalf: &Behalf,
        of: &BatchesOf,
        id: Uuid,
    ) -> Result<bool, StoreError> {
        let [tenants, client] = seen_by(of);
        let values = [tenants, client, id.into()];
        Ok(edit(self, behalf, &self.statements().batches.resume, &values).await? > 0)
    }

    async fn open_batches(&self, keeper: Uuid) -> Result<Vec<BatchRow>, StoreError> {
        self.pool().read(&self.statements().batches.open, &[keeper.into()], read_batch).await
    }

    async fn take_batch(&self, hand: Hand) -> Result<bool, StoreError> {
        Ok(self.pool().write(&self.statements().batches.take, &held(hand)).await? > 0)
    }

    async fn wait_batch(&self, hand: Hand) -> Result<(), StoreError> {
        self.pool().write(&self.statements().batches.wait, &held(hand)).await.map(drop)
    }

    async fn beat_batch(
        &self,
        hand: Hand,
        progress: Option<BatchProgress<'_>>,
    ) -> Result<Option<Option<Cancel>>, StoreError> {
        let mut values = held(hand);
        values.extend(progress_values(progress.as_ref()));
        let cancel = |row: &_| Ok(Cancel::of(&Record::own_text(row, "cancel")?));
        self.pool().write_returning(&self.statements().batches.beat, &values, cancel).await
    }

    async fn release_batch(&self, hand: Hand) -> Result<(), StoreError> {
        self.pool().write(&self.statements().batches.release, &held(hand)).await.map(drop)
    }

    async fn end_batch(
        &self,
        hand: Hand,
        state: BatchState,
        message: Option<&str>,
        progress: Option<BatchProgress<'_>>,
    ) -> Result<bool, StoreError> {
        let mut values = held(hand);
        values.extend(progress_values(progress.as_ref()));
        values.extend([state.as_str().into(), message.into()]);
        Ok(self.pool().write(&self.statements().batches.end, &values).await? > 0)
    }

    async fn kept_batches(&self, keeper: Uuid) -> Result<Vec<Uuid>, StoreError> {
        let statement = &self.statements().batches.kept;
        self.pool().read(statement, &[keeper.into()], |row| row.own_id("id")).await
    }

    async fn forget_batches(&self, older_than: Duration) -> Result<u64, StoreError> {
        let values = [Value::Real(older_than.as_secs_f64())];
        self.pool().write(&self.statements().batches.forget, &values).await
    }
}

/// One statement on somebody's behalf, and how many rows it wrote.
async fn edit<S: SqlStore>(
    store: &S,
    behalf: &Behalf,
    statement: &Statement,
    values: &[Value<'_>],
) -> Result<u64, StoreError> {
    store
        .pool()
        .asking(statement.name, async {
            let mut transaction = store.begin(statement.name, behalf).await?;
            let written = transaction.write(statement, values).await;
            let refused = written.as_ref().map_or_else(|_| Ok(None), |_| Ok(None));
            let rows = written?;
            store.end(transaction, refused).await?;
            Ok(rows)
        })
        .await
}

fn new_values<'v>(behalf: &'v Behalf, new: &'v NewBatch<'_>) -> [Value<'v>; 9] {
    [
        new.id.into(),
        behalf.client.into(),
        behalf.client_name.as_str().into(),
        new.key.into(),
        new.body.into(),
        new.name.into(),
        Value::Json(new.options),
        new.keeper.into(),
        whole(new.entries),
    ]
}

fn held(Hand { id, keeper, node }: Hand) -> Vec<Value<'static>> {
    vec![id.into(), keeper.into(), node.into()]
}

/// Null where nothing is known.
fn progress_values<'v>(progress: Option<&BatchProgress<'v>>) -> [Value<'v>; 3] {
    match progress {
        Some(progress) => {
            [whole(progress.entries), whole(progress.done), progress.summary.to_string().into()]
        }
        None => [Value::Int(None), Value::Int(None), Value::Text(None)],
    }
}

fn whole(number: u64) -> Value<'static> {
    Value::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn seen_by(of: &BatchesOf) -> [Value<'static>; 2] {
    let ids = |tenants: &Vec<crate::number::TenantId>| {
        list(&tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())
    };
    [of.tenants.as_ref().map_or(Value::Text(None), ids), of.client.into()]
}

fn read_batch(row: &impl Record) -> Result<BatchRow, Error> {
    let count = |column| row.own_int(column).map(|many| u64::try_from(many).unwrap_or(0));
    let json = |column| -> Result<Json, Error> {
        Ok(serde_json::from_str(&row.own_text(column)?).unwrap_or_default())
    };
    Ok(BatchRow {
        id: row.own_id("id")?,
        client_name: row.own_text("client_name")?,
        body: row.own_text("body_hash")?,
        name: row.own_text("name")?,
        options: json("options")?,
        keeper: row.own_id("keeper")?,
        node: row.id("node")?,
        state: BatchState::of(&row.own_text("state")?),
        cancel: Cancel::of(&row.own_text("cancel")?),
        message: row.text("message")?,
        entries: count("entries")?,
        done: count("done")?,
        summary: json("summary")?,
        created_at: row.time("created_at")?,
        begun_at: row.time("begun_at")?,
        ended_at: row.time("ended_at")?,
        is_silent: row.own_int("silent")? > 0,
    })
}

/// How many rows are inserted by one statement.
const AT_ONCE: usize = 200;

const SEEN: &str = "($1 is null or not exists (
            select 1 from {schema}.trunkline_batch_tenants as t
            where t.batch_id = b.id and t.tenant_id not in ({listed_1})
        ))
        and ($2 is null or b.client_id = $2)";

const READ: &str = "
    select b.id, substr(b.client_name, 1, 255) as client_name, substr(b.body_hash, 1, 64) as body_hash,
        substr(b.name, 1, 255) as name, substr(cast(b.options as text), 1, 65536) as options, b.keeper, b.node,
        substr(b.state, 1, 16) as state, substr(b.cancel, 1, 16) as cancel,
        substr(b.message, 1, 1024) as message, b.entries, b.done,
        substr(cast(b.summary as text), 1, 65536) as summary, b.created_at, b.begun_at, b.ended_at,
        cast(case
            when b.state not in ('accepted', 'running') then 0
            when b.beat_at is null or {batch_age} > {silent} then 1
            else 0
        end as bigint) as silent
    from {schema}.trunkline_batches as b
    where {which}";

const PAGE: &str = "{batch_seen} and b.id < $3 order by b.id desc limit $4";
const OPEN: &str = "b.keeper = $1 and b.state in ('accepted', 'running') order by b.id limit 1000";

const INSERT: &str = "
    insert into {schema}.trunkline_batches
        (id, client_id, client_name, idempotency_key, body_hash, name, options, keeper, entries, beat_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, {now})
    on conflict (client_id, idempotency_key) do nothing";

const INSERT_TENANTS: &str = "insert into {schema}.trunkline_batch_tenants (batch_id, tenant_id)";

/// Who wants calls ended wants no less by asking once more.
const CANCEL: &str = "
    update {schema}.trunkline_batches as b
    set cancel = case when b.cancel = 'end' then 'end' else $4 end
    where b.state in ('accepted', 'running') and ($3 is null or b.id = $3) and {batch_seen}";

const RESUME: &str = "
    update {schema}.trunkline_batches as b
    set state = 'accepted', cancel = null, message = null, node = null, ended_at = null, beat_at = {now}
    where b.state in ('left', 'cancelled', 'failed') and b.id = $3 and {batch_seen}";

/// A folder may be there twice, as where a machine was copied: only one process at a time has a batch of it.
const MAY_TAKE: &str = "b.id = $1 and b.keeper = $2 and b.state in ('accepted', 'running')
        and (b.state = 'accepted' or b.node = $3 or b.beat_at is null or {batch_age} > {silent})";

const TAKE: &str = "
    update {schema}.trunkline_batches as b
    set state = 'running', node = $3, begun_at = coalesce(begun_at, {now}), beat_at = {now}
    where {may_take}";

const WAIT: &str = "
    update {schema}.trunkline_batches as b set state = 'accepted', node = null, beat_at = {now}
    where {may_take}";

/// That it is still in the hand that took it.
const IN_HAND: &str =
    "b.id = $1 and b.keeper = $2 and b.state = 'running' and b.node is not distinct from $3";

const BEAT: &str = "
    update {schema}.trunkline_batches as b
    set beat_at = {now}, entries = coalesce($4, entries), done = coalesce($5, done),
        summary = coalesce({json_6}, summary)
    where {in_hand}
    returning cancel";

const RELEASE: &str = "update {schema}.trunkline_batches as b set beat_at = null where {in_hand}";

const END: &str = "
    update {schema}.trunkline_batches as b
    set state = $7, message = substr($8, 1, 1024), ended_at = {now}, entries = coalesce($4, entries),
        done = coalesce($5, done), summary = coalesce({json_6}, summary)
    where ({may_take}) or ({in_hand})";

const KEPT: &str = "select id from {schema}.trunkline_batches where keeper = $1";

const FORGET: &str = "
    delete from {schema}.trunkline_batches
    where state not in ('accepted', 'running') and ended_at < {ago_1}";
