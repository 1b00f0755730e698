//! What a change is, whoever tells of it.
//!
//! The change log in the database is the truth; NOTIFY and `data_version` only say that there is
//! something to read in it. Both tellers have the same shape: a *life* is one connection, and
//! whatever goes wrong with it ends the life. The next life listens first and then puts everything
//! in doubt, because nobody knows what happened in between.

#[cfg(feature = "postgres")]
pub(crate) mod listener;
#[cfg(feature = "sqlite")]
pub(crate) mod poller;

use crate::number::{Caller, ConfigId};

/// One committed edit, as far as the cache must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A config was made, changed or removed.
    Config(ConfigId),
    /// A number was made, changed, moved or removed.
    Number(Caller),
    /// Many numbers at once.
    Numbers,
    /// Many configs at once, or something that cannot be told apart: everything.
    All,
}
