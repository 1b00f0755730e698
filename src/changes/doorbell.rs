//! What the listener and the reader of the change log know of each other, and the lease.
//!
//! Looks at the log prove freshness, each by itself: whatever was committed before one was asked has
//! been applied. The doorbell (NOTIFY) only makes them prompt. It is proven once in each life of the
//! listener, by a notification that comes back; afterwards a change that a look found, and that nothing
//! was heard of, shows that it is deaf.
//!
//! Looks prove what they do only while the triggers are there that write the log. That is looked at by
//! an *audit*, which some looks are.
//!
//! **Invariant:** the lease is renewed only from the moment *before* the proof was asked for, and no
//! further than from the last audit.

use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::cache::Cache;
use crate::clock::Moment;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// The doorbell, and the lease that looks renew.
pub(crate) struct Doorbell {
    cache: Arc<Cache>,
    lease: Duration,
    /// When the last audit was asked for.
    audited: AtomicU64,
    /// Whether the triggers do not notify.
    is_muted: AtomicBool,
    wake_ups: Notify,
    /// How many notifications have come, of whatever kind.
    heard: AtomicU64,
    /// How many lives there have been.
    lives: AtomicU64,
    /// The life that is proven to hear; zero if there is none.
    proven: AtomicU64,
    /// The last life that was found deaf.
    deaf: watch::Sender<u64>,
    /// Whether the last look could be made.
    can_look: watch::Sender<bool>,
}

/// A life of the listener, which is one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life(u64);

/// What had been heard by some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The life that was proven to hear by then; zero if there was none.
    life: u64,
    notifications: u64,
}

impl Doorbell {
    pub(crate) fn new(cache: Arc<Cache>, lease: Duration) -> Self {
        Self {
            cache,
            lease,
            audited: AtomicU64::new(0),
            is_muted: AtomicBool::new(false),
            wake_ups: Notify::new(),
            heard: AtomicU64::new(0),
            lives: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            deaf: watch::Sender::new(0),
            can_look: watch::Sender::new(false),
        }
    }

    /// There is something to read, or there may be.
    pub(crate) fn ring(&self) {
        self.note_notification();
        self.wake_ups.notify_one();
    }

    /// Has the log read at once, without anything having been heard.
    #[cfg(feature = "relay")]
    pub(crate) fn wake(&self) {
        self.wake_ups.notify_one();
    }

    /// A notification came that says nothing of the log.
    pub(crate) fn note_notification(&self) {
        self.heard.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until there is something to read. Rings that come before are one.
    pub(crate) async fn wake_up(&self) {
        self.wake_ups.notified().await;
    }

    /// A connection listens from now on. What happened before, nobody knows.
    pub(crate) fn begin_life(&self) -> Life {
        let life = self.lives.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake_ups.notify_one();
        Life(life)
    }

    /// The notification that this life had sent has come back to it.
    pub(crate) fn prove(&self, life: Life) {
        self.proven.store(life.0, Ordering::SeqCst);
    }

    /// It has ended.
    pub(crate) fn end_life(&self) {
        self.proven.store(0, Ordering::SeqCst);
    }

    /// A change was not heard of by that life, if it is one.
    pub(crate) fn is_deaf(&self, heard: Heard) {
        self.deaf.send_replace(heard.life);
    }

    /// Waits until that life is found deaf.
    pub(crate) async fn is_found_deaf(&self, Life(life): Life) {
        // The sender is here, so this waits as long as it takes.
        let _ = self.deaf.subscribe().wait_for(|&deaf| deaf == life).await;
    }

    /// Whether a life is proven to hear.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::SeqCst) > 0
    }

    /// Whether edits are heard: the doorbell is proven, and the triggers notify.
    pub(crate) fn works(&self) -> bool {
        self.is_proven() && !self.is_muted()
    }

    /// What has been heard so far.
    pub(crate) fn heard(&self) -> Heard {
        Heard {
            life: self.proven.load(Ordering::SeqCst),
            notifications: self.heard.load(Ordering::SeqCst),
        }
    }

    /// An audit that was asked for at this moment found everything in place, and whether edits notify.
    pub(crate) fn audited(&self, asked_at: Moment, notify: bool) {
        self.audited.fetch_max(asked_at.0, Ordering::SeqCst);
        self.is_muted.store(!notify, Ordering::SeqCst);
    }

    /// Whether edits do not notify, because somebody wants it so.
    pub(crate) fn is_muted(&self) -> bool {
        self.is_muted.load(Ordering::SeqCst)
    }

    /// A look that was asked for at this moment has been applied.
    pub(crate) fn looked(&self, asked_at: Moment) {
        let audited = Moment(self.audited.load(Ordering::SeqCst));
        self.cache.fence.renew_lease(asked_at.min(audited).after(self.lease));
        self.can_look.send_replace(true);
    }

    /// A look could not be made.
    pub(crate) fn could_not_look(&self) {
        self.can_look.send_replace(false);
    }

    /// Waits until a look can be made. To listen is worth nothing before, and a server that many nodes
    /// come to at once is to let each of them look first.
    pub(crate) async fn until_looks_are_made(&self) {
        // The sender is here, so this waits as long as it takes.
        let _ = self.can_look.subscribe().wait_for(|&can_look| can_look).await;
    }
}

/// Finds out that the doorbell is deaf: a look found a change, and nothing was heard since the look
/// before it, nor for some time afterwards.
///
/// The change was committed after the look before had been asked, and its notification cannot have come
/// earlier. It may come later than the look, and something else may be heard instead, which is as good
/// a sign of life.
pub(super) struct Suspicion {
    /// How long a notification may take.
    patience: Duration,
    /// What had been heard when the last look was asked.
    before: Option<Heard>,
    /// When a look found a change of which nothing had been heard.
    unheard_since: Option<Moment>,
}

impl Suspicion {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, before: None, unheard_since: None }
    }

    /// Takes what had been heard when a look was asked, whether it found changes that should have been
    /// heard of, and what has been heard by now. Whether this is proof that the doorbell is deaf.
    pub(super) fn looked(&mut self, asked: Heard, found: bool, by_now: Heard, now: Moment) -> bool {
        let before = self.before.replace(asked);
        if by_now.life == 0 || before != Some(by_now) {
            self.unheard_since = None;
            return false;
        }
        if found {
            self.unheard_since.get_or_insert(now);
        }
        self.unheard_since.is_some_and(|since| now.since(since) >= self.patience)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    struct Lab {
        doorbell: Doorbell,
        cache: Arc<Cache>,
    }

    impl Lab {
        /// A lease of 100 ns.
        fn new() -> Self {
            let day = Duration::from_secs(86_400);
            let cache = Arc::new(Cache::new(1, day, day));
            cache.fence.end_lease();
            let doorbell = Doorbell::new(Arc::clone(&cache), Duration::from_nanos(100));
            Self { doorbell, cache }
        }

        /// The last moment at which hits count.
        fn lease_until(&self) -> Option<u64> {
            (0..1000).rev().find(|&at| self.cache.fence.lease_is_live(Moment(at)))
        }
    }

    #[test]
    fn a_look_proves_what_was_committed_before_it_was_asked_for() {
        let lab = Lab::new();
        lab.doorbell.audited(Moment(10), true);
        assert_eq!(lab.lease_until(), None);
        lab.doorbell.looked(Moment(10));
        assert_eq!(lab.lease_until(), Some(109));
        lab.doorbell.looked(Moment(5));
        assert_eq!(lab.lease_until(), Some(109), "an older proof takes nothing away");
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_listen_waits_for_the_looks() {
        let Lab { doorbell, .. } = Lab::new();
        let made =
            async || timeout(Duration::from_secs(1), doorbell.until_looks_are_made()).await.is_ok();
        assert!(!made().await);
        doorbell.looked(Moment(5));
        assert!(made().await);
        doorbell.could_not_look();
        assert!(!made().await);
    }

    #[test]
    fn nothing_proves_more_than_that_the_triggers_were_there_at_the_last_audit() {
        let lab = Lab::new();
        lab.doorbell.audited(Moment(10), true);
        lab.doorbell.looked(Moment(40));
        assert_eq!(lab.lease_until(), Some(109));
        lab.doorbell.audited(Moment(20), true);
        lab.doorbell.looked(Moment(50));
        assert_eq!(lab.lease_until(), Some(119));
    }

    #[test]
    fn it_works_once_it_is_proven_until_its_life_ends_and_while_edits_notify() {
        let Lab { doorbell, .. } = Lab::new();
        let life = doorbell.begin_life();
        doorbell.ring();
        assert!(!doorbell.works(), "a notification of somebody proves nothing");
        doorbell.prove(life);
        assert!(doorbell.works());
        doorbell.audited(Moment(0), false);
        assert!(!doorbell.works(), "its edits do not notify");
        doorbell.audited(Moment(0), true);
        assert!(doorbell.works());
        doorbell.end_life();
        assert!(!doorbell.works());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_wakes_the_reader_once_also_when_it_comes_before_he_waits() {
        let Lab { doorbell, .. } = Lab::new();
        let wakes = async || timeout(Duration::from_secs(1), doorbell.wake_up()).await.is_ok();
        assert!(!wakes().await);
        doorbell.ring();
        doorbell.ring();
        assert!(wakes().await && !wakes().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_that_was_found_deaf_is_no_reason_to_end_the_next_one() {
        let Lab { doorbell, .. } = Lab::new();
        let first = doorbell.begin_life();
        doorbell.prove(first);
        let heard = doorbell.heard();
        doorbell.end_life();
        let second = doorbell.begin_life();
        doorbell.is_deaf(heard);
        let found = async |life| {
            timeout(Duration::from_secs(1), doorbell.is_found_deaf(life)).await.is_ok()
        };
        assert!(found(first).await && !found(second).await);
    }

    #[test]
    fn a_change_that_nothing_was_heard_of_for_long_is_proof_of_deafness() {
        let Lab { doorbell, .. } = Lab::new();
        let mut suspicion = Suspicion::new(Duration::from_nanos(100));
        // Whether a look at that time, which found something or not, is proof.
        let mut look =
            |at, found| suspicion.looked(doorbell.heard(), found, doorbell.heard(), Moment(at));
        assert!(!look(0, false) && !look(10, true) && !look(500, true), "nothing is proven yet");
        let life = doorbell.begin_life();
        doorbell.prove(life);
        assert!(!look(600, true) && !look(700, false), "it was committed before the proof, maybe");
        assert!(!look(800, true) && !look(899, false), "its notification may be on its way");
        doorbell.ring();
        assert!(!look(900, false) && !look(1000, false), "here it is");
        doorbell.ring();
        assert!(!look(1100, true) && !look(1200, false), "it came before the look");
        assert!(!look(1300, true) && !look(1350, true));
        doorbell.note_notification();
        assert!(!look(1450, false), "it hears something");
        assert!(!look(1500, true) && !look(1599, true) && look(1600, false));
        doorbell.end_life();
        assert!(!look(1700, true) && !look(1900, false), "there is no life that could be deaf");
    }
}
