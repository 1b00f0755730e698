//! `/v1/rollout`: whom the database answers, and the next step.

mod runs;
mod table;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(in crate::server) use self::runs::{RunStep, change as change_run, newest as newest_run};
pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::editing::other_version;
use super::problem::Problem;
use super::question::{Expected, Question};
use super::reply::Reply;
use crate::number::TenantId;
use crate::resolver::RolloutSurvey;
use crate::rollout::{Rollout, RolloutEdit, RolloutError, Stage, Unit};
use crate::store::{Edited, StoreError, Written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    to: Option<String>,
    allow: Option<Vec<TenantId>>,
    deny: Option<Vec<TenantId>>,
    unlist: Option<Vec<TenantId>>,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    by: Option<Unit>,
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    asking.needs_all()?;
    match operation {
        Operation::Read => {
            let now = now(asking).await?;
            Ok(Reply::json(&shown(asking, &now)).version(&now.version.to_string()))
        }
        Operation::Plan => {
            let (edit, _) = edit(question.body()?)?;
            let now = now(asking).await?;
            let (then, survey) = plan(asking, &now, &edit).await?;
            Ok(Reply::json(&json!({"now": now, "then": then, "survey": survey})))
        }
        Operation::Change => {
            let (edit, force) = edit(question.body()?)?;
            let written = step(asking, &question.expected()?, &edit, force).await?;
            Ok(told(asking, written).await)
        }
        Operation::Reset => {
            let Reset { by } = question.body()?;
            let (by, salt) = (by.unwrap_or_default(), new_salt());
            let anew = |now: &Rollout| Ok(now.begun_anew(by, &salt));
            Ok(told(asking, write(asking, &question.expected()?, anew).await?).await)
        }
        of_runs => runs::answer(of_runs, asking, question).await,
    }
}

/// The rollout in force. Its lists name tenants, so nobody sees it who is limited to some.
pub(in crate::server) async fn now(asking: &Asking<'_>) -> Result<Rollout, Problem> {
    asking.needs_all()?;
    let rollouts = asking.resolver.rollouts().ok_or_else(Problem::no_database)?;
    Ok(rollouts.rollout().await?.unwrap_or_default())
}

/// What is asked for, and whether it is to be done in any case.
fn edit(asked: Asked) -> Result<(RolloutEdit, bool), Problem> {
    let Asked { to, allow, deny, unlist, force } = asked;
    let to = to.map(|text| text.parse::<RolloutEdit>().map_err(|error| refused("to", error)));
    let list = Option::unwrap_or_default;
    let edit = RolloutEdit {
        allow: list(allow),
        deny: list(deny),
        unlist: list(unlist),
        ..to.transpose()?.unwrap_or_default()
    };
    if edit == RolloutEdit::default() {
        let why = "must be there, or one of allow, deny and unlist";
        return Err(Problem::field("field_missing", "to", why));
    }
    Ok((edit, force))
}

/// What a change would come to, and what that would do.
pub(in crate::server) async fn plan(
    asking: &Asking<'_>,
    now: &Rollout,
    edit: &RolloutEdit,
) -> Result<(Rollout, RolloutSurvey), Problem> {
    let then = now.with(edit, &new_salt()).map_err(|error| refused("allow", error))?;
    let survey = asking.resolver.survey_rollout(now, &then, |_, _| ()).await?;
    Ok((then, survey))
}

/// Takes a step. What would leave numbers without an answer is refused, unless it is forced.
pub(in crate::server) async fn step(
    asking: &Asking<'_>,
    expected: &Expected,
    edit: &RolloutEdit,
    force: bool,
) -> Result<(Rollout, Option<Written>), Problem> {
    asking.needs_all()?;
    if edit.stage == Some(Stage::Complete) && !force {
        refuse_unanswered(asking).await?;
    }
    let salt = new_salt();
    write(asking, expected, |now| now.with(edit, &salt)).await
}

async fn write(
    asking: &Asking<'_>,
    expected: &Expected,
    new: impl Fn(&Rollout) -> Result<Rollout, RolloutError> + Sync,
) -> Result<(Rollout, Option<Written>), Problem> {
    let (mut problem, mut written) = (None, Rollout::default());
    let mut decide = |now: &Rollout| {
        if !expected.is(&now.version.to_string()) {
            problem = Some(other_version());
            return None;
        }
        let new = new(now).map_err(|error| problem = Some(refused("allow", error))).ok()?;
        written = Rollout { version: now.version + 1, ..new.clone() };
        Some(new)
    };
    match asking.rows()?.change_rollout(&asking.behalf(), &mut decide).await {
        Ok(Edited::Done(place)) => {
            // Whoever leads the run would find it in a moment.
            if let Err(error) = asking.schedule()?.note_change().await {
                tracing::debug!(%error, "a run of the rollout may be running on for a moment");
            }
            Ok((written, place))
        }
        Ok(_) => Err(problem.unwrap_or_else(|| {
            let message = "somebody else has changed the rollout at the same time";
            Problem::conflict("rollout_changed", message).hint("read it again, then repeat")
        })),
        Err(StoreError::NotMigrated { .. }) => {
            let message = "the database has no table for a rollout";
            Err(Problem::conflict("not_migrated", message).hint("`trunkline db migrate` makes it"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The answer to a step.
async fn told(asking: &Asking<'_>, (rollout, place): (Rollout, Option<Written>)) -> Reply {
    let version = rollout.version.to_string();
    asking.written(shown(asking, &rollout), place).await.version(&version)
}

async fn refuse_unanswered(asking: &Asking<'_>) -> Result<(), Problem> {
    let now = now(asking).await?;
    let then = Rollout { stage: Stage::Complete, ..now.clone() };
    let survey = asking.resolver.survey_rollout(&now, &then, |_, _| ()).await?;
    let Some(message) = survey.objection() else { return Ok(()) };
    let hint = "POST /v1/rollout/plan tells why; say force to go on all the same";
    Err(Problem::conflict("rollout_unanswered", message).hint(hint))
}

fn shown(asking: &Asking<'_>, rollout: &Rollout) -> Value {
    let mut shown = json!(rollout);
    shown["flag"] = json!(asking.resolver.uses_configs());
    shown
}

fn refused(field: &'static str, error: RolloutError) -> Problem {
    Problem::field("field_malformed", field, &error.to_string())
}

fn new_salt() -> String {
    Uuid::new_v4().simple().to_string()
}
