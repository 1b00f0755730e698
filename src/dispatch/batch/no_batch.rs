//! Why a file is refused: what was found in it, and what would be right.
//!
//! A file is refused whole or read whole. A mistake in a single row is not told here: that row gets
//! a result.

use std::fmt;
use std::io;

use super::column::Column;
use super::separator::Separator;

/// Why a file is no batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoBatch {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a pipe, a folder or a device.
    #[error(
        "it must be a regular file: a batch is read more than once, and its journal stands beside \
         it; save it to one first"
    )]
    NoFile,
    /// It is a workbook, an archive or another kind of file that is no text.
    #[error("it is {0}, and no text; save it as CSV in UTF-8")]
    NotText(&'static str),
    /// A row is not written in UTF-8.
    #[error(
        "line {line} is not UTF-8, but perhaps Windows-1252 or another old encoding; save it as \
         UTF-8"
    )]
    NotUtf8 {
        /// The line on which the row begins.
        line: u64,
    },
    /// A row holds NUL bytes.
    #[error("line {line} holds NUL bytes, as UTF-16 without its mark does; save it as UTF-8")]
    Nul {
        /// The line on which the row begins.
        line: u64,
    },
    /// It has the mark of UTF-16, and is none.
    #[error("it has the byte order mark of UTF-16, but is cut off or not UTF-16; save it as UTF-8")]
    NotUtf16,
    /// It is one JSON value over many lines, or an array.
    #[error(
        "it is JSON, and not JSON lines: each entry must be one object on one line of its own, as \
         `jq -c '.[]'` writes them"
    )]
    NotJsonLines,
    /// A field in quotes does not end.
    #[error("a quote opens on line {line} and never closes; a quote in a text is written \"\"")]
    UnclosedQuote {
        /// The line on which it opens.
        line: u64,
    },
    /// Behind a field in quotes stands something else than a separator or the end of the line.
    #[error(
        "the quote that opens on line {line} closes with text behind it; a quote in a text is \
         written \"\""
    )]
    TextAfterQuote {
        /// The line on which it opens.
        line: u64,
    },
    /// A row is too long to be one.
    #[error("the row of line {line} is longer than 1 MiB")]
    TooLong {
        /// The line on which it begins.
        line: u64,
    },
    /// It has more lines than can be counted here.
    #[error("it has more than 1,000,000,000 lines; split it")]
    TooManyLines,
    /// A CSV column that every entry needs is missing.
    #[error("there is no column \"{column}\"; found {found}")]
    NoColumn {
        /// Which one.
        column: Column,
        /// What there is.
        found: FoundColumns,
    },
    /// A heading that was named is not there.
    #[error("there is no heading {heading:?}; found {found}")]
    NoHeading {
        /// Which one.
        heading: String,
        /// What there is.
        found: FoundColumns,
    },
    /// Two CSV columns are the same.
    #[error("the headings {first:?} and {second:?} name the same column")]
    ColumnTwice {
        /// The first one, as it is written.
        first: String,
        /// The other one.
        second: String,
    },
    /// Two entries bear one job.
    #[error(
        "lines {first} and {line} have the same job, {job:?}; a job is one call, so give each of \
         them one of its own"
    )]
    JobTwice {
        /// Which job.
        job: String,
        /// The line of the first entry.
        first: u64,
        /// The line of the other one.
        line: u64,
    },
    /// There is nothing in it.
    #[error(
        "the file is empty; a batch has the columns to, from and tenant, or a JSON object a line"
    )]
    Empty,
}

/// The headings of a file, and what they were separated by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundColumns {
    pub(super) headings: Vec<String>,
    pub(super) separator: Separator,
}

impl fmt::Display for FoundColumns {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |heading: &String| match heading.char_indices().nth(LONGEST_HEADING) {
            Some((end, _)) => format!("{:?}…", &heading[..end]),
            None => format!("{heading:?}"),
        };
        let shown: Vec<_> = self.headings.iter().take(MOST_HEADINGS).map(short).collect();
        let more = self.headings.len().saturating_sub(MOST_HEADINGS);
        match shown.as_slice() {
            [one] => write!(out, "the one heading {one}, with no {} in it", self.separator),
            _ if more > 0 => write!(out, "the headings {} and {more} more", shown.join(", ")),
            _ => write!(out, "the headings {}", shown.join(", ")),
        }?;
        match shown.len() {
            1 => Ok(()),
            _ => write!(out, ", separated by {}", self.separator),
        }
    }
}

/// How many headings a message names at the most, and how much of each.
const MOST_HEADINGS: usize = 12;
const LONGEST_HEADING: usize = 40;
