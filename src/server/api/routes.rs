//! The table of routes. The router, the counters and the OpenAPI document are made of it.

use axum::http::{Method, StatusCode};

use super::fields::Field;
use super::problem::Problem;
use super::{join, resolve, tickets, tokens, verify};
use crate::access::Scope;

/// One path that is answered.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    /// What it is for. A sentence.
    pub(super) summary: &'static str,
    /// What a client needs. `None`: it is answered to everybody.
    pub(super) scope: Option<Scope>,
    pub(super) asked: &'static [Field],
    pub(super) answered: &'static [Field],
    /// Every code that it answers with, that of success first. Each is counted from zero.
    pub(super) codes: &'static [u16],
    pub(super) operation: Operation,
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
    OpenApi,
}

impl Route {
    /// What it answers with when all is well.
    pub(super) fn success(&self) -> StatusCode {
        let code = self.codes.first().and_then(|code| StatusCode::from_u16(*code).ok());
        code.unwrap_or(StatusCode::OK)
    }
}

/// The route of a request.
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Route, Problem> {
    let route = ROUTES.iter().find(|route| route.path == path).ok_or_else(Problem::not_found)?;
    if method.as_str() == route.method {
        Ok(route)
    } else {
        Err(Problem::wrong_method(route.method))
    }
}

pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/tokens",
        method: "POST",
        summary: "A LiveKit access token for a caller, signed by the server that places its calls.",
        scope: Some(Scope::Tokens),
        asked: tokens::ASKED,
        answered: tokens::ANSWERED,
        codes: CODES,
        operation: Operation::Tokens,
    },
    Route {
        path: "/v1/resolve",
        method: "POST",
        summary: "Which LiveKit server, trunk and agent place the calls of a caller, and why.",
        scope: Some(Scope::Resolve),
        asked: resolve::ASKED,
        answered: resolve::ANSWERED,
        codes: CODES,
        operation: Operation::Resolve,
    },
    #[cfg(feature = "dispatch")]
    Route {
        path: "/v1/route",
        method: "POST",
        summary: "Whether a number may call another one, and what is dialled then.",
        scope: Some(Scope::Route),
        asked: super::route::ASKED,
        answered: super::route::ANSWERED,
        codes: CODES,
        operation: Operation::Route,
    },
    Route {
        path: "/v1/livekit/token",
        method: "POST",
        summary: "LiveKit's own token endpoint: a token that joins a room, for a client or a ticket.",
        scope: Some(Scope::Join),
        asked: join::ASKED,
        answered: join::ANSWERED,
        codes: &[201, 400, 401, 403, 408, 413, 415, 422, 429, 503],
        operation: Operation::Join,
    },
    Route {
        path: "/v1/tickets",
        method: "POST",
        summary: "A ticket, with which a browser joins one room under one identity.",
        scope: Some(Scope::Join),
        asked: tickets::ASKED,
        answered: tickets::ANSWERED,
        codes: CODES,
        operation: Operation::Tickets,
    },
    Route {
        path: "/v1/livekit/verify",
        method: "POST",
        summary: "Which LiveKit config signed a token, and what the token says.",
        scope: Some(Scope::Verify),
        asked: verify::ASKED,
        answered: verify::ANSWERED,
        codes: CODES,
        operation: Operation::Verify,
    },
    Route {
        path: "/v1/openapi.json",
        method: "GET",
        summary: "This document.",
        scope: None,
        asked: &[],
        answered: &[],
        codes: &[200, 400, 429],
        operation: Operation::OpenApi,
    },
];

/// What any question may be answered with.
const CODES: &[u16] = &[200, 400, 401, 403, 408, 413, 415, 422, 429, 503];
