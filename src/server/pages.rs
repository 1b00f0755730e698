//! The admin page: what operators look at and edit, at the listeners of the API, under `/` there.
//!
//! ```text
//! /           how it is, and what to do about it
//! /configs    LiveKit configs: find, check, edit, turn back, remove
//! /numbers    caller numbers: find, assign, edit
//! /tenants    what people call the tenants
//! /why        which credentials a caller gets, step by step
//! /calls      a call to one's own phone
//! /batches    the calls of a file: rehearse, run, cancel, go on
//! /audit      who changed what
//! /nodes      who resolves, and how far each has read
//! /rollout    whom the database answers, and the next step
//! /keys       which key seals, and how far a rotation is
//! /people     who may sign in, and which programs may ask
//! ```
//!
//! Pages do what the API does by the same functions: they read a form where it reads JSON. They are made
//! on the server, whole without script, and every link is relative, so a proxy may put a path before all
//! of them.
//!
//! **Invariant:** no page holds a secret, sealed or not, and what people entered is shown as text.

mod assets;
mod assigning;
mod audit;
mod audit_export;
#[cfg(feature = "dispatch")]
mod batch;
#[cfg(feature = "dispatch")]
mod batches;
#[cfg(feature = "dispatch")]
mod calls;
mod chart;
mod config_forms;
mod config_list;
mod config_many;
mod configs;
mod fields;
mod frame;
mod history;
mod import_plan;
mod import_rows;
mod importing;
mod key_steps;
mod keys;
mod nodes;
mod number_export;
mod number_filter;
mod number_forms;
mod numbers;
mod overview;
mod parts;
mod people;
mod person;
mod rollout;
mod rules;
mod sign_in;
mod tenants;
mod visit;
#[cfg(feature = "dispatch")]
mod why;

use std::convert::Infallible;

use askama::Template;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use zeroize::Zeroizing;

use self::assets::Assets;
use self::frame::Frame;
use self::history::History;
use self::visit::Visit;
use super::api::routes::PAGES;
use super::api::{Asker, Place, Problem, Reply, RequestId};
use super::connections::Peer;
use super::exporter::Exporter;
use crate::resolver::Resolver;

/// What pages are made of beside the resolver.
#[derive(Default)]
pub(super) struct Pages {
    assets: Assets,
    history: History,
}

impl Pages {
    /// Notes what the charts show, for as long as it is polled.
    pub(super) async fn remember(&self, resolver: &Resolver, exporter: &Exporter) -> Infallible {
        loop {
            resolver.record_metrics();
            self.history.take(resolver.unix_time().as_secs(), &exporter.render());
            tokio::time::sleep(history::EVERY).await;
        }
    }
}

/// Whether a request is for a page. Everything else is the API's.
pub(super) fn are_asked(request: &Parts) -> bool {
    let path = request.uri.path();
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let is_a_page = path.starts_with('/') && !path.starts_with("//") && FIRST.contains(&first);
    is_a_page && (request.method.is_safe() || path != "/")
}

/// A request for a page. Whatever is wrong is told on a page, too.
pub(super) async fn answer(
    place: &Place,
    peer: Peer,
    parts: &Parts,
    body: &mut Option<Body>,
    id: &RequestId,
) -> Result<Reply, Problem> {
    let (shared, limits) = (&place.shared, &place.shared.limits);
    let refused = |problem| limits.refused(peer, problem);
    let visitor = place.visitor(peer, parts).map_err(refused)?;
    if let Some(reply) = shared.pages.assets.answer(parts.uri.path()) {
        return Ok(reply);
    }
    if parts.uri.path() == "/sign-in" {
        limits.stranger(peer)?;
        let entered = Zeroizing::new(visit::read_form(parts, body).await?);
        return sign_in::answer(place, &visitor, parts, &entered).await.map(guarded);
    }
    let known = match place.who(&PAGES, &visitor).await {
        Ok(known) => known,
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            limits.stranger(peer)?;
            return Ok(guarded(sign_in::asked_for(parts)));
        }
        Err(problem) => {
            let frame = Frame::of_nobody(place, parts, "Not let in");
            return problem_page(&frame, &refused(problem), id).map(guarded);
        }
    };
    let asker = Asker::of(&known.client, None);
    let _running = limits.admit(asker)?;
    let entered = Zeroizing::new(visit::read_form(parts, body).await?);
    let visit = Visit::of(place, (known, visitor), parts, &entered, id);
    let reply = match visit.go().await {
        Ok(reply) => Ok(reply),
        Err(problem) => problem_page(&visit.frame("Not done", ""), &problem, id),
    };
    reply.map(guarded)
}

/// What a browser may do with a page: load what is ours, and nothing that stands in the page itself.
fn guarded(reply: Reply) -> Reply {
    reply
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .header(REFERRER_POLICY, "same-origin")
        .header(OPENER_POLICY, "same-origin")
        .header(CACHE_CONTROL, "no-store")
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'p> {
    frame: &'p Frame<'p>,
    message: &'p str,
    hint: Option<&'p str>,
    code: &'p str,
    request: &'p str,
}

fn problem_page(frame: &Frame<'_>, problem: &Problem, id: &RequestId) -> Result<Reply, Problem> {
    problem.log(id);
    let page = ProblemPage {
        frame,
        message: problem.message(),
        hint: problem.hint_text(),
        code: problem.code,
        request: id.as_str(),
    };
    Ok(page_of(&page)?.status(problem.status))
}

/// A template as an answer.
fn page_of(template: &impl Template) -> Result<Reply, Problem> {
    let html = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be made");
        let message = "this page could not be made; this is a defect";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "page_failed", message)
    })?;
    Ok(Reply::page(html))
}

/// What the paths of pages begin with.
const FIRST: [&str; 20] = [
    "",
    "why",
    "account",
    "assets",
    "audit",
    "audit.csv",
    "batches",
    "batches.csv",
    "calls",
    "configs",
    "keys",
    "nodes",
    "numbers",
    "numbers.csv",
    "people",
    "rollout",
    "sign-in",
    "sign-out",
    "tenants",
    "theme",
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
