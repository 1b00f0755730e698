//! Batches that clients run through a daemon: a row of each, which every node reads.
//!
//! ```text
//! accepted --take--> running --end--> done | left | cancelled | failed     by the node with its journal
//!     ^                                       |         |          |
//!     '------------------ resume -------------'---------'----------'
//! ```
//!
//! The row says what other nodes are told. Who was dialled, the journal says, which is with its keeper.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::StoreError;
use super::edits::Behalf;
use crate::number::TenantId;

/// A batch that is asked for.
pub(crate) struct NewBatch<'b> {
    pub(crate) id: Uuid,
    /// His word for this question: the same one is the same batch.
    pub(crate) key: &'b str,
    /// The SHA-256 of what he asks, in hex.
    pub(crate) body: &'b str,
    pub(crate) name: &'b str,
    pub(crate) options: &'b Value,
    /// The folder that has its rows.
    pub(crate) keeper: Uuid,
    pub(crate) entries: u64,
    /// Whose numbers call in it.
    pub(crate) tenants: &'b [TenantId],
}

/// Who has a batch in hand: the folder that has its rows, and the node that runs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hand {
    pub(crate) id: Uuid,
    pub(crate) keeper: Uuid,
    /// `None`: it is not listed.
    pub(crate) node: Option<Uuid>,
}

/// The row of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchRow {
    pub(crate) id: Uuid,
    pub(crate) client_name: String,
    pub(crate) body: String,
    pub(crate) name: String,
    pub(crate) options: Value,
    pub(crate) keeper: Uuid,
    pub(crate) node: Option<Uuid>,
    pub(crate) state: BatchState,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) message: Option<String>,
    pub(crate) entries: u64,
    pub(crate) done: u64,
    /// The summary of its run, as JSON.
    pub(crate) summary: Value,
    pub(crate) created_at: Option<DateTime<Utc>>,
    pub(crate) begun_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// Whether it has not ended, and its node has said nothing of it for [`SILENT`].
    pub(crate) is_silent: bool,
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchState {
    /// It waits for its node.
    Accepted,
    /// Its node runs it, or did when it ended itself.
    Running,
    /// Every entry has a result.
    Done,
    /// Some entries have none.
    Left,
    /// It was cancelled before all had one.
    Cancelled,
    /// It could not be gone on with.
    Failed,
}

impl BatchState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Done => "done",
            Self::Left => "left",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// A word that is none of these may be a later version's, so nothing is done about it.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "accepted" => Self::Accepted,
            "running" => Self::Running,
            "done" => Self::Done,
            "left" => Self::Left,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    /// Whether its node has it in hand, or will.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Accepted | Self::Running)
    }
}

/// How a batch is to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Nobody else is called.
    Stop,
    /// Those who are being called are hung up on, too.
    End,
}

impl Cancel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::End => "end",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "stop" => Some(Self::Stop),
            "end" => Some(Self::End),
            _ => None,
        }
    }
}

/// Whose batches somebody may see.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchesOf {
    /// Those of these tenants and of no other. `None`: of all.
    pub(crate) tenants: Option<Vec<TenantId>>,
    /// Those that this client asked for.
    pub(crate) client: Option<Uuid>,
}

/// How far a run is, as its node writes it down.
pub(crate) struct BatchProgress<'p> {
    pub(crate) entries: u64,
    pub(crate) done: u64,
    pub(crate) summary: &'p Value,
}

/// The rows of batches.
#[async_trait]
pub(crate) trait BatchRows: Send + Sync + 'static {
    /// Adds a row. `false`: the client has one under this key.
    async fn insert_batch(&self, behalf: &Behalf, new: &NewBatch<'_>) -> Result<bool, StoreError>;

    /// The batch of a client under a key of his.
    async fn batch_by_key(&self, client: Uuid, key: &str) -> Result<Option<BatchRow>, StoreError>;

    /// A batch, if it may be seen.
    async fn batch(&self, of: &BatchesOf, id: Uuid) -> Result<Option<BatchRow>, StoreError>;

    /// So many batches, the newest first, that came before this one.
    async fn batch_page(
        &self,
        of: &BatchesOf,
        before: Option<Uuid>,
        most: usize,
    ) -> Result<Vec<BatchRow>, StoreError>;

    /// Has a batch that is open cancelled, or all of them, and says how many.
    async fn cancel_batches(
        &self,
        behalf: &Behalf,
        of: &BatchesOf,
        id: Option<Uuid>,
        how: Cancel,
    ) -> Result<u64, StoreError>;

    /// Has a batch that has ended gone on with. `false`: there is none with something left.
    async fn resume_batch(
        &self,
        behalf: &Behalf,
        of: &BatchesOf,
        id: Uuid,
    ) -> Result<bool, StoreError>;

    /// The open batches of a keeper, the oldest first.
    async fn open_batches(&self, keeper: Uuid) -> Result<Vec<BatchRow>, StoreError>;

    /// Begins to run a batch that is open, and that no other process has in hand. `false`: it is not so.
    async fn take_batch(&self, hand: Hand) -> Result<bool, StoreError>;

    /// Says that a batch which may be taken waits for its turn.
    async fn wait_batch(&self, hand: Hand) -> Result<(), StoreError>;

    /// Says that a batch that was taken is in hand. `None`: it is not any more, or it is not open; else how
    /// it is to be cancelled.
    async fn beat_batch(
        &self,
        hand: Hand,
        progress: Option<BatchProgress<'_>>,
    ) -> Result<Option<Option<Cancel>>, StoreError>;

    /// Says that a batch that stays open is not in hand any more.
    async fn release_batch(&self, hand: Hand) -> Result<(), StoreError>;

    /// Ends a batch that is open, and that no other process has in hand. `false`: it is not so.
    async fn end_batch(
        &self,
        hand: Hand,
        state: BatchState,
        message: Option<&str>,
        progress: Option<BatchProgress<'_>>,
    ) -> Result<bool, StoreError>;

    /// Every batch that a keeper has the rows of.
    async fn kept_batches(&self, keeper: Uuid) -> Result<Vec<Uuid>, StoreError>;

    /// Removes the rows of batches that ended longer ago than this.
    async fn forget_batches(&self, older_than: Duration) -> Result<u64, StoreError>;
}

/// After what time without a word of its node a batch counts as interrupted, in seconds.
pub(super) const SILENT: f64 = 15.0;
