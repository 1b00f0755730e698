//! What stands between the fields of a CSV file.

use std::fmt;
use std::str::FromStr;

/// What stands between the fields of a CSV file: one character of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Separator(u8);

impl Separator {
    /// The comma of RFC 4180.
    pub const COMMA: Self = Self(b',');
    /// What spreadsheets write where the comma is for decimals.
    pub const SEMICOLON: Self = Self(b';');
    /// A tab.
    pub const TAB: Self = Self(b'\t');

    /// Those that are looked for, in this order.
    pub(super) const USUAL: [Self; 3] = [Self::COMMA, Self::SEMICOLON, Self::TAB];

    /// The character.
    #[must_use]
    pub fn as_char(self) -> char {
        self.0.into()
    }

    /// A row of CSV, without the end of its line: each field is read as it is.
    #[must_use]
    pub fn row<'a>(self, fields: impl IntoIterator<Item = &'a str>) -> String {
        let mut row = String::new();
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                row.push(self.as_char());
            }
            let special = |byte: u8| byte == self.0 || b"\"\r\n".contains(&byte);
            if field.bytes().any(special) {
                row.push('"');
                row.push_str(&field.replace('"', "\"\""));
                row.push('"');
            } else {
                row.push_str(field);
            }
        }
        row
    }

    pub(super) fn byte(self) -> u8 {
        self.0
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        let separates = (byte.is_ascii_punctuation() && byte != b'"') || b" \t".contains(&byte);
        separates.then_some(Self(byte))
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b',' => out.write_str("commas"),
            b';' => out.write_str("semicolons"),
            b'\t' => out.write_str("tabs"),
            b' ' => out.write_str("blanks"),
            _ => write!(out, "'{}'", self.as_char()),
        }
    }
}

/// A text that is no separator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a separator must be comma, semicolon, tab, or one character such as | that is no quote")]
pub struct NoSeparator;

impl FromStr for Separator {
    type Err = NoSeparator;

    fn from_str(text: &str) -> Result<Self, NoSeparator> {
        match (text, text.as_bytes()) {
            ("comma", _) => Ok(Self::COMMA),
            ("semicolon", _) => Ok(Self::SEMICOLON),
            ("tab" | "\\t", _) => Ok(Self::TAB),
            (_, &[byte]) => Self::of(byte).ok_or(NoSeparator),
            _ => Err(NoSeparator),
        }
    }
}
