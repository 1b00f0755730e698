//! Which columns of a batch, and which members of its JSON, are ours, and under what names.
//!
//! A heading that differs from ours by case or blanks alone is ours: `Tenant ID` is the tenant.
//! The columns that an earlier run's results have added are none, all of them together.

use std::collections::BTreeMap;

use super::column::{Column, same};
use super::defaults::Defaults;
use super::no_batch::{FoundColumns, NoBatch};

/// What a heading, or the name of a member, stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Ours(Column),
    /// A field for the agent.
    Field(String),
    /// How often the entry was tried by earlier runs.
    Attempts,
    /// Another result of an earlier run.
    Result,
    /// There is no heading.
    Nothing,
}

/// The headings of a CSV file.
pub(super) struct Columns {
    pub(super) written: Vec<String>,
    pub(super) meanings: Vec<Meaning>,
}

impl Columns {
    /// Reads the headings.
    pub(super) fn read(found: &FoundColumns, defaults: &Defaults) -> Result<Self, NoBatch> {
        let written = &found.headings;
        let there = |name: &str| written.iter().any(|heading| same(heading, name));
        let of_results = RESULTS.into_iter().all(there);
        let meanings: Vec<_> = written
            .iter()
            .map(|heading| match RESULTS.into_iter().find(|name| same(name, heading)) {
                Some(ATTEMPTS) if of_results => Meaning::Attempts,
                Some(_) if of_results => Meaning::Result,
                _ => meaning(heading, defaults),
            })
            .collect();
        let mut seen = BTreeMap::new();
        for (heading, meaning) in written.iter().zip(&meanings) {
            let name = match meaning {
                Meaning::Ours(column) => column.as_str(),
                Meaning::Field(name) => name,
                Meaning::Attempts => ATTEMPTS,
                Meaning::Result | Meaning::Nothing => continue,
            };
            if let Some(first) = seen.insert(name, heading) {
                let (first, second) = (first.clone(), heading.clone());
                return Err(NoBatch::ColumnTwice { first, second });
            }
        }
        let missing = defaults.columns.iter().find(|(_, heading)| !there(heading));
        if let Some((_, heading)) = missing {
            let (heading, found) = (heading.clone(), found.clone());
            return Err(NoBatch::NoHeading { heading, found });
        }
        for (column, given) in [
            (Column::To, false),
            (Column::From, defaults.from.is_some()),
            (Column::Tenant, defaults.tenant.is_some()),
        ] {
            if !given && !seen.contains_key(column.as_str()) {
                return Err(NoBatch::NoColumn { column, found: found.clone() });
            }
        }
        Ok(Self { written: written.clone(), meanings })
    }

    /// The headings that stand for something, without those of results.
    pub(super) fn own(&self) -> Vec<String> {
        let all = self.written.iter().zip(&self.meanings);
        let own =
            all.filter(|(_, meaning)| matches!(meaning, Meaning::Ours(_) | Meaning::Field(_)));
        own.map(|(heading, _)| heading.clone()).collect()
    }

    /// Whether these headings have the column that every batch needs.
    pub(super) fn have_to(headings: &[String], defaults: &Defaults) -> bool {
        headings.iter().any(|heading| meaning(heading, defaults) == Meaning::Ours(Column::To))
    }
}

/// What a heading or member stands for, by itself.
pub(super) fn meaning(heading: &str, defaults: &Defaults) -> Meaning {
    let mut mapped = defaults.columns.iter().filter(|(_, name)| same(name, heading));
    let ours = mapped.next().map(|(column, _)| *column).or_else(|| Column::of(heading));
    match (ours, heading.trim()) {
        (Some(column), _) => Meaning::Ours(column),
        (None, "") => Meaning::Nothing,
        (None, name) => Meaning::Field(name.to_owned()),
    }
}

/// Whether a heading is that of a column which results add.
#[must_use]
pub fn is_result_column(heading: &str) -> bool {
    RESULTS.into_iter().any(|name| same(name, heading))
}

/// The columns that results add to those of a file, in their order.
pub const RESULTS: [&str; 6] = ["outcome", "reason", "dialled", "room", "line", ATTEMPTS];
const ATTEMPTS: &str = "attempts";
