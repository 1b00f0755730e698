//! Follows the stream over one connection, and decides what this node does for the relay.
//!
//! A node begins as one that reads the change log itself, and reads the stream beside that. Once the
//! stream proves by itself that nothing was missed, it stops reading the log. It begins again where the
//! stream is silent, has a gap or proves too little; and it leads where nobody does.
//!
//! **Invariant:** the lease is renewed by a message only once its changes are applied, and all that lies
//! before them was. From then on the change log is read from where the message ended.

use std::time::Duration;

use tokio::sync::{MutexGuard, watch};
use tokio::time::{Instant, sleep};

use super::evidence::{Epoch, Evidence};
use super::leader::Leading;
use super::message::{Message, SealedMessage};
use super::reports::Report;
use super::stream::{Entry, Id, Names, Reply, Stream, StreamError};
use super::{OwnReading, Relay, RelayRole};
use crate::backoff::dice;
use crate::clock::Moment;
use crate::store::{LogCursor, Position, Reach, StoreError};

/// Why a connection to the relay was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnded {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the database does not say which one it is: {0}")]
    Store(#[from] StoreError),
    #[error("it begins anew, since it led and does not any more")]
    Led,
    #[error(
        "nobody tells anything, and this node cannot: it does not read the change log of a primary"
    )]
    Silent,
}

/// Up to where the streams have been read.
pub(super) struct Places {
    pub(super) changes: Id,
    pub(super) reports: Id,
}

/// What is known over one connection.
pub(super) struct Session<'r> {
    relay: &'r Relay,
    reader: OwnReading<'r>,
    about: Vec<u8>,
    names: Names,
    evidence: Evidence,
    /// The newest epoch. What is told in an older one comes from a leader that has not noticed yet.
    epoch: Epoch,
    /// Up to where everything has been applied, by looks of this node or by messages.
    here: Option<Position>,
    /// Where looks of this node end.
    own: watch::Receiver<Option<Position>>,
    /// The place of this node in the log, while it follows: nobody else reads it then.
    log: Option<MutexGuard<'r, LogCursor>>,
    /// Which of the standbys it is.
    rank: Option<usize>,
    /// When a message was last received, and how long the next one may take.
    heard: Instant,
    patience: Duration,
    /// When it last told something of itself.
    reported: Option<Instant>,
}

/// How where a message ends lies to what this node has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// All up to there has been applied now, and nothing that lies behind it.
    Now,
    /// More has been applied than that.
    Before,
    /// Something before it is missing, or it cannot be compared.
    NotYet,
}

impl<'r> Session<'r> {
    pub(super) fn new(relay: &'r Relay, reader: OwnReading<'r>, about: Vec<u8>) -> Self {
        let mut session = Self {
            relay,
            reader,
            names: Names::of(&about),
            about,
            evidence: Evidence::default(),
            epoch: Epoch { number: 0, leader: 0 },
            here: None,
            own: relay.own_looks(),
            log: None,
            rank: None,
            heard: Instant::now(),
            patience: Duration::ZERO,
            reported: None,
        };
        session.wait_anew();
        session
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Where to read on from, given the last message that is there to a read that was sent then.
    pub(super) fn begin(&mut self, last: Option<Entry>, sent_at: Moment) -> Id {
        self.evidence.whole(sent_at);
        let Some((id, sealed)) = last else { return Id::beginning() };
        if let Some(message) = self.open(sealed.as_ref()) {
            self.epoch.number = message.epoch.number;
        }
        id
    }

    /// Takes a reply to a read that was sent then.
    pub(super) async fn take(&mut self, reply: Reply, sent_at: Moment, places: &mut Places) {
        for entry in reply.changes {
            places.changes = self.entry(entry).await;
        }
        if reply.is_whole {
            self.evidence.whole(sent_at);
        }
        for (id, sealed) in reply.reports {
            self.heard_of(sealed.as_ref());
            places.reports = id;
        }
    }

    fn open(&self, sealed: Option<&SealedMessage>) -> Option<Message> {
        let ring = (self.relay.ring)()?;
        Message::open(&ring, &self.about, sealed?)
    }

    /// Takes an entry of the stream, and returns its place.
    async fn entry(&mut self, (id, sealed): Entry) -> Id {
        match self.open(sealed.as_ref()) {
            Some(message) => self.message(message).await,
            None => {
                self.relay.counted.unreadable.increment(1);
                if sealed.is_some() {
                    // Somebody leads whose key this node does not have. To lead itself would help nobody.
                    self.wait_anew();
                }
                let why = "what is told is sealed under a key that this node does not have";
                self.relay.note(Some(why.to_owned()));
            }
        }
        id
    }

    async fn message(&mut self, message: Message) {
        if message.epoch < self.epoch {
            return;
        }
        let is_mine = message.epoch.leader == self.relay.id.as_u128();
        if message.epoch > self.epoch {
            self.epoch = message.epoch;
            if !is_mine {
                self.relay.cease().await;
            }
        }
        if !is_mine {
            self.relay.reports.chosen_by_another(&message.standbys);
            if let Some(census) = message.census {
                self.relay.note_census(census);
            }
        }
        self.rank = message.standbys.iter().position(|&id| id == self.relay.id);
        self.wait_anew();
        if is_mine {
            return;
        }
        self.relay.counted.heard.increment(1);
        let proof = self.evidence.message(message.epoch, message.number);
        if self.rank.is_some() {
            // It reads the log itself, and would only drop twice what it hears of twice.
            self.stand_by();
            return;
        }
        let reached = self.apply(message);
        let proven = proof.filter(|_| reached == Reached::Now);
        let is_fresh = proven.is_some_and(|at| self.renew(at));
        self.take_a_part(is_fresh, reached).await;
    }

    /// Applies a message.
    fn apply(&mut self, message: Message) -> Reached {
        self.catch_up_with_own_looks();
        if message.is_whole && self.here.as_ref().is_some_and(|here| here.reaches(&message.after)) {
            let is_here = self.here.as_ref() == Some(&message.after);
            return if is_here { Reached::Now } else { Reached::Before };
        }
        let has_all_before = self.here.as_ref().is_some_and(|here| here.reaches(&message.before));
        let ages = message.ages_at(self.relay.clock.unix_time());
        let Message { after, changes, is_whole, .. } = message;
        let reach = if is_whole || !has_all_before { Reach::Complete } else { Reach::Gap };
        self.reader.applier.apply(&changes, &ages, after.newest(), reach);
        let is_newer = !is_whole || self.here.as_ref().is_none_or(|here| after.reaches(here));
        if !has_all_before || !is_newer {
            self.relay.counted.gaps.increment(1);
            return Reached::NotYet;
        }
        self.note(&after, !changes.is_empty() || !is_whole);
        if let Some(log) = &mut self.log {
            log.go_on_from(after.clone());
        }
        self.here = Some(after);
        Reached::Now
    }

    /// Everything up to there has been applied. Those who listen have to read for themselves what it was.
    fn note(&self, after: &Position, news: bool) {
        let applied = &self.reader.applier.applied;
        applied.note(after.snapshot(), news);
        #[cfg(feature = "server")]
        if news {
            applied.listeners.tell(Vec::new(), false, || Some(after.to_string()));
        }
    }

    /// Renews the lease from that moment. Whether it will do until the next message comes.
    fn renew(&self, proven: Moment) -> bool {
        let relay = self.relay;
        let fence = &self.reader.applier.cache.fence;
        if !fence.lease_is_live(relay.clock.now()) {
            // The database answers whoever leads. What could not be opened while it was away may be waited
            // for in vain.
            relay.store.give_up_connections();
        }
        fence.renew_lease(proven.after(relay.lease));
        relay.clock.now().since(proven) + 2 * relay.interval() <= relay.lease
    }

    /// Reads the log or follows, as is due after a message. The first one of a leader proves nothing, and
    /// is no reason to read while the lease lasts.
    async fn take_a_part(&mut self, is_fresh: bool, reached: Reached) {
        let soon = self.relay.clock.now().after(self.relay.interval());
        let may_go_on =
            reached != Reached::NotYet && self.reader.applier.cache.fence.lease_is_live(soon);
        match (is_fresh, self.log.is_some()) {
            (true, false) => self.follow().await,
            (_, true) if !may_go_on => self.read_again().await,
            _ => {}
        }
        if is_fresh {
            self.relay.note(None);
        }
    }

    /// Reads the log, to lead where the leader is silent.
    fn stand_by(&mut self) {
        if self.log.take().is_some() {
            self.relay.looked.send_replace(None);
        }
        self.relay.become_one(RelayRole::Standby);
        self.relay.note(None);
    }

    /// Stops reading the log.
    async fn follow(&mut self) {
        self.relay.become_one(RelayRole::Follower);
        let mut log = self.reader.log.lock().await;
        self.catch_up_with_own_looks();
        if let Some(here) = &self.here {
            log.go_on_from(here.clone());
        }
        self.log = Some(log);
    }

    /// Reads the log again, from where the last message ended. Not at the same moment as all others.
    async fn read_again(&mut self) {
        sleep((self.relay.lease / 4).mul_f64(dice())).await;
        self.log = None;
        self.relay.looked.send_replace(None);
        self.relay.become_one(RelayRole::Alone);
    }

    /// What this node has read itself since counts as well as what it was told.
    fn catch_up_with_own_looks(&mut self) {
        if self.log.is_some() || !self.own.has_changed().unwrap_or(false) {
            return;
        }
        if let Some(own) = self.own.borrow_and_update().as_ref()
            && self
                .here
                .as_ref()
                .is_none_or(|here| own.reaches(here) || !own.is_of_the_log_of(here))
        {
            self.here = Some(own.clone());
        }
    }

    /// Nobody has told anything for so long that somebody else should.
    pub(super) async fn silence(&mut self) -> Result<(), SessionEnded> {
        self.evidence.lost();
        if self.log.is_some() {
            self.read_again().await;
            // Somebody who reads the log already is to lead first.
            self.patience += self.relay.lease.mul_f64(dice());
            return Ok(());
        }
        if self.relay.leads_now() {
            self.wait_anew();
            return Ok(());
        }
        let is_up_to_date = self.reader.applier.cache.fence.lease_is_live(self.relay.clock.now());
        if self.relay.looked.borrow().is_none() || !is_up_to_date {
            if self.heard.elapsed() > GIVE_UP {
                return Err(SessionEnded::Silent);
            }
            self.patience = self.heard.elapsed() + self.relay.interval();
            return Ok(());
        }
        self.lead().await
    }

    async fn lead(&mut self) -> Result<(), SessionEnded> {
        let relay = self.relay;
        let stream = Stream::open(&relay.url, &self.names, relay.lease / 8).await?;
        self.epoch = Epoch { number: self.epoch.number + 1, leader: relay.id.as_u128() };
        let (epoch, about) = (self.epoch, self.about.clone());
        relay.lead(Leading { stream, epoch, number: 0, about }).await;
        relay.note(None);
        self.reader.doorbell.wake();
        self.wait_anew();
        Ok(())
    }

    /// Tells what there is to tell of this node.
    pub(super) async fn report(&mut self, stream: &mut Stream) -> Result<(), SessionEnded> {
        let (reports, stands_by) = (&self.relay.reports, self.rank.is_some());
        let Some(report) = reports.due(self.relay.id, stands_by, self.reported) else {
            return Ok(());
        };
        let Some(ring) = (self.relay.ring)() else { return Ok(()) };
        let sealed = report.seal(&ring, &self.about, self.relay.clock.unix_seconds());
        match sealed {
            Ok(sealed) => stream.report(&sealed).await?,
            Err(error) => tracing::debug!(%error, "what this node is like could not be sealed"),
        }
        self.reported = Some(Instant::now());
        Ok(())
    }

    /// Another node has told something of itself.
    fn heard_of(&self, sealed: Option<&SealedMessage>) {
        let report = (self.relay.ring)().zip(sealed);
        let report = report.and_then(|(ring, sealed)| Report::open(&ring, &self.about, sealed));
        match report {
            Some(report) => self.relay.reports.heard(report),
            None => self.relay.counted.unreadable.increment(1),
        }
    }

    /// A message has come. Where the next one does not, the standbys lead in their order, then any node.
    fn wait_anew(&mut self) {
        let step = self.relay.lease / 20;
        let after_others = |rank: usize| step * u32::try_from(rank + 1).unwrap_or(u32::MAX);
        let turn = match self.rank {
            Some(rank) => after_others(rank),
            None if self.log.is_some() => after_others(MOST_STANDBYS),
            None => after_others(MOST_STANDBYS) + self.relay.lease.mul_f64(dice()),
        };
        self.heard = Instant::now();
        self.patience = self.relay.interval() * 2 + turn;
    }

    pub(super) fn until_silence(&self) -> Duration {
        self.patience.saturating_sub(self.heard.elapsed())
    }
}

/// How many nodes stand by.
pub(super) const MOST_STANDBYS: usize = 2;
/// How long nobody may tell anything until the connection is tried anew.
const GIVE_UP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
