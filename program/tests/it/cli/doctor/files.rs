//! An SQLite file that others may read or write is found.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Kind, Site, of_state};

fn chmod(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What the doctor says of the file when folder and file have these modes.
fn said(site: &Site, folder: u32, file: u32, state: &str) -> Vec<String> {
    let path = site.folder.path();
    chmod(path, folder);
    // The log beside it, too, which SQLite makes like the file.
    for entry in std::fs::read_dir(path).unwrap() {
        chmod(&entry.unwrap().path(), file);
    }
    let run = site.run(&["doctor", "--json"]);
    of_state(&run, state).into_iter().filter(|found| found.starts_with("file: ")).collect()
}

#[test]
fn an_sqlite_file_that_others_may_read_or_write_is_found() {
    let site = Site::migrated(Kind::Sqlite);
    let mode = site.folder.path().join("x.db").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "a new file is nobody else's");
    assert_eq!(said(&site, 0o755, 0o600, "ok").len(), 1);
    let beside = site.folder.path().join("x.db-wal");
    std::fs::write(&beside, "").unwrap();
    chmod(&beside, 0o644);
    let run = site.run(&["doctor", "--edit", "--json"]);
    let odd = of_state(&run, "warn");
    assert!(odd[0].ends_with("x.db-wal may be read by everybody"), "{odd:?}");
    // In a folder that lets nobody in.
    assert_eq!(said(&site, 0o700, 0o666, "ok").len(), 1);
    let readable = said(&site, 0o755, 0o644, "warn");
    assert!(readable[0].ends_with("x.db may be read by everybody"), "{readable:?}");
    let writable = said(&site, 0o755, 0o602, "fail");
    assert!(writable[0].ends_with("x.db may be written by everybody"), "{writable:?}");
    let folder = said(&site, 0o757, 0o600, "fail");
    assert!(folder.len() == 1 && folder[0].contains("may be written by everybody"), "{folder:?}");
    // As in /tmp, where nobody replaces what is another's.
    assert_eq!(said(&site, 0o1757, 0o600, "fail"), Vec::<String>::new());
}
