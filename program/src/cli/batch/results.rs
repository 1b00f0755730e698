//! Where the results of a batch go: a file of rows or of JSON, or stdout as JSON or in words.
//!
//! A file is written line by line as results come, so that what is there survives a kill.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;
use trunkline::dispatch::batch::{ResultRows, RowResult, is_result_column};

use super::super::failure::{Done, Exit, Failure};
use super::super::output::{json_line, line};
use super::rehearsed::Read;

/// Where results go.
pub(super) struct Results {
    to: To,
    /// The rows of the batch with their results, and not JSON.
    rows: Option<ResultRows>,
}

enum To {
    File(File),
    Stdout { json: bool },
}

/// Whether results are to be rows of CSV.
pub(super) fn are_rows(path: Option<&Path>) -> bool {
    let extension = path.and_then(Path::extension);
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

impl Results {
    /// Nothing is written yet, and nothing that is there is lost, until it is known that the batch
    /// goes on.
    pub(super) fn open(path: Option<&Path>, json: bool, read: &Read) -> Result<Self, Failure> {
        let open = |path: &Path| {
            appending(path).map_err(|error| {
                let message = format!("--results {}: {error}", path.display());
                Failure::new("results_failed", message, Exit::Failed)
            })
        };
        let to = path.map(open).transpose()?.map_or(To::Stdout { json }, To::File);
        let rows = are_rows(path);
        let rows =
            rows.then(|| ResultRows::like(&read.layout, read.encoding, read.columns.clone()));
        Ok(Self { to, rows })
    }

    /// The file is written anew: the results of earlier runs come first, from the journal.
    pub(super) fn begin(&mut self) -> Done {
        let To::File(file) = &self.to else { return Ok(()) };
        // A pipe or a device has no length.
        if file.metadata().is_ok_and(|there| there.is_file()) {
            file.set_len(0).map_err(|error| failed(&error))?;
        }
        match &self.rows {
            Some(rows) => write(file, &rows.headings()),
            None => Ok(()),
        }
    }

    pub(super) fn write(&mut self, told: RowResult<'_>) -> Done {
        match (&self.to, &self.rows) {
            (To::File(file), Some(rows)) => write(file, &rows.row(told)),
            (To::File(file), None) => write(file, &told.result.to_string()),
            (To::Stdout { json: true }, _) => json_line(told.result),
            (To::Stdout { json: false }, _) => line(in_words(told.result)),
        }
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

/// Refuses a column of the batch that would stand there twice.
pub(super) fn spare_columns(columns: &[String]) -> Done {
    let Some(taken) = columns.iter().find(|heading| is_result_column(heading)) else {
        return Ok(());
    };
    let message = format!("the batch has a column {taken:?} of its own, as results in CSV add one");
    Err(Failure::usage("results_column", message)
        .hint("give the column another name, or the results one that ends with .jsonl"))
}

/// Writes a line whole, so that none is torn by a kill.
fn write(mut file: &File, text: &str) -> Done {
    file.write_all(format!("{text}\n").as_bytes()).map_err(|error| failed(&error))
}

fn failed(error: &std::io::Error) -> Failure {
    let message = format!("--results: {error}");
    Failure::new("results_failed", message, Exit::Failed)
        .hint("the journal has them: --resume writes them again")
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
