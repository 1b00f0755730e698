//! `trunkline serve`: the engine as a daemon.

mod first_run;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trunkline::server::{Api, ApiError, Exporter, Server, ServerBuilder, openapi};
use trunkline::settings::{Database, Settings, Warning};
use trunkline::store::Migrations;

use self::first_run::with_default_files;
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, raw};
use super::process::take_all_files;
use super::{Context, open, resolver};

#[derive(Args)]
pub(crate) struct Serve {
    /// The address to listen on, instead of `HTTP_LISTEN`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Print the OpenAPI document of what clients may ask, and end
    #[arg(long, conflicts_with = "listen")]
    openapi: bool,
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Done {
        if self.openapi {
            return raw(format!("{:#}", openapi()));
        }
        if let Err(error) = take_all_files() {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
        let exporter = exporter()?;
        if !exporter.install() {
            return Err(Failure::new(
                "metrics_taken",
                "metrics are recorded already",
                Exit::Failed,
            ));
        }
        let files = with_default_files(context)?;
        let settings = if files.defaults.is_empty() {
            context.settings()?
        } else {
            Settings::read(&files.values())?
        };
        settings.warnings.iter().for_each(Warning::log);
        // Before anybody is told that it runs, and may signal it.
        let (nudge, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let signals = Signals::new().relay(Arc::clone(&nudge), stop.clone());
        let address = self.listen.unwrap_or(settings.http_listen);
        let database = settings.database.as_ref().map(|_| open(&settings)).transpose()?;
        if let (Some(database), false) = (&database, files.defaults.is_empty()) {
            database.migrate(Migrations::Up).await?;
        }
        let api = settings.api.clone();
        let (hosts, enabled) = (settings.http_hosts.clone(), settings.enabled);
        let at = settings.database.as_ref().map(Database::place);
        let resolver = resolver(settings, database.as_ref(), Some("trunkline serve"));
        let server = Server::builder(resolver.clone(), exporter.clone());
        let server = bind(server.database(database).hosts(hosts.clone()), address).await?;
        let api = Api::bind(&api, hosts, resolver.clone(), &exporter)
            .await
            .map_err(|error| no_api(&error))?;
        let address = server.address().map_err(|error| no_listener(address, &error))?;
        let places = api.as_ref().map(Api::places).unwrap_or_default();
        if context.json {
            json_line(&json!({"listening": format!("http://{address}"), "api": places}))?;
        } else {
            line(format!("listening on http://{address}: /metrics /livez /readyz /version"))?;
            places.iter().try_for_each(|place| line(format!("answering clients at {place}")))?;
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database = at.as_deref().unwrap_or("none"),
            enabled,
            %address,
            "started"
        );
        tell_manager(&[sd_notify::NotifyState::Ready]);

        let following = async {
            resolver.clone().follow_settings(files, nudge).await;
            std::future::pending().await
        };
        let answering = async {
            let clients = async {
                if let Some(api) = api {
                    api.serve(stop.clone()).await;
                }
            };
            tokio::join!(server.serve(stop.clone().cancelled_owned()), clients).0
        };
        let ended = tokio::select! {
            ended = answering => ended,
            () = signals => Ok(()),
            never = following => never,
        };
        if !resolver.stop(Duration::from_secs(5)).await {
            tracing::warn!("some tasks had not ended");
        }
        tracing::info!("stopped");
        ended.map_err(|error| no_listener(address, &error))
    }
}

/// What metrics are recorded to.
pub(super) fn exporter() -> Result<Exporter, Failure> {
    Exporter::new().map_err(|error| Failure::new("metrics_failed", error.to_string(), Exit::Failed))
}

/// Binds an address, or says what stands there.
pub(super) async fn bind(server: ServerBuilder, address: SocketAddr) -> Result<Server, Failure> {
    server.bind(address).await.map_err(|error| no_listener(address, &error))
}

fn no_api(error: &ApiError) -> Failure {
    let hint = match error {
        ApiError::UnknownUser { .. } => "`id -u NAME` says the number of a user",
        _ => "is another daemon running there? Its folder must be this user's to write",
    };
    Failure::new("listen_failed", error.to_string(), Exit::Failed).hint(hint)
}

fn no_listener(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new("listen_failed", format!("{address}: {error}"), Exit::Failed)
        .hint("name another address with --listen or HTTP_LISTEN; port 0 takes any that is free")
}

/// What a service manager or a terminal says to it.
struct Signals {
    hangup: Option<Signal>,
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl Signals {
    /// From here on a signal waits to be heard.
    fn new() -> Self {
        let next = |kind| signal(kind).ok();
        Self {
            hangup: next(SignalKind::hangup()),
            terminate: next(SignalKind::terminate()),
            interrupt: next(SignalKind::interrupt()),
        }
    }

    /// SIGHUP reads the settings anew; SIGTERM and Ctrl-C end it, a second one at once.
    async fn relay(mut self, nudge: Arc<Notify>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = wait_for(&mut self.hangup) => {
                    nudge.notify_one();
                    continue;
                }
                () = wait_for(&mut self.terminate) => {}
                () = wait_for(&mut self.interrupt) => {}
            }
            if stop.is_cancelled() {
                return;
            }
            tracing::info!("stopping");
            tell_manager(&[sd_notify::NotifyState::Stopping]);
            if std::io::stderr().is_terminal() {
                eprintln!("stopping; once more ends it at once");
            }
            stop.cancel();
        }
    }
}

async fn wait_for(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Tells systemd, where that started it and wants to know.
fn tell_manager(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
