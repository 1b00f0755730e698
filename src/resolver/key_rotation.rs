//! Turns the data keys by schedule, where `KEY_ROTATION` names a period: one process at a time, by a lease of the
//! database and its clock. Each turn looks at how the keys stand, so whoever comes next goes on from wherever
//! the one before died.
//!
//! What it did goes to the log, the metrics and the audit. What keeps it from a step is told once, and counted for
//! as long as it lasts.
//!
//! **Invariant:** it forces nothing, and takes no step without the lease. Without that two would do no harm: each
//! step is one transaction that looks again at what it was decided by.

use std::sync::Weak;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::Engine;
use crate::backoff::dice;
use crate::rotation::{Rotation, RotationError, STEPS, Turn};
use crate::store::{KeyTurnRows, StoreError};
use crate::telemetry::{KEY_ROTATION_BLOCKED, KEY_ROTATION_STEPS, at_zero};

/// What turning counts.
pub(super) struct KeyTurnsCounted {
    steps: [(&'static str, Counter); STEPS.len()],
    blocked: Gauge,
}

impl KeyTurnsCounted {
    /// Makes the handles, all series at zero.
    pub(super) fn new() -> Self {
        let blocked = gauge!(KEY_ROTATION_BLOCKED);
        blocked.set(0.0);
        let steps = STEPS.map(|step| (step, at_zero(counter!(KEY_ROTATION_STEPS, "step" => step))));
        Self { steps, blocked }
    }
}

/// What one process that turns keys remembers between turns.
struct Turning {
    /// By which name it holds the lease: of this run of this process.
    holder: String,
    /// What it told last that keeps it from a step.
    told: Option<String>,
    /// Since when it may not take the lease.
    refused: Option<tokio::time::Instant>,
}

/// Turns the keys for as long as it is polled.
pub(super) async fn turn_by_schedule(engine: Weak<Engine>) {
    let Some(mut turning) = engine.upgrade().map(|engine| Turning::new(&engine)) else { return };
    // Not all at once.
    let mut wait = SOON;
    loop {
        sleep(wait.mul_f64(1.0 - dice() / 2.0)).await;
        let Some(engine) = engine.upgrade() else { return };
        wait = turning.look(&engine).await;
    }
}

impl Turning {
    fn new(engine: &Engine) -> Self {
        let name = engine.registration.as_ref().map_or("", |registration| registration.name());
        let holder = format!("{name} {}", Uuid::new_v4().simple());
        Self { holder, told: None, refused: None }
    }

    /// Takes a turn if it is this process's, and returns when to look again.
    async fn look(&mut self, engine: &Engine) -> Duration {
        let counted = &engine.telemetry.key_turns;
        let Some(period) = engine.tuning.key_rotation else { return LAZY };
        let (Some(database), Some(rotation)) = (&engine.database, engine.rotation()) else {
            return LAZY;
        };
        if engine.feed.as_ref().is_some_and(|feed| feed.leaves_upkeep_to_others()) {
            counted.blocked.set(0.0);
            return LAZY;
        }
        let rotation = rotation.claiming(json!({"actor": "KEY_ROTATION"}));
        let (rows, seconds) = (database.key_turn_rows(), engine.clock.unix_time().as_secs());
        match self.turn(counted, &*rows, &rotation, (period, seconds)).await {
            Ok(wait) => wait,
            Err(error) if may_not(&error) => {
                let why = "this role may not turn keys: run `trunkline db grants --keys --apply` as the owner";
                let refused = *self.refused.get_or_insert_with(tokio::time::Instant::now);
                counted.blocked.set(refused.elapsed().as_secs_f64().max(1.0));
                self.tell_blocked(Some(format!("{why} ({error})")));
                LAZY
            }
            Err(error) => {
                tracing::warn!(%error, "the keys could not be turned; it is tried again");
                EVERY
            }
        }
    }

    async fn turn(
        &mut self,
        counted: &KeyTurnsCounted,
        rows: &dyn KeyTurnRows,
        rotation: &Rotation,
        (period, unix_seconds): (Duration, u64),
    ) -> Result<Duration, RotationError> {
        let Some(blocked_for) = rows.hold_turns(&self.holder, HOLD).await? else {
            // Another process turns them, and counts what keeps it.
            counted.blocked.set(0.0);
            self.told = None;
            return Ok(EVERY);
        };
        self.refused = None;
        let turn = tokio::select! {
            turn = rotation.turn(period, unix_seconds) => turn?,
            // Whatever was done stays done, and the next holder goes on.
            () = lose(rows, &self.holder) => return Ok(EVERY),
        };
        tell(counted, &turn);
        let step = turn.steps.last().map(|step| step.name);
        let blocked_by = turn.blocked_by.as_ref().map(ToString::to_string);
        rows.note_turn(&self.holder, step, blocked_by.as_deref()).await?;
        let blocked_for = blocked_by.as_ref().map_or(0.0, |_| blocked_for.as_secs_f64().max(1.0));
        counted.blocked.set(blocked_for);
        self.tell_blocked(blocked_by);
        Ok(match &turn {
            Turn { blocked_by: None, steps, .. } if !steps.is_empty() => SOON,
            _ => EVERY,
        })
    }

    /// Tells what keeps the next step from being taken, if that is news.
    fn tell_blocked(&mut self, why: Option<String>) {
        if self.told == why {
            return;
        }
        match &why {
            Some(why) => tracing::warn!(why, "KEY_ROTATION waits: nothing is forced"),
            None => tracing::info!("KEY_ROTATION goes on"),
        }
        self.told = why;
    }
}

/// Tells what was done.
fn tell(counted: &KeyTurnsCounted, turn: &Turn) {
    for step in &turn.steps {
        let key = step.key.map(tracing::field::display);
        tracing::info!(step = step.name, key, secrets = step.secrets, "KEY_ROTATION took a step");
        let same = counted.steps.iter().find(|(name, _)| *name == step.name);
        if let Some((_, taken)) = same {
            taken.increment(1);
        }
    }
}

/// Ends once this process does not hold the lease any more, which it renews until then.
async fn lose(rows: &dyn KeyTurnRows, holder: &str) {
    loop {
        sleep(HOLD / 3).await;
        match rows.hold_turns(holder, HOLD).await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            // It may be held still; what is done meanwhile does no harm.
            Err(error) => tracing::debug!(%error, "the turn to rotate keys was not renewed"),
        }
    }
}

/// The role may not, or the database is a replica or a file that may only be read.
fn may_not(error: &RotationError) -> bool {
    let RotationError::Store(error) = error else { return false };
    error.may_not_write() || matches!(error, StoreError::NotMigrated { .. })
}

/// How long a process that died holds the others up.
const HOLD: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_millis(500);
const EVERY: Duration = Duration::from_secs(10);
const LAZY: Duration = Duration::from_secs(60);
