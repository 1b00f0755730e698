//! Data keys: one is made and staged, and all of them are sealed by another root key.

use serde::Serialize;

use super::gate::Gate;
use super::stage::refuse_orders;
use super::{Rotation, RotationError, Staged};
use crate::keyring::KeyId;
use crate::store::{DataKeyPlace, KeyBook, KeyMoves, KeyPhase};

/// What sealing data keys by another root key came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rewrapped {
    /// The root key.
    pub root: KeyId,
    /// The data keys that it seals now, or would, and did not before.
    pub data_keys: Vec<KeyId>,
    /// Who does not have the root key. Empty, unless it was forced.
    pub gate: Gate,
}

impl Rotation {
    /// Makes a data key and stages it, unless one is staged: sealed by `root`, or else by the key of the
    /// settings that seals the newest one. `readers_confirmed` says that no reader is left that knows the keys
    /// of the settings only. Only looks, where `dry_run`: then the id that is told is of no key.
    ///
    /// # Errors
    ///
    /// [`RotationError::NoDataKeys`], [`RotationError::AnotherStaged`], nodes whose rings begin with
    /// different keys, and [`RotationError::Key`] where `root` is no key of the settings.
    pub async fn stage_wrapped(
        &self,
        root: Option<KeyId>,
        readers_confirmed: bool,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<Staged, RotationError> {
        let book = self.book().await?;
        refuse_place(&book)?;
        let staged = book.keys.iter().find(|known| known.phase == KeyPhase::Staged);
        if let Some(staged) = staged {
            return match book.data_key(staged.id) {
                Some(_) => self.stage(Some(staged.id), readers_confirmed, dry_run).await,
                None => Err(RotationError::AnotherStaged { key: staged.id }),
            };
        }
        let root = root.map_or_else(|| self.root_for_new(&book), Ok)?;
        let wrapped = self.ring.new_data_key(root, unix_seconds)?;
        let key = wrapped.id;
        // As likely as any other id, and a key is known by its id alone.
        if self.has(key) || book.key(key).is_some() {
            return Err(RotationError::Raced);
        }
        refuse_orders(&self.node_rings().await?, key)?;
        let decide = |book: &KeyBook| {
            refuse_place(book)?;
            let moves = self.staging(book, key, true, readers_confirmed)?;
            Ok(KeyMoves { wrapped: vec![wrapped.clone()], ..moves })
        };
        let (moves, sealing) = (decide(&book)?, self.sealing(&book)?);
        if !dry_run {
            self.carry_out(&mut { decide }, &moves).await?;
        }
        Ok(Staged { key, sealing, already: false, gate: self.gate(key).await?, readers_confirmed })
    }

    /// Makes a data key and stages it, as somebody has said before that readers know such.
    pub(super) async fn stage_next(&self, unix_seconds: u64) -> Result<KeyId, RotationError> {
        let book = self.book().await?;
        let confirmed = book.readers_confirmed_at.is_some();
        Ok(self.stage_wrapped(None, confirmed, unix_seconds, false).await?.key)
    }

    /// Seals every data key by another root key: `root`, or else the last key of the settings that is not
    /// compromised. No row is touched that they seal. `force` goes on without nodes that do not have the root key.
    /// Only looks, where `dry_run`.
    ///
    /// # Errors
    ///
    /// [`RotationError::NoDataKeys`], [`RotationError::GateClosed`], and [`RotationError::Key`] where a data
    /// key does not open here.
    pub async fn rewrap(
        &self,
        root: Option<KeyId>,
        force: bool,
        unix_seconds: u64,
        dry_run: bool,
    ) -> Result<Rewrapped, RotationError> {
        let book = self.book().await?;
        refuse_place(&book)?;
        let roots = self.ring.root_ids();
        let usable = |id: &&KeyId| !is_compromised(&book, **id);
        let last = || roots.iter().rev().find(usable).copied();
        let root = root.or_else(last).ok_or(RotationError::NoRoot)?;
        if is_compromised(&book, root) {
            return Err(RotationError::Compromised { key: root });
        }
        let gate = self.gate(root).await?;
        let mut moves = KeyMoves::default();
        for known in book.data_keys.iter().filter(|known| known.wrapped.root != root) {
            moves.wrapped.push(self.ring.rewrap(&known.wrapped, root, unix_seconds)?);
        }
        if roots.iter().all(|id| *id != root) {
            return Err(crate::keyring::KeyError::RootKeyMissing { key: root }.into());
        }
        let data_keys: Vec<_> = moves.wrapped.iter().map(|wrapped| wrapped.id).collect();
        if !data_keys.is_empty() && !gate.is_open() && !force {
            return Err(RotationError::GateClosed { gate });
        }
        if !data_keys.is_empty() && !dry_run {
            let mut unchanged = |now: &KeyBook| {
                let is_so = now.data_keys == book.data_keys;
                is_so.then(|| moves.clone()).ok_or(RotationError::Raced)
            };
            self.carry_out(&mut unchanged, &moves).await?;
        }
        Ok(Rewrapped { root, data_keys, gate })
    }

    /// The key of the settings that a new data key is sealed by: the one that seals the newest of them, else the
    /// one that seals secrets, else the first. One that others may have is not taken.
    fn root_for_new(&self, book: &KeyBook) -> Result<KeyId, RotationError> {
        let roots = self.ring.root_ids();
        let newest = book.data_keys.iter().rev().map(|key| key.wrapped.root);
        let wanted = newest.chain(book.sealing).chain(roots.iter().copied());
        let mut usable = wanted.filter(|id| roots.contains(id) && !is_compromised(book, *id));
        usable.next().ok_or(RotationError::NoRoot)
    }
}

fn refuse_place(book: &KeyBook) -> Result<(), RotationError> {
    match book.data_key_place {
        DataKeyPlace::Open => Ok(()),
        place => Err(RotationError::NoDataKeys { is_hidden: place == DataKeyPlace::Hidden }),
    }
}

fn is_compromised(book: &KeyBook, id: KeyId) -> bool {
    book.key(id).is_some_and(|known| known.compromised_at.is_some())
}
