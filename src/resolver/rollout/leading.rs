//! Takes a run of the rollout further: each node looks whether one is open, and one of them leads it.
//!
//! A run begins with a step, and a step is a change of the rollout. So a node that knows of no open run
//! asks nothing until the rollout changes.

use std::sync::Weak;
use std::time::Duration;

use metrics::{Gauge, gauge};
use tokio::time::sleep;

use crate::backoff::dice;
use crate::resolver::Engine;
use crate::rollout::{Run, RunEvent, RunState};
use crate::schedule::{Led, SEEN_EVERY, Schedule};
use crate::telemetry::ROLLOUT_RUN;

/// How the newest run stands, as this node has seen it last.
pub(in crate::resolver) struct RunShown([Gauge; STATES.len()]);

impl RunShown {
    /// Makes the handles, all series at zero.
    pub(in crate::resolver) fn new() -> Self {
        let shown = Self(STATES.map(|state| gauge!(ROLLOUT_RUN, "state" => state)));
        shown.show(None);
        shown
    }

    fn show(&self, run: Option<&Run>) {
        let state = run.filter(|run| run.is_open()).map(|run| match run.state {
            _ if run.went_back() => "went_back",
            _ if run.is_blocked() => "blocked",
            RunState::Running => "running",
            _ => "paused",
        });
        for (gauge, of) in self.0.iter().zip(STATES) {
            gauge.set(f64::from(u8::from(state == Some(of))));
        }
    }
}

/// What a node remembers from look to look.
#[derive(Default)]
struct Watch {
    /// The version of the rollout at the last look. `None`: there was none yet.
    version: Option<i64>,
    is_open: bool,
}

impl Watch {
    fn is_due(&self, version: i64) -> bool {
        self.is_open || self.version != Some(version)
    }
}

/// Looks after the newest run for as long as it is polled.
pub(in crate::resolver) async fn lead_now_and_then(engine: Weak<Engine>) {
    let mut watch = Watch::default();
    loop {
        let wait = match engine.upgrade() {
            Some(engine) => engine.look_at_run(&mut watch).await,
            None => return,
        };
        sleep(wait.mul_f64(0.75 + dice() / 4.0)).await;
    }
}

impl Engine {
    /// One look. How long until the next one.
    async fn look_at_run(&self, watch: &mut Watch) -> Duration {
        let [mine, others] = SEEN_EVERY.map(Duration::from_secs);
        let (Some(database), Some(registration)) = (&self.database, &self.registration) else {
            return FORBIDDEN;
        };
        let leaves_it = self.feed.as_ref().is_some_and(|feed| feed.leaves_upkeep_to_others());
        // One that is not listed counts for nobody.
        let Some(row) = registration.row().filter(|_| !leaves_it) else {
            *watch = Watch::default();
            self.telemetry.run.show(None);
            return mine;
        };
        let version = self.loader.rollout.known_version();
        if !watch.is_due(version) {
            return mine;
        }
        match Schedule::of(database).lead(row, registration.name()).await {
            Ok(led) => {
                let is_mine = led.as_ref().is_some_and(|led| led.is_mine);
                self.telemetry.run.show(led.as_ref().map(|led| &led.run));
                watch.is_open = led.as_ref().is_some_and(|led| led.run.is_open());
                watch.version = Some(version);
                led.iter().for_each(tell);
                if is_mine { mine } else { others }
            }
            Err(error) if error.may_not_write() => {
                tracing::debug!("runs of the rollout are not led from here");
                FORBIDDEN
            }
            Err(error) => {
                tracing::warn!(%error, "the run of the rollout could not be looked after");
                others
            }
        }
    }
}

fn tell(led: &Led) {
    let Led { run, event, .. } = led;
    let Some(event) = event else { return };
    let (id, step, why) = (run.id, run.step, run.why.as_deref());
    match event {
        RunEvent::WentBack | RunEvent::ChangedByHand => {
            tracing::warn!(run = id, step, why, "the run of the rollout {event}");
        }
        _ => tracing::info!(run = id, step, "the run of the rollout {event}"),
    }
}

/// How an open run may stand.
const STATES: [&str; 4] = ["running", "paused", "blocked", "went_back"];
/// How long a node that may not lead waits before it looks again.
const FORBIDDEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_looks_once_then_while_a_run_is_open_and_when_the_rollout_changes() {
        let mut watch = Watch::default();
        assert!(watch.is_due(0), "at first");
        watch.version = Some(0);
        assert!(!watch.is_due(0) && watch.is_due(1));
        watch.is_open = true;
        assert!(watch.is_due(0));
    }
}
