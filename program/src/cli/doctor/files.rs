//! The SQLite file: whose it is, and who else may read or write it. It holds numbers, rules and sealed
//! secrets, and whoever writes it says where calls go.

use std::path::{Path, PathBuf};

use trunkline::settings::Database;

use super::{DoctorFinding, State, bad, good, warning};

pub(super) fn look(database: Option<&Database>) -> Vec<DoctorFinding> {
    let Some(file) = database.and_then(Database::file) else { return Vec::new() };
    // What is not there is told by whoever opens it.
    let Ok(path) = file.canonicalize() else { return Vec::new() };
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let beside = ["-wal", "-shm"].map(|end| {
        let mut name = path.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    });
    let files =
        [path.clone(), folder].into_iter().chain(beside.into_iter().filter(|file| file.exists()));
    let findings: Vec<_> = files.flat_map(|file| rights(&file, is_hidden(&path))).collect();
    if findings.is_empty() {
        return vec![good("file", format!("{} is this user's alone to write", path.display()))];
    }
    findings
}

/// Whether a folder on the way lets others no further.
#[cfg(unix)]
fn is_hidden(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let closed = |folder: &Path| folder.metadata().is_ok_and(|meta| meta.mode() & 0o001 == 0);
    path.ancestors().skip(1).any(closed)
}

#[cfg(not(unix))]
fn is_hidden(_: &Path) -> bool {
    true
}

#[cfg(unix)]
fn rights(path: &Path, is_hidden: bool) -> Vec<DoctorFinding> {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{Access, access};

    let Ok(meta) = path.metadata() else { return Vec::new() };
    let (shown, mode) = (path.display(), meta.mode());
    let mut findings = Vec::new();
    if access(path, Access::WRITE_OK).is_err() {
        let found = format!("{shown} may not be written by this user, and SQLite writes to it");
        findings.push(bad(
            "file",
            found,
            format!("chown or chmod it: it is user {}'s", meta.uid()),
        ));
    }
    // In a folder with the sticky bit, as /tmp, nobody replaces what is another's.
    if mode & 0o002 != 0 && mode & 0o1000 == 0 && !is_hidden {
        let found = format!("{shown} may be written by everybody");
        findings.push(bad("file", found, format!("chmod o-w {shown}")));
    }
    if meta.is_file() && mode & 0o004 != 0 && !is_hidden {
        let found = format!("{shown} may be read by everybody");
        findings.push(warning("file", found, Some(&format!("chmod o-r {shown}"))));
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&meta.uid()) {
        let found = format!("{shown} belongs to user {}, who may change it", meta.uid());
        let hint = "it must be yours or root's";
        findings.push(DoctorFinding { state: State::Warning, ..bad("file", found, hint) });
    }
    findings
}

#[cfg(not(unix))]
fn rights(_: &Path, _: bool) -> Vec<DoctorFinding> {
    Vec::new()
}
