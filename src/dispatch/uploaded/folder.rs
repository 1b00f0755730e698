//! Where the rows and the journals of batches are: a folder of `DATA_DIR`, which knows who it is.
//!
//! A batch goes on where its journal is, and that is in one folder, whichever node has it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct BatchFolder {
    path: PathBuf,
    /// Who it is, as rows name it.
    pub(super) keeper: Uuid,
}

impl BatchFolder {
    /// Opens it, or makes it with a name of its own.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("batches");
        make(&path)?;
        let named = path.join("keeper");
        let new = Uuid::new_v4();
        if !named.exists() {
            // Whole or not at all, and of two who begin at once one.
            let draft = path.join(format!("keeper.{new}"));
            put(&draft, new.to_string().as_bytes())?;
            match std::fs::hard_link(&draft, &named) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            std::fs::remove_file(&draft)?;
            sync(&path)?;
        }
        let text = std::fs::read_to_string(&named)?;
        let malformed = || io::Error::other("batches/keeper does not hold a UUID");
        let keeper = text.trim().parse().map_err(|_| malformed())?;
        Ok(Self { path, keeper })
    }

    /// The rows of a batch, as they were uploaded.
    pub(super) fn entries(&self, batch: Uuid) -> PathBuf {
        self.of(batch).join("entries")
    }

    /// Its journal.
    pub(super) fn journal(&self, batch: Uuid) -> PathBuf {
        self.of(batch).join("entries.journal")
    }

    /// Writes the rows of a batch, so that they are there after the power was gone.
    pub(super) fn keep(&self, batch: Uuid, content: &[u8]) -> io::Result<()> {
        make(&self.of(batch))?;
        put(&self.entries(batch), content)?;
        sync(&self.of(batch))?;
        sync(&self.path)
    }

    /// Removes a batch with its journal.
    pub(super) fn forget(&self, batch: Uuid) -> io::Result<()> {
        std::fs::remove_dir_all(self.of(batch))
    }

    /// The batches that were not touched for so long.
    pub(super) fn older_than(&self, age: Duration, now: SystemTime) -> io::Result<Vec<Uuid>> {
        let mut old = Vec::new();
        for there in std::fs::read_dir(&self.path)? {
            let there = there?;
            let id = there.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok());
            let touched = there.metadata()?.modified()?;
            let is_old = now.duration_since(touched).is_ok_and(|since| since >= age);
            old.extend(id.filter(|_| is_old));
        }
        Ok(old)
    }

    fn of(&self, batch: Uuid) -> PathBuf {
        self.path.join(batch.to_string())
    }
}

/// A folder that is its owner's alone: rows hold whole numbers.
fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_stays_who_it_is_and_what_it_keeps_is_its_owner_s_alone() {
        let data = tempfile::tempdir().unwrap();
        let folder = BatchFolder::open(data.path()).unwrap();
        let again = BatchFolder::open(data.path()).unwrap();
        assert_eq!(folder.keeper, again.keeper);
        let batch = Uuid::from_u128(7);
        folder.keep(batch, b"to\n").unwrap();
        assert_eq!(std::fs::read(again.entries(batch)).unwrap(), b"to\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.entries(batch)), mode(&folder.of(batch))), (0o600, 0o700));
        assert!(folder.keep(batch, b"other\n").is_err(), "nothing is written over");
        let touched = std::fs::metadata(folder.of(batch)).unwrap().modified().unwrap();
        let later = touched + Duration::from_secs(60);
        assert_eq!(folder.older_than(Duration::from_secs(59), later).unwrap(), [batch]);
        assert!(folder.older_than(Duration::from_secs(61), later).unwrap().is_empty());
        folder.forget(batch).unwrap();
        assert!(folder.older_than(Duration::ZERO, later).unwrap().is_empty());
    }
}
