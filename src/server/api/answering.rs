//! From a request to what the table of routes says of it: who asks, whether he may, what he asks.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use zeroize::Zeroizing;

use super::asking::Asking;
use super::events::Open;
use super::limits::Asker;
use super::problem::Problem;
use super::question::Question;
use super::reply::Reply;
use super::request_id::RequestId;
use super::routes::{Operation, Route};
use super::visitor::Visitor;
use super::{
    ApiShared, Known, NOWHERE, Place, audit, body, clients, configs, fleet, identify, join, keys,
    listening, numbers, openapi, resolve, rollout, routes, session, tenants, tickets, tokens,
    users, verify, viewer, visitor,
};
#[cfg(feature = "dispatch")]
use super::{batches, calls, checks, pairs, route, webhook};
use crate::server::connections::Peer;
use crate::store::Client;

impl Place {
    /// What the table of routes says.
    pub(super) async fn routed(
        &self,
        peer: Peer,
        parts: &Parts,
        body: &mut Option<Body>,
        id: &RequestId,
    ) -> (Option<&'static Route>, Result<Reply, Problem>) {
        match routes::find(&parts.method, parts.uri.path()) {
            Ok((route, of)) => (Some(route), self.answer(route, of, peer, parts, body, id).await),
            Err(problem) => (None, Err(self.shared.limits.refused(peer, problem))),
        }
    }

    /// Who asks, whether he may, what he asks; in this order.
    ///
    /// What is asked seldom is boxed: a future is as large as its largest part, and each request moves it.
    async fn answer(
        &self,
        route: &'static Route,
        of: Option<&str>,
        peer: Peer,
        parts: &Parts,
        body: &mut Option<Body>,
        id: &RequestId,
    ) -> Result<Reply, Problem> {
        let limits = &self.shared.limits;
        let refused = |problem| limits.refused(peer, problem);
        let visitor = self.visitor(peer, parts).map_err(refused)?;
        #[cfg(feature = "dispatch")]
        if let Operation::Webhook = route.operation {
            let ApiShared { resolver, calls, webhooks, .. } = &*self.shared;
            let told = webhook::answer(resolver, calls.as_ref(), webhooks, &parts.headers, body);
            return Box::pin(told).await.map_err(refused);
        }
        let Some(scope) = route.scope else {
            limits.stranger(peer)?;
            if let Operation::Session(operation) = route.operation {
                let body = self.body(route, parts, body).await?;
                let (query, headers) = (parts.uri.query(), &parts.headers);
                let question = Question { route, id: of, query, headers, body: &body };
                return Box::pin(session::answer(operation, &visitor, &question, id)).await;
            }
            return Ok(match route.operation {
                Operation::Viewer => viewer::answer(),
                _ => openapi::text().into_bytes().into(),
            });
        };
        let Known { client, person, ticket } = self.who(route, &visitor).await.map_err(refused)?;
        let asker = Asker::of(&client, ticket.as_ref());
        let _running = limits.admit(asker)?;
        let who = (&*client, person.as_ref());
        let asking = Asking::new(&self.shared.resolver, who, scope, id, peer)?;
        if route.confirm {
            asking.needs_confirmation()?;
        }
        let _upload = self.upload(route, &client)?;
        let body = self.body(route, parts, body).await?;
        let (query, headers) = (parts.uri.query(), &parts.headers);
        let question = Question { route, id: of, query, headers, body: &body };
        tracing::debug!(request_id = %id, client = client.name, route = route.path, "asked");
        match route.operation {
            Operation::Tokens => {
                tokens::answer(&asking, &body, &self.shared.metrics).await.map(Reply::from)
            }
            Operation::Resolve => resolve::answer(&asking, &body).await.map(Reply::from),
            #[cfg(feature = "dispatch")]
            Operation::Route => route::answer(&asking, &body).await.map(Reply::from),
            Operation::Join => {
                let joined = join::answer(&asking, ticket.as_ref(), &body, &self.shared.metrics);
                Ok(Reply::from(Box::pin(joined).await?).status(route.success()))
            }
            Operation::Tickets => tickets::answer(&asking, &body).map(Reply::from),
            Operation::Verify => Box::pin(verify::answer(&asking, &body)).await.map(Reply::from),
            Operation::Configs(operation) => {
                Box::pin(configs::answer(operation, &asking, &question, &self.shared.keys)).await
            }
            #[cfg(feature = "dispatch")]
            Operation::Batches(operation) => {
                let (keys, batches) = (&self.shared.keys, self.shared.batches.as_ref());
                let goes_on = (&self.shared.streams, &self.stop);
                let answered =
                    batches::answer(operation, &asking, &question, (keys, batches), goes_on);
                Box::pin(answered).await
            }
            #[cfg(feature = "dispatch")]
            Operation::Calls(operation) => {
                let (keys, calls) = (&self.shared.keys, self.shared.calls.as_ref());
                let goes_on = (&self.shared.streams, &self.stop);
                Box::pin(calls::answer(operation, &asking, &question, keys, calls, goes_on)).await
            }
            #[cfg(feature = "dispatch")]
            Operation::Checks(operation) => {
                let goes_on = (&self.shared.streams, &self.stop);
                Box::pin(checks::answer(operation, &asking, &question, goes_on)).await
            }
            #[cfg(feature = "dispatch")]
            Operation::Pairs(what) => Box::pin(pairs::answer(what, &asking, &question)).await,
            Operation::Numbers(operation) => {
                Box::pin(numbers::answer(operation, &asking, &question, &self.shared.keys)).await
            }
            Operation::Listen => {
                let goes_on = (&self.shared.streams, &self.stop);
                Box::pin(listening::answer(&asking, &question, goes_on)).await
            }
            Operation::Audit(what) => Box::pin(audit::answer(what, &asking, &question)).await,
            Operation::Users(what) => Box::pin(users::answer(what, &asking, &question)).await,
            Operation::Clients(what) => Box::pin(clients::answer(what, &asking, &question)).await,
            Operation::Fleet(what) => Box::pin(fleet::answer(what, &asking, &question)).await,
            Operation::Rollout(what) => Box::pin(rollout::answer(what, &asking, &question)).await,
            Operation::Keys(what) => Box::pin(keys::answer(what, &asking, &question)).await,
            Operation::Tenants(what) => Box::pin(tenants::answer(what, &asking, &question)).await,
            #[cfg(feature = "dispatch")]
            Operation::Webhook => unreachable!("it has no client, and was answered"),
            Operation::OpenApi | Operation::Viewer | Operation::Session(_) => {
                unreachable!("it needs no scope, and was answered")
            }
        }
    }

    /// Who asks with a browser, if anybody does. An error: the request may not come here.
    pub(in crate::server) fn visitor<'v>(
        &'v self,
        peer: Peer,
        parts: &'v Parts,
    ) -> Result<Visitor<'v>, Problem> {
        self.at.refuse_detours(&parts.headers)?;
        let ApiShared { resolver, user_header, attempts, metrics, .. } = &*self.shared;
        let connected = parts.extensions.get().copied().unwrap_or(NOWHERE);
        let vouched = visitor::vouched(user_header.as_ref(), connected, &parts.headers)?;
        let (at, method, headers) = (&self.at, &parts.method, &parts.headers);
        Ok(Visitor { resolver, attempts, metrics, at, peer, vouched, method, headers })
    }

    /// A place for a file that is read into memory, where a route takes one.
    fn upload(&self, route: &Route, client: &Client) -> Result<Option<Open>, Problem> {
        let opens = !route.uploads.is_empty();
        opens.then(|| self.shared.streams.open(client.id, "uploads", MOST_UPLOADS)).transpose()
    }

    /// The body, where a route takes one. Wiped in the end: it may hold a secret.
    async fn body(
        &self,
        route: &Route,
        parts: &Parts,
        body: &mut Option<Body>,
    ) -> Result<Zeroizing<Vec<u8>>, Problem> {
        if !route.takes_body() {
            return Ok(Zeroizing::default());
        }
        let given = body.take().unwrap_or_default();
        if !route.uploads.is_empty() {
            body::refuse_other_files(route.uploads, &parts.headers)?;
            return Ok(Zeroizing::new(body::read_file(&parts.headers, given).await?));
        }
        body::refuse_other_types(&parts.headers)?;
        Ok(Zeroizing::new(body::read(&parts.headers, given).await?))
    }

    /// Who asks. A ticket stands for the client that made it, and for one thing alone; a cookie for a
    /// person, where no token is sent.
    pub(in crate::server) async fn who(
        &self,
        route: &Route,
        visitor: &Visitor<'_>,
    ) -> Result<Known, Problem> {
        let ApiShared { resolver, users, .. } = &*self.shared;
        let headers = visitor.headers;
        if let Operation::Join = route.operation
            && let Some((client, ticket)) = identify::ticket(resolver, headers).await?
        {
            return Ok(Known { client, person: None, ticket: Some(ticket) });
        }
        if !headers.contains_key(AUTHORIZATION) && visitor.shows_session() {
            let person = Box::pin(visitor.person()).await?;
            let person = person.ok_or_else(Problem::session_ended)?;
            let client = Arc::clone(&person.client);
            return Ok(Known { client, person: Some(person), ticket: None });
        }
        let client = identify::client(resolver, users, visitor.peer, headers).await?;
        Ok(Known { client, person: None, ticket: None })
    }
}

/// How many files of one client are read at once.
const MOST_UPLOADS: u32 = 2;
