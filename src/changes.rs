//! What a change is, whoever tells of it.
//!
//! The change log in the database is the truth; NOTIFY and `data_version` only say that there is
//! something to read in it. Whoever reads it keeps its place, and after a gap catches up from there;
//! only where the log no longer reaches back is everything put in doubt.

#[cfg(feature = "postgres")]
pub(crate) mod bell;
#[cfg(feature = "postgres")]
pub(crate) mod listener;
#[cfg(feature = "sqlite")]
pub(crate) mod poller;
#[cfg(feature = "postgres")]
pub(crate) mod reader;
mod teller;
pub(crate) mod wire;

use std::time::Duration;

use serde::Serialize;

pub(crate) use self::teller::Teller;
use crate::number::{Caller, ConfigId};

/// One committed edit, as far as the cache must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// By which way a resolver learns of changes at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hearing {
    /// NOTIFY: within milliseconds of a commit.
    Notify,
    /// The change log is read again and again, `LOG_POLL_INTERVAL` or `POLL_INTERVAL` apart.
    ChangeLog,
    /// Nobody tells of changes but [`Resolver::invalidate`](crate::Resolver::invalidate): the store
    /// is the embedder's own.
    Embedder,
    /// Not at all: every call asks the database.
    Nothing,
}

impl Hearing {
    /// Every way, in the order of how soon a change is used.
    pub const ALL: [Self; 4] = [Self::Notify, Self::ChangeLog, Self::Embedder, Self::Nothing];

    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::ChangeLog => "change_log",
            Self::Embedder => "embedder",
            Self::Nothing => "nothing",
        }
    }
}

/// How long to wait after so many failures in a row: anything up to a bound that doubles, so that
/// those who failed together do not come back together ("full jitter").
fn backoff(failures: u32, longest: Duration) -> Duration {
    let most = SHORTEST_WAIT.saturating_mul(1 << failures.min(16)).min(longest);
    #[expect(clippy::cast_precision_loss, reason = "a fraction needs no more than 53 bits")]
    let dice = getrandom::u64().map_or(0.5, |dice| (dice >> 11) as f64 / (1_u64 << 53) as f64);
    most.mul_f64(dice)
}

const SHORTEST_WAIT: Duration = Duration::from_millis(20);
