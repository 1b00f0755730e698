//! Where the results of a batch go: a file, or stdout as JSON or in words.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use super::super::failure::{Done, Exit, Failure};
use super::super::output::{json_line, line};

/// Where results go.
pub(super) struct Results {
    file: Option<BufWriter<File>>,
    json: bool,
}

impl Results {
    /// Nothing is written yet, and nothing that is there is lost, until it is known that the batch
    /// goes on.
    pub(super) fn open(path: Option<&Path>, json: bool) -> Result<Self, Failure> {
        let open = |path: &Path| {
            appending(path).map_err(|error| {
                let message = format!("--results {}: {error}", path.display());
                Failure::new("results_failed", message, Exit::Failed)
            })
        };
        Ok(Self { file: path.map(open).transpose()?.map(BufWriter::new), json })
    }

    /// The file is written anew: the results of earlier runs come first, from the journal.
    pub(super) fn begin(&mut self) -> Done {
        match &self.file {
            // A pipe or a device has no length.
            Some(file) if file.get_ref().metadata().is_ok_and(|there| there.is_file()) => {
                file.get_ref().set_len(0).map_err(|error| failed(&error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write(&mut self, result: &Value) -> Done {
        let Some(file) = &mut self.file else {
            return if self.json { json_line(result) } else { line(in_words(result)) };
        };
        writeln!(file, "{result}").map_err(|error| failed(&error))
    }

    pub(super) fn finish(mut self) -> Done {
        self.file.as_mut().map_or(Ok(()), |file| file.flush().map_err(|error| failed(&error)))
    }
}

/// Opens what is there, a pipe or a device as well, with the rights that it has. A new file is its
/// owner's alone, since it holds whole numbers, and is never made through a link.
fn appending(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.append(true);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            options.create_new(true).mode(0o600).open(path)
        }
        opened => opened,
    }
}

fn failed(error: &std::io::Error) -> Failure {
    let message = format!("--results: {error}");
    Failure::new("results_failed", message, Exit::Failed)
        .hint("the journal has them: --resume writes them anew")
}

/// A result in one line of words.
fn in_words(result: &Value) -> String {
    let text = |member: &str| result[member].as_str().unwrap_or("-").to_owned();
    let mut words = format!(
        "line {}: {}, {} to {}",
        result["line"],
        text("outcome"),
        text("from"),
        text("to"),
    );
    for member in ["room", "message"] {
        if let Some(more) = result[member].as_str() {
            words.push_str(", ");
            words.push_str(more);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn new_results_are_their_owners_and_what_is_there_keeps_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        appending(&at("new")).unwrap();
        assert_eq!(mode(&at("new")), 0o600);
        std::fs::write(at("old"), "first\n").unwrap();
        std::fs::set_permissions(at("old"), std::fs::Permissions::from_mode(0o644)).unwrap();
        symlink(at("old"), at("link")).unwrap();
        for name in ["old", "link"] {
            writeln!(appending(&at(name)).unwrap(), "{name}").unwrap();
        }
        assert_eq!(mode(&at("old")), 0o644);
        assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "first\nold\nlink\n");
        symlink(at("nowhere"), at("loose")).unwrap();
        assert!(appending(&at("loose")).is_err(), "nothing is made through a link");
        writeln!(appending(Path::new("/dev/null")).unwrap(), "a device").unwrap();
    }
}
