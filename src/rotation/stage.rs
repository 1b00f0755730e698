//! The first two steps: a key that opens everywhere is staged, and a staged key begins to seal.

use std::collections::BTreeMap;

use super::gate::{Gate, NodeRing};
use super::{Rotation, RotationError};
use crate::keyring::KeyId;
use crate::nodes::{NodeState, names};
use crate::store::{KeyBook, KeyMoves, KeyPhase};

/// What staging came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Staged {
    /// Which key.
    pub key: KeyId,
    /// Which key seals until it is promoted.
    pub sealing: KeyId,
    /// Whether it was staged before.
    pub already: bool,
    /// Who does not have it yet.
    pub gate: Gate,
    /// Whether somebody has said that there are no readers that nobody sees.
    pub readers_confirmed: bool,
}

/// What promoting came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promoted {
    /// Which key seals now.
    pub key: KeyId,
    /// Which one sealed before.
    pub old: Option<KeyId>,
    /// Whether it sealed already.
    pub already: bool,
    /// Who cannot open what it seals. Empty, unless it was forced.
    pub gate: Gate,
}

impl Rotation {
    /// Stages a key of this ring: the named one, or the last one that has not been used yet.
    /// `readers_confirmed` says that no reader is left that nobody sees and that has one key only. Only
    /// looks, where `dry_run`.
    ///
    /// # Errors
    ///
    /// A key that is not in the ring, stands in it twice or first, seals already, or was used before;
    /// nodes whose rings begin with different keys; another one that is staged.
    pub async fn stage(
        &self,
        key: Option<KeyId>,
        readers_confirmed: bool,
        dry_run: bool,
    ) -> Result<Staged, RotationError> {
        let book = self.book().await?;
        if let Some(key) = self.ring().duplicate() {
            return Err(RotationError::Duplicate { key });
        }
        let key = self.to_stage(key, &book)?;
        let nodes = self.node_rings().await?;
        let moves = self.staging(&book, key, false, readers_confirmed)?;
        let sealing = self.sealing(&book)?;
        let already = book.key(key).is_some_and(|known| known.phase == KeyPhase::Staged);
        // One that sealed before may stand first.
        if book.key(key).is_none() {
            refuse_orders(&nodes, key)?;
        }
        if !dry_run {
            self.carry_out(&mut |book| self.staging(book, key, false, readers_confirmed), &moves)
                .await?;
        }
        let readers_confirmed = readers_confirmed || book.readers_confirmed_at.is_some() && already;
        Ok(Staged { key, sealing, already, gate: self.gate(key).await?, readers_confirmed })
    }

    /// The key that is meant.
    fn to_stage(&self, named: Option<KeyId>, book: &KeyBook) -> Result<KeyId, RotationError> {
        if let Some(key) = named {
            return Ok(key);
        }
        let ring = self.ring().key_ids();
        let first = self.ring().sealing_id();
        let by_data_key = book.sealing.is_some_and(|sealing| book.data_key(sealing).is_some());
        let unused = |id: &&KeyId| match book.key(**id) {
            Some(known) => known.phase == KeyPhase::Staged && known.compromised_at.is_none(),
            // Beside a data key that seals, a key of the settings is a root key, unless it is named.
            None => Ok(**id) != first && !by_data_key,
        };
        match ring.iter().rev().find(unused) {
            Some(key) => Ok(*key),
            None => Err(RotationError::NothingToStage { key: self.sealing(book)? }),
        }
    }

    /// The key that a rotation is to stage or to promote. `None`: there is none, and one that seals.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`], [`RotationError::NotMigrated`].
    pub async fn next(&self) -> Result<Option<KeyId>, RotationError> {
        match self.to_stage(None, &self.book().await?) {
            Ok(key) => Ok(Some(key)),
            Err(RotationError::NothingToStage { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What staging changes. One that is about to be made is in no ring yet.
    pub(super) fn staging(
        &self,
        book: &KeyBook,
        key: KeyId,
        is_made: bool,
        readers_confirmed: bool,
    ) -> Result<KeyMoves, RotationError> {
        if !is_made && !self.has(key) {
            return Err(RotationError::NotInRing { key });
        }
        let sealing = self.sealing(book)?;
        if key == sealing && book.sealing.is_none() {
            return Err(match self.ring().key_ids().len() {
                1 => RotationError::NothingToStage { key },
                _ => RotationError::Swapped { key, nodes: vec!["this process".to_owned()] },
            });
        }
        if key == sealing {
            return Err(RotationError::Seals { key });
        }
        let another = book.keys.iter().find(|known| known.phase == KeyPhase::Staged);
        if let Some(another) = another.filter(|known| known.id != key) {
            return Err(RotationError::AnotherStaged { key: another.id });
        }
        if let Some(known) = book.key(key)
            && (matches!(known.phase, KeyPhase::Refused | KeyPhase::Retired)
                || known.compromised_at.is_some())
        {
            return Err(RotationError::Used { key, phase: known.phase });
        }
        let is_first = book.sealing.is_none();
        let mut phases = vec![(key, KeyPhase::Staged)];
        phases.extend(is_first.then_some((sealing, KeyPhase::Sealing)));
        Ok(KeyMoves {
            phases,
            sealing: is_first.then_some(sealing),
            // Whoever has another key first must not go on sealing with that.
            is_promotion: is_first,
            readers_confirmed: Some(readers_confirmed).filter(|said| {
                *said || book.key(key).is_none_or(|known| known.phase != KeyPhase::Staged)
            }),
            ..KeyMoves::default()
        })
    }

    /// Has a staged key seal: the named one, or the one that there is. `force` goes on without those who
    /// do not have it. Only looks, where `dry_run`.
    ///
    /// # Errors
    ///
    /// [`RotationError::NothingStaged`], [`RotationError::NotInRing`], [`RotationError::ReadersUnconfirmed`],
    /// [`RotationError::GateClosed`].
    pub async fn promote(
        &self,
        key: Option<KeyId>,
        readers_confirmed: bool,
        force: bool,
        dry_run: bool,
    ) -> Result<Promoted, RotationError> {
        let book = self.book().await?;
        let staged = book.keys.iter().find(|known| known.phase == KeyPhase::Staged);
        let key =
            key.or_else(|| staged.map(|known| known.id)).ok_or(RotationError::NothingStaged)?;
        let gate = self.gate(key).await?;
        if book.sealing == Some(key) {
            return Ok(Promoted { key, old: None, already: true, gate });
        }
        let moves = self.promoting(&book, key)?;
        let confirmed = readers_confirmed || book.readers_confirmed_at.is_some();
        if !gate.is_open() && !force {
            return Err(RotationError::GateClosed { gate });
        }
        if !confirmed && !force {
            return Err(RotationError::ReadersUnconfirmed);
        }
        if !dry_run {
            self.carry_out(&mut |book| self.promoting(book, key), &moves).await?;
        }
        Ok(Promoted { key, old: book.sealing, already: false, gate })
    }

    fn promoting(&self, book: &KeyBook, key: KeyId) -> Result<KeyMoves, RotationError> {
        if !self.has(key) {
            return Err(RotationError::NotInRing { key });
        }
        match book.key(key).map(|known| known.phase) {
            Some(KeyPhase::Staged) => {}
            None => return Err(RotationError::NothingStaged),
            Some(phase) => {
                return Err(RotationError::WrongPhase { key, phase, needs: KeyPhase::Staged });
            }
        }
        let mut phases = vec![(key, KeyPhase::Sealing)];
        phases.extend(book.sealing.map(|old| (old, KeyPhase::Old)));
        Ok(KeyMoves { phases, sealing: Some(key), is_promotion: true, ..KeyMoves::default() })
    }

    /// Changes the keys, if what was decided on is still what is decided under the lock.
    pub(super) async fn carry_out(
        &self,
        decide: &mut (dyn FnMut(&KeyBook) -> Result<KeyMoves, RotationError> + Send),
        expected: &KeyMoves,
    ) -> Result<(), RotationError> {
        let mut locked = |book: &KeyBook| decide(book).ok().filter(|moves| moves == expected);
        if self.rows.move_keys(self.claimed.as_ref(), &mut locked).await? {
            Ok(())
        } else {
            Err(RotationError::Raced)
        }
    }
}

/// Refuses to begin while live nodes disagree on the first key, or seal with the new one already.
pub(super) fn refuse_orders(nodes: &[NodeRing], staged: KeyId) -> Result<(), RotationError> {
    let mut firsts = BTreeMap::<&str, Vec<String>>::new();
    for node in nodes.iter().filter(|node| node.state == NodeState::Live) {
        if let Some(first) = node.keys.first() {
            firsts.entry(first).or_default().push(node.name.clone());
        }
    }
    if let Some(nodes) = firsts.get(staged.to_string().as_str()) {
        return Err(RotationError::Swapped { key: staged, nodes: nodes.clone() });
    }
    if firsts.len() > 1 {
        let order = |(key, nodes): (&&str, &Vec<String>)| format!("{key} ({})", names(nodes));
        return Err(RotationError::OrderDiffers { orders: firsts.iter().map(order).collect() });
    }
    Ok(())
}
