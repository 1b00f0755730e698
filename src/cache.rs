//! The answers in memory: a lock-free index serves them, moka decides which of them to keep.
//!
//! A hit reads the index and nothing else: no lock, no await, no allocation. moka knows only the
//! keys. It bounds how many there are and for how long, and tells through its eviction listener
//! what must go; one hit in 64 tells it what is in use. Its own loader is never called.
//!
//! **Invariants.** A hit counts only while the fence admits its stamp. What leaves the index is
//! retired at once, and credentials that no answer uses any more are wiped in place: moka may drop
//! its share seconds later, and finds nothing in it.

pub(crate) mod fence;
pub(crate) mod flight;
pub(crate) mod shared;
mod table;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use self::fence::{Fence, Stamp};
use self::shared::SharedCredentials;
pub(crate) use self::table::Outcome;
use self::table::{Entry, Table};
use crate::changes::Change;
use crate::clock::Moment;
use crate::credentials::{Answer, Resolution};
use crate::number::Caller;
use crate::sync::{Arc, AtomicBool, AtomicU64, Keeper, Mutex, Ordering, PoisonError};

/// The answers of one process.
pub(crate) struct Cache {
    table: Arc<Table>,
    keeper: Keeper<Caller, u64, foldhash::fast::RandomState>,
    pub(crate) fence: Fence,
    pub(crate) shared: SharedCredentials,
    serial: AtomicU64,
    /// Until when the database is not trusted to give an answer again that was wiped.
    distrust_until: AtomicU64,
    /// Which entries are to be looked at when, in ticks of [`SWEEP`].
    due: Mutex<BTreeMap<u64, Vec<(Caller, u64)>>>,
}

/// An answer to be cached.
pub(crate) struct Fresh {
    pub(crate) outcome: Outcome,
    pub(crate) stamp: Stamp,
    /// Until when it may answer.
    pub(crate) serve_until: Moment,
    /// Until when it may be the last good answer.
    pub(crate) keep_until: Moment,
    /// Whether it answers only while it is proven that no change was missed. The last good answer
    /// and errors do without: they are what there is when the database is away.
    pub(crate) needs_lease: bool,
}

/// An answer that may serve when the database cannot.
pub(crate) struct LastGood {
    answer: Arc<Answer>,
    stamp: Stamp,
    keep_until: Moment,
}

impl LastGood {
    /// It, marked stale.
    pub(crate) fn stale(&self) -> Resolution {
        Resolution(Arc::new(Answer {
            credentials: Arc::clone(&self.answer.credentials),
            trunk: self.answer.trunk.clone(),
            agent: Arc::clone(&self.answer.agent),
            origin: self.answer.origin.clone(),
            loaded_at: self.answer.loaded_at,
            stale: true,
            counted: AtomicBool::new(false),
            entry_gone: AtomicBool::new(false),
        }))
    }
}

impl Cache {
    /// A cache of at most `capacity` answers, none of which stays longer than `longest`.
    pub(crate) fn new(capacity: u64, longest: Duration) -> Self {
        let table = Arc::new(Table::default());
        let evicted = Arc::clone(&table);
        let keeper = Keeper::builder()
            .max_capacity(capacity)
            .time_to_live(longest)
            .eviction_listener(move |caller: Arc<Caller>, serial, _| {
                evicted.remove_exact(*caller, serial);
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            table,
            keeper,
            fence: Fence::new(),
            shared: SharedCredentials::default(),
            serial: AtomicU64::new(0),
            distrust_until: AtomicU64::new(0),
            due: Mutex::default(),
        }
    }

    /// The answer for a caller, if it is proven to be what the database would say.
    pub(crate) fn hit(&self, caller: Caller, now: Moment) -> Option<Outcome> {
        let index = self.table.index.pin();
        let entry = index.get(&caller)?;
        if !self.counts(entry, now) {
            return None;
        }
        if one_in_64() {
            self.keeper.get(&caller);
        }
        Some(entry.outcome.clone())
    }

    /// Whether an entry is fresh, and proven.
    fn counts(&self, entry: &Entry, now: Moment) -> bool {
        let proven = if entry.needs_lease {
            self.fence.lease_is_live(now) && self.fence.admits(entry.stamp)
        } else {
            !self.fence.knows_better(entry.stamp)
        };
        now < entry.fresh_until && proven
    }

    /// What the database said when it last could, unless it is known to have changed since or is
    /// too old. Holding it keeps it from being wiped for its age.
    pub(crate) fn last_good(&self, caller: Caller, now: Moment) -> Option<LastGood> {
        let index = self.table.index.pin();
        let entry = index.get(&caller)?;
        let (stamp, keep_until) = (entry.stamp, entry.keep_until);
        let usable = now < keep_until && !self.fence.knows_better(stamp);
        let answer = Arc::clone(entry.database_answer().filter(|_| usable)?);
        Some(LastGood { answer, stamp, keep_until })
    }

    /// Lets the last good answer serve without asking the database, until then. `None`: it is known
    /// to have changed meanwhile.
    pub(crate) fn keep_last_good(
        &self,
        caller: Caller,
        last: &LastGood,
        now: Moment,
        until: Moment,
    ) -> Option<Outcome> {
        let LastGood { answer, stamp, keep_until } = last;
        if self.fence.knows_better(*stamp) || !answer.credentials.acquire() {
            return None;
        }
        let stale = last.stale();
        stale.0.counted.store(true, Ordering::Release);
        let outcome = Ok(stale);
        let fresh = Fresh {
            outcome: outcome.clone(),
            stamp: *stamp,
            serve_until: until,
            keep_until: *keep_until,
            needs_lease: false,
        };
        self.keep(caller, fresh, now);
        Some(outcome)
    }

    /// Says that the database failed: until then nothing is wiped for its age alone, since it may
    /// be all there is.
    pub(crate) fn distrust_database(&self, until: Moment) {
        self.distrust_until.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Keeps an answer, unless a better one is there. Its credentials count as used by it.
    pub(crate) fn keep(&self, caller: Caller, fresh: Fresh, now: Moment) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (stamp, fresh_until) = (fresh.stamp, fresh.serve_until);
        let entry = Entry {
            outcome: fresh.outcome,
            stamp,
            fresh_until,
            keep_until: fresh.keep_until,
            needs_lease: fresh.needs_lease,
            serial,
            retired: AtomicBool::new(false),
        };
        // What is known to be outdated by now is wiped at once, and not when its time is up.
        if self.fence.knows_better(stamp) {
            return self.table.retire(&entry);
        }
        // Only what the database said outranks: what is older, and, for as long as it counts, what
        // was made for want of an answer.
        let outranks = |there: &Entry, entry: &Entry| {
            there.needs_lease
                && (there.stamp.born > entry.stamp.born
                    || !entry.needs_lease && self.counts(there, now))
        };
        if !self.table.insert(caller, entry, outranks) {
            return;
        }
        // A change that was bumped since the look above may have found nothing to remove yet.
        if self.fence.knows_better(stamp) {
            return self.table.remove_exact(caller, serial);
        }
        self.keeper.insert(caller, serial);
        self.look_again(fresh_until, caller, serial);
    }

    /// Looks at what is cached for a caller, whether it counts or not.
    pub(crate) fn peek<T>(&self, caller: Caller, look: impl FnOnce(&Outcome) -> T) -> Option<T> {
        self.table.index.pin().get(&caller).map(|entry| look(&entry.outcome))
    }

    /// Drops what a change makes wrong: first the fence, then the secrets, then the entries.
    pub(crate) fn apply(&self, change: Change) {
        let bump = || self.fence.bump(change);
        match change {
            // The entries stay, refused by the fence: there may be a million, and they are empty.
            Change::Config(id) => self.shared.change(id, bump),
            Change::Number(caller) => {
                bump();
                self.table.remove(caller);
                self.keeper.invalidate(&caller);
            }
            Change::Numbers => {
                bump();
                self.clear();
            }
            Change::All => {
                self.shared.change_all(bump);
                self.clear();
            }
        }
    }

    /// Removes what the fence does not admit any more.
    fn clear(&self) {
        self.table.remove_all(|entry| self.fence.knows_better(entry.stamp));
        self.keeper.invalidate_all();
    }

    /// Wipes what is due. To be called every [`SWEEP`].
    ///
    /// An answer whose time is up has no use while the lease is live and no load has failed, since
    /// the database can be asked. Else it stays for as long as it may be the last good one.
    pub(crate) fn sweep(&self, now: Moment) {
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let later = due.split_off(&tick(now));
            std::mem::replace(&mut *due, later)
        };
        let trusted =
            self.fence.lease_is_live(now) && now.0 >= self.distrust_until.load(Ordering::Acquire);
        let index = self.table.index.pin();
        for (caller, serial) in due.into_values().flatten() {
            let Some(entry) = index.get(&caller).filter(|entry| entry.serial == serial) else {
                continue;
            };
            if trusted || now >= entry.keep_until {
                self.table.remove_exact(caller, serial);
                self.keeper.invalidate(&caller);
            } else {
                self.look_again(now.after(LOOK_AGAIN).min(entry.keep_until), caller, serial);
            }
        }
        self.keeper.run_pending_tasks();
        self.table.release_lingering();
    }

    /// How many answers are cached.
    pub(crate) fn len(&self) -> usize {
        self.table.index.len()
    }

    fn look_again(&self, at: Moment, caller: Caller, serial: u64) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.entry(tick(at)).or_default().push((caller, serial));
    }
}

/// A number from 0 to 1 that belongs to a key and a generation, for jitter.
pub(crate) fn dice(key: impl Hash) -> f64 {
    let hash = foldhash::quality::FixedState::default().hash_one(key);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

fn one_in_64() -> bool {
    thread_local!(static HITS: Cell<u8> = const { Cell::new(0) });
    HITS.with(|hits| {
        hits.set(hits.get().wrapping_add(1));
        hits.get() % 64 == 0
    })
}

fn tick(at: Moment) -> u64 {
    at.0 / u64::try_from(SWEEP.as_nanos()).unwrap_or(1)
}

/// How often the cache is swept.
pub(crate) const SWEEP: Duration = Duration::from_millis(50);
/// How soon an entry that outlived its time for want of a lease is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
