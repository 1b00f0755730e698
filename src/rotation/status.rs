//! How the keys stand: in the database, in the ring of this process, and in those of the nodes.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::census::LeftSecret;
use super::gate::NodeRing;
use super::{Rotation, RotationError};
use crate::keyring::{KeyId, UnopenedKey};
use crate::nodes::UnlistedNode;
use crate::store::{DataKeyPlace, KeyPhase, KeyTurns};

/// How the keys stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key that seals.
    pub sealing: KeyId,
    /// Whether the database says so. If not, the first key of each ring seals.
    pub is_recorded: bool,
    /// How often another key began to seal.
    pub epoch: i64,
    /// The keys of this ring, and those that only the database knows.
    pub keys: Vec<ShownKey>,
    /// Secrets that no key of this ring opens, or that are not sealed.
    pub left: Vec<LeftSecret>,
    /// The rings of the nodes that count.
    pub nodes: Vec<NodeRing>,
    /// Sessions of programs of ours that have no row.
    pub unlisted: Vec<UnlistedNode>,
    /// Since when it is said that there are no readers that nobody sees.
    pub readers_confirmed_at: Option<DateTime<Utc>>,
    /// Data keys that do not open here.
    pub unopened: Vec<UnopenedKey>,
    /// Whether the database has a place for data keys that this role may read.
    pub data_key_place: DataKeyPlace,
    /// How turning them by schedule stands. `None`: the database is of an older step.
    pub turns: Option<KeyTurns>,
}

/// Where a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyHome {
    /// In the settings of each process: its environment, a file, or systemd's credentials.
    Settings,
    /// In the database, sealed by a key of the settings.
    Database,
}

/// A key, as far as this process and the database know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShownKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for. `None`: the database does not know it.
    pub phase: Option<KeyPhase>,
    /// Where it lives, as far as this process can tell.
    pub home: Option<KeyHome>,
    /// The key that seals it, of one that rests in the database.
    pub root: Option<KeyId>,
    /// The data keys that it seals.
    pub data_keys: Vec<KeyId>,
    /// Whether it is in this ring.
    pub in_ring: bool,
    /// How many secrets are sealed under it, as far as this ring has it.
    pub configs: u64,
    /// The nodes that have it.
    pub nodes: Vec<String>,
    /// When the database came to know it.
    pub added_at: Option<DateTime<Utc>>,
    /// Since when it is in this phase.
    pub since: Option<DateTime<Utc>>,
    /// Since when no pass over all secrets has found one under it.
    pub clean_since: Option<DateTime<Utc>>,
    /// Since when it is known that others may have it.
    pub compromised_at: Option<DateTime<Utc>>,
}

impl Rotation {
    /// How the keys stand.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`]. A database that knows nothing of keys is none.
    pub async fn status(&self) -> Result<KeyStatus, RotationError> {
        let book = self.known().await?.unwrap_or_default();
        let (census, nodes) = (self.count().await?, self.node_rings().await?);
        let (whole, roots) = (self.ring(), self.ring.root_ids());
        let ring = whole.key_ids();
        let known = book.keys.iter().map(|key| key.id);
        let resting = book.data_keys.iter().map(|key| key.wrapped.id);
        let unknown = known.chain(resting).filter(|id| !ring.contains(id));
        let mut ids: Vec<_> = Vec::new();
        for id in ring.iter().copied().chain(unknown) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let shown = |id: KeyId| {
            let (known, name) = (book.key(id), id.to_string());
            let having = nodes.iter().filter(|node| node.keys.contains(&name));
            ShownKey {
                id,
                phase: known.map(|known| known.phase),
                home: match book.data_key(id) {
                    Some(_) => Some(KeyHome::Database),
                    None => roots.contains(&id).then_some(KeyHome::Settings),
                },
                root: book.data_key(id).map(|key| key.wrapped.root),
                data_keys: book.under_root(id),
                in_ring: ring.contains(&id),
                configs: census.under(id),
                nodes: having.map(|node| node.name.clone()).collect(),
                added_at: known.and_then(|known| known.added_at),
                since: known.and_then(|known| known.since),
                clean_since: known.and_then(|known| known.clean_since),
                compromised_at: known.and_then(|known| known.compromised_at),
            }
        };
        Ok(KeyStatus {
            sealing: self.sealing(&book)?,
            is_recorded: book.sealing.is_some(),
            epoch: book.epoch,
            keys: ids.into_iter().map(shown).collect(),
            left: census.left,
            nodes,
            unlisted: self.nodes.unlisted().await?,
            readers_confirmed_at: book.readers_confirmed_at,
            unopened: whole.unopened().to_vec(),
            data_key_place: book.data_key_place,
            turns: self.turns.key_turns().await?,
        })
    }
}
