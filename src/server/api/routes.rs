//! The table of routes. The router, the counters and the OpenAPI document are made of it.

use axum::http::{Method, StatusCode};

use super::fields::Field;
use super::problem::Problem;
use super::{
    audit, clients, configs, fleet, join, numbers, resolve, session, tickets, tokens, users, verify,
};
use crate::access::Scope;

/// One method of a path that is answered.
pub(in crate::server) struct Route {
    /// A template: `{id}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    /// Its name in the document, which generated clients call it by.
    pub(super) name: &'static str,
    /// What it is for. A sentence.
    pub(super) summary: &'static str,
    /// What a client needs. `None`: it is answered to everybody.
    pub(super) scope: Option<Scope>,
    /// Whether a person needs to have given his password a moment ago.
    pub(super) confirm: bool,
    /// What may stand behind the path.
    pub(super) query: &'static [Field],
    /// What headers may say.
    pub(super) headers: &'static [Header],
    pub(super) asked: &'static [Field],
    /// The kinds of file that it takes in place of JSON.
    pub(super) uploads: &'static [&'static str],
    pub(super) answered: &'static [Field],
    /// The kinds of file that it answers with in place of JSON.
    pub(super) downloads: &'static [&'static str],
    /// The events of an answer that goes on: the name of each, what it tells and what it holds.
    pub(super) events: &'static [EventKind],
    /// What headers of an answer say.
    pub(super) answered_headers: &'static [Header],
    /// Every code that it answers with, that of success first. Each is counted from zero.
    pub(super) codes: &'static [u16],
    pub(super) operation: Operation,
}

/// A header that means something here.
pub(super) struct Header {
    pub(super) name: &'static str,
    /// What it is. A sentence.
    pub(super) help: &'static str,
}

/// One kind of event.
pub(super) struct EventKind {
    pub(super) name: &'static str,
    /// What it tells. A sentence.
    pub(super) help: &'static str,
    /// What its data holds.
    pub(super) holds: &'static [Field],
}

impl Route {
    /// What it answers with when all is well.
    pub(super) fn success(&self) -> StatusCode {
        let code = self.codes.first().and_then(|code| StatusCode::from_u16(*code).ok());
        code.unwrap_or(StatusCode::OK)
    }

    /// Whether a body comes with it.
    pub(super) fn takes_body(&self) -> bool {
        matches!(self.method, "POST" | "PATCH")
    }

    /// What a path has for `{id}`. `None`: it is not this route's.
    fn id<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (before, after) = self.path.split_once(ID)?;
        let id = path.strip_prefix(before)?.strip_suffix(after)?;
        (!id.is_empty() && !id.contains('/')).then_some(id)
    }
}

/// What is done.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Tokens,
    Resolve,
    #[cfg(feature = "dispatch")]
    Route,
    Join,
    Tickets,
    Verify,
    #[cfg(feature = "dispatch")]
    Webhook,
    OpenApi,
    Viewer,
    Configs(configs::Operation),
    Numbers(numbers::Operation),
    #[cfg(feature = "dispatch")]
    Batches(super::batches::Operation),
    #[cfg(feature = "dispatch")]
    Calls(super::calls::Operation),
    #[cfg(feature = "dispatch")]
    Checks(super::checks::Operation),
    #[cfg(feature = "dispatch")]
    Pairs(super::pairs::Operation),
    Listen,
    Fleet(fleet::Operation),
    Rollout(super::rollout::Operation),
    Tenants(super::tenants::Operation),
    Keys(super::keys::Operation),
    Audit(audit::Operation),
    Session(session::Operation),
    Users(users::Operation),
    Clients(clients::Operation),
}

/// The route of a request, and what its path has for `{id}`. A path without one goes before.
pub(super) fn find<'p>(
    method: &Method,
    path: &'p str,
) -> Result<(&'static Route, Option<&'p str>), Problem> {
    let is_same = |route: &&Route| route.path == path;
    if let Some(route) = all().find(|route| is_same(route) && method.as_str() == route.method) {
        return Ok((route, None));
    }
    let is_whole = all().any(|route| is_same(&route));
    let of_path =
        || all().filter(|route| if is_whole { is_same(route) } else { route.id(path).is_some() });
    match of_path().find(|route| method.as_str() == route.method) {
        Some(route) => Ok((route, route.id(path))),
        None => {
            let allowed: Vec<_> = of_path().map(|route| route.method).collect();
            if allowed.is_empty() {
                return Err(Problem::not_found());
            }
            Err(Problem::wrong_method(&allowed.join(", ")))
        }
    }
}

/// Every route.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    TABLES.iter().copied().flatten()
}

const TABLES: &[&[Route]] = &[
    ROUTES,
    configs::ROUTES,
    numbers::ROUTES,
    fleet::ROUTES,
    super::rollout::ROUTES,
    super::tenants::ROUTES,
    super::keys::ROUTES,
    super::listening::ROUTES,
    audit::ROUTES,
    session::ROUTES,
    users::ROUTES,
    clients::ROUTES,
    #[cfg(feature = "dispatch")]
    super::calls::ROUTES,
    #[cfg(feature = "dispatch")]
    super::call_events::ROUTES,
    #[cfg(feature = "dispatch")]
    super::batches::ROUTES,
    #[cfg(feature = "dispatch")]
    super::checks::ROUTES,
    #[cfg(feature = "dispatch")]
    super::pairs::ROUTES,
    #[cfg(feature = "dispatch")]
    WEBHOOK,
];

/// What of a template stands for a segment.
const ID: &str = "{id}";

/// Every page, as far as pages are counted. They are no part of the document.
pub(in crate::server) const PAGES: Route = Route {
    path: "pages",
    codes: &[200, 303, 400, 401, 403, 409, 412, 422, 503],
    operation: Operation::Viewer,
    ..BARE
};

/// What most routes have none of.
pub(super) const BARE: Route = Route {
    path: "",
    method: "GET",
    name: "",
    summary: "",
    scope: None,
    confirm: false,
    query: &[],
    headers: &[],
    asked: &[],
    uploads: &[],
    answered: &[],
    downloads: &[],
    events: &[],
    answered_headers: &[],
    codes: &[],
    operation: Operation::OpenApi,
};

#[cfg(feature = "dispatch")]
const WEBHOOK: &[Route] = &[Route {
    path: "/v1/livekit/webhook",
    name: "webhook",
    method: "POST",
    summary: "Takes the webhooks of LiveKit servers, and writes down when and why the phone of a call \
              left. The server's signature is the login.",
    headers: &[Header { name: "Authorization", help: "The token that LiveKit sends, as it is." }],
    answered: super::webhook::ANSWERED,
    codes: &[200, 400, 401, 408, 413, 429, 500, 503],
    operation: Operation::Webhook,
    ..BARE
}];

const ROUTES: &[Route] = &[
    Route {
        path: "/v1/tokens",
        name: "tokens",
        method: "POST",
        summary: "A LiveKit access token for a caller, signed by the server that places its calls.",
        scope: Some(Scope::Tokens),
        asked: tokens::ASKED,
        answered: tokens::ANSWERED,
        codes: CODES,
        operation: Operation::Tokens,
        ..BARE
    },
    Route {
        path: "/v1/resolve",
        name: "resolve",
        method: "POST",
        summary: "Which LiveKit server, trunk and agent place the calls of a caller, and why.",
        scope: Some(Scope::Resolve),
        asked: resolve::ASKED,
        answered: resolve::ANSWERED,
        codes: CODES,
        operation: Operation::Resolve,
        ..BARE
    },
    #[cfg(feature = "dispatch")]
    Route {
        path: "/v1/route",
        name: "route",
        method: "POST",
        summary: "Whether a number may call another one, and what is dialled then.",
        scope: Some(Scope::Route),
        asked: super::route::ASKED,
        answered: super::route::ANSWERED,
        codes: CODES,
        operation: Operation::Route,
        ..BARE
    },
    Route {
        path: "/v1/livekit/token",
        name: "livekitToken",
        method: "POST",
        summary: "LiveKit's own token endpoint: a token that joins a room, for a client or a ticket.",
        scope: Some(Scope::Join),
        asked: join::ASKED,
        answered: join::ANSWERED,
        codes: &[201, 400, 401, 403, 408, 413, 415, 422, 429, 503],
        operation: Operation::Join,
        ..BARE
    },
    Route {
        path: "/v1/tickets",
        name: "tickets",
        method: "POST",
        summary: "A ticket, with which a browser joins one room under one identity.",
        scope: Some(Scope::Join),
        asked: tickets::ASKED,
        answered: tickets::ANSWERED,
        codes: CODES,
        operation: Operation::Tickets,
        ..BARE
    },
    Route {
        path: "/v1/livekit/verify",
        name: "verify",
        method: "POST",
        summary: "Which LiveKit config signed a token, and what the token says.",
        scope: Some(Scope::Verify),
        asked: verify::ASKED,
        answered: verify::ANSWERED,
        codes: CODES,
        operation: Operation::Verify,
        ..BARE
    },
    Route {
        path: "/v1/openapi.json",
        name: "openapi",
        summary: "This document.",
        codes: &[200, 400, 429],
        ..BARE
    },
    Route {
        path: "/v1/docs",
        name: "docs",
        summary: "The same for people, as a page.",
        codes: &[200, 400, 429],
        operation: Operation::Viewer,
        ..BARE
    },
];

/// What any question may be answered with.
const CODES: &[u16] = &[200, 400, 401, 403, 408, 413, 415, 422, 429, 503];
