//! Keeps the row of this node fresh, and takes it away at the end.
//!
//! An id is random and of this run of the process. Yet a machine that was copied while it ran has the
//! id of its original. So a row counts its writes, and is written only by who knows the count: of two
//! processes with one id, the second one to write finds another count, and takes an id of its own. A
//! write whose outcome is not known may have counted, or not; both are then accepted.
//!
//! **Invariant:** what the row says was applied had been applied when it was written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::metrics::NodesCounted;
use super::schedule::{after_change, after_failure, until_next, while_unlisted};
#[cfg(feature = "relay")]
use super::told::ToldRow;
use crate::backoff::dice;
use crate::changes::ChangeSource;
#[cfg(feature = "relay")]
use crate::changes::Relay;
use crate::rollout::Counts;
use crate::store::{NodeReport, NodeRows, NodeWritten, OpenStore, StoreError};

/// What a node is called, which stays as it is.
pub(crate) struct NodeIdentity {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) program: String,
    pub(crate) lease: Duration,
    pub(crate) max_stale: Duration,
}

/// How a node is at present.
pub(crate) struct NodeFacts {
    /// The ids of the keys of its ring, with commas between them.
    pub(crate) keys: String,
    /// The fingerprint of its settings.
    pub(crate) settings: Arc<str>,
    pub(crate) hearing: ChangeSource,
    pub(crate) cached: usize,
    /// The calls of those inside of the rollout, since the start of the process.
    pub(crate) counts: Counts,
}

/// The row of one node.
pub(crate) struct Registration {
    rows: Arc<dyn NodeRows>,
    identity: NodeIdentity,
    counted: NodesCounted,
    state: Mutex<State>,
    news: Notify,
    #[cfg(feature = "relay")]
    relay: Option<Arc<Relay>>,
}

#[derive(Default)]
struct State {
    row: Option<Row>,
    /// Why there is none.
    unlisted: Option<String>,
}

/// A row that may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    id: Uuid,
    /// How often it has been written, at the least and at the most.
    refreshes: (i64, i64),
    /// Whether it is known to have been there.
    is_known: bool,
    /// What had been counted when it began: it tells what came since.
    counted_before: Counts,
}

impl Registration {
    pub(crate) fn new(database: &OpenStore, identity: NodeIdentity) -> Self {
        Self {
            rows: database.node_rows(),
            identity,
            counted: NodesCounted::new(),
            state: Mutex::default(),
            news: Notify::new(),
            #[cfg(feature = "relay")]
            relay: None,
        }
    }

    /// Its row is told over this relay while it has no connection.
    #[cfg(feature = "relay")]
    pub(crate) fn over(mut self, relay: Option<Arc<Relay>>) -> Self {
        self.relay = relay;
        self
    }

    /// `NODE_NAME`.
    pub(crate) fn name(&self) -> &str {
        &self.identity.name
    }

    /// Why this node is not listed. `None`: it is, or nobody knows yet.
    pub(crate) fn unlisted(&self) -> Option<String> {
        self.state().unlisted.clone()
    }

    /// The id of its row, if it is known to be there.
    pub(crate) fn row(&self) -> Option<Uuid> {
        self.state().row.filter(|row| row.is_known).map(|row| row.id)
    }

    /// Has the row written soon, since what it tells has changed.
    pub(crate) fn tell_news(&self) {
        self.news.notify_one();
    }

    /// Keeps the row fresh for as long as it is polled, or until there are no facts any more.
    pub(crate) async fn keep(
        &self,
        mut applied: watch::Receiver<Option<String>>,
        facts: impl Fn() -> Option<NodeFacts>,
    ) {
        // Then the first row says what was applied, and goes over the connection of the looks.
        timeout(FIRST_LOOK, applied.wait_for(Option::is_some)).await.ok();
        let mut forgot: Option<Instant> = None;
        let mut is_due = true;
        loop {
            let Some(facts) = facts() else { return };
            let position = applied.borrow_and_update().clone();
            let report = self.report(&facts, position.as_deref());
            let written = match self.tell(&report) {
                Some(told) => Ok(told),
                None => self.write(&report).await,
            };
            if is_due {
                self.look_around(&mut forgot, written.is_ok()).await;
            }
            let (wait, last) = (self.until_next(written), Instant::now());
            let news = async {
                tokio::select! {
                    // While it may not write, a change is no reason to try.
                    Ok(()) = applied.changed(), if self.unlisted().is_none() => {}
                    () = self.news.notified() => {}
                }
                sleep(after_change(last.elapsed(), dice())).await;
            };
            is_due = tokio::select! {
                () = sleep(wait) => true,
                () = news => false,
            };
        }
    }

    /// Takes the row away: this node is about to end.
    pub(crate) async fn leave(&self) {
        let Some(row) = self.state().row.take() else { return };
        match timeout(TO_LEAVE, self.rows.end_node(row.id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the row of this node stays"),
            Err(_) => tracing::debug!("the row of this node stays: the database did not answer"),
        }
    }

    fn report<'r>(&'r self, facts: &'r NodeFacts, applied: Option<&'r str>) -> NodeReport<'r> {
        let NodeIdentity { name, host, program, lease, max_stale } = &self.identity;
        NodeReport {
            name,
            host,
            program,
            keys: &facts.keys,
            settings: &facts.settings,
            hearing: facts.hearing.as_str(),
            lease: *lease,
            max_stale: *max_stale,
            applied,
            cached: facts.cached,
            counts: facts.counts,
        }
    }

    /// Has the leader of the relay write the row, if this node follows it. Whether he did is not known.
    #[cfg(feature = "relay")]
    fn tell(&self, report: &NodeReport<'_>) -> Option<NodeWritten> {
        let relay = self.relay.as_ref().filter(|relay| relay.follows())?;
        let mut state = self.state();
        let row = state.row.as_mut().filter(|row| row.is_known)?;
        let refreshes = row.refreshes.1 + 1;
        let report = report.counting_from(row.counted_before);
        relay.tell_row(ToldRow::new(row.id, refreshes, &report).to_json()?);
        row.refreshes.1 = refreshes;
        // The clock of the database is not known either.
        Some(NodeWritten { refreshes, clock: f64::NAN })
    }

    #[cfg(not(feature = "relay"))]
    #[expect(clippy::unused_self, reason = "there is nobody to tell")]
    fn tell(&self, _: &NodeReport<'_>) -> Option<NodeWritten> {
        None
    }

    /// Writes the row, and begins another one where it is not this node's any more.
    async fn write(&self, report: &NodeReport<'_>) -> Result<NodeWritten, StoreError> {
        let known = self.state().row;
        if let Some(mut row) = known {
            let report = report.counting_from(row.counted_before);
            let refreshed = self.rows.refresh_node(row.id, &report, row.refreshes).await;
            // Where the answer was lost, it may have counted.
            row.refreshes.1 += 1;
            if let Some(written) = refreshed.transpose() {
                return self.note(row, written);
            }
            if row.is_known {
                tracing::warn!(
                    id = %row.id,
                    "the row of this node is gone, or another process has its id; it takes a new id"
                );
            }
        }
        // Written down before it is asked for, so that it is found again if the answer is lost.
        let (id, counted_before) = (Uuid::new_v4(), report.counts);
        let row = Row { id, refreshes: (1, 1), is_known: false, counted_before };
        self.state().row = Some(row);
        let begun = self.rows.begin_node(row.id, &report.counting_from(counted_before)).await;
        self.note(row, begun)
    }

    /// Takes note of what became of a write.
    fn note(
        &self,
        mut row: Row,
        written: Result<NodeWritten, StoreError>,
    ) -> Result<NodeWritten, StoreError> {
        let why = written.as_ref().err().and_then(why_unlisted);
        let mut state = self.state();
        if let Ok(written) = &written {
            row.refreshes = (written.refreshes, written.refreshes);
            row.is_known = true;
        }
        if written.is_ok() || why.is_some() {
            match (&state.unlisted, &why) {
                (None, Some(why)) => {
                    tracing::warn!(
                        why,
                        "this node is not listed among the nodes; it answers all the same"
                    );
                }
                (Some(_), None) => tracing::info!("this node is listed among the nodes"),
                _ => {}
            }
            self.counted.listed(why.is_none());
            state.row = why.is_none().then_some(row);
            state.unlisted = why;
        } else {
            state.row = Some(row);
        }
        written
    }

    /// Counts the nodes, and now and then removes the rows of those that are long gone.
    async fn look_around(&self, forgot: &mut Option<Instant>, listed: bool) {
        #[cfg(feature = "relay")]
        if let Some(relay) = self.relay.as_ref().filter(|relay| relay.follows()) {
            relay.census().into_iter().for_each(|census| self.counted.counted(census));
            return;
        }
        match self.rows.count_nodes().await {
            Ok(Some(census)) => {
                self.counted.counted(census);
                #[cfg(feature = "relay")]
                self.relay.iter().for_each(|relay| relay.note_census(census));
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the nodes could not be counted"),
        }
        if listed && forgot.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            *forgot = Some(Instant::now());
            match self.rows.forget_nodes().await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "nodes that are long gone were removed"),
                Err(error) => tracing::debug!(%error, "nodes that are long gone stay"),
            }
        }
    }

    fn until_next(&self, written: Result<NodeWritten, StoreError>) -> Duration {
        match written {
            Ok(written) => until_next(written.clock, dice()),
            Err(_) if self.unlisted().is_some() => while_unlisted(dice()),
            Err(error) => {
                tracing::debug!(%error, "the row of this node could not be written");
                after_failure(dice())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a node cannot be listed, if that is not for a moment only.
fn why_unlisted(error: &StoreError) -> Option<String> {
    match error {
        StoreError::NotMigrated { .. } => {
            Some("the database has no table of nodes; run `trunkline db migrate`".to_owned())
        }
        error => error.may_not_write().then(|| error.to_string()),
    }
}

/// How long a node that began waits for its first look at the change log. One that cannot read it is
/// listed all the same.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How long a node that ends tries to say so.
const TO_LEAVE: Duration = Duration::from_secs(1);
const FORGET_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
