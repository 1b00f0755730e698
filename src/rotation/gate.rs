//! Who could not open what a key is to seal.

use serde::Serialize;

use super::{Rotation, RotationError};
use crate::keyring::KeyId;
use crate::nodes::{Node, NodeState, UnlistedNode, names};
use crate::store::StoreError;

/// The ring of a node, as it told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeRing {
    /// `NODE_NAME`.
    pub name: String,
    /// Whether it runs.
    pub state: NodeState,
    /// The ids of its keys, in order.
    pub keys: Vec<String>,
}

/// Who could not open what a key is to seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gate {
    /// Which key.
    pub key: KeyId,
    /// Nodes that count and do not have it.
    pub lacking: Vec<NodeRing>,
    /// Sessions of programs of ours that have no row, so that nobody knows their keys.
    pub unlisted: Vec<UnlistedNode>,
}

impl Gate {
    /// Whether everybody who is seen has the key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lacking.is_empty() && self.unlisted.is_empty()
    }

    /// Who stands before it, in words.
    #[must_use]
    pub fn closed_because(&self) -> String {
        let lacking: Vec<_> = self.lacking.iter().map(|node| node.name.clone()).collect();
        let unlisted: Vec<_> = self.unlisted.iter().map(|node| node.name.clone()).collect();
        let mut told = Vec::new();
        if !lacking.is_empty() {
            told.push(format!(
                "{} without key {}: {}",
                nodes(lacking.len()),
                self.key,
                names(&lacking)
            ));
        }
        if !unlisted.is_empty() {
            let many = nodes(unlisted.len());
            told.push(format!("{many} whose keys nobody knows: {}", names(&unlisted)));
        }
        told.join("; ")
    }
}

impl Rotation {
    /// Who could not open what this key is to seal.
    ///
    /// # Errors
    ///
    /// [`RotationError::Store`].
    pub async fn gate(&self, key: KeyId) -> Result<Gate, RotationError> {
        let id = key.to_string();
        let nodes = self.node_rings().await?;
        let lacking = nodes.into_iter().filter(|node| !node.keys.contains(&id)).collect();
        Ok(Gate { key, lacking, unlisted: self.nodes.unlisted().await? })
    }

    /// The rings of the nodes that count. None, of a database without a table of nodes.
    pub(super) async fn node_rings(&self) -> Result<Vec<NodeRing>, RotationError> {
        let ring = |node: Node| NodeRing { name: node.name, state: node.state, keys: node.keys };
        match self.nodes.list().await {
            Ok(nodes) => Ok(nodes.into_iter().map(ring).collect()),
            Err(StoreError::NotMigrated { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

fn nodes(many: usize) -> String {
    if many == 1 { "1 node".to_owned() } else { format!("{many} nodes") }
}
