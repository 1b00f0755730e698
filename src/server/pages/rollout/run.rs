//! The newest run on the page: how far it is, what it has found, and what may be done with it.

use crate::rollout::{Run, RunState, StepResult};
use crate::server::api::rollout::RunStep;
use crate::server::pages::parts::{When, exact, grouped};

/// A run as it is shown.
pub(super) struct ShownRun {
    pub(super) id: i64,
    pub(super) words: String,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) results: Vec<ShownResult>,
    /// What may be done with it: name and label.
    pub(super) steps: Vec<(&'static str, &'static str)>,
}

/// What it found at one step.
pub(super) struct ShownResult {
    pub(super) share: String,
    pub(super) until: When,
    pub(super) calls: String,
    pub(super) faults: String,
    pub(super) outcome: String,
}

/// What a button asks for.
pub(super) fn asked(word: &str) -> Option<RunStep> {
    match word {
        "pause" => Some(RunStep::Pause),
        "resume" => Some(RunStep::Resume),
        "stop" => Some(RunStep::Stop),
        _ => None,
    }
}

impl ShownRun {
    pub(super) fn of(run: &Run) -> Self {
        let why = run.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let steps = match run.state {
            RunState::Running => vec![("pause", "Pause"), ("stop", "Stop")],
            RunState::Paused => vec![("resume", "Resume"), ("stop", "Stop")],
            _ => Vec::new(),
        };
        Self {
            id: run.id,
            words: format!("It is {}{why}.", run.state),
            facts: if run.is_open() { facts(run) } else { Vec::new() },
            results: run.progress.results.iter().rev().map(|at| ShownResult::of(at, run)).collect(),
            steps,
        }
    }
}

impl ShownResult {
    fn of(result: &StepResult, run: &Run) -> Self {
        Self {
            share: format!("{} %", result.percent),
            until: When::new(result.until, run.read_at()),
            calls: grouped(result.counts.inside),
            faults: grouped(result.counts.faults),
            outcome: result.outcome.as_str().replace('_', " "),
        }
    }
}

fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let progress = &run.progress;
    let shares = run.plan.steps.iter().map(|step| format!("{} %", step.percent));
    let mut facts = vec![
        ("Steps", shares.collect::<Vec<_>>().join(", ")),
        ("At step", format!("{} of {}", run.step, run.plan.steps.len())),
        ("Since", exact(run.at_step_since())),
        ("Calls at this step", grouped(progress.at_step.inside)),
        ("Faults at this step", grouped(progress.at_step.faults)),
        ("Windows", format!("{} good, {} bad", progress.good, progress.bad)),
    ];
    if run.is_blocked() {
        facts.push(("Kept by", progress.blocked_by.join(", ")));
    }
    if run.state == RunState::Running {
        let name = run.leader_name.clone().filter(|_| run.is_led());
        facts.push(("Taken further by", name.unwrap_or_else(|| "no daemon at present".to_owned())));
    }
    facts
}
