//! The whole protocol of a rotation, as far as it goes today, within the time that a request may take.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Step, promoted_json, staged_json};
use crate::keyring::KeyId;
use crate::rotation::{
    BATCH, Passing, Promoted, Resealing, Retiring, Rotation, RotationError, Staged,
};
use crate::server::api::asking::Asking;
use crate::server::api::problem::Problem;

/// What a rotation came to.
pub(in crate::server) struct Rotated {
    pub(in crate::server) staged: Option<Staged>,
    pub(in crate::server) promoted: Option<Promoted>,
    pub(in crate::server) resealing: Resealing,
    /// Whether every secret was looked at; if not, the next request goes on.
    pub(in crate::server) is_whole: bool,
    /// Keys that were refused or retired.
    pub(in crate::server) retired: Vec<Retiring>,
    /// Keys that are waited for.
    pub(in crate::server) waiting: Vec<Waiting>,
}

/// A key that cannot be taken further yet.
pub(in crate::server) struct Waiting {
    pub(in crate::server) key: KeyId,
    pub(in crate::server) why: RotationError,
}

/// Stages and promotes the next key if there is one, seals secrets again, and takes old keys further.
pub(in crate::server) async fn rotate(
    asking: &Asking<'_>,
    step: &Step,
) -> Result<Rotated, Problem> {
    let rotation = asking.takes("rotate", step)?;
    let (mut staged, mut promoted) = (None, None);
    if let Some(key) = rotation.next().await? {
        let made = rotation.stage(Some(key), step.readers_confirmed, step.preview).await?;
        // What is not staged yet cannot be promoted.
        if !step.preview || made.already {
            let (confirmed, force) = (step.readers_confirmed, step.force);
            promoted = Some(rotation.promote(Some(key), confirmed, force, step.preview).await?);
        }
        staged = Some(made);
    }
    let (resealing, is_whole) = reseal(asking, &rotation, step.preview).await?;
    let (mut retired, mut waiting) = (Vec::new(), Vec::new());
    if !step.preview && is_whole && resealing.busy == 0 {
        rotation.verify().await?;
        let tell = |passing| {
            match passing {
                Passing::Step(step) => retired.push(step),
                Passing::Waits { key, why } => waiting.push(Waiting { key, why }),
            }
            Ok::<_, RotationError>(())
        };
        rotation.retire_all(step.now, step.backups_from, tell).await?;
    }
    Ok(Rotated { staged, promoted, resealing, is_whole, retired, waiting })
}

/// Seals again what is under an older key, for as long as a request may take. What was done stays done.
pub(super) async fn reseal(
    asking: &Asking<'_>,
    rotation: &Rotation,
    preview: bool,
) -> Result<(Resealing, bool), Problem> {
    let mut so_far = Resealing::default();
    let tell = |seen: &Resealing| so_far.clone_from(seen);
    let now = asking.resolver.unix_time().as_secs();
    let resealing = timeout(PATIENCE, rotation.reseal(BATCH, now, preview, tell)).await;
    match resealing {
        Ok(resealing) => Ok((resealing?, true)),
        Err(_) => Ok((so_far, false)),
    }
}

impl Rotated {
    pub(super) fn json(&self) -> Value {
        let waiting = self.waiting.iter().map(|Waiting { key, why }| {
            let (code, until) = (why.code(), why.until());
            json!({"key": key, "waits_for": code, "why": why.to_string(), "until": until})
        });
        json!({
            "staged": self.staged.as_ref().map(staged_json),
            "promoted": self.promoted.as_ref().map(promoted_json),
            "resealed": self.resealing.resealed,
            "busy": self.resealing.busy,
            "left": self.resealing.left,
            "done": self.is_whole && self.resealing.busy == 0,
            "retired": self.retired,
            "waiting": waiting.collect::<Vec<_>>(),
        })
    }
}

/// For how long a request seals: a page is waited for, and the next one goes on.
const PATIENCE: Duration = Duration::from_secs(20);
