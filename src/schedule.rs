//! Rollouts that are taken further by themselves: begun, looked at, paused, resumed and ended by people,
//! and led by one node at a time.
//!
//! What a run comes to is decided in `rollout/run/next.rs`. Here is who decides it: whoever holds the lease
//! of its row. Each step is one transaction of the run's row and the rollout's, both by their versions. So of
//! two who think that they lead, one takes the step; and one who is killed has taken it, or has not.
//!
//! **Invariant:** a run and the rollout that it made are written together, or neither.

mod error;
mod leading;

use std::sync::Arc;

use serde::Serialize;

pub use self::error::ScheduleError;
pub(crate) use self::leading::{Led, SEEN_EVERY};
use crate::nodes::{Nodes, UnlistedNode, names};
use crate::rollout::{Guard, Outcome, Rollout, Run, RunPlan, RunState, Share};
use crate::store::{NodeRows, OnBehalf, OpenStore, RolloutStore, RunRows, RunWritten, StoreError};

/// The runs of a database.
///
/// ```no_run
/// use trunkline::Settings;
/// use trunkline::schedule::Schedule;
/// use trunkline::store::OpenStore;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::from_env()?;
/// let database = settings.database.as_ref().expect("it is named");
/// let database = OpenStore::new(database, &settings.tuning);
/// if let Some(run) = Schedule::of(&database).newest().await? {
///     println!("run {} is {} at step {}", run.id, run.state, run.step);
/// }
/// # Ok(()) }
/// ```
pub struct Schedule {
    runs: Arc<dyn RunRows>,
    rollouts: Arc<dyn RolloutStore>,
    node_rows: Arc<dyn NodeRows>,
    nodes: Nodes,
    on_behalf: Option<OnBehalf>,
}

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted<'w> {
    /// Its steps.
    pub steps: &'w [Share],
    /// For how long it soaks: at each step, at each but the last, or one time for all but the last.
    pub soaks: &'w [std::time::Duration],
    /// What its guard looks for.
    pub guard: Guard,
    /// What a rollout that has none yet begins its hashes with.
    pub salt: &'w str,
    /// The name under which whoever asks is connected, who is no node.
    pub asked_by: Option<&'w str>,
}

/// What a run would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prepared {
    /// The rollout as it is.
    pub now: Rollout,
    /// As it is at the first step.
    pub then: Rollout,
    /// What is asked for.
    pub plan: RunPlan,
    /// The nodes that can take it further, by name.
    pub nodes: Vec<String>,
    #[serde(skip)]
    run: Run,
}

impl Schedule {
    /// Those of this database.
    #[must_use]
    pub fn of(database: &OpenStore) -> Self {
        Self {
            runs: database.run_rows(),
            rollouts: database.rollouts(),
            node_rows: database.node_rows(),
            nodes: Nodes::of(database),
            on_behalf: None,
        }
    }

    /// On behalf of a client of the API.
    #[cfg(feature = "server")]
    pub(crate) fn on_behalf(self, behalf: OnBehalf) -> Self {
        Self { on_behalf: Some(behalf), ..self }
    }

    /// The newest run, open or not. `None`: there was none, or the database is of an older step.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn newest(&self) -> Result<Option<Run>, StoreError> {
        self.run(None).await
    }

    /// A certain run, or the newest one.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn run(&self, id: Option<i64>) -> Result<Option<Run>, StoreError> {
        match self.runs.run(id).await {
            Err(StoreError::NotMigrated { .. }) => Ok(None),
            found => found,
        }
    }

    /// What a run would be, and whether it could begin. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] says what is in its way.
    pub async fn prepare(&self, wanted: &Wanted<'_>) -> Result<Prepared, ScheduleError> {
        if let Some(open) = self.runs.run(None).await?.filter(Run::is_open) {
            return Err(ScheduleError::Open { run: open.id, state: open.state });
        }
        let now = match self.rollouts.rollout().await {
            Err(StoreError::Row { .. }) => return Err(ScheduleError::StageUnknown),
            now => now?.unwrap_or_default(),
        };
        let Wanted { steps, soaks, guard, salt, asked_by } = *wanted;
        let plan = RunPlan::new(steps, soaks, guard, &now, salt)?;
        let nodes = self.aware(asked_by).await?;
        let (run, then) = Run::begin(plan.clone(), &now, self.runs.clock().await?);
        Ok(Prepared { now, then, plan, nodes, run })
    }

    /// Begins a run, with its first step.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Changed`]: somebody was quicker.
    pub async fn begin(&self, prepared: Prepared) -> Result<Run, ScheduleError> {
        let Prepared { run, then, .. } = prepared;
        match self.runs.begin_run(self.on_behalf.as_ref(), &run, &then).await? {
            RunWritten::Done => self.open_or_last().await,
            RunWritten::Declined => Err(ScheduleError::Changed),
        }
    }

    /// Has the open run stay where it is.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NoRun`], [`ScheduleError::NotNow`].
    pub async fn pause(&self) -> Result<Run, ScheduleError> {
        self.change(|run| match run.state {
            RunState::Running => {
                run.pause("by hand", Outcome::Paused);
                Ok(())
            }
            state => Err(ScheduleError::NotNow { run: run.id, state, wanted: "running" }),
        })
        .await
    }

    /// Lets a paused run go on. Its soak begins anew.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NoRun`], [`ScheduleError::NotNow`], and [`ScheduleError::Moved`] where the rollout is
    /// not as the run had left it.
    pub async fn resume(&self) -> Result<Run, ScheduleError> {
        let rollout = self.rollouts.rollout().await?.unwrap_or_default();
        self.change(|run| match run.state {
            RunState::Paused if run.is_at(&rollout) => {
                run.resume();
                Ok(())
            }
            RunState::Paused => Err(ScheduleError::Moved {
                run: run.id,
                now: rollout.in_words(),
                left: run.left_at(&rollout),
            }),
            state => Err(ScheduleError::NotNow { run: run.id, state, wanted: "paused" }),
        })
        .await
    }

    /// Ends the open run. The rollout stays where it is.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NoRun`], [`ScheduleError::NotNow`].
    pub async fn stop(&self) -> Result<Run, ScheduleError> {
        self.change(|run| match run.state {
            RunState::Running | RunState::Paused => {
                run.stop("by hand");
                Ok(())
            }
            state => Err(ScheduleError::NotNow { run: run.id, state, wanted: "running or paused" }),
        })
        .await
    }

    /// Pauses a run whose rollout somebody has changed, as whoever leads it would do in a moment. `None`:
    /// nothing is running, or the rollout is as it made it.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Store`].
    pub async fn note_change(&self) -> Result<Option<Run>, ScheduleError> {
        for _ in 0..ATTEMPTS {
            let Some(run) = self.newest().await?.filter(|run| run.state == RunState::Running)
            else {
                return Ok(None);
            };
            let rollout = self.rollouts.rollout().await?.unwrap_or_default();
            if run.is_at(&rollout) {
                return Ok(None);
            }
            let paused = run.next(&rollout, &[], &[]).run;
            let written = self.runs.write_run(self.on_behalf.as_ref(), &paused, None).await?;
            if written == RunWritten::Done {
                return Ok(Some(paused));
            }
        }
        Err(ScheduleError::Changed)
    }

    /// Changes the newest run, again where whoever leads it was quicker.
    async fn change(
        &self,
        change: impl Fn(&mut Run) -> Result<(), ScheduleError>,
    ) -> Result<Run, ScheduleError> {
        for _ in 0..ATTEMPTS {
            let mut run = self.runs.run(None).await?.ok_or(ScheduleError::NoRun)?;
            change(&mut run)?;
            let written = self.runs.write_run(self.on_behalf.as_ref(), &run, None).await?;
            if written == RunWritten::Done {
                return self.open_or_last().await;
            }
        }
        Err(ScheduleError::Changed)
    }

    async fn open_or_last(&self) -> Result<Run, ScheduleError> {
        self.runs.run(None).await?.ok_or(ScheduleError::NoRun)
    }

    /// The nodes that can take a run further. An error names those whose calls nobody would count.
    async fn aware(&self, asked_by: Option<&str>) -> Result<Vec<String>, ScheduleError> {
        let nodes = self.node_rows.node_counts().await?;
        let unaware = nodes.iter().filter(|node| node.counts.is_none());
        let unaware: Vec<_> = unaware.map(|node| node.name.clone()).collect();
        let unlisted =
            self.nodes.unlisted().await?.into_iter().map(|UnlistedNode { name, .. }| name);
        let unlisted: Vec<_> = unlisted.filter(|name| Some(name.as_str()) != asked_by).collect();
        if !unaware.is_empty() || !unlisted.is_empty() {
            return Err(ScheduleError::Blocked { unaware, unlisted });
        }
        let able = nodes.into_iter().filter(|node| node.is_live).map(|node| node.name);
        let able: Vec<_> = able.collect();
        if able.is_empty() { Err(ScheduleError::Nobody) } else { Ok(able) }
    }
}

/// How often a change is tried against others.
const ATTEMPTS: usize = 5;
