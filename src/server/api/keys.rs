//! `/v1/keys/…`: the encryption keys are turned, step by step as by `trunkline key`. Of a key its id is
//! told and nothing else. Keys of the settings are neither made nor taken here; one that rests in the database is
//! made and never told.
//!
//! A step is taken for an admin who gave his password a moment ago, or for a client with the scope; what
//! it would do is told to either without that.

mod rotating;
mod table;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

pub(in crate::server) use self::rotating::{Rotated, rotate};
pub(super) use self::table::{Operation, ROUTES};
use super::asking::Asking;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use crate::keyring::{KeyError, KeyId};
use crate::rotation::{
    Census, Exposure, Gate, Promoted, Retiring, Rewrapped, Rotation, RotationError, Staged,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    key: Option<String>,
    #[serde(default)]
    wrapped: bool,
    root: Option<String>,
    #[serde(default)]
    readers_confirmed: bool,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    now: bool,
    #[serde(default)]
    back: bool,
    backups_from: Option<String>,
    #[serde(default)]
    preview: bool,
}

/// A step that is asked for, understood.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct Step {
    /// Which key. `None`: the one whose turn it is.
    pub(in crate::server) key: Option<KeyId>,
    /// Whether a key is made that rests in the database.
    pub(in crate::server) wrapped: bool,
    /// Which key of the settings is to seal such keys. `None`: the one whose turn it is.
    pub(in crate::server) root: Option<KeyId>,
    /// Whether no reader is left that nobody sees and that has one key only.
    pub(in crate::server) readers_confirmed: bool,
    /// Whether to go on without those who do not have the key.
    pub(in crate::server) force: bool,
    /// Whether nothing is waited for.
    pub(in crate::server) now: bool,
    /// Whether a refused key opens again.
    pub(in crate::server) back: bool,
    /// When the oldest backup was made that is kept.
    pub(in crate::server) backups_from: Option<DateTime<Utc>>,
    /// Whether it is only looked at.
    pub(in crate::server) preview: bool,
}

impl Asked {
    fn step(self) -> Result<Step, Problem> {
        let wrong = |field, why| Problem::field("field_malformed", field, why);
        let id = |text: Option<String>| text.map(|id| id.parse::<KeyId>()).transpose();
        let (key, root) = (id(self.key), id(self.root));
        let malformed = "must be the id of a key, such as 5f0c2a11";
        if self.wrapped && !matches!(key, Ok(None)) {
            return Err(wrong("key", "names a key that is there; `wrapped` makes one"));
        }
        let backups = self.backups_from.map(|at| DateTime::parse_from_rfc3339(&at)).transpose();
        Ok(Step {
            key: key.map_err(|_| wrong("key", malformed))?,
            wrapped: self.wrapped,
            root: root.map_err(|_| wrong("root", malformed))?,
            readers_confirmed: self.readers_confirmed,
            force: self.force,
            now: self.now,
            back: self.back,
            backups_from: backups
                .map_err(|_| wrong("backups_from", "must be a time, such as 2026-01-31T00:00:00Z"))?
                .map(|at| at.to_utc()),
            preview: self.preview,
        })
    }
}

impl Asking<'_> {
    /// The keys of the database, seen with the ring of this node.
    pub(in crate::server) fn rotation(&self) -> Result<Rotation, Problem> {
        self.needs_all()?;
        let rotation = self.resolver.rotation().ok_or_else(|| match self.resolver.ring() {
            Some(_) => Problem::no_database(),
            None => KeyError::KeyMissing.into(),
        })?;
        Ok(rotation.claiming(self.behalf().claims()))
    }

    /// Writes down who takes a step. Whether he may without his password is looked at before.
    fn takes(&self, name: &'static str, step: &Step) -> Result<Rotation, Problem> {
        if !step.preview {
            let key = step.key.map(|key| key.to_string());
            tracing::warn!(
                request_id = %self.request_id,
                client = self.client.name,
                step = name,
                key,
                "a step of turning the encryption keys is taken"
            );
        }
        self.rotation()
    }
}

pub(super) async fn answer(
    operation: Operation,
    asking: &Asking<'_>,
    question: &Question<'_>,
) -> Result<Reply, Problem> {
    if matches!(operation, Operation::Status) {
        return Ok(Reply::json(&json!(asking.rotation()?.status().await?)));
    }
    let step = question.body::<Asked>()?.step()?;
    if !step.preview && !matches!(operation, Operation::Verify) {
        asking.needs_confirmation()?;
    }
    let told = match operation {
        Operation::Status => unreachable!("it was answered"),
        Operation::Stage => {
            let staged = stage(asking, &step).await?;
            let mut told = staged_json(&staged);
            if step.wrapped && step.preview && !staged.already {
                // What is not made yet has no id.
                (told["key"], told["gate"]) = (Value::Null, Value::Null);
            }
            told
        }
        Operation::Promote => promoted_json(&promote(asking, &step).await?),
        Operation::Rotate => rotate(asking, &step).await?.json(),
        Operation::Verify => census_json(&verify(asking).await?),
        Operation::Rewrap => {
            let rewrapped = rewrap(asking, &step).await?;
            json!({
                "root": rewrapped.root, "data_keys": rewrapped.data_keys,
                "gate": gate_json(&rewrapped.gate),
            })
        }
        Operation::Retire => json!(retire(asking, &step).await?),
        Operation::Compromise => json!(compromise(asking, &step).await?),
    };
    Ok(Reply::json(&json!({"preview": step.preview, "result": told})))
}

/// Stages a key that opens everywhere.
pub(in crate::server) async fn stage(asking: &Asking<'_>, step: &Step) -> Result<Staged, Problem> {
    let rotation = asking.takes("stage", step)?;
    if step.wrapped {
        let now = asking.resolver.unix_time().as_secs();
        return Ok(rotation
            .stage_wrapped(step.root, step.readers_confirmed, now, step.preview)
            .await?);
    }
    Ok(rotation.stage(step.key, step.readers_confirmed, step.preview).await?)
}

/// Has another key of the settings seal the keys that rest in the database.
async fn rewrap(asking: &Asking<'_>, step: &Step) -> Result<Rewrapped, Problem> {
    let (rotation, now) = (asking.takes("rewrap", step)?, asking.resolver.unix_time().as_secs());
    Ok(rotation.rewrap(step.root, step.force, now, step.preview).await?)
}

/// Has a staged key seal.
pub(in crate::server) async fn promote(
    asking: &Asking<'_>,
    step: &Step,
) -> Result<Promoted, Problem> {
    let rotation = asking.takes("promote", step)?;
    Ok(rotation.promote(step.key, step.readers_confirmed, step.force, step.preview).await?)
}

/// Opens every secret.
pub(in crate::server) async fn verify(asking: &Asking<'_>) -> Result<Census, Problem> {
    Ok(asking.rotation()?.verify().await?)
}

/// Takes an old key one step further, or lets a refused one open again.
pub(in crate::server) async fn retire(
    asking: &Asking<'_>,
    step: &Step,
) -> Result<Retiring, Problem> {
    let key = named(step)?;
    let rotation = asking.takes("retire", step)?;
    if step.back {
        return Ok(rotation.accept_again(key, step.preview).await?);
    }
    Ok(rotation.retire(key, step.now, step.backups_from, step.preview).await?)
}

/// Takes a key out of use at once that others may have, and says what stays exposed.
pub(in crate::server) async fn compromise(
    asking: &Asking<'_>,
    step: &Step,
) -> Result<Exposure, Problem> {
    let key = named(step)?;
    let rotation = asking.takes("compromise", step)?;
    let exposure = rotation.exposure(key).await?;
    let is_sealing = rotation.status().await?.sealing == key;
    let next = rotation.next().await?;
    if is_sealing && next.is_none_or(|next| next == key) {
        // Before anything is noted: without another key nothing can be done.
        return Err(match rotation.stage(None, true, true).await {
            Err(error) => error.into(),
            Ok(_) => RotationError::NothingToStage { key }.into(),
        });
    }
    if step.preview {
        return Ok(exposure);
    }
    rotation.note_compromised(key).await?;
    if is_sealing {
        let staged = rotation.stage(None, false, false).await?;
        rotation.promote(Some(staged.key), false, true, false).await?;
    }
    rotating::reseal(asking, &rotation, false).await?;
    rotation.retire(key, true, None, false).await?;
    Ok(exposure)
}

fn named(step: &Step) -> Result<KeyId, Problem> {
    step.key.ok_or_else(|| Problem::field("field_missing", "key", "must name a key by its id"))
}

pub(super) fn gate_json(gate: &Gate) -> Value {
    json!({"open": gate.is_open(), "lacking": gate.lacking, "unlisted": gate.unlisted})
}

pub(super) fn staged_json(staged: &Staged) -> Value {
    json!({
        "key": staged.key, "sealing": staged.sealing, "already": staged.already,
        "readers_confirmed": staged.readers_confirmed, "gate": gate_json(&staged.gate),
    })
}

pub(super) fn promoted_json(promoted: &Promoted) -> Value {
    json!({
        "key": promoted.key, "old": promoted.old, "already": promoted.already,
        "gate": gate_json(&promoted.gate),
    })
}

fn census_json(census: &Census) -> Value {
    let keys = census.by_key.iter().map(|(id, many)| json!({"id": id, "configs": many}));
    json!({"keys": keys.collect::<Vec<_>>(), "left": census.left})
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Store(error) => error.into(),
            RotationError::Key(error) => error.into(),
            error => {
                let (code, hint) = (error.code(), error.hint());
                let problem = Self::conflict(code, error.to_string());
                match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
        }
    }
}
