//! The daemon's HTTP side: what a scraper, a probe and a person with `curl` may ask.
//!
//! ```text
//! /metrics   every metric, for Prometheus
//! /livez     it runs
//! /readyz    it should be given calls, or why not
//! /version   what runs
//! ```
//!
//! No answer holds a credential, and no request needs one. Whoever reaches the address can read all of
//! it. So by default it listens on loopback, and then answers only to names of the machine. It knows
//! neither users nor TLS: put a proxy before it to open it further.
//!
//! [`Api`] is apart from it: what clients ask is answered at another address or on a Unix socket.

mod api;
mod connections;
mod endpoint;
mod endpoints;
mod exporter;
mod health;
mod hosts;
mod pages;
mod socket;
mod state_log;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use metrics::{Counter, counter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::api::ApiMetrics;
pub use self::api::{Api, ApiError, openapi};
use self::connections::{Connections, MOST};
use self::endpoint::Shared;
use self::endpoints::ENDPOINTS;
pub use self::exporter::{Exporter, ExporterError};
use self::health::Readiness;
pub use self::health::Unready;
use self::hosts::Hosts;
pub use self::tls::TlsError;
#[cfg(feature = "dispatch")]
use crate::dispatch::{BatchGauges, CallMetrics};
use crate::resolver::Resolver;
use crate::store::OpenStore;
use crate::telemetry::{REQUESTS, at_zero};

/// A bound address with all that is answered there.
///
/// ```no_run
/// use trunkline::server::{Exporter, Server};
/// use trunkline::{Resolver, Settings};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let exporter = Exporter::new()?;
/// exporter.install();
/// let resolver = Resolver::builder(Settings::from_env()?).start();
/// let server = Server::builder(resolver, exporter).bind(([127, 0, 0, 1], 9464).into()).await?;
/// println!("listening on http://{}", server.address()?);
/// server.serve(async { drop(tokio::signal::ctrl_c().await) }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    requests: Requests,
    hosts: Vec<String>,
}

/// Puts a [`Server`] together.
pub struct ServerBuilder {
    resolver: Resolver,
    exporter: Exporter,
    database: Option<OpenStore>,
    hosts: Vec<String>,
}

/// How often each path was answered with each of its codes.
type Requests = Arc<[(&'static str, u16, Counter)]>;

impl ServerBuilder {
    /// Looks at the tables of this database, which is the one that the resolver asks. Without one,
    /// readiness says nothing of tables.
    #[must_use]
    pub fn database(self, database: Option<OpenStore>) -> Self {
        Self { database, ..self }
    }

    /// Names that it answers to beside its own, in small letters. It asks for a name only where it
    /// listens on loopback.
    #[must_use]
    pub fn hosts(self, hosts: Vec<String>) -> Self {
        Self { hosts, ..self }
    }

    /// Binds an address and answers nothing yet. Port 0 takes any port that is free.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn bind(self, address: SocketAddr) -> std::io::Result<Server> {
        let Self { resolver, exporter, database, hosts } = self;
        let listener = TcpListener::bind(address).await?;
        let (health, requests) = exporter.record(|| {
            let health = Readiness::new(resolver, database);
            let codes = ENDPOINTS
                .iter()
                .flat_map(|endpoint| endpoint.codes.iter().map(|&code| (endpoint.path, code)));
            let counted = codes.chain(OTHERS.map(|code| (OTHER, code))).map(|(route, code)| {
                let counter = counter!(REQUESTS, "route" => route, "code" => code.to_string());
                (route, code, at_zero(counter))
            });
            // What this process may never do is at zero, and not missing.
            #[cfg(feature = "dispatch")]
            drop((CallMetrics::new(), BatchGauges::new()));
            drop(ApiMetrics::new());
            (health, counted.collect())
        });
        let shared = Arc::new(Shared { exporter, health });
        Ok(Server { listener, shared, requests, hosts })
    }
}

impl Server {
    /// A server that reports the health of this resolver, and the metrics of this exporter.
    #[must_use]
    pub fn builder(resolver: Resolver, exporter: Exporter) -> ServerBuilder {
        ServerBuilder { resolver, exporter, database: None, hosts: Vec::new() }
    }

    /// Where it listens, with the real port if you asked for port 0.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` ends. Then it is no longer ready, and finishes running answers, for
    /// [`GRACE`] at the most.
    ///
    /// # Errors
    ///
    /// When the system does not say where it listens.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let Self { listener, shared, requests, hosts } = self;
        let hosts = Hosts::at(listener.local_addr()?, &hosts);
        let router = router(Arc::clone(&shared), requests, hosts);
        let (begun, stopping) = (CancellationToken::new(), Arc::clone(&shared));
        let serving =
            Arc::new(Connections::at_most(MOST)).serve(listener, router, begun.clone(), GRACE);
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
            never = state_log::run(&shared.health) => match never {},
            never = shared.exporter.keep() => match never {},
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server").field("address", &self.address().ok()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerBuilder").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

fn router(shared: Arc<Shared>, requests: Requests, hosts: Arc<Hosts>) -> Router {
    let routed = ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.methods)()));
    routed
        .layer(from_fn_with_state(hosts, hosts::check))
        .layer(from_fn_with_state(requests, count))
        .with_state(shared)
}

/// Counts what is answered.
async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let code = response.status().as_u16();
    let route = path.as_ref().filter(|_| !OTHERS.contains(&code));
    let route = route.map_or(OTHER, MatchedPath::as_str);
    let known = requests.iter().find(|(at, with, _)| (*at, *with) == (route, code));
    if let Some((_, _, counter)) = known {
        counter.increment(1);
    }
    response
}

/// What is told of answers that belong to no endpoint: paths that are not there, other methods,
/// names that are not answered to.
const OTHER: &str = "other";
const OTHERS: [u16; 3] = [404, 405, 421];
/// How long running answers may take after `stop`.
pub const GRACE: Duration = Duration::from_secs(5);
