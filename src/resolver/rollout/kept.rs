//! The rollout known last, in a file of `DATA_DIR`. It holds no secret.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::lifecycle::{Lifecycle, apart};
use crate::rollout::Rollout;
use crate::settings::Database;

/// Where it is kept, and for which database.
pub(in crate::resolver) struct KeptRollout {
    path: PathBuf,
    database: String,
    /// What is to be written, while somebody writes.
    newest: Mutex<Option<Arc<Rollout>>>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    database: String,
    rollout: Rollout,
}

impl KeptRollout {
    pub(in crate::resolver) fn new(folder: &Path, database: &Database) -> Self {
        let path = folder.join("rollout.json");
        Self { path, database: database.place(), newest: Mutex::default() }
    }

    /// What was kept of this database. `None`: nothing, or nothing that can be read.
    pub(super) fn read(&self) -> Option<Rollout> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "the rollout known last cannot be read from DATA_DIR");
                return None;
            }
        };
        match serde_json::from_slice::<Content>(&text) {
            Ok(content) => Some(content.rollout).filter(|_| content.database == self.database),
            Err(error) => {
                tracing::warn!(%error, "what DATA_DIR has of the rollout is not understood");
                None
            }
        }
    }

    /// Writes it, on a thread of its own. Of several, the newest is written last.
    pub(super) fn write(self: &Arc<Self>, lifecycle: &Lifecycle, rollout: Arc<Rollout>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rollout);
        let kept = Arc::clone(self);
        lifecycle.spawn("keep rollout", async move {
            let written = apart(move || {
                // Held while it is written, so that two writers come one after the other.
                let mut newest = kept.newest.lock().unwrap_or_else(PoisonError::into_inner);
                newest.take().map_or(Ok(()), |rollout| kept.put(&rollout))
            });
            if let Some(Err(error)) = written.await {
                tracing::warn!(%error, "the rollout could not be kept in DATA_DIR");
            }
        });
    }

    /// Whole, or not at all.
    fn put(&self, rollout: &Rollout) -> io::Result<()> {
        let content = Content { database: self.database.clone(), rollout: rollout.clone() };
        let new = self.path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&new, serde_json::to_vec(&content)?)?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &self.path)
    }
}
