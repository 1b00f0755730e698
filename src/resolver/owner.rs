//! A number without its tenant: who owns it is asked once and remembered, as long as it is proven
//! that nothing of that number has changed.

use std::sync::Arc;

use super::loading::reason_of;
use super::{Engine, Resolver, log_source};
use crate::cache::fence::{Generation, Stamp};
use crate::clock::Moment;
use crate::credentials::Resolution;
use crate::environment::ResolveError;
use crate::number::{Caller, E164, TenantId};
use crate::reason::Reason;

/// Who owns numbers, as far as it was asked for.
pub(super) type Owners = moka::sync::Cache<E164, Owned, foldhash::fast::RandomState>;

/// What the database said of the owners of a number.
#[derive(Clone)]
pub(super) struct Owned {
    owner: Owner,
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
            return engine.counted(running.off.clone());
        }
        let reason = match engine.owner(number).await {
            Ok(Owner::One(tenant)) => return self.resolve(Caller::new(tenant, number)).await,
            Ok(Owner::Several) => return Err(ResolveError::TenantNeeded),
            Ok(Owner::Nobody) => Reason::NumberUnknown,
            Err(reason) => reason,
        };
        let outcome = running.environment.answer(reason, None, engine.clock.now());
        log_source(number, &outcome);
        engine.counted(outcome)
    }
}

impl Engine {
    async fn owner(self: &Arc<Self>, number: E164) -> Result<Owner, Reason> {
        let now = self.clock.now();
        let known = self.owners.get(&number);
        if let Some(known) = &known
            && self.is_proven(known, now)
        {
            return Ok(known.owner);
        }
        let (engine, wanted) = (Arc::clone(self), number);
        let take_off = |born| engine.ask_owner(wanted, born);
        let flight = self.owner_flights.board(number, &self.cache.fence, &self.lifecycle, take_off);
        match tokio::time::timeout(self.tuning.resolve_deadline, flight).await {
            Ok(Ok(Ok(owned))) => Ok(owned.owner),
            Ok(Ok(Err(reason))) => self.last_known(known, now).ok_or(reason),
            Ok(Err(_)) => self.last_known(known, now).ok_or(Reason::LoadPanicked),
            Err(_) => self.last_known(known, now).ok_or(Reason::DatabaseTimeout),
        }
    }

    fn is_proven(&self, known: &Owned, now: Moment) -> bool {
        now < known.asked_at.after(self.tuning.ttl)
            && self.cache.fence.lease_is_live(now)
            && self.cache.fence.admits(known.stamp)
    }

    /// Whom the database named when it last could, unless that is known to have changed.
    fn last_known(&self, known: Option<Owned>, now: Moment) -> Option<Owner> {
        let usable = |known: &Owned| {
            now < known.asked_at.after(self.tuning.max_stale)
                && !self.cache.fence.knows_better(known.stamp)
        };
        known.filter(usable).map(|known| known.owner)
    }

    async fn ask_owner(self: Arc<Self>, number: E164, born: Generation) -> Result<Owned, Reason> {
        let asked_at = self.clock.now();
        let store = self.store.as_ref().ok_or(Reason::DatabaseNotConfigured)?;
        let owners = store.owners(number).await.map_err(|error| reason_of(&error))?;
        let owner = match owners[..] {
            [] => Owner::Nobody,
            [tenant] => Owner::One(tenant),
            _ => Owner::Several,
        };
        let known = Owned { owner, stamp: Stamp::of_number(born, number), asked_at };
        self.owners.insert(number, known.clone());
        Ok(known)
    }
}
