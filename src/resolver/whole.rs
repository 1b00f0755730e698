//! A list that is loaded whole, and kept in memory for as long as it is proven that no row of it has
//! changed.
//!
//! Such lists are short. So a question for what is not in them costs no statement, however many of
//! those come. Without the database the list that was known last serves for `MAX_STALE`, unless a
//! change of it is known.
//!
//! **Invariant:** a list is no older than `LEASE` while the database answers, and is asked for at most
//! once in a `LEASE` where nothing proves that it holds.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use super::live::Live;
use super::loaded::{Asked, reason_of};
use crate::cache::Cache;
use crate::cache::fence::{Generation, List};
use crate::cache::single_flight::{Crashed, SingleFlight};
use crate::clock::{Clock, Moment};
use crate::lifecycle::Lifecycle;
use crate::reason::Reason;
use crate::settings::Tuning;
use crate::store::StoreError;

/// A list, as far as it was asked for.
pub(super) struct Whole<T> {
    list: List,
    known: Arc<ArcSwapOption<Known<T>>>,
    loads: SingleFlight<List, Result<Arc<Known<T>>, Reason>>,
    around: Around,
    /// Until when the database is not asked, having failed.
    pause_until: Arc<AtomicU64>,
}

/// What of an engine a list depends on.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) live: Arc<Live>,
    pub(super) cache: Arc<Cache>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lifecycle: Lifecycle,
    pub(super) tuning: Arc<Tuning>,
}

impl Around {
    /// A question asked now.
    fn question_now(&self) -> Asked {
        Asked { born: self.cache.fence.generation(), at: self.clock.now() }
    }
}

/// All rows, as one statement had them.
pub(super) struct Known<T> {
    rows: T,
    asked: Asked,
}

impl<T> Deref for Known<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.rows
    }
}

impl<T: Send + Sync + 'static> Whole<T> {
    pub(super) fn new(list: List, around: &Around) -> Self {
        Self {
            list,
            known: Arc::default(),
            loads: SingleFlight::new(),
            around: around.clone(),
            pause_until: Arc::default(),
        }
    }

    /// The rows, from memory or by `ask`.
    pub(super) async fn known<F>(&self, ask: impl Fn() -> F) -> Result<Arc<Known<T>>, Reason>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let around = &self.around;
        let question = around.question_now();
        let known = self.known.load_full();
        if let Some(known) = &known
            && self.holds(known, question.at)
        {
            return Ok(Arc::clone(known));
        }
        let asked = if !around.live.asks_database() {
            Err(Reason::DatabaseOff)
        } else if question.at.0 < self.pause_until.load(Ordering::Acquire) {
            Err(Reason::DatabaseUnreachable)
        } else {
            // Boxed, so that whoever finds the rows in memory does not carry a load along.
            let load = Box::pin(self.load(&ask, question));
            let load = timeout(around.tuning.resolve_deadline, load);
            load.await.unwrap_or(Err(Reason::DatabaseTimeout))
        };
        // Looked at now: a change may have been heard of meanwhile.
        let now = around.clock.now();
        asked.or_else(|reason| known.filter(|last| self.may_serve(last, now)).ok_or(reason))
    }

    /// Loads them, or joins a load that is new enough for the question.
    async fn load<F>(&self, ask: &impl Fn() -> F, question: Asked) -> Result<Arc<Known<T>>, Reason>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let around = &self.around;
        loop {
            let start = |born| self.load_now(ask(), born);
            let fence = &around.cache.fence;
            let loading = self.loads.join_or_start(self.list, fence, &around.lifecycle, start);
            let known = match loading.await {
                Ok(outcome) => outcome?,
                Err(Crashed) => return Err(Reason::LoadPanicked),
            };
            if self.answers(&known, question) {
                return Ok(known);
            }
        }
    }

    /// One load, which does not depend on who waits for it.
    fn load_now(
        &self,
        asking: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        born: Generation,
    ) -> impl Future<Output = Result<Arc<Known<T>>, Reason>> + Send + 'static {
        let (around, list) = (self.around.clone(), self.list);
        let (known, pause_until) = (Arc::clone(&self.known), Arc::clone(&self.pause_until));
        async move {
            let at = around.clock.now();
            match asking.await {
                Ok(rows) => {
                    let new = Arc::new(Known { rows, asked: Asked { born, at } });
                    known.rcu(|old| match old {
                        Some(old) if old.asked.at > at => Some(Arc::clone(old)),
                        _ => Some(Arc::clone(&new)),
                    });
                    Ok(new)
                }
                Err(error) => {
                    tracing::warn!(%error, "the {} cannot be read", list.name());
                    let until = around.clock.now().after(around.tuning.error_ttl);
                    pause_until.store(until.0, Ordering::Release);
                    Err(reason_of(&error))
                }
            }
        }
    }

    /// Whether this is so still: it is proven, or was read less than a lease ago.
    fn holds(&self, known: &Known<T>, now: Moment) -> bool {
        let (tuning, fence) = (&self.around.tuning, &self.around.cache.fence);
        let proven = fence.lease_is_live(now) && now < known.asked.at.after(tuning.ttl);
        (proven || now < known.asked.at.after(tuning.lease.min(tuning.ttl)))
            && fence.admits_list(self.list, known.asked.born)
    }

    /// Whether it is new enough for a question that joined its load. Without proof that no change was
    /// missed, the load must have begun less than a lease before the question.
    fn answers(&self, known: &Known<T>, question: Asked) -> bool {
        let (asked, fence) = (known.asked, &self.around.cache.fence);
        let began_after = asked.at >= question.at && asked.born >= question.born;
        let is_proven = fence.lease_is_live(self.around.clock.now())
            && fence.admits_list(self.list, asked.born);
        let in_time = asked.at.after(self.around.tuning.lease) >= question.at
            && !fence.knows_better_list(self.list, asked.born);
        began_after || is_proven || in_time
    }

    /// Whether this may stand in while the database cannot be asked.
    fn may_serve(&self, known: &Known<T>, now: Moment) -> bool {
        now < known.asked.at.after(self.around.tuning.max_stale)
            && !self.around.cache.fence.knows_better_list(self.list, known.asked.born)
    }
}
