//! Who hears an answer that goes on, and whether he still may.

use std::sync::Arc;

use super::asking::Asking;
use crate::access::{Scope, TokenHash};
use crate::resolver::Resolver;
use crate::store::Client;

/// A client, or a person as one, who hears what takes a scope.
pub(super) struct Hearer {
    /// As it was known last.
    pub(super) client: Arc<Client>,
    /// The session and the name of a person.
    person: Option<(Option<TokenHash>, String)>,
    scope: Scope,
}

impl Hearer {
    pub(super) fn of(asking: &Asking<'_>, scope: Scope) -> Self {
        let client = Arc::new(asking.client.clone());
        let person = asking.person.map(|person| (person.session, person.name.clone()));
        Self { client, person, scope }
    }

    /// Whether the client may hear it still, by what is known of clients now.
    pub(super) async fn may_still(&mut self, resolver: &Resolver) -> Result<(), &'static str> {
        let client = match &self.person {
            Some((session, name)) => {
                let person = match session {
                    Some(session) => resolver.person_with(session).await,
                    None => resolver.person_named(name).await,
                };
                person.map(|person| person.map(|person| Arc::clone(&person.client)))
            }
            None => resolver.client_of(self.client.id).await,
        };
        let client = client.map_err(|_| "clients_unknown")?;
        let may = |client: &Arc<Client>| {
            client.permissions.as_ref().is_some_and(|may| may.may(self.scope))
                && client.revoked_at.is_none()
                && !client.has_expired(resolver.unix_time())
        };
        self.client = client.filter(may).ok_or("client_ended")?;
        Ok(())
    }
}
