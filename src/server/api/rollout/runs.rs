//! `/v1/rollout/run`: the rollout that nodes take further by themselves.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operation, new_salt};
use crate::rollout::{Guard, Run, Share};
use crate::schedule::{Schedule, ScheduleError, Wanted};
use crate::server::api::asking::Asking;
use crate::server::api::problem::Problem;
use crate::server::api::question::Question;
use crate::server::api::reply::Reply;
use crate::settings::parse_duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    steps: Option<Vec<String>>,
    soak: Option<Vec<String>>,
    bad: Option<String>,
    least: Option<u64>,
    window: Option<String>,
    #[serde(default)]
    preview: bool,
}

/// What is done to an open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum RunStep {
    Pause,
    Resume,
    Stop,
}

impl Asking<'_> {
    /// The runs of the rollout, changed on behalf of whoever asks.
    pub(in crate::server) fn schedule(&self) -> Result<Schedule, Problem> {
        self.needs_all()?;
        let schedule = self.resolver.schedule().ok_or_else(Problem::no_database)?;
        Ok(schedule.on_behalf(self.behalf()))
    }
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    match operation {
        Operation::BeginRun => begin(asking, question.body()?).await,
        Operation::PauseRun => changed(asking, RunStep::Pause).await,
        Operation::ResumeRun => changed(asking, RunStep::Resume).await,
        Operation::StopRun => changed(asking, RunStep::Stop).await,
        _ => match newest(asking).await? {
            Some(run) => Ok(Reply::json(&run.to_json())),
            None => Err(Problem::missing("rollout_run_missing", "no run was ever begun")),
        },
    }
}

/// The newest run, open or not.
pub(in crate::server) async fn newest(asking: &Asking<'_>) -> Result<Option<Run>, Problem> {
    Ok(asking.schedule()?.newest().await?)
}

/// Has the open run paused, resumed or ended.
pub(in crate::server) async fn change(asking: &Asking<'_>, step: RunStep) -> Result<Run, Problem> {
    let schedule = asking.schedule()?;
    Ok(match step {
        RunStep::Pause => schedule.pause().await?,
        RunStep::Resume => schedule.resume().await?,
        RunStep::Stop => schedule.stop().await?,
    })
}

async fn changed(asking: &Asking<'_>, step: RunStep) -> Result<Reply, Problem> {
    Ok(Reply::json(&change(asking, step).await?.to_json()))
}

async fn begin(asking: &Asking<'_>, asked: Asked) -> Result<Reply, Problem> {
    let (steps, soaks, guard) = asked.understood()?;
    let (schedule, salt) = (asking.schedule()?, new_salt());
    let wanted = Wanted { steps: &steps, soaks: &soaks, guard, salt: &salt, asked_by: None };
    let prepared = schedule.prepare(&wanted).await?;
    if asked.preview {
        return Ok(Reply::json(
            &json!({"preview": true, "prepared": prepared, "run": Value::Null}),
        ));
    }
    let run = schedule.begin(prepared).await?;
    Ok(Reply::json(&json!({"preview": false, "prepared": Value::Null, "run": run.to_json()})))
}

impl Asked {
    fn understood(&self) -> Result<(Vec<Share>, Vec<Duration>, Guard), Problem> {
        let wrong = |field: &'static str, why: &str| Problem::field("field_malformed", field, why);
        let share = |field, text: &String| {
            text.parse::<Share>().map_err(|error| wrong(field, &error.to_string()))
        };
        let time = |field, text: &String| {
            parse_duration(text)
                .ok_or_else(|| wrong(field, "must be a time such as 30m, 24h or 2d"))
        };
        let texts = |given: &Option<Vec<String>>, otherwise: &[&str]| {
            given.clone().unwrap_or_else(|| otherwise.iter().map(ToString::to_string).collect())
        };
        let steps = texts(&self.steps, &["10", "50", "100"]);
        let soaks = texts(&self.soak, &["24h", "48h"]);
        let usual = Guard::default();
        let bad = self.bad.as_ref().map(|text| share("bad", text)).transpose()?;
        let window = self.window.as_ref().map(|text| time("window", text)).transpose()?;
        let guard = Guard::new(
            bad.unwrap_or(usual.bad),
            self.least.unwrap_or(usual.least),
            window.unwrap_or(usual.window),
        );
        let steps = steps.iter().map(|text| share("steps", text)).collect::<Result<_, _>>()?;
        let soaks = soaks.iter().map(|text| time("soak", text)).collect::<Result<_, _>>()?;
        Ok((steps, soaks, guard))
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        let (code, hint) = (error.code(), error.hint());
        let problem = match error {
            ScheduleError::Store(error @ crate::store::StoreError::NotMigrated { .. }) => {
                Self::conflict(code, error.to_string())
            }
            ScheduleError::Store(error) => return error.into(),
            ScheduleError::Plan(error) => Self::unprocessable(code, error.to_string()),
            error => Self::conflict(code, error.to_string()),
        };
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
