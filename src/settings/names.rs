//! Which variable names are ours, and which of ours a wrong name was probably meant to be.

use std::fmt;

use super::env::{VARIABLES, Variable};

/// The variables of libpq that are read, beside [`VARIABLES`], whether a URL names the database or not.
pub const LIBPQ: [&str; 12] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGAPPNAME",
    "PGOPTIONS",
];

/// What else is read, or is libpq's own and no misspelling of another one.
const OTHERS: [&str; 11] = [
    "HOME",
    "XDG_DATA_HOME",
    "CREDENTIALS_DIRECTORY",
    "PGPASSFILE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLSNI",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
];

/// Whether a variable of this name is read.
pub(super) fn is_ours(name: &str) -> bool {
    known().any(|ours| ours == name)
        || OTHERS.contains(&name)
        || of_file(name).is_some_and(|variable| variable.file)
}

/// The variable of ours that a name was probably meant for.
pub(super) struct Meant {
    pub(super) ours: &'static str,
    /// It would name a file, which only some variables may.
    by_file: bool,
}

impl fmt::Display for Meant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { ours, by_file: true } => {
                write!(out, "does nothing: {ours} cannot be named by a file; set {ours}")
            }
            Self { ours, .. } => write!(out, "does nothing; did you mean {ours}?"),
        }
    }
}

/// What a name that is none of ours was probably meant for.
pub(super) fn meant(name: &str) -> Option<Meant> {
    if is_ours(name) {
        return None;
    }
    if let Some(variable) = of_file(name) {
        return Some(Meant { ours: variable.name, by_file: true });
    }
    let ours = known().find(|ours| ours.eq_ignore_ascii_case(name)).or_else(|| nearest(name))?;
    Some(Meant { ours, by_file: false })
}

/// The variable whose `NAME_FILE` this is.
fn of_file(name: &str) -> Option<&'static Variable> {
    let stem = name.strip_suffix("_FILE")?;
    VARIABLES.iter().find(|variable| variable.name == stem)
}

/// A name of ours that this one is a part of, or a few slips of the finger away from.
fn nearest(name: &str) -> Option<&'static str> {
    let slips = |ours: &&str| strsim::osa_distance(&name.to_ascii_uppercase(), ours);
    let close = |ours: &&str| slips(ours) <= (ours.len() / 6).min(2);
    let begun = |ours: &&str| {
        let rest = ours.strip_prefix(name);
        name.contains('_') && rest.is_some_and(|rest| rest.starts_with('_'))
    };
    known().filter(close).min_by_key(slips).or_else(|| known().find(begun))
}

fn known() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|variable| variable.name).chain(LIBPQ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_a_part_and_another_case_are_told_and_names_of_others_are_not() {
        for (name, ours) in [
            ("USE_SELFHOST_ROUTING", "USE_SELFHOST_ROUTING_TABLE"),
            ("DATABASE_ULR", "DATABASE_URL"),
            ("LIVEKIT_API_SECRETS", "LIVEKIT_API_SECRET"),
            ("LIVEKIT_SECRET", "LIVEKIT_SECRET_ENCRYPTION_KEY"),
            ("database_url", "DATABASE_URL"),
            ("PGSSLMOD", "PGSSLMODE"),
            ("LIVEKIT_API_KEY_FILE", "LIVEKIT_API_KEY"),
        ] {
            assert_eq!(meant(name).map(|meant| meant.ours), Some(ours), "{name}");
        }
        for name in [
            "DATABASE_URL_FILE",
            "LIVEKIT_PORT",
            "LIVEKIT_SERVICE_HOST",
            "DATABASE_URL_TEST",
            "PATH",
            "HOME",
            "WARN",
            "PLEASE",
            "JAVA_OPTS",
            "REDIS_URL",
            "PGPASSFILE",
        ] {
            assert!(meant(name).is_none(), "{name}");
        }
    }
}
