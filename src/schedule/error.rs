//! Why a run is not begun or changed. Nothing was done then.

use super::names;
use crate::rollout::{RunError, RunState};
use crate::store::StoreError;

/// Why a run is not begun or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be as it was asked for.
    #[error(transparent)]
    Plan(#[from] RunError),
    /// The row of the rollout says what this version does not know.
    #[error("the database has a stage of the rollout that this version does not know")]
    StageUnknown,
    /// Another run is open.
    #[error("run {run} is {state}; there is one at a time")]
    Open {
        /// Which one.
        run: i64,
        /// How it is.
        state: RunState,
    },
    /// There was never one.
    #[error("no run of a rollout was ever begun in this database")]
    NoRun,
    /// It is not in the state that this takes.
    #[error("run {run} is {state}, and not {wanted}")]
    NotNow {
        /// Which one.
        run: i64,
        /// How it is.
        state: RunState,
        /// How it would have to be.
        wanted: &'static str,
    },
    /// The rollout is not as a paused run had left it.
    #[error("run {run} left the rollout at {left}, and it was changed by hand since ({now})")]
    Moved {
        /// Which one.
        run: i64,
        /// How the rollout is.
        now: String,
        /// How the run had left it.
        left: String,
    },
    /// Somebody else was quicker.
    #[error("somebody else has changed the rollout or its run meanwhile; nothing was changed")]
    Changed,
    /// Nobody would take it further.
    #[error("no daemon of this version is listed among the nodes, so nobody would take its steps")]
    Nobody,
    /// There are nodes whose calls nobody would count.
    #[error("{}", blocked(unaware, unlisted))]
    Blocked {
        /// Those with a row that says nothing of it.
        unaware: Vec<String>,
        /// Those without a row.
        unlisted: Vec<String>,
    },
}

impl ScheduleError {
    /// A stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Plan(_) => "rollout_run_malformed",
            Self::StageUnknown => "rollout_stage_unknown",
            Self::Open { .. } => "rollout_run_open",
            Self::NoRun => "rollout_run_missing",
            Self::NotNow { .. } => "rollout_run_state",
            Self::Moved { .. } => "rollout_moved",
            Self::Changed => "rollout_changed",
            Self::Nobody => "rollout_run_nobody",
            Self::Blocked { .. } => "rollout_run_blocked",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(StoreError::NotMigrated { .. }) => {
                Some("`trunkline db migrate` makes the table")
            }
            Self::Open { .. } => {
                Some("`trunkline rollout status` shows it; `trunkline rollout stop` ends it")
            }
            Self::Moved { .. } => Some(
                "set the rollout to that and resume, or end the run with `trunkline rollout stop`",
            ),
            Self::Nobody => {
                Some("start `trunkline serve`; `trunkline nodes list` shows who is there")
            }
            Self::Blocked { .. } => Some(
                "upgrade or end these programs, and give them the rights of a node: \
                 `trunkline nodes list`",
            ),
            Self::Changed => Some("`trunkline rollout status` shows what it is now"),
            Self::StageUnknown => Some("use the version that set it, or `trunkline rollout set`"),
            _ => None,
        }
    }
}

fn blocked(unaware: &[String], unlisted: &[String]) -> String {
    let mut told = Vec::new();
    if !unaware.is_empty() {
        told.push(format!("nodes of a version that knows no runs: {}", names(unaware)));
    }
    if !unlisted.is_empty() {
        told.push(format!("programs without a row among the nodes: {}", names(unlisted)));
    }
    format!("nobody would count the calls of {}", told.join("; "))
}
