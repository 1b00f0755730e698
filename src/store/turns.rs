//! Who turns the keys by schedule at present, and how far that is: one row of the database.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::StoreError;

/// How turning by schedule stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyTurns {
    /// The process that may turn the keys. `None`: none does.
    pub holder: Option<String>,
    /// The last step that was taken.
    pub step: Option<String>,
    /// When.
    pub step_at: Option<DateTime<Utc>>,
    /// What keeps the next step from being taken, which somebody should see to.
    pub blocked_by: Option<String>,
    /// Since when.
    pub blocked_since: Option<DateTime<Utc>>,
}

/// Turning by schedule, one process at a time.
#[async_trait]
pub(crate) trait KeyTurnRows: Send + Sync + 'static {
    /// How it stands. `None`: the database is of an older step.
    async fn key_turns(&self) -> Result<Option<KeyTurns>, StoreError>;

    /// Lets this process turn the keys for so long, by the clock of the database, unless another one does.
    /// Returns whether it may, and for how long it has been kept from the next step.
    async fn hold_turns(
        &self,
        holder: &str,
        lasting: Duration,
    ) -> Result<Option<Duration>, StoreError>;

    /// Notes what became of a turn, if this process still holds them.
    async fn note_turn(
        &self,
        holder: &str,
        step: Option<&str>,
        blocked_by: Option<&str>,
    ) -> Result<(), StoreError>;
}
