//! A run, decided again and again by counters and a clock that the test makes.

use std::time::Duration;

use super::super::{Guard, RunPlan};
use super::*;
use crate::rollout::Stage;

/// A run at its first step, the rollout that it has made, and its nodes.
struct Lab {
    run: Run,
    rollout: Rollout,
    nodes: Vec<NodeCounts>,
    unlisted: Vec<String>,
}

const HOUR: f64 = 3600.0;
const WINDOW: f64 = 300.0;
const BEGAN: f64 = 1_000_000.0;

fn node(id: u128, since: f64) -> NodeCounts {
    NodeCounts {
        id: Uuid::from_u128(id),
        name: format!("node-{id}"),
        since,
        told_at: since,
        is_live: true,
        counts: Some(Counts::default()),
    }
}

impl Lab {
    /// Of two nodes, soaking for an hour at 10 and two at 50.
    fn new() -> Self {
        let now = Rollout::default().with(&"shadow".parse().unwrap(), "a salt").unwrap();
        let steps = [10, 50, 100].map(|percent| Share::of_thousandths(percent * 1000).unwrap());
        let soaks = [1, 2].map(|hours| Duration::from_secs(hours * 3600));
        let plan = RunPlan::new(&steps, &soaks, Guard::default(), &now, "").unwrap();
        let (run, rollout) = Run::begin(plan, &now, BEGAN);
        let nodes = vec![node(1, BEGAN - HOUR), node(2, BEGAN - HOUR)];
        Self { run, rollout, nodes, unlisted: Vec::new() }
    }

    /// So many seconds later, after so many more calls through a node.
    fn after(&mut self, seconds: f64, node: usize, inside: u64, faults: u64) -> Option<RunEvent> {
        self.run.now += seconds;
        for node in &mut self.nodes {
            node.told_at = self.run.now;
        }
        if let Some(counts) = self.nodes.get_mut(node).and_then(|node| node.counts.as_mut()) {
            counts.add(Counts { inside, faults });
        }
        let next = self.run.next(&self.rollout, &self.nodes, &self.unlisted);
        // It is written and read again.
        let progress = serde_json::to_string(&next.run.progress).unwrap();
        self.run = Run { progress: serde_json::from_str(&progress).unwrap(), ..next.run };
        self.rollout = next.rollout.unwrap_or(self.rollout.clone());
        next.event
    }

    fn good(&mut self, seconds: f64) -> Option<RunEvent> {
        self.after(seconds, 0, 1000, 1)
    }

    fn bad(&mut self) -> Option<RunEvent> {
        self.after(WINDOW, 1, 1000, 11)
    }

    fn percent(&self) -> String {
        self.rollout.percent.to_string()
    }
}

#[test]
fn it_goes_through_its_steps_and_writes_down_what_it_found() {
    let mut lab = Lab::new();
    assert_eq!(
        (lab.run.step, lab.percent().as_str(), lab.rollout.stage),
        (1, "10", Stage::Percent)
    );
    assert_eq!(lab.good(0.0), None, "the counters of before count for nothing");
    assert_eq!(lab.good(WINDOW), None);
    assert_eq!(lab.good(HOUR - WINDOW - 1.0), None, "a second is left");
    assert!(matches!(lab.good(1.0), Some(RunEvent::Stepped(_))));
    assert_eq!((lab.run.step, lab.percent().as_str()), (2, "50"));
    lab.good(1.0);
    assert_eq!(lab.good(HOUR), None, "of two hours");
    assert!(lab.good(HOUR).is_some());
    assert_eq!((lab.run.step, lab.percent().as_str()), (3, "100"));
    lab.good(1.0);
    assert_eq!(lab.good(WINDOW - 1.0), None, "the last step waits for a window");
    assert_eq!(lab.good(1.0), Some(RunEvent::Done));
    assert_eq!(
        (lab.run.state, lab.run.is_open(), lab.percent().as_str()),
        (RunState::Done, false, "100")
    );
    let results = &lab.run.progress.results;
    assert!(results.iter().all(|result| result.outcome == Outcome::Passed && result.bad == 0));
    let calls: Vec<_> = results.iter().map(|result| (result.step, result.counts.inside)).collect();
    assert_eq!(calls, [(1, 3000), (2, 2000), (3, 2000)]);
    assert_eq!((results[0].until - results[0].from).num_seconds(), 3600);
    assert_eq!(lab.good(HOUR), None, "nothing comes after that");
}

#[test]
fn two_bad_windows_in_a_row_go_back_one_step_and_pause() {
    let mut lab = Lab::new();
    lab.good(0.0);
    lab.good(WINDOW);
    assert!(lab.good(HOUR).is_some());
    lab.good(0.0);
    assert_eq!(lab.bad(), None, "one is none");
    lab.good(WINDOW);
    assert_eq!(lab.bad(), None, "they are not in a row");
    assert_eq!(lab.bad(), Some(RunEvent::WentBack));
    assert_eq!((lab.run.step, lab.percent().as_str(), lab.run.state), (1, "10", RunState::Paused));
    assert!(lab.run.went_back() && lab.run.why.as_deref().unwrap().contains("11 were faults"));
    let last = lab.run.progress.results.last().unwrap();
    assert_eq!((last.step, last.bad, last.outcome), (2, 3, Outcome::WentBack));
    assert_eq!(lab.good(HOUR * 9.0), None, "it stays there");
    lab.run.resume();
    lab.good(0.0);
    assert_eq!(lab.good(WINDOW), None, "it soaks anew");
    assert!(lab.good(HOUR).is_some());
    assert_eq!(lab.percent(), "50");
}

#[test]
fn the_first_step_goes_back_to_where_the_rollout_was_and_is_taken_again() {
    let mut lab = Lab::new();
    lab.good(0.0);
    lab.bad();
    assert_eq!(lab.bad(), Some(RunEvent::WentBack));
    assert_eq!((lab.run.step, lab.rollout.stage), (0, Stage::Shadow));
    lab.run.resume();
    assert!(matches!(lab.good(2.0), Some(RunEvent::Stepped(_))));
    assert_eq!((lab.run.step, lab.percent().as_str()), (1, "10"));
}

#[test]
fn a_window_with_too_few_calls_is_neither_good_nor_bad_and_the_soak_waits_for_it() {
    let mut lab = Lab::new();
    lab.good(0.0);
    assert_eq!(lab.after(HOUR, 0, 99, 99), None);
    assert_eq!((lab.run.progress.good, lab.run.progress.bad), (0, 0));
    assert_eq!(lab.after(HOUR, 0, 0, 0), None, "long after the soak");
    lab.after(1.0, 0, 1, 0);
    assert_eq!(lab.run.progress.bad, 1, "with one more it is judged");
    assert_eq!(lab.after(WINDOW, 0, 99, 0), None, "a bad one was the last");
    assert!(lab.after(1.0, 1, 1, 0).is_some());
}

#[test]
fn a_window_that_is_going_wrong_keeps_it_from_the_next_step() {
    let mut lab = Lab::new();
    lab.good(0.0);
    lab.good(HOUR - 10.0);
    assert_eq!(lab.after(10.0, 0, 100, 50), None, "the soak is over");
    assert_eq!(
        lab.after(WINDOW, 0, 10_000, 0),
        Some(RunEvent::Stepped(lab.run.plan.steps[1].percent))
    );
}

#[test]
fn a_share_of_faults_that_is_just_the_limit_is_good() {
    for (faults, bad) in [(10, 0), (11, 1)] {
        let mut lab = Lab::new();
        lab.good(0.0);
        lab.after(WINDOW, 0, 1000, faults);
        assert_eq!(lab.run.progress.bad, bad);
    }
}

#[test]
fn counters_count_from_the_step_on_also_of_who_restarts_comes_leaves_or_begins_anew() {
    let mut lab = Lab::new();
    lab.nodes[0].counts = Some(Counts { inside: 5000, faults: 5000 });
    (lab.nodes[0].told_at, lab.nodes[1].told_at) = (BEGAN, BEGAN - 1.0);
    lab.run = lab.run.next(&lab.rollout, &lab.nodes, &[]).run;
    assert_eq!(lab.run.window_since, None, "one has not told since the step");
    lab.nodes[1].is_live = false;
    let next = lab.run.next(&lab.rollout, &lab.nodes, &[]).run;
    assert_eq!(next.window_since, Some(BEGAN), "who is silent is not waited for");
    lab.nodes[1].is_live = true;
    lab.after(1.0, 9, 0, 0);
    lab.after(1.0, 0, 10, 1);
    assert_eq!(lab.run.progress.window, Counts { inside: 10, faults: 1 });
    // The first process restarts: another row, which begins at nothing.
    lab.nodes[0] =
        NodeCounts { counts: Some(Counts { inside: 7, faults: 0 }), ..node(3, lab.run.now + 0.5) };
    lab.after(1.0, 1, 3, 0);
    assert_eq!(lab.run.progress.window, Counts { inside: 20, faults: 1 });
    // One that had not been heard of for long is there again, with what it counted long ago.
    lab.nodes.push(NodeCounts {
        counts: Some(Counts { inside: 900, faults: 900 }),
        ..node(4, BEGAN - HOUR)
    });
    lab.after(1.0, 2, 0, 0);
    assert_eq!(lab.run.progress.window.inside, 20);
    lab.after(1.0, 2, 5, 0);
    assert_eq!(lab.run.progress.window.inside, 25, "from then on");
    lab.nodes[1].counts = Some(Counts { inside: 2, faults: 0 });
    lab.after(1.0, 9, 0, 0);
    assert_eq!(lab.run.progress.window.inside, 27, "one that fell began anew");
    lab.nodes.truncate(1);
    lab.after(1.0, 9, 0, 0);
    assert_eq!(lab.run.progress.window.inside, 27, "who leaves takes nothing along");
}

#[test]
fn nobody_steps_while_a_node_knows_no_runs_or_has_no_row() {
    let mut lab = Lab::new();
    lab.good(0.0);
    lab.good(WINDOW);
    lab.nodes.push(NodeCounts { counts: None, ..node(9, BEGAN) });
    assert_eq!(lab.good(HOUR), None);
    assert_eq!(lab.run.progress.blocked_by, ["node-9"]);
    assert!(lab.run.is_blocked());
    lab.nodes.pop();
    lab.unlisted = vec!["stranger".to_owned()];
    assert_eq!(lab.good(1.0), None);
    assert_eq!(lab.run.progress.blocked_by, ["stranger"]);
    lab.unlisted.clear();
    assert!(lab.good(1.0).is_some());
    assert!(!lab.run.is_blocked());
}

#[test]
fn it_goes_back_though_it_is_blocked() {
    let mut lab = Lab::new();
    lab.unlisted = vec!["stranger".to_owned()];
    lab.good(0.0);
    lab.bad();
    assert_eq!(lab.bad(), Some(RunEvent::WentBack));
}

#[test]
fn a_rollout_that_others_changed_pauses_it_and_a_list_that_they_changed_does_not() {
    let mut lab = Lab::new();
    lab.good(0.0);
    lab.rollout.version += 1;
    lab.rollout.deny = vec![crate::number::TenantId(Uuid::from_u128(5))];
    assert_eq!(lab.good(1.0), None);
    for edit in ["off", "11", "live"] {
        let mut lab = Lab::new();
        lab.rollout = lab.rollout.with(&edit.parse().unwrap(), "").unwrap();
        assert_eq!(lab.good(1.0), Some(RunEvent::ChangedByHand), "{edit}");
        assert_eq!(lab.run.state, RunState::Paused);
        assert!(lab.run.why.as_deref().unwrap().contains("changed by hand"));
        assert!(!lab.run.went_back());
        assert_eq!(lab.good(HOUR * 9.0), None);
    }
    let mut lab = Lab::new();
    lab.rollout.salt = "another".into();
    assert_eq!(lab.good(1.0), Some(RunEvent::ChangedByHand), "other tenants are inside");
}

#[test]
fn a_step_keeps_the_lists_as_they_are() {
    let mut lab = Lab::new();
    lab.rollout.deny = vec![crate::number::TenantId(Uuid::from_u128(5))];
    lab.good(0.0);
    lab.good(WINDOW);
    assert!(lab.good(HOUR).is_some());
    assert_eq!((lab.rollout.deny.len(), lab.percent().as_str()), (1, "50"));
}
