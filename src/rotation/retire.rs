//! The last two steps: an old key is refused while it is still there, and retired once nothing needs it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Rotation, RotationError};
use crate::keyring::KeyId;
use crate::store::{KeyBook, KeyMoves, KeyPhase, KnownKey};

/// What retiring came to: one step of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Retiring {
    /// Which key.
    pub key: KeyId,
    /// What it is now, or would be.
    pub phase: KeyPhase,
    /// Nodes that have it in their ring, from which it is to be removed once it is retired.
    pub nodes: Vec<String>,
    /// Data keys that it seals: it stays in the rings for as long as there are some.
    pub data_keys: Vec<KeyId>,
    /// Whether it rests in the database, so that no ring of the settings has it.
    pub is_data_key: bool,
    /// Which backups need it.
    pub backups: Option<BackupNeed>,
}

/// From when to when backups hold secrets under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupNeed {
    /// When the oldest backup was made that is kept, if that was said.
    pub from: Option<DateTime<Utc>>,
    /// The last time at which a secret was under it.
    pub to: Option<DateTime<Utc>>,
}

/// What became of an old key that was taken as far as it goes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Passing {
    /// It was taken a step further.
    Step(Retiring),
    /// It is waited for.
    Waits {
        /// Which key.
        key: KeyId,
        /// What for.
        why: RotationError,
    },
}

impl Rotation {
    /// Takes every key that passed out of use as far as it goes today, and tells each step.
    ///
    /// # Errors
    ///
    /// What `tell` says, and of [`retire`](Self::retire) what waiting does not mend.
    pub async fn retire_all<E: From<RotationError>>(
        &self,
        now: bool,
        backups_from: Option<DateTime<Utc>>,
        mut tell: impl FnMut(Passing) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut keys = self.status().await?.keys;
        keys.retain(|known| matches!(known.phase, Some(KeyPhase::Old | KeyPhase::Refused)));
        for key in keys.iter().map(|known| known.id) {
            loop {
                match self.retire(key, now, backups_from, false).await {
                    Ok(step) => {
                        let is_over = step.phase == KeyPhase::Retired;
                        tell(Passing::Step(step))?;
                        if is_over {
                            break;
                        }
                    }
                    Err(why) if why.passes() => {
                        tell(Passing::Waits { key, why })?;
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Takes an old key one step further: an old one is refused, a refused one retired, and a staged one
    /// that never sealed is retired at once. `now` does not wait. `backups_from` is the oldest backup that
    /// is kept. Only looks, where `dry_run`.
    ///
    /// # Errors
    ///
    /// [`RotationError::StillSealed`], [`RotationError::NodesNeedIt`], [`RotationError::TooEarly`],
    /// [`RotationError::Seals`], [`RotationError::Unknown`].
    pub async fn retire(
        &self,
        key: KeyId,
        now: bool,
        backups_from: Option<DateTime<Utc>>,
        dry_run: bool,
    ) -> Result<Retiring, RotationError> {
        if self.book().await?.key(key).is_some_and(|known| known.phase == KeyPhase::Sealing) {
            return Err(RotationError::Seals { key });
        }
        // Counted first, so that what is noted of it is looked at below.
        if self.has(key) {
            let census = self.verify().await?;
            if census.under(key) > 0 {
                return Err(RotationError::StillSealed { key, many: census.under(key) });
            }
        }
        let book = self.book().await?;
        let known = book.key(key).ok_or(RotationError::Unknown { key })?;
        let nodes = self.node_rings().await?;
        // Without it none can say that no secret is under it.
        if known.phase != KeyPhase::Retired && !self.has(key) {
            return Err(RotationError::NotInRing { key });
        }
        let sealing = self.sealing(&book)?.to_string();
        let needing = nodes.iter().filter(|node| !node.keys.contains(&sealing));
        let needing: Vec<_> = needing.map(|node| node.name.clone()).collect();
        if !needing.is_empty() && known.phase != KeyPhase::Staged && !now {
            return Err(RotationError::NodesNeedIt { key, nodes: needing });
        }
        let phase = match known.phase {
            KeyPhase::Old => {
                let since = known.clean_since;
                wait(
                    &book,
                    known,
                    since,
                    QUIET,
                    "no secret may have been found under it for a day",
                    now,
                )?;
                KeyPhase::Refused
            }
            KeyPhase::Refused => {
                let longest = self.longest_of_nodes().await?;
                // It is refused for a while, or that would find nothing that needs it.
                let since = known.clean_since.max(known.since);
                wait(&book, known, since, longest, "answers in memory may need it", now)?;
                KeyPhase::Retired
            }
            _ => KeyPhase::Retired,
        };
        let backups = (phase == KeyPhase::Retired && known.phase != KeyPhase::Staged)
            .then(|| needed_by_backups(known, backups_from))
            .flatten();
        if !dry_run && known.phase != phase {
            self.enter(key, known.phase, phase, book.data_key(key).is_some()).await?;
        }
        let id = key.to_string();
        let having = nodes.into_iter().filter(|node| node.keys.contains(&id));
        Ok(Retiring {
            key,
            phase,
            nodes: having.map(|node| node.name).collect(),
            data_keys: book.under_root(key),
            is_data_key: book.data_key(key).is_some(),
            backups,
        })
    }

    /// Lets a refused key open again.
    ///
    /// # Errors
    ///
    /// [`RotationError::WrongPhase`] where it is not refused.
    pub async fn accept_again(&self, key: KeyId, dry_run: bool) -> Result<Retiring, RotationError> {
        let book = self.book().await?;
        let known = book.key(key).ok_or(RotationError::Unknown { key })?;
        if known.phase != KeyPhase::Refused {
            let (phase, needs) = (known.phase, KeyPhase::Refused);
            return Err(RotationError::WrongPhase { key, phase, needs });
        }
        if !dry_run {
            self.enter(key, KeyPhase::Refused, KeyPhase::Old, false).await?;
        }
        Ok(Retiring {
            key,
            phase: KeyPhase::Old,
            nodes: Vec::new(),
            data_keys: book.under_root(key),
            is_data_key: book.data_key(key).is_some(),
            backups: None,
        })
    }

    async fn enter(
        &self,
        key: KeyId,
        from: KeyPhase,
        to: KeyPhase,
        is_data_key: bool,
    ) -> Result<(), RotationError> {
        // Of one that is retired nothing is left in the database.
        let dropped = if to == KeyPhase::Retired && is_data_key { vec![key] } else { Vec::new() };
        let moves = KeyMoves { phases: vec![(key, to)], dropped, ..KeyMoves::default() };
        let mut decide = |book: &KeyBook| match book.key(key) {
            Some(known) if known.phase == from && book.sealing != Some(key) => Ok(moves.clone()),
            _ => Err(RotationError::Raced),
        };
        self.carry_out(&mut decide, &moves).await
    }

    /// For how long any answer in memory may hold what was read before.
    pub(super) async fn longest_of_nodes(&self) -> Result<Duration, RotationError> {
        let theirs = match self.nodes.list().await {
            Ok(nodes) => nodes.iter().map(|node| node.max_stale).max(),
            Err(crate::store::StoreError::NotMigrated { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(self.longest_in_memory.max(theirs.unwrap_or_default()))
    }
}

/// Whether so long has passed since then.
fn wait(
    book: &KeyBook,
    known: &KnownKey,
    since: Option<DateTime<Utc>>,
    longest: Duration,
    why: &'static str,
    now: bool,
) -> Result<(), RotationError> {
    let since = since.unwrap_or(book.now);
    let until = since + chrono::TimeDelta::from_std(longest).unwrap_or(chrono::TimeDelta::MAX / 2);
    if now || until <= book.now {
        return Ok(());
    }
    Err(RotationError::TooEarly { key: known.id, why, until })
}

/// Which of the backups that are kept hold secrets under a key.
fn needed_by_backups(known: &KnownKey, kept_from: Option<DateTime<Utc>>) -> Option<BackupNeed> {
    let to = known.clean_since;
    let is_needed = kept_from.zip(to).is_none_or(|(from, to)| from <= to);
    is_needed.then_some(BackupNeed { from: kept_from, to })
}

/// For how long no secret may have been found under a key before it is refused.
pub(super) const QUIET: Duration = Duration::from_secs(24 * 3600);
