//! A question of a client: what of it the client's permissions let through, and who answers it.

use std::sync::Arc;

use serde_json::Value;

use super::problem::Problem;
use super::request_id::RequestId;
use crate::access::{Permissions, Scope};
use crate::cache::Resolution;
use crate::number::{Caller, E164, TenantId};
use crate::resolver::{Person, Resolver};
use crate::server::connections::Peer;
use crate::store::{Behalf, Client};

/// A client that may ask what it asks.
pub(in crate::server) struct Asking<'a> {
    pub(in crate::server) resolver: &'a Resolver,
    pub(in crate::server) client: &'a Client,
    /// Who it is, if it is a person.
    pub(in crate::server) person: Option<&'a Arc<Person>>,
    pub(in crate::server) permissions: &'a Permissions,
    pub(in crate::server) request_id: &'a RequestId,
    peer: Peer,
}

/// Who calls, as far as the request and the client say.
pub(in crate::server) struct CallFrom {
    tenant: Option<TenantId>,
    number: E164,
}

impl<'a> Asking<'a> {
    pub(in crate::server) fn new(
        resolver: &'a Resolver,
        (client, person): (&'a Client, Option<&'a Arc<Person>>),
        scope: Scope,
        request_id: &'a RequestId,
        peer: Peer,
    ) -> Result<Self, Problem> {
        let permissions = client.permissions.as_ref().ok_or_else(|| {
            let message = "this version does not understand what the client may ask";
            Problem::forbidden("client_unreadable", message)
                .hint("run the version that made the client, or make it anew")
        })?;
        let asking = Self { resolver, client, person, permissions, request_id, peer };
        asking.needs(scope)?;
        Ok(asking)
    }

    /// On whose behalf an edit is made.
    pub(in crate::server) fn behalf(&self) -> Behalf {
        behalf(self.client, self.request_id, self.peer)
    }

    /// Whether a person has given his password a moment ago. Clients have none.
    pub(in crate::server) fn needs_confirmation(&self) -> Result<(), Problem> {
        if self.person.is_none_or(|person| self.resolver.is_confirmed(person)) {
            return Ok(());
        }
        let message = "this takes your password again";
        Err(Problem::forbidden("confirmation_needed", message)
            .hint("POST /v1/session/confirm, and ask the same again within five minutes"))
    }

    /// Whether the client may ask this, too.
    pub(in crate::server) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.permissions.may(scope) {
            return Ok(());
        }
        let message = format!("this client may not ask for this: it lacks the scope {scope}");
        Err(Problem::forbidden("scope_missing", message))
    }

    /// Who calls, if the client may ask for him. What it may not is told before anything is looked up,
    /// so the answer is the same whether there is such a number or not.
    pub(in crate::server) fn from(
        &self,
        tenant: Option<&str>,
        number: &str,
    ) -> Result<CallFrom, Problem> {
        let wrong = |code, field, why: &dyn ToString| Problem::field(code, field, &why.to_string());
        let tenant = tenant.map(str::parse::<TenantId>).transpose();
        let tenant = tenant.map_err(|error| wrong("tenant_malformed", "tenant", &error))?;
        let number = number.parse::<E164>();
        let number = number.map_err(|error| wrong("number_malformed", "from", &error))?;
        let tenant = match (tenant, self.permissions.tenants.as_deref()) {
            (Some(tenant), _) if !self.permissions.may_ask_for(tenant) => {
                let why = "this client may not ask for this tenant";
                return Err(Problem::forbidden_field("tenant_not_allowed", "tenant", why));
            }
            (None, Some(&[only])) => Some(only),
            (None, Some(_)) => return Err(tenant_needed()),
            (tenant, _) => tenant,
        };
        if !self.permissions.may_call_from(number) {
            let why = "this client may not ask for numbers that begin so";
            return Err(Problem::forbidden_field("number_not_allowed", "from", why));
        }
        Ok(CallFrom { tenant, number })
    }

    /// Who calls, for a client that is one caller and so names none.
    pub(in crate::server) fn only_caller(&self) -> Result<CallFrom, Problem> {
        let Permissions { tenants, numbers, .. } = self.permissions;
        let number = match (tenants.as_deref(), &numbers[..]) {
            (Some([_]), [number]) => number.to_string(),
            _ => return Err(no_only_caller()),
        };
        let number = number.parse().map_err(|_| no_only_caller())?;
        Ok(CallFrom { tenant: tenants.as_deref().and_then(<[_]>::first).copied(), number })
    }

    /// The answer for who calls. From memory without a load to carry along.
    pub(in crate::server) async fn resolve(&self, from: &CallFrom) -> Result<Resolution, Problem> {
        let Some(tenant) = from.tenant else {
            return Ok(Box::pin(self.resolver.resolve_number(from.number)).await?);
        };
        let caller = Caller::new(tenant, from.number);
        let answer = match self.resolver.try_resolve(caller) {
            Some(warm) => warm,
            None => Box::pin(self.resolver.resolve(caller)).await,
        };
        Ok(answer?)
    }
}

impl CallFrom {
    /// Who calls, where that takes a tenant.
    pub(in crate::server) fn caller(&self) -> Result<Caller, Problem> {
        let tenant = self.tenant.ok_or_else(tenant_needed)?;
        Ok(Caller::new(tenant, self.number))
    }

    pub(in crate::server) fn number(&self) -> E164 {
        self.number
    }
}

/// On whose behalf an edit is made.
pub(in crate::server) fn behalf(client: &Client, id: &RequestId, peer: Peer) -> Behalf {
    Behalf {
        client: client.id,
        client_name: client.name.clone(),
        request: id.to_string(),
        from: peer.to_string(),
    }
}

fn no_only_caller() -> Problem {
    let message =
        "this client is not one tenant's with one whole caller number, for which it joins";
    Problem::unprocessable("caller_needed", message)
        .hint("`trunkline client add --tenant UUID --number +971501234567`, or ask for a ticket")
}

fn tenant_needed() -> Problem {
    Problem::field(
        "tenant_needed",
        "tenant",
        "must be there: this client may ask for more than one",
    )
}

/// What is answered.
pub(in crate::server) fn text(answer: &Value) -> Vec<u8> {
    answer.to_string().into_bytes()
}
