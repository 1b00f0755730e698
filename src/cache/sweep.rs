//! What becomes of answers in time: which are wiped when, and which are due to be loaded anew.
//!
//! The index never looks at the time by itself, and moka lets go of keys when it likes. So every
//! entry that is kept is noted here for the moment at which something is to become of it, and is
//! looked at then. An entry that was replaced meanwhile is found by its serial number to be gone.
//!
//! **Invariant:** every entry that is kept is noted, for a moment that is not later than its end; one
//! that must outlive its end, because the database is away, for a moment soon after.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cache;
use super::entry::{CacheEntry, CompactId, EntryId, Meta};
use crate::clock::Moment;
use crate::number::Caller;
use crate::sync::{MutexGuard, Ordering, PoisonError};

impl Cache {
    /// Wipes what is due, and returns what is in use and should be loaded anew before its time is
    /// up. To be called every [`SWEEP`].
    ///
    /// An answer whose time is up has no use while the lease is live and no load has failed, since
    /// the database can be asked. Else it stays for as long as it may be the last good one.
    pub(crate) fn sweep(&self, now: Moment) -> Vec<EntryId> {
        let due = {
            let mut due = self.due();
            let later = due.split_off(&tick(now));
            std::mem::replace(&mut *due, later)
        };
        let trusted =
            self.fence.lease_is_live(now) && now.0 >= self.distrust_until.load(Ordering::Acquire);
        let mut in_use = Vec::new();
        for compact in due.into_values().flatten() {
            let judged = self.table.read_exact(compact, |entry, meta| {
                let id = (meta.caller, meta.serial);
                let ends_at = self.ends_at(entry, meta);
                if now < ends_at {
                    // Since it was loaded for its first caller, or anew for nobody.
                    let loaded_at = entry.outcome.as_ref().ok().map(|answer| answer.loaded_at);
                    let used = loaded_at.is_some_and(|then| meta.was_used_since(then));
                    if now >= meta.refresh_at && used {
                        in_use.push(id);
                    }
                    let next = if now < meta.refresh_at { meta.refresh_at } else { ends_at };
                    Ok(next.min(ends_at))
                } else if trusted || now >= meta.stale_until {
                    let aged = now >= meta.fresh_until;
                    Err((if aged { &self.evicted.expired } else { &self.evicted.unused }, id))
                } else {
                    Ok(now.after(RECHECK).min(meta.stale_until))
                }
            });
            match judged {
                Some(Ok(next)) => self.schedule(now, next, compact),
                Some(Err((cause, (caller, serial)))) => {
                    cause.fetch_add(1, Ordering::Relaxed);
                    self.table.remove_exact(caller, serial);
                    self.eviction.invalidate(&caller);
                }
                None => {}
            }
        }
        self.eviction.run_pending_tasks();
        self.table.release_lingering();
        in_use
    }

    /// When nobody has a claim to an entry any more: its time is up, or it holds a secret that nobody
    /// has used for long.
    pub(super) fn ends_at(&self, entry: &CacheEntry, meta: &Meta) -> Moment {
        match entry.database_answer() {
            Some(_) => meta.fresh_until.min(meta.used_at().after(self.idle)),
            None => meta.fresh_until,
        }
    }

    /// Says that the database failed: until then nothing is wiped for its age alone, since it may
    /// be all there is.
    pub(crate) fn distrust_database(&self, until: Moment) {
        self.distrust_until.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Any of the callers that have an answer, by a random number.
    pub(crate) fn any(&self, jitter_fraction: u64) -> Option<Caller> {
        let due = self.due();
        let (first, last) = (*due.first_key_value()?.0, *due.last_key_value()?.0);
        let from = first + jitter_fraction % (last - first + 1);
        let (_, places) = due.range(from..).next()?;
        let at = usize::try_from(jitter_fraction >> 32).unwrap_or(0) % places.len().max(1);
        // Some were replaced since they were noted.
        let (before, from) = places.split_at(at);
        let caller = |&id: &CompactId| self.table.read_exact(id, |_, meta| meta.caller);
        from.iter().chain(before).find_map(caller)
    }

    /// Notes when something is to become of an entry. What is far away is noted for a moment somewhat
    /// before that, at which it is noted again: so a million of them share a few lists.
    pub(super) fn schedule(&self, now: Moment, at: Moment, id: CompactId) {
        let (now, at) = (tick(now), tick(at));
        let apart = at.saturating_sub(now) / LISTS;
        let together = if apart > 1 { u64::MAX << apart.ilog2() } else { u64::MAX };
        self.due().entry(at & together).or_default().push(id);
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<CompactId>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tick(at: Moment) -> u64 {
    at.0 / u64::try_from(SWEEP.as_nanos()).unwrap_or(1)
}

/// How often the cache is swept.
pub(crate) const SWEEP: Duration = Duration::from_millis(50);
/// How soon an entry that outlived its time for want of a lease is looked at again.
const RECHECK: Duration = Duration::from_secs(1);
/// Into how many lists, about, goes what is to be looked at between now and any later moment.
const LISTS: u64 = 64;
