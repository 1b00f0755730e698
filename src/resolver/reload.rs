//! Settings that change while the resolver runs: read anew, checked as a whole, swapped or refused.

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
    /// Takes new settings, whole or not at all; but what switches the database off is taken in any
    /// case. Cached answers that old ones shaped are dropped, and
    /// with another key ring, credentials that are in use are wiped.
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
        // The same one still, perhaps by another password.
        if let (Some(opened), Some(database)) = (&engine.database, &database) {
            opened.renew(database);
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
        // Of when they were read at the start, lest an edit since then be lost.
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
                // Told once. What comes in its place is another file, and is taken.
                taken.clone_from(&now);
                continue;
            }
            let Some(values) = read(&files).await else { return };
            if stamps(&watched).await.as_ref() != Some(&now) {
                continue;
            }
            // A file that was not watched until now is read again, as one that was.
            taken = if values.files() == watched { now } else { Vec::new() };
            watched = values.files().to_vec();
            let reloaded = Settings::read(&values).map_err(ReloadError::from);
            let mut changed = String::new();
            let mut read = last.clone();
            if let Ok(settings) = &reloaded {
                settings.warnings.iter().for_each(Warning::tell);
                changed = settings.changed_since(&last).join(", ");
                read = settings.startup();
            }
            match reloaded.and_then(|settings| self.reload(settings)) {
                Ok(()) => {
                    last = read;
                    tracing::info!(changed, "settings reloaded");
                    self.engine.telemetry.reloaded(Some(self.engine.clock.unix_time()));
                    // Who asks for it may have changed rows that no trigger told of.
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

/// Away from the tasks that answer: a disk or a network that hangs holds up nobody else.
async fn read(files: &SettingsFiles) -> Option<Values> {
    let files = files.clone();
    apart(move || files.values()).await
}

async fn stamps(watched: &[PathBuf]) -> Option<Vec<Option<FileStamp>>> {
    let watched = watched.to_vec();
    apart(move || SettingsFiles::stamps(&watched)).await
}

const LOOK: Duration = Duration::from_millis(250);
