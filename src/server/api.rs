//! The API: what programs in other languages ask, each as a client that may ask no more than its
//! permissions say.
//!
//! ```text
//! POST /v1/tokens          a LiveKit access token for a caller
//! POST /v1/resolve         which server, trunk and agent place its calls
//! POST /v1/route           whether it may call a number
//! POST /v1/livekit/token   the same for whoever joins a room, as LiveKit's SDKs ask for it
//! POST /v1/tickets         what a browser asks for that with
//! POST /v1/livekit/verify  which LiveKit config signed a token
//! POST /v1/calls           a call, placed once
//! POST /v1/batches         the calls of a file, each placed once
//! POST /v1/checks          whether credentials would place calls, step by step
//! POST /v1/livekit/webhook what a server tells of its end
//!      /v1/session …       people sign in and out
//! GET  /v1/openapi.json    all of that, for machines; /v1/docs for people
//!      /v1/configs …       what operators edit and read; routes.rs has the tables
//! ```
//!
//! It is answered at an address of this machine and on a Unix socket, never where metrics are. Every
//! refusal is the same whether what was asked for is there or not.
//!
//! **Invariant:** nothing of a request is looked at before its client is known, but for what tells who
//! asks and which route it is.

mod answering;
mod asking;
mod attempts;
mod audit;
#[cfg(feature = "dispatch")]
pub(super) mod batches;
pub(super) mod body;
mod bound;
#[cfg(feature = "dispatch")]
mod call_events;
#[cfg(feature = "dispatch")]
mod calls;
#[cfg(feature = "dispatch")]
pub(super) mod checks;
pub(super) mod clients;
pub(super) mod configs;
#[cfg(feature = "dispatch")]
mod dialling;
mod editing;
mod events;
mod fields;
mod fleet;
mod hearer;
mod idempotency;
pub(super) mod identify;
mod join;
pub(super) mod keys;
mod limits;
mod listening;
mod metrics;
mod minting;
pub(super) mod numbers;
mod openapi;
mod page;
#[cfg(feature = "dispatch")]
pub(super) mod pairs;
mod place;
mod problem;
mod question;
mod reply;
mod request_id;
mod resolve;
pub(super) mod rollout;
#[cfg(feature = "dispatch")]
mod route;
pub(super) mod routes;
mod session;
pub(super) mod tenants;
mod tickets;
mod tokens;
pub(super) mod users;
mod verify;
pub(super) mod version;
mod viewer;
mod visitor;
#[cfg(feature = "dispatch")]
mod webhook;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use self::asking::{Asking, behalf};
use self::attempts::Attempts;
pub use self::bound::ApiError;
use self::bound::Bound;
use self::events::Streams;
use self::idempotency::KeysInUse;
use self::identify::Users;
pub(super) use self::limits::Asker;
use self::limits::Limits;
pub(super) use self::metrics::ApiMetrics;
use self::metrics::Requests;
pub use self::openapi::openapi;
pub(super) use self::page::Page;
use self::place::At;
pub(super) use self::problem::Problem;
pub(super) use self::question::Expected;
pub(super) use self::reply::Reply;
pub(super) use self::request_id::RequestId;
use self::request_id::RequestIds;
pub(super) use self::visitor::Visitor;
#[cfg(feature = "dispatch")]
use self::webhook::WebhookMetrics;
use super::GRACE;
use super::connections::{Connections, Peer};
use super::exporter::Exporter;
use super::hosts::Hosts;
use super::pages::{self, Pages};
use super::tls::TlsListener;
use crate::access::Ticket;
#[cfg(feature = "dispatch")]
use crate::dispatch::recorded::RecordedCalls;
#[cfg(feature = "dispatch")]
use crate::dispatch::uploaded::UploadedBatches;
use crate::resolver::{Person, Resolver};
use crate::settings::{ApiSettings, UserHeader};
use crate::store::Client;

/// A bound address, a bound socket, or both, where clients are answered.
pub struct Api {
    listeners: Vec<Bound>,
    shared: Arc<ApiShared>,
    hosts: Vec<String>,
    behind_proxy: bool,
}

/// What all answers are made of.
pub(super) struct ApiShared {
    pub(super) resolver: Resolver,
    pub(super) users: Users,
    user_header: Option<UserHeader>,
    requests: Requests,
    metrics: ApiMetrics,
    ids: RequestIds,
    pub(super) limits: Limits,
    attempts: Attempts,
    keys: KeysInUse,
    pub(super) streams: Streams,
    pub(super) pages: Pages,
    /// What the charts of pages are drawn from.
    pub(super) exporter: Exporter,
    /// `None`: no database keeps them.
    #[cfg(feature = "dispatch")]
    pub(super) calls: Option<RecordedCalls>,
    /// The same of batches.
    #[cfg(feature = "dispatch")]
    pub(super) batches: Option<UploadedBatches>,
    #[cfg(feature = "dispatch")]
    webhooks: WebhookMetrics,
}

/// Who asks: a client, or a person as one, or who shows a ticket of a client.
pub(super) struct Known {
    pub(super) client: Arc<Client>,
    pub(super) person: Option<Arc<Person>>,
    ticket: Option<Ticket>,
}

/// One of the places where it is answered.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) shared: Arc<ApiShared>,
    pub(super) at: At,
    /// Ends the answers that go on.
    stop: CancellationToken,
}

impl Api {
    /// Binds what the settings name, and answers nothing yet. `None`: they name nothing.
    ///
    /// `hosts` are names that it answers to beside those of the machine, in small letters.
    ///
    /// # Errors
    ///
    /// [`ApiError`] says what cannot be had.
    pub async fn bind(
        settings: &ApiSettings,
        hosts: Vec<String>,
        resolver: Resolver,
        exporter: &Exporter,
    ) -> Result<Option<Self>, ApiError> {
        if !settings.is_on() {
            return Ok(None);
        }
        let users = Users::read(&settings.users)?;
        let listeners = Bound::all(settings).await?;
        let (requests, metrics) = exporter.record(|| {
            resolver.expect_passwords();
            (Requests::new(), ApiMetrics::new())
        });
        let ids = RequestIds::new();
        let (limits, keys) = (Limits::new(settings.rate), KeysInUse::default());
        let shared = Arc::new(ApiShared {
            #[cfg(feature = "dispatch")]
            calls: RecordedCalls::of(&resolver),
            #[cfg(feature = "dispatch")]
            batches: UploadedBatches::of(&resolver),
            #[cfg(feature = "dispatch")]
            webhooks: exporter.record(WebhookMetrics::new),
            resolver,
            users,
            user_header: settings.user_header.clone(),
            requests,
            metrics,
            ids,
            limits,
            attempts: Attempts::default(),
            keys,
            streams: Streams::default(),
            pages: Pages::default(),
            exporter: exporter.clone(),
        });
        let behind_proxy = settings.behind_proxy;
        Ok(Some(Self { listeners, shared, hosts, behind_proxy }))
    }

    /// Where it is answered: `https://` or `http://` and an address, or `unix:` and a path.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        self.listeners.iter().map(Bound::shown).collect()
    }

    /// Answers until `stop`, and then until those who are being answered have their answers, for
    /// [`GRACE`] at the most. The file of the socket goes with it.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { listeners, shared, hosts, behind_proxy } = self;
        let (upkeep, ending) = (Arc::clone(&shared), stop.clone());
        let answering = join_all(listeners.into_iter().map(|bound| {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            let at = |address, has_tls| {
                let hosts = Hosts::at(address, &hosts);
                if behind_proxy { At::Proxy { hosts } } else { At::Address { hosts, has_tls } }
            };
            let at = match &bound {
                Bound::Address(_, address) => at(*address, false),
                Bound::Secure(_, address, _) => at(*address, true),
                Bound::Socket(..) => At::Socket,
            };
            let place = Place { shared, at, stop: stop.clone() };
            let (connections, router) = (Arc::new(Connections::at_most(MOST)), router(place));
            async move {
                match bound {
                    Bound::Address(listener, _) => {
                        connections.serve(listener, router, stop, GRACE).await;
                    }
                    Bound::Secure(listener, _, certificate) => {
                        let listener = TlsListener::new(listener, Arc::clone(&certificate));
                        tokio::select! {
                            () = connections.serve(listener, router, stop, GRACE) => {}
                            never = certificate.keep() => match never {},
                        }
                    }
                    Bound::Socket(listener, _file) => {
                        connections.serve(listener, router, stop, GRACE).await;
                    }
                }
            }
        }));
        let answering = async {
            tokio::join!(answering, upkeep.stop_batches(ending));
        };
        tokio::select! {
            () = answering => {}
            never = Box::pin(upkeep.keep()) => match never {},
        }
    }
}

impl ApiShared {
    /// Removes what has been kept for long enough, and notes what charts show, for as long as it is
    /// polled.
    async fn keep(&self) -> Infallible {
        tokio::select! {
            never = self.prune() => never,
            never = self.run_batches() => never,
            never = self.pages.remember(&self.resolver, &self.exporter) => never,
        }
    }

    async fn run_batches(&self) -> Infallible {
        #[cfg(feature = "dispatch")]
        if let Some(batches) = &self.batches {
            return Box::pin(batches.keep()).await;
        }
        std::future::pending().await
    }

    /// Waits for `stop`, and then for the calls of batches, which go on when the daemon is started anew.
    async fn stop_batches(&self, stop: CancellationToken) {
        stop.cancelled().await;
        #[cfg(feature = "dispatch")]
        if let Some(batches) = &self.batches {
            Box::pin(batches.stop(GRACE)).await;
        }
    }

    async fn prune(&self) -> Infallible {
        #[cfg(feature = "dispatch")]
        if let Some(calls) = &self.calls {
            return calls.prune().await;
        }
        std::future::pending().await
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Api").field("places", &self.places()).finish_non_exhaustive()
    }
}

/// How many connections of clients are open at the most, by address and by socket.
const MOST: usize = 2048;
/// What a browser may do with an answer that it was led to: nothing.
const NOTHING_RUNS: &str = "default-src 'none'; frame-ancestors 'none'";
/// Where a request comes from that is of no connection.
const NOWHERE: Peer = Peer::Network(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// The place is shared, since each request takes one along.
fn router(place: Place) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(place))
}

/// Answers one request: whatever comes of it is counted, and has an id and the headers of all.
async fn answer(State(place): State<Arc<Place>>, request: Request) -> Response {
    let begun = Instant::now();
    let shared = &*place.shared;
    let (parts, body) = request.into_parts();
    let id = shared.ids.of(&parts.headers);
    let peer = place.at.peer(parts.extensions.get().copied().unwrap_or(NOWHERE), &parts.headers);
    let mut body = Some(body);
    let (route, outcome) = if pages::are_asked(&parts) {
        (Some(&routes::PAGES), Box::pin(pages::answer(&place, peer, &parts, &mut body, &id)).await)
    } else {
        place.routed(peer, &parts, &mut body, &id).await
    };
    let unread = body.filter(|_| outcome.is_err());
    if let Some(unread) = unread {
        Box::pin(body::drain(unread)).await;
    }
    let mut response = match outcome {
        Ok(reply) => reply.response(),
        Err(problem) => {
            shared.metrics.refused(problem.code);
            problem.log(&id);
            problem.response(&id)
        }
    };
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = headers.entry(CONTENT_SECURITY_POLICY);
    policy.or_insert(HeaderValue::from_static(NOTHING_RUNS));
    place.at.add_headers(headers);
    headers.insert(request_id::HEADER, id.value());
    shared.requests.count(route, response.status(), begun);
    response
}
