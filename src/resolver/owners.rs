//! Numbers without a tenant: which tenant owns a number is asked once, and cached while it is proven
//! that the number has not changed. A failed question is cached for `ERROR_TTL`.

use std::sync::Arc;

use super::Resolver;
use super::live::Running;
use super::loaded::reason_of;
use super::loader::Loader;
use crate::answer::{KnownRules, ResolveError};
use crate::cache::Resolution;
use crate::cache::fence::{Generation, Stamp};
use crate::cache::single_flight::{Crashed, SingleFlight};
use crate::clock::Moment;
use crate::number::{Caller, E164, TenantId};
use crate::reason::Reason;
use crate::rollout::{Side, Standing};

/// The owners of numbers, as far as they were asked for.
pub(super) struct Owners {
    cache: OwnerCache,
    loads: SingleFlight<E164, Owned>,
    loader: Arc<Loader>,
}

type OwnerCache = moka::sync::Cache<E164, Owned, foldhash::fast::RandomState>;

/// The owner of a number by the database, or why it did not answer.
#[derive(Clone)]
pub(super) struct Owned {
    owner: Result<Owner, Reason>,
    stamp: Stamp,
    asked_at: Moment,
}

#[derive(Clone, Copy)]
enum Owner {
    Nobody,
    One(TenantId),
    Several,
}

impl Resolver {
    /// The credentials for a call from a number whose tenant is not known.
    ///
    /// Answered only when exactly one tenant owns the number.
    ///
    /// # Errors
    ///
    /// [`ResolveError::TenantNeeded`] when several own it, otherwise as [`resolve`](Self::resolve).
    pub async fn resolve_number(&self, number: E164) -> Result<Resolution, ResolveError> {
        let engine = &self.engine;
        let running = engine.live.running();
        if let Some(off) = running.without_asking() {
            return Ok(engine.count_outcome(off.outcome(), true)?);
        }
        let owner = engine.owners.owner(number).await;
        if let Ok(Owner::One(tenant)) = owner {
            return self.resolve(Caller::new(tenant, number)).await;
        }
        let standing = engine.loader.standing_of_nobody(&running).await;
        let (reason, rules) = match owner {
            // Where the environment answers everybody, its credentials serve any tenant. The rules depend
            // on the tenant, so they are unknown.
            Ok(Owner::Several) if !running.uses_configs() || standing.side != Side::Inside => {
                (Reason::FlagOff, KnownRules::Unknown)
            }
            Ok(Owner::One(_) | Owner::Several) => return Err(ResolveError::TenantNeeded),
            Ok(Owner::Nobody) => (Reason::NumberUnknown, KnownRules::NoRow),
            Err(reason) => (reason, KnownRules::Unknown),
        };
        let now = engine.clock.now();
        let outcome = running.without_database(reason, standing, rules, now);
        engine.loader.source_log.log(number, &outcome, now);
        Ok(engine.count_outcome(outcome, false)?)
    }
}

impl Owners {
    pub(super) fn new(loader: &Arc<Loader>) -> Self {
        let tuning = &loader.tuning;
        let cache = moka::sync::Cache::builder()
            .max_capacity(tuning.capacity)
            .time_to_live(tuning.max_stale.max(tuning.ttl))
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { cache, loads: SingleFlight::new(), loader: Arc::clone(loader) }
    }

    async fn owner(&self, number: E164) -> Result<Owner, Reason> {
        let loader = &self.loader;
        let now = loader.clock.now();
        let cached = self.cache.get(&number);
        if let Some(cached) = &cached
            && cached.holds(loader, now)
        {
            return cached.owner;
        }
        let last = cached.and_then(|cached| cached.last_good(loader, now));
        if let Some(last) = last
            && loader.database_is_left_alone(now)
        {
            return Ok(last);
        }
        let start = |born| ask(Arc::clone(loader), self.cache.clone(), number, born);
        let flight =
            self.loads.join_or_start(number, &loader.cache.fence, &loader.lifecycle, start);
        let owner = match tokio::time::timeout(loader.tuning.resolve_deadline, flight).await {
            Ok(Ok(entry)) => entry.owner,
            Ok(Err(Crashed)) => Err(Reason::LoadPanicked),
            Err(_) => Err(Reason::DatabaseTimeout),
        };
        owner.or_else(|reason| last.ok_or(reason))
    }
}

async fn ask(loader: Arc<Loader>, cache: OwnerCache, number: E164, born: Generation) -> Owned {
    let asked_at = loader.clock.now();
    let owner = loader.owner(number).await;
    let entry = Owned { owner, stamp: Stamp::of_number(born, number), asked_at };
    // An owner that was found earlier is worth more than the news of a failure.
    let last = cache.get(&number).and_then(|last| last.last_good(&loader, asked_at));
    if owner.is_ok() || last.is_none() {
        cache.insert(number, entry.clone());
    }
    entry
}

impl Owned {
    /// Whether this may still be used without asking: the number has not changed, or the database
    /// failed a moment ago.
    fn holds(&self, loader: &Loader, now: Moment) -> bool {
        let (fence, tuning) = (&loader.cache.fence, &loader.tuning);
        match self.owner {
            Ok(_) => {
                now < self.asked_at.after(tuning.ttl)
                    && fence.lease_is_live(now)
                    && fence.admits(self.stamp)
            }
            Err(_) => {
                now < self.asked_at.after(tuning.error_ttl) && !fence.knows_better(self.stamp)
            }
        }
    }

    /// The owner that was found last, unless the number is known to have changed.
    fn last_good(&self, loader: &Loader, now: Moment) -> Option<Owner> {
        let usable = now < self.asked_at.after(loader.tuning.max_stale)
            && !loader.cache.fence.knows_better(self.stamp);
        self.owner.ok().filter(|_| usable)
    }
}

impl Loader {
    /// What the rollout makes of a number without a tenant.
    async fn standing_of_nobody(&self, running: &Running) -> Standing {
        if !running.uses_configs() {
            return Standing::UNKNOWN;
        }
        let known = self.rollout.known().await;
        known.map_or(Standing::UNKNOWN, |rollout| Standing::of_nobody(&rollout))
    }

    /// Asks the database who owns a number.
    async fn owner(&self, number: E164) -> Result<Owner, Reason> {
        let store = self.store.as_ref().ok_or(Reason::DatabaseNotConfigured)?;
        match store.owners(number).await {
            Ok(owners) => Ok(match owners[..] {
                [] => Owner::Nobody,
                [tenant] => Owner::One(tenant),
                _ => Owner::Several,
            }),
            Err(error) => {
                self.note_failure(number, &error);
                Err(reason_of(&error))
            }
        }
    }
}
