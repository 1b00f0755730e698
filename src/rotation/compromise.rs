//! A key that others may have: what is done at once, and what stays exposed.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::census::{PAGE, named};
use super::{Rotation, RotationError};
use crate::keyring::{ExposeSecret, KeyId};
use crate::store::{KeyBook, KeyMoves, KeyPhase};

/// What whoever has a key may know, and until when it is of use to him.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Exposure {
    /// Which key.
    pub key: KeyId,
    /// What it was for.
    pub phase: Option<KeyPhase>,
    /// The data keys that it seals: whoever has it and the table has them as well.
    pub data_keys: Vec<KeyId>,
    /// The configs whose secrets are under it: their key pairs are to be replaced at their servers.
    pub configs: Vec<String>,
    /// Until when answers in memory may hold what is sealed under it, at the latest.
    pub memory_until: DateTime<Utc>,
    /// Since when backups may hold secrets under it: when the database came to know it, or always.
    pub backups_since: Option<DateTime<Utc>>,
    /// The nodes that have it.
    pub nodes: Vec<String>,
}

impl Rotation {
    /// What whoever has this key may know. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`], [`RotationError::NotMigrated`], [`RotationError::NotInRing`].
    pub async fn exposure(&self, key: KeyId) -> Result<Exposure, RotationError> {
        let book = self.book().await?;
        // Without it nobody can say what is under it.
        if !self.has(key) {
            return Err(RotationError::NotInRing { key });
        }
        let ring = self.ring();
        let (mut configs, mut last) = (Vec::new(), None);
        loop {
            let page = self.rows.configs_after(last, PAGE).await?;
            last = page.last().map(|config| config.id);
            let under = page
                .iter()
                .filter(|config| ring.key_of(config.api_secret.expose_secret()) == Ok(key));
            configs.extend(under.map(|config| config.name.clone()));
            if page.len() < PAGE {
                break;
            }
        }
        let mut last = None;
        loop {
            let page = self.pairs.pairs_after(last, PAGE).await?;
            last = page.last().map(|pair| (pair.config.id, pair.phase));
            let under = page
                .iter()
                .map(named)
                .filter(|config| ring.key_of(config.api_secret.expose_secret()) == Ok(key));
            configs.extend(under.map(|config| config.name));
            if page.len() < PAGE {
                break;
            }
        }
        let longest = chrono::TimeDelta::from_std(self.longest_of_nodes().await?);
        let id = key.to_string();
        let nodes = self.node_rings().await?.into_iter();
        Ok(Exposure {
            key,
            phase: book.key(key).map(|known| known.phase),
            data_keys: book.under_root(key),
            configs,
            memory_until: book.now + longest.unwrap_or_default(),
            backups_since: book.key(key).and_then(|known| known.added_at),
            nodes: nodes.filter(|node| node.keys.contains(&id)).map(|node| node.name).collect(),
        })
    }

    /// Notes that others may have a key, so that it is never staged again.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`], [`RotationError::NotMigrated`], [`RotationError::NotInRing`].
    pub async fn note_compromised(&self, key: KeyId) -> Result<(), RotationError> {
        let book = self.book().await?;
        if !self.has(key) {
            return Err(RotationError::NotInRing { key });
        }
        let moves = self.compromising(&book, key)?;
        self.carry_out(&mut |book| self.compromising(book, key), &moves).await
    }

    fn compromising(&self, book: &KeyBook, key: KeyId) -> Result<KeyMoves, RotationError> {
        let (is_known, is_first) = (book.key(key).is_some(), book.sealing.is_none());
        let sealing = self.sealing(book)?;
        let mut phases = Vec::new();
        phases.extend((is_first && !is_known).then_some((sealing, KeyPhase::Sealing)));
        phases.extend((!is_known && key != sealing).then_some((key, KeyPhase::Old)));
        Ok(KeyMoves {
            phases,
            sealing: is_first.then_some(sealing),
            is_promotion: is_first,
            compromised: vec![key],
            ..KeyMoves::default()
        })
    }
}
