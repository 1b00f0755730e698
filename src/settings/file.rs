//! Reads a file that holds settings. It must be small, regular and text, and only its owner may
//! write it.
//!
//! A FIFO, a device or a folder is refused without being read. Links are followed: Kubernetes and
//! Docker put files in place with them.
//!
//! **Invariant:** the stamp belongs to the same file that the text came from.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file as it was read.
pub(super) struct FileText {
    /// Without the mark of UTF-8 that some editors put first.
    pub(super) whole: Zeroizing<String>,
    pub(super) stamp: FileStamp,
    /// What is odd about who may read and write it, though it is read.
    pub(super) doubt: Vec<Doubt>,
}

/// What is odd about the rights of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Everybody on the machine may read it.
    Readable,
    /// It belongs to another user than this one and root.
    Foreign(u32),
}

/// What changes when a file does, though its size and time stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStamp {
    modified: Option<std::time::SystemTime>,
    length: u64,
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

impl FileStamp {
    fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: meta.modified().ok(),
            length: meta.len(),
            #[cfg(unix)]
            identity: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Of what stands there now, whatever it is.
    pub(crate) fn now(path: &Path) -> Option<Self> {
        Some(Self::of(&std::fs::metadata(path).ok()?))
    }
}

/// Reads a file of at most so many bytes. `None`: there is none. `credentials` is the folder that
/// systemd hands credentials over in.
///
/// The error says what is wrong with the file and what would be right; it holds nothing of it.
pub(super) fn read(
    path: &Path,
    most: usize,
    credentials: Option<&Path>,
) -> Result<Option<FileText>, String> {
    let failed = |error: &std::io::Error| format!("{} cannot be read: {error}", path.display());
    // Asked before it is opened, since opening alone sets some devices off.
    let meta = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
        Ok(meta) => meta,
    };
    regular(path, &meta)?;
    let file = open(path).map_err(|error| failed(&error))?;
    let meta = file.metadata().map_err(|error| failed(&error))?;
    regular(path, &meta)?;
    let doubt = if handed_over(path, credentials) { Vec::new() } else { rights(path, &meta)? };
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() > most {
        return Err(format!("{} is larger than {} KiB", path.display(), most >> 10));
    }
    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| format!("{} must be UTF-8 text", path.display()))?;
    let text = Zeroizing::new(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned());
    Ok(Some(FileText { whole: text, stamp: FileStamp::of(&meta), doubt }))
}

fn regular(path: &Path, meta: &Metadata) -> Result<(), String> {
    if meta.is_dir() {
        return Err(format!("{} is a directory; it must be a file", path.display()));
    }
    if !meta.is_file() {
        return Err(format!("{} is not a regular file; it must be one", path.display()));
    }
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    // What became a FIFO in between makes nobody wait.
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)
}

/// Whether a service manager put it there, which sees to the rights by itself.
fn handed_over(path: &Path, credentials: Option<&Path>) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let credentials = credentials.and_then(|folder| folder.canonicalize().ok());
    let folders = ["/run/secrets", "/run/credentials"].map(PathBuf::from);
    folders.iter().chain(&credentials).any(|folder| real.starts_with(folder))
}

#[cfg(not(target_os = "linux"))]
fn rights(_: &Path, _: &Metadata) -> Result<Vec<Doubt>, String> {
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
fn rights(path: &Path, meta: &Metadata) -> Result<Vec<Doubt>, String> {
    use std::os::unix::fs::MetadataExt;

    if meta.mode() & 0o002 != 0 {
        let path = path.display();
        return Err(format!("{path} may be written by everybody: run `chmod o-w {path}`"));
    }
    let mut doubt = Vec::new();
    if meta.mode() & 0o004 != 0 {
        doubt.push(Doubt::Readable);
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&meta.uid()) {
        doubt.push(Doubt::Foreign(meta.uid()));
    }
    Ok(doubt)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const MOST: usize = 1024;

    fn error(path: &Path) -> String {
        read(path, MOST, None).err().expect("it is refused")
    }

    #[test]
    fn only_a_regular_file_of_some_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(read(&file, MOST, None).unwrap().is_none());
        assert!(error(folder.path()).contains("is a directory"));
        assert!(error(Path::new("/dev/zero")).contains("not a regular file"));
        std::fs::write(&file, [b'a'; MOST + 1]).unwrap();
        assert!(error(&file).contains("larger than 1 KiB"));
        for bytes in [&b"\xff"[..], b"a\0b"] {
            std::fs::write(&file, bytes).unwrap();
            assert!(error(&file).contains("must be UTF-8 text"));
        }
        std::fs::write(&file, "\u{feff}text").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(*read(&link, MOST, None).unwrap().unwrap().whole, "text");
    }

    #[test]
    fn who_may_write_and_read_it_is_looked_at_unless_a_service_manager_handed_it_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "text").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&file, MOST, None).map(|text| text.unwrap().doubt)
        };
        assert_eq!(with_mode(0o600), Ok(vec![]));
        assert_eq!(with_mode(0o640), Ok(vec![]));
        assert_eq!(with_mode(0o644), Ok(vec![Doubt::Readable]));
        assert!(with_mode(0o606).unwrap_err().contains("chmod o-w"));
        let handed_over = read(&file, MOST, Some(folder.path()));
        assert!(handed_over.unwrap().unwrap().doubt.is_empty());
    }

    #[test]
    fn a_file_in_the_place_of_an_equal_one_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("key"), folder.path().join("other"));
        for path in [&file, &other] {
            std::fs::write(path, "same").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let before = FileStamp::now(&file);
        assert_eq!(before, Some(read(&file, MOST, None).unwrap().unwrap().stamp));
        std::fs::rename(other, &file).unwrap();
        assert_ne!(before, FileStamp::now(&file));
    }
}
