//! How a batch stands while it runs, on stderr.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use trunkline::clock::{Clock, Moment, SystemClock};
use trunkline::dispatch::Outcome;
use trunkline::dispatch::batch::Summary;

use super::super::failure::Done;

/// A bar on a terminal, a line every few seconds elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    clock: SystemClock,
    next: Moment,
}

impl Progress {
    pub(super) fn new() -> Self {
        let clock = SystemClock::default();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = "{bar:40} {pos}/{len} {msg} {per_sec}, {eta} to go";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        let next = clock.now().after(EVERY);
        Self { bar, clock, next }
    }

    /// Prints without drawing over the bar.
    pub(super) fn around(&self, print: impl FnOnce() -> Done) -> Done {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(super) fn show(&mut self, summary: &Summary) {
        if let Some(bar) = &self.bar {
            bar.set_length(summary.entries);
            bar.set_position(summary.done() + summary.left);
            let others = summary.done() - summary.of(Outcome::Placed);
            bar.set_message(format!("{} placed, {others} not", summary.of(Outcome::Placed)));
            return;
        }
        let now = self.clock.now();
        if now > self.next {
            self.next = now.after(EVERY);
            let (done, all) = (summary.done(), summary.entries);
            tracing::info!(done, all, placed = summary.of(Outcome::Placed), "batch");
        }
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How often a line tells how it stands where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);
