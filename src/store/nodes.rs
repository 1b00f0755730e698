//! The nodes of a database: what each tells of itself in a row of its own, and what is read of it.
//!
//! **Invariant:** every time in such a row is of the database's clock, so a node whose own clock is
//! wrong counts like any other.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::StoreError;
use crate::rollout::{Counts, NodeCounts};

/// A process that resolves, as it told of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// A random id, of this run of the process.
    pub id: Uuid,
    /// `NODE_NAME`, by which people know it.
    pub name: String,
    /// The machine that it runs on.
    pub host: String,
    /// Which program it is, such as `trunkline serve`.
    pub program: String,
    /// The version of the library in it.
    pub version: String,
    /// The ids of the keys of its ring; the first one seals.
    pub keys: Vec<String>,
    /// A fingerprint of the settings that all nodes must share:
    /// [`Settings::fingerprint`](crate::Settings::fingerprint).
    pub settings: String,
    /// By which way it learns of changes: a [`ChangeSource`](crate::ChangeSource) in one word.
    pub hearing: String,
    /// `LEASE`, in seconds.
    #[serde(serialize_with = "seconds")]
    pub lease: Duration,
    /// `MAX_STALE`, in seconds.
    #[serde(serialize_with = "seconds")]
    pub max_stale: Duration,
    /// What it has applied: the snapshot of its last look at the change log, or in an SQLite file the
    /// place in the log. `None`: it has not looked yet.
    pub applied: Option<String>,
    /// How many answers it has in memory.
    pub cached: u64,
    /// When it began, by the database's clock.
    pub since: Option<DateTime<Utc>>,
    /// How long ago its last sign of life was, in seconds, by the database's clock.
    #[serde(serialize_with = "seconds")]
    pub age: Duration,
    /// What that says.
    pub state: NodeState,
}

/// What the last sign of life of a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeState {
    /// It runs.
    Live,
    /// It has missed several signs of life, and may go on answering from memory.
    Silent,
}

impl NodeState {
    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
        }
    }

    pub(super) fn of(age: Duration) -> Self {
        if age < SILENT_AFTER { Self::Live } else { Self::Silent }
    }
}

/// A program that is connected as a node is, and has no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnlistedNode {
    /// The name in its `application_name`.
    pub name: String,
    /// The role that it logged in as.
    pub role: String,
    /// How many sessions it has.
    pub sessions: u64,
}

/// What a node tells of itself.
#[derive(Clone, Copy)]
pub(crate) struct NodeReport<'r> {
    pub(crate) name: &'r str,
    pub(crate) host: &'r str,
    pub(crate) program: &'r str,
    pub(crate) keys: &'r str,
    pub(crate) settings: &'r str,
    pub(crate) hearing: &'r str,
    pub(crate) lease: Duration,
    pub(crate) max_stale: Duration,
    pub(crate) applied: Option<&'r str>,
    pub(crate) cached: usize,
    /// The calls of those inside of the rollout.
    pub(crate) counts: Counts,
}

impl NodeReport<'_> {
    /// The same, with the calls that came after these.
    pub(crate) fn counting_from(self, before: Counts) -> Self {
        Self { counts: self.counts.since(before), ..self }
    }
}

/// What came of writing a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NodeWritten {
    /// How often the row has been written by now.
    pub(crate) refreshes: i64,
    /// Where the database's clock stands, in seconds.
    pub(crate) clock: f64,
}

/// How the nodes that count stand, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeCensus {
    pub(crate) live: u64,
    pub(crate) silent: u64,
    /// How many different key rings, fingerprints of settings and versions the live ones have.
    pub(crate) keys: u64,
    pub(crate) settings: u64,
    pub(crate) versions: u64,
}

/// What the change log knows of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangePlace {
    /// There is such a change.
    Logged,
    /// There was one, and it was pruned.
    Pruned,
    /// There is none: it was never committed, or is not yet.
    Missing {
        /// The newest one.
        newest: i64,
    },
}

/// The rows of the nodes.
#[async_trait]
pub(crate) trait NodeRows: Send + Sync + 'static {
    /// Begins a row.
    async fn begin_node(&self, id: Uuid, node: &NodeReport<'_>) -> Result<NodeWritten, StoreError>;

    /// Writes a row anew, if it has been written so often. `None`: it is not there, or somebody else
    /// has written it.
    async fn refresh_node(
        &self,
        id: Uuid,
        node: &NodeReport<'_>,
        refreshes: (i64, i64),
    ) -> Result<Option<NodeWritten>, StoreError>;

    /// Removes a row.
    async fn end_node(&self, id: Uuid) -> Result<(), StoreError>;

    /// Removes the rows of nodes that have not counted for a day.
    async fn forget_nodes(&self) -> Result<u64, StoreError>;

    /// The nodes that count.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;

    /// What those that count have told of the calls of those inside of the rollout.
    async fn node_counts(&self) -> Result<Vec<NodeCounts>, StoreError>;

    /// How they stand.
    async fn count_nodes(&self) -> Result<Option<NodeCensus>, StoreError>;

    /// What the change log knows of a change.
    async fn find_change(&self, seq: i64) -> Result<ChangePlace, StoreError>;

    /// The nodes that count, and whether each has applied a change that is, or was, in the log.
    async fn nodes_and_change(&self, seq: i64) -> Result<Vec<(Node, bool)>, StoreError>;
}

fn seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// A node writes its row every ten seconds.
const SILENT_AFTER: Duration = Duration::from_secs(30);
