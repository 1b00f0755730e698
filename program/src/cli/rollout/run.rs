//! `trunkline rollout run`: a rollout that daemons take further by themselves, and its report.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use trunkline::rollout::{Counts, Guard, Run, RunPlan, RunState, Share, StepResult};
use trunkline::schedule::{Prepared, Schedule, ScheduleError, Wanted};
use trunkline::settings::parse_duration;
use trunkline::store::OpenStore;

use super::{new_salt, survey};
use crate::cli::Context;
use crate::cli::failure::{Done, Exit, Failure};
use crate::cli::output::{json_line, line, table};
use crate::cli::seen::tell_seen;

#[derive(Args)]
pub(crate) struct Begin {
    /// The shares to go to, in per cent
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', default_value = "10,50,100")]
    steps: Vec<Share>,
    /// How long to stay: at each step, at each but the last, or one time for all but the last
    #[arg(
        long,
        value_name = "TIME,…",
        value_delimiter = ',',
        default_value = "24h,48h",
        value_parser = time
    )]
    soak: Vec<Duration>,
    /// A window is bad if more than this share of its calls were faults, in per cent
    #[arg(long, value_name = "PERCENT", default_value = "1")]
    bad: Share,
    /// A window has at least so many calls
    #[arg(long, value_name = "CALLS", default_value_t = 100)]
    least: u64,
    /// A window is at least so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    window: Duration,
    /// Show what the run and its first step would be, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Begin {
    pub(super) async fn run(self, context: &Context, database: &OpenStore) -> Done {
        let (schedule, salt) = (Schedule::of(database), new_salt());
        let name = context.settings()?.node_name;
        let wanted = Wanted {
            steps: &self.steps,
            soaks: &self.soak,
            guard: Guard::new(self.bad, self.least, self.window),
            salt: &salt,
            asked_by: Some(&name),
        };
        let prepared = schedule.prepare(&wanted).await?;
        if self.dry_run {
            return preview(context, database, &prepared).await;
        }
        let run = schedule.begin(prepared).await?;
        let run = led(&schedule, run).await?;
        show(context, &run)?;
        tell_seen(context).await;
        if run.is_led() || !run.is_open() {
            return Ok(());
        }
        let message = format!("run {} has begun, and no daemon has taken it up", run.id);
        Err(Failure::new("rollout_run_not_led", message, Exit::Failed).hint(
            "a daemon must be on, with the right to edit the rollout: `trunkline db grants --edit`; \
             `trunkline rollout stop` ends the run",
        ))
    }
}

/// Has the open run paused, resumed or ended.
pub(super) async fn change(
    context: &Context,
    changed: impl Future<Output = Result<Run, ScheduleError>>,
) -> Done {
    show(context, &changed.await?)
}

/// What a run has found, at each step.
pub(super) async fn report(context: &Context, database: &OpenStore, id: Option<i64>) -> Done {
    let run = Schedule::of(database).run(id).await?;
    let Some(run) = run else {
        let message = match id {
            Some(id) => format!("there is no run {id}"),
            None => "no run of a rollout was ever begun in this database".to_owned(),
        };
        return Err(Failure::new("rollout_run_missing", message, Exit::Conflict));
    };
    if context.json {
        return json_line(&run.to_json());
    }
    line(format!("run {}: {}", run.id, in_words(&run)))?;
    let headings = ["step", "share", "from", "until", "calls", "faults", "good", "bad", "outcome"];
    table(&headings, run.progress.results.iter().map(result_row))
}

/// Says that a run has paused, where somebody changed the rollout otherwise.
pub(super) async fn tell_change_by_hand(database: &OpenStore) -> Done {
    if let Some(run) = Schedule::of(database).note_change().await? {
        eprintln!(
            "run {} of the rollout has paused, since the rollout was changed by hand; \
             `trunkline rollout stop` ends it",
            run.id
        );
    }
    Ok(())
}

/// The rows that tell of a run.
pub(super) fn rows(run: &Run) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![row("run", format!("{}, {}", run.id, in_words(run)))];
    if !run.is_open() {
        return rows;
    }
    let Counts { inside, faults } = run.progress.at_step;
    let guard = run.plan.guard;
    rows.push(row("steps", steps(&run.plan)));
    rows.push(row(
        "guard",
        format!(
            "bad from {} % faults on, of at least {} calls in {}",
            guard.bad,
            guard.least,
            of_time(guard.window)
        ),
    ));
    rows.push(row(
        "at this step",
        format!(
            "{inside} calls, {faults} faults; {} good windows, {} bad",
            run.progress.good, run.progress.bad
        ),
    ));
    if run.is_blocked() {
        rows.push(row("blocked by", run.progress.blocked_by.join(", ")));
    }
    if run.state == RunState::Running {
        let name = run.leader_name.as_deref().filter(|_| run.is_led()).unwrap_or("nobody");
        rows.push(row("led by", name.to_owned()));
    }
    rows
}

fn show(context: &Context, run: &Run) -> Done {
    if context.json {
        return json_line(&run.to_json());
    }
    table(&[], rows(run))
}

async fn preview(context: &Context, database: &OpenStore, prepared: &Prepared) -> Done {
    let survey = survey(context, database, [&prepared.now, &prepared.then], false).await?;
    if context.json {
        return json_line(&json!({"prepared": prepared, "survey": survey}));
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let moving = survey.moving_in;
    table(
        &[],
        [
            row("now", prepared.now.in_words()),
            row("first step", prepared.then.in_words()),
            row(
                "to the database",
                format!("{} numbers of {} tenants", moving.numbers, moving.tenants),
            ),
            row("without an answer", format!("{} of those inside", survey.unanswered_inside)),
            row("steps", steps(&prepared.plan)),
            row("carried out by", prepared.nodes.join(", ")),
        ],
    )
}

/// Waits for a daemon to take a run up.
async fn led(schedule: &Schedule, mut run: Run) -> Result<Run, Failure> {
    let began = Instant::now();
    while run.is_open() && !run.is_led() && began.elapsed() < TAKEN_UP_WITHIN {
        sleep(LOOK).await;
        run = schedule.run(Some(run.id)).await?.unwrap_or(run);
    }
    Ok(run)
}

fn in_words(run: &Run) -> String {
    let of = run.plan.steps.len();
    let place = match run.step {
        0 => "before its first step".to_owned(),
        step => format!("at step {step} of {of}"),
    };
    let since = short_time(&run.at_step_since());
    let why = run.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {place} since {since}{why}", run.state)
}

fn steps(plan: &RunPlan) -> String {
    let steps = plan.steps.iter().map(|step| {
        if step.soak.is_zero() {
            format!("{} %", step.percent)
        } else {
            format!("{} % for {}", step.percent, of_time(step.soak))
        }
    });
    steps.collect::<Vec<_>>().join(", ")
}

fn result_row(result: &StepResult) -> Vec<String> {
    vec![
        result.step.to_string(),
        format!("{} %", result.percent),
        short_time(&result.from),
        short_time(&result.until),
        result.counts.inside.to_string(),
        result.counts.faults.to_string(),
        result.good.to_string(),
        result.bad.to_string(),
        result.outcome.as_str().replace('_', " "),
    ]
}

fn short_time(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time in the largest unit that it is a whole number of.
fn of_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(each, _)| seconds > 0 && seconds.is_multiple_of(*each));
    match unit {
        Some((each, unit)) => format!("{}{unit}", seconds / each),
        None => format!("{}s", time.as_secs_f64()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "must be a time such as 30m, 24h or 2d".to_owned())
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        let (code, hint) = (error.code(), error.hint());
        let exit = match error {
            ScheduleError::Store(error) => {
                let failure = Self::from(error);
                return match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                };
            }
            ScheduleError::Plan(_) => Exit::Usage,
            _ => Exit::Conflict,
        };
        let failure = Self::new(code, error.to_string(), exit);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Longer than it takes a node that was killed to lose its lease, and another to look.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);
