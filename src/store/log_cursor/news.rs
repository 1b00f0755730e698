//! What a look found.

use std::time::Duration;

use crate::change::Change;
#[cfg(feature = "server")]
use crate::store::LoggedChange;

/// What a look found.
#[derive(Debug)]
pub(crate) struct News {
    /// What changed. Of a log that could not be followed, only what is still in it.
    pub(crate) changes: Vec<Change>,
    /// The same as it stands in the log.
    #[cfg(feature = "server")]
    pub(crate) logged: Vec<LoggedChange>,
    /// Whether that is all that changed since the look before.
    pub(crate) reach: Reach,
    /// How long ago each row was written.
    pub(crate) ages: Vec<Duration>,
    /// The newest place in the log; zero if it had no rows.
    pub(crate) newest: i64,
    /// Whether edits notify, if that was looked for.
    pub(crate) notify: Option<bool>,
}

/// How far back a look could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the look before.
    Complete,
    /// There was none before.
    First,
    /// Not so far: the log was pruned or emptied, or it is another one.
    Gap,
}

impl News {
    /// Nothing is new.
    pub(super) fn none(newest: i64, notify: Option<bool>) -> Self {
        Self {
            changes: Vec::new(),
            #[cfg(feature = "server")]
            logged: Vec::new(),
            reach: Reach::Complete,
            ages: Vec::new(),
            newest,
            notify,
        }
    }
}
