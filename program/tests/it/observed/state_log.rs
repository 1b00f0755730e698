//! The log of a daemon tells what it went through: each thing once, and no secret.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::Value;

use crate::support::eventually;
use crate::support::postgres::Cluster;
use crate::support::program::Program;

/// A daemon whose log is a file.
struct LoggedDaemon {
    child: Child,
    log: PathBuf,
}

impl LoggedDaemon {
    fn start(program: &Program, folder: &tempfile::TempDir, more: &[&str]) -> Self {
        let log = folder.path().join("log");
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], more].concat();
        let mut command = program.command(&arguments);
        command.stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listening"), "{line}");
        Self { child, log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn tells(&self, what: &str) {
        eventually(&format!("the log tells {what}"), async || self.text().contains(what)).await;
    }

    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.text()
    }
}

impl Drop for LoggedDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_database_that_is_lost_and_comes_back_is_told_with_how_long_it_was_away() {
    let mut cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.database();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let program = Program::new()
        .with("DATABASE_URL", &url)
        .with("LIVEKIT_SECRET_ENCRYPTION_KEY", &trunkline::KeyRing::generate().unwrap());
    let daemon = LoggedDaemon::start(&program, &folder, &["--json"]);
    daemon.tells("not_migrated").await;
    program.run(&["db", "migrate"]).ok();
    daemon.tells("\"message\":\"ready\"").await;
    daemon.tells("\"message\":\"changes are heard\"").await;
    cluster.stop();
    daemon.tells("the database is lost").await;
    cluster.restart();
    daemon.tells("the database is back").await;
    let log = daemon.end();
    let told: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<_> =
        told.iter().map(|line| line["fields"]["message"].as_str().unwrap()).collect();
    let fields = |what: &str| {
        let at = messages.iter().position(|message| message.starts_with(what));
        &told[at.unwrap_or_else(|| panic!("{what}: {messages:?}"))]["fields"]
    };
    let started = fields("started");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert!(started["database"].as_str().unwrap().ends_with(&format!("/{name}")), "{started}");
    assert_eq!(started["enabled"], true);
    assert_eq!(fields("not ready")["reason"], "not_migrated");
    assert!(fields("the database is lost")["trouble"].is_string());
    assert!(fields("the database is back")["lost_for"].is_string());
    for once in ["started", "the database is lost", "the database is back", "stopping", "stopped"] {
        let times = messages.iter().filter(|message| message.starts_with(once)).count();
        assert_eq!(times, 1, "{once}: {messages:?}");
    }
}

#[tokio::test]
async fn a_reload_tells_which_variables_have_other_values_and_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.env");
    let write = |more: &str| {
        let fresh = folder.path().join("fresh");
        fs::write(&fresh, format!("LIVEKIT_API_SECRET=canary-one\n{more}")).unwrap();
        fs::rename(fresh, &file).unwrap();
    };
    write("");
    let program = Program::new().with("HOME", folder.path().to_str().unwrap());
    let daemon = LoggedDaemon::start(&program, &folder, &["--env-file", file.to_str().unwrap()]);
    daemon.tells("ready").await;
    write("VOICE_AGENT_NAME=canary-two\nUSE_SELFHOST_ROUTING_TABLE=off\n");
    daemon.tells("settings reloaded").await;
    let log = daemon.end();
    let reloaded = log.lines().find(|line| line.contains("settings reloaded")).unwrap();
    assert!(reloaded.contains("USE_SELFHOST_ROUTING_TABLE, VOICE_AGENT_NAME"), "{reloaded}");
    assert!(!log.contains("canary"), "{log}");
    let times = log.lines().filter(|line| line.contains("settings reloaded")).count();
    assert_eq!(times, 1, "what was read at the start is not read again as news: {log}");
}
