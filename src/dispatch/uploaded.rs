//! Batches that clients upload to a daemon: each has a row that every node reads, and runs on the node
//! that has its journal, as often as that is started anew.
//!
//! ```text
//! upload --> rows on the disk --> row in the database --> run by its keeper --> row: done, left, …
//!                                        ^ cancel, resume: by whichever node is asked
//! ```
//!
//! **Invariant:** a batch runs where its journal is and nowhere else, and the journal says who was dialled.
//! A batch that had begun and whose journal is gone dials nobody.

mod folder;
mod options;
mod running;

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use self::folder::BatchFolder;
pub(crate) use self::options::{BatchOptions, RunOptions};
use super::batch::{
    Batch, BatchError, CancellationToken, Entries, Rehearsal, Wanted, WrittenResults,
};
use super::livekit::LiveKit;
use super::options::{Dialling, WrongOption};
use super::{CallRequest, Dispatcher};
use crate::backoff::dice;
use crate::lifecycle::{Lifecycle, apart};
use crate::number::TenantId;
use crate::resolver::Resolver;
use crate::store::{BatchRow, BatchRows, Behalf, NewBatch, StoreError};

/// Takes batches, and runs those whose journals are here. Cloning shares it.
#[derive(Clone)]
pub(crate) struct UploadedBatches(Arc<Shared>);

struct Shared {
    dispatcher: Dispatcher,
    rows: Arc<dyn BatchRows>,
    /// `None`: this node keeps nothing, so it runs none.
    folder: Option<BatchFolder>,
    tasks: Lifecycle,
    /// Those that are running here.
    running: Mutex<HashSet<Uuid>>,
    /// Something may be there to be run.
    news: Notify,
}

/// A batch that is asked for.
pub(crate) struct AskedBatch {
    /// The client's word for this question.
    pub(crate) key: String,
    /// The SHA-256 of what it asks, in hex.
    pub(crate) body: String,
    pub(crate) name: String,
    pub(crate) options: BatchOptions,
    /// Its rows, as they came.
    pub(crate) content: Arc<[u8]>,
    pub(crate) entries: u64,
    pub(crate) tenants: Vec<TenantId>,
}

/// A batch that was taken, now or before.
pub(crate) struct Uploaded {
    pub(crate) row: BatchRow,
    pub(crate) is_replayed: bool,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotUploaded {
    #[error("this node keeps no batches")]
    NoFolder,
    #[error("the client asked something else under this key")]
    OtherBody,
    #[error("the rows cannot be kept: {0}")]
    Folder(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UploadedBatches {
    /// Those of this resolver's database. `None`: it has none.
    pub(crate) fn of(resolver: &Resolver) -> Option<Self> {
        let rows = resolver.database()?.batch_rows();
        let livekit = LiveKit::guarded(resolver);
        let dispatcher = Dispatcher::new(resolver.clone(), livekit);
        let folder = resolver.data_dir().and_then(|data_dir| {
            BatchFolder::open(data_dir)
                .inspect_err(|error| tracing::warn!(%error, "DATA_DIR cannot keep batches"))
                .ok()
        });
        let (tasks, running, news) = (Lifecycle::new(), Mutex::default(), Notify::new());
        Some(Self(Arc::new(Shared { dispatcher, rows, folder, tasks, running, news })))
    }

    /// The rows of all batches, wherever they run.
    pub(crate) fn rows(&self) -> &dyn BatchRows {
        &*self.0.rows
    }

    /// Whether the journal of a batch is here.
    pub(crate) fn keeps(&self, batch: &BatchRow) -> bool {
        self.0.folder.as_ref().is_some_and(|folder| folder.keeper == batch.keeper)
    }

    /// Goes through a batch, and calls nobody.
    ///
    /// # Errors
    ///
    /// [`BatchError`], if it is none.
    pub(crate) async fn rehearse(
        &self,
        options: &RunOptions,
        entries: Entries,
    ) -> Result<Rehearsal, BatchError> {
        let stop = CancellationToken::new();
        let Dialling { dial, confirm_agent, phone } = options.dialling.clone();
        let batch = Batch::new(&self.0.dispatcher, dial, options.limits, stop);
        batch.confirming(confirm_agent).dialling(phone).rehearse(entries, None).await
    }

    /// The batch that a client asked for by this key before, if it asked the same.
    pub(crate) async fn earlier(
        &self,
        client: Uuid,
        key: &str,
        body: &str,
    ) -> Result<Option<Uploaded>, NotUploaded> {
        match self.0.rows.batch_by_key(client, key).await? {
            None => Ok(None),
            Some(row) if row.body == body => Ok(Some(Uploaded { row, is_replayed: true })),
            Some(_) => Err(NotUploaded::OtherBody),
        }
    }

    /// Takes a batch: what it is of is on the disk before anybody is told that it was taken.
    pub(crate) async fn upload(
        &self,
        behalf: &Behalf,
        asked: AskedBatch,
    ) -> Result<Uploaded, NotUploaded> {
        let shared = &self.0;
        let folder = shared.folder.as_ref().ok_or(NotUploaded::NoFolder)?;
        let id = id_of_now(shared.dispatcher.resolver().unix_time());
        let (kept, content) = (folder.clone(), Arc::clone(&asked.content));
        let kept = apart(move || kept.keep(id, &content)).await;
        kept.unwrap_or_else(|| Err(io::Error::other("it was broken off")))?;
        let options = serde_json::to_value(&asked.options).unwrap_or_default();
        let new = NewBatch {
            id,
            key: &asked.key,
            body: &asked.body,
            name: &asked.name,
            options: &options,
            keeper: folder.keeper,
            entries: asked.entries,
            tenants: &asked.tenants,
        };
        // Where it is not known whether the row is there, the rows stay: it may be run by them.
        if !shared.rows.insert_batch(behalf, &new).await? {
            let folder = folder.clone();
            apart(move || folder.forget(id)).await;
            let earlier = self.earlier(behalf.client, &asked.key, &asked.body).await?;
            return earlier.ok_or(NotUploaded::OtherBody);
        }
        shared.news.notify_one();
        let row = shared.rows.batch_by_key(behalf.client, &asked.key).await?;
        let gone = StoreError::Row { statement: "batch_by_key" };
        Ok(Uploaded { row: row.ok_or(gone)?, is_replayed: false })
    }

    /// Looks soon for what is to be run.
    pub(crate) fn wake(&self) {
        self.0.news.notify_one();
    }

    /// What a batch has come to, by its journal. `None`: that is not here.
    pub(crate) async fn written(
        &self,
        batch: &BatchRow,
        wanted: Wanted,
    ) -> Option<Result<WrittenResults, BatchError>> {
        let folder = self.0.folder.clone().filter(|folder| folder.keeper == batch.keeper)?;
        let defaults = read_options(&batch.options).ok()?.defaults;
        let id = batch.id;
        let read = move || {
            WrittenResults::read(&folder.entries(id), &folder.journal(id), &defaults, wanted)
        };
        apart(read).await
    }

    /// Runs what is to be run here, for as long as it is polled, and removes what is old.
    pub(crate) async fn keep(&self) -> Infallible {
        let shared = &self.0;
        let Some(folder) = &shared.folder else {
            return std::future::pending().await;
        };
        tokio::select! {
            never = self.run_all(folder.keeper) => never,
            never = shared.prune(folder) => never,
        }
    }

    async fn run_all(&self, keeper: Uuid) -> Infallible {
        loop {
            let mut look = LOOK;
            match self.0.rows.open_batches(keeper).await {
                Ok(open) => {
                    for batch in open {
                        self.begin(batch).await;
                    }
                }
                // Such as of a role that may not, or a database of a step before batches.
                Err(error) => {
                    tracing::debug!(%error, "batches are not looked for");
                    look = LOOK_AGAIN;
                }
            }
            timeout(look, self.0.news.notified()).await.ok();
        }
    }

    /// Begins to run a batch that is not running here, in a task of its own.
    async fn begin(&self, batch: BatchRow) {
        let (shared, id) = (&self.0, batch.id);
        if shared.tasks.stopping().is_cancelled() {
            return;
        }
        {
            let mut running = shared.running();
            if running.contains(&id) {
                return;
            }
            if running.len() < MOST_AT_ONCE {
                running.insert(id);
                let shared = Arc::clone(shared);
                shared.tasks.clone().spawn("batch", async move {
                    let _running = Running { shared: &shared, id };
                    if shared.run(batch).await {
                        // Another one may have waited for its end.
                        shared.news.notify_one();
                    }
                });
                return;
            }
        }
        // It waits for one that ends, which is not the silence of a node that is gone.
        shared.rows.wait_batch(shared.hand(&batch)).await.ok();
    }

    /// Dials nobody else, and waits for the calls that are under way.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.0.tasks.stop(patience).await;
    }
}

/// Marks a batch as running here until it is dropped.
struct Running<'r> {
    shared: &'r Shared,
    id: Uuid,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.running().remove(&self.id);
    }
}

impl Shared {
    /// Removes what is older than a month, now and then.
    async fn prune(&self, folder: &BatchFolder) -> Infallible {
        loop {
            // Not all nodes at once.
            sleep(FORGET_EVERY.mul_f64(0.5 + dice())).await;
            if let Err(error) = self.rows.forget_batches(KEPT).await {
                tracing::debug!(%error, "old batches stay");
                continue;
            }
            match self.rows.kept_batches(folder.keeper).await {
                Ok(known) => self.sweep(folder, known).await,
                Err(error) => tracing::debug!(%error, "the files of old batches stay"),
            }
        }
    }

    /// Removes the files of batches that have no row any more. Of those that have none yet, the files
    /// are younger than a day.
    async fn sweep(&self, folder: &BatchFolder, known: Vec<Uuid>) {
        let now = UNIX_EPOCH + self.dispatcher.resolver().unix_time();
        let folder = folder.clone();
        let swept = apart(move || {
            let known: HashSet<_> = known.into_iter().collect();
            let old = folder.older_than(WITHOUT_ROW, now)?;
            let mut gone = old.into_iter().filter(|id| !known.contains(id));
            gone.try_for_each(|id| folder.forget(id))
        });
        if let Some(Err(error)) = swept.await {
            tracing::warn!(%error, "the files of old batches cannot be removed");
        }
    }

    fn running(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options of a row.
fn read_options(options: &Value) -> Result<RunOptions, String> {
    let options = BatchOptions::deserialize(options).map_err(|error| error.to_string())?;
    options.read().map_err(|WrongOption { field, why }| format!("{field}: {why}"))
}

/// Whether an entry can be followed at all, before anybody is asked about it.
pub(crate) fn wrong_entry(request: &CallRequest) -> Option<String> {
    let mut request = request.clone();
    if request.job.is_empty() {
        "later".clone_into(&mut request.job);
    }
    request.check().err().map(|wrong| wrong.to_string())
}

/// An id that comes after all of before, by the millisecond.
fn id_of_now(since_1970: Duration) -> Uuid {
    let random = *Uuid::new_v4().as_bytes();
    let mut rest = [0; 10];
    rest.copy_from_slice(&random[6..]);
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
}

/// What is told of a run beside how many are done.
fn told(summary: &super::batch::Summary) -> Value {
    json!({"outcomes": summary.outcomes, "left_with": summary.left_with})
}

/// How often it is looked for batches that another node took up again.
const LOOK: Duration = Duration::from_secs(5);
/// The same after a look that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How many batches run at once on a node; the others wait for their turn.
const MOST_AT_ONCE: usize = 16;
/// How long the record of a batch is kept, and its files with it.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
const FORGET_EVERY: Duration = Duration::from_secs(3600);
const WITHOUT_ROW: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_their_coming() {
        let ids: Vec<_> = (0..100).map(|at| id_of_now(Duration::from_millis(at * 7))).collect();
        assert!(ids.is_sorted());
        assert_ne!(id_of_now(Duration::ZERO), id_of_now(Duration::ZERO));
    }
}
