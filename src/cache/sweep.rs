//! The sweep: which answers are wiped when, and which are due to be reloaded.
//!
//! The index never looks at the clock, and moka drops keys when it likes. So every entry is
//! scheduled here for the moment at which it must be looked at. An entry that was replaced
//! meanwhile is recognized by its serial number, and skipped.
//!
//! An entry in use is reloaded before it ends. Otherwise a caller would wait for that load, and if
//! the database failed just then, nothing proven would be left. An entry that nobody uses is a
//! secret in memory for nothing, so it is wiped.
//!
//! **Invariant:** every entry in the index is scheduled for a moment no later than its end. One
//! that must outlive its end, because the database is away, is scheduled again soon after.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cache;
use super::entry::{CacheEntry, CompactId, EntryId, Meta};
use crate::clock::Moment;
use crate::number::{Caller, ConfigId};
use crate::sync::{MutexGuard, Ordering, PoisonError};

impl Cache {
    /// Wipes what is due, and returns the entries in use that should be reloaded before they end. To
    /// be called every [`SWEEP`].
    ///
    /// While the lease is live and no load has failed, an answer that has ended is of no use, since
    /// the database can be asked. Otherwise it stays for as long as it may be the last good one.
    pub(crate) fn sweep(&self, now: Moment) -> Vec<EntryId> {
        let due = {
            let mut due = self.due();
            let later = due.split_off(&tick(now));
            std::mem::replace(&mut *due, later)
        };
        let trusted =
            self.fence.lease_is_live(now) && now.0 >= self.distrust_until.load(Ordering::Acquire);
        let (mut in_use, mut noted) = (Vec::new(), Vec::new());
        for compact in due.into_values().flatten() {
            let judged = self.table.read_exact(compact, |entry, meta| {
                let id = (meta.caller, meta.serial);
                let ends_at = self.ends_at(entry, meta);
                if now < ends_at {
                    // Used since its load: a reload by itself is no use.
                    let loaded_at = entry.outcome.as_ref().ok().map(|answer| answer.loaded_at);
                    let used = loaded_at.is_some_and(|then| meta.was_used_since(then));
                    noted.extend(used_config(entry, meta));
                    if now >= meta.refresh_at && used {
                        in_use.push(id);
                    }
                    let next = if now < meta.refresh_at { meta.refresh_at } else { ends_at };
                    Ok(next.min(ends_at))
                } else if trusted || now >= meta.stale_until {
                    let aged = now >= meta.fresh_until;
                    noted.extend(used_config(entry, meta));
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
        self.last_used.note(&noted);
        self.eviction.run_pending_tasks();
        self.table.release_lingering();
        in_use
    }

    /// When an entry ends: its lifetime is over, or it holds a secret that nobody has used for long.
    pub(super) fn ends_at(&self, entry: &CacheEntry, meta: &Meta) -> Moment {
        match entry.database_answer() {
            Some(_) => meta.fresh_until.min(meta.used_at().after(self.idle)),
            None => meta.fresh_until,
        }
    }

    /// Records that the database failed. Until that moment nothing is wiped for its age alone, since
    /// it may be the only answer.
    pub(crate) fn distrust_database(&self, until: Moment) {
        self.distrust_until.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Any of the callers that have an answer, by a random number.
    pub(crate) fn any(&self, jitter_fraction: u64) -> Option<Caller> {
        let due = self.due();
        let (first, last) = (*due.first_key_value()?.0, *due.last_key_value()?.0);
        let from = first + jitter_fraction % (last - first + 1);
        let (_, entries) = due.range(from..).next()?;
        let at = usize::try_from(jitter_fraction >> 32).unwrap_or(0) % entries.len().max(1);
        // Some were replaced since they were scheduled.
        let (before, from) = entries.split_at(at);
        let caller = |&id: &CompactId| self.table.read_exact(id, |_, meta| meta.caller);
        from.iter().chain(before).find_map(caller)
    }

    /// Schedules an entry to be looked at. A moment that is far away is rounded down, and the entry
    /// is scheduled again then: so a million entries share a few lists.
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

/// The config that an entry answered by, and when it did so last.
fn used_config(entry: &CacheEntry, meta: &Meta) -> Option<(ConfigId, Moment)> {
    let answer = entry.database_answer()?;
    let was_used = meta.was_used_since(answer.loaded_at);
    was_used.then(|| answer.config_id().map(|config| (config, meta.used_at())))?
}

fn tick(at: Moment) -> u64 {
    at.0 / u64::try_from(SWEEP.as_nanos()).unwrap_or(1)
}

/// How often the cache is swept.
pub(crate) const SWEEP: Duration = Duration::from_millis(50);
/// How soon an entry that outlived its time for want of a lease is looked at again.
const RECHECK: Duration = Duration::from_secs(1);
/// Into about how many lists the entries go that are scheduled between now and any later moment.
const LISTS: u64 = 64;
