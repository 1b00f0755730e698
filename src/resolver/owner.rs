//! A number without its tenant: who owns it is asked once and remembered, as long as it is proven
//! that nothing of that number has changed. That it could not be asked is remembered for `ERROR_TTL`.

use std::sync::Arc;

use super::loading::reason_of;
use super::{Engine, Resolver};
use crate::answer::ResolveError;
use crate::cache::Resolution;
use crate::cache::fence::{Generation, Stamp};
use crate::cache::flight::Crashed;
use crate::clock::Moment;
use crate::number::{Caller, E164, TenantId};
use crate::reason::Reason;

/// Who owns numbers, as far as it was asked for.
pub(super) type Owners = moka::sync::Cache<E164, Owned, foldhash::fast::RandomState>;

/// What the database said of the owners of a number, or why it did not.
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
    pub async fn resolve_unowned(&self, number: E164) -> Result<Resolution, ResolveError> {
        let engine = &self.engine;
        let running = engine.running.load_full();
        if !running.enabled {
            return Ok(engine.counted(running.off.outcome(), true)?);
        }
        let reason = match engine.owner(number).await {
            Ok(Owner::One(tenant)) => return self.resolve(Caller::new(tenant, number)).await,
            Ok(Owner::Several) => return Err(ResolveError::TenantNeeded),
            Ok(Owner::Nobody) => Reason::NumberUnknown,
            Err(reason) => reason,
        };
        let outcome = running.without_database(reason, engine.clock.now());
        engine.tell_source(number, &outcome);
        Ok(engine.counted(outcome, false)?)
    }
}

impl Engine {
    async fn owner(self: &Arc<Self>, number: E164) -> Result<Owner, Reason> {
        let now = self.clock.now();
        let known = self.owners.get(&number);
        if let Some(known) = &known
            && self.holds(known, now)
        {
            return known.owner;
        }
        let last = known.and_then(|known| self.last_known(&known, now));
        if let Some(last) = last
            && self.database_is_left_alone(now)
        {
            return Ok(last);
        }
        let (engine, wanted) = (Arc::clone(self), number);
        let take_off = |born| engine.ask_owner(wanted, born);
        let flight = self.owner_flights.board(number, &self.cache.fence, &self.lifecycle, take_off);
        let owner = match tokio::time::timeout(self.tuning.resolve_deadline, flight).await {
            Ok(Ok(owned)) => owned.owner,
            Ok(Err(Crashed)) => Err(Reason::LoadPanicked),
            Err(_) => Err(Reason::DatabaseTimeout),
        };
        owner.or_else(|reason| last.ok_or(reason))
    }

    /// Whether the database need not be asked: nothing has changed since, or it failed a moment ago.
    fn holds(&self, known: &Owned, now: Moment) -> bool {
        let fence = &self.cache.fence;
        match known.owner {
            Ok(_) => {
                now < known.asked_at.after(self.tuning.ttl)
                    && fence.lease_is_live(now)
                    && fence.admits(known.stamp)
            }
            Err(_) => {
                now < known.asked_at.after(self.tuning.error_ttl)
                    && !fence.knows_better(known.stamp)
            }
        }
    }

    /// Whom the database named when it last could, unless that is known to have changed.
    fn last_known(&self, known: &Owned, now: Moment) -> Option<Owner> {
        let usable = now < known.asked_at.after(self.tuning.max_stale)
            && !self.cache.fence.knows_better(known.stamp);
        known.owner.ok().filter(|_| usable)
    }

    async fn ask_owner(self: Arc<Self>, number: E164, born: Generation) -> Owned {
        let asked_at = self.clock.now();
        let owner = match &self.store {
            None => Err(Reason::DatabaseNotConfigured),
            Some(store) => match store.owners(number).await {
                Ok(owners) => Ok(match owners[..] {
                    [] => Owner::Nobody,
                    [tenant] => Owner::One(tenant),
                    _ => Owner::Several,
                }),
                Err(error) => {
                    self.note_failure(number, &error);
                    Err(reason_of(&error))
                }
            },
        };
        let known = Owned { owner, stamp: Stamp::of_number(born, number), asked_at };
        // Whom it named when it last could is worth more than that it failed.
        let last = self.owners.get(&number).and_then(|last| self.last_known(&last, asked_at));
        if owner.is_ok() || last.is_none() {
            self.owners.insert(number, known.clone());
        }
        known
    }
}
