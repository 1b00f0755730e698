//! One step of a rotation by schedule. It is the step that a person would take, without any force: what is not so
//! is told, and waited for.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::schedule::{Due, NotScheduled, due};
use super::{BATCH, Passing, Rotation, RotationError};
use crate::keyring::KeyId;
use crate::store::KeyPhase;

/// What came of looking whether a step is due.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Turn {
    /// The steps that were taken, in order.
    pub steps: Vec<TurnStep>,
    /// What keeps the next one from being taken, which somebody should see to.
    pub blocked_by: Option<Blocked>,
    /// For how long nothing is due. `None`: the next step may be due at once.
    pub rests: Option<Duration>,
}

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnStep {
    /// `stage`, `promote`, `reseal`, `refuse` or `retire`.
    pub name: &'static str,
    /// Of which key. `None`: of secrets under whichever.
    pub key: Option<KeyId>,
    /// How many secrets were sealed again.
    pub secrets: u64,
}

/// The names of all steps.
pub(crate) const STEPS: [&str; 5] = ["stage", "promote", "reseal", "refuse", "retire"];

/// What keeps the next step from being taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Blocked {
    /// How the keys stand.
    #[error(transparent)]
    Keys(#[from] NotScheduled),
    /// The step.
    #[error(transparent)]
    Step(#[from] RotationError),
}

impl TurnStep {
    fn of(name: &'static str, key: KeyId) -> Self {
        Self { name, key: Some(key), secrets: 0 }
    }
}

impl Rotation {
    /// Takes the next step that is due, where another data key is to seal once in a `period`. Nothing is forced,
    /// and nothing is waited for: it is for one process at a time to ask again.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`], [`RotationError::NotMigrated`], [`RotationError::Key`]. What was done until then
    /// stays done, and the next turn goes on from there.
    pub async fn turn(&self, period: Duration, unix_seconds: u64) -> Result<Turn, RotationError> {
        let book = self.book().await?;
        let longest = self.longest_of_nodes().await?;
        match due(&book, period, longest) {
            Due::Nothing { until } => {
                Ok(Turn { rests: Some(time_to(until, book.now)), ..Turn::default() })
            }
            Due::Blocked(why) => Ok(Turn { blocked_by: Some(why.into()), ..Turn::default() }),
            Due::Stage => {
                let staged = self.stage_next(unix_seconds).await;
                taken(staged.map(|key| TurnStep::of("stage", key)))
            }
            Due::Promote(key) => {
                let promoted = self.promote(Some(key), false, false, false).await;
                taken(promoted.map(|promoted| TurnStep::of("promote", promoted.key)))
            }
            Due::Pass => self.pass_old_keys(unix_seconds).await,
        }
    }

    /// Seals again what is under old keys, and takes each as far as it goes today.
    async fn pass_old_keys(&self, unix_seconds: u64) -> Result<Turn, RotationError> {
        let mut turn = Turn::default();
        let resealing = self.reseal(BATCH, unix_seconds, false, |_| {}).await?;
        if resealing.resealed > 0 {
            let secrets = resealing.resealed;
            turn.steps.push(TurnStep { name: "reseal", key: None, secrets });
        }
        if resealing.busy > 0 {
            // Somebody is editing those; the next turn finds them.
            return Ok(turn);
        }
        let mut tell = |passing| {
            match passing {
                Passing::Step(step) => {
                    let is_over = step.phase == KeyPhase::Retired;
                    let name = if is_over { "retire" } else { "refuse" };
                    turn.steps.push(TurnStep::of(name, step.key));
                }
                Passing::Waits { why: RotationError::TooEarly { .. }, .. } => {}
                Passing::Waits { why, .. } => turn.blocked_by = Some(why.into()),
            }
            Ok::<_, RotationError>(())
        };
        self.retire_all(false, None, &mut tell).await?;
        Ok(turn)
    }
}

fn time_to(until: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (until - now).to_std().unwrap_or_default()
}

/// A step that was taken, or what keeps it from being taken.
fn taken(step: Result<TurnStep, RotationError>) -> Result<Turn, RotationError> {
    match step {
        Ok(step) => Ok(Turn { steps: vec![step], ..Turn::default() }),
        Err(error @ (RotationError::Store(_) | RotationError::NotMigrated)) => Err(error),
        Err(why) => Ok(Turn { blocked_by: Some(why.into()), ..Turn::default() }),
    }
}
