//! One run of a batch on the node that has its journal, and the row beside it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::folder::BatchFolder;
use super::{Shared, read_options, told};
use crate::backoff::Backoff;
use crate::dispatch::batch::{Batch, BatchError, CancellationToken, Entries, Journal, Summary};
use crate::lifecycle::apart;
use crate::store::{BatchProgress, BatchRow, BatchState, Cancel};

/// What tells a run to stop, as its row or its daemon wants it.
#[derive(Clone, Default)]
struct Ends {
    /// Nobody else is called.
    stop: CancellationToken,
    /// Those who are being called are hung up on, too.
    end: CancellationToken,
}

impl Ends {
    fn cancel(&self, how: Cancel) {
        self.stop.cancel();
        if how == Cancel::End {
            self.end.cancel();
        }
    }
}

/// How a run came to its end.
enum Ended {
    Ran(Summary),
    /// Another process has its journal, or the row cannot be written now.
    Elsewhere,
    Failed(String),
}

impl Shared {
    /// Runs a batch, until it is done, cancelled, or the daemon stops. `false`: it is not run here now.
    pub(super) async fn run(&self, batch: BatchRow) -> bool {
        let Some(folder) = &self.folder else { return false };
        let ends = Ends::default();
        if let Some(how) = batch.cancel {
            ends.cancel(how);
        }
        let (tell, summary) = watch::channel(Summary::default());
        let ended = {
            let running = self.run_journal(&batch, folder, &ends, &tell);
            tokio::select! {
                ended = running => ended,
                never = self.beat(&batch, &ends, &summary) => match never {},
            }
        };
        match ended {
            Ended::Elsewhere => {
                tracing::debug!(batch = %batch.id, "a batch is not run here now");
                return false;
            }
            Ended::Ran(summary) => self.conclude(&batch, summary).await,
            Ended::Failed(why) => {
                tracing::warn!(batch = %batch.id, why, "a batch failed");
                self.write_end(&batch, BatchState::Failed, Some(&why), None).await;
            }
        }
        true
    }

    async fn run_journal(
        &self,
        batch: &BatchRow,
        folder: &BatchFolder,
        ends: &Ends,
        tell: &watch::Sender<Summary>,
    ) -> Ended {
        let options = match read_options(&batch.options) {
            Ok(options) => options,
            Err(why) => return Ended::Failed(why),
        };
        let journal = match journal(batch, folder).await {
            Ok(journal) => journal,
            Err(BatchError::Running) => return Ended::Elsewhere,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        let node = self.dispatcher.resolver().node_row();
        match self.rows.take_batch(batch.id, batch.keeper, node).await {
            Ok(true) => {}
            // It was ended in between, or the next look tries again: nobody was called.
            Ok(false) => return Ended::Elsewhere,
            Err(error) => {
                tracing::debug!(%error, batch = %batch.id, "a batch cannot be begun yet");
                return Ended::Elsewhere;
            }
        }
        let entries = folder.entries(batch.id);
        let open = || Entries::open(&entries, options.defaults.clone());
        let running = Batch::new(&self.dispatcher, options.dial, options.limits, ends.stop.clone())
            .confirming(options.confirm_agent)
            .ended_by(ends.end.clone());
        let report = |_: Option<&_>, summary: &Summary| {
            tell.send_replace(summary.clone());
        };
        match running.run(open, journal, report).await {
            Ok(summary) => Ended::Ran(summary),
            Err(error) => Ended::Failed(error.to_string()),
        }
    }

    /// Writes down how far it is, and hears whether it is to be cancelled.
    async fn beat(
        &self,
        batch: &BatchRow,
        ends: &Ends,
        summary: &watch::Receiver<Summary>,
    ) -> Infallible {
        let (stopping, id) = (self.tasks.stopping(), batch.id);
        loop {
            tokio::select! {
                () = sleep(BEAT) => {}
                () = stopping.cancelled(), if !ends.stop.is_cancelled() => ends.stop.cancel(),
            }
            let summary = summary.borrow().clone();
            let summary =
                (summary.entries > 0).then(|| (batch.done.max(summary.done()), told(&summary)));
            let progress = summary.as_ref().map(|(done, told)| BatchProgress {
                entries: batch.entries,
                done: *done,
                summary: told,
            });
            match self.rows.beat_batch(id, batch.keeper, progress).await {
                Ok(Some(Some(how))) => ends.cancel(how),
                Ok(Some(None)) => {}
                // Somebody has removed or ended the row: who did wants no more calls.
                Ok(None) => ends.cancel(Cancel::Stop),
                // The journal goes on without it.
                Err(error) => {
                    tracing::debug!(%error, batch = %id, "the row of a batch lags behind");
                }
            }
        }
    }

    async fn conclude(&self, batch: &BatchRow, summary: Summary) {
        let is_whole = summary.entries == batch.entries;
        if self.tasks.stopping().is_cancelled() && !(is_whole && summary.left == 0) {
            // It goes on when the daemon is started again.
            self.rows.release_batch(batch.id, batch.keeper).await.ok();
            return;
        }
        let state = match self.cancelled(batch).await {
            _ if is_whole && summary.left == 0 => BatchState::Done,
            true => BatchState::Cancelled,
            false => BatchState::Left,
        };
        let told = told(&summary);
        let done = batch.entries.saturating_sub(summary.left);
        // One that was stopped while it read has not seen all of it.
        let progress = is_whole.then_some((done, &told));
        tracing::info!(batch = %batch.id, state = state.as_str(), done, "a batch ended");
        self.write_end(batch, state, None, progress).await;
    }

    /// Whether somebody wants it cancelled, as the row says last.
    async fn cancelled(&self, batch: &BatchRow) -> bool {
        let said = self.rows.beat_batch(batch.id, batch.keeper, None).await;
        batch.cancel.is_some() || matches!(said, Ok(Some(Some(_))))
    }

    /// Writes until it is written, or the daemon stops: the next one then finds the same by the journal.
    async fn write_end(
        &self,
        batch: &BatchRow,
        state: BatchState,
        message: Option<&str>,
        progress: Option<(u64, &serde_json::Value)>,
    ) {
        let (stopping, mut backoff) = (self.tasks.stopping(), Backoff::default());
        loop {
            let progress = progress.map(|(done, summary)| BatchProgress {
                entries: batch.entries,
                done,
                summary,
            });
            let written =
                self.rows.end_batch(batch.id, batch.keeper, state, message, progress).await;
            let Err(error) = written else { return };
            tracing::debug!(%error, batch = %batch.id, "the end of a batch is not recorded yet");
            tokio::select! {
                () = sleep(backoff.failed(LONGEST_WAIT, Duration::ZERO)) => {}
                () = stopping.cancelled() => return,
            }
        }
    }
}

/// The journal of a batch, begun if nobody was called yet. One that is gone is not begun anew: it said
/// who was called.
async fn journal(batch: &BatchRow, folder: &BatchFolder) -> Result<Journal, BatchError> {
    let (path, is_new) = (folder.journal(batch.id), batch.begun_at.is_none());
    let opened = apart(move || match Journal::resume(&path) {
        Err(BatchError::NoJournal) if is_new => Journal::begin(&path),
        opened => opened,
    });
    let broken = || BatchError::Journal(std::io::Error::other("it was broken off"));
    opened.await.unwrap_or_else(|| Err(broken()))
}

/// How often the row of a running batch is written.
const BEAT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
