//! The clients that may ask over HTTP: all of them in memory, for as long as it is proven that none has
//! changed.
//!
//! They are few, so they are loaded together: an unknown token costs no statement, however many come.
//! Without the database the clients that were known last serve for `MAX_STALE`, unless a change of them
//! is known.
//!
//! **Invariant:** what a client may do is no older than `LEASE` while the database answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use super::Resolver;
use super::loaded::Asked;
use super::loader::{Loader, reason_of};
use crate::access::TokenHash;
use crate::cache::fence::Generation;
use crate::cache::single_flight::{AllClients, Crashed, SingleFlight};
use crate::clock::Moment;
use crate::reason::Reason;
use crate::store::{Client, ClientStore};

/// The clients, as far as they were asked for.
pub(super) struct Clients {
    store: Option<Arc<dyn ClientStore>>,
    known: Arc<ArcSwapOption<Known>>,
    loads: SingleFlight<AllClients, Result<Arc<Known>, Reason>>,
    loader: Arc<Loader>,
    /// Until when the database is not asked, having failed.
    pause_until: Arc<AtomicU64>,
}

/// Every client, as one statement had it.
struct Known {
    by_token: HashMap<u64, Arc<Client>, foldhash::fast::RandomState>,
    by_name: HashMap<String, Arc<Client>>,
    asked: Asked,
}

impl Resolver {
    /// The client with this token. An error: the clients are not known at present.
    pub(crate) async fn client_with(
        &self,
        token: &TokenHash,
    ) -> Result<Option<Arc<Client>>, Reason> {
        let known = self.engine.clients.known().await?;
        let found = known.by_token.get(&token.place());
        // The place is a part of the hash; what is compared in whole is compared in constant time.
        Ok(found.filter(|client| client.token_hash == Some(*token)).cloned())
    }

    /// The client of this name.
    pub(crate) async fn client_named(&self, name: &str) -> Result<Option<Arc<Client>>, Reason> {
        Ok(self.engine.clients.known().await?.by_name.get(name).cloned())
    }
}

impl Clients {
    pub(super) fn new(store: Option<Arc<dyn ClientStore>>, loader: &Arc<Loader>) -> Self {
        Self {
            store,
            known: Arc::default(),
            loads: SingleFlight::new(),
            loader: Arc::clone(loader),
            pause_until: Arc::default(),
        }
    }

    async fn known(&self) -> Result<Arc<Known>, Reason> {
        let loader = &self.loader;
        let question = loader.question_now();
        let known = self.known.load_full();
        if let Some(known) = &known
            && known.holds(loader, question.at)
        {
            return Ok(Arc::clone(known));
        }
        let Some(store) = &self.store else { return Err(Reason::DatabaseNotConfigured) };
        let asked = if !loader.live.asks_database() {
            Err(Reason::DatabaseOff)
        } else if question.at.0 < self.pause_until.load(Ordering::Acquire) {
            Err(Reason::DatabaseUnreachable)
        } else {
            let load = timeout(loader.tuning.resolve_deadline, self.load(store, question));
            load.await.unwrap_or(Err(Reason::DatabaseTimeout))
        };
        // Looked at now: a change may have been heard of meanwhile.
        let now = loader.clock.now();
        asked.or_else(|reason| known.filter(|last| last.may_serve(loader, now)).ok_or(reason))
    }

    /// Loads them, or joins a load that is new enough for the question.
    async fn load(
        &self,
        store: &Arc<dyn ClientStore>,
        question: Asked,
    ) -> Result<Arc<Known>, Reason> {
        let loader = &self.loader;
        loop {
            let start = |born| {
                let (known, pause) = (Arc::clone(&self.known), Arc::clone(&self.pause_until));
                ask(Arc::clone(store), Arc::clone(loader), known, pause, born)
            };
            let fence = &loader.cache.fence;
            let loading = self.loads.join_or_start(AllClients, fence, &loader.lifecycle, start);
            let known = match loading.await {
                Ok(outcome) => outcome?,
                Err(Crashed) => return Err(Reason::LoadPanicked),
            };
            if known.answers(loader, question) {
                return Ok(known);
            }
        }
    }
}

async fn ask(
    store: Arc<dyn ClientStore>,
    loader: Arc<Loader>,
    known: Arc<ArcSwapOption<Known>>,
    pause_until: Arc<AtomicU64>,
    born: Generation,
) -> Result<Arc<Known>, Reason> {
    let at = loader.clock.now();
    match store.clients().await {
        Ok(clients) => {
            let new = Arc::new(Known::new(clients, Asked { born, at }));
            known.rcu(|old| match old {
                Some(old) if old.asked.at > at => Some(Arc::clone(old)),
                _ => Some(Arc::clone(&new)),
            });
            Ok(new)
        }
        Err(error) => {
            tracing::warn!(%error, "the clients cannot be read");
            let until = loader.clock.now().after(loader.tuning.error_ttl);
            pause_until.store(until.0, Ordering::Release);
            Err(reason_of(&error))
        }
    }
}

impl Known {
    fn new(clients: Vec<Client>, asked: Asked) -> Self {
        let clients: Vec<_> = clients.into_iter().map(Arc::new).collect();
        let place = |client: &Arc<Client>| Some((client.token_hash?.place(), Arc::clone(client)));
        Self {
            by_token: clients.iter().filter_map(place).collect(),
            by_name: clients.into_iter().map(|client| (client.name.clone(), client)).collect(),
            asked,
        }
    }

    /// Whether this is proven to be so still.
    fn holds(&self, loader: &Loader, now: Moment) -> bool {
        let fence = &loader.cache.fence;
        now < self.asked.at.after(loader.tuning.ttl)
            && fence.lease_is_live(now)
            && fence.admits_clients(self.asked.born)
    }

    /// Whether it is new enough for a question that joined its load. Without proof that no change was
    /// missed, the load must have begun less than a lease before the question.
    fn answers(&self, loader: &Loader, question: Asked) -> bool {
        let (asked, fence) = (self.asked, &loader.cache.fence);
        let began_after = asked.at >= question.at && asked.born >= question.born;
        let is_proven = fence.lease_is_live(loader.clock.now()) && fence.admits_clients(asked.born);
        let in_time = asked.at.after(loader.tuning.lease) >= question.at
            && !fence.knows_better_clients(asked.born);
        began_after || is_proven || in_time
    }

    /// Whether this may stand in while the database cannot be asked.
    fn may_serve(&self, loader: &Loader, now: Moment) -> bool {
        now < self.asked.at.after(loader.tuning.max_stale)
            && !loader.cache.fence.knows_better_clients(self.asked.born)
    }
}
