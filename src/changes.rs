//! How a change is learned of, by whichever way.
//!
//! The change log in the database is the truth; NOTIFY and `data_version` only say that there is
//! something to read in it. Whoever reads it keeps its place, and after a gap catches up from there;
//! only where the log no longer reaches back is everything put in doubt.

mod applied;
#[cfg(feature = "postgres")]
mod apply;
#[cfg(feature = "postgres")]
pub(crate) mod doorbell;
mod feed;
#[cfg(feature = "postgres")]
pub(crate) mod listener;
mod metrics;
#[cfg(feature = "sqlite")]
pub(crate) mod poller;
#[cfg(feature = "postgres")]
pub(crate) mod reader;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "server")]
mod told;
mod watch;

use serde::Serialize;

#[cfg(feature = "server")]
pub(crate) use self::applied::reaches;
pub(crate) use self::feed::ChangeFeed;
pub(crate) use self::metrics::ChangesCounted;
#[cfg(feature = "relay")]
pub(crate) use self::relay::{Relay, Ring};
#[cfg(feature = "relay")]
pub use self::relay::{RelayHealth, RelayRole};
#[cfg(feature = "server")]
pub(crate) use self::told::Told;

/// By which way a resolver learns of changes at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeSource {
    /// NOTIFY: within milliseconds of a commit.
    Notify,
    /// Another node, which reads the change log: over the relay, within milliseconds of a commit.
    Relay,
    /// The change log is read again and again, `LOG_POLL_INTERVAL` or `POLL_INTERVAL` apart.
    ChangeLog,
    /// Nobody tells of changes but [`Resolver::invalidate`](crate::Resolver::invalidate): the store
    /// is the embedder's own.
    Embedder,
    /// Not at all: every call asks the database.
    Nothing,
}

impl ChangeSource {
    /// Every way, in the order of how soon a change is used.
    pub const ALL: [Self; 5] =
        [Self::Notify, Self::Relay, Self::ChangeLog, Self::Embedder, Self::Nothing];

    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Relay => "relay",
            Self::ChangeLog => "change_log",
            Self::Embedder => "embedder",
            Self::Nothing => "nothing",
        }
    }
}
