//! A line of an export: a row with its place in the chain. It is made so that it can be verified
//! without Trunkline: `row` stands last, and its bytes are what is hashed.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::chain::ChainHash;

/// A line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditLine {
    /// Its place in the chain.
    pub position: i64,
    /// The hash before it.
    pub previous: ChainHash,
    /// Its own.
    pub hash: ChainHash,
    /// The number of the row.
    pub id: i64,
    /// The text of the row, byte for byte.
    pub row: String,
}

/// A line is none of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no line of an export of the audit")]
#[non_exhaustive]
pub struct NoLine;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'l> {
    position: i64,
    previous: String,
    hash: String,
    #[serde(borrow)]
    row: &'l RawValue,
}

#[derive(Deserialize)]
struct Numbered {
    id: i64,
}

impl AuditLine {
    /// A line of a row that has this text.
    #[must_use]
    pub fn new(
        position: i64,
        previous: &ChainHash,
        hash: &ChainHash,
        (id, row): (i64, String),
    ) -> Self {
        Self { position, previous: previous.clone(), hash: hash.clone(), id, row }
    }

    /// It as it is written, without the line break.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { position, previous, hash, row, .. } = self;
        format!(
            "{{\"position\":{position},\"previous\":\"{previous}\",\"hash\":\"{hash}\",\"row\":{row}}}"
        )
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`NoLine`].
    pub fn read(line: &str) -> Result<Self, NoLine> {
        let written: Written<'_> = serde_json::from_str(line).map_err(|_| NoLine)?;
        let numbered: Numbered = serde_json::from_str(written.row.get()).map_err(|_| NoLine)?;
        let hash = |text: &str| text.parse().map_err(|_| NoLine);
        Ok(Self {
            position: written.position,
            previous: hash(&written.previous)?,
            hash: hash(&written.hash)?,
            id: numbered.id,
            row: written.row.get().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::{Broken, ChainWalk};
    use super::super::row::tests::row;
    use super::*;

    fn export(rows: std::ops::RangeInclusive<i64>) -> Vec<String> {
        let mut last = ChainHash::zero();
        let line = |id| {
            let previous = last.clone();
            last = last.next(&row(id).digest());
            AuditLine::new(id, &previous, &last, (id, row(id).text())).text()
        };
        let skipped = usize::try_from(*rows.start() - 1).unwrap();
        (1..=*rows.end()).map(line).skip(skipped).collect()
    }

    fn walk(lines: &[String]) -> Result<ChainWalk, Broken> {
        let mut walk = ChainWalk::new(None);
        for line in lines {
            let AuditLine { position, previous, hash, id, row } = AuditLine::read(line).unwrap();
            walk.step_by_text(position, &previous, &hash, (id, &row))?;
        }
        Ok(walk)
    }

    #[test]
    fn an_export_holds_from_its_beginning_or_from_where_it_goes_on() {
        assert_eq!(walk(&export(1..=5)).unwrap().verified(), 5);
        let later = walk(&export(3..=5)).unwrap();
        assert_eq!((later.verified(), later.pruned(), later.head().0), (3, 2, 5));
    }

    #[test]
    fn an_export_that_was_altered_is_found_out() {
        let lines = export(1..=5);
        let mut changed = lines.clone();
        changed[2] = changed[2].replace("app ", "ann ");
        assert_eq!(walk(&changed).err(), Some(Broken::Changed { position: 3, id: 3 }));
        let mut missing = lines.clone();
        missing.remove(2);
        assert_eq!(walk(&missing).err(), Some(Broken::Missing { position: 3 }));
        let mut twice = lines.clone();
        twice.insert(2, lines[1].clone());
        assert_eq!(walk(&twice).err(), Some(Broken::Missing { position: 3 }));
        // Hashes that were made anew from a place of somebody's choice do not begin with the zeros.
        let (mut last, mut anew) = ("f".repeat(64).parse::<ChainHash>().unwrap(), Vec::new());
        for id in 1..=5 {
            let previous = last.clone();
            last = last.next(&row(id).digest());
            anew.push(AuditLine::new(id, &previous, &last, (id, row(id).text())).text());
        }
        assert_eq!(walk(&anew).err(), Some(Broken::Changed { position: 1, id: 1 }));
    }

    #[test]
    fn a_line_of_something_else_is_none() {
        let line = &export(1..=1)[0];
        for text in ["", "{}", "null", &line[1..], &line.replace("\"id\":1", "\"ID\":1")] {
            assert_eq!(AuditLine::read(text), Err(NoLine), "{text}");
        }
    }
}
