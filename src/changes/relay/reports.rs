//! What nodes tell of themselves over the relay: that they are there, and what the row of each among the
//! nodes is to say. The leader hears it, has all rows written in one statement, and chooses who stands by.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::follower::MOST_STANDBYS;
use super::message::SealedMessage;
use crate::keyring::{KeyError, KeyRing};

/// What this node tells, and what it was told.
#[derive(Default)]
pub(super) struct Reports {
    state: Mutex<State>,
    is_told: Notify,
}

#[derive(Default)]
struct State {
    /// What the row of this node is to say next.
    row: Option<Box<RawValue>>,
    /// The newest row of each other node that is not written yet.
    rows: HashMap<Uuid, Box<RawValue>>,
    /// When each other node was last heard of.
    heard: HashMap<Uuid, Instant>,
    standbys: Vec<Uuid>,
}

/// What a node tells of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// Which node, by the id that it has for the relay.
    #[serde(rename = "i")]
    node: Uuid,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    row: Option<Box<RawValue>>,
}

impl Report {
    pub(super) fn seal(
        &self,
        ring: &KeyRing,
        about: &[u8],
        unix_seconds: u64,
    ) -> Result<SealedMessage, KeyError> {
        let bytes = serde_json::to_vec(self).expect("an id and JSON are JSON");
        let (key, text) = ring.seal_message(&purpose(about), &bytes, unix_seconds)?;
        Ok(SealedMessage { key, text })
    }

    pub(super) fn open(ring: &KeyRing, about: &[u8], sealed: &SealedMessage) -> Option<Self> {
        let bytes = ring.open_message(&purpose(about), sealed.key, &sealed.text)?;
        serde_json::from_slice(&bytes).ok()
    }
}

impl Reports {
    /// The row of this node is to say this.
    pub(super) fn tell(&self, row: Box<RawValue>) {
        self.state().row = Some(row);
    }

    /// What this node has to tell; its being there, if it is time for that.
    pub(super) fn due(&self, node: Uuid, stands_by: bool, last: Option<Instant>) -> Option<Report> {
        let row = self.state().row.take();
        let every = if stands_by { EVERY_OF_STANDBYS } else { EVERY };
        let is_due = row.is_some() || last.is_none_or(|last| last.elapsed() >= every);
        is_due.then_some(Report { node, row })
    }

    /// Another node has told this.
    pub(super) fn heard(&self, report: Report) {
        let mut state = self.state();
        state.heard.insert(report.node, Instant::now());
        if let Some(row) = report.row {
            state.rows.insert(report.node, row);
            self.is_told.notify_one();
        }
    }

    /// Waits for rows of others to write, and takes them.
    pub(super) async fn rows(&self) -> Vec<Box<RawValue>> {
        loop {
            let rows: Vec<_> = std::mem::take(&mut self.state().rows).into_values().collect();
            if !rows.is_empty() {
                return rows;
            }
            self.is_told.notified().await;
        }
    }

    /// Somebody else leads, and has chosen these. What was told while this node led is old.
    pub(super) fn chosen_by_another(&self, standbys: &[Uuid]) {
        let mut state = self.state();
        state.rows.clear();
        state.heard = standbys.iter().map(|&node| (node, Instant::now())).collect();
        standbys.clone_into(&mut state.standbys);
    }

    /// Who stands by while the node with this id leads: those who did, and others for those who are gone.
    pub(super) fn choose(&self, leader: Uuid) -> Vec<Uuid> {
        let mut state = self.state();
        state.heard.retain(|_, at| at.elapsed() < GONE_AFTER);
        let State { heard, standbys, .. } = &mut *state;
        let is_there = |at: &Instant| at.elapsed() < STANDBY_GONE_AFTER;
        let stood_by = standbys.clone();
        standbys.retain(|node| *node != leader && heard.get(node).is_some_and(is_there));
        let mut others: Vec<_> = heard.keys().copied().filter(|node| *node != leader).collect();
        others.retain(|node| !stood_by.contains(node));
        others.sort_unstable();
        standbys.extend(others);
        standbys.truncate(MOST_STANDBYS);
        // One that is gone is not chosen again before it says that it is there.
        heard.retain(|node, _| standbys.contains(node) || !stood_by.contains(node));
        standbys.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn purpose(about: &[u8]) -> Vec<u8> {
    [b"of nodes\0", about].concat()
}

/// How often a node says at least that it is there.
const EVERY: Duration = Duration::from_secs(10);
const EVERY_OF_STANDBYS: Duration = Duration::from_secs(1);
/// Who has missed two of them is gone.
const GONE_AFTER: Duration = Duration::from_secs(25);
const STANDBY_GONE_AFTER: Duration = Duration::from_millis(2500);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn there(node: u128) -> Report {
        Report { node: Uuid::from_u128(node), row: None }
    }

    fn chosen(reports: &Reports) -> Vec<u128> {
        reports.choose(Uuid::from_u128(1)).iter().map(Uuid::as_u128).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_stand_by_go_on_doing_so_until_they_are_gone() {
        let reports = Reports::default();
        assert_eq!(chosen(&reports), []);
        for node in [1, 9, 8] {
            reports.heard(there(node));
        }
        assert_eq!(chosen(&reports), [8, 9], "not the leader");
        for node in [5, 7] {
            reports.heard(there(node));
        }
        assert_eq!(chosen(&reports), [8, 9]);
        advance(STANDBY_GONE_AFTER / 2).await;
        reports.heard(there(9));
        advance(STANDBY_GONE_AFTER / 2).await;
        assert_eq!(chosen(&reports), [9, 5], "8 is gone");
        advance(GONE_AFTER).await;
        assert_eq!(chosen(&reports), []);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_next_keeps_those_who_stood_by() {
        let reports = Reports::default();
        reports.chosen_by_another(&[1, 6].map(Uuid::from_u128));
        reports.heard(there(2));
        assert_eq!(chosen(&reports), [6, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_tells_its_row_at_once_and_its_being_there_now_and_then() {
        let reports = Reports::default();
        let node = Uuid::from_u128(1);
        assert!(reports.due(node, false, None).is_some_and(|report| report.row.is_none()));
        let last = Some(Instant::now());
        assert!(reports.due(node, false, last).is_none());
        advance(EVERY_OF_STANDBYS).await;
        assert!(
            reports.due(node, false, last).is_none() && reports.due(node, true, last).is_some()
        );
        reports.tell(RawValue::from_string("{}".into()).unwrap());
        assert!(reports.due(node, false, last).is_some_and(|report| report.row.is_some()));
        assert!(reports.due(node, false, last).is_none(), "it is told once");
        advance(EVERY).await;
        assert!(reports.due(node, false, last).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn of_rows_the_newest_of_each_node_is_written() {
        let reports = Reports::default();
        for text in ["1", "2"] {
            let row = RawValue::from_string(text.into()).unwrap();
            reports.heard(Report { node: Uuid::from_u128(3), row: Some(row) });
        }
        let rows = reports.rows().await;
        assert_eq!(rows.iter().map(|row| row.get()).collect::<Vec<_>>(), ["2"]);
    }
}
