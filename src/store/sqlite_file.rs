//! A new SQLite file: made and filled beside its name, and given the name once it is whole and on
//! the disk.
//!
//! Others than its owner and group may not read it: it holds numbers and sealed secrets. SQLite makes
//! its write-ahead log alike.
//!
//! **Invariant:** under its own name there is no half of a database, whatever a full disk or a lost
//! power left behind; and what has the name already, a link included, is never written over.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::error::typed;
use super::{MigrateError, StoreError};

/// Makes the file that these options name and lets `fill` fill it, unless there is one.
pub(super) async fn make(
    options: &SqliteConnectOptions,
    fill: impl AsyncFnOnce(&mut SqliteConnection) -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    let path = options.get_filename();
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let draft = FileDraft::beside(path).map_err(|error| unwritten(&error))?;
    let options = options.clone().filename(&draft.0).create_if_missing(true);
    let connect = |error: sqlx::Error| MigrateError::Store(typed(&error, "connect"));
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(connect)?;
    fill(&mut connection).await?;
    // Brings everything from the write-ahead log into the file.
    connection.close().await.map_err(connect)?;
    match draft.publish(path) {
        // Another process was faster; what it made is as good.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        published => published.map_err(|error| unwritten(&error)),
    }
}

/// A file under a name that goes with it.
struct FileDraft(PathBuf);

impl FileDraft {
    fn beside(path: &Path) -> std::io::Result<Self> {
        let dice = getrandom::u32().map_err(|_| Error::other("there is no randomness"))?;
        let mut name = OsString::from(path);
        name.push(format!(".new-{dice:08x}"));
        let draft = Self(name.into());
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o660);
        options.open(&draft.0)?;
        Ok(draft)
    }

    fn publish(&self, path: &Path) -> std::io::Result<()> {
        File::open(&self.0)?.sync_all()?;
        // A second name, because renaming would write over what came there meanwhile.
        match std::fs::hard_link(&self.0, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
            // Not every file system has second names.
            Err(_) => std::fs::rename(&self.0, path)?,
            Ok(()) => {}
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for FileDraft {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.0.clone().into_os_string();
            name.push(end);
            // What is not there needs no removing.
            let _ = std::fs::remove_file(name);
        }
    }
}

fn unwritten(error: &Error) -> MigrateError {
    let why = format!("the file cannot be written: {error}");
    MigrateError::Store(StoreError::Unreachable { why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(path)
    }

    async fn fill(new: &mut SqliteConnection) -> Result<(), MigrateError> {
        let made = sqlx::query("create table t (a)").execute(new).await;
        made.map(drop).map_err(|error| MigrateError::Store(typed(&error, "test")))
    }

    fn names(folder: &Path) -> Vec<OsString> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[tokio::test]
    async fn a_file_that_could_not_be_filled_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder.path().join("x.db"));
        let full = async |new: &mut _| {
            fill(new).await?;
            Err(unwritten(&Error::from(ErrorKind::StorageFull)))
        };
        assert!(make(&options, full).await.is_err());
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
        make(&options, fill).await.unwrap();
        assert_eq!(names(folder.path()), ["x.db"]);
    }

    #[tokio::test]
    async fn what_has_the_name_is_left_alone_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (there, link) = (folder.path().join("there"), folder.path().join("link"));
        std::fs::write(&there, "text").unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        for path in [&there, &link] {
            make(&options(path), async |_| panic!("nothing is filled")).await.unwrap();
            let draft = FileDraft::beside(path).unwrap();
            std::fs::write(&draft.0, "other").unwrap();
            assert_eq!(draft.publish(path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "text");
        assert_eq!(names(folder.path()).len(), 2);
    }
}
