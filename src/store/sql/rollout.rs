//! The row of the rollout.

use async_trait::async_trait;
use serde_json::Value as Json;

use super::SqlStore;
use crate::number::TenantId;
use crate::rollout::{Rollout, Share};
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::{RolloutStore, StoreError};

/// The statements.
pub(super) struct RollingOut {
    pub(super) read: Statement,
    pub(super) write: Statement,
}

impl RollingOut {
    pub(super) fn new(templates: &Templates) -> Self {
        Self {
            // It is read when it has changed, which is seldom.
            read: templates.statement("rollout", READ).in_passing(),
            write: templates.statement("set_rollout", WRITE),
        }
    }
}

#[async_trait]
impl<S: SqlStore> RolloutStore for S {
    async fn rollout(&self) -> Result<Option<Rollout>, StoreError> {
        let statement = &self.statements().rolling_out.read;
        match self.pool().read_one(statement, &[], read_rollout).await {
            // Of a step before that of the rollout.
            Err(StoreError::NotMigrated { .. }) => Ok(None),
            found => understood(found?, statement),
        }
    }

    async fn set_rollout(&self, new: &Rollout) -> Result<bool, StoreError> {
        let statement = &self.statements().rolling_out.write;
        let [allow, deny] = lists(new);
        Ok(self.pool().write(statement, &rollout_values(new, [&allow, &deny])).await? > 0)
    }
}

/// Its lists as JSON.
pub(super) fn lists(rollout: &Rollout) -> [Json; 2] {
    let list = |tenants: &[TenantId]| tenants.iter().map(ToString::to_string).collect();
    [list(&rollout.allow), list(&rollout.deny)]
}

/// What is written of it.
pub(super) fn rollout_values<'v>(new: &'v Rollout, [allow, deny]: [&'v Json; 2]) -> [Value<'v>; 7] {
    [
        new.stage.as_str().into(),
        i64::from(new.percent.thousandths()).into(),
        new.unit.as_str().into(),
        new.salt.as_str().into(),
        Value::Json(allow),
        Value::Json(deny),
        new.version.into(),
    ]
}

/// What a row says.
pub(super) struct Found(Option<Rollout>);

/// The row, if there is one and it says what is known here: not a stage of a newer version.
pub(super) fn understood(
    row: Option<Found>,
    statement: &Statement,
) -> Result<Option<Rollout>, StoreError> {
    let understood = |Found(row)| row.ok_or(StoreError::Row { statement: statement.name });
    row.map(understood).transpose()
}

pub(super) fn read_rollout(row: &impl Record) -> Result<Found, sqlx::Error> {
    let (stage, unit) = (row.own_text("stage")?, row.own_text("unit")?);
    let percent = u32::try_from(row.own_int("percent")?).ok().and_then(Share::of_thousandths);
    let list = |column| -> Result<Option<Vec<TenantId>>, sqlx::Error> {
        Ok(serde_json::from_str(&row.own_text(column)?).ok())
    };
    let (allow, deny) = (list("allow")?, list("deny")?);
    let (salt, version) = (row.own_text("salt")?, row.own_int("version")?);
    let (Ok(stage), Ok(unit)) = (stage.parse(), unit.parse()) else {
        return Ok(Found(None));
    };
    let (Some(percent), Some(allow), Some(deny)) = (percent, allow, deny) else {
        return Ok(Found(None));
    };
    Ok(Found(Some(Rollout { stage, percent, unit, salt, allow, deny, version })))
}

const READ: &str = "
    select stage, cast(percent as bigint) as percent, unit, salt, version,
        case when octet_length(cast(allow as text)) <= 65536 then cast(allow as text) else '' end as allow,
        case when octet_length(cast(deny as text)) <= 65536 then cast(deny as text) else '' end as deny
    from {schema}.trunkline_rollout";

/// Only what was read may be replaced.
const WRITE: &str = "
    insert into {schema}.trunkline_rollout as r
        (id, stage, percent, unit, salt, allow, deny, version, changed_at)
    select 1, $1, cast($2 as integer), $3, $4, $5, $6, 1, {now}
    where $7 = 0 or exists (select 1 from {schema}.trunkline_rollout)
    on conflict (id) do update set stage = excluded.stage, percent = excluded.percent,
        unit = excluded.unit, salt = excluded.salt, allow = excluded.allow, deny = excluded.deny,
        version = r.version + 1, changed_at = excluded.changed_at
    where r.version = $7";
