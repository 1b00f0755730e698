//! `trunkline rollout`: whom the database answers while it is being adopted.

mod run;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use trunkline::rollout::{Rollout as State, RolloutEdit, RolloutError, Run, Stage, Unit};
use trunkline::schedule::Schedule;
use trunkline::store::{OpenStore, StoreError};
use trunkline::{Resolver, RolloutSurvey, TenantId};
use uuid::Uuid;

use super::Context;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, table};
use super::seen::tell_seen;

/// The flag comes first: while `USE_SELFHOST_ROUTING_TABLE` is off, no stage counts.
#[derive(Subcommand)]
pub(crate) enum Rollout {
    /// Show the stage that every node obeys, and the run that is open
    Status,
    /// Have daemons go from step to step by themselves, and back where calls fail
    Run(run::Begin),
    /// Have the open run stay where it is
    Pause,
    /// Let a paused run go on; its soak begins anew
    Resume,
    /// End the open run; the rollout stays where it is
    Stop,
    /// Show what a run has found at each step
    Report {
        /// Which run; the newest one if it is not named
        #[arg(value_name = "RUN")]
        run: Option<i64>,
    },
    /// Show what `set` would do: who moves, and for whom the database has no answer
    Plan {
        #[command(flatten)]
        edit: Edit,
        /// List every number for which the database has no answer
        #[arg(long)]
        list: bool,
    },
    /// Go to a stage, to a share, or back; every node obeys within LEASE
    Set {
        #[command(flatten)]
        edit: Edit,
        /// Complete the rollout though the database has no answer for some numbers
        #[arg(long)]
        force: bool,
    },
    /// Compare what the database would answer for each number with the environment
    Compare {
        /// List every number for which the database has no answer
        #[arg(long)]
        list: bool,
    },
    /// Begin anew: nobody inside, no lists, and other tenants come first
    Reset {
        /// What a share is a share of
        #[arg(long, value_name = "tenant|number", default_value = "tenant")]
        by: Unit,
    },
}

#[derive(Args)]
pub(crate) struct Edit {
    /// off, shadow, live, complete, or a share in per cent, such as 10 or 0.125
    #[arg(value_name = "STAGE", required_unless_present_any = ["allow", "deny", "unlist"])]
    to: Option<RolloutEdit>,
    /// A tenant that is inside whatever the share; may be repeated
    #[arg(long, value_name = "UUID")]
    allow: Vec<TenantId>,
    /// A tenant that is outside whatever else is said; may be repeated
    #[arg(long, value_name = "UUID")]
    deny: Vec<TenantId>,
    /// A tenant to take off both lists; may be repeated
    #[arg(long, value_name = "UUID")]
    unlist: Vec<TenantId>,
}

impl Rollout {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let database = context.database()?;
        let schedule = Schedule::of(&database);
        let now = async || {
            let now = database.rollouts().rollout().await;
            now.map(Option::unwrap_or_default)
        };
        match self {
            Self::Run(begin) => begin.run(context, &database).await,
            Self::Pause => run::change(context, schedule.pause()).await,
            Self::Resume => run::change(context, schedule.resume()).await,
            Self::Stop => run::change(context, schedule.stop()).await,
            Self::Report { run } => run::report(context, &database, run).await,
            Self::Status => status(context, &now().await?, schedule.newest().await?.as_ref()),
            Self::Plan { edit, list } => {
                let now = now().await?;
                let then = edit.of(&now)?;
                let survey = survey(context, &database, [&now, &then], list).await?;
                show_plan(context, [&now, &then], &survey)
            }
            Self::Compare { list } => {
                let now = now().await?;
                let survey = survey(context, &database, [&now, &now], list).await?;
                show_comparison(context, &survey)
            }
            Self::Set { edit, force } => {
                let now = now().await?;
                let then = edit.of(&now)?;
                if then.stage == Stage::Complete && !force {
                    let survey = survey(context, &database, [&now, &then], false).await?;
                    refuse_unanswered(&survey)?;
                }
                set(context, &database, &then).await
            }
            Self::Reset { by } => {
                set(context, &database, &now().await?.begun_anew(by, &new_salt())).await
            }
        }
    }
}

impl Edit {
    fn of(self, now: &State) -> Result<State, Failure> {
        let Self { to, allow, deny, unlist } = self;
        let edit = RolloutEdit { allow, deny, unlist, ..to.unwrap_or_default() };
        now.with(&edit, &new_salt()).map_err(|error: RolloutError| {
            Failure::usage("rollout_malformed", format!("--allow and --deny: {error}"))
        })
    }
}

async fn set(context: &Context, database: &OpenStore, then: &State) -> Done {
    match database.rollouts().set_rollout(then).await {
        Ok(true) => {}
        Ok(false) => {
            let message = "somebody else has changed the rollout meanwhile; nothing was changed";
            return Err(Failure::new("rollout_changed", message, Exit::Conflict)
                .hint("`trunkline rollout status` shows what it is now"));
        }
        Err(error @ StoreError::NotMigrated { .. }) => {
            return Err(Failure::from(error).hint("`trunkline db migrate` makes the table"));
        }
        Err(error) => return Err(error.into()),
    }
    run::tell_change_by_hand(database).await?;
    let now = database.rollouts().rollout().await?.unwrap_or_default();
    let run = Schedule::of(database).newest().await?;
    status(context, &now, run.as_ref())?;
    tell_seen(context).await;
    Ok(())
}

/// Looks through all numbers; lists those without an answer, if that is wanted.
async fn survey(
    context: &Context,
    database: &OpenStore,
    [now, then]: [&State; 2],
    list: bool,
) -> Result<RolloutSurvey, Failure> {
    let resolver = Resolver::builder(context.patient_settings()?).unlisted();
    let resolver = resolver.database(database.clone()).start();
    let mut told = Ok(());
    let surveyed = resolver.survey_rollout(now, then, |caller, reason| {
        if list && told.is_ok() {
            let (tenant, number) = (caller.tenant, caller.number);
            told = if context.json {
                json_line(&json!({"tenant_id": tenant, "number": number, "reason": reason}))
            } else {
                line(format!("{tenant}  {number}  {reason}"))
            };
        }
    });
    let surveyed = surveyed.await;
    resolver.stop(Duration::from_secs(1)).await;
    told?;
    Ok(surveyed?)
}

fn refuse_unanswered(survey: &RolloutSurvey) -> Done {
    let Some(message) = survey.objection() else { return Ok(()) };
    Err(Failure::new("rollout_unanswered", message, Exit::Conflict).hint(
        "`trunkline rollout plan complete --list` shows them; say --force to go on all the same",
    ))
}

fn status(context: &Context, now: &State, run: Option<&Run>) -> Done {
    let is_on = context.settings()?.enabled;
    if context.json {
        let mut shown = json!(now);
        shown["flag"] = json!(is_on);
        shown["run"] = json!(run.map(Run::to_json));
        return json_line(&shown);
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![row("stage", now.in_words())];
    if now.version > 0 {
        rows.extend([
            row("share", format!("{} % of the {}s", now.percent, now.unit)),
            row("allowed", tenants(&now.allow)),
            row("denied", tenants(&now.deny)),
            row("changes", now.version.to_string()),
        ]);
    }
    rows.extend(run.into_iter().flat_map(run::rows));
    table(&[], rows)?;
    if !is_on {
        eprintln!(
            "USE_SELFHOST_ROUTING_TABLE is off here: the environment answers, whatever the stage"
        );
    }
    Ok(())
}

fn tenants(list: &[TenantId]) -> String {
    if list.is_empty() {
        return "-".to_owned();
    }
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn show_plan(context: &Context, [now, then]: [&State; 2], survey: &RolloutSurvey) -> Done {
    if context.json {
        return json_line(&json!({"now": now, "then": then, "survey": survey}));
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let moving =
        |many: trunkline::Moving| format!("{} numbers of {} tenants", many.numbers, many.tenants);
    table(
        &[],
        [
            row("now", now.in_words()),
            row("then", then.in_words()),
            row("to the database", moving(survey.moving_in)),
            row("to the environment", moving(survey.moving_out)),
            row("inside then", format!("{} of {} numbers", survey.inside_then, survey.numbers)),
            row("without an answer", format!("{} of those inside", survey.unanswered_inside)),
        ],
    )?;
    show_unanswered(survey)
}

fn show_comparison(context: &Context, survey: &RolloutSurvey) -> Done {
    if context.json {
        return json_line(&json!(survey));
    }
    line(format!(
        "the database has an answer for {} of {} numbers of {} tenants",
        survey.answered, survey.numbers, survey.tenants
    ))?;
    table(
        &["field", "as the environment", "otherwise"],
        survey.fields.iter().map(|(field, compared)| {
            vec![(*field).to_owned(), compared.same.to_string(), compared.different.to_string()]
        }),
    )?;
    show_unanswered(survey)
}

fn show_unanswered(survey: &RolloutSurvey) -> Done {
    if survey.unanswered.is_empty() {
        return Ok(());
    }
    let rows = survey.unanswered.iter();
    table(
        &["no answer, since", "numbers"],
        rows.map(|(reason, many)| vec![(*reason).to_owned(), many.to_string()]),
    )
}

/// Another one for each rollout, so that not the same tenants are the first ones each time.
fn new_salt() -> String {
    Uuid::new_v4().simple().to_string()
}
