//! What the doorbell and the reader of the change log know of each other.
//!
//! The doorbell (NOTIFY) says that there is something to read; the reader reads it. Either proves
//! freshness by itself: a look at the log proves all that was committed before it, and a heartbeat
//! that came back proves all that was committed before it was sent, as long as every ring before it
//! has been answered by a look.
//!
//! Both prove what they do only while the triggers are there that write the log. That is looked at by
//! an *audit*, which some looks are.
//!
//! **Invariant:** the lease is renewed only from the moment *before* the proof was asked for, and no
//! further than from the last audit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::cache::Cache;
use crate::clock::{Clock, Moment};

/// The doorbell, and the lease that hangs on it.
pub(crate) struct Bell {
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    rung: AtomicU64,
    /// Up to which ring a look has answered.
    answered: AtomicU64,
    /// When the last audit was asked for.
    audited: AtomicU64,
    /// Whether the triggers do not notify.
    is_muted: AtomicBool,
    wakes: Notify,
    /// When the last heartbeat that came back was sent.
    beaten: AtomicU64,
}

/// How many times the bell had rung when a look began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rings(u64);

impl Bell {
    pub(crate) fn new(cache: Arc<Cache>, clock: Arc<dyn Clock>, lease: Duration) -> Self {
        Self {
            cache,
            clock,
            lease,
            // Nothing is proven before the first look.
            rung: AtomicU64::new(1),
            answered: AtomicU64::new(0),
            audited: AtomicU64::new(0),
            is_muted: AtomicBool::new(false),
            wakes: Notify::new(),
            beaten: AtomicU64::new(0),
        }
    }

    /// There is something to read, or there may be.
    pub(crate) fn ring(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.wakes.notify_one();
    }

    /// Waits until there is something to read.
    pub(crate) async fn rung(&self) {
        self.wakes.notified().await;
    }

    /// To be read before a look begins.
    pub(crate) fn rings(&self) -> Rings {
        Rings(self.rung.load(Ordering::SeqCst))
    }

    /// An audit that was asked for at this moment found everything in place, and whether edits ring.
    pub(crate) fn audited(&self, asked_at: Moment, rings: bool) {
        self.audited.fetch_max(asked_at.0, Ordering::SeqCst);
        self.is_muted.store(!rings, Ordering::SeqCst);
    }

    /// Whether edits do not ring, because somebody wants it so.
    pub(crate) fn is_muted(&self) -> bool {
        self.is_muted.load(Ordering::SeqCst)
    }

    /// A look that was asked for at this moment has been applied.
    pub(crate) fn looked(&self, asked_at: Moment, rings: Rings) {
        self.answered.fetch_max(rings.0, Ordering::SeqCst);
        self.renew(asked_at);
    }

    /// What the log says cannot be trusted: heartbeats prove nothing until a look does.
    pub(crate) fn distrust(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
    }

    /// A heartbeat that was sent at this moment has come back.
    pub(crate) fn beat(&self, sent_at: Moment) {
        self.beaten.fetch_max(sent_at.0.max(1), Ordering::SeqCst);
        if self.answered.load(Ordering::SeqCst) >= self.rung.load(Ordering::SeqCst) {
            self.renew(sent_at);
        }
    }

    fn renew(&self, proven_at: Moment) {
        let audited = Moment(self.audited.load(Ordering::SeqCst));
        self.cache.fence.renew_lease(proven_at.min(audited).after(self.lease));
    }

    /// A life of the doorbell has ended.
    pub(crate) fn fell_silent(&self) {
        self.beaten.store(0, Ordering::SeqCst);
    }

    /// Whether edits are heard: heartbeats come back, and the triggers notify.
    pub(crate) fn sounds(&self) -> bool {
        if self.is_muted() {
            return false;
        }
        let beaten = self.beaten.load(Ordering::SeqCst);
        beaten > 0 && self.clock.now() < Moment(beaten).after(self.lease)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A clock that stands where it is put.
    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Moment {
            Moment(self.0.load(Ordering::SeqCst))
        }

        fn unix_time(&self) -> Duration {
            Duration::ZERO
        }
    }

    struct Lab {
        bell: Bell,
        clock: Arc<Hand>,
        cache: Arc<Cache>,
    }

    impl Lab {
        /// A bell with a lease of 100 ns.
        fn new() -> Self {
            let day = Duration::from_secs(86_400);
            let cache = Arc::new(Cache::new(1, day, day));
            cache.fence.end_lease();
            let clock = Arc::new(Hand::default());
            let lease = Duration::from_nanos(100);
            let bell = Bell::new(Arc::clone(&cache), Arc::clone(&clock) as _, lease);
            Self { bell, clock, cache }
        }

        fn look(&self, at: u64) {
            let rings = self.bell.rings();
            self.bell.audited(Moment(at), true);
            self.bell.looked(Moment(at), rings);
        }

        /// The last moment at which hits count.
        fn lease_until(&self) -> Option<u64> {
            (0..1000).rev().find(|&at| self.cache.fence.lease_is_live(Moment(at)))
        }
    }

    #[test]
    fn a_look_proves_what_was_committed_before_it_was_asked_for() {
        let lab = Lab::new();
        assert_eq!(lab.lease_until(), None);
        lab.look(10);
        assert_eq!(lab.lease_until(), Some(109));
        lab.look(5);
        assert_eq!(lab.lease_until(), Some(109), "an older proof takes nothing away");
    }

    #[test]
    fn a_heartbeat_proves_something_only_where_every_ring_has_been_answered() {
        let lab = Lab::new();
        lab.bell.beat(Moment(10));
        assert_eq!(lab.lease_until(), None, "nothing has been read yet");
        lab.look(20);
        lab.bell.audited(Moment(100), true);
        lab.bell.beat(Moment(30));
        assert_eq!(lab.lease_until(), Some(129));
        let begun_before = lab.bell.rings();
        lab.bell.ring();
        lab.bell.beat(Moment(40));
        assert_eq!(lab.lease_until(), Some(129));
        lab.bell.looked(Moment(35), begun_before);
        lab.bell.beat(Moment(50));
        assert_eq!(lab.lease_until(), Some(134), "that look may have been too early");
        lab.look(45);
        lab.bell.beat(Moment(50));
        assert_eq!(lab.lease_until(), Some(149));
        lab.bell.distrust();
        lab.bell.beat(Moment(60));
        assert_eq!(lab.lease_until(), Some(149), "the log is not to be trusted");
        lab.look(70);
        lab.bell.beat(Moment(80));
        assert_eq!(lab.lease_until(), Some(179));
    }

    #[test]
    fn nothing_proves_more_than_that_the_triggers_were_there_at_the_last_audit() {
        let lab = Lab::new();
        lab.look(10);
        lab.bell.beat(Moment(30));
        let rings = lab.bell.rings();
        lab.bell.looked(Moment(40), rings);
        assert_eq!(lab.lease_until(), Some(109));
        lab.bell.audited(Moment(20), true);
        lab.bell.beat(Moment(50));
        assert_eq!(lab.lease_until(), Some(119));
    }

    #[test]
    fn it_sounds_while_heartbeats_come_back() {
        let lab = Lab::new();
        let sounds_at = |at| {
            lab.clock.0.store(at, Ordering::SeqCst);
            lab.bell.sounds()
        };
        assert!(!sounds_at(0) && !sounds_at(50));
        lab.bell.beat(Moment(0));
        assert!(sounds_at(99) && !sounds_at(101));
        lab.bell.beat(Moment(50));
        assert!(sounds_at(149) && !sounds_at(150) && !sounds_at(151));
        lab.bell.beat(Moment(40));
        assert!(sounds_at(149), "an older one takes nothing away");
        lab.bell.audited(Moment(0), false);
        assert!(!sounds_at(60), "its edits do not ring");
        lab.bell.audited(Moment(0), true);
        assert!(sounds_at(60));
        lab.bell.fell_silent();
        assert!(!sounds_at(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_wakes_the_reader_once_also_when_it_comes_before_he_waits() {
        let lab = Lab::new();
        let wakes =
            async || tokio::time::timeout(Duration::from_secs(1), lab.bell.rung()).await.is_ok();
        assert!(!wakes().await);
        lab.bell.ring();
        lab.bell.ring();
        assert!(wakes().await && !wakes().await);
    }
}
