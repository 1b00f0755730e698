//! Rows of CSV, by RFC 4180 and nothing beside it, with the line on which each begins.
//!
//! A quote opens a field only at its beginning; elsewhere it is text. Behind the quote that closes
//! it nothing may stand but a separator or the end of the line: a reader that guesses there takes
//! the next leads for a part of this one.
//!
//! Lines are counted as editors do: LF, CRLF and CR end one, also on blank lines and in quotes.

use std::io::{self, BufRead};

use super::no_batch::NoBatch;
use super::separator::Separator;

/// The rows of a text, read one at a time. Lines without anything on them are none.
pub(super) struct Rows<R> {
    from: R,
    separator: u8,
    at: Position,
    /// [`CsvRow::as_first_counted`] of the next row.
    counted: u64,
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvRow {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// The same as version 1 of the journal counts it: the LFs before the end of the row before it.
    pub(super) as_first_counted: u64,
    pub(super) fields: Vec<String>,
}

/// Where the reader is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) line: u64,
    line_feeds: u64,
    /// Whether a CR was the last byte, so that an LF belongs to it.
    after_cr: bool,
}

impl Default for Position {
    fn default() -> Self {
        Self { line: 1, line_feeds: 0, after_cr: false }
    }
}

impl Position {
    /// Goes past a byte.
    pub(super) fn pass(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\r' || (byte == b'\n' && !self.after_cr));
        self.line_feeds += u64::from(byte == b'\n');
        self.after_cr = byte == b'\r';
    }

    /// Whether a byte ends the line break that began with the byte before it.
    pub(super) fn ends_break(self, byte: u8) -> bool {
        self.after_cr && byte == b'\n'
    }
}

/// In which part of a field the next byte is.
#[derive(Clone, Copy)]
enum Part {
    Beginning,
    Bare,
    /// In quotes that opened on this line.
    Quoted(u64),
    /// Behind the second quote of those.
    Closed(u64),
}

/// A row under way: its fields, one behind the other, and where each ends.
#[derive(Default)]
struct CsvFields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(from: R, separator: Separator) -> Self {
        Self { from, separator: separator.byte(), at: Position::default(), counted: 1 }
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<CsvRow>, NoBatch> {
        let (line, as_first_counted) = (self.skip_breaks()?, self.counted);
        let Some(fields) = self.fields(line)? else { return Ok(None) };
        self.counted = 1 + self.at.line_feeds;
        if line > MOST_LINES {
            return Err(NoBatch::TooManyLines);
        }
        fields.texts(line).map(|fields| Some(CsvRow { line, as_first_counted, fields }))
    }

    /// Goes past the end of the row before and past blank lines; returns where the next row begins.
    fn skip_breaks(&mut self) -> Result<u64, NoBatch> {
        while let Some(b'\r' | b'\n') = self.peek()? {
            self.pass()?;
        }
        Ok(self.at.line)
    }

    /// The fields of the row that begins here, up to its line break; none at the end.
    fn fields(&mut self, line: u64) -> Result<Option<CsvFields>, NoBatch> {
        let (mut fields, mut part, mut any) = (CsvFields::default(), Part::Beginning, false);
        while let Some(byte) = self.peek()? {
            let breaks = matches!(byte, b'\r' | b'\n');
            let here = self.at.line;
            self.pass()?;
            any = true;
            part = match part {
                Part::Quoted(opened) if byte == b'"' => Part::Closed(opened),
                Part::Closed(opened) if byte == b'"' => {
                    fields.bytes.push(byte);
                    Part::Quoted(opened)
                }
                Part::Quoted(_) => {
                    fields.bytes.push(byte);
                    part
                }
                _ if breaks => return Ok(Some(fields.ended())),
                _ if byte == self.separator => {
                    fields.ends.push(fields.bytes.len());
                    Part::Beginning
                }
                Part::Closed(opened) => return Err(NoBatch::TextAfterQuote { line: opened }),
                Part::Beginning if byte == b'"' => Part::Quoted(here),
                Part::Beginning | Part::Bare => {
                    fields.bytes.push(byte);
                    Part::Bare
                }
            };
            if fields.bytes.len() + fields.ends.len() > LONGEST {
                return Err(match part {
                    Part::Quoted(line) => NoBatch::UnclosedQuote { line },
                    _ => NoBatch::TooLong { line },
                });
            }
        }
        match part {
            Part::Quoted(line) => Err(NoBatch::UnclosedQuote { line }),
            _ => Ok(any.then(|| fields.ended())),
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, NoBatch> {
        loop {
            match self.from.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NoBatch::of(error)),
            }
        }
    }

    /// Goes past the byte that was looked at.
    fn pass(&mut self) -> Result<(), NoBatch> {
        if let Some(byte) = self.peek()? {
            self.at.pass(byte);
            self.from.consume(1);
        }
        Ok(())
    }
}

impl CsvFields {
    fn ended(mut self) -> Self {
        self.ends.push(self.bytes.len());
        self
    }

    fn texts(self, line: u64) -> Result<Vec<String>, NoBatch> {
        if self.bytes.contains(&0) {
            return Err(NoBatch::Nul { line });
        }
        let text = String::from_utf8(self.bytes).map_err(|_| NoBatch::NotUtf8 { line })?;
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let fields = begins.zip(&self.ends).map(|(begin, &end)| text.get(begin..end));
        // A character that goes across a separator is none.
        let fields: Option<Vec<_>> = fields.map(|field| field.map(ToOwned::to_owned)).collect();
        fields.ok_or(NoBatch::NotUtf8 { line })
    }
}

/// The longest row: without a bound a quote that never closes would be the rest of the file.
const LONGEST: usize = 1 << 20;
/// Lines are kept in 30 bits where one is kept of each entry.
const MOST_LINES: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> Result<Vec<(u64, Vec<String>)>, NoBatch> {
        let mut rows = Rows::new(text.as_bytes(), Separator::COMMA);
        std::iter::from_fn(|| rows.next().transpose())
            .map(|row| row.map(|row| (row.line, row.fields)))
            .collect()
    }

    fn texts(rows: &[(u64, &[&str])]) -> Vec<(u64, Vec<String>)> {
        let owned = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
        rows.iter().map(|&(line, fields)| (line, owned(fields))).collect()
    }

    #[test]
    fn a_quote_opens_a_field_at_its_beginning_only() {
        let text = "a,\"b, \"\"c\"\"\nd\",e\n6\" pipe,\"\", \"x\"\n,\n";
        let expected =
            [(1, &["a", "b, \"c\"\nd", "e"][..]), (3, &["6\" pipe", "", " \"x\""]), (4, &["", ""])];
        assert_eq!(rows(text).unwrap(), texts(&expected));
    }

    #[test]
    fn lines_are_counted_as_editors_do() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a", "", "\"b", "c\"", "", "", "d"].join(end);
            let expected = [(1, vec!["a".to_owned()]), (3, vec![format!("b{end}c")])];
            let expected = [&expected[..], &[(7, vec!["d".to_owned()])]].concat();
            assert_eq!(rows(&text).unwrap(), expected, "{end:?}");
        }
    }

    #[test]
    fn what_rfc_4180_does_not_have_names_the_line_on_which_the_quote_opens() {
        for (text, opened) in [
            ("a,b\nc,\"d\ne\n", Err(2)),
            ("\"a", Err(1)),
            ("a\n\"b\"c\n", Ok(2)),
            ("a\n\"b\nc\" ,d\n", Ok(2)),
            ("a,\"b\n\"\"c\n\"d\"\n", Ok(1)),
        ] {
            let found = match rows(text).unwrap_err() {
                NoBatch::UnclosedQuote { line } => Err(line),
                NoBatch::TextAfterQuote { line } => Ok(line),
                other => panic!("{other}"),
            };
            assert_eq!(found, opened, "{text:?}");
        }
        let endless = format!("a\n\"{}", "b\n".repeat(LONGEST));
        assert!(matches!(rows(&endless), Err(NoBatch::UnclosedQuote { line: 2 })));
        assert!(matches!(rows(&"a".repeat(LONGEST + 1)), Err(NoBatch::TooLong { line: 1 })));
    }

    #[test]
    fn bytes_that_are_no_text_name_their_line() {
        let rows = |bytes: &[u8]| {
            let mut rows = Rows::new(bytes, Separator::COMMA);
            rows.next().and_then(|_| rows.next()).unwrap_err().to_string()
        };
        assert!(rows(b"to\n\"x\nZo\xeb\"\n").starts_with("line 2 is not UTF-8"));
        assert!(rows(b"to\nt\0o\0\n").starts_with("line 2 holds NUL"));
        assert!(rows(b"to\n\xc3,\xab\n").starts_with("line 2 is not UTF-8"));
    }

    /// Fields that are none but blanks and breaks included; of one field only those that are seen.
    fn table() -> impl Strategy<Value = Vec<Vec<String>>> {
        let row = |many| prop::collection::vec("[ab\",;\r\n é]{0,6}", many);
        let seen = |row: &Vec<String>| row.len() > 1 || row.iter().any(|field| !field.is_empty());
        prop::collection::vec((1..5_usize).prop_flat_map(row).prop_filter("seen", seen), 0..8)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_with_each_separator_and_line_end(
            table in table(),
            separator in prop::sample::select(Separator::USUAL.to_vec()),
            end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        ) {
            let mut text = String::new();
            let mut lines = Vec::new();
            let mut at = Position::default();
            for row in &table {
                lines.push(at.line);
                let begin = text.len();
                text.push_str(&separator.row(row.iter().map(String::as_str)));
                text.push_str(end);
                text[begin..].bytes().for_each(|byte| at.pass(byte));
            }
            let mut rows = Rows::new(text.as_bytes(), separator);
            for (row, line) in table.into_iter().zip(lines) {
                let read = rows.next().unwrap().unwrap();
                prop_assert_eq!((read.line, read.fields), (line, row));
            }
            prop_assert_eq!(rows.next().unwrap(), None);
        }

        #[test]
        fn no_bytes_are_too_much_for_it(bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n\xff\0".to_vec()), 0..60)) {
            let mut rows = Rows::new(bytes.as_slice(), Separator::COMMA);
            let mut last = 0;
            while let Ok(Some(row)) = rows.next() {
                prop_assert!(row.line > last);
                last = row.line;
            }
        }
    }
}
