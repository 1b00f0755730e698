//! The runs of rollouts, the same statements on both databases.

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::SqlStore;
#[cfg(feature = "server")]
use super::edits::Steps;
use super::rollout::{lists, rollout_values};
use crate::rollout::{Rollout, Run, RunState};
use crate::store::record::Record;
use crate::store::runs::{RunRows, RunWritten};
use crate::store::statement::{Statement, Templates, Value};
use crate::store::transaction::Transaction;
use crate::store::{OnBehalf, StoreError};

/// The statements.
pub(super) struct Running {
    newest: Statement,
    one: Statement,
    clock: Statement,
    begin: Statement,
    write: Statement,
    lead: Statement,
}

impl Running {
    pub(super) fn new(templates: &Templates) -> Self {
        let statement = |name, text: &str| templates.statement(name, text);
        Self {
            newest: statement("newest_run", &format!("{READ} order by id desc limit 1"))
                .in_passing(),
            one: statement("run", &format!("{READ} where id = $1")).in_passing(),
            clock: statement("clock", "select {clock} as now").in_passing(),
            begin: statement("begin_run", BEGIN),
            write: statement("write_run", WRITE),
            lead: statement("lead_run", LEAD).in_passing(),
        }
    }
}

#[async_trait]
impl<S: SqlStore> RunRows for S {
    async fn run(&self, id: Option<i64>) -> Result<Option<Run>, StoreError> {
        let Running { newest, one, .. } = &self.statements().running;
        let found = match id {
            Some(id) => self.pool().read_one(one, &[id.into()], read_run).await?,
            None => self.pool().read_one(newest, &[], read_run).await?,
        };
        understood(found, newest)
    }

    async fn clock(&self) -> Result<f64, StoreError> {
        let statement = &self.statements().running.clock;
        let read = |row: &_| Record::real(row, "now");
        let now = self.pool().read_one(statement, &[], read).await?.flatten();
        now.ok_or(StoreError::Row { statement: statement.name })
    }

    async fn begin_run(
        &self,
        behalf: Option<&OnBehalf>,
        run: &Run,
        rollout: &Rollout,
    ) -> Result<RunWritten, StoreError> {
        let statement = &self.statements().running.begin;
        let [plan, progress] = [json!(run.plan), json!(run.progress)];
        let values = [
            run.state.as_str().into(),
            run.step.into(),
            Value::Real(run.since),
            Value::Json(&plan),
            Value::Json(&progress),
        ];
        self.write_with(behalf, statement, &values, Some(rollout)).await
    }

    async fn write_run(
        &self,
        behalf: Option<&OnBehalf>,
        run: &Run,
        rollout: Option<&Rollout>,
    ) -> Result<RunWritten, StoreError> {
        let statement = &self.statements().running.write;
        let progress = json!(run.progress);
        let values = [
            run.id.into(),
            run.version.into(),
            run.state.as_str().into(),
            run.step.into(),
            Value::Real(run.since),
            real(run.window_since),
            run.why.as_deref().into(),
            Value::Json(&progress),
            real(run.ended),
        ];
        self.write_with(behalf, statement, &values, rollout).await
    }

    async fn lead_run(
        &self,
        run: &Run,
        node: Uuid,
        name: &str,
        seconds: f64,
    ) -> Result<Option<Run>, StoreError> {
        let statement = &self.statements().running.lead;
        let values =
            [run.id.into(), run.version.into(), node.into(), name.into(), Value::Real(seconds)];
        let led = self.pool().write_returning(statement, &values, read_run).await?;
        understood(led, statement)
    }
}

/// A run, and the rollout that it makes, in one transaction.
trait RunSteps: SqlStore + Sized {
    async fn write_with(
        &self,
        behalf: Option<&OnBehalf>,
        statement: &Statement,
        values: &[Value<'_>],
        rollout: Option<&Rollout>,
    ) -> Result<RunWritten, StoreError> {
        self.pool()
            .asking(statement.name, async {
                let mut transaction = match behalf {
                    None => self.pool().begin(statement.name).await?,
                    #[cfg(feature = "server")]
                    Some(behalf) => Steps::begin(self, statement.name, behalf).await?,
                    #[cfg(not(feature = "server"))]
                    Some(nobody) => match *nobody {},
                };
                if !self.write_both(&mut transaction, statement, values, rollout).await? {
                    transaction.roll_back().await;
                    return Ok(RunWritten::Declined);
                }
                #[cfg(feature = "server")]
                if behalf.is_some() {
                    self.unsay(&mut transaction).await?;
                }
                transaction.commit().await?;
                Ok(RunWritten::Done)
            })
            .await
    }

    async fn write_both(
        &self,
        transaction: &mut Transaction<Self::Session>,
        statement: &Statement,
        values: &[Value<'_>],
        rollout: Option<&Rollout>,
    ) -> Result<bool, StoreError> {
        if transaction.write(statement, values).await? == 0 {
            return Ok(false);
        }
        let Some(rollout) = rollout else { return Ok(true) };
        let [allow, deny] = lists(rollout);
        let values = rollout_values(rollout, [&allow, &deny]);
        Ok(transaction.write(&self.statements().rolling_out.write, &values).await? > 0)
    }
}

impl<S: SqlStore> RunSteps for S {}

/// What a row says. `None`: nothing that is known here.
struct Found(Option<Run>);

fn understood(row: Option<Found>, statement: &Statement) -> Result<Option<Run>, StoreError> {
    let understood = |Found(run)| run.ok_or(StoreError::Row { statement: statement.name });
    row.map(understood).transpose()
}

fn read_run(row: &impl Record) -> Result<Found, sqlx::Error> {
    let state = row.own_text("state")?;
    let state = RunState::ALL.into_iter().find(|known| known.as_str() == state);
    let json = |column| Ok::<Json, sqlx::Error>(row.own_text(column)?.parse().unwrap_or_default());
    let plan = serde_json::from_value(json("plan")?).ok();
    let progress = serde_json::from_value(json("progress")?).ok();
    let step = usize::try_from(row.own_int("step")?).ok();
    let time = |column| Ok::<_, sqlx::Error>(row.real(column)?.unwrap_or_default());
    let (Some(state), Some(plan), Some(progress), Some(step)) = (state, plan, progress, step)
    else {
        return Ok(Found(None));
    };
    Ok(Found(Some(Run {
        id: row.own_int("id")?,
        state,
        step,
        since: time("since")?,
        window_since: row.real("window_since")?,
        why: row.text("why")?,
        leader: row.id("leader")?,
        leader_name: row.text("leader_name")?,
        leads_until: time("leads_until")?,
        plan,
        progress,
        begun: time("begun")?,
        ended: row.real("ended")?,
        now: time("now")?,
        version: row.own_int("version")?,
    })))
}

/// A time that may not be there. As text, to be cast: a null has no type of its own.
fn real(time: Option<f64>) -> Value<'static> {
    Value::Text(time.map(|time| time.to_string().into()))
}

/// The columns of a run.
pub(super) const RUN_COLUMNS: &str = "id, state, cast(step as bigint) as step, since, window_since,
        substr(why, 1, 4096) as why, leader, substr(leader_name, 1, 255) as leader_name, leads_until,
        cast(plan as text) as plan, cast(progress as text) as progress, begun, ended, version,
        {clock} as now";

const READ: &str = "select {run_columns} from {schema}.trunkline_rollout_runs";

/// Another one may be open by now.
const BEGIN: &str = "
    insert into {schema}.trunkline_rollout_runs (state, step, since, plan, progress, begun)
    values ($1, $2, $3, $4, $5, $3)
    on conflict do nothing";

/// Only what was read may be replaced.
const WRITE: &str = "
    update {schema}.trunkline_rollout_runs set state = $3, step = $4, since = $5,
        window_since = cast($6 as double precision), why = $7, progress = $8,
        ended = cast($9 as double precision), version = version + 1
    where id = $1 and version = $2";

const LEAD: &str = "
    update {schema}.trunkline_rollout_runs
    set leader = $3, leader_name = $4, leads_until = {clock} + $5, version = version + 1
    where id = $1 and version = $2 and (leader = $3 or leads_until < {clock})
    returning {run_columns}";
