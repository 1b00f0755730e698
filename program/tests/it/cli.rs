//! The command line as people and scripts meet it: arguments, stdin and variables go in; stdout,
//! stderr and an exit code come out. One file a noun. On SQLite where nothing else is said.

mod batches;
mod bench;
mod binding;
mod client;
mod db;
mod demo;
mod doctor;
mod environment;
mod grants;
mod import;
mod livekit;
mod nodes;
mod number;
mod on_livekit;
mod reasons;
mod resolve;
mod rollout;
mod rotation;
mod route;
mod secret;
mod settings;
mod shell;
mod terminal;
mod user;

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::database::{BOTH, Kind};
use crate::support::livekit::Server;
use crate::support::postgres::Cluster;
use crate::support::program::{Program, Run};
use crate::support::secret_of;

const KEY: &str = "LIVEKIT_SECRET_ENCRYPTION_KEY";
const TENANT: &str = "0c7f1e5e-6a51-4d0e-9b51-2f8b3f1f7a01";
const OTHER_TENANT: &str = "b2d3c7a4-1f7e-4f0a-8c39-5d6e7f809102";
const NUMBER: &str = "+971501234567";
const MASKED: &str = "+971*******67";
const ENVIRONMENT_SECRET: &str = "canary-of-the-environment";

/// A database, a key, and the program that is told of both.
struct Site {
    program: Program,
    folder: TempDir,
}

impl Deref for Site {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl Site {
    /// Without tables; on SQLite without a file, too.
    fn empty(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Postgres => Cluster::shared().database(),
            Kind::Sqlite => format!("sqlite:{}", folder.path().join("x.db").display()),
        };
        // A busy machine is no fault of the database.
        let program = Program::new().with("DATABASE_URL", &url).with("STORE_DEADLINE", "20s");
        let program = program.with(KEY, &new_key());
        Self { program, folder }
    }

    fn migrated(kind: Kind) -> Self {
        let site = Self::empty(kind);
        site.run(&["db", "migrate"]).ok();
        site
    }

    fn new() -> Self {
        Self::migrated(Kind::Sqlite)
    }

    /// With one config and one number that uses it. Returns the id of the config, too.
    fn with_route(kind: Kind) -> (Self, String) {
        let site = Self::migrated(kind);
        let id = site.add_config("eu");
        site.add_number(TENANT, NUMBER, Some("eu"));
        (site, id)
    }

    fn with(&self, name: &str, value: &str) -> Program {
        self.program.clone().with(name, value)
    }

    /// The program with credentials of the environment to fall back to.
    fn with_environment(&self) -> Program {
        with_environment(self.program.clone())
    }

    /// A file in the folder of this site.
    fn file(&self, name: &str, text: &str) -> String {
        write_file(self.folder.path(), name, text)
    }

    fn add_config(&self, name: &str) -> String {
        let url = format!("wss://{name}.example");
        let arguments = ["livekit", "add", "--name", name, "--url", &url, "--api-key", "APIkey"];
        let out = self.run_with(&arguments, secret_of(name).as_bytes()).ok();
        out.trim_end().to_owned()
    }

    fn add_number(&self, tenant: &str, number: &str, config: Option<&str>) {
        let mut arguments = vec!["number", "add", "--tenant", tenant, "--number", number];
        arguments.extend(config.iter().flat_map(|config| ["--livekit", config]));
        self.run(&arguments).ok();
    }

    fn configs(&self) -> Value {
        self.run(&["livekit", "list", "--json"]).json()
    }

    fn numbers(&self) -> Value {
        self.run(&["number", "list", "--json"]).json()
    }
}

fn with_environment(program: Program) -> Program {
    program
        .with("LIVEKIT_URL", "wss://env.example")
        .with("LIVEKIT_API_KEY", "APIenv")
        .with("LIVEKIT_API_SECRET", ENVIRONMENT_SECRET)
}

/// With credentials of the environment that a server takes.
fn with_live_environment(program: Program) -> Program {
    let server = Server::shared();
    let (key, secret) = server.keys[0];
    program
        .with("LIVEKIT_URL", &server.url())
        .with("LIVEKIT_API_KEY", key)
        .with("LIVEKIT_API_SECRET", secret)
}

fn new_key() -> String {
    trunkline::KeyRing::generate().unwrap().to_string()
}

fn write_file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Checks that a run with `--json` ended with this exit code and this error, and returns the error.
#[track_caller]
fn refused(run: Run, exit: i32, error: &str) -> Value {
    let (code, object) = run.failed();
    assert_eq!((code, object["error"].as_str()), (exit, Some(error)), "{object}");
    let mut members: Vec<_> = object.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["error", "hint", "message"]);
    assert!(!object["message"].as_str().unwrap().is_empty(), "{object}");
    object
}

/// What `work` comes to, if it comes to it soon.
#[track_caller]
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(work())));
    told.recv_timeout(limit).unwrap_or_else(|error| panic!("not done within {limit:?}: {error}"))
}

/// The program while it runs, line by line.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { child, lines }
    }

    /// The next line it prints.
    #[track_caller]
    fn line(&self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|error| panic!("no line came: {error}"))
    }

    /// Sends it a signal and returns how it ends.
    #[track_caller]
    fn end_by(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let end = self.lines.recv_timeout(PATIENCE);
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected), "it goes on after {signal}");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_way_of_a_newcomer_works_on_both_databases() {
    for kind in BOTH {
        let site = Site::migrated(kind);
        let id = site.add_config("eu");
        site.add_number(TENANT, NUMBER, Some("eu"));

        let ask = ["resolve", "--json", "--tenant", TENANT, "--from", NUMBER];
        let answer = site.run(&ask).json();
        assert_eq!(answer["config_id"], id, "{kind:?}");
        site.run(&["livekit", "edit", "eu", "--url", "wss://moved.example"]).ok();
        assert_eq!(site.run(&ask).json()["url"], "wss://moved.example", "{kind:?}");
        site.run(&["doctor"]).ok();

        refused(site.run(&["livekit", "remove", "eu", "--json"]), 6, "config_in_use");
        site.run(&["number", "remove", "--tenant", TENANT, "--number", NUMBER]).ok();
        site.run(&["livekit", "remove", "eu"]).ok();
        let (configs, numbers) = (site.configs(), site.numbers());
        assert_eq!((configs, numbers), (Value::Array(vec![]), Value::Array(vec![])), "{kind:?}");
        site.run(&["db", "rollback", "--all", "--yes"]).ok();
    }
}
