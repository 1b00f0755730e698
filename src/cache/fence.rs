//! Generations and the lease: they decide at every hit whether a cached answer is current.
//!
//! There is one counter. A load reads it *before* it asks the database. A change takes the next value
//! and writes it to a slot of what it is about: a number, a config, or everything. An answer is
//! current while no slot that it depends on holds a newer value. So an answer that was read before a
//! change is refused however late it arrives.
//!
//! **Invariant:** bump the fence first, then remove entries. Checking before an insert is not enough,
//! because a change may come between the two. So an answer carries its generation, and is checked
//! each time it is *read*.
//!
//! Numbers and configs are hashed onto a fixed number of slots, so memory is bounded. Two that share
//! a slot invalidate each other: that costs a load and never gives a wrong answer.

use std::time::Duration;

use crate::change::Change;
use crate::clock::Moment;
use crate::number::{Caller, ConfigId, E164};
use crate::sync::{AtomicU64, Ordering};

/// A point in the order of loads and changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

/// What an answer depends on, and the generation it was read in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// When what the number says was read.
    pub(crate) born: Generation,
    /// When what the config says was read.
    config_born: Generation,
    number: u16,
    config: u16,
}

impl Stamp {
    /// The stamp of an answer whose load began in `born`.
    pub(crate) fn new(born: Generation, caller: Caller, config: Option<ConfigId>) -> Self {
        let config = config.map_or(NO_CONFIG, slot_of_config);
        Self { born, config_born: born, number: slot_of(caller.number), config }
    }

    /// The stamp of what depends on every tenant that has this number.
    pub(crate) fn of_number(born: Generation, number: E164) -> Self {
        Self { born, config_born: born, number: slot_of(number), config: NO_CONFIG }
    }

    /// The stamp of what the number alone says.
    pub(crate) fn without_config(self) -> Self {
        Self { config: NO_CONFIG, config_born: self.born, ..self }
    }

    /// The stamp of an answer whose config was read anew.
    pub(crate) fn with_config_of(self, config_born: Generation) -> Self {
        Self { config_born, ..self }
    }

    #[inline(always)]
    fn oldest(self) -> u64 {
        self.born.min(self.config_born).0
    }
}

/// Rows that are loaded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum List {
    #[cfg(feature = "server")]
    Clients,
    #[cfg(feature = "server")]
    People,
    Configs,
    Rollout,
}

impl List {
    /// Its name in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "server")]
            Self::Clients => "clients",
            #[cfg(feature = "server")]
            Self::People => "users",
            Self::Configs => "LiveKit configs",
            Self::Rollout => "rollout",
        }
    }
}

/// The generations of all changes, and the end of the lease.
pub(crate) struct Fence {
    latest: AtomicU64,
    /// The last change of many numbers at once, or of everything.
    all: AtomicU64,
    /// The last change of clients or people, or of everything.
    clients: AtomicU64,
    /// The last change of what the database says of keys, or of everything.
    keys: AtomicU64,
    /// The last change of any config, or of everything.
    any_config: AtomicU64,
    /// The last change of the rollout, or of everything.
    rollout: AtomicU64,
    /// The last time that changes may have been missed.
    doubt: AtomicU64,
    /// The last switch between the database's credentials and the environment's.
    switched: AtomicU64,
    numbers: Box<[AtomicU64]>,
    configs: Box<[AtomicU64]>,
    lease: AtomicU64,
}

impl Fence {
    /// A fence with a lease that never ends, for a store without a change feed.
    pub(crate) fn new() -> Self {
        let slots = |count: u16| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            latest: AtomicU64::new(0),
            all: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            any_config: AtomicU64::new(0),
            rollout: AtomicU64::new(0),
            doubt: AtomicU64::new(0),
            switched: AtomicU64::new(0),
            numbers: slots(SLOTS),
            // One more, for "no config", which nothing ever bumps.
            configs: slots(SLOTS + 1),
            lease: AtomicU64::new(u64::MAX),
        }
    }

    /// The generation now. Read it before a load begins, never after.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.latest.load(Ordering::SeqCst))
    }

    /// Makes every answer outdated that depends on what changed and was read before now. Returns the
    /// first generation that is current again.
    pub(crate) fn bump(&self, change: Change) -> Generation {
        let generation = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        let slot = match change {
            Change::Config(id) => {
                self.any_config.fetch_max(generation, Ordering::SeqCst);
                &self.configs[usize::from(slot_of_config(id))]
            }
            Change::Number(caller) => &self.numbers[usize::from(slot_of(caller.number))],
            Change::Numbers => &self.all,
            Change::Clients => &self.clients,
            Change::Rollout => {
                self.rollout.fetch_max(generation, Ordering::SeqCst);
                &self.all
            }
            Change::Keys => &self.keys,
            Change::All => {
                self.rollout.fetch_max(generation, Ordering::SeqCst);
                self.clients.fetch_max(generation, Ordering::SeqCst);
                self.keys.fetch_max(generation, Ordering::SeqCst);
                self.any_config.fetch_max(generation, Ordering::SeqCst);
                &self.all
            }
        };
        slot.fetch_max(generation, Ordering::SeqCst);
        Generation(generation)
    }

    /// Whether what the database says of keys may be another since.
    pub(crate) fn keys_changed_since(&self, read: Generation) -> bool {
        self.keys.load(Ordering::SeqCst) > read.0 || self.doubt.load(Ordering::SeqCst) > read.0
    }

    /// Changes may have been missed: no answer from before now is current, but it may still serve as
    /// the last good one.
    pub(crate) fn doubt(&self) {
        let generation = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        self.doubt.fetch_max(generation, Ordering::SeqCst);
    }

    /// The source of credentials was switched (the flag): no answer from before now is current, but
    /// what it says of its number still holds.
    pub(crate) fn switch_source(&self) {
        let generation = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        self.switched.fetch_max(generation, Ordering::SeqCst);
        self.doubt.fetch_max(generation, Ordering::SeqCst);
    }

    /// Whether the source was switched since.
    pub(crate) fn was_switched_since(&self, made: Generation) -> bool {
        self.switched.load(Ordering::SeqCst) > made.0
    }

    /// Whether nothing has changed, or may have, since the answer was read.
    #[inline(always)]
    pub(crate) fn admits(&self, stamp: Stamp) -> bool {
        self.doubt.load(Ordering::Acquire) <= stamp.oldest() && !self.knows_better(stamp)
    }

    /// Whether a change of something that the answer depends on is known. Then it must not serve
    /// even as the last good one.
    #[inline(always)]
    pub(crate) fn knows_better(&self, stamp: Stamp) -> bool {
        let newest = |slot: &AtomicU64, born: u64| slot.load(Ordering::Acquire) > born;
        newest(&self.all, stamp.oldest())
            || newest(&self.numbers[usize::from(stamp.number)], stamp.born.0)
            || newest(&self.configs[usize::from(stamp.config)], stamp.config_born.0)
    }

    /// Whether the number's part of an answer still holds, whatever happened to its config.
    pub(crate) fn admits_number(&self, stamp: Stamp) -> bool {
        self.admits(stamp.without_config())
    }

    /// Whether a config that was read in this generation is still current.
    pub(crate) fn admits_config(&self, id: ConfigId, born: Generation) -> bool {
        let holds = |slot: &AtomicU64| slot.load(Ordering::Acquire) <= born.0;
        holds(&self.doubt)
            && holds(&self.all)
            && holds(&self.configs[usize::from(slot_of_config(id))])
    }

    /// Whether no row of a list has changed, nor may have, since it was read in this generation.
    pub(crate) fn admits_list(&self, list: List, born: Generation) -> bool {
        self.doubt.load(Ordering::Acquire) <= born.0 && !self.knows_better_list(list, born)
    }

    /// Whether a change of a list is known since.
    pub(crate) fn knows_better_list(&self, list: List, born: Generation) -> bool {
        let changed = match list {
            #[cfg(feature = "server")]
            List::Clients | List::People => &self.clients,
            List::Configs => &self.any_config,
            List::Rollout => &self.rollout,
        };
        changed.load(Ordering::Acquire) > born.0
    }

    /// Extends the lease to this moment. A lease that ends later stays as it is.
    pub(crate) fn renew_lease(&self, until: Moment) {
        self.lease.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Ends the lease: no answer of the database is current until it is renewed.
    pub(crate) fn end_lease(&self) {
        self.lease.store(0, Ordering::Release);
    }

    /// Whether it is proven that no change was missed.
    #[inline(always)]
    pub(crate) fn lease_is_live(&self, now: Moment) -> bool {
        now.0 < self.lease.load(Ordering::Acquire)
    }

    /// How long ago it was last proven that no change was missed, given how long a proof holds. Zero
    /// without a change feed; before the first proof, the time since the start.
    pub(crate) fn lease_age(&self, now: Moment, lease: Duration) -> Duration {
        match self.lease.load(Ordering::Acquire) {
            u64::MAX => Duration::ZERO,
            until => now.since(Moment(until).before(lease)),
        }
    }
}

/// By the number alone, whichever tenant owns it: a question without a tenant depends on all owners.
fn slot_of(number: E164) -> u16 {
    slot(number.as_u64())
}

fn slot_of_config(id: ConfigId) -> u16 {
    // Either half may be the same in all of them, as it depends on who made them.
    let (high, low) = id.0.as_u64_pair();
    slot(high ^ low.rotate_left(31))
}

/// Spreads keys over slots by multiplying with 2^64 divided by the golden ratio (Knuth, TAOCP 3,
/// section 6.4) and keeping the top bits.
fn slot(key: u64) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "ten bits are left")]
    let slot = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SLOTS.ilog2())) as u16;
    slot
}

/// A power of two. 1024 slots are 8 KiB, which fit into the processor's first-level cache.
const SLOTS: u16 = 1024;
const NO_CONFIG: u16 = SLOTS;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::number::TenantId;

    fn caller(number: u64) -> Caller {
        let number = E164::from_digits(&number.to_string()).unwrap();
        Caller::new(TenantId(Uuid::from_u128(7)), number)
    }

    #[test]
    fn an_answer_read_before_a_change_never_counts_after_it() {
        let fence = Fence::new();
        let id = ConfigId(Uuid::from_u128(9));
        for change in
            [Change::Number(caller(1_000_001)), Change::Config(id), Change::Numbers, Change::All]
        {
            let before = Stamp::new(fence.generation(), caller(1_000_001), Some(id));
            assert!(fence.admits(before));
            fence.bump(change);
            assert!(!fence.admits(before) && fence.knows_better(before), "{change:?}");
            assert!(fence.admits(Stamp::new(fence.generation(), caller(1_000_001), Some(id))));
        }
    }

    #[test]
    fn a_change_leaves_other_numbers_and_configs_alone() {
        let fence = Fence::new();
        let bystander = Stamp::new(fence.generation(), caller(1_000_001), None);
        fence.bump(Change::Number(caller(1_000_002)));
        fence.bump(Change::Config(ConfigId(Uuid::from_u128(9))));
        assert!(fence.admits(bystander));
    }

    #[test]
    fn what_depends_on_all_tenants_of_a_number_ends_with_a_change_of_any() {
        let fence = Fence::new();
        let stamp = Stamp::of_number(fence.generation(), caller(1_000_001).number);
        fence.bump(Change::Number(caller(1_000_002)));
        assert!(fence.admits(stamp));
        let other_tenant = Caller { tenant: TenantId(Uuid::from_u128(8)), ..caller(1_000_001) };
        fence.bump(Change::Number(other_tenant));
        assert!(!fence.admits(stamp));
    }

    #[test]
    fn what_a_number_says_outlives_a_change_of_its_config_and_nothing_else() {
        let fence = Fence::new();
        let (number, id) = (caller(1_000_001), ConfigId(Uuid::from_u128(9)));
        let stamp = Stamp::new(fence.generation(), number, Some(id));
        fence.bump(Change::Config(id));
        assert!(!fence.admits(stamp) && fence.admits_number(stamp));
        assert!(!fence.admits_config(id, stamp.born));
        let read_anew = fence.generation();
        assert!(fence.admits_config(id, read_anew));
        assert!(fence.admits(stamp.with_config_of(read_anew)));
        fence.bump(Change::Number(number));
        assert!(!fence.admits(stamp.with_config_of(read_anew)) && !fence.admits_number(stamp));
        let stamp = Stamp::new(fence.generation(), number, Some(id));
        fence.doubt();
        assert!(!fence.admits_number(stamp) && !fence.admits_config(id, stamp.born));
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_change_ends_the_list_that_it_is_about_and_no_other_one() {
        let fence = Fence::new();
        let id = ConfigId(Uuid::from_u128(9));
        let lists = [List::Clients, List::People, List::Configs, List::Rollout];
        for (change, ended) in [
            (Change::Clients, [true, true, false, false]),
            (Change::Config(id), [false, false, true, false]),
            (Change::Rollout, [false, false, false, true]),
            (Change::Numbers, [false; 4]),
            (Change::Number(caller(1_000_002)), [false; 4]),
            (Change::All, [true; 4]),
        ] {
            let (answer, born) =
                (Stamp::new(fence.generation(), caller(1_000_001), None), fence.generation());
            fence.bump(change);
            assert_eq!(lists.map(|list| !fence.admits_list(list, born)), ended, "{change:?}");
            assert_eq!(lists.map(|list| fence.knows_better_list(list, born)), ended, "{change:?}");
            let is_of_answers = matches!(change, Change::Numbers | Change::Rollout | Change::All);
            assert_eq!(fence.admits(answer), !is_of_answers, "{change:?}");
        }
        let born = fence.generation();
        fence.doubt();
        for list in lists {
            assert!(!fence.admits_list(list, born) && !fence.knows_better_list(list, born));
        }
    }

    #[test]
    fn doubt_ends_every_answer_but_leaves_it_the_last_good_one() {
        let fence = Fence::new();
        let stamp = Stamp::new(fence.generation(), caller(1_000_001), None);
        fence.doubt();
        assert!(!fence.admits(stamp) && !fence.knows_better(stamp));
    }

    #[test]
    fn numbers_and_configs_spread_over_the_places() {
        let number = |at| slot_of(caller(971_500_000_000 + at).number);
        let config = |high, low| slot_of_config(ConfigId(Uuid::from_u64_pair(high, low)));
        assert_spread("numbers", number);
        for same in [0, u64::MAX] {
            assert_spread("first halves", |at| config(at, same));
            assert_spread("second halves", |at| config(same, at));
        }
    }

    fn assert_spread(what: &str, slot_of: impl Fn(u64) -> u16) {
        let mut used = vec![0; usize::from(SLOTS)];
        (0..100_000).for_each(|at| used[usize::from(slot_of(at))] += 1);
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(*least > 50 && *most < 150, "100,000 {what} over 1024 slots: {least} to {most}");
    }
}
