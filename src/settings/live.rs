//! Settings that change while the program runs: read anew, checked as a whole, then swapped or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::env::{Values, fingerprint};
use super::{Settings, SettingsError};
use crate::resolver::Resolver;

/// Where settings are read from: the process environment and a `.env` file.
#[derive(Debug, Clone, Default)]
pub struct SettingsFiles {
    /// The `.env` file. It need not exist.
    pub dot_env: Option<PathBuf>,
}

impl SettingsFiles {
    /// Reads the values, unchecked.
    #[must_use]
    pub fn values(&self) -> Values {
        Values::of_process(self.dot_env.as_deref())
    }
}

/// Why new settings were not taken. The old ones hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// They are not valid.
    #[error(transparent)]
    Invalid(#[from] SettingsError),
    /// They change what only a restart can change.
    #[error("{variables} changed, which takes a restart; nothing was changed")]
    NeedsRestart {
        /// Which ones.
        variables: String,
    },
}

/// Watches the files that settings come from, and takes new ones when a file changes or `nudge`
/// says so (a program forwards SIGHUP to it). Ends with the resolver.
///
/// A file is looked at twice a second; one that is being written is read again until it is valid.
pub async fn follow(resolver: Resolver, files: SettingsFiles, nudge: Arc<Notify>) {
    let stopping = resolver.stopping();
    let mut watched = files.values().files().to_vec();
    let mut seen = fingerprint(&watched);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = stopping.cancelled() => return,
            () = nudge.notified() => true,
            _ = look.tick() => false,
        };
        let now = fingerprint(&watched);
        if !asked && now == seen {
            continue;
        }
        let values = files.values();
        // Taken before the files were read: what changed meanwhile is seen at the next look. So is
        // a file that was not watched until now.
        seen = if values.files() == watched { now } else { Vec::new() };
        watched = values.files().to_vec();
        let reloaded = Settings::read(&values).map_err(ReloadError::from);
        match reloaded.and_then(|settings| resolver.reload(settings)) {
            Ok(()) => tracing::info!("settings reloaded"),
            Err(error) => tracing::error!(%error, "settings not reloaded; the old ones hold"),
        }
    }
}

const LOOK: Duration = Duration::from_millis(500);
