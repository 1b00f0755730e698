//! The daemon's HTTP side: what a scraper, a probe and a person with `curl` may ask.
//!
//! ```text
//! /metrics   every metric, for Prometheus
//! /livez     it runs
//! /readyz    it should be given calls, or why not
//! /version   what runs
//! ```
//!
//! Nothing here answers with a credential, and nothing asks for one: whoever reaches the address
//! may read all of it, so it is the machine's own by default, and then answers only to names of the
//! machine.

mod connections;
mod exporter;
mod health;
mod hosts;
mod story;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{Counter, counter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::connections::Connections;
pub use self::exporter::Exporter;
use self::health::Health;
pub use self::health::Unready;
use self::hosts::Hosts;
#[cfg(feature = "dispatch")]
use crate::dispatch::{BatchGauges, CallsCounted};
use crate::resolver::Resolver;
use crate::store::OpenStore;
use crate::telemetry::{REQUESTS, at_zero};

/// A bound address with all that is answered there.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    hosts: Vec<String>,
}

/// What the answers are made of.
struct Shared {
    exporter: Exporter,
    health: Health,
    requests: Vec<(&'static str, u16, Counter)>,
}

impl Server {
    /// Binds an address and answers nothing yet.
    ///
    /// `database` is the one that the resolver asks; without one, its tables are not looked at.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn bind(
        address: SocketAddr,
        resolver: &Resolver,
        database: Option<OpenStore>,
        exporter: Exporter,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = exporter.record(|| {
            let health = Health::new(resolver.clone(), database);
            let of = |&(route, code): &(&'static str, u16)| {
                let counter = counter!(REQUESTS, "route" => route, "code" => code.to_string());
                (route, code, at_zero(counter))
            };
            // What this process may never do is at zero, and not missing.
            #[cfg(feature = "dispatch")]
            drop((CallsCounted::new(), BatchGauges::new()));
            (health, ANSWERS.iter().map(of).collect())
        });
        let (health, requests) = shared;
        let shared = Arc::new(Shared { exporter, health, requests });
        Ok(Self { listener, shared, hosts: Vec::new() })
    }

    /// Names that it answers to beside its own, in small letters. It asks for a name only where it
    /// listens on loopback.
    #[must_use]
    pub fn hosts(self, hosts: Vec<String>) -> Self {
        Self { hosts, ..self }
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` ends, and then until those who are being answered have their answers,
    /// for [`GRACE`] at the most. From `stop` on it is not ready.
    ///
    /// # Errors
    ///
    /// When the system does not say where it listens.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let Self { listener, shared, hosts } = self;
        let hosts = Hosts::at(listener.local_addr()?, &hosts);
        let router = router(Arc::clone(&shared), hosts);
        let (begun, stopping) = (CancellationToken::new(), Arc::clone(&shared));
        let serving =
            Arc::new(Connections::default()).serve(listener, router, begun.clone(), GRACE);
        let stop = async move {
            stop.await;
            stopping.health.stop();
            begun.cancel();
            std::future::pending().await
        };
        tokio::select! {
            () = serving => Ok(()),
            never = stop => never,
            never = shared.health.keep() => match never {},
            never = story::tell(&shared.health) => match never {},
            never = shared.exporter.keep() => match never {},
        }
    }
}

fn router(shared: Arc<Shared>, hosts: Arc<Hosts>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || text("alive\n")))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .layer(from_fn_with_state(hosts, hosts::check))
        .layer(from_fn_with_state(Arc::clone(&shared), count))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    shared.health.look();
    shared.health.tell_metrics();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.exporter.render())
        .into_response()
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let (status, report) = shared.health.report();
    (status, json(&report)).into_response()
}

async fn version() -> Response {
    json(&serde_json::json!({"name": "trunkline", "version": env!("CARGO_PKG_VERSION")}))
        .into_response()
}

/// Counts what is answered.
async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let code = response.status().as_u16();
    let route = path.as_ref().filter(|_| !matches!(code, 404 | 405 | 421));
    let route = route.map_or("other", MatchedPath::as_str);
    let known = shared.requests.iter().find(|(at, with, _)| (*at, *with) == (route, code));
    if let Some((_, _, counter)) = known {
        counter.increment(1);
    }
    response
}

fn text(text: &'static str) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], text)
}

fn json(value: &serde_json::Value) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], format!("{value}\n"))
}

/// Every route with the codes that it answers with.
const ANSWERS: [(&str, u16); 8] = [
    ("/metrics", 200),
    ("/livez", 200),
    ("/readyz", 200),
    ("/readyz", 503),
    ("/version", 200),
    ("other", 404),
    ("other", 405),
    ("other", 421),
];
/// How long those who are being answered may take once it is to stop.
pub const GRACE: Duration = Duration::from_secs(5);
