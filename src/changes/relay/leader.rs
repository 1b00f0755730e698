//! The leader tells what each of its looks found, and ceases to lead as soon as anything goes wrong.
//!
//! **Invariant:** a look begins only after the message of the look before it was acknowledged over the
//! same connection. An error ends the epoch; nothing of it is told afterwards.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::evidence::Epoch;
use super::message::Message;
use super::stream::{Stream, StreamError};
use super::{Relay, RelayRole};
use crate::keyring::KeyError;
use crate::store::{News, Position, Reach};

/// What it takes to lead.
pub(super) struct Leading {
    pub(super) stream: Stream,
    pub(super) epoch: Epoch,
    /// The last message that was told.
    pub(super) number: u64,
    /// Which database the messages are about.
    pub(super) about: Vec<u8>,
}

/// Why an epoch ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum EpochEnded {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("no key can seal what is told: {0}")]
    Key(#[from] KeyError),
    #[error("there is no LIVEKIT_SECRET_ENCRYPTION_KEY to seal what is told")]
    NoKey,
    #[error("what this node reads cannot be compared with what others read: it is a replica")]
    Replica,
}

impl Relay {
    /// A look of this node has been applied. If it leads, others are told, which this waits for.
    pub(in crate::changes) async fn looked(
        &self,
        before: Option<Position>,
        after: Option<Position>,
        news: &News,
    ) {
        self.looked.send_replace(after.clone());
        if !self.leads_now() {
            return;
        }
        let mut leading = self.leading.lock().await;
        let Some(leader) = leading.as_mut() else { return };
        let told = match before.zip(after) {
            Some((before, after)) => self.tell(leader, before, after, news).await,
            None => Err(EpochEnded::Replica),
        };
        if let Err(why) = told {
            *leading = None;
            self.end_epoch(&why.to_string());
        }
    }

    /// The change log cannot be read: whoever can is to lead.
    pub(in crate::changes) async fn could_not_look(&self) {
        if self.leads_now() {
            *self.leading.lock().await = None;
            self.end_epoch("the change log cannot be read");
        }
    }

    /// How long the leader waits between two looks; others do not wait for it. It begins with two of them
    /// at once, which is as many as followers need.
    pub(in crate::changes) fn wait_of_leader(&self) -> Option<Duration> {
        if !self.leads_now() {
            return None;
        }
        let begins = self
            .leading
            .try_lock()
            .is_ok_and(|leading| leading.as_ref().is_some_and(|leader| leader.number < AT_ONCE));
        Some(if begins { Duration::ZERO } else { self.interval() })
    }

    /// Leads from now on.
    pub(super) async fn lead(&self, leading: Leading) {
        let epoch = leading.epoch.number;
        *self.leading.lock().await = Some(leading);
        self.leads.store(true, Ordering::Release);
        self.become_one(RelayRole::Leader);
        tracing::info!(epoch, "this node tells the others of changes");
    }

    /// Leads no more, if it did: somebody else does, or it begins anew.
    pub(super) async fn cease(&self) {
        *self.leading.lock().await = None;
        self.leads.store(false, Ordering::Release);
        if self.role() == RelayRole::Leader {
            self.become_one(RelayRole::Alone);
        }
    }

    fn end_epoch(&self, why: &str) {
        tracing::warn!(why, "this node tells the others of changes no more");
        self.leads.store(false, Ordering::Release);
        self.note(Some(why.to_owned()));
        self.become_one(RelayRole::Alone);
        self.ended.notify_one();
    }

    async fn tell(
        &self,
        leader: &mut Leading,
        before: Position,
        after: Position,
        news: &News,
    ) -> Result<(), EpochEnded> {
        let ring = (self.ring)().ok_or(EpochEnded::NoKey)?;
        leader.number += 1;
        let message = Message {
            epoch: leader.epoch,
            number: leader.number,
            before,
            after,
            changes: news.changes.clone(),
            is_whole: news.reach == Reach::Complete,
            ages: news.ages.clone(),
            looked_at: self.clock.unix_time(),
            standbys: self.reports.choose(self.id),
            census: self.census(),
        };
        let sealed = message.seal(&ring, &leader.about, self.clock.unix_seconds())?;
        Ok(leader.stream.tell(&sealed).await?)
    }
}

/// With how many looks a leader begins: the second one proves something.
const AT_ONCE: u64 = 2;
