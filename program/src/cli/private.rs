//! Files and folders that only their owner may look into, whatever the umask.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a new file that only its owner may read: whole, on the disk, or not at all. What stands
/// there, a link included, is never written over.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = PrivateFile::begin(path)?;
    file.write_all(text.as_bytes())?;
    file.finish()
}

/// The same, written piece by piece. It is there once it is finished.
pub(crate) struct PrivateFile {
    file: BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl PrivateFile {
    pub(crate) fn begin(path: &Path) -> std::io::Result<Self> {
        // Of mode 0600, and removed again unless it gets its name.
        let file = tempfile::Builder::new().prefix(".trunkline-").tempfile_in(folder_of(path))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    pub(crate) fn finish(self) -> std::io::Result<()> {
        let Self { file, path } = self;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path)?;
        std::fs::File::open(folder_of(&path))?.sync_all()
    }
}

impl Write for PrivateFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// A temporary folder that only its owner may look into, whatever the umask.
pub(crate) fn private_folder(prefix: &str) -> std::io::Result<tempfile::TempDir> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(mode).tempdir()
}

/// Removes a temporary folder, though somebody may still be closing a file in it.
pub(crate) async fn remove(folder: tempfile::TempDir) {
    for _ in 0..100 {
        if std::fs::remove_dir_all(folder.path()).is_ok() || !folder.path().exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_private_file_is_there_whole_for_its_owner_alone_and_never_in_place_of_another() {
        let folder = private_folder("trunkline-test").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        let (file, link) = (folder.path().join("key"), folder.path().join("link"));
        write_private(&file, "one").unwrap();
        assert_eq!(mode(&file), 0o600);
        symlink(folder.path().join("elsewhere"), &link).unwrap();
        for taken in [&file, &link] {
            let error = write_private(taken, "two").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2, "neither a draft nor what the link names");
    }
}
