//! Reload of the settings: they are read again, checked as a whole, and swapped or refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::Resolver;
use super::live::{Outdated, ReloadError};
use crate::change::Change;
use crate::lifecycle::apart;
use crate::settings::{FileStamp, Settings, SettingsFiles, Values, Warning};

impl Resolver {
    /// Takes new settings, all of them or none. Exception: whatever switches the database off is taken
    /// in any case. Answers that depend on changed settings are dropped. If the key ring changed, all
    /// credentials in memory are wiped.
    ///
    /// # Errors
    ///
    /// [`ReloadError::NeedsRestart`] when they change what only a restart can change.
    pub fn reload(&self, settings: Settings) -> Result<(), ReloadError> {
        let engine = &self.engine;
        let database = settings.database.clone();
        engine.live.take(settings, &engine.clock, |outdated| match outdated {
            Outdated::Dropped(change) => {
                engine.telemetry.by_reload.increment(1);
                engine.cache.apply(change);
            }
            Outdated::SourceSwitched => engine.cache.switch_source(),
        })?;
        // The same database, perhaps with another password.
        if let (Some(opened), Some(database)) = (&engine.database, &database) {
            opened.renew(database);
        }
        if let Some(registration) = &engine.registration {
            registration.tell_news();
        }
        Ok(())
    }

    /// Watches the files that settings come from. Reloads them when a file changes, or when `nudge` is
    /// notified (a program forwards SIGHUP to it). A nudge also drops every cached answer. Ends when the
    /// resolver stops.
    ///
    /// A changed file is read once two looks, a quarter of a second apart, show the same size and time:
    /// so a half-written file is not taken. A file that is gone is an error; its settings stay in force.
    pub async fn follow_settings(self, files: SettingsFiles, nudge: Arc<Notify>) {
        let stopping = self.stopping();
        let Some(values) = read(&files).await else { return };
        let mut watched = values.files().to_vec();
        // As they were at the start: an edit since then is a change.
        let mut last = self.engine.live.startup().clone();
        let mut taken = last.stamps(&watched).unwrap_or_else(|| values.stamps().to_vec());
        let mut seen = taken.clone();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                () = stopping.cancelled() => return,
                () = nudge.notified() => true,
                _ = look.tick() => false,
            };
            let Some(now) = stamps(&watched).await else { return };
            let news = now != seen;
            seen.clone_from(&now);
            if !asked && (news || now == taken) {
                continue;
            }
            if taken.iter().zip(&now).any(|(was, is)| was.is_some() && is.is_none()) {
                tracing::error!("a file of the settings is gone; the settings it held stay");
                self.engine.telemetry.reloaded(None);
                // Logged once. A file that takes its place later is another file, and is read.
                taken.clone_from(&now);
                continue;
            }
            let Some(values) = read(&files).await else { return };
            if stamps(&watched).await.as_ref() != Some(&now) {
                continue;
            }
            // A file that is watched from now on is read again, since it may have changed unseen.
            taken = if values.files() == watched { now } else { Vec::new() };
            watched = values.files().to_vec();
            let reloaded = Settings::read(&values).map_err(ReloadError::from);
            let mut changed = String::new();
            let mut read = last.clone();
            if let Ok(settings) = &reloaded {
                settings.warnings.iter().for_each(Warning::log);
                changed = settings.changed_since(&last).join(", ");
                read = settings.startup();
            }
            match reloaded.and_then(|settings| self.reload(settings)) {
                Ok(()) => {
                    last = read;
                    tracing::info!(changed, "settings reloaded");
                    self.engine.telemetry.reloaded(Some(self.engine.clock.unix_time()));
                    // The operator may have changed rows without the triggers.
                    if asked {
                        self.engine.telemetry.by_reload.increment(1);
                        self.engine.cache.apply(Change::Numbers);
                    }
                }
                Err(error) => {
                    self.engine.telemetry.reloaded(None);
                    tracing::error!(%error, "settings not reloaded; the old ones hold");
                }
            }
        }
    }
}

/// On a thread of its own: a disk or network that hangs delays no caller.
async fn read(files: &SettingsFiles) -> Option<Values> {
    let files = files.clone();
    apart(move || files.values()).await
}

async fn stamps(watched: &[PathBuf]) -> Option<Vec<Option<FileStamp>>> {
    let watched = watched.to_vec();
    apart(move || SettingsFiles::stamps(&watched)).await
}

const LOOK: Duration = Duration::from_millis(250);
