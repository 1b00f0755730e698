//! A Unix socket in the file system: made in one step, taken over from a daemon that is gone, refused
//! while one is there, and removed at the end.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that was bound. Its file goes when this is dropped, unless it is another one by then.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a socket at this path, with mode 0660.
    pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        // Two that begin at once look one after the other, so the second one meets the first.
        let lock = File::open(folder)?;
        lock.lock()?;
        refuse_unless_stale(path)?;
        // Under a name of its own until it has its mode: nobody connects before that.
        let draft = folder.join(format!(".tl{}", std::process::id()));
        let _ = std::fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft)?;
        let made = std::fs::set_permissions(&draft, Permissions::from_mode(0o660))
            .and_then(|()| std::fs::metadata(&draft))
            .and_then(|made| std::fs::rename(&draft, path).map(|()| made));
        let made = made.inspect_err(|_| drop(std::fs::remove_file(&draft)))?;
        listener.set_nonblocking(true)?;
        let path = path.to_owned();
        Ok((listener, Self { path, identity: (made.dev(), made.ino()) }))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = std::fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether there is nothing at this path, or a socket that nobody listens on.
fn refuse_unless_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if there.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "there is a file, which is no socket",
            ));
        }
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another program listens there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_its_mode_and_goes_with_the_last_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let (_listener, file) = SocketFile::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_is_listened_on_is_refused_and_one_that_is_not_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let (listener, first) = SocketFile::bind(&path).unwrap();
        let refused = SocketFile::bind(&path).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        drop(listener);
        let (_listener, second) = SocketFile::bind(&path).unwrap();
        // The first one does not take the file of the second one along.
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "mine").unwrap();
        let refused = SocketFile::bind(&path).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
