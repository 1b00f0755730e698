//! The row of turning the keys by schedule.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;

use super::SqlStore;
use super::admin::how_many;
use crate::store::StoreError;
use crate::store::record::Record;
use crate::store::statement::{Statement, Templates, Value};
use crate::store::turns::{KeyTurnRows, KeyTurns};

/// The statements.
pub(super) struct Turns {
    read: Statement,
    hold: Statement,
    note: Statement,
}

impl Turns {
    pub(super) fn new(templates: &Templates) -> Self {
        Self {
            read: templates.statement("key_turns", READ).in_passing(),
            hold: templates.statement("hold_turns", HOLD),
            note: templates.statement("note_turn", NOTE),
        }
    }
}

#[async_trait]
impl<S: SqlStore> KeyTurnRows for S {
    async fn key_turns(&self) -> Result<Option<KeyTurns>, StoreError> {
        // Asked first: a statement that fails would be one of the errors that people are told of.
        let known = self.pool().read_one(&self.statements().keys.knows, &[], how_many).await?;
        if known.is_none_or(|known| known < 2) {
            return Ok(None);
        }
        self.pool().read_one(&self.statements().turns.read, &[], read_turns).await
    }

    async fn hold_turns(
        &self,
        holder: &str,
        lasting: Duration,
    ) -> Result<Option<Duration>, StoreError> {
        let values = [holder.into(), Value::Real(lasting.as_secs_f64())];
        let blocked = |row: &_| Ok(Record::real(row, "blocked")?.unwrap_or_default());
        let held = self.pool().read_one(&self.statements().turns.hold, &values, blocked).await?;
        Ok(held.map(|blocked| Duration::try_from_secs_f64(blocked).unwrap_or_default()))
    }

    async fn note_turn(
        &self,
        holder: &str,
        step: Option<&str>,
        blocked_by: Option<&str>,
    ) -> Result<(), StoreError> {
        let values = [holder.into(), step.into(), blocked_by.into()];
        self.pool().write(&self.statements().turns.note, &values).await.map(drop)
    }
}

fn read_turns(row: &impl Record) -> Result<KeyTurns, Error> {
    Ok(KeyTurns {
        holder: row.text("holder")?,
        step: row.text("step")?,
        step_at: row.time("step_at")?,
        blocked_by: row.text("blocked_by")?,
        blocked_since: row.time("blocked_since")?,
    })
}

const READ: &str = "
    select case when held_until > {now} then holder end as holder, step, step_at,
        blocked_by, blocked_since
    from {schema}.trunkline_key_rotation";

const HOLD: &str = "
    update {schema}.trunkline_key_rotation set holder = $1, held_until = {after_2}
    where holder = $1 or held_until <= {now}
    returning {blocked_age} as blocked";

const NOTE: &str = "
    update {schema}.trunkline_key_rotation set
        step = coalesce($2, step),
        step_at = case when $2 is null then step_at else {now} end,
        blocked_since = case when $3 is null then null else coalesce(blocked_since, {now}) end,
        blocked_by = $3
    where holder = $1";
