//! A run: a rollout that is taken further by itself, from step to step, while few calls fail.
//!
//! At each step it soaks. Meanwhile it looks at the calls of those inside, window by window. After the
//! soak, and a window that was good, comes the next step; after two bad windows in a row it goes back
//! one step and pauses. All times are of the database's clock.

mod next;
mod plan;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

pub use self::next::RunEvent;
pub(crate) use self::next::{Next, NodeCounts};
pub use self::plan::{Before, Guard, RunError, RunPlan, RunStep};
use super::{Rollout, Share, Stage};

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// It takes its steps.
    Running,
    /// It stays where it is until somebody resumes it.
    Paused,
    /// Its last step was good.
    Done,
    /// Somebody has ended it.
    Stopped,
}

impl RunState {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Done, Self::Stopped];

    /// Its name in rows, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Calls of those inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// How many were asked for: answers of the database, and faults.
    pub inside: u64,
    /// How many of these the database did not answer, though nobody wanted it so.
    pub faults: u64,
}

impl Counts {
    /// What was counted since an earlier look. A counter that is smaller than before began anew.
    pub(crate) fn since(self, before: Self) -> Self {
        if self.inside < before.inside || self.faults < before.faults {
            return self;
        }
        Self { inside: self.inside - before.inside, faults: self.faults - before.faults }
    }

    fn add(&mut self, more: Self) {
        self.inside = self.inside.saturating_add(more.inside);
        self.faults = self.faults.saturating_add(more.faults);
    }
}

/// What became of a time at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It soaked to its end, and the next step came.
    Passed,
    /// Two windows in a row were bad.
    WentBack,
    /// Somebody paused it.
    Paused,
    /// Somebody changed the rollout otherwise.
    ChangedByHand,
    /// Somebody ended the run.
    Stopped,
}

impl Outcome {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::WentBack => "went_back",
            Self::Paused => "paused",
            Self::ChangedByHand => "changed_by_hand",
            Self::Stopped => "stopped",
        }
    }
}

/// What was found in a time at one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepResult {
    /// Which step, counted from one.
    pub step: usize,
    /// The share that was inside.
    pub percent: Share,
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// The calls of those inside.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many windows were good.
    pub good: u64,
    /// How many were bad.
    pub bad: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How far a run has come at its step, and what it has found at earlier ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// The counters of each node when they were read last.
    #[serde(default)]
    pub(crate) seen: BTreeMap<Uuid, Counts>,
    /// The calls of this window.
    pub window: Counts,
    /// The calls of this step.
    pub at_step: Counts,
    /// How many windows of this step were good.
    pub good: u64,
    /// How many were bad.
    pub bad: u64,
    /// How many bad ones there were since the last good one.
    pub bad_in_a_row: u64,
    /// Who keeps it from its next step: nodes that know no runs, or nobody knows of.
    #[serde(default)]
    pub blocked_by: Vec<String>,
    /// What was found at each step, the first one first.
    #[serde(default)]
    pub results: Vec<StepResult>,
}

/// A run as the database has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// Which one, counted from one.
    pub id: i64,
    /// Whether it goes on.
    pub state: RunState,
    /// At which step it is, counted from one. Zero: where the rollout was before the run.
    pub step: usize,
    /// Since when.
    #[serde(serialize_with = "as_time")]
    pub since: f64,
    /// Since when the counters of this window count. `None`: not every node has told since the step.
    #[serde(serialize_with = "as_time_or_none")]
    pub window_since: Option<f64>,
    /// Why it is paused or has ended.
    pub why: Option<String>,
    /// Which node takes it further.
    #[serde(skip)]
    pub(crate) leader: Option<Uuid>,
    /// The name of that node.
    #[serde(rename = "led_by")]
    pub leader_name: Option<String>,
    /// Until when nobody else does.
    #[serde(skip)]
    pub(crate) leads_until: f64,
    /// What was asked for.
    pub plan: RunPlan,
    /// How far it has come.
    pub progress: Progress,
    /// When it began.
    #[serde(serialize_with = "as_time")]
    pub begun: f64,
    /// When it ended.
    #[serde(serialize_with = "as_time_or_none")]
    pub ended: Option<f64>,
    /// What the database's clock said when it was read.
    #[serde(serialize_with = "as_time")]
    pub now: f64,
    #[serde(skip)]
    pub(crate) version: i64,
}

impl Run {
    /// One that takes its first step: itself, and what the rollout is to be.
    pub(crate) fn begin(plan: RunPlan, rollout: &Rollout, now: f64) -> (Self, Rollout) {
        let mut run = Self {
            id: 0,
            state: RunState::Running,
            step: 0,
            since: now,
            window_since: None,
            why: None,
            leader: None,
            leader_name: None,
            leads_until: 0.0,
            plan,
            progress: Progress::default(),
            begun: now,
            ended: None,
            now,
            version: 0,
        };
        let rollout = run.go_to(1, rollout);
        (run, rollout)
    }

    /// Since when it is at its step.
    #[must_use]
    pub fn at_step_since(&self) -> DateTime<Utc> {
        time(self.since)
    }

    /// What the database's clock said when it was read.
    #[must_use]
    pub fn read_at(&self) -> DateTime<Utc> {
        time(self.now)
    }

    /// Whether it is running or paused.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether its own guard has paused it.
    #[must_use]
    pub fn went_back(&self) -> bool {
        self.state == RunState::Paused
            && self.progress.results.last().is_some_and(|last| last.outcome == Outcome::WentBack)
    }

    /// Whether nodes keep it from its next step.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.state == RunState::Running && !self.progress.blocked_by.is_empty()
    }

    /// Whether some node takes it further at present.
    #[must_use]
    pub fn is_led(&self) -> bool {
        self.leader.is_some() && self.leads_until > self.now
    }

    /// Whether the rollout is what this run has made it.
    #[must_use]
    pub fn is_at(&self, rollout: &Rollout) -> bool {
        let there = self.target(self.step, rollout);
        (rollout.stage, &rollout.salt) == (there.stage, &there.salt)
            && (rollout.stage != Stage::Percent || rollout.percent == there.percent)
    }

    /// Pauses it. Its soak begins anew when it is resumed.
    pub(crate) fn pause(&mut self, why: &str, outcome: Outcome) {
        self.close(outcome);
        self.state = RunState::Paused;
        self.why = Some(why.to_owned());
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        self.state = RunState::Running;
        self.why = None;
        self.since = self.now;
    }

    /// Ends it where it is.
    pub(crate) fn stop(&mut self, why: &str) {
        if self.state == RunState::Running {
            self.close(Outcome::Stopped);
        }
        self.state = RunState::Stopped;
        self.why = Some(why.to_owned());
        self.ended = Some(self.now);
    }

    /// Where it left the rollout, in words.
    pub(crate) fn left_at(&self, rollout: &Rollout) -> String {
        let Rollout { stage, percent, .. } = self.target(self.step, rollout);
        if stage == Stage::Percent { percent.to_string() } else { stage.to_string() }
    }

    /// What the rollout is at a step.
    fn target(&self, step: usize, rollout: &Rollout) -> Rollout {
        let RunPlan { before, salt, steps, .. } = &self.plan;
        let (stage, percent) = match step.checked_sub(1).and_then(|at| steps.get(at)) {
            Some(step) => (Stage::Percent, step.percent),
            None => (before.stage, before.percent),
        };
        Rollout { stage, percent, salt: salt.clone(), ..rollout.clone() }
    }

    fn go_to(&mut self, step: usize, rollout: &Rollout) -> Rollout {
        (self.step, self.since) = (step, self.now);
        self.target(step, rollout)
    }

    /// Writes down what was found at this step, and counts from nothing.
    fn close(&mut self, outcome: Outcome) {
        let Progress { at_step: counts, good, bad, .. } = self.progress;
        let percent = self.step.checked_sub(1).and_then(|at| self.plan.steps.get(at));
        if let Some(RunStep { percent, .. }) = percent.copied() {
            let (from, until) = (time(self.since), time(self.now));
            let step = self.step;
            let result = StepResult { step, percent, from, until, counts, good, bad, outcome };
            self.progress.results.push(result);
        }
        // Of a run that is paused and resumed again and again, the last ones.
        let mut results = std::mem::take(&mut self.progress.results);
        results.drain(..results.len().saturating_sub(MOST_RESULTS));
        self.progress = Progress { results, ..Progress::default() };
        self.window_since = None;
    }

    /// It for people and programs, without what is of no use to them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut shown = json!(self);
        if let Some(progress) = shown["progress"].as_object_mut() {
            progress.remove("seen");
            if let Some(results) = progress.remove("results") {
                shown["results"] = results;
            }
        }
        shown["is_led"] = json!(self.is_led());
        shown
    }
}

/// A time of the database's clock.
pub(crate) fn time(seconds: f64) -> DateTime<Utc> {
    #[expect(clippy::cast_possible_truncation, reason = "so many are no time")]
    let milliseconds = (seconds * 1000.0) as i64;
    DateTime::from_timestamp_millis(milliseconds).unwrap_or_default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_time<S: Serializer>(seconds: &f64, to: S) -> Result<S::Ok, S::Error> {
    time(*seconds).serialize(to)
}

#[expect(clippy::ref_option, reason = "serde passes references")]
fn as_time_or_none<S: Serializer>(seconds: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    seconds.map(time).serialize(to)
}

const MOST_RESULTS: usize = 200;
