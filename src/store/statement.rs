//! A statement and its parameters.
//!
//! Statements are templates: text with parts in braces, such as `{digits}`, each of which is
//! written once. They are filled in when a store is made; one of the parts is the quoted schema.
//! The schema is in each name because whoever may create in a schema of the `search_path` could put
//! an operator or a function there that runs with our rights. So every session and function has the
//! path `pg_catalog, pg_temp`.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use uuid::Uuid;

use crate::number::Caller;

/// A statement, ready to be asked.
pub(super) struct Statement {
    /// Its name in metrics, traces and errors.
    pub(super) name: &'static str,
    /// Whether it is upkeep, which asks now and then and keeps no connection open.
    pub(super) in_passing: bool,
    text: Arc<str>,
}

impl Statement {
    /// Its text for the driver.
    pub(super) fn sql(&self) -> SqlStr {
        // Made of templates and nothing that a row or a caller brings.
        AssertSqlSafe(Arc::clone(&self.text)).into_sql_str()
    }

    /// It, as a part of upkeep.
    pub(super) fn in_passing(self) -> Self {
        Self { in_passing: true, ..self }
    }

    /// It, followed by a list of so many rows of so many placeholders.
    pub(super) fn with_rows(&self, rows: usize, columns: usize) -> Self {
        let row = |row: usize| {
            let places: Vec<_> =
                (1..=columns).map(|at| format!("${}", row * columns + at)).collect();
            format!("({})", places.join(", "))
        };
        let rows: Vec<_> = (0..rows).map(row).collect();
        let text = format!("{} values {}", self.text, rows.join(", ")).into();
        Self { text, ..*self }
    }
}

/// What the templates of one store are filled in with.
pub(super) struct Templates {
    parts: Vec<(&'static str, String)>,
}

impl Templates {
    /// Parts by name; a part may name those that come after it.
    pub(super) fn new<'p>(parts: impl IntoIterator<Item = (&'static str, &'p str)>) -> Self {
        Self { parts: parts.into_iter().map(|(name, text)| (name, text.to_owned())).collect() }
    }

    /// A statement of a template.
    pub(super) fn statement(&self, name: &'static str, template: &str) -> Statement {
        Statement { name, in_passing: false, text: self.fill(template).into() }
    }

    /// A template filled in.
    pub(super) fn fill(&self, template: &str) -> String {
        let fill = |text: String, (name, part): &(&str, String)| text.replace(name, part);
        self.parts.iter().fold(template.to_owned(), fill)
    }
}

/// A value that a statement is asked with.
pub(super) enum Value<'v> {
    Text(Option<Cow<'v, str>>),
    Id(Option<Uuid>),
    Int(Option<i64>),
    Real(f64),
    Bool(bool),
    Json(&'v Json),
    /// Many callers, in whatever form the database takes lists.
    Callers(&'v [Caller]),
    /// Many places in the change log, in the same form.
    #[cfg(feature = "postgres")]
    Places(&'v [i64]),
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}

impl From<Option<Uuid>> for Value<'_> {
    fn from(id: Option<Uuid>) -> Self {
        Self::Id(id)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_name_parts_that_come_after_them_and_the_last_one_is_taken_as_it_is() {
        let parts =
            [("{number}", "{digits} = $1"), ("{digits}", "base"), ("{schema}", "\"a{digits}\"")];
        let statement = Templates::new(parts).statement("one", "from {schema}.t where {number}");
        assert_eq!(&*statement.text, "from \"a{digits}\".t where base = $1");
    }

    #[test]
    fn rows_are_a_list_of_placeholders_that_count_on() {
        let insert = Templates::new([]).statement("import", "insert into t (a, b)");
        assert_eq!(&*insert.with_rows(2, 2).text, "insert into t (a, b) values ($1, $2), ($3, $4)");
    }
}
