//! Changes over a stream of Redis: for a fleet so large that not every node should ask Postgres.
//!
//! One node at a time *leads*: after each of its looks at the change log it tells the stream what it
//! found. Two *stand by*, and look at the log as any node does, so that one of them leads at once where
//! the leader is silent. All others *follow*: they read the stream, and hold no connection to Postgres.
//! Whoever cannot follow reads the change log himself, as without a relay; nothing else depends on it.
//!
//! **Invariant:** no clock of another node, and nothing that Redis says of time, is part of a lease.
//! `evidence.rs` has the argument. A message counts only for who has applied all that lies before it.

mod evidence;
mod follower;
mod leader;
mod message;
mod metrics;
mod reports;
mod stream;
mod taking_part;

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Notify, OnceCell, watch};
use tokio::time::timeout;
use uuid::Uuid;

use self::leader::Leading;
pub(super) use self::metrics::RelayCounted;
use self::reports::Reports;
use super::apply::Applier;
use super::doorbell::Doorbell;
use crate::clock::Clock;
use crate::keyring::KeyRing;
use crate::settings::RelayUrl;
use crate::store::{LogCursor, NodeCensus, Position, PostgresStore};

/// The relay, as one node takes part in it.
pub(crate) struct Relay {
    url: RelayUrl,
    /// Tells this run of the process from all other nodes.
    id: Uuid,
    store: Arc<PostgresStore>,
    /// Which database it is about, once that is known.
    about: OnceCell<Vec<u8>>,
    ring: Ring,
    clock: Arc<dyn Clock>,
    lease: Duration,
    role: watch::Sender<RelayRole>,
    /// Where the last look of this node itself ended, if others can compare that.
    looked: watch::Sender<Option<Position>>,
    leads: AtomicBool,
    leading: Mutex<Option<Leading>>,
    /// Notified when it ceases to lead.
    ended: Notify,
    reports: Reports,
    census: StdMutex<Option<NodeCensus>>,
    trouble: StdMutex<Option<String>>,
    counted: RelayCounted,
}

/// What of a node reads the change log while it does that itself.
#[derive(Clone, Copy)]
pub(super) struct OwnReading<'r> {
    /// Its place in the log. It is held by whoever reads.
    pub(super) log: &'r Mutex<LogCursor>,
    pub(super) doorbell: &'r Doorbell,
    pub(super) applier: &'r Applier,
}

/// The keys in force.
pub(crate) type Ring = Arc<dyn Fn() -> Option<Arc<KeyRing>> + Send + Sync>;

/// What a node does for the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RelayRole {
    /// It reads the change log, and tells the others.
    Leader,
    /// It reads the change log, to lead where the leader is silent.
    Standby,
    /// It learns of changes from the leader.
    Follower,
    /// It reads the change log, since it cannot follow, or not yet.
    Alone,
}

/// How a node stands to the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RelayHealth {
    /// What it does.
    pub role: RelayRole,
    /// Why it is alone.
    pub trouble: Option<String>,
}

impl RelayRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Leader, Self::Standby, Self::Follower, Self::Alone];

    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Standby => "standby",
            Self::Follower => "follower",
            Self::Alone => "alone",
        }
    }
}

impl Relay {
    pub(super) fn new(
        url: RelayUrl,
        store: Arc<PostgresStore>,
        ring: Ring,
        clock: Arc<dyn Clock>,
        lease: Duration,
        counted: RelayCounted,
    ) -> Self {
        counted.role(RelayRole::Alone);
        Self {
            url,
            id: Uuid::new_v4(),
            store,
            about: OnceCell::new(),
            ring,
            clock,
            lease,
            role: watch::Sender::new(RelayRole::Alone),
            looked: watch::Sender::new(None),
            leads: AtomicBool::new(false),
            leading: Mutex::default(),
            ended: Notify::new(),
            reports: Reports::default(),
            census: StdMutex::default(),
            trouble: StdMutex::default(),
            counted,
        }
    }

    /// What this node does, and why it is alone if it is.
    pub(crate) fn health(&self) -> RelayHealth {
        let (role, trouble) = (self.role(), self.trouble.lock());
        let trouble = trouble.unwrap_or_else(PoisonError::into_inner).clone();
        RelayHealth { role, trouble: trouble.filter(|_| role == RelayRole::Alone) }
    }

    fn role(&self) -> RelayRole {
        *self.role.borrow()
    }

    /// Whether this node leaves the database to others.
    pub(crate) fn follows(&self) -> bool {
        self.role() == RelayRole::Follower
    }

    /// Has the leader write the row of this node.
    pub(crate) fn tell_row(&self, row: Box<RawValue>) {
        self.reports.tell(row);
    }

    /// Waits for rows of other nodes that this one is to write, and takes them.
    pub(crate) async fn told_rows(&self) -> Vec<Box<RawValue>> {
        self.reports.rows().await
    }

    /// How the nodes stand, as the leader counted them last.
    pub(crate) fn census(&self) -> Option<NodeCensus> {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes were counted.
    pub(crate) fn note_census(&self, census: NodeCensus) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = Some(census);
    }

    /// Reads the change log whenever this node is to do that itself. What `read` holds is given back in
    /// between.
    pub(super) async fn while_it_reads_itself<F>(&self, read: impl Fn() -> F) -> Infallible
    where
        F: Future<Output = Infallible>,
    {
        loop {
            self.until_reads_itself(true).await;
            tokio::select! {
                never = read() => match never {},
                () = self.until_reads_itself(false) => {}
            }
        }
    }

    /// Waits until this node is to read the change log itself, or is not to.
    async fn until_reads_itself(&self, reads: bool) {
        // The sender is here, so this waits as long as it takes.
        let reads_now = |role: &RelayRole| (*role != RelayRole::Follower) == reads;
        let _ = self.role.subscribe().wait_for(reads_now).await;
    }

    /// Waits until this node seems to go on reading the log, so that a doorbell is worth a connection. One
    /// that has begun follows in a moment.
    pub(super) async fn until_it_reads_on(&self) {
        let has_a_part = |role: &RelayRole| matches!(role, RelayRole::Leader | RelayRole::Standby);
        timeout(self.lease, self.role.subscribe().wait_for(has_a_part)).await.ok();
    }

    /// Where looks of this node end, those before included.
    fn own_looks(&self) -> watch::Receiver<Option<Position>> {
        let mut looks = self.looked.subscribe();
        looks.mark_changed();
        looks
    }

    /// How often the leader tells something, whether there is news or not.
    ///
    /// What a follower proves is three of them old when it is proven, and four when it is proven anew;
    /// two and a bit more pass until a standby leads. All that, and the way there, is less than a lease.
    pub(super) fn interval(&self) -> Duration {
        self.lease * 3 / 20
    }

    fn become_one(&self, role: RelayRole) {
        let before = self.role.send_replace(role);
        if before != role {
            tracing::debug!(
                role = role.as_str(),
                before = before.as_str(),
                "this node's part in the relay"
            );
            self.counted.role(role);
        }
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn leads_now(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Relay")
            .field("url", &self.url)
            .field("role", &self.role())
            .finish_non_exhaustive()
    }
}
