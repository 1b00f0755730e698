//! The entries of a batch, read from CSV or JSON lines one at a time.
//!
//! A row that cannot be called is an entry, too: it has a result like all others, and says what is
//! wrong with it. A file that cannot be read to its end is refused whole; so whoever calls somebody
//! has read it whole before.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::column::Column;
use super::columns::{Columns, Meaning, meaning};
use super::csv::{CsvRow, Rows};
use super::defaults::Defaults;
use super::digest::hash;
use super::first_version;
use super::jobs::Jobs;
use super::json_lines::{JsonLine, JsonLines};
use super::no_batch::{FoundColumns, NoBatch};
use super::record::Version;
use super::row_extras::RowExtras;
use super::separator::Separator;
use super::text::{Encoding, Text};
use crate::dispatch::CallRequest;
use crate::number::Caller;

/// One row of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry {
    /// The line on which it begins, from 1, as editors count.
    pub line: u64,
    /// What it asks for, or what is wrong with it.
    pub request: Result<CallRequest, String>,
    /// How often earlier runs have tried it, as their results say.
    pub attempts: u64,
    /// Tells it from another one that stands on the same line after an edit.
    pub digest: u64,
    /// Its values in the order of the columns that [`Entries::keeping`] names.
    pub row: Vec<String>,
}

/// The rows of a batch, read as they are asked for.
pub struct Entries {
    lines: Lines,
    defaults: Defaults,
    encoding: Encoding,
    counting: Version,
    jobs: Jobs,
    extras: RowExtras,
    /// Whether it could not be read on.
    broken: bool,
}

/// How a file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// As CSV.
    Csv {
        /// What separates its fields.
        separator: Separator,
        /// Its headings, as they are written.
        headings: Vec<String>,
    },
    /// As JSON, one object a line.
    JsonLines,
}

type Source = Box<dyn BufRead + Send>;

enum Lines {
    Csv { rows: Rows<Source>, columns: Columns, separator: Separator },
    Json(JsonLines<Source>),
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
    pub fn read(from: Source, defaults: Defaults) -> Result<Self, NoBatch> {
        let Text { mut from, encoding } = Text::open(from)?;
        let mut first = Vec::new();
        from.by_ref().take(LONGEST_BEGINNING).read_to_end(&mut first).map_err(NoBatch::of)?;
        let begin = first.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        let says_nothing = |byte: &u8| byte.is_ascii_whitespace() || b",;".contains(byte);
        let whole = (first.len() as u64) < LONGEST_BEGINNING;
        let lines = match begin {
            _ if whole && first.iter().all(says_nothing) => return Err(NoBatch::Empty),
            None => return Err(NoBatch::Empty),
            Some(b'[') => return Err(NoBatch::NotJsonLines),
            Some(b'{') => Lines::Json(JsonLines::new(Box::new(Cursor::new(first).chain(from)))),
            Some(_) => {
                let named = named_separator(&first);
                let separator = match defaults.separator.or(named) {
                    Some(separator) => separator,
                    None => likely_separator(&first, &defaults),
                };
                let mut rows: Rows<Source> =
                    Rows::new(Box::new(Cursor::new(first).chain(from)), separator);
                if named.is_some() {
                    rows.next()?;
                }
                let headings = written(&mut rows)?.ok_or(NoBatch::Empty)?.fields;
                let columns = Columns::read(&FoundColumns { headings, separator }, &defaults)?;
                Lines::Csv { rows, columns, separator }
            }
        };
        let (counting, jobs) = (Version::default(), Jobs::default());
        let extras = RowExtras::default();
        Ok(Self { lines, defaults, encoding, counting, jobs, extras, broken: false })
    }

    /// How the file is read.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match &self.lines {
            Lines::Csv { columns, separator, .. } => {
                Layout::Csv { separator: *separator, headings: columns.written.clone() }
            }
            Lines::Json(_) => Layout::JsonLines,
        }
    }

    /// How its text is encoded.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The same, with the values of these columns kept in [`Entry::row`].
    #[must_use]
    pub fn keeping(mut self, columns: Arc<[String]>) -> Self {
        self.extras = RowExtras::Values(columns);
        self
    }

    /// Reads it to its end. Returns its columns, without those of results: the headings of CSV, or the
    /// names of members in the order in which they are met.
    ///
    /// # Errors
    ///
    /// [`NoBatch`].
    pub fn columns(mut self) -> Result<Vec<String>, NoBatch> {
        self.extras = RowExtras::Names { names: Vec::new(), met: HashSet::new() };
        self.by_ref().try_for_each(|entry| entry.map(drop))?;
        Ok(match (self.lines, self.extras) {
            (Lines::Csv { columns, .. }, _) => columns.own(),
            (Lines::Json(_), RowExtras::Names { names, .. }) => names,
            (Lines::Json(_), _) => Vec::new(),
        })
    }

    /// The same, counted as a journal of this version does.
    pub(super) fn numbered_as(mut self, as_in: Version) -> Self {
        self.counting = as_in;
        self
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, NoBatch> {
        let (defaults, first) = (&self.defaults, self.counting == Version::First);
        let extras = &mut self.extras;
        let (line, members, digest, row) = match &mut self.lines {
            Lines::Json(lines) => {
                let Some(JsonLine { line, members }) = lines.next()? else { return Ok(None) };
                let old = first.then(|| members.as_deref().ok().map(first_version::of_json));
                let row = extras.of_json(members.as_deref().unwrap_or_default());
                let named = members.and_then(|members| {
                    let known = |(name, value): (String, Value)| (meaning(&name, defaults), value);
                    join(members.into_iter().map(known))
                });
                (line, named, old.flatten(), row)
            }
            Lines::Csv { rows, columns, .. } => {
                let Some(row) = written(rows)? else { return Ok(None) };
                let line = if first { row.as_first_counted } else { row.line };
                let old = first.then(|| first_version::of_csv(&columns.written, &row.fields));
                let extras = extras.of_csv(&columns.written, &row.fields);
                (line, named(columns, row), old, extras)
            }
        };
        let mut attempts = 0;
        let members = members.map(|Members { ours, attempts: tried }| {
            attempts = tried;
            ours
        });
        let digest = digest.unwrap_or_else(|| self::digest(&members));
        let request = members.and_then(|members| request(members, defaults));
        if let Ok(CallRequest { job, .. }) = &request
            && !job.is_empty()
            && !first
        {
            self.jobs.note(job, line)?;
        }
        Ok(Some(Entry { line, request, attempts, digest, row }))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, NoBatch>;

    /// The next row. After an error there is no next one: what stands behind it is not known.
    fn next(&mut self) -> Option<Result<Entry, NoBatch>> {
        if self.broken {
            return None;
        }
        let entry = self.next_entry();
        self.broken = entry.is_err();
        entry.transpose()
    }
}

/// The next row with a value in it.
fn written<R: BufRead>(rows: &mut Rows<R>) -> Result<Option<CsvRow>, NoBatch> {
    loop {
        match rows.next()? {
            Some(row) if row.fields.iter().all(|field| field.trim().is_empty()) => {}
            row => return Ok(row),
        }
    }
}

/// What separates the fields, from the first bytes of a file: the first of the usual ones by which
/// there is a column `to`, else the one by which there are the most.
fn likely_separator(first: &[u8], defaults: &Defaults) -> Separator {
    let headings = |separator| {
        let row = written(&mut Rows::new(first, separator)).ok().flatten();
        row.map_or_else(Vec::new, |row| row.fields)
    };
    let all = Separator::USUAL.map(|separator| (separator, headings(separator)));
    let with_to = all.iter().find(|(_, headings)| Columns::have_to(headings, defaults));
    // Of those that separate alike, the first.
    let most = all.iter().rev().max_by_key(|(_, headings)| headings.len());
    with_to.or(most).map_or(Separator::COMMA, |(separator, _)| *separator)
}

/// The separator of a line `sep=;`, as spreadsheets write it above the headings.
fn named_separator(first: &[u8]) -> Option<Separator> {
    let line = first.split(|byte| b"\r\n".contains(byte)).next()?;
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let (name, separator) = line.split_at_checked(4)?;
    match separator {
        &[byte] if name.eq_ignore_ascii_case(b"sep=") => Separator::of(byte),
        _ => None,
    }
}

/// The members of a row under our names, and what stands beside them.
struct Members {
    ours: Map<String, Value>,
    attempts: u64,
}

fn named(columns: &Columns, row: CsvRow) -> Result<Members, String> {
    let (has, wants) = (row.fields.len(), columns.written.len());
    let more = row.fields.iter().skip(wants).any(|field| !field.trim().is_empty());
    if more || has < wants {
        return Err(format!("{has} fields, where the headings are {wants}"));
    }
    let values = columns.meanings.iter().zip(row.fields).enumerate();
    let values = values.filter(|(_, (_, value))| !value.is_empty());
    let values = values.map(|(at, (meaning, value))| match meaning {
        Meaning::Nothing if !value.trim().is_empty() => Err(at + 1),
        meaning => Ok((meaning.clone(), Value::String(value))),
    });
    let values: Result<Vec<_>, _> = values.collect();
    join(values.map_err(|at| format!("column {at} has a value and no heading"))?.into_iter())
}

/// Refuses two values for one thing: nobody can tell which one is meant.
fn join(values: impl Iterator<Item = (Meaning, Value)>) -> Result<Members, String> {
    let (mut ours, mut attempts) = (Map::new(), 0);
    for (meaning, value) in values {
        let name = match meaning {
            Meaning::Ours(column) => column.as_str().to_owned(),
            Meaning::Field(name) => name,
            Meaning::Attempts => {
                attempts = value.as_str().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                continue;
            }
            Meaning::Result | Meaning::Nothing => continue,
        };
        if ours.contains_key(&name) {
            return Err(format!("there are two values for {name:?}"));
        }
        ours.insert(name, value);
    }
    Ok(Members { ours, attempts })
}

fn request(mut members: Map<String, Value>, defaults: &Defaults) -> Result<CallRequest, String> {
    let mut text = |column: Column| match members.remove(column.as_str()) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        // A phone number that somebody's script took for one to count with. With a fraction it would
        // be read as having one digit more.
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        Some(_) => Err(format!("{column} must be a text")),
    };
    let (to, from) = (text(Column::To)?, text(Column::From)?);
    let (tenant, job) = (text(Column::Tenant)?, text(Column::Job)?);
    let written = |text: &String| !text.trim().is_empty();
    let to = to.filter(written).ok_or("there is no number to call: to")?;
    let number = match from.filter(written) {
        Some(from) => from.trim().parse().map_err(|error| format!("from: {error}"))?,
        None => defaults.from.ok_or("there is no number that calls: from")?,
    };
    let tenant = match tenant.filter(written) {
        Some(tenant) => tenant.trim().parse().map_err(|error| format!("tenant: {error}"))?,
        None => defaults.tenant.ok_or("there is no tenant")?,
    };
    let mut request = CallRequest::new(Caller::new(tenant, number), to);
    job.unwrap_or_default().trim().clone_into(&mut request.job);
    request.fields = members;
    Ok(request)
}

/// By the names and values of the members in the order of their names, whatever the file's is, and
/// whatever ends its lines.
fn digest(members: &Result<Map<String, Value>, String>) -> u64 {
    let unbroken = |value: &Value| match value {
        Value::String(text) => text.replace("\r\n", "\n").replace('\r', "\n").into(),
        value => value.clone(),
    };
    match members {
        Ok(members) => {
            let sorted: BTreeMap<_, _> =
                members.iter().map(|(name, value)| (name, unbroken(value))).collect();
            hash(&serde_json::to_string(&sorted).unwrap_or_default())
        }
        Err(wrong) => hash(wrong),
    }
}

/// How much is looked at to find out what separates the fields: the headings must be in it.
const LONGEST_BEGINNING: u64 = 1 << 16;

#[cfg(test)]
mod tests;
