//! The runs of rollouts: one row each, and one that is open at the most.

use async_trait::async_trait;
use uuid::Uuid;

use super::{OnBehalf, StoreError};
use crate::rollout::{Rollout, Run};

/// What became of writing a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunWritten {
    /// It is written, with the rollout where one was given: both, or neither.
    Done,
    /// Somebody else has written the run or the rollout meanwhile, and nothing was done.
    Declined,
}

/// The rows of the runs.
#[async_trait]
pub(crate) trait RunRows: Send + Sync + 'static {
    /// The newest run, or a certain one.
    ///
    /// [`StoreError::NotMigrated`] before the step of the runs.
    async fn run(&self, id: Option<i64>) -> Result<Option<Run>, StoreError>;

    /// What the database's clock says.
    async fn clock(&self) -> Result<f64, StoreError>;

    /// Begins a run, with the first step of its rollout. Declined, too: another one is open.
    async fn begin_run(
        &self,
        behalf: Option<&OnBehalf>,
        run: &Run,
        rollout: &Rollout,
    ) -> Result<RunWritten, StoreError>;

    /// Writes a run of the version that was read, and the rollout where it is given.
    async fn write_run(
        &self,
        behalf: Option<&OnBehalf>,
        run: &Run,
        rollout: Option<&Rollout>,
    ) -> Result<RunWritten, StoreError>;

    /// Makes a node the leader of a run for so many seconds, if it is that or nobody is. `None`: somebody
    /// else is, or has written the run meanwhile.
    async fn lead_run(
        &self,
        run: &Run,
        node: Uuid,
        name: &str,
        seconds: f64,
    ) -> Result<Option<Run>, StoreError>;
}
