//! The columns of a batch that are ours, and the names by which they are known.

use std::fmt;
use std::str::FromStr;

/// A column of a batch that says who calls whom, and for which job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// Whom to call.
    To,
    /// The caller number.
    From,
    /// Whose number it is.
    Tenant,
    /// The job.
    Job,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::To, Self::From, Self::Tenant, Self::Job];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let [name, _] = self.names();
        name
    }

    /// Its name, and the one that the service before this one had for it.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::To => ["to", "to_number"],
            Self::From => ["from", "from_number"],
            Self::Tenant => ["tenant", "tenant_id"],
            Self::Job => ["job", "job_id"],
        }
    }

    pub(super) fn of(heading: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.names().iter().any(|name| same(name, heading)))
    }
}

impl fmt::Display for Column {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A text that names no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a column must be to, from, tenant or job")]
pub struct NoSuchColumn;

impl FromStr for Column {
    type Err = NoSuchColumn;

    fn from_str(text: &str) -> Result<Self, NoSuchColumn> {
        Self::of(text).ok_or(NoSuchColumn)
    }
}

/// Whether two headings differ by case or blanks alone. An underscore is how programs write one.
pub(super) fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| -> String {
        let seen =
            text.chars().filter(|char| !char.is_whitespace() && !"_\u{feff}".contains(*char));
        seen.flat_map(char::to_lowercase).collect()
    };
    plain(one) == plain(other)
}
