//! Logs the state of a daemon: ready, not ready and why, the database lost, and back. Each once,
//! when it begins; the metrics have the rest.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::health::{Hears, Readiness, Unready};

/// Watches and tells, for as long as it is polled.
pub(super) async fn run(health: &Readiness) -> Infallible {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state_log =
        StateLog { began: Instant::now(), ready: None, reason: None, lost: None, heard: false };
    loop {
        look.tick().await;
        state_log.update(health.look(), &health.hears());
    }
}

/// What was told last.
struct StateLog {
    began: Instant,
    ready: Option<bool>,
    reason: Option<&'static str>,
    /// Since when changes are not heard that were heard before.
    lost: Option<Instant>,
    heard: bool,
}

impl StateLog {
    fn update(&mut self, unready: Option<Unready>, hears: &Hears) {
        self.of_changes(hears);
        let reason = unready.as_ref().map(Unready::code);
        if self.ready == Some(reason.is_none()) && self.reason == reason {
            return;
        }
        // Connecting takes its time, which is no news.
        if self.ready.is_none() && unready.is_some() && self.began.elapsed() < START {
            return;
        }
        (self.ready, self.reason) = (Some(reason.is_none()), reason);
        match unready {
            None => tracing::info!(hearing = ?hears.by, "ready"),
            Some(Unready::Stopping) => {}
            Some(unready) => {
                tracing::warn!(reason = unready.code(), why = %unready, "not ready");
            }
        }
    }

    fn of_changes(&mut self, hears: &Hears) {
        if !hears.wanted {
            (self.heard, self.lost) = (false, None);
            return;
        }
        match (hears.proven, self.lost) {
            (true, Some(since)) => {
                self.lost = None;
                let lost_for = since.elapsed();
                tracing::info!(?lost_for, hearing = ?hears.by, "the database is back: changes are heard again");
            }
            (false, None) if self.heard => {
                self.lost = Some(Instant::now());
                let trouble = hears.trouble.as_deref().unwrap_or("no sign of life came back");
                tracing::warn!(trouble, "the database is lost: changes are not heard any more");
            }
            (true, None) if !self.heard => {
                tracing::info!(hearing = ?hears.by, "changes are heard");
            }
            _ => {}
        }
        self.heard |= hears.proven;
    }
}

const LOOK: Duration = Duration::from_millis(250);
/// How long a start may take before it is told that it is not ready.
const START: Duration = Duration::from_secs(2);
