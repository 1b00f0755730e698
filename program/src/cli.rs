//! The command line: `trunkline NOUN VERB`. One file a noun.
//!
//! Data goes to stdout, everything else to stderr. `--json` makes both readable by scripts: one
//! object a line on stdout, and on failure exactly one object on stderr, after the log of a daemon.

mod audit;
mod batch;
mod bench;
mod call;
mod client;
mod db;
mod demo;
mod doctor;
mod failure;
mod healthcheck;
mod input;
mod key;
mod livekit;
mod log;
mod nodes;
mod number;
mod output;
mod plain;
mod private;
mod process;
mod resolve;
mod rollout;
mod route;
mod secret;
mod seen;
mod serve;
mod settings;
mod shell;
mod signals;
mod tenant;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use trunkline::dispatch::Dispatcher;
use trunkline::dispatch::livekit::LiveKit;
use trunkline::rotation::Rotation;
use trunkline::settings::{Settings, SettingsFiles, Values, dot_env_here};
use trunkline::store::{AdminStore, OpenStore};
use trunkline::{KeyError, KeyRing, Resolver};

use self::failure::{Done, Exit, Failure};

/// Which LiveKit server, key, secret and SIP trunk place the call from this number?
#[derive(Parser)]
#[command(name = "trunkline", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// Print JSON: data on stdout, and an error as one object on stderr
    #[arg(long, global = true)]
    json: bool,
    /// The .env file to read besides the process environment
    #[arg(long, global = true, value_name = "PATH", default_value = ".env")]
    env_file: PathBuf,
    /// Read no .env file
    #[arg(long, global = true)]
    no_env_file: bool,
    /// Allow debuggers and core files to read the memory of the process, secrets included
    #[arg(long, global = true)]
    allow_dump: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show what trunkline does; needs no server and no settings, and leaves nothing behind
    Demo(demo::Demo),
    /// Make encryption keys, turn them while calls flow, and bind secrets to their configs
    #[command(subcommand)]
    Key(key::Key),
    /// Seal and open secrets, from stdin to stdout
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Migrate the tables up and down, and fill them with test data
    #[command(subcommand)]
    Db(db::Db),
    /// Manage LiveKit configs
    #[command(subcommand)]
    Livekit(livekit::Livekit),
    /// Manage the numbers of tenants
    #[command(subcommand)]
    Number(number::Number),
    /// Give tenants labels, by which people find them
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    /// List the processes that resolve from the database, and wait until all have seen a change
    #[command(subcommand)]
    Nodes(nodes::Nodes),
    /// Manage the programs that may ask a daemon over HTTP
    #[command(subcommand)]
    Client(client::Client),
    /// Let the database answer step by step: nobody, a share of the tenants, everybody
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Manage the people who may sign in to a daemon
    #[command(subcommand)]
    User(user::Users),
    /// Read, seal, verify and export the audit of who changed what
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print the credentials that a number gets, and why
    Resolve(resolve::Resolve),
    /// Print whether a number may call another one, and what is dialled
    Route(route::Route),
    /// Place a call, or end one
    Call(call::Call),
    /// Place the calls of a file
    #[command(subcommand)]
    Batch(batch::Batch),
    /// Run as a daemon that serves metrics and health over HTTP
    Serve(serve::Serve),
    /// Ask a daemon on this machine whether it is ready; for containers
    Healthcheck(healthcheck::Healthcheck),
    /// Measure the speed on this machine, with a latency chart
    Bench(bench::Bench),
    /// Show and check the program's own settings
    #[command(subcommand)]
    Settings(settings::Settings),
    /// Check everything, and say how to fix what is wrong
    Doctor(doctor::Doctor),
    /// Print the completions of a shell
    Completions(shell::Completions),
    /// Print the manual page, or write all of them to a folder
    Man(shell::Man),
}

/// What every subcommand may need.
pub(crate) struct Context {
    pub(crate) json: bool,
    pub(crate) files: SettingsFiles,
    /// What those files and the process environment held when the program began.
    pub(crate) values: Values,
}

impl Context {
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings::read(&self.values)?)
    }

    /// The same for a person, who waits for the database's answer; a caller with a call to place may
    /// not.
    pub(crate) fn patient_settings(&self) -> Result<Settings, Failure> {
        let mut settings = self.settings()?;
        let tuning = &mut settings.tuning;
        tuning.resolve_deadline = tuning.resolve_deadline.max(tuning.store_deadline);
        Ok(settings)
    }

    /// What places calls, by these settings, and the database that it asks. `listed`: which program it
    /// is among the nodes, if it runs for long.
    pub(crate) fn dispatcher(
        &self,
        listed: Option<&str>,
    ) -> Result<(Dispatcher, Option<OpenStore>), Failure> {
        let settings = self.patient_settings()?;
        let livekit = LiveKit::new((&settings.tuning).into());
        let database = settings.database.as_ref().map(|_| open(&settings)).transpose()?;
        let resolver = resolver(settings, database.as_ref(), listed);
        Ok((Dispatcher::new(resolver, livekit), database))
    }

    /// The ring that the settings hold.
    pub(crate) fn ring(&self) -> Result<Arc<KeyRing>, Failure> {
        Ok(self.settings()?.ring.ok_or(KeyError::KeyMissing)?)
    }

    /// The same with the data keys of the database, if one is named: to open with, by no rule.
    pub(crate) async fn whole_ring(&self) -> Result<KeyRing, Failure> {
        let settings = self.settings()?;
        let ring = settings.ring.as_ref().ok_or(KeyError::KeyMissing)?;
        match settings.database {
            Some(_) => Ok(open(&settings)?.ruled(ring).await?.ruled(None)),
            None => Ok(ring.ruled(None)),
        }
    }

    /// The keys, and the database that knows them.
    pub(crate) fn rotation(&self) -> Result<Rotation, Failure> {
        let settings = self.settings()?;
        let ring = settings.ring.as_ref().ok_or(KeyError::KeyMissing)?;
        Ok(Rotation::new(&open(&settings)?, ring, &settings.tuning))
    }

    /// The database that the settings name.
    pub(crate) fn database(&self) -> Result<OpenStore, Failure> {
        open(&self.settings()?)
    }

    pub(crate) fn store(&self) -> Result<Arc<dyn AdminStore>, Failure> {
        Ok(self.database()?.admin())
    }
}

/// A resolver on a database that is open already, if there is one. `listed`: which program it is among
/// the nodes, if it runs for long.
pub(crate) fn resolver(
    settings: Settings,
    database: Option<&OpenStore>,
    listed: Option<&str>,
) -> Resolver {
    let builder = Resolver::builder(settings);
    let builder = match listed {
        Some(program) => builder.program(program),
        None => builder.unlisted(),
    };
    match database {
        Some(database) => builder.database(database.clone()).start(),
        None => builder.start(),
    }
}

/// The database of these settings.
pub(crate) fn open(settings: &Settings) -> Result<OpenStore, Failure> {
    let database = settings.database.as_ref().ok_or_else(|| {
        Failure::new("database_not_configured", "no DATABASE_URL is set", Exit::Settings).hint(
            "set DATABASE_URL to postgres://… or sqlite:trunkline.db; `trunkline demo` needs none",
        )
    })?;
    Ok(OpenStore::new(database, &settings.tuning))
}

pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let Cli { global: Global { json, env_file, no_env_file, allow_dump }, command } = cli;
    let dot_env = if no_env_file {
        None
    } else if env_file.as_os_str() == ".env" {
        Some(dot_env_here())
    } else if env_file.exists() {
        Some(env_file)
    } else {
        let message = format!("--env-file {}: there is no such file", env_file.display());
        return report(&Failure::usage("env_file_missing", message), json);
    };
    // Before any secret is read.
    let exposed = if allow_dump { None } else { process::keep_to_itself().err() };
    let files = SettingsFiles { dot_env, ..SettingsFiles::default() };
    let context = Context { json, values: files.values(), files };
    // With `--json` stderr is for one error object, and the demo has its own words. What a daemon
    // goes through is told in either case.
    let daemon = matches!(command, Command::Serve(_));
    let wordy = matches!(command, Command::Demo(_) | Command::Bench(_) | Command::Route(_));
    let quiet = wordy || json && !daemon;
    let _traces = log::begin(&context.values, quiet, json);
    if let Some(error) = exposed {
        tracing::warn!(%error, "the memory of this process can be dumped");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(&Failure::new("runtime_failed", error.to_string(), Exit::Failed), json);
        }
    };
    let done = runtime.block_on(run(command, &context));
    // What waits for a disk that hangs is not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.code == output::READER_LEFT => ExitCode::SUCCESS,
        Err(failure) => report(&failure, json),
    }
}

async fn run(command: Command, context: &Context) -> Done {
    match command {
        Command::Demo(demo) => demo.run(context).await,
        Command::Key(key) => key.run(context).await,
        Command::Secret(secret) => secret.run(context).await,
        Command::Db(db) => db.run(context).await,
        Command::Livekit(livekit) => livekit.run(context).await,
        Command::Number(number) => number.run(context).await,
        Command::Nodes(nodes) => nodes.run(context).await,
        Command::Client(client) => client.run(context).await,
        Command::Tenant(tenant) => tenant.run(context).await,
        Command::Rollout(rollout) => rollout.run(context).await,
        Command::User(users) => users.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::Resolve(resolve) => resolve.run(context).await,
        Command::Route(route) => route.run(context).await,
        Command::Call(call) => call.run(context).await,
        Command::Batch(batch) => Box::pin(batch.run(context)).await,
        Command::Serve(serve) => serve.run(context).await,
        Command::Healthcheck(healthcheck) => healthcheck.run(context).await,
        Command::Bench(bench) => bench.run(context).await,
        Command::Settings(settings) => settings.run(context),
        Command::Doctor(doctor) => doctor.run(context).await,
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// Prints what clap says, in the form that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let shows = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && !shows {
        let rendered = error.render().to_string();
        let message = match error.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a subcommand is missing",
            _ => rendered.trim().trim_start_matches("error: "),
        };
        return report(
            &Failure::of_lines("usage", message, Exit::Usage).hint("see `trunkline --help`"),
            true,
        );
    }
    // Nothing is left to do when stderr itself cannot be written.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    eprintln!("{}", failure.text(json));
    ExitCode::from(failure.exit as u8)
}

const AFTER_HELP: &str = "\
Start here:
  trunkline demo                                    see it work, no settings needed
  trunkline key generate > key                      then LIVEKIT_SECRET_ENCRYPTION_KEY_FILE=key
  DATABASE_URL=sqlite:trunkline.db trunkline db migrate
  trunkline livekit add --name eu --url wss://eu.example --api-key APIx < secret
  trunkline number add --tenant UUID --number +971501234567 --livekit eu
  trunkline resolve --tenant UUID --from +971501234567 --explain
  trunkline call --tenant UUID --from +971501234567 --to \"050 765 4321\" --dry-run

Settings come from the environment and from .env; `trunkline settings example` documents them all.

Exit codes: 0 done, 1 failed or not found, 2 usage, 3 settings invalid, 4 store unreachable,
5 key or secret, 6 conflict.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
