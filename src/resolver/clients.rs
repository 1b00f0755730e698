//! The clients that may ask over HTTP, all of them in memory.
//!
//! **Invariant:** what a client may do is no older than `LEASE` while the database answers.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Resolver;
use super::loader::Loader;
use super::whole::{Known, Whole};
use crate::access::{Ticket, TicketError, TokenHash};
use crate::cache::fence::List;
use crate::keyring::KeyError;
use crate::reason::Reason;
use crate::store::{Client, ClientStore, StoreError};

/// The clients, as far as they were asked for.
pub(super) struct Clients {
    store: Option<Arc<dyn ClientStore>>,
    all: Whole<Lookup>,
}

/// Every client, by what it is looked up by.
struct Lookup {
    tokens: HashMap<u64, Arc<Client>, foldhash::fast::RandomState>,
    names: HashMap<String, Arc<Client>>,
    ids: HashMap<Uuid, Arc<Client>>,
}

impl Resolver {
    /// The client with this token. An error: the clients are not known at present.
    pub(crate) async fn client_with(
        &self,
        token: &TokenHash,
    ) -> Result<Option<Arc<Client>>, Reason> {
        let known = self.engine.clients.known().await?;
        let found = known.tokens.get(&token.place());
        // The place is a part of the hash; what is compared in whole is compared in constant time.
        Ok(found.filter(|client| client.token_hash == Some(*token)).cloned())
    }

    /// A ticket's text, sealed under the key ring in force.
    pub(crate) fn seal_ticket(&self, ticket: &Ticket) -> Result<String, KeyError> {
        let running = self.engine.live.running();
        let ring = running.ring.as_ref().ok_or(KeyError::KeyMissing)?;
        ticket.seal(ring, self.unix_time())
    }

    /// Reads a ticket. Which client made it, and whether that still may, is not looked at.
    pub(crate) fn open_ticket(&self, text: &str) -> Result<Ticket, TicketError> {
        let running = self.engine.live.running();
        let ring = running.ring.as_ref().ok_or(TicketError::Invalid)?;
        Ticket::open(text, ring, self.unix_time())
    }

    /// The client of this id.
    pub(crate) async fn client_of(&self, id: Uuid) -> Result<Option<Arc<Client>>, Reason> {
        Ok(self.engine.clients.known().await?.ids.get(&id).cloned())
    }

    /// The client of this name.
    pub(crate) async fn client_named(&self, name: &str) -> Result<Option<Arc<Client>>, Reason> {
        Ok(self.engine.clients.known().await?.names.get(name).cloned())
    }
}

impl Clients {
    pub(super) fn new(store: Option<Arc<dyn ClientStore>>, loader: &Arc<Loader>) -> Self {
        Self { store, all: Whole::new(List::Clients, &loader.around()) }
    }

    async fn known(&self) -> Result<Arc<Known<Lookup>>, Reason> {
        let Some(store) = &self.store else { return Err(Reason::DatabaseNotConfigured) };
        self.all.known(|| read(Arc::clone(store))).await
    }
}

async fn read(store: Arc<dyn ClientStore>) -> Result<Lookup, StoreError> {
    let clients: Vec<_> = store.clients().await?.into_iter().map(Arc::new).collect();
    let place = |client: &Arc<Client>| Some((client.token_hash?.place(), Arc::clone(client)));
    Ok(Lookup {
        tokens: clients.iter().filter_map(place).collect(),
        ids: clients.iter().map(|client| (client.id, Arc::clone(client))).collect(),
        names: clients.into_iter().map(|client| (client.name.clone(), client)).collect(),
    })
}
