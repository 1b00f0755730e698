//! One run of a batch on the node that has its journal, and the row beside it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::folder::BatchFolder;
use super::{RunOptions, Shared, read_options, told};
use crate::backoff::Backoff;
use crate::dispatch::batch::{Batch, BatchError, CancellationToken, Entries, Journal, Summary};
use crate::dispatch::options::Dialling;
use crate::lifecycle::apart;
use crate::store::{BatchProgress, BatchRow, BatchState, Cancel, Hand};

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
    /// In whose hand a batch is that runs here.
    pub(super) fn hand(&self, batch: &BatchRow) -> Hand {
        let node = self.dispatcher.resolver().node_row();
        Hand { id: batch.id, keeper: batch.keeper, node }
    }

    /// Runs a batch, until it is done, cancelled, or the daemon stops. `false`: it is not for this process,
    /// or not now.
    pub(super) async fn run(&self, batch: BatchRow) -> bool {
        let Some(folder) = &self.folder else { return false };
        let ends = Ends::default();
        if let Some(how) = batch.cancel {
            ends.cancel(how);
        }
        let hand = self.hand(&batch);
        let ended = match self.take(&batch, folder, hand).await {
            Err(ended) => ended,
            Ok((options, journal)) => {
                let (tell, summary) = watch::channel(Summary::default());
                let running = self.run_journal(&batch, folder, options, journal, &ends, &tell);
                tokio::select! {
                    ended = running => ended,
                    never = self.beat(&batch, hand, &ends, &summary) => match never {},
                }
            }
        };
        match ended {
            Ended::Elsewhere => {
                tracing::debug!(batch = %batch.id, "a batch is not run here now");
                false
            }
            Ended::Ran(summary) => self.conclude(&batch, hand, summary).await,
            Ended::Failed(why) => {
                let ended =
                    self.write_end(&batch, hand, BatchState::Failed, Some(&why), None).await;
                if ended {
                    tracing::warn!(batch = %batch.id, why, "a batch failed");
                }
                ended
            }
        }
    }

    /// Takes a batch, and opens its journal.
    async fn take(
        &self,
        batch: &BatchRow,
        folder: &BatchFolder,
        hand: Hand,
    ) -> Result<(RunOptions, Journal), Ended> {
        let options = read_options(&batch.options).map_err(Ended::Failed)?;
        let journal = journal(batch, folder).await.map_err(|error| match error {
            BatchError::Running => Ended::Elsewhere,
            error => Ended::Failed(error.to_string()),
        })?;
        match self.rows.take_batch(hand).await {
            Ok(true) => Ok((options, journal)),
            // It was ended in between, another process has it, or the next look tries again: nobody was
            // called.
            Ok(false) => Err(Ended::Elsewhere),
            Err(error) => {
                tracing::debug!(%error, batch = %batch.id, "a batch cannot be begun yet");
                Err(Ended::Elsewhere)
            }
        }
    }

    async fn run_journal(
        &self,
        batch: &BatchRow,
        folder: &BatchFolder,
        options: RunOptions,
        journal: Journal,
        ends: &Ends,
        tell: &watch::Sender<Summary>,
    ) -> Ended {
        let entries = folder.entries(batch.id);
        let open = || Entries::open(&entries, options.defaults.clone());
        let Dialling { dial, confirm_agent, phone } = options.dialling;
        let running = Batch::new(&self.dispatcher, dial, options.limits, ends.stop.clone())
            .confirming(confirm_agent)
            .dialling(phone)
            .keeping_headers()
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
        hand: Hand,
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
            match self.rows.beat_batch(hand, progress).await {
                Ok(Some(Some(how))) => ends.cancel(how),
                Ok(Some(None)) => {}
                // Somebody has removed, ended or taken it: who did wants no more calls from here.
                Ok(None) => ends.cancel(Cancel::Stop),
                // The journal goes on without it.
                Err(error) => {
                    tracing::debug!(%error, batch = %id, "the row of a batch lags behind");
                }
            }
        }
    }

    async fn conclude(&self, batch: &BatchRow, hand: Hand, summary: Summary) -> bool {
        let is_whole = summary.entries == batch.entries;
        if self.tasks.stopping().is_cancelled() && !(is_whole && summary.left == 0) {
            // It goes on when the daemon is started again.
            self.rows.release_batch(hand).await.ok();
            return true;
        }
        let state = match self.cancelled(batch, hand).await {
            _ if is_whole && summary.left == 0 => BatchState::Done,
            true => BatchState::Cancelled,
            false => BatchState::Left,
        };
        let told = told(&summary);
        let done = batch.entries.saturating_sub(summary.left);
        // One that was stopped while it read has not seen all of it.
        let progress = is_whole.then_some((done, &told));
        tracing::info!(batch = %batch.id, state = state.as_str(), done, "a batch ended");
        self.write_end(batch, hand, state, None, progress).await
    }

    /// Whether somebody wants it cancelled, as the row says last.
    async fn cancelled(&self, batch: &BatchRow, hand: Hand) -> bool {
        let said = self.rows.beat_batch(hand, None).await;
        batch.cancel.is_some() || matches!(said, Ok(Some(Some(_))))
    }

    /// Writes until it is written, or the daemon stops: the next one then finds the same by the journal.
    /// `false`: it is not in this hand any more.
    async fn write_end(
        &self,
        batch: &BatchRow,
        hand: Hand,
        state: BatchState,
        message: Option<&str>,
        progress: Option<(u64, &serde_json::Value)>,
    ) -> bool {
        let (stopping, mut backoff) = (self.tasks.stopping(), Backoff::default());
        loop {
            let progress = progress.map(|(done, summary)| BatchProgress {
                entries: batch.entries,
                done,
                summary,
            });
            let error = match self.rows.end_batch(hand, state, message, progress).await {
                Ok(is_written) => return is_written,
                Err(error) => error,
            };
            tracing::debug!(%error, batch = %batch.id, "the end of a batch is not recorded yet");
            tokio::select! {
                () = sleep(backoff.failed(LONGEST_WAIT, Duration::ZERO)) => {}
                () = stopping.cancelled() => return false,
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
