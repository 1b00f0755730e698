//! Objects of JSON, one a line.

use std::fmt;
use std::io::{self, BufRead};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::csv::Position;
use super::no_batch::NoBatch;

/// The lines of a text, read one at a time. Blank ones are none.
pub(super) struct JsonLines<R> {
    from: R,
    at: Position,
    first: bool,
}

/// One line.
pub(super) struct JsonLine {
    /// Which one, from 1.
    pub(super) line: u64,
    /// Its members in their order, or what is wrong with it.
    pub(super) members: Result<Vec<(String, Value)>, String>,
}

/// An object with all its members, those included that are there twice.
struct Object(Vec<(String, Value)>);

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, at: Position::default(), first: true }
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Result<Option<JsonLine>, NoBatch> {
        loop {
            let line = self.at.line;
            let mut text = Vec::new();
            let (any, whole) = self.line(&mut text).map_err(NoBatch::of)?;
            if !any {
                return Ok(None);
            }
            if !whole {
                let members = Err("the line is longer than 1 MiB".to_owned());
                return Ok(Some(JsonLine { line, members }));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let text = str::from_utf8(&text).map_err(|_| NoBatch::NotUtf8 { line })?;
            let members = match serde_json::from_str::<Object>(text) {
                Ok(Object(members)) => Ok(members),
                // An object that is opened on one line and closed on another one.
                Err(error) if self.first && error.classify() == Category::Eof => {
                    return Err(NoBatch::NotJsonLines);
                }
                Err(error) => Err(format!("not a JSON object: {error}")),
            };
            self.first = false;
            return Ok(Some(JsonLine { line, members }));
        }
    }

    /// Reads up to a line break. Whether there was anything, and whether it was all kept.
    fn line(&mut self, text: &mut Vec<u8>) -> io::Result<(bool, bool)> {
        let (mut any, mut whole) = (false, true);
        loop {
            let bytes = match self.from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            let Some(&byte) = bytes.first() else { return Ok((any, whole)) };
            any = true;
            let ends = matches!(byte, b'\r' | b'\n');
            let belongs = self.at.ends_break(byte);
            self.at.pass(byte);
            self.from.consume(1);
            match byte {
                _ if belongs => {}
                _ if ends => return Ok((true, whole)),
                _ if text.len() < LONGEST => text.push(byte),
                _ => whole = false,
            }
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        from.deserialize_map(Members)
    }
}

const LONGEST: usize = 1 << 20;
