//! `trunkline serve`: the engine as a daemon. `trunkline healthcheck`: asks one how it is.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trunkline::server::{Exporter, Server};
use trunkline::settings::{Settings, SettingsFiles, Values};
use trunkline::store::{Migrations, OpenStore};
use trunkline::{KeyRing, Resolver, follow};

use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line};
use super::{Context, open, resolver};

#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen, in place of `HTTP_LISTEN`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

#[derive(Args)]
pub(crate) struct Healthcheck {
    /// Where it listens, in place of `HTTP_LISTEN`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let exporter = exporter()?;
        if !exporter.install() {
            return Err(Failure::new(
                "metrics_taken",
                "metrics are recorded already",
                Exit::Failed,
            ));
        }
        let files = at_home(context)?;
        let settings = Settings::read(&files.values())?;
        // Before anybody is told that it runs, and may signal it.
        let (nudge, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let signals = Signals::new().relay(Arc::clone(&nudge), stop.clone());
        let address = self.listen.unwrap_or(settings.http_listen);
        let database = settings.database.as_ref().map(|_| open(&settings)).transpose()?;
        if let (Some(database), false) = (&database, files.defaults.is_empty()) {
            database.migrate(Migrations::Up).await?;
        }
        let resolver = resolver(settings, database.as_ref());
        let server = bind(address, &resolver, database, exporter).await?;
        let address = server.address().map_err(|error| no_listener(address, &error))?;
        if context.json {
            json_line(&json!({"listening": format!("http://{address}")}))?;
        } else {
            line(format!("listening on http://{address}: /metrics /livez /readyz /version"))?;
        }
        tell_manager(&[sd_notify::NotifyState::Ready]);

        let following = async {
            follow(resolver.clone(), files, nudge).await;
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = server.serve(stop.cancelled_owned()) => ended,
            () = signals => Ok(()),
            never = following => never,
        };
        if !resolver.stop(Duration::from_secs(5)).await {
            tracing::warn!("some tasks had not ended");
        }
        ended.map_err(|error| no_listener(address, &error))
    }
}

impl Healthcheck {
    pub(crate) async fn run(self, context: &Context) -> Done {
        // Of the settings only this one, since a probe is not to fail for another one's sake.
        let named = context.values().get("HTTP_LISTEN").and_then(|text| text.trim().parse().ok());
        let address = self.listen.or(named).ok_or_else(|| {
            Failure::usage("listen_malformed", "HTTP_LISTEN is no address with its port")
        })?;
        let answer = tokio::time::timeout(PATIENCE, ask(to_reach(address))).await;
        let unwell = |message: String| {
            Failure::new("unhealthy", message, Exit::Failed)
                .hint("`trunkline serve` logs what is wrong")
        };
        let late = || unwell(format!("{address} did not answer within {PATIENCE:?}"));
        let answer = answer.map_err(|_| late())?;
        let answer = answer.map_err(|error| unwell(format!("{address}: {error}")))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.split(' ').nth(1) == Some("200") {
            return line(body.trim_end());
        }
        Err(unwell(format!("{address} is not ready: {}", body.trim_end())))
    }
}

/// What metrics are recorded to.
pub(super) fn exporter() -> Result<Exporter, Failure> {
    Exporter::new().map_err(|error| Failure::new("metrics_failed", error.to_string(), Exit::Failed))
}

/// Binds an address, or says what stands there.
pub(super) async fn bind(
    address: SocketAddr,
    resolver: &Resolver,
    database: Option<OpenStore>,
    exporter: Exporter,
) -> Result<Server, Failure> {
    let bound = Server::bind(address, resolver, database, exporter).await;
    bound.map_err(|error| no_listener(address, &error))
}

fn no_listener(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new("listen_failed", format!("{address}: {error}"), Exit::Failed)
        .hint("name another address with --listen or HTTP_LISTEN; port 0 takes any that is free")
}

/// Without a database in the settings: one in the user's own data folder, with a key that is made at
/// the first start. Says so, in a line for each.
fn at_home(context: &Context) -> Result<SettingsFiles, Failure> {
    let mut files = context.files.clone();
    let values = files.values();
    // With `--json`, stderr is for an error and nothing else.
    let say = |text: String| {
        if !context.json {
            eprintln!("{text}");
        }
    };
    // Nothing is made before all of them are known to be good.
    let settings = Settings::read(&values)?;
    if settings.database.is_some() || !settings.enabled {
        return Ok(files);
    }
    let folder = data_folder(&values)?;
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(&folder).map_err(|error| not_at_home(&folder, &error))?;
    let (database, key) = (folder.join("trunkline.db"), folder.join("key"));
    say(format!("no DATABASE_URL: the database is {}", database.display()));
    files.defaults.push(("DATABASE_URL".into(), format!("sqlite:{}", database.display())));
    if settings.ring.is_none() {
        let made = keep_key(&key, &database)?;
        let note = if made { ", made now; whoever loses it loses the secrets" } else { "" };
        say(format!("no LIVEKIT_SECRET_ENCRYPTION_KEY: the key is in {}{note}", key.display()));
        let name = "LIVEKIT_SECRET_ENCRYPTION_KEY_FILE";
        files.defaults.push((name.into(), key.display().to_string()));
    }
    Ok(files)
}

/// Where programs keep what is the user's, by the XDG base directory specification.
fn data_folder(values: &Values) -> Result<PathBuf, Failure> {
    let of = |name: &str| values.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = of("XDG_DATA_HOME").or_else(|| Some(of("HOME")?.join(".local/share")));
    base.map(|base| base.join("trunkline")).ok_or_else(|| {
        Failure::new("no_home", "neither DATABASE_URL nor HOME is set", Exit::Settings)
            .hint("set DATABASE_URL to postgres://… or sqlite:trunkline.db")
    })
}

/// Makes a key file if there is none. `true`: it did. One that is there is never touched, and none is
/// made for a database that has one somewhere else.
fn keep_key(path: &Path, database: &Path) -> Result<bool, Failure> {
    if path.exists() {
        return Ok(false);
    }
    if database.exists() {
        let message =
            format!("{} is there, and its key {} is not", database.display(), path.display());
        return Err(Failure::new("key_missing", message, Exit::Key)
            .hint("put the key back, or set LIVEKIT_SECRET_ENCRYPTION_KEY_FILE to where it is"));
    }
    write_private(path, &KeyRing::generate()?).map_err(|error| not_at_home(path, &error))?;
    Ok(true)
}

fn not_at_home(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("folder_failed", format!("{}: {error}", path.display()), Exit::Failed)
}

/// Writes a new file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
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
                () = told(&mut self.hangup) => {
                    nudge.notify_one();
                    continue;
                }
                () = told(&mut self.terminate) => {}
                () = told(&mut self.interrupt) => {}
            }
            if stop.is_cancelled() {
                return;
            }
            tell_manager(&[sd_notify::NotifyState::Stopping]);
            if std::io::stderr().is_terminal() {
                eprintln!("stopping; once more ends it at once");
            }
            stop.cancel();
        }
    }
}

async fn told(signal: &mut Option<Signal>) {
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

/// Where a daemon is reached that listens on every address.
fn to_reach(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(1 << 16).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const PATIENCE: Duration = Duration::from_secs(3);
