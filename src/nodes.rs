//! The nodes of a database: every process that resolves from it, and what each has seen.
//!
//! A node keeps a row of its own in `trunkline_nodes`, and counts until `MAX_STALE` after its last sign
//! of life, since it may go on answering for so long. One that may not write there answers as well as
//! any other; it is *unlisted*, and says so.
//!
//! **Invariant:** a change counts as seen by a node only if the node has applied it.

mod metrics;
mod registration;
mod schedule;
#[cfg(feature = "relay")]
mod told;
#[cfg(feature = "server")]
mod written;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) use self::registration::{NodeFacts, NodeIdentity, Registration};
#[cfg(feature = "relay")]
pub(crate) use self::told::write_told;
#[cfg(feature = "server")]
pub(crate) use self::written::{Here, WrittenSeen};
use crate::store::{ChangePlace, NodeRows, OpenStore, StoreError};
pub use crate::store::{Node, NodeState, UnlistedNode};

/// Reads who else resolves from a database. Cloning shares its connections.
///
/// ```no_run
/// use std::time::Duration;
///
/// use trunkline::Settings;
/// use trunkline::nodes::Nodes;
/// use trunkline::store::OpenStore;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::from_env()?;
/// let database = settings.database.as_ref().expect("it is named");
/// let database = OpenStore::new(database, &settings.tuning);
/// let nodes = Nodes::of(&database);
/// for node in nodes.list().await? {
///     println!("{} on {}, {:?} ago", node.name, node.host, node.age);
/// }
/// let change = database.change_log().newest_change().await?;
/// let seen = nodes.seen_by(change, Duration::from_secs(1)).await?;
/// println!("seen by {} of {} nodes", seen.seen, seen.of);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Nodes {
    database: OpenStore,
    rows: Arc<dyn NodeRows>,
}

/// How many nodes have seen a change.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SeenBy {
    /// How many have applied it.
    pub seen: usize,
    /// How many count.
    pub of: usize,
    /// Those that count and have not applied it, as far as they have told.
    pub behind: Vec<Node>,
    /// For how long this was waited for.
    pub after: Duration,
}

/// Why it cannot be told who has seen a change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change log has no such change.
    #[error(
        "the change log has no change {change}, and goes up to {newest}: it was never committed, or \
         is not yet"
    )]
    NoSuchChange {
        /// Which one.
        change: i64,
        /// The newest one there is.
        newest: i64,
    },
}

impl Nodes {
    /// The nodes of this database.
    #[must_use]
    pub fn of(database: &OpenStore) -> Self {
        Self { database: database.clone(), rows: database.node_rows() }
    }

    /// The nodes that count, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotMigrated`] where the table is missing, and as of any statement.
    pub async fn list(&self) -> Result<Vec<Node>, StoreError> {
        self.rows.nodes().await
    }

    /// Programs that are connected as nodes are and have no row: nodes without the right to write one,
    /// those of an older database, and commands that run at this moment. Of a Postgres that is reached
    /// directly, and by name: one with the name of a listed node is not told apart from it. None, of an
    /// SQLite file.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as of any statement.
    pub async fn unlisted(&self) -> Result<Vec<UnlistedNode>, StoreError> {
        self.database.unlisted_nodes().await
    }

    /// Waits until every node that counts has seen a change, by its place in the change log, for
    /// `within` at the most. Nodes tell of what they have applied within half a second of it.
    ///
    /// A change that was pruned from the log has been seen by whoever has looked since then.
    ///
    /// # Errors
    ///
    /// [`SeenError::NoSuchChange`] if there is none by then either.
    pub async fn seen_by(&self, change: i64, within: Duration) -> Result<SeenBy, SeenError> {
        let began = Instant::now();
        let mut place = self.rows.find_change(change).await?;
        loop {
            let after = began.elapsed();
            if let ChangePlace::Missing { newest } = place {
                if after >= within {
                    return Err(SeenError::NoSuchChange { change, newest });
                }
                place = self.rows.find_change(change).await?;
            } else {
                let nodes = self.rows.nodes_and_change(change).await?;
                let of = nodes.len();
                let behind = nodes.into_iter().filter(|(_, seen)| !seen).map(|(node, _)| node);
                let behind: Vec<_> = behind.collect();
                if behind.is_empty() || after >= within {
                    return Ok(SeenBy { seen: of - behind.len(), of, behind, after });
                }
            }
            sleep(LOOK.min(within.saturating_sub(began.elapsed()))).await;
        }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Nodes").field("kind", &self.database.kind()).finish_non_exhaustive()
    }
}

/// So many names that a person reads them.
pub(crate) fn names(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// How often is looked who has seen a change.
const LOOK: Duration = Duration::from_millis(20);
/// How many names a sentence has.
const NAMED: usize = 10;
