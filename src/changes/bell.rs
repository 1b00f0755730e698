//! What the doorbell and the reader of the change log know of each other.
//!
//! The doorbell (NOTIFY) says that there is something to read; the reader reads it. Either proves
//! freshness by itself: a look at the log proves all that was committed before it, and a heartbeat
//! that came back proves all that was committed before it was sent, as long as every ring before it
//! has been answered by a look.
//!
//! **Invariant:** the lease is renewed only from the moment *before* the proof was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// A look that was asked for at this moment has been applied.
    pub(crate) fn looked(&self, asked_at: Moment, rings: Rings) {
        self.answered.fetch_max(rings.0, Ordering::SeqCst);
        self.cache.fence.renew_lease(asked_at.after(self.lease));
    }

    /// What the log says cannot be trusted: heartbeats prove nothing until a look does.
    pub(crate) fn distrust(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
    }

    /// A heartbeat that was sent at this moment has come back.
    pub(crate) fn beat(&self, sent_at: Moment) {
        self.beaten.fetch_max(sent_at.0.max(1), Ordering::SeqCst);
        if self.answered.load(Ordering::SeqCst) >= self.rung.load(Ordering::SeqCst) {
            self.cache.fence.renew_lease(sent_at.after(self.lease));
        }
    }

    /// A life of the doorbell has ended.
    pub(crate) fn fell_silent(&self) {
        self.beaten.store(0, Ordering::SeqCst);
    }

    /// Whether heartbeats come back.
    pub(crate) fn sounds(&self) -> bool {
        let beaten = self.beaten.load(Ordering::SeqCst);
        beaten > 0 && self.clock.now() < Moment(beaten).after(self.lease)
    }
}
