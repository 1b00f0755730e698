//! The entries of a batch, read from CSV or JSON lines one at a time.
//!
//! A line that cannot be read is an entry, too: it has a result like all others, and says what is
//! wrong with it. Only a file that cannot be a batch at all is refused before anything is placed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::dispatch::CallRequest;
use crate::number::{Caller, E164, TenantId};

/// One line of a batch.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its line in the file, from 1.
    pub line: u64,
    /// What it asks for, or what is wrong with it.
    pub request: Result<CallRequest, String>,
    /// Tells it from another one that stands on the same line after an edit.
    pub digest: u64,
}

/// The lines of a batch, read as they are asked for.
pub struct Entries {
    lines: Lines,
    defaults: Defaults,
    /// Whether it could not be read on.
    broken: bool,
}

/// What holds for the lines that do not say it themselves.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Whose numbers call.
    pub tenant: Option<TenantId>,
    /// Which number calls.
    pub from: Option<E164>,
}

enum Lines {
    Csv { rows: csv::Reader<Box<dyn BufRead + Send>>, headings: csv::StringRecord },
    Json { lines: Box<dyn BufRead + Send>, line: u64 },
}

/// Why a file is no batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoBatch {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a pipe, a folder or a device.
    #[error("it is no regular file; a batch is read more than once, so save it to one first")]
    NoFile,
    /// Its first line is neither JSON nor headings of CSV.
    #[error("the first line is neither a JSON object nor CSV headings: {0}")]
    Malformed(String),
    /// A CSV column that every entry needs is missing.
    #[error(
        "there is no column {0}; a batch has the columns to, from and tenant, and any others of yours"
    )]
    NoColumn(&'static str),
    /// A CSV column stands there twice.
    #[error("there are two columns {0:?}")]
    ColumnTwice(String),
    /// There is nothing in it.
    #[error(
        "the file is empty; a batch has the columns to, from and tenant, or a JSON object a line"
    )]
    Empty,
}

impl Entries {
    /// Opens a file and looks at its beginning.
    ///
    /// # Errors
    ///
    /// [`NoBatch`].
    pub fn open(path: &Path, defaults: Defaults) -> Result<Self, NoBatch> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(NoBatch::NoFile);
        }
        Self::read(Box::new(BufReader::with_capacity(1 << 16, file)), defaults)
    }

    /// Reads from somewhere else.
    ///
    /// # Errors
    ///
    /// [`NoBatch`].
    pub fn read(mut from: Box<dyn BufRead + Send>, defaults: Defaults) -> Result<Self, NoBatch> {
        let first = from.fill_buf()?;
        // What spreadsheets write before a CSV file.
        let mark = if first.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        from.consume(mark);
        let first = from.fill_buf()?;
        let Some(begin) = first.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            return Err(NoBatch::Empty);
        };
        if *begin == b'{' {
            let lines = Lines::Json { lines: from, line: 0 };
            return Ok(Self { lines, defaults, broken: false });
        }
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(from);
        let headings =
            rows.headers().map_err(|error| NoBatch::Malformed(error.to_string()))?.clone();
        let headings: csv::StringRecord = headings.iter().map(|name| ours(name.trim())).collect();
        let mut seen = std::collections::BTreeSet::new();
        for name in &headings {
            if !seen.insert(name) {
                return Err(NoBatch::ColumnTwice(name.to_owned()));
            }
        }
        for (name, given) in [
            ("to", false),
            ("from", defaults.from.is_some()),
            ("tenant", defaults.tenant.is_some()),
        ] {
            if !given && !seen.contains(name) {
                return Err(NoBatch::NoColumn(name));
            }
        }
        Ok(Self { lines: Lines::Csv { rows, headings }, defaults, broken: false })
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    /// The next line. After an error there is no next one: what stands behind it is not known.
    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.broken {
            return None;
        }
        let read = match &mut self.lines {
            Lines::Json { lines, line } => next_json(lines, line),
            Lines::Csv { rows, headings } => next_csv(rows, headings),
        };
        let (line, members) = match read {
            Ok(read) => read?,
            Err(error) => {
                self.broken = true;
                return Some(Err(error));
            }
        };
        let digest = digest(&members);
        let request = members.and_then(|members| request(members, &self.defaults));
        Some(Ok(Entry { line, request, digest }))
    }
}

type Members = Result<Map<String, Value>, String>;

fn next_json(lines: &mut dyn BufRead, line: &mut u64) -> io::Result<Option<(u64, Members)>> {
    loop {
        let mut text = Vec::new();
        *line += 1;
        match io::Read::take(&mut *lines, LONGEST_LINE).read_until(b'\n', &mut text)? {
            0 => return Ok(None),
            length if length as u64 == LONGEST_LINE && !text.ends_with(b"\n") => {
                lines.skip_until(b'\n')?;
                return Ok(Some((*line, Err("the line is longer than 1 MiB".into()))));
            }
            _ if text.trim_ascii().is_empty() => {}
            _ => {
                let members = serde_json::from_slice(&text)
                    .map_err(|error| format!("not a JSON object: {error}"));
                let ours = |members: Map<String, Value>| {
                    members
                        .into_iter()
                        .map(|(name, value)| (ours(&name).to_owned(), value))
                        .collect()
                };
                return Ok(Some((*line, members.map(ours))));
            }
        }
    }
}

fn next_csv(
    rows: &mut csv::Reader<Box<dyn BufRead + Send>>,
    headings: &csv::StringRecord,
) -> io::Result<Option<(u64, Members)>> {
    let mut row = csv::StringRecord::new();
    let at = rows.position().line();
    match rows.read_record(&mut row) {
        Ok(false) => Ok(None),
        Err(error) if error.is_io_error() => Err(error.into()),
        Err(error) => {
            let line = error.position().map_or(at, csv::Position::line);
            Ok(Some((line, Err(format!("not a line of CSV: {error}")))))
        }
        Ok(true) => {
            let line = row.position().map_or(at, csv::Position::line);
            if row.len() != headings.len() {
                let (has, wants) = (row.len(), headings.len());
                let wrong = format!("{has} fields, where the first line has {wants}");
                return Ok(Some((line, Err(wrong))));
            }
            let text = |text: &str| Value::String(text.to_owned());
            let members = headings.iter().zip(&row).filter(|(_, value)| !value.is_empty());
            let members = members.map(|(name, value)| (name.to_owned(), text(value)));
            Ok(Some((line, Ok(members.collect()))))
        }
    }
}

/// The names under which the service before this one had the same things.
fn ours(name: &str) -> &str {
    match name {
        "to_number" => "to",
        "from_number" => "from",
        "tenant_id" => "tenant",
        "job_id" => "job",
        name => name,
    }
}

fn request(mut members: Map<String, Value>, defaults: &Defaults) -> Result<CallRequest, String> {
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        // A phone number that somebody's script took for one to count with. With a fraction it would
        // be read as having one digit more.
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        Some(_) => Err(format!("{name} is not a text")),
    };
    let (to, from, tenant, job) = (text("to")?, text("from")?, text("tenant")?, text("job")?);
    let to = to.filter(|to| !to.trim().is_empty()).ok_or("there is no number to call: to")?;
    let number = match from {
        Some(from) => from.trim().parse().map_err(|error| format!("from: {error}"))?,
        None => defaults.from.ok_or("there is no number that calls: from")?,
    };
    let tenant = match tenant {
        Some(tenant) => tenant.trim().parse().map_err(|error| format!("tenant: {error}"))?,
        None => defaults.tenant.ok_or("there is no tenant")?,
    };
    let mut request = CallRequest::new(Caller::new(tenant, number), to);
    request.job = job.unwrap_or_default();
    request.fields = members;
    Ok(request)
}

fn digest(members: &Members) -> u64 {
    match members {
        // In the order of their names, whatever the file's is.
        Ok(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            hash(&serde_json::to_string(&sorted).unwrap_or_default())
        }
        Err(wrong) => hash(wrong),
    }
}

/// The first 64 bits of a SHA-256 hash.
pub(super) fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let (first, _) = digest.split_at(8);
    first.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const LONGEST_LINE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10";

    fn entries(text: &str) -> Result<Vec<Entry>, NoBatch> {
        let from = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        Ok(Entries::read(from, Defaults::default())?.collect::<io::Result<_>>()?)
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = format!(
            "\u{feff}to,from,tenant,lead\n050 1,+971501234567,{TENANT},\"A, \"\"B\"\"\nC\"\n"
        );
        let json = format!(
            "\n{{\"to_number\":\"050 1\",\"from_number\":\"+971501234567\",\"tenant_id\":\"{TENANT}\",\"lead\":\"A, \\\"B\\\"\\nC\"}}\n"
        );
        let (csv, json) = (entries(&csv).unwrap(), entries(&json).unwrap());
        let (ours, theirs) = (csv[0].request.as_ref().unwrap(), json[0].request.as_ref().unwrap());
        assert_eq!(
            (&ours.caller, &ours.to, &ours.fields),
            (&theirs.caller, &theirs.to, &theirs.fields)
        );
        assert_eq!(ours.fields["lead"], "A, \"B\"\nC");
        assert_eq!(csv[0].digest, json[0].digest);
        assert_eq!((csv[0].line, json[0].line), (2, 2));
    }

    #[test]
    fn a_line_that_is_wrong_says_so_and_the_next_is_read() {
        let text = format!(
            "tenant,from,to\n{TENANT},+971501234567\n{TENANT},0501234567,1\nnobody,+971501234567,1\n\
             {TENANT},+971501234567,\n{TENANT},+971501234567,9\n"
        );
        let wrong: Vec<_> = entries(&text)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.line, entry.request.err().unwrap_or_default()))
            .collect();
        for ((line, wrong), words) in wrong.iter().zip([
            (2, "2 fields, where the first line has 3"),
            (3, "from: a number begins with +"),
            (4, "tenant: "),
            (5, "there is no number to call"),
            (6, ""),
        ]) {
            assert_eq!(*line, words.0);
            assert!(wrong.contains(words.1), "{wrong}");
        }
        let json = "{\"to\":[1]}\nnonsense\n{\"to\":\"1\"}\n";
        let wrong: Vec<_> =
            entries(json).unwrap().into_iter().map(|entry| entry.request.unwrap_err()).collect();
        assert_eq!(wrong[0], "to is not a text");
        assert!(wrong[1].starts_with("not a JSON object"), "{wrong:?}");
        assert_eq!(wrong[2], "there is no number that calls: from");
    }

    #[test]
    fn what_is_no_batch_is_refused_at_once() {
        for (text, words) in [
            ("", "the file is empty"),
            (" \n\n", "the file is empty"),
            ("from,tenant\n", "no column to"),
            ("to,tenant\n", "no column from"),
            ("to,from\n", "no column tenant"),
            ("to,to_number,from,tenant\n", "two columns \"to\""),
        ] {
            let error = entries(text).err().unwrap_or_else(|| panic!("{text}")).to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_read_on_is_no_end_of_the_file() {
        struct Torn(io::Cursor<Vec<u8>>);
        impl io::Read for Torn {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match self.0.read(into) {
                    Ok(0) => Err(io::Error::other("the disk is torn")),
                    read => read,
                }
            }
        }
        for text in ["to,from,tenant\n1,2,3\n", "{\"to\":\"1\"}\n"] {
            let from = BufReader::new(Torn(io::Cursor::new(text.into())));
            let mut entries = Entries::read(Box::new(from), Defaults::default()).unwrap();
            assert!(entries.next().unwrap().is_ok(), "{text}");
            assert!(entries.next().unwrap().is_err(), "{text}");
            assert!(entries.next().is_none(), "once");
        }
    }

    #[test]
    fn a_number_with_a_fraction_is_none() {
        let entries = entries("{\"to\":4155552671.0}\n{\"to\":4155552671}\n").unwrap();
        assert_eq!(entries[0].request.as_ref().unwrap_err(), "to is not a text");
        assert!(
            entries[1].request.as_ref().unwrap_err().starts_with("there is no number that calls")
        );
    }

    #[test]
    fn another_entry_on_the_same_line_has_another_digest() {
        let line = |to: &str| format!("to,from,tenant\n{to},+971501234567,{TENANT}\n");
        let digest = |to| entries(&line(to)).unwrap()[0].digest;
        assert_eq!(digest("1"), digest("1"));
        assert_ne!(digest("1"), digest("2"));
    }
}
