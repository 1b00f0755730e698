//! `trunkline demo`: what the engine does, on a database of its own that goes with it.
//!
//! Every figure it prints was measured in that very run.

mod latencies;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use trunkline::access::{PasswordHash, Role, generate_password};
use trunkline::clock::{Clock, SystemClock};
use trunkline::server::{Api, Exporter, Server};
use trunkline::settings::Values;
use trunkline::store::{AdminStore, ConfigEdit, Migrations, NewUser, OpenStore};
use trunkline::{
    Caller, KeyRing, Resolution, ResolveError, Resolver, Sealed, Settings, TokenRequest,
};

use super::db::{Sample, Seeded, sow};
use super::failure::{Done, Exit, Failure};
use super::output::{json_line, line, short};
use super::private::{private_folder, remove, write_private};
use super::resolve::summary;
use super::serve::{bind, exporter};
use super::signals::{hung_up, stop_requested};
use super::{Context, open, user};

#[derive(Args)]
pub(crate) struct Demo {
    /// Exit after the demo, and do not wait for Ctrl-C
    #[arg(long)]
    exit: bool,
}

impl Demo {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let exporter = exporter()?;
        // Whatever is made from here on records to it; nothing was made before.
        let _installed = exporter.install();
        let folder = private_folder("trunkline-demo").map_err(|error| {
            Failure::new("folder_failed", format!("no temporary folder: {error}"), Exit::Failed)
        })?;
        // However it is told to end, it ends in the same place, where the folder is removed.
        let done = tokio::select! {
            done = self.show(folder.path(), context.json, exporter) => done,
            () = stop_requested() => Ok(()),
            () = hung_up() => Ok(()),
        };
        remove(folder).await;
        done
    }

    async fn show(&self, folder: &Path, json: bool, exporter: Exporter) -> Done {
        let stage = Stage::set(folder, json).await?;
        stage.answers().await?;
        stage.edit_from_a_second_process().await?;
        stage.corrupt_a_secret().await?;
        stage.turn_the_flag().await?;
        stage.latencies().await?;
        if !self.exit {
            stage.stay_open(exporter).await?;
        }
        stage.resolver.stop(Duration::from_secs(1)).await;
        Ok(())
    }
}

/// A database in a temporary folder, filled, and an engine on it.
struct Stage {
    folder: PathBuf,
    resolver: Resolver,
    store: std::sync::Arc<dyn AdminStore>,
    ring: KeyRing,
    seeded: Seeded,
    clock: SystemClock,
    json: bool,
}

impl Stage {
    async fn set(folder: &Path, json: bool) -> Result<Self, Failure> {
        let clock = SystemClock::default();
        let began = clock.now();
        let key = KeyRing::generate()?;
        let key_file = folder.join("key");
        write_private(&key_file, &key).map_err(|error| {
            let message = format!("{}: {error}", key_file.display());
            Failure::new("folder_failed", message, Exit::Failed)
        })?;
        let settings = settings(folder, true)?;
        let database = open(&settings)?;
        database.migrate(Migrations::Up).await?;
        let (store, ring) = (database.admin(), KeyRing::parse(&key)?);
        let seeded = sow(&*store, &ring, Sample::of(NUMBERS), "").await?;
        let resolver = Resolver::builder(settings).program("trunkline demo").start();
        let folder = folder.to_owned();
        let stage = Self { folder, resolver, store, ring, seeded, clock, json };
        stage.hears().await?;
        stage.say(format!(
            "trunkline demo: an SQLite file, a fresh key, 2 LiveKit configs, {NUMBERS} numbers of 3 \
             tenants; ready in {}",
            short(clock.now().since(began)),
        ))?;
        Ok(stage)
    }

    async fn hears(&self) -> Done {
        let hears = async {
            while !self.resolver.hears_changes() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, hears).await.map_err(|_| {
            let message = format!("hot reload did not start within {}", short(PATIENCE));
            Failure::new("deaf", message, Exit::Failed)
        })
    }

    async fn answers(&self) -> Done {
        self.head("A number goes in, credentials come out")?;
        for index in [0, 3] {
            let caller = self.seeded.caller(index);
            let answer = self.resolver.resolve(caller).await?;
            self.answer(&caller.number.to_string(), &answer)?;
        }
        let answer = self.resolver.resolve(self.seeded.caller(0)).await?;
        let token = answer.token(&TokenRequest::join("call-1", "dispatcher"))?;
        self.say(format!(
            "   an access token for room call-1 was signed inside: {} characters, good for 60 s",
            token.as_str().len(),
        ))?;
        let stranger = Caller::new(self.seeded.tenants[0], self.seeded.caller(1).number);
        let answer = self.resolver.resolve(stranger).await?;
        self.answer("of another tenant", &answer)
    }

    async fn edit_from_a_second_process(&self) -> Done {
        self.head("A second process edits the config; the next call uses it")?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(
                "no_program",
                format!("the program does not find itself: {error}"),
                Exit::Failed,
            )
        })?;
        let caller = self.seeded.caller(0);
        let mut child = Command::new(program)
            .args([
                "livekit",
                "edit",
                "europe",
                "--trunk",
                "ST_europe_2",
                "--no-env-file",
                "--json",
            ])
            .env_clear()
            .env("DATABASE_URL", url(&self.folder))
            .env("STORE_DEADLINE", DEADLINE)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                Failure::new(
                    "no_second_process",
                    format!("it did not start: {error}"),
                    Exit::Failed,
                )
            })?;
        // As long as the second process may still write, and a while after it has.
        let failed = || matches!(child.try_wait(), Ok(Some(status)) if !status.success());
        let changed =
            self.until(|answer| answer.trunk_id() == Some("ST_europe_2"), caller, failed).await;
        let seen = self.clock.unix_time();
        let ended = child.wait().is_ok_and(|status| status.success());
        let answer = match changed {
            Some(answer) if ended => answer,
            _ => return Err(Failure::new("edit_unseen", "the edit was not seen", Exit::Failed)),
        };
        let id = self.seeded.configs[0];
        let committed = self.store.config(id).await?.and_then(|config| config.updated_at);
        let committed = committed.map_or(seen, |at| {
            Duration::from_millis(u64::try_from(at.timestamp_millis()).unwrap_or(0))
        });
        self.answer(&caller.number.to_string(), &answer)?;
        let delay = seen.saturating_sub(committed).as_millis();
        self.fact(
            format!("   {delay} ms from the time stamp of the edit to the first call that used it"),
            "edit_to_used_ms",
            u64::try_from(delay).unwrap_or(u64::MAX),
        )
    }

    async fn corrupt_a_secret(&self) -> Done {
        self.head("A secret is corrupted in the database; the environment answers, and says why")?;
        let (id, caller) = (self.seeded.configs[1], self.seeded.caller(3));
        let before = self.resolver.resolve(caller).await?;
        let sealed = self.ring.seal("a secret that nobody will read", self.clock.unix_seconds())?;
        // One character in the middle: a token as good as ever by its looks.
        let mut text = sealed.as_str().to_owned();
        let middle = text.len() / 2;
        let other = if &text[middle..=middle] == "A" { "B" } else { "A" };
        text.replace_range(middle..=middle, other);
        let broken =
            ConfigEdit { api_secret: Some(Sealed::parse(&text)?), ..ConfigEdit::default() };
        self.store.update_config(id, &broken).await?;
        let answer = self.until(|answer| answer.reason().is_some(), caller, || false).await;
        let answer = answer.ok_or_else(|| {
            Failure::new("fallback_unseen", "the fallback was not seen", Exit::Failed)
        })?;
        self.answer(&caller.number.to_string(), &answer)?;
        let withdrawn = before.token(&TokenRequest::default()).is_err();
        self.say(format!(
            "   what was handed out before the change {}",
            if withdrawn { "is wiped and signs no more" } else { "still signs" },
        ))?;
        let sealed = self.ring.seal("a new secret", self.clock.unix_seconds())?;
        let mended = ConfigEdit { api_secret: Some(sealed), ..ConfigEdit::default() };
        self.store.update_config(id, &mended).await?;
        let answer = self.until(|answer| answer.reason().is_none(), caller, || false).await;
        answer.map_or(Ok(()), |answer| self.answer("mended", &answer))
    }

    async fn turn_the_flag(&self) -> Done {
        self.head("The flag is turned while it runs")?;
        let caller = self.seeded.caller(0);
        for (word, on) in [("flag off", false), ("flag on", true)] {
            let reloaded = self.resolver.reload(settings(&self.folder, on)?);
            reloaded.map_err(|error| {
                Failure::new("reload_failed", error.to_string(), Exit::Settings)
            })?;
            let answer = self.resolver.resolve(caller).await?;
            self.answer(word, &answer)?;
        }
        Ok(())
    }

    /// Resolves again and again until the answer is as wanted, or cannot come any more.
    async fn until(
        &self,
        wanted: impl Fn(&Resolution) -> bool,
        caller: Caller,
        mut in_vain: impl FnMut() -> bool,
    ) -> Option<Resolution> {
        let began = self.clock.now();
        while self.clock.now().since(began) < PATIENCE && !in_vain() {
            let outcome: Result<_, ResolveError> = self.resolver.resolve(caller).await;
            match outcome {
                Ok(answer) if wanted(&answer) => return Some(answer),
                _ => tokio::time::sleep(Duration::from_micros(200)).await,
            }
        }
        None
    }

    /// Serves what a daemon serves, with some calls a second so that there is something to see.
    async fn stay_open(&self, exporter: Exporter) -> Done {
        let settings = settings(&self.folder, true)?;
        let database = open(&settings)?;
        let usual = settings.http_listen;
        let any = SocketAddr::new(usual.ip(), 0);
        let server = || {
            let server = Server::builder(self.resolver.clone(), exporter.clone());
            server.database(Some(database.clone()))
        };
        let server = match bind(server(), usual).await {
            Ok(server) => server,
            Err(_) => bind(server(), any).await?,
        };
        let failed =
            |error: std::io::Error| Failure::new("listen_failed", error.to_string(), Exit::Failed);
        let address = server.address().map_err(failed)?;
        let api = self.api(&exporter).await?;
        self.resolver
            .reload(settings)
            .map_err(|error| Failure::new("reload_failed", error.to_string(), Exit::Settings))?;
        self.head("It stays open")?;
        for (path, what) in [
            ("metrics", "every metric, for Prometheus; dashboards and alerts are in dashboards/"),
            ("readyz", "whether it should be given calls, and why"),
            ("livez", "whether it runs"),
            ("version", "what runs"),
        ] {
            let address = format!("http://{address}/{path}");
            if self.json {
                json_line(&json!({"open": address}))?;
            } else {
                line(format!("   {address:<34}{what}"))?;
            }
        }
        self.admin_page(&database, &api).await?;
        self.say("Ctrl-C ends the demo and removes its folder.")?;
        let calls = async {
            let stranger = Caller::new(self.seeded.tenants[0], self.seeded.caller(1).number);
            for at in (0_u32..).step_by(7) {
                let known = self.seeded.caller(at % NUMBERS);
                let caller = if at % 40 == 0 { stranger } else { known };
                // The metrics tell what became of it.
                let _ = self.resolver.resolve(caller).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            ended = server.serve(std::future::pending()) => ended.map_err(failed),
            () = api.serve(CancellationToken::new()) => Ok(()),
            () = calls => Ok(()),
        }
    }

    /// Where clients and people are answered: at the usual port, or one that is free.
    async fn api(&self, exporter: &Exporter) -> Result<Api, Failure> {
        let failed = |error: String| Failure::new("listen_failed", error, Exit::Failed);
        let mut last = String::new();
        for address in ["127.0.0.1:9465", "127.0.0.1:0"] {
            let settings = settings_with(&self.folder, true, &[("API_LISTEN", address)])?;
            let api = Api::bind(&settings.api, Vec::new(), self.resolver.clone(), exporter).await;
            match api {
                Ok(Some(api)) => return Ok(api),
                Ok(None) => {}
                Err(error) => last = error.to_string(),
            }
        }
        Err(failed(last))
    }

    /// Adds an admin, and says how he signs in.
    async fn admin_page(&self, database: &OpenStore, api: &Api) -> Done {
        let password = generate_password()?;
        let hash = PasswordHash::of(&password)?;
        let admin = NewUser { name: ADMIN.into(), role: Role::Admin, password: Some(hash) };
        database.users().create_user(&admin).await?;
        let link = user::link(database, ADMIN).await?;
        let places = api.places();
        let place = places.first().map(String::as_str).unwrap_or_default();
        let link = format!("{place}/sign-in?link={}", link.as_str());
        if self.json {
            return json_line(&json!({"open": link, "user": ADMIN, "password": password.as_str()}));
        }
        line(format!(
            "   {:<34}the admin page, which this link opens once, within ten minutes:",
            format!("{place}/")
        ))?;
        line(format!("   {link}"))?;
        line(format!("   after that: name {ADMIN}, password {}", password.as_str()))?;
        line(
            "   a config of your own may be at ws://localhost:7880, of `livekit-server --dev`, or LiveKit Cloud",
        )
    }

    fn head(&self, text: &str) -> Done {
        if self.json {
            return Ok(());
        }
        line("")?;
        line(text)
    }

    fn answer(&self, what: &str, answer: &Resolution) -> Done {
        if self.json {
            let (source, reason) = (answer.source(), answer.reason());
            return json_line(&json!({"asked": what, "source": source, "reason": reason}));
        }
        line(format!("   {what:<24}{}", summary(answer)))
    }

    fn fact(&self, text: String, name: &str, value: u64) -> Done {
        if self.json { json_line(&json!({name: value})) } else { line(text) }
    }

    fn say(&self, text: impl AsRef<str>) -> Done {
        if self.json { Ok(()) } else { line(text) }
    }
}

fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("demo.db").display())
}

/// Settings of the demo alone: nothing of the process environment takes part.
fn settings(folder: &Path, enabled: bool) -> Result<Settings, Failure> {
    settings_with(folder, enabled, &[])
}

fn settings_with(folder: &Path, enabled: bool, more: &[(&str, &str)]) -> Result<Settings, Failure> {
    let key_file = folder.join("key").display().to_string();
    let pairs = [
        ("USE_SELFHOST_ROUTING_TABLE", enabled.to_string()),
        ("DATABASE_URL", url(folder)),
        ("LIVEKIT_SECRET_ENCRYPTION_KEY_FILE", key_file),
        ("LIVEKIT_URL", "wss://fallback.livekit.example".to_owned()),
        ("LIVEKIT_API_KEY", "APIfallback".to_owned()),
        ("LIVEKIT_API_SECRET", "the secret of the environment in this demo".to_owned()),
        ("OUTBOUND_TRUNK_ID", "ST_fallback".to_owned()),
        // Those of the sample, and where a server of one's own is tried: on this machine, or LiveKit's cloud.
        ("LIVEKIT_HOSTS", HOSTS.to_owned()),
        // A machine that is busy with something else spoils the figures, but not the show.
        ("LEASE", "1m".to_owned()),
        ("RESOLVE_DEADLINE", DEADLINE.to_owned()),
        ("STORE_DEADLINE", DEADLINE.to_owned()),
    ];
    let pairs = pairs.into_iter().chain(more.iter().map(|&(name, value)| (name, value.to_owned())));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    Ok(Settings::read(&Values::of(pairs, None))?)
}

const NUMBERS: u32 = 1000;
/// Whom the admin page knows.
const ADMIN: &str = "demo";
const HOSTS: &str = "*.livekit.example, *.livekit.cloud, localhost, 127.0.0.0/8, ::1, 10.0.0.0/8, 172.16.0.0/12, \
                     192.168.0.0/16";
const DEADLINE: &str = "1m";
/// When something is taken to have failed, and not to be slow: nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(300);
