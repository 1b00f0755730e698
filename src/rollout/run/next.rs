//! What a run comes to: decided by its row, the counters of the nodes, the rollout and the database's
//! clock, and by nothing else. So whoever leads it decides the same.
//!
//! **Invariant:** no step is taken while somebody is there whose calls nobody counts.

use std::fmt;

use uuid::Uuid;

use super::{Counts, Outcome, Run, RunState};
use crate::rollout::{Rollout, Share};

/// What a node has told of the calls of those inside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeCounts {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    /// When its row began, and with it its counters.
    pub(crate) since: f64,
    /// When it told that.
    pub(crate) told_at: f64,
    /// Whether it is known to run.
    pub(crate) is_live: bool,
    /// `None`: it knows no runs.
    pub(crate) counts: Option<Counts>,
}

/// What a run has come to.
pub(crate) struct Next {
    pub(crate) run: Run,
    /// What the rollout is to be, if this is another one.
    pub(crate) rollout: Option<Rollout>,
    pub(crate) event: Option<RunEvent>,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEvent {
    /// It has taken its next step.
    Stepped(Share),
    /// Its last step was good.
    Done,
    /// It has gone back.
    WentBack,
    /// It has paused, since somebody has changed the rollout.
    ChangedByHand,
}

impl fmt::Display for RunEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stepped(percent) => write!(out, "went on to {percent} %"),
            Self::Done => out.write_str("is done"),
            Self::WentBack => out.write_str("went back one step and paused"),
            Self::ChangedByHand => out.write_str("paused, since the rollout was changed otherwise"),
        }
    }
}

impl Run {
    /// What it comes to. `unlisted`: programs of ours that have no row.
    pub(crate) fn next(
        &self,
        rollout: &Rollout,
        nodes: &[NodeCounts],
        unlisted: &[String],
    ) -> Next {
        let mut run = self.clone();
        if run.state != RunState::Running {
            return Next { run, rollout: None, event: None };
        }
        if !run.is_at(rollout) {
            let why = format!("the rollout was changed by hand: {}", rollout.in_words());
            run.pause(&why, Outcome::ChangedByHand);
            return Next { run, rollout: None, event: Some(RunEvent::ChangedByHand) };
        }
        let unaware = nodes.iter().filter(|node| node.counts.is_none()).map(|node| &node.name);
        run.progress.blocked_by = unaware.chain(unlisted).cloned().collect();
        run.count(nodes);
        if let Some(why) = run.judge() {
            run.close(Outcome::WentBack);
            let back = run.step.saturating_sub(1);
            let rollout = run.go_to(back, rollout);
            (run.state, run.why) = (RunState::Paused, Some(why));
            return Next { run, rollout: Some(rollout), event: Some(RunEvent::WentBack) };
        }
        if !run.may_go_on() {
            return Next { run, rollout: None, event: None };
        }
        run.close(Outcome::Passed);
        if run.step == run.plan.steps.len() {
            (run.state, run.ended) = (RunState::Done, Some(run.now));
            return Next { run, rollout: None, event: Some(RunEvent::Done) };
        }
        let rollout = run.go_to(run.step + 1, rollout);
        let event = Some(RunEvent::Stepped(rollout.percent));
        Next { run, rollout: Some(rollout), event }
    }

    /// Counts what came since the last look.
    fn count(&mut self, nodes: &[NodeCounts]) {
        if self.step == 0 {
            return;
        }
        let known = || nodes.iter().filter_map(|node| Some((node, node.counts?)));
        let Some(window_since) = self.window_since else {
            // What was counted before the step is no news. So each node has to tell once after it.
            if known().all(|(node, _)| !node.is_live || node.told_at >= self.since) {
                self.progress.seen = known().map(|(node, counts)| (node.id, counts)).collect();
                self.window_since = Some(self.now);
            }
            return;
        };
        let mut news = Counts::default();
        for (node, counts) in known() {
            match self.progress.seen.get(&node.id) {
                Some(before) => news.add(counts.since(*before)),
                // A process that began since then, with counters that began with it.
                None if node.since >= window_since => news.add(counts),
                // One that was not heard of for so long that it did not count.
                None => {}
            }
        }
        self.progress.seen = known().map(|(node, counts)| (node.id, counts)).collect();
        self.progress.window.add(news);
        self.progress.at_step.add(news);
    }

    /// Ends the window, if it is over. Why the run goes back, if it does.
    fn judge(&mut self) -> Option<String> {
        let (guard, window) = (self.plan.guard, self.progress.window);
        let age = self.now - self.window_since?;
        if age < guard.window.as_secs_f64() || window.inside < guard.least {
            return None;
        }
        (self.window_since, self.progress.window) = (Some(self.now), Counts::default());
        if !self.is_bad(window) {
            self.progress.good += 1;
            self.progress.bad_in_a_row = 0;
            return None;
        }
        self.progress.bad += 1;
        self.progress.bad_in_a_row += 1;
        (self.progress.bad_in_a_row >= BAD_IN_A_ROW).then(|| {
            let Counts { inside, faults } = window;
            format!(
                "two windows in a row were bad: of {inside} calls of the last one, {faults} were faults, \
                 and more than {} % is too many",
                guard.bad
            )
        })
    }

    fn is_bad(&self, window: Counts) -> bool {
        let of_all = u128::from(window.inside) * u128::from(self.plan.guard.bad.thousandths());
        u128::from(window.faults) * u128::from(Share::WHOLE.thousandths()) > of_all
    }

    /// Whether it has soaked for as long as it had to, and was good when it was looked at last.
    fn may_go_on(&self) -> bool {
        let progress = &self.progress;
        if !progress.blocked_by.is_empty() {
            return false;
        }
        let Some(step) = self.step.checked_sub(1).and_then(|at| self.plan.steps.get(at)) else {
            // Before its first step, to which it has gone back, nothing is to be waited for.
            return true;
        };
        let is_over = self.now - self.since >= step.soak.as_secs_f64();
        let is_going_wrong =
            progress.window.inside >= self.plan.guard.least && self.is_bad(progress.window);
        is_over && progress.good > 0 && progress.bad_in_a_row == 0 && !is_going_wrong
    }
}

const BAD_IN_A_ROW: u64 = 2;

#[cfg(test)]
mod tests;
