//! The answers in memory: a lock-free index serves them, moka decides which of them stay.
//!
//! A hit reads the thread's cache or the index and nothing else: no lock, no await, no allocation.
//! moka holds only the keys. It bounds their number and age, and reports through its eviction
//! listener which entry must go. It learns what is in use from samples of the hits. Its own loader is
//! never called.
//!
//! **Invariant:** an answer serves only while the fence admits its stamp.
//!
//! **Invariant:** an entry that leaves the index is retired at once, and credentials that no answer
//! uses any more are wiped in place. moka's eviction may run seconds later; it finds nothing to wipe.

mod entry;
pub(crate) mod fence;
mod fresh;
mod index;
mod last_used;
pub(crate) mod shared;
pub(crate) mod single_flight;
mod sweep;
mod table;
mod thread_cache;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

pub use self::entry::Resolution;
pub(crate) use self::entry::{CacheEntry, EntryId, ResolveOutcome};
use self::entry::{CompactId, Meta, coarse};
use self::fence::{Fence, Generation};
pub(crate) use self::fresh::{Fresh, LastGood, Lifetimes, NumberPart};
pub(crate) use self::last_used::LastUsed;
use self::shared::SharedCredentials;
pub(crate) use self::sweep::SWEEP;
use self::table::Table;
pub(crate) use self::thread_cache::ThreadCache;
use crate::answer::{AnswerOrigin, KnownRules};
use crate::change::Change;
use crate::clock::Moment;
use crate::number::Caller;
use crate::sync::{
    Arc, AtomicBool, AtomicU16, AtomicU32, AtomicU64, EvictionCache, Mutex, Ordering, RemovalCause,
};

/// The answers of one process.
pub(crate) struct Cache {
    table: Arc<Table>,
    eviction: EvictionCache<Caller, u64, foldhash::fast::RandomState>,
    pub(crate) fence: Fence,
    pub(crate) shared: SharedCredentials,
    serial: AtomicU64,
    /// Substitutes with a smaller serial number were made before the source of credentials was
    /// switched, and no longer serve.
    switched_at: AtomicU64,
    /// Until when expired answers are kept, because the database failed a moment ago.
    distrust_until: AtomicU64,
    /// The entries that the sweep must look at, by tick of [`SWEEP`].
    due: Mutex<BTreeMap<u64, Vec<CompactId>>>,
    /// How long an unused answer stays.
    idle: Duration,
    pub(crate) evicted: Arc<Evicted>,
    pub(crate) last_used: LastUsed,
}

/// How many answers were evicted though they were still right.
#[derive(Default)]
pub(crate) struct Evicted {
    over_capacity: AtomicU64,
    expired: AtomicU64,
    unused: AtomicU64,
}

impl Evicted {
    /// In the order of the metric's label: for want of room, for their age, for want of use.
    pub(crate) fn by_cause(&self) -> [u64; 3] {
        [&self.over_capacity, &self.expired, &self.unused].map(|many| many.load(Ordering::Relaxed))
    }
}

impl Cache {
    /// A cache of at most `capacity` answers. None stays longer than `longest`, and none longer than
    /// `idle` without being used.
    pub(crate) fn new(capacity: u64, longest: Duration, idle: Duration) -> Self {
        let table = Arc::new(Table::default());
        let (index, evicted) = (Arc::clone(&table), Arc::<Evicted>::default());
        let counters = Arc::clone(&evicted);
        let eviction = EvictionCache::builder()
            .max_capacity(capacity)
            .time_to_live(longest)
            .eviction_listener(move |caller: Arc<Caller>, serial, why| {
                let counter = match why {
                    RemovalCause::Size => Some(&counters.over_capacity),
                    RemovalCause::Expired => Some(&counters.expired),
                    _ => None,
                };
                if let Some(counter) = counter {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                index.remove_exact(*caller, serial);
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            table,
            eviction,
            fence: Fence::new(),
            shared: SharedCredentials::default(),
            serial: AtomicU64::new(0),
            switched_at: AtomicU64::new(0),
            distrust_until: AtomicU64::new(0),
            due: Mutex::default(),
            idle,
            evicted,
            last_used: LastUsed::default(),
        }
    }

    /// Calls `look` with the answer for a caller, if it is current. `Err` returns `look` unused.
    /// `sampled`: this hit is one of those that report to moka what is in use.
    #[inline(always)]
    pub(crate) fn hit<T, F: FnOnce(&Arc<CacheEntry>) -> T>(
        &self,
        caller: Caller,
        now: Moment,
        sampled: bool,
        thread_cache: &ThreadCache,
        look: F,
    ) -> Result<T, Option<F>> {
        let hash = self.table.hash(caller);
        if let Some(entry) = thread_cache.find(hash, caller)
            && let Some(meta) = entry.meta()
            && self.is_current(meta, now)
        {
            self.record_use(meta, now, sampled);
            return Ok(look(&entry));
        }
        self.hit_in_index((hash, caller), now, sampled, thread_cache, look)
    }

    /// The same in the index. Out of line, so that the hit in the thread's cache gets the registers.
    #[inline(never)]
    fn hit_in_index<T, F: FnOnce(&Arc<CacheEntry>) -> T>(
        &self,
        (hash, caller): (u64, Caller),
        now: Moment,
        sampled: bool,
        thread_cache: &ThreadCache,
        look: F,
    ) -> Result<T, Option<F>> {
        let mut look = Some(look);
        let found = self.table.read_hashed(hash, caller, |entry, meta| {
            if !self.is_current(meta, now) {
                return None;
            }
            self.record_use(meta, now, sampled);
            thread_cache.offer(hash, entry);
            look.take().map(|look| look(entry))
        });
        found.flatten().ok_or(look)
    }

    #[inline(always)]
    fn record_use(&self, meta: &Meta, now: Moment, sampled: bool) {
        // Once per unit of time is enough for an entry that is in use all the time.
        if meta.mark_used(now) && sampled {
            self.eviction.get(&meta.caller);
        }
    }

    /// The number's part of an answer, if only its config is known to have changed.
    pub(crate) fn number_part(&self, caller: Caller, now: Moment) -> Option<NumberPart> {
        let part = |entry: &Arc<CacheEntry>, meta: &Meta| {
            let answer = entry.database_answer().filter(|_| {
                meta.needs_lease
                    && now < meta.fresh_until
                    && self.fence.lease_is_live(now)
                    && self.fence.admits_number(meta.stamp)
                    && !self.fence.admits(meta.stamp)
            })?;
            let AnswerOrigin::Database { id, .. } = answer.origin else { return None };
            Some(NumberPart {
                config: id,
                rules: answer.rules.clone(),
                loaded_at: answer.loaded_at,
                stamp: meta.stamp,
                serve_until: meta.fresh_until,
                stale_until: meta.stale_until,
                refresh_at: meta.refresh_at,
            })
        };
        self.table.read(caller, part).flatten()
    }

    /// What [`hit`](Self::hit) would answer from the database, without using it.
    pub(crate) fn proven(&self, caller: Caller, now: Moment) -> Option<(ResolveOutcome, u64)> {
        let proven = |entry: &Arc<CacheEntry>, meta: &Meta| {
            let proven = meta.needs_lease && self.is_current(meta, now);
            proven.then(|| (entry.outcome(), meta.serial))
        };
        self.table.read(caller, proven).flatten()
    }

    /// Whether this exact entry would still answer.
    pub(crate) fn is_still_current(&self, id: EntryId, now: Moment) -> bool {
        self.table
            .read_exact(self.table.compact(id), |_, meta| self.is_current(meta, now))
            .unwrap_or(false)
    }

    /// When a caller last asked for this exact entry.
    pub(crate) fn used_at(&self, id: EntryId) -> Option<Moment> {
        self.table.read_exact(self.table.compact(id), |_, meta| meta.used_at())
    }

    /// Whether an entry may answer now: it has not expired, and it is proven or needs no proof.
    #[inline(always)]
    fn is_current(&self, meta: &Meta, now: Moment) -> bool {
        let proven = if meta.needs_lease {
            self.fence.lease_is_live(now) && self.fence.admits(meta.stamp)
        } else {
            meta.serial >= self.switched_at.load(Ordering::SeqCst)
                && !self.fence.knows_better(meta.stamp)
        };
        now < meta.fresh_until && proven
    }

    /// The last good answer of the database, unless it is known to have changed or is too old.
    /// Holding it keeps its credentials from being wiped for their age.
    pub(crate) fn last_good(&self, caller: Caller, now: Moment) -> Option<LastGood> {
        let last = |entry: &Arc<CacheEntry>, meta: &Meta| {
            let (stamp, stale_until) = (meta.stamp, meta.stale_until);
            let rules = entry.known_rules();
            let holds = rules != KnownRules::Unknown || entry.database_answer().is_some();
            if !holds || now >= stale_until || self.fence.knows_better(stamp.without_config()) {
                return None;
            }
            let answer = Resolution::of(entry).filter(|_| entry.database_answer().is_some());
            Some(LastGood { answer, rules, stamp, stale_until })
        };
        self.table.read(caller, last).flatten()
    }

    /// Lets the last good answer serve until that moment, without asking the database. `made` is a
    /// generation from before the settings that allow it were read. `None`: there is no such answer,
    /// or it is known to have changed.
    pub(crate) fn keep_last_good(
        &self,
        caller: Caller,
        last: &LastGood,
        made: Generation,
        now: Moment,
        until: Moment,
    ) -> Option<ResolveOutcome> {
        if self.fence.knows_better(last.stamp) {
            return None;
        }
        let outcome = Ok(last.stale()?);
        self.keep(caller, Fresh::last_good(outcome.clone(), last, made, until), now);
        Some(outcome)
    }

    /// Whether the rules that the database named last still hold, as far as is known.
    pub(crate) fn last_rules_hold(&self, last: &LastGood) -> bool {
        last.rules != KnownRules::Unknown && !self.fence.knows_better(last.stamp.without_config())
    }

    /// The source of credentials was switched. No earlier answer is current, but what it says of its
    /// number may still serve as the last good one.
    pub(crate) fn switch_source(&self) {
        self.fence.switch_source();
        self.switched_at.store(self.serial.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Caches an answer, unless a better one is there. From here on the entry owns its share of the
    /// credentials.
    pub(crate) fn keep(&self, caller: Caller, fresh: Fresh, now: Moment) {
        let serial = self.serial.fetch_add(1, Ordering::SeqCst);
        let Fresh { stamp, made, needs_lease, .. } = fresh;
        let entry = CacheEntry::of(fresh.outcome);
        // An answer that is outdated already is wiped at once, and not when it would expire.
        if self.fence.knows_better(stamp) {
            return self.table.retire(entry);
        }
        let meta = Meta {
            caller,
            stamp,
            fresh_until: fresh.serve_until,
            used: AtomicU32::new(coarse(fresh.used_at)),
            needs_lease,
            retired: AtomicBool::new(false),
            thread_caches: AtomicU16::new(0),
            stale_until: fresh.stale_until,
            refresh_at: fresh.refresh_at,
            serial,
        };
        let next = meta.refresh_at.min(self.ends_at(&entry, &meta));
        // Only an answer of the database outranks another: always an older one, and a substitute for
        // as long as it is current itself.
        let outranks = |there: &Meta, meta: &Meta| {
            there.needs_lease
                && (there.stamp.born > meta.stamp.born
                    || !meta.needs_lease && self.is_current(there, now))
        };
        if !self.table.insert(entry, meta, outranks) {
            return;
        }
        // Looked at again after the insert. A change may have bumped the fence in between and found
        // nothing to remove; and a substitute that was made before a switch of the source may have got
        // its serial number after it.
        if self.fence.knows_better(stamp) || !needs_lease && self.fence.was_switched_since(made) {
            return self.table.remove_exact(caller, serial);
        }
        self.eviction.insert(caller, serial);
        self.schedule(now, next, self.table.compact((caller, serial)));
    }

    /// Makes room for so many more answers at once.
    pub(crate) fn reserve(&self, more: usize) {
        self.table.reserve(more);
    }

    /// What is cached for a caller, current or not.
    pub(crate) fn peek(&self, caller: Caller) -> Option<ResolveOutcome> {
        self.table.read(caller, |entry, _| entry.outcome())
    }

    /// Drops what a list of changes makes outdated, each thing once.
    pub(crate) fn apply_all(&self, changes: &[Change]) {
        if changes.contains(&Change::All) {
            return self.apply(Change::All);
        }
        let all_numbers = [Change::Rollout, Change::Numbers];
        let all_numbers = all_numbers.into_iter().find(|change| changes.contains(change));
        if let Some(change) = all_numbers {
            self.apply(change);
        }
        let mut seen = HashSet::new();
        for &change in changes {
            let covered = match change {
                Change::Number(_) => all_numbers.is_some(),
                Change::Config(_) | Change::Clients | Change::Keys => false,
                Change::Numbers | Change::Rollout | Change::All => true,
            };
            if !covered && seen.insert(change) {
                self.apply(change);
            }
        }
    }

    /// Drops what a change makes outdated. The order: bump the fence, wipe secrets, remove entries.
    pub(crate) fn apply(&self, change: Change) {
        let bump = || self.fence.bump(change);
        match change {
            // The entries stay, and the fence refuses them: there may be a million, without a secret.
            Change::Config(id) => self.shared.change(id, bump),
            Change::Number(caller) => {
                bump();
                self.table.remove(caller);
                self.eviction.invalidate(&caller);
            }
            Change::Numbers | Change::Rollout => {
                bump();
                self.clear();
            }
            Change::Clients | Change::Keys => {
                bump();
            }
            Change::All => {
                self.shared.change_all(bump);
                self.clear();
            }
        }
    }

    /// Removes the entries that are known to be outdated.
    fn clear(&self) {
        self.table.remove_all(|meta| self.fence.knows_better(meta.stamp));
        self.eviction.invalidate_all();
    }

    /// How many answers are cached.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// A fraction from 0 to 1, the same for the same key: for jitter.
pub(crate) fn jitter_fraction(key: impl Hash) -> f64 {
    let hash = foldhash::quality::FixedState::default().hash_one(key);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}
