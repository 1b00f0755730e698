//! The rollout in force: one row, in memory while it is proven that it has not changed.
//!
//! A change of it drops every answer, as it decides whose they are. So a node obeys a new stage as soon
//! as it has heard of it, and no later than a lease after its commit.
//!
//! What was known last is kept in `DATA_DIR`, for a start without the database. Where nothing is known,
//! `FALLBACK_DENY` decides.

mod comparison;
mod kept;
mod leading;
mod survey;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use metrics::{Gauge, gauge};
use tokio::time::sleep;

pub(super) use self::comparison::Comparisons;
pub(super) use self::kept::KeptRollout;
pub(super) use self::leading::{RunShown, lead_now_and_then};
pub use self::survey::{Compared, Moving, RolloutSurvey};
use super::Engine;
use super::whole::{Around, Whole};
use crate::cache::fence::List;
use crate::number::Caller;
use crate::reason::Reason;
use crate::rollout::{Rollout, Stage, Standing};
use crate::store::{RolloutStore, StoreError};
use crate::telemetry::{ROLLOUT_PERCENT, ROLLOUT_STAGE};

/// The rollout as this process knows it.
pub(super) struct RolloutInForce {
    /// `None`: nothing says anything, so the database answers everybody.
    store: Option<Arc<dyn RolloutStore>>,
    row: Whole<Arc<Rollout>>,
    /// What was known last, in this run or in an earlier one.
    last: ArcSwapOption<Rollout>,
    kept: Option<Arc<KeptRollout>>,
    around: Around,
    stages: [Gauge; Stage::ALL.len()],
    percent: Gauge,
}

impl RolloutInForce {
    pub(super) fn new(
        store: Option<Arc<dyn RolloutStore>>,
        kept: Option<KeptRollout>,
        around: &Around,
    ) -> Self {
        let in_force = Self {
            row: Whole::new(List::Rollout, around),
            last: ArcSwapOption::new(kept.as_ref().and_then(KeptRollout::read).map(Arc::new)),
            kept: kept.map(Arc::new),
            around: around.clone(),
            stages: Stage::ALL.map(|stage| gauge!(ROLLOUT_STAGE, "stage" => stage.as_str())),
            percent: gauge!(ROLLOUT_PERCENT),
            store,
        };
        in_force.show(in_force.last.load().as_deref());
        in_force
    }

    /// The rollout now. An error: it is not known, and an answer must not depend on it.
    pub(super) async fn known(&self) -> Result<Arc<Rollout>, Reason> {
        let Some(store) = &self.store else { return Ok(Arc::default()) };
        let known = self.row.known(|| read(Arc::clone(store))).await?;
        self.note(&known);
        Ok(Arc::clone(&known))
    }

    /// What the rollout known last makes of a caller, for when the database cannot be asked.
    pub(super) fn last_standing(&self, caller: Caller) -> Standing {
        match self.last.load().as_deref() {
            Some(last) => Standing::of(last, caller),
            None => Standing::UNKNOWN,
        }
    }

    /// How often it had been changed when it was known last.
    fn known_version(&self) -> i64 {
        self.last.load().as_ref().map_or(0, |last| last.version)
    }

    /// Reads it, if it is not known or was changed, so that what is kept is not older than it must be.
    async fn keep_up(&self) {
        let now = self.around.clock.now();
        if self.store.is_some() && self.around.cache.fence.lease_is_live(now) {
            let _unknown = self.known().await;
        }
    }

    /// Remembers what was read, if it is news.
    fn note(&self, known: &Arc<Rollout>) {
        if self.last.load().as_ref().is_some_and(|last| **last == **known) {
            return;
        }
        let before = self.last.swap(Some(Arc::clone(known)));
        if before.as_ref().is_some_and(|before| **before == **known) {
            return;
        }
        let Rollout { stage, percent, version, .. } = &**known;
        tracing::info!(%stage, %percent, version, "the rollout in force");
        self.show(Some(known));
        if let Some(kept) = &self.kept {
            kept.write(&self.around.lifecycle, Arc::clone(known));
        }
    }

    /// Where nothing is known, no stage is shown.
    fn show(&self, known: Option<&Rollout>) {
        let stage = known.map(|known| known.stage);
        for (gauge, of) in self.stages.iter().zip(Stage::ALL) {
            gauge.set(f64::from(u8::from(stage == Some(of))));
        }
        let share = match known {
            Some(Rollout { stage: Stage::Percent, percent, .. }) => (*percent).into(),
            Some(Rollout { stage: Stage::Live | Stage::Complete, .. }) => 100.0,
            _ => 0.0,
        };
        self.percent.set(share);
    }
}

async fn read(store: Arc<dyn RolloutStore>) -> Result<Arc<Rollout>, StoreError> {
    Ok(Arc::new(store.rollout().await?.unwrap_or_default()))
}

/// Keeps up with the rollout where nobody asks for answers.
pub(super) async fn keep_up_now_and_then(engine: Weak<Engine>) {
    loop {
        let Some(engine) = engine.upgrade() else { return };
        engine.loader.rollout.keep_up().await;
        drop(engine);
        sleep(LOOK).await;
    }
}

/// In memory while nothing has changed: a look costs no statement.
const LOOK: Duration = Duration::from_millis(250);
